"""How the report's pages look: colours, fonts, paragraph styles, tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dicom_io.results.fonts import REGULAR

WIDTH_MM = 169.7  # A4 less margins and the frame's padding
LARGEST_RESPONSE = 26  # points
INK, MUTED, RULE = "#1b2733", "#5d6b79", "#c9d2da"


def table_of(
    rows: list[list[Any]],
    shares: Sequence[float],
    *,
    middle: bool = False,
    padding: float = 3,
    repeat: int = 0,
    breaks: bool = False,
) -> Any:
    """A table as wide as the page, its columns by share; `breaks`: a row may go over to the next page."""
    from reportlab.lib.units import mm
    from reportlab.platypus import Table

    widths = [WIDTH_MM * mm * share for share in shares]
    table = Table(rows, colWidths=widths, repeatRows=repeat, splitInRow=int(breaks))
    sides = ("LEFT", "RIGHT", "TOP", "BOTTOM")
    table.setStyle(
        [("FONTNAME", (0, 0), (-1, -1), REGULAR)]  # also of empty cells: reportlab's own is not embedded
        + [("VALIGN", (0, 0), (-1, -1), "MIDDLE" if middle else "TOP")]
        + [(f"{side}PADDING", (0, 0), (-1, -1), padding) for side in sides]
    )
    return table


def paragraph_styles() -> dict[str, Any]:
    """The paragraph styles by name."""
    from reportlab.lib.enums import TA_RIGHT
    from reportlab.lib.styles import ParagraphStyle

    def style(name: str, size: float, **said: Any) -> Any:
        values = {"fontName": "DejaVu", "textColor": INK, "leading": size * 1.35}
        return ParagraphStyle(name, fontSize=size, **(values | said))

    return {
        "title": style("title", 15, fontName="DejaVu-Bold", spaceAfter=5),
        "name": style("name", 11),
        "right": style("right", 9, alignment=TA_RIGHT),
        "small": style("small", 8, textColor=MUTED),
        "small_right": style("small_right", 8, textColor=MUTED, alignment=TA_RIGHT),
        "response_words": style("response_words", 8, textColor=MUTED),
        "banner": style("banner", 9),
        "response": style("response", LARGEST_RESPONSE, leading=32),
        "body": style("body", 9),
        "head": style("head", 10.5, fontName="DejaVu-Bold", spaceBefore=6, spaceAfter=3),
        "cell": style("cell", 7.5),
        "cell_head": style("cell_head", 7, textColor=MUTED),
        "bullet": style("bullet", 8, leftIndent=9, firstLineIndent=-7),
        "footnote": style("footnote", 7, textColor=MUTED, spaceBefore=8),
    }
