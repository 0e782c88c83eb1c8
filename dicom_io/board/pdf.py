"""A packet as pages: A4 landscape, readable in black and white, the warning on every page.

A patient: verdict and sums, the lesions by visits, each lesion at baseline, nadir and now, remarks. A list
begins with its agenda.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from dicom_io.board.content import (
    PatientPages,
    caption_of,
    column_groups,
    models_of,
    overall_words,
    remarks_of,
    sum_rows,
)
from dicom_io.board.figures import sum_figure
from dicom_io.results.fonts import BOLD, REGULAR, markup, register_fonts
from dicom_io.results.key_images import KeyImage
from dicom_io.results.pdf_style import INK, MUTED, RULE, paragraph_styles
from dicom_io.results.pdf_tags import canvas_class, paragraph, picture
from workflow.domain.sheet import SheetLesion, percent_words
from workflow.ports.board import FrozenPacket

_WIDTH_MM, _HEIGHT_MM = 297.0, 210.0
_MARGIN_MM, _HEAD_MM, _FOOT_MM = 12.0, 24.0, 12.0
_INNER_MM = _WIDTH_MM - 2 * _MARGIN_MM
_LESION_MM = 52.0
_PICTURE_MM = 42.0
_WIDE, _FEW = 8, 12  # visits and lesions that larger letters have room for
_ROOMY = 26  # lesions that fit a page with their sums in letters of the usual size
_SIDES = ("LEFT", "RIGHT", "TOP", "BOTTOM")


def render_pdf(packet: FrozenPacket, pages: Sequence[PatientPages]) -> bytes:
    """Lay a packet out; the same packet gives the same bytes."""
    from reportlab.lib.units import mm
    from reportlab.platypus import BaseDocTemplate, Frame, NextPageTemplate, PageBreak, PageTemplate

    register_fonts()
    file = BytesIO()
    document = BaseDocTemplate(
        file,
        pagesize=(_WIDTH_MM * mm, _HEIGHT_MM * mm),
        title=f"Tumour board {packet.day}, version {packet.version}",
        author="Tumorline",
        invariant=1,
        lang="en",
    )
    frame = Frame(
        _MARGIN_MM * mm, _FOOT_MM * mm, _INNER_MM * mm, (_HEIGHT_MM - _HEAD_MM - _FOOT_MM) * mm,
        leftPadding=0, rightPadding=0, topPadding=2, bottomPadding=0,
    )  # fmt: skip
    heads = [(one.heading, one.about, one.sheet.warning) for one in pages]
    if packet.is_list:
        warned = [one.heading for one in pages if one.sheet.warning]
        warning = f"AI result, unverified, of {len(warned)} of {len(pages)} patients" if warned else ""
        heads.insert(0, ("Agenda", f"{len(pages)} patients", warning))
    document.addPageTemplates(
        [
            PageTemplate(id=str(i), frames=[frame], onPage=_page_writer(packet, *head))
            for i, head in enumerate(heads)
        ]
    )
    styles = _styles()
    stories = [_agenda(packet, pages, styles)] if packet.is_list else []
    stories += [_patient(one, styles) for one in pages]
    story: list[Any] = []
    for i, part in enumerate(stories):
        story += [NextPageTemplate(str(i)), *([PageBreak()] if i else []), *part]
    document.build(story, canvasmaker=canvas_class())
    return file.getvalue()


def _styles() -> dict[str, Any]:
    from reportlab.lib.styles import ParagraphStyle

    def style(name: str, size: float, **said: Any) -> Any:
        values = {"fontName": REGULAR, "textColor": INK, "leading": size * 1.25}
        return ParagraphStyle(name, fontSize=size, **(values | said))

    return paragraph_styles() | {
        "tiny": style("tiny", 6.5),
        "dense": style("dense", 6, leading=7),
        "tiny_muted": style("tiny_muted", 6.5, textColor=MUTED),
        "caption": style("caption", 7),
        "verdict": style("verdict", 30, fontName=BOLD, leading=36),
    }


def _page_writer(packet: FrozenPacket, heading: str, about: str, warning: str) -> Any:
    """What stands at the head and the foot of each of a patient's pages."""

    def write(canvas: Any, document: Any) -> None:
        from reportlab.lib.units import mm
        from reportlab.platypus import Paragraph

        styles = _styles()
        canvas.saveState()
        top = (_HEIGHT_MM - 8) * mm
        name = Paragraph(f"<b>{markup(heading)}</b>  {markup(about)}", styles["body"])
        _, height = name.wrap(170 * mm, 20 * mm)
        name.drawOn(canvas, _MARGIN_MM * mm, top - height)
        canvas.setFont(REGULAR, 8)
        canvas.setFillColor(INK)
        canvas.drawRightString(
            (_WIDTH_MM - _MARGIN_MM) * mm, top - 9, f"Tumour board {packet.day}, version {packet.version}"
        )
        if warning:
            # A box and words: it is seen on a black and white print too.
            bottom, box = (_HEIGHT_MM - 21.5) * mm, 6.5 * mm
            canvas.setLineWidth(1.4)
            canvas.setStrokeColor("black")
            canvas.rect(_MARGIN_MM * mm, bottom, _INNER_MM * mm, box)
            black = f'<font color="black"><b>{markup(_shortened(warning))}</b></font>'
            words = Paragraph(black, styles["small"])
            words.wrap((_INNER_MM - 4) * mm, box)
            words.drawOn(canvas, (_MARGIN_MM + 2) * mm, bottom + 1.6 * mm)
        canvas.setFont(REGULAR, 7)
        canvas.setFillColor(MUTED)
        made = (
            f"frozen {packet.made_at:%Y-%m-%d %H:%M} UTC by {packet.made_by}, content {packet.sha256[:12]}."
        )
        foot = Paragraph(markup(f"{made} For research use: a radiologist signs."), styles["tiny_muted"])
        foot.wrap(220 * mm, 10 * mm)
        foot.drawOn(canvas, _MARGIN_MM * mm, 6 * mm)
        canvas.drawRightString((_WIDTH_MM - _MARGIN_MM) * mm, 6.5 * mm, f"page {document.page}")
        canvas.restoreState()

    return write


def _shortened(warning: str, most: int = 150) -> str:
    return warning if len(warning) <= most else f"{warning[: most - 1].rstrip(', ')}…"


def _table(
    rows: list[list[Any]], widths_mm: Sequence[float], *said: Any, padding: float = 2, repeat: int = 0
) -> Any:
    from reportlab.lib.units import mm
    from reportlab.platypus import Table

    table = Table(rows, colWidths=[width * mm for width in widths_mm], repeatRows=repeat, hAlign="LEFT")
    table.setStyle(
        [("FONTNAME", (0, 0), (-1, -1), REGULAR), ("VALIGN", (0, 0), (-1, -1), "TOP")]
        + [(f"{side}PADDING", (0, 0), (-1, -1), padding) for side in _SIDES]
        + list(said)
    )
    return table


# ---------------------------------------------------------------- a patient


def _patient(pages: PatientPages, styles: dict[str, Any]) -> list[Any]:
    return [
        *_question(pages, styles),
        *_verdict(pages, styles),
        *_lesions(pages, styles),
        *_pictures(pages, styles),
        *_remarks(pages, styles),
    ]


def _question(pages: PatientPages, styles: dict[str, Any]) -> list[Any]:
    from reportlab.platypus import Spacer

    asked, lines = pages.frozen.question, []
    if asked:
        lines.append(f"<b>Question:</b> {markup(asked)}")
    if pages.frozen.priority != "normal":
        lines.append(f"<b>Priority:</b> {markup(pages.frozen.priority)}")
    if pages.frozen.missing:
        lines.append(f"<b>Missing:</b> {markup('; '.join(pages.frozen.missing))}")
    return [*[paragraph(line, styles["body"]) for line in lines], Spacer(1, 5)]


def _verdict(pages: PatientPages, styles: dict[str, Any]) -> list[Any]:
    from reportlab.lib.units import mm
    from reportlab.platypus import Spacer

    latest = pages.sheet.latest
    if latest is None:
        return [paragraph("No time point has a report.", styles["head"], "H2")]
    lines = [
        f"<b>{latest.day}, {markup(latest.id)}</b>, {markup(latest.criteria)}: {markup(latest.standing)}",
        markup(latest.reason),
    ]
    if latest.best_overall_response:
        lines.append(f"best overall response so far: <b>{markup(latest.best_overall_response)}</b>")
    if latest.computed_overall and latest.computed_overall != latest.overall:
        lines.append(f"a reader decided; the rules give {markup(latest.computed_overall)}")
    size = 30 if len(latest.overall) <= 8 else 16
    big = paragraph(f'<font size="{size}"><b>{markup(latest.overall)}</b></font>', styles["verdict"], "H1")
    left = [big, *[paragraph(line, styles["body"]) for line in lines]]
    width, height = 150.0, 52.0
    figure = sum_figure(pages.sheet, width_mm=width, height_mm=height)
    spoken = "Sum of diameters: " + ", ".join(
        f"{v.day} {v.sum_mm:.1f} mm" for v in pages.sheet.visits if v.sum_mm is not None
    )
    right = picture(figure, width * mm, height * mm, spoken) if figure else ""
    table = _table([[left, right]], [_INNER_MM - width, width], ("VALIGN", (0, 0), (-1, -1), "MIDDLE"))
    return [table, Spacer(1, 6)]


def _lesions(pages: PatientPages, styles: dict[str, Any]) -> list[Any]:
    from reportlab.platypus import KeepTogether, Spacer

    if not pages.sheet.visits:
        return []
    groups = column_groups(len(pages.sheet.visits))
    parts: list[Any] = []
    for number, group in enumerate(groups, start=1):
        title = "Lesions, mm" if len(groups) == 1 else f"Lesions, mm ({number} of {len(groups)})"
        parts.append(
            KeepTogether(
                [paragraph(title, styles["head"], "H2"), _lesion_table(pages, group, styles), Spacer(1, 6)]
            )
        )
    return parts


def _lesion_table(pages: PatientPages, group: Sequence[int], styles: dict[str, Any]) -> Any:
    sheet = pages.sheet
    visits = [sheet.visits[place] for place in group]
    tags = {place: word for word, place in sheet.compared}

    is_dense = len(sheet.lesions) > _ROOMY
    size = "dense" if is_dense else "cell" if len(group) <= _WIDE and len(sheet.lesions) <= _FEW else "tiny"

    def cell(words: str) -> Any:
        return paragraph(words.replace("NON-CR/NON-PD", "NON-CR/<br/>NON-PD"), styles[size])

    head = ["<b>Lesion</b>"]
    for place, visit in zip(group, visits, strict=True):
        tag = f"<br/>{tags[place]}" if place in tags else ""
        head.append(f"<b>{markup(visit.id)}</b><br/>{visit.day}{tag}")
    rows = [[cell(words) for words in head]]
    for lesion in sheet.lesions:
        rows.append([cell(_lesion_words(lesion)), *(cell(_value(lesion, place)) for place in group)])
    first_sum = len(rows)
    for name, values in sum_rows(visits):
        rows.append([cell(f"<b>{markup(name)}</b>"), *(cell(f"<b>{markup(value)}</b>") for value in values)])
    rows.append([cell("Who stands behind it"), *(cell(markup(visit.standing)) for visit in visits)])
    width = min((_INNER_MM - _LESION_MM) / len(group), 38)
    return _table(
        rows,
        [_LESION_MM, *([width] * len(group))],
        ("LINEBELOW", (0, 0), (-1, 0), 0.9, INK),
        ("LINEBELOW", (0, 1), (-1, -1), 0.3, RULE),
        ("LINEABOVE", (0, first_sum), (-1, first_sum), 0.9, INK),
        padding=0.5 if is_dense else 1.3,
        repeat=1,
    )


def _lesion_words(lesion: SheetLesion) -> str:
    return f"<b>{markup(lesion.label)}</b> {markup(lesion.site)} · {markup(lesion.role_words)}"


def _value(lesion: SheetLesion, place: int) -> str:
    cell = lesion.cells[place]
    if cell is None:
        return "–"
    words = markup(cell.words)
    if cell.is_rejected:
        return f"<strike>{words}</strike>"
    return words + (" (!)" if cell.flags else "") + (" ✎" if cell.decisions else "")


# ---------------------------------------------------------------- pictures and remarks


def _pictures(pages: PatientPages, styles: dict[str, Any]) -> list[Any]:
    from reportlab.platypus import KeepTogether

    blocks = [_block(pages, lesion, shown, styles) for lesion, shown in pages.pictured()]
    if not blocks:
        return []
    half = _INNER_MM / 2
    rows = [
        _table([[blocks[i], blocks[i + 1] if i + 1 < len(blocks) else ""]], [half, half], padding=1)
        for i in range(0, len(blocks), 2)
    ]
    title = paragraph("Lesions in pictures: each at one scale", styles["head"], "H2")
    return [KeepTogether([title, rows[0]]), *rows[1:]]


def _block(
    pages: PatientPages,
    lesion: SheetLesion,
    shown: Sequence[tuple[str, int, KeyImage | None]],
    styles: dict[str, Any],
) -> list[Any]:
    """A lesion's pictures side by side, with what they show."""
    from reportlab.lib.units import mm

    field = max((image.field_mm for _, _, image in shown if image is not None), default=1.0)
    drawn, captions = [], []
    for word, place, image in shown:
        said = caption_of(lesion, pages.sheet.visits[place], place, word)
        if image is None:
            drawn.append(paragraph("no picture", styles["tiny_muted"]))
            captions.append(paragraph(f"<b>{markup(said)}</b>", styles["tiny"]))
            continue
        side = _PICTURE_MM * image.field_mm / field * mm
        drawn.append(picture(image.png(), side, side, f"{lesion.label}, {said}, {image.place}"))
        captions.append(paragraph(f"<b>{markup(said)}</b><br/>{markup(image.place)}", styles["tiny"]))
    widths = [_PICTURE_MM + 2] * len(shown)
    return [
        paragraph(_lesion_words(lesion), styles["caption"]),
        _table([drawn, captions], widths, padding=1),
    ]


def _remarks(pages: PatientPages, styles: dict[str, Any]) -> list[Any]:
    from reportlab.platypus import KeepTogether

    story: list[Any] = []
    for title, lines in remarks_of(pages.sheet):
        first, *others = [paragraph(f"• {markup(line)}", styles["bullet"]) for line in lines]
        story += [KeepTogether([paragraph(title, styles["head"], "H2"), first]), *others]
    made = f"Outlined by {models_of(pages.sheet)}. (!) to be looked at; ✎ a reader decided; lengths in mm."
    return [*story, paragraph(markup(made), styles["footnote"])]


# ---------------------------------------------------------------- a list


def _agenda(packet: FrozenPacket, pages: Sequence[PatientPages], styles: dict[str, Any]) -> list[Any]:
    def cell(words: str) -> Any:
        return paragraph(words, styles["cell"])

    heads = (
        "",
        "Patient",
        "Priority",
        "Question",
        "Latest",
        "Response",
        "Sum, change from baseline",
        "Missing",
    )
    rows = [[cell(f"<b>{words}</b>") for words in heads]]
    for number, one in enumerate(pages, start=1):
        latest = one.sheet.latest
        sums = "–"
        if latest is not None and latest.sum_mm is not None:
            sums = f"{latest.sum_mm:.1f} mm, {percent_words(latest.change_from_baseline_percent)}"
        rows.append(
            [
                cell(str(number)),
                cell(f"<b>{markup(one.heading)}</b><br/>{markup(one.about)}"),
                cell(markup(one.frozen.priority)),
                cell(markup(one.frozen.question)),
                cell(f"{latest.day}<br/>{markup(latest.standing)}" if latest else "–"),
                cell(f"<b>{markup(overall_words(latest))}</b>" if latest else "–"),
                cell(markup(sums)),
                cell(markup("; ".join(one.frozen.missing))),
            ]
        )
    widths = [8.0, 48.0, 18.0, 58.0, 38.0, 24.0, 34.0, 45.0]
    table = _table(
        rows,
        widths,
        ("LINEBELOW", (0, 0), (-1, 0), 0.9, INK),
        ("LINEBELOW", (0, 1), (-1, -1), 0.3, RULE),
        padding=3,
        repeat=1,
    )
    return [paragraph(f"Tumour board, {packet.day}", styles["title"], "H1"), table]
