"""The report as pages: banner, response and its reasons, lesions over time, the course, key images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from html import escape
from io import BytesIO
from typing import Any

from dicom_io.results import equipment
from dicom_io.results.key_images import KeyImage
from dicom_io.results.pdf_style import INK, MUTED, RULE, WIDTH_MM, paragraph_styles, register_fonts, table_of
from dicom_io.results.plots import sum_plot_png
from dicom_io.results.settings import ResultSettings
from dicom_io.results.words import ROLE_WORDS, said_of, site_words
from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole, ReportedLesion, ReviewStatus, TimePointReport

_MAXIMUM_COLUMNS = 6
_SEPARATOR = "  ·  "
_RESPONSE_COLOURS = {
    "CR": "#1e8449", "PR": "#1e8449", "SD": "#9a7d0a", "PD": "#c0392b", "NE": "#5d6b79",
}  # fmt: skip
_STATE_WORDS = {
    LesionState.DISAPPEARED: "gone",
    LesionState.TOO_SMALL: "too small",
    LesionState.NOT_EVALUABLE: "NE",
    LesionState.TRACKING_FAILED: "not found",
    LesionState.MERGED: "merged",
    LesionState.SPLIT: "split",
}


@dataclass(frozen=True, kw_only=True)
class PatientHeader:
    """What the page's head says of patient and study."""

    patient_name: str
    patient_id: str
    birth_date: str
    sex: str
    accession_number: str
    study_description: str
    institution: str


def render_pdf(
    report: TimePointReport,
    header: PatientHeader,
    course: Sequence[TimePointReport],
    key_images: Sequence[KeyImage],
    settings: ResultSettings,
    moment: datetime,
) -> bytes:
    """Lay the report out on A4. Text is text (searchable), and the same report gives the same bytes.

    Parameters
    ----------
    course
        The patient's time points in order, this one among them.
    """
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    register_fonts()
    file = BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=18 * mm,
        rightMargin=18 * mm,
        topMargin=14 * mm,
        bottomMargin=18 * mm,
        title=f"Tumour response {report.time_point_id}",
        author=settings.manufacturer,
        subject=f"{report.assessment.criteria}: {report.assessment.overall}",
        invariant=1,
    )
    styles = paragraph_styles()
    story = [
        *_head(report, header, styles),
        *_banner(report, styles),
        *_response(report, styles),
        *_lesion_table(report, course, styles),
        *_plot(course),
        *_key_images(key_images, styles),
        *_remarks(report, settings, styles),
    ]

    def foot(canvas: Any, doc: Any) -> None:
        canvas.saveState()
        canvas.setFont("DejaVu", 7)
        canvas.setFillColor(MUTED)
        left = [
            header.patient_id,
            f"{report.study_date:%Y-%m-%d}",
            report.time_point_id,
            f"version {report.version}",
        ]
        canvas.drawString(18 * mm, 10 * mm, "   ".join(left))
        canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, f"made {moment:%Y-%m-%d %H:%M}   page {doc.page}")
        canvas.restoreState()

    document.build(story, onFirstPage=foot, onLaterPages=foot)
    return file.getvalue()


# ---------------------------------------------------------------- parts of the page


def _head(report: TimePointReport, header: PatientHeader, styles: dict[str, Any]) -> list[Any]:
    from reportlab.platypus import Paragraph, Spacer

    person = [header.birth_date, header.sex, f"ID {header.patient_id}"]
    left = [
        Paragraph(f"<b>{escape(header.patient_name or 'Unnamed patient')}</b>", styles["name"]),
        Paragraph(escape(_SEPARATOR.join(part for part in person if part)), styles["small"]),
    ]
    study = header.study_description or "Study"
    right = [
        Paragraph(f"<b>{escape(study)}</b>, {report.study_date:%Y-%m-%d}", styles["right"]),
        Paragraph(
            escape(
                _SEPARATOR.join(
                    [report.time_point_id, _when(report), f"accession {header.accession_number or '-'}"]
                )
            ),
            styles["small_right"],
        ),
        Paragraph(escape(header.institution), styles["small_right"]),
    ]
    table = table_of([[left, right]], [0.5, 0.5])
    return [Paragraph("Tumour response report", styles["title"]), table, Spacer(1, 6)]


def _when(report: TimePointReport) -> str:
    if report.is_baseline:
        return "baseline"
    return f"{report.days_from_baseline} days from baseline" + (", nadir" if report.is_nadir else "")


def _banner(report: TimePointReport, styles: dict[str, Any]) -> list[Any]:
    from reportlab.platypus import Paragraph, Spacer

    if report.status is ReviewStatus.SIGNED:
        when = f" on {report.signed_at:%Y-%m-%d %H:%M}" if report.signed_at else ""
        words, colour, tint = f"Signed by {report.signed_by}{when}", "#1e8449", "#e9f7ef"
    else:
        words = "UNVERIFIED: made by software, not yet confirmed by a radiologist"
        colour, tint = "#b9460b", "#fdf0e6"
    table = table_of([[Paragraph(f"<b>{escape(words)}</b>", styles["banner"])]], [1.0])
    table.setStyle(
        [("BACKGROUND", (0, 0), (-1, -1), tint), ("LINEBEFORE", (0, 0), (0, -1), 3, colour)]
        + [(f"{side}PADDING", (0, 0), (-1, -1), 5) for side in ("TOP", "BOTTOM")]
        + [("LEFTPADDING", (0, 0), (-1, -1), 8)]
    )
    return [table, Spacer(1, 7)]


def _response(report: TimePointReport, styles: dict[str, Any]) -> list[Any]:
    from reportlab.platypus import Paragraph, Spacer

    a = report.assessment
    colour = _RESPONSE_COLOURS.get(a.overall, INK)
    big = Paragraph(f'<font color="{colour}"><b>{escape(a.overall)}</b></font>', styles["response"])
    lines = [f"<b>Overall response ({escape(a.criteria)})</b>", escape(a.reason)]
    parts = (("target", a.target), ("non-target", a.non_target), ("new lesions", a.new_lesion))
    lines.append(escape(";  ".join(f"{name}: {value}" for name, value in parts if value)))
    if a.computed_overall and a.computed_overall != a.overall:
        lines.append(escape(f"a reader decided on {a.overall}; the rules give {a.computed_overall}"))
    if a.best_overall_response:
        why = f" ({a.best_overall_response_reason})" if a.best_overall_response_reason else ""
        lines.append(escape(f"best overall response: {a.best_overall_response}{why}"))
    body = [Paragraph(line, styles["body"]) for line in lines if line]
    return [table_of([[big, body]], [0.24, 0.76], middle=True), Spacer(1, 7)]


def _lesion_table(
    report: TimePointReport, course: Sequence[TimePointReport], styles: dict[str, Any]
) -> list[Any]:
    """Lesions by time points, in mm, with the sums and responses below."""
    from reportlab.platypus import Paragraph, Spacer

    shown = list(course) if len(course) <= _MAXIMUM_COLUMNS else [course[0], *course[-_MAXIMUM_COLUMNS + 1 :]]
    lesions: dict[str, ReportedLesion] = {}
    for r in [*course, report]:
        lesions.update({lesion.tracking_uid: lesion for lesion in r.lesions})
    heads = [f"<b>{escape(r.time_point_id)}</b><br/>{r.study_date:%Y-%m-%d}" for r in shown]
    rows = [[Paragraph(words, styles["cell_head"]) for words in ["Lesion", "Site", "Part", *heads]]]
    order = {role: n for n, role in enumerate(LesionRole)}
    for lesion in sorted(lesions.values(), key=lambda found: order[found.role]):
        axis = ", short axis" if lesion.is_nodal else ""
        label = f"<b>{escape(lesion.label)}</b>"
        cells = [
            f"<strike>{label}</strike>" if lesion.is_rejected else label,
            escape(site_words(lesion)),
            ROLE_WORDS[lesion.role] + axis,
        ]
        cells += [escape(_value(r, lesion.tracking_uid)) for r in shown]
        rows.append([Paragraph(c, styles["cell"]) for c in cells])
    first_sum = len(rows)
    rows += [[Paragraph(escape(c), styles["cell"]) for c in row] for row in _sum_rows(shown)]
    table = table_of(rows, [0.1, 0.19, 0.17, *([0.54 / len(shown)] * len(shown))], repeat=1)
    table.setStyle(
        [
            ("LINEBELOW", (0, 0), (-1, 0), 0.8, INK),
            ("LINEBELOW", (0, 1), (-1, -1), 0.3, RULE),
            ("LINEABOVE", (0, first_sum), (-1, first_sum), 0.8, INK),
            ("BACKGROUND", (0, first_sum), (-1, -1), "#f4f7f9"),
        ]
    )
    parts: list[Any] = [table]
    if any(lesion.flags for r in shown for lesion in r.lesions):
        parts.append(Paragraph("(!) to be looked at, see below", styles["small"]))
    if len(shown) < len(course):
        hidden = len(course) - len(shown)
        parts.append(Paragraph(f"{hidden} time points after the first are not shown.", styles["small"]))
    return [*parts, Spacer(1, 6)]


def _value(report: TimePointReport, tracking_uid: str) -> str:
    """A lesion's cell: the diameter that counts, and what else is known of it."""
    found = [lesion for lesion in report.lesions if lesion.tracking_uid == tracking_uid]
    if not found:
        return "-"
    lesion = found[0]
    if lesion.is_rejected:
        return "rejected"
    state = _STATE_WORDS.get(lesion.state, "")
    length = lesion.diameter_mm
    if length is None and lesion.measurement is not None:
        axis = lesion.measurement.short_axis if lesion.is_nodal else lesion.measurement.long_axis
        length = axis.length_mm
    if length is None:
        return state or "present"
    return f"{length:.1f} {state}".strip() + (" (!)" if lesion.flags else "")


def _sum_rows(shown: Sequence[TimePointReport]) -> list[list[str]]:
    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:+.1f} %"

    def words(value: str | None) -> str:
        return value or "-"

    a = [r.assessment for r in shown]
    sums = ["-" if x.sum_mm is None else f"{x.sum_mm:.1f}" for x in a]
    return [
        ["Sum", "of diameters", "mm", *sums],
        ["Change", "from baseline", "", *(percent(x.change_from_baseline_percent) for x in a)],
        ["Change", "from nadir", "", *(percent(x.change_from_nadir_percent) for x in a)],
        ["Overall", "response", "", *(words(x.overall) for x in a)],
    ]


def _plot(course: Sequence[TimePointReport]) -> list[Any]:
    from reportlab.lib.units import mm
    from reportlab.platypus import Image, Spacer

    png = sum_plot_png(course)
    return [] if png is None else [Image(BytesIO(png), WIDTH_MM * mm, 62 * mm), Spacer(1, 6)]


def _key_images(images: Sequence[KeyImage], styles: dict[str, Any]) -> list[Any]:
    from reportlab.lib.units import mm
    from reportlab.platypus import Image, KeepTogether, Paragraph

    if not images:
        return []
    side = 55 * mm
    cells = [Image(BytesIO(image.png()), side, side) for image in images]
    rows = [cells[i : i + 3] + [""] * (3 - len(cells[i : i + 3])) for i in range(0, len(cells), 3)]
    first, *others = [table_of([row], [1 / 3] * 3, padding=2) for row in rows]
    head = Paragraph("Key images", styles["head"])
    return [KeepTogether([head, first]), *others]


def _remarks(report: TimePointReport, settings: ResultSettings, styles: dict[str, Any]) -> list[Any]:
    """What to look at twice, and who made the result."""
    from reportlab.platypus import Paragraph

    flags = [f"{lesion.label}: {flag.value}" for lesion in report.lesions for flag in sorted(lesion.flags)]
    reasons = [f"{lesion.label}: {lesion.reason}" for lesion in report.lesions if lesion.reason]
    decisions = [said_of(decision) for decision in report.decisions]
    decisions += [
        said_of(replace(decision, lesion=lesion.label))
        for lesion in report.lesions
        for decision in lesion.decisions
    ]
    story: list[Any] = []
    for title, lines in (
        ("To be looked at", [*report.attention, *report.assessment.warnings, *flags]),
        ("What readers decided", decisions),
        ("Notes", [*report.notes, *reasons]),
    ):
        if lines:
            story.append(Paragraph(title, styles["head"]))
            story += [Paragraph(f"• {escape(line)}", styles["bullet"]) for line in lines]
    makers = [equipment.application(settings), *equipment.models_of(report)]
    made_by = "; ".join(
        f"{m.name} {m.version}" + (f" (weights {m.weights_sha256[:12]})" if m.weights_sha256 else "")
        for m in makers
    )
    words = f"Made by {made_by}. Lengths are between pixel centres in the acquisition plane."
    return [*story, Paragraph(escape(words), styles["footnote"])]
