"""What the SR says of the time point as a whole: sums, response and its reasons, lesions without axes.

It stands in containers at the root (TID 1500 rows 10 and 12), not in measurement groups: viewers take
every group for an annotation and fail on one without coordinates.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from dicom_io import codes
from dicom_io.results.sr_items import code_item, container, extend, num_item, text_item
from dicom_io.results.sr_lesions import (
    has_axes,
    identity_items,
    judgement_items,
    site_items,
    time_point_items,
)
from workflow.domain.report import ReportedLesion, TimePointReport


def derived_measurements(report: TimePointReport) -> Any:
    """TID 1500 row 10: sums of diameters and their changes, and the time point's place in the course."""
    items = [*time_point_items(report), *derived_items(report)]
    return extend(container(codes.DERIVED_IMAGING_MEASUREMENTS, "CONTAINS"), items)


def derived_items(report: TimePointReport) -> list[Any]:
    """Sums and changes that are known, order and days from baseline."""
    a = report.assessment
    quantities = (
        (codes.SUM_OF_DIAMETERS, a.sum_mm, codes.MILLIMETRE),
        (codes.BASELINE_SUM, a.baseline_sum_mm, codes.MILLIMETRE),
        (codes.NADIR_SUM, a.nadir_sum_mm, codes.MILLIMETRE),
        (codes.CHANGE_FROM_BASELINE, a.change_from_baseline_percent, codes.PERCENT),
        (codes.CHANGE_FROM_NADIR, a.change_from_nadir_percent, codes.PERCENT),
        (codes.ABSOLUTE_CHANGE_FROM_NADIR, a.change_from_nadir_mm, codes.MILLIMETRE),
        (codes.TIME_POINT_ORDER, report.order, codes.NO_UNITS),
    )
    items = [num_item(name, value, unit) for name, value, unit in quantities if value is not None]
    offset = num_item(codes.TEMPORAL_OFFSET, report.days_from_baseline, codes.DAY)
    event = code_item(codes.TEMPORAL_EVENT_TYPE, codes.TEMPORAL_EVENT_BASELINE, "HAS CONCEPT MOD")
    return [*items, extend(offset, [event])]


def qualitative_evaluations(report: TimePointReport) -> Any:
    """TID 1500 row 12: responses with their reasons, lesions without axes, what the reader should know."""
    items = response_items(report)
    items += [text_item(codes.WARNING, warning) for warning in report.assessment.warnings if warning]
    items += [text_item(codes.NOTE, note) for note in report.notes if note]
    items += [_lesion_without_axes(lesion) for lesion in report.lesions if not has_axes(lesion)]
    return extend(container(codes.QUALITATIVE_EVALUATIONS, "CONTAINS"), items)


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
    said = (
        (codes.NEW_LESIONS, a.new_lesion),
        (codes.RESPONSE_REASON, a.reason),
        (codes.BEST_RESPONSE_REASON, a.best_overall_response_reason),
    )
    items += [text_item(name, words) for name, words in said if words]
    if a.nadir_date is not None:
        items.append(_date_item(a.nadir_date))
    return items


def _lesion_without_axes(lesion: ReportedLesion) -> Any:
    """A disappeared or not measurable lesion: its state, with the lesion's identity as properties."""
    item = code_item(codes.LESION_STATE, codes.LESION_STATES[lesion.state.value])
    judged = [i for i in judgement_items(lesion, "HAS PROPERTIES") if not _is_state(i)]
    children = [
        *identity_items(lesion, lesion.label),
        *site_items(lesion, "HAS PROPERTIES"),
        *judged,
    ]
    if lesion.diameter_mm is not None:
        children.append(
            num_item(codes.DIAMETER_IN_SUM, lesion.diameter_mm, codes.MILLIMETRE, "HAS PROPERTIES")
        )
    return extend(item, children)


def _is_state(item: Any) -> bool:
    return bool(item.name == codes.LESION_STATE)


def _date_item(day: date) -> Any:
    from highdicom.sr import DateContentItem

    return DateContentItem(codes.NADIR_DATE, day, "CONTAINS")
