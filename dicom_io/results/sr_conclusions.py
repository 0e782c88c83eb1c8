"""What the SR says of the time point as a whole: sums, response and its reasons, lesions without axes.

It stands in containers at the root (TID 1500 rows 10 and 12), not in measurement groups: viewers take
every group for an annotation and fail on one without coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dicom_io import codes
from dicom_io.results.source import InstanceReference
from dicom_io.results.sr_items import (
    code_item,
    composite_items,
    container,
    date_item,
    extend,
    num_item,
    optional_num,
    text_item,
    uid_item,
)
from dicom_io.results.sr_lesions import (
    decision_item,
    diameter_items,
    has_axes,
    identity_items,
    judgement_items,
    site_items,
    time_point_items,
)
from dicom_io.results.visit import Visit, VisitStudy, VisitVolume
from dicom_io.results.words import series_words, written_date
from workflow.domain.report import ReportedLesion, TimePointReport


def derived_measurements(report: TimePointReport) -> Any:
    """TID 1500 row 10: sums of diameters and their changes, and the time point's place in the course."""
    order = num_item(codes.TIME_POINT_ORDER, report.order, codes.NO_UNITS)
    items = [*time_point_items(report), *derived_items(report), order]
    return extend(container(codes.DERIVED_IMAGING_MEASUREMENTS, "CONTAINS"), items)


def derived_items(report: TimePointReport) -> list[Any]:
    """Sums and changes that are known, and days from baseline."""
    a = report.assessment
    quantities = (
        (codes.SUM_OF_DIAMETERS, a.sum_mm, codes.MILLIMETRE),
        (codes.BASELINE_SUM, a.baseline_sum_mm, codes.MILLIMETRE),
        (codes.EARLIER_NADIR_SUM, a.nadir_sum_mm, codes.MILLIMETRE),
        (codes.CHANGE_FROM_BASELINE, a.change_from_baseline_percent, codes.PERCENT),
        (codes.CHANGE_FROM_NADIR, a.change_from_nadir_percent, codes.PERCENT),
        (codes.ABSOLUTE_CHANGE_FROM_NADIR, a.change_from_nadir_mm, codes.MILLIMETRE),
    )
    items = [item for name, value, unit in quantities for item in optional_num(name, value, unit)]
    offset = num_item(codes.TEMPORAL_OFFSET, report.days_from_baseline, codes.DAY)
    event = code_item(codes.TEMPORAL_EVENT_TYPE, codes.TEMPORAL_EVENT_BASELINE, "HAS CONCEPT MOD")
    return [*items, extend(offset, [event])]


def qualitative_evaluations(
    visit: Visit, study: VisitStudy, other_reports: Sequence[tuple[VisitStudy, InstanceReference]]
) -> Any:
    """TID 1500 row 12: what is said of the visit in words, and the lesions without a measurement group.

    Those are the lesions without axes, those that a reader rejected, and those that are measured in
    another study of the visit, each with where it is measured.
    """
    report = visit.report
    items = response_items(report)
    items += [
        text_item(name, words)
        for name, said in (
            (codes.ATTENTION, report.attention),
            (codes.WARNING, report.assessment.warnings),
            (codes.NOTE, report.notes),
        )
        for words in said
        if words
    ]
    items += [decision_item(decision) for decision in report.decisions]
    for other, reference in other_reports:
        day = written_date(str(other.images.header.StudyDate or ""))
        words = f"measurements in the study of {day}" if day else "measurements in another study"
        items += composite_items(codes.REPORT_OF_VISIT, reference, words)
    items += [
        _lesion_without_group(lesion, visit)
        for lesion in report.lesions
        if not has_group(lesion, visit, study)
    ]
    return extend(container(codes.QUALITATIVE_EVALUATIONS, "CONTAINS"), items)


def has_group(lesion: ReportedLesion, visit: Visit, study: VisitStudy) -> bool:
    """Whether the study's SR has a measurement group of the lesion."""
    return not lesion.is_rejected and has_axes(lesion) and visit.study_of(lesion) is study


def response_items(report: TimePointReport) -> list[Any]:
    """Criteria and responses, with their reasons."""
    a = report.assessment
    items = [code_item(codes.RESPONSE_EVALUATION_METHOD, codes.criteria_code(a.criteria))]
    for name, response in (
        (codes.CURRENT_RESPONSE, a.overall),
        (codes.TARGET_RESPONSE, a.target),
        (codes.NON_TARGET_RESPONSE, a.non_target),
        (codes.BEST_OVERALL_RESPONSE, a.best_overall_response),
    ):
        if response:
            items.append(code_item(name, codes.response_code(response)))
    if a.computed_overall:
        items.append(code_item(codes.COMPUTED_RESPONSE, codes.response_code(a.computed_overall)))
    said = (
        (codes.NEW_LESIONS, a.new_lesion),
        (codes.RESPONSE_REASON, a.reason),
        (codes.BEST_RESPONSE_REASON, a.best_overall_response_reason),
    )
    items += [text_item(name, words) for name, words in said if words]
    if a.nadir_date is not None:
        items.append(date_item(codes.EARLIER_NADIR_DATE, a.nadir_date))
    return items


def _lesion_without_group(lesion: ReportedLesion, visit: Visit) -> Any:
    """A lesion's state, with its identity and what else is known of it as properties."""
    if lesion.is_rejected:
        item = code_item(codes.LESION_STATE, codes.REJECTED)
        judged = [decision_item(decision, "HAS PROPERTIES") for decision in lesion.decisions]
    else:
        item = code_item(codes.LESION_STATE, codes.LESION_STATES[lesion.state.value])
        judged = [i for i in judgement_items(lesion, "HAS PROPERTIES") if not _is_state(i)]
        judged += diameter_items(lesion, "HAS PROPERTIES")
    where = [] if len(visit.volumes) == 1 else _place_items(visit.volume_of(lesion))
    children = [
        *identity_items(lesion, lesion.label),
        *site_items(lesion, "HAS PROPERTIES"),
        *where,
        *judged,
    ]
    return extend(item, children)


def _place_items(measured: VisitVolume) -> list[Any]:
    """Which images a lesion is measured on, for people and for programs."""
    series = measured.images.source.series
    words = series_words(series, written_date(str(measured.images.header.StudyDate or "")))
    return [
        text_item(codes.MEASURED_ON, words, "HAS PROPERTIES"),
        uid_item(codes.STUDY_INSTANCE_UID, series.study_instance_uid, "HAS PROPERTIES"),
        uid_item(codes.SERIES_INSTANCE_UID, series.series_instance_uid, "HAS PROPERTIES"),
    ]


def _is_state(item: Any) -> bool:
    return bool(item.name == codes.LESION_STATE)
