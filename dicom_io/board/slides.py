"""A packet as slides (PowerPoint, 16:9): verdict, lesions by visits, pictures; the warning on every slide.

Tables are tables, not pictures: who presents may change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from io import BytesIO
from typing import Any

from dicom_io.board.content import (
    PatientPages,
    caption_of,
    column_groups,
    overall_words,
    remarks_of,
    sum_rows,
)
from dicom_io.board.figures import sum_figure
from workflow.domain.sheet import SheetLesion, percent_words
from workflow.ports.board import FrozenPacket

# Inches, as PowerPoint's own 16:9.
_WIDTH, _HEIGHT, _MARGIN = 13.333, 7.5, 0.45
_INNER = _WIDTH - 2 * _MARGIN
_TOP, _BOTTOM = 1.35, 0.45
_ROWS = 17
_LESIONS_WITH_PICTURES = 2
_PICTURE = 2.35
_REMARKS = 12


def render_slides(packet: FrozenPacket, pages: Sequence[PatientPages]) -> bytes:
    """Lay a packet out as a presentation."""
    from pptx import Presentation
    from pptx.util import Inches

    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(_WIDTH), Inches(_HEIGHT)
    about = deck.core_properties
    about.title, about.author = f"Tumour board {packet.day}, version {packet.version}", "Tumorline"
    about.last_modified_by, about.subject, about.keywords = "Tumorline", "", ""
    about.created = about.modified = packet.made_at.astimezone(UTC).replace(tzinfo=None)
    slides = _Deck(deck, packet)
    if packet.is_list:
        _agenda(slides, packet, pages)
    for one in pages:
        _verdict(slides, one)
        _lesions(slides, one)
        _pictures(slides, one)
        _remarks(slides, one)
    file = BytesIO()
    deck.save(file)
    return file.getvalue()


class _Deck:
    """Adds slides with their head, warning and foot."""

    def __init__(self, deck: Any, packet: FrozenPacket) -> None:
        self._deck, self._packet = deck, packet

    def slide(self, title: str, warning: str) -> Any:
        """A slide with a title, the warning in a box, and what it was made from."""
        blank = self._deck.slide_layouts[5]  # "Title Only"
        slide = self._deck.slides.add_slide(blank)
        from pptx.util import Inches, Pt

        head = slide.shapes.title
        head.left, head.top = Inches(_MARGIN), Inches(0.25)
        head.width, head.height = Inches(_INNER), Inches(0.55)
        head.text_frame.text = title
        head.text_frame.paragraphs[0].font.size, head.text_frame.paragraphs[0].font.bold = Pt(22), True
        head.text_frame.paragraphs[0].alignment = _left()
        if warning:
            box = text(slide, warning, _MARGIN, 0.85, _INNER, 0.36, size=12, bold=True)
            box.line.color.rgb, box.line.width = _black(), Pt(1.5)
        packet = self._packet
        made = (
            f"Tumour board {packet.day}, version {packet.version}, frozen {packet.made_at:%Y-%m-%d %H:%M} "
            f"UTC by {packet.made_by}, content {packet.sha256[:12]}. For research use: a radiologist signs."
        )
        text(slide, made, _MARGIN, _HEIGHT - _BOTTOM, _INNER, 0.3, size=9)
        return slide


def text(
    slide: Any,
    words: str,
    left: float,
    top: float,
    width: float,
    height: float,
    *,
    size: float,
    bold: bool = False,
) -> Any:
    """A text box; places and sizes in inches, the letters' size in points."""
    from pptx.util import Inches, Pt

    box = slide.shapes.add_textbox(Inches(left), Inches(top), Inches(width), Inches(height))
    frame = box.text_frame
    frame.word_wrap = True
    frame.margin_left = frame.margin_right = Inches(0.06)
    frame.margin_top = frame.margin_bottom = Inches(0.03)
    for number, line in enumerate(words.split("\n")):
        part = frame.paragraphs[0] if number == 0 else frame.add_paragraph()
        part.text = line
        part.font.size, part.font.bold = Pt(size), bold
    return box


def _black() -> Any:
    from pptx.dml.color import RGBColor

    return RGBColor(0, 0, 0)


def _left() -> Any:
    from pptx.enum.text import PP_ALIGN

    return PP_ALIGN.LEFT


def _picture(slide: Any, png: bytes, left: float, top: float, width: float, alternative: str) -> None:
    from pptx.util import Inches

    shape = slide.shapes.add_picture(BytesIO(png), Inches(left), Inches(top), width=Inches(width))
    shape._element.nvPicPr.cNvPr.set("descr", alternative)


def _table(slide: Any, rows: list[list[str]], widths: Sequence[float], top: float, *, size: float) -> None:
    """A plain table: lines and bold letters, no colours, so that it prints as it is."""
    from pptx.util import Inches, Pt

    shape = slide.shapes.add_table(
        len(rows), len(widths), Inches(_MARGIN), Inches(top), Inches(sum(widths)), Inches(0.3 * len(rows))
    )
    table = shape.table
    table_properties = shape._element.graphic.graphicData.tbl.tblPr
    # "No Style, Table Grid" (ECMA-376 names table styles by GUID).
    table_properties.find(
        "{http://schemas.openxmlformats.org/drawingml/2006/main}tableStyleId"
    ).text = "{5940675A-B579-460E-94D1-54222C63F5DA}"
    for place, width in enumerate(widths):
        table.columns[place].width = Inches(width)
    for y, row in enumerate(rows):
        table.rows[y].height = Inches(0.28)
        for x, words in enumerate(row):
            cell = table.cell(y, x)
            cell.margin_left = cell.margin_right = Inches(0.04)
            cell.margin_top = cell.margin_bottom = Inches(0.015)
            cell.text = words
            for part in cell.text_frame.paragraphs:
                part.font.size, part.font.bold = Pt(size), y == 0 or x == 0


# ---------------------------------------------------------------- slides of a patient


def _name(one: PatientPages) -> str:
    return f"{one.heading} ({one.sheet.patient_id})"


def _verdict(slides: _Deck, one: PatientPages) -> None:
    sheet, latest = one.sheet, one.sheet.latest
    slide = slides.slide(_name(one), sheet.warning)
    asked = []
    if one.frozen.question:
        asked.append(f"Question: {one.frozen.question}")
    if one.frozen.priority != "normal":
        asked.append(f"Priority: {one.frozen.priority}")
    if one.frozen.missing:
        asked.append(f"Missing: {'; '.join(one.frozen.missing)}")
    if latest is None:
        text(slide, "\n".join(["No time point has a report.", *asked]), _MARGIN, _TOP, _INNER, 2, size=16)
        return
    text(
        slide, latest.overall, _MARGIN, _TOP, 4.6, 0.9, size=44 if len(latest.overall) <= 8 else 26, bold=True
    )
    lines = [f"{latest.day}, {latest.id}, {latest.criteria}: {latest.standing}", latest.reason]
    if overall_words(latest) != latest.overall:
        lines.append(f"A reader decided: {overall_words(latest)}")
    if latest.best_overall_response:
        lines.append(f"Best overall response so far: {latest.best_overall_response}")
    text(slide, "\n".join([*lines, *asked]), _MARGIN, _TOP + 0.95, 4.6, 4, size=14)
    figure = sum_figure(sheet, width_mm=195, height_mm=125)
    if figure is not None:
        spoken = "Sum of diameters: " + ", ".join(
            f"{v.day} {v.sum_mm:.1f} mm" for v in sheet.visits if v.sum_mm is not None
        )
        _picture(slide, figure, _MARGIN + 4.75, _TOP, 7.65, spoken)


def _lesions(slides: _Deck, one: PatientPages) -> None:
    """The lesions by visits; sums and responses stand under the last of them, for each group of visits."""
    sheet = one.sheet
    if not sheet.visits:
        return
    tags = {place: word for word, place in sheet.compared}
    for group in column_groups(len(sheet.visits)):
        visits = [sheet.visits[place] for place in group]
        head = [
            f"{v.id} {v.day}" + (f" {tags[p]}" if p in tags else "")
            for p, v in zip(group, visits, strict=True)
        ]
        rows = [
            [_lesion_words(lesion), *(_value(lesion, place) for place in group)] for lesion in sheet.lesions
        ]
        below = [[name, *values] for name, values in sum_rows(visits)]
        below.append(["Who stands behind it", *(visit.standing for visit in visits)])
        parts = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)] or [[]]
        # Sums and responses are read together: they stay on one slide.
        if len(parts[-1]) + len(below) <= _ROWS:
            parts[-1] += below
        else:
            parts.append(below)
        label = 3.0
        width = min((_INNER - label) / len(group), 1.8)
        size = 12.0 if len(group) <= 6 else 9.0
        for part in parts:
            slide = slides.slide(f"{_name(one)}: lesions, mm", sheet.warning)
            _table(slide, [["Lesion", *head], *part], [label, *([width] * len(group))], _TOP, size=size)


def _lesion_words(lesion: SheetLesion) -> str:
    return f"{lesion.label} {lesion.site} · {lesion.role_words}"


def _value(lesion: SheetLesion, place: int) -> str:
    cell = lesion.cells[place]
    if cell is None:
        return "–"
    return cell.words + (" (!)" if cell.flags else "") + (" ✎" if cell.decisions else "")


def _pictures(slides: _Deck, one: PatientPages) -> None:
    pictured = one.pictured()
    for start in range(0, len(pictured), _LESIONS_WITH_PICTURES):
        slide = slides.slide(f"{_name(one)}: lesions in pictures", one.sheet.warning)
        for row, (lesion, shown) in enumerate(pictured[start : start + _LESIONS_WITH_PICTURES]):
            top = _TOP + row * 2.9
            text(slide, _lesion_words(lesion), _MARGIN, top, 2.6, 1.2, size=14, bold=True)
            field = max((image.field_mm for _, _, image in shown if image is not None), default=1.0)
            for column, (word, place, image) in enumerate(shown):
                left = _MARGIN + 2.8 + column * 3.2
                said = caption_of(lesion, one.sheet.visits[place], place, word)
                if image is None:
                    text(slide, f"{said}\nno picture", left, top, 3.1, 0.6, size=11)
                    continue
                side = _PICTURE * image.field_mm / field
                _picture(slide, image.png(), left, top, side, f"{lesion.label}, {said}, {image.place}")
                text(slide, said, left, top + _PICTURE, 3.1, 0.3, size=11)


def _remarks(slides: _Deck, one: PatientPages) -> None:
    lines = [(title, line) for title, found in remarks_of(one.sheet) for line in found]
    for start in range(0, len(lines), _REMARKS):
        slide = slides.slide(f"{_name(one)}: remarks", one.sheet.warning)
        said, before = [], ""
        for title, line in lines[start : start + _REMARKS]:
            said += [title] * (title != before) + [f"• {line}"]
            before = title
        text(slide, "\n".join(said), _MARGIN, _TOP, _INNER, 5, size=13)


def _agenda(slides: _Deck, packet: FrozenPacket, pages: Sequence[PatientPages]) -> None:
    warned = sum(bool(one.sheet.warning) for one in pages)
    warning = f"AI result, unverified, of {warned} of {len(pages)} patients" if warned else ""
    rows = []
    for number, one in enumerate(pages, start=1):
        latest = one.sheet.latest
        sums = "–"
        if latest is not None and latest.sum_mm is not None:
            sums = f"{latest.sum_mm:.1f} mm, {percent_words(latest.change_from_baseline_percent)}"
        rows.append(
            [
                str(number),
                _name(one),
                one.frozen.priority,
                one.frozen.question,
                f"{latest.day}, {latest.standing}" if latest else "–",
                overall_words(latest) if latest else "–",
                sums,
                "; ".join(one.frozen.missing),
            ]
        )
    head = [
        "",
        "Patient",
        "Priority",
        "Question",
        "Latest",
        "Response",
        "Sum, change from baseline",
        "Missing",
    ]
    per_slide = 7
    for start in range(0, len(rows), per_slide):
        slide = slides.slide(f"Tumour board, {packet.day}", warning)
        widths = [0.4, 2.2, 0.9, 2.8, 1.9, 1.1, 1.4, 1.7]
        _table(slide, [head, *rows[start : start + per_slide]], widths, _TOP, size=11)
