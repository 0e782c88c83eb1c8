"""The report as pages: banner, response and its reasons, lesions over time, the course, key images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from typing import Any

from dicom_io import codes
from dicom_io.results import equipment
from dicom_io.results.fonts import BOLD, REGULAR, markup, register_fonts
from dicom_io.results.pdf_lesions import PictureStrip, lesion_pictures, lesion_table
from dicom_io.results.pdf_style import INK, LARGEST_RESPONSE, MUTED, WIDTH_MM, paragraph_styles, table_of
from dicom_io.results.pdf_tags import canvas_class, paragraph, picture
from dicom_io.results.plots import sum_plot_png
from dicom_io.results.settings import ResultSettings
from dicom_io.results.words import person, said_of
from workflow.domain.lesion import LesionState
from workflow.domain.palette import PROGRESSION, RESPONSE, css
from workflow.domain.report import LesionRole, ReviewStatus, TimePointReport

_SEPARATOR = "  ·  "
_FOOT_CHARACTERS = 40
_RESPONSE_COLOURS = {
    "CR": css(RESPONSE), "PR": css(RESPONSE), "SD": "#9a7d0a", "PD": css(PROGRESSION), "NE": MUTED,
}  # fmt: skip


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
    pictures: PictureStrip,
    settings: ResultSettings,
    moment: datetime,
) -> bytes:
    """Lay the report out on A4: tagged, its text searchable, its fonts embedded.

    The same report gives the same bytes.

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
        lang="en",
    )
    styles = paragraph_styles()
    story = [
        *_head(report, header, styles),
        *_banner(report, styles),
        *_response(report, styles),
        *lesion_table(report, course, styles),
        *_plot(course),
        *lesion_pictures(pictures, course, styles),
        *_remarks(report, settings, styles),
    ]

    def foot(canvas: Any, doc: Any) -> None:
        canvas.saveState()
        canvas.setFont(REGULAR, 7)
        canvas.setFillColor(MUTED)
        left = [
            header.patient_id[:_FOOT_CHARACTERS],
            f"{report.study_date:%Y-%m-%d}",
            report.time_point_id,
            f"version {report.version}",
        ]
        if report.version > 1:
            left[-1] += f", replaces version {report.version - 1}"
        canvas.drawString(18 * mm, 10 * mm, "   ".join(left))
        canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, f"made {moment:%Y-%m-%d %H:%M}   page {doc.page}")
        canvas.restoreState()

    document.build(story, onFirstPage=foot, onLaterPages=foot, canvasmaker=canvas_class())
    return file.getvalue()


# ---------------------------------------------------------------- parts of the page


def _head(report: TimePointReport, header: PatientHeader, styles: dict[str, Any]) -> list[Any]:
    from reportlab.platypus import Spacer

    person = [header.birth_date, header.sex, f"ID {header.patient_id}"]
    left = [
        paragraph(f"<b>{markup(header.patient_name or 'Unnamed patient')}</b>", styles["name"]),
        paragraph(markup(_SEPARATOR.join(part for part in person if part)), styles["small"]),
    ]
    study = header.study_description or "Study"
    when = _SEPARATOR.join([report.time_point_id, _when(report)])
    accession = f"accession {header.accession_number}" if header.accession_number else ""
    filed = _SEPARATOR.join(part for part in (accession, header.institution) if part)
    right = [
        paragraph(f"<b>{markup(study)}</b>", styles["right"]),
        paragraph(f"<b>{report.study_date:%Y-%m-%d}</b>{markup(_SEPARATOR + when)}", styles["small_right"]),
        paragraph(markup(filed), styles["small_right"]),
    ]
    table = table_of([[left, right]], [0.5, 0.5], breaks=True)
    return [paragraph("Tumour response report", styles["title"], "H1"), table, Spacer(1, 6)]


def _when(report: TimePointReport) -> str:
    if report.is_baseline:
        return "baseline"
    return f"{report.days_from_baseline} days from baseline" + (", nadir" if report.is_nadir else "")


def _banner(report: TimePointReport, styles: dict[str, Any]) -> list[Any]:
    from reportlab.platypus import Spacer

    if report.status is ReviewStatus.SIGNED:
        when = f" on {report.signed_at:%Y-%m-%d %H:%M}" if report.signed_at else ""
        words, colour, tint = f"Signed by {person(report.signed_by or '')}{when}", css(RESPONSE), "#e9f7ef"
    else:
        words = "UNVERIFIED: made by software, not yet confirmed by a radiologist"
        colour, tint = "#b9460b", "#fdf0e6"
    table = table_of([[paragraph(f"<b>{markup(words)}</b>", styles["banner"])]], [1.0])
    table.setStyle(
        [("BACKGROUND", (0, 0), (-1, -1), tint), ("LINEBEFORE", (0, 0), (0, -1), 3, colour)]
        + [(f"{side}PADDING", (0, 0), (-1, -1), 5) for side in ("TOP", "BOTTOM")]
        + [("LEFTPADDING", (0, 0), (-1, -1), 8)]
    )
    return [table, Spacer(1, 7)]


def _response(report: TimePointReport, styles: dict[str, Any]) -> list[Any]:
    from reportlab.platypus import Spacer

    a = report.assessment
    colour = _RESPONSE_COLOURS.get(a.overall, INK)
    share = 0.24
    size = _size_that_fits(a.overall, share * WIDTH_MM)
    large = f'<font color="{colour}" size="{size}"><b>{markup(a.overall)}</b></font>'
    big = [paragraph(large, styles["response"], "H2")]
    meaning = codes.response_code(a.overall).meaning
    if meaning.lower() != a.overall.lower():
        big.append(paragraph(markup(meaning), styles["response_words"]))
    lines = [f"<b>Overall response ({markup(codes.criteria_code(a.criteria).meaning)})</b>", markup(a.reason)]
    parts = (("target", a.target), ("non-target", a.non_target), ("new lesions", a.new_lesion))
    lines.append(markup(";  ".join(f"{name}: {value}" for name, value in parts if value)))
    if a.computed_overall and a.computed_overall != a.overall:
        lines.append(markup(f"a reader decided on {a.overall}; the rules give {a.computed_overall}"))
    if a.best_overall_response:
        why = f" ({a.best_overall_response_reason})" if a.best_overall_response_reason else ""
        lines.append(markup(f"best overall response: {a.best_overall_response}{why}"))
    body = [paragraph(line, styles["body"]) for line in lines if line]
    return [table_of([[big, body]], [share, 1 - share], middle=True, breaks=True), Spacer(1, 7)]


def _size_that_fits(words: str, width_mm: float) -> int:
    """The largest size, points, at which a word stays on one line."""
    from reportlab.lib.units import mm
    from reportlab.pdfbase.pdfmetrics import stringWidth

    width = stringWidth(words, BOLD, 1)
    return min(LARGEST_RESPONSE, int((width_mm * mm - 8) / width)) if width else LARGEST_RESPONSE


def _plot(course: Sequence[TimePointReport]) -> list[Any]:
    from reportlab.lib.units import mm
    from reportlab.platypus import Spacer

    png = sum_plot_png(course)
    if png is None:
        return []
    words = "The sum of diameters over time, with the lines of response and progression"
    return [picture(png, WIDTH_MM * mm, 62 * mm, words), Spacer(1, 6)]


def _remarks(report: TimePointReport, settings: ResultSettings, styles: dict[str, Any]) -> list[Any]:
    """What to look at twice, and who made the result."""
    flags = [f"{lesion.label}: {flag.value}" for lesion in report.lesions for flag in sorted(lesion.flags)]
    # Why a lesion is as it is matters where it is not simply there; how it was found again is in the SR.
    reasons = [
        f"{lesion.label}: {lesion.reason}"
        for lesion in report.lesions
        if lesion.reason and (lesion.state is not LesionState.PRESENT or lesion.role is LesionRole.NEW)
    ]
    decisions = [said_of(decision) for decision in report.decisions]
    decisions += [
        said_of(replace(decision, lesion=lesion.label))
        for lesion in report.lesions
        for decision in lesion.decisions
    ]
    from reportlab.platypus import KeepTogether

    story: list[Any] = []
    for title, lines in (
        ("To be looked at", [*report.attention, *report.assessment.warnings, *flags]),
        ("What readers decided", decisions),
        ("Notes", [*report.notes, *reasons]),
    ):
        if lines:
            head = paragraph(title, styles["head"], "H2")
            first, *others = [paragraph(f"• {markup(line)}", styles["bullet"]) for line in lines]
            story += [KeepTogether([head, first]), *others]
    makers = [equipment.application(settings), *equipment.models_of(report)]
    made_by = "; ".join(
        f"{m.name} {m.version}" + (f" (weights {m.weights_sha256[:12]})" if m.weights_sha256 else "")
        for m in makers
    )
    words = f"Made by {made_by}. Lengths are between pixel centres in the acquisition plane."
    made = paragraph(markup(words), styles["footnote"])
    # A last page with two lines helps nobody: the remarks stay together as long as they fit on one.
    return [KeepTogether([*_flat(story), made])] if story else [made]


def _flat(story: Sequence[Any]) -> list[Any]:
    return [part for one in story for part in (getattr(one, "_content", None) or [one])]
