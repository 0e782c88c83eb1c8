"""The lesions on the report's pages: a table over time, and each at baseline, nadir and now, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_io.results.fonts import markup
from dicom_io.results.key_images import KeyImage, render_locator
from dicom_io.results.pdf_style import INK, RULE, table_of
from dicom_io.results.pdf_tags import paragraph, picture
from dicom_io.results.visit import Visit
from dicom_io.results.words import site_words
from workflow.domain.lesion import LesionState
from workflow.domain.palette import colour_of, css
from workflow.domain.report import ROLE_WORDS, LesionRole, ReportedLesion, TimePointReport
from workflow.domain.states import LESION_WORDS

MOST_COLUMNS = 6
_LABEL_SHARES = (0.10, 0.16, 0.13)
_PICTURE_MM, _LOCATOR_MM = 43.0, 30.0


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureStrip:
    """The pictures of a visit's lesions, now by tracking UID, and at earlier time points."""

    visit: Visit
    now: Mapping[str, KeyImage]
    earlier: Sequence[KeyImage] = ()

    def at(self, tracking_uid: str, time_point_id: str) -> KeyImage | None:
        """A lesion's picture at a time point, if there is one."""
        if time_point_id == self.visit.report.time_point_id:
            return self.now.get(tracking_uid)
        wanted = tracking_uid, time_point_id
        found = [image for image in self.earlier if (image.tracking_uid, image.time_point_id) == wanted]
        return found[-1] if found else None


def nadir_of(course: Sequence[TimePointReport]) -> TimePointReport | None:
    """The time point with the smallest sum, the latest of equals; None if no sum is known."""
    known = [r for r in course if r.assessment.sum_mm is not None]
    return min(reversed(known), key=lambda r: r.assessment.sum_mm or 0.0) if known else None


def shown_columns(course: Sequence[TimePointReport]) -> list[TimePointReport]:
    """The time points that the table shows: all, or baseline, nadir and the latest."""
    if len(course) <= MOST_COLUMNS:
        return list(course)
    nadir, latest = nadir_of(course), list(course[-MOST_COLUMNS + 1 :])
    if nadir is not None and nadir is not course[0] and nadir not in latest:
        latest = [nadir, *latest[1:]]
    return [course[0], *latest]


def lesion_table(
    report: TimePointReport, course: Sequence[TimePointReport], styles: dict[str, Any]
) -> list[Any]:
    """Lesions by time points, in mm, with the sums and responses below."""
    from reportlab.platypus import Spacer

    shown = shown_columns(course)
    heads = [f"<b>{markup(r.time_point_id)}</b><br/>{r.study_date:%Y-%m-%d}" for r in shown]
    rows = [[paragraph(words, styles["cell_head"]) for words in ["Lesion (mm)", "Site", "Part", *heads]]]
    lesions = in_order(course)
    for lesion in lesions:
        struck = "strike" if lesion.is_rejected else "b"
        axis = ", short axis" if lesion.is_nodal else ""
        cells = [
            f"<{struck}>{markup(lesion.label)}</{struck}>",
            markup(site_words(lesion)),
            ROLE_WORDS[lesion.role] + axis,
            *(markup(value_of(r, lesion.tracking_uid)) for r in shown),
        ]
        rows.append([paragraph(cell, styles["cell"]) for cell in cells])
    first_sum = len(rows)
    for name, values in _sum_rows(shown):
        head, *cells = [paragraph(markup(words), styles["cell"]) for words in (name, *values)]
        rows.append([head, "", "", *cells])
    share = (1 - sum(_LABEL_SHARES)) / len(shown)
    table = table_of(rows, [*_LABEL_SHARES, *([share] * len(shown))], repeat=1)
    table.setStyle(
        [
            ("LINEBELOW", (0, 0), (-1, 0), 0.8, INK),
            ("LINEBELOW", (0, 1), (-1, -1), 0.3, RULE),
            ("LINEABOVE", (0, first_sum), (-1, first_sum), 0.8, INK),
            ("BACKGROUND", (0, first_sum), (-1, -1), "#f4f7f9"),
            *(("SPAN", (0, row), (2, row)) for row in range(first_sum, len(rows))),
            *(
                ("LINEBEFORE", (0, row), (0, row), 3, css(colour_of(lesion.role, lesion.label)))
                for row, lesion in enumerate(lesions, start=1)
            ),
        ]
    )
    parts: list[Any] = [table]
    if any(lesion.flags for r in shown for lesion in r.lesions):
        parts.append(paragraph("(!) to be looked at, see below", styles["small"]))
    if hidden := len(course) - len(shown):
        parts.append(paragraph(f"{hidden} time points are not shown.", styles["small"]))
    return [*parts, Spacer(1, 6)]


def in_order(course: Sequence[TimePointReport]) -> list[ReportedLesion]:
    """Every lesion of the course as it was seen last: targets, then non-targets, then new ones."""
    lesions: dict[str, ReportedLesion] = {}
    for report in course:
        lesions.update({lesion.tracking_uid: lesion for lesion in report.lesions})
    order = {role: n for n, role in enumerate(LesionRole)}
    return sorted(lesions.values(), key=lambda lesion: order[lesion.role])


def value_of(report: TimePointReport, tracking_uid: str, unit: str = "") -> str:
    """A lesion at a time point: the diameter that counts, mm, and what else is known of it."""
    lesion = next((one for one in report.lesions if one.tracking_uid == tracking_uid), None)
    if lesion is None:
        return "-"
    if lesion.is_rejected:
        return "rejected"
    words = LESION_WORDS[lesion.state]
    length = lesion.diameter_mm
    if length is None and lesion.measurement is not None:
        axis = lesion.measurement.short_axis if lesion.is_nodal else lesion.measurement.long_axis
        length = axis.length_mm
    if length is None:
        return words
    state = "" if lesion.state is LesionState.PRESENT else f" {words}"
    return f"{length:.1f}{unit}{state}" + (" (!)" if lesion.flags else "")


def _sum_rows(shown: Sequence[TimePointReport]) -> list[tuple[str, list[str]]]:
    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:+.1f} %"

    a = [r.assessment for r in shown]
    return [
        ("Sum of diameters (mm)", ["-" if x.sum_mm is None else f"{x.sum_mm:.1f}" for x in a]),
        ("Change from baseline", [percent(x.change_from_baseline_percent) for x in a]),
        ("Change from the nadir before", [percent(x.change_from_nadir_percent) for x in a]),
        ("Overall response", [x.overall or "-" for x in a]),
    ]


# ---------------------------------------------------------------- pictures


def lesion_pictures(
    pictures: PictureStrip, course: Sequence[TimePointReport], styles: dict[str, Any]
) -> list[Any]:
    """A row per lesion: where it is, then the lesion at baseline, nadir and now, all at one scale."""
    from reportlab.platypus import KeepTogether

    points = _compared(course)
    rows = []
    for lesion in in_order([pictures.visit.report]):
        if lesion.is_rejected or not any(pictures.at(lesion.tracking_uid, r.time_point_id) for r in course):
            continue
        rows.append(_row(lesion, pictures, points, styles))
    if not rows:
        return []
    head = paragraph("Lesions in pictures", styles["head"], "H2")
    return [KeepTogether([head, rows[0]]), *rows[1:]]


def _compared(course: Sequence[TimePointReport]) -> list[tuple[str, TimePointReport]]:
    """Baseline, nadir and this time point, each once, with what they are."""
    now, earlier = course[-1], course[:-1]
    points = [("baseline", earlier[0])] if earlier else []
    nadir = nadir_of(earlier)
    if nadir is not None and nadir is not earlier[0]:
        points.append(("nadir", nadir))
    return [*points, ("baseline" if now.is_baseline else "now", now)]


def _row(
    lesion: ReportedLesion,
    pictures: PictureStrip,
    points: Sequence[tuple[str, TimePointReport]],
    styles: dict[str, Any],
) -> Any:
    from reportlab.lib.units import mm

    uid = lesion.tracking_uid
    shown = [pictures.at(uid, report.time_point_id) for _, report in points]
    field_mm = max((image.field_mm for image in shown if image is not None), default=1.0)
    first = [
        paragraph(f"<b>{markup(lesion.label)}</b>  {ROLE_WORDS[lesion.role]}", styles["cell"]),
        paragraph(markup(site_words(lesion) or "site not said"), styles["cell"]),
    ]
    if (now := pictures.now.get(uid)) is not None:
        source = pictures.visit.volume_of(lesion).images.source
        locator = render_locator(source.volume, now, lesion, modality=source.series.modality)
        first.append(_fitted(locator, _LOCATOR_MM, f"where {lesion.label} lies in its slice"))
    cells: list[Any] = [first]
    for (word, report), image in zip(points, shown, strict=True):
        said = paragraph(
            f"<b>{word}</b>, {report.study_date:%Y-%m-%d}: {markup(value_of(report, uid, ' mm'))}",
            styles["cell"],
        )
        if image is None:
            cells.append([said, paragraph("no picture", styles["small"])])
            continue
        side = _PICTURE_MM * image.field_mm / field_mm * mm
        alternative = f"{lesion.label} at {report.time_point_id}, {value_of(report, uid)}, {image.place}"
        drawn = picture(image.png(), side, side, alternative)
        cells.append([said, drawn, paragraph(markup(image.place), styles["small"])])
    empty = [""] * (4 - len(cells))
    table = table_of([[*cells, *empty]], [0.205, 0.265, 0.265, 0.265], padding=2)
    bar = ("LINEBEFORE", (0, 0), (0, 0), 3, css(colour_of(lesion.role, lesion.label)))
    table.setStyle([bar, ("LEFTPADDING", (0, 0), (0, 0), 6)])
    return table


def _fitted(png: bytes, side_mm: float, alternative: str) -> Any:
    """A picture whose longer side is as long as said."""
    from io import BytesIO

    from PIL import Image
    from reportlab.lib.units import mm

    width, height = Image.open(BytesIO(png)).size
    scale = side_mm * mm / max(width, height)
    return picture(png, width * scale, height * scale, alternative)
