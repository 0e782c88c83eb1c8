"""Courses as JSON and as a table to read."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

from workflow.domain.response import Assessment, BestResponse, Course, Duration, Event, millimetres


def result_of(
    course: Course, *, name: Any = None, reader: str = "", warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """A course as JSON holds it; lengths in mm, dates as 2024-01-31. docs/recist.md names every key."""
    result: dict[str, Any] = {
        "name": name if name is not None else course.name or None,
        **({"reader": reader} if reader else {}),
        **course.protocol.to_dict(),
        "time_points": [_time_point(assessment) for assessment in course.assessments],
        "best_overall_response": _best(course.best_overall_response),
        "confirmed_best_overall_response": _best(course.confirmed_best_overall_response),
        "response": _event(course.response),
        "confirmed_response": _event(course.confirmed_response),
        "progression": _event(course.progression),
        "clinical_benefit": _event(course.clinical_benefit),
        "confirmed_clinical_benefit": _event(course.confirmed_clinical_benefit),
        "disease_control": _event(course.disease_control),
        "time_to_response": _duration(course.time_to_response),
        "duration_of_response": _duration(course.duration_of_response),
        "confirmed_duration_of_response": _duration(course.confirmed_duration_of_response),
        "progression_free_survival": _survival(course.progression_free_survival),
    }
    if course.icpd is not None and course.iupd is not None:
        result["icpd"], result["iupd"] = _event(course.icpd), _event(course.iupd)
    result["warnings"] = [*warnings, *course.warnings]
    return result


def _time_point(assessment: Assessment) -> dict[str, Any]:
    return {
        "id": assessment.time_point,
        "date": _day(assessment.date),
        "is_baseline": assessment.is_baseline,
        "sum_mm": _mm(assessment.sum_um),
        "baseline_sum_mm": _mm(assessment.baseline_sum_um),
        "nadir_sum_mm": _mm(assessment.nadir_um),
        "nadir_date": _day(assessment.nadir_date),
        "change_from_baseline_percent": assessment.change_from_baseline_percent,
        "change_from_nadir_percent": assessment.change_from_nadir_percent,
        "change_from_nadir_mm": _mm(assessment.change_from_nadir_um),
        "target": assessment.target,
        "non_target": assessment.non_target,
        "new_lesion": assessment.new_lesion,
        "overall": assessment.overall,
        "computed_overall": assessment.computed_overall,
        "components": dict(assessment.components),
        "reason": assessment.reason,
        "warnings": list(assessment.warnings),
    }


def _best(best: BestResponse) -> dict[str, Any]:
    return {"value": best.value, "date": _day(best.date), "reason": best.reason}


def _event(event: Event) -> dict[str, Any]:
    return {"value": event.value, "date": _day(event.date), "reason": event.reason}


def _duration(duration: Duration | None) -> dict[str, Any] | None:
    if duration is None:
        return None
    return {
        "days": duration.days,
        "start": _day(duration.start),
        "end": _day(duration.end),
        "is_censored": duration.is_censored,
    }


def _survival(duration: Duration | None) -> dict[str, Any] | None:
    shown = _duration(duration)
    return None if shown is None or duration is None else {**shown, "reason": duration.reason}


def _mm(length_um: int | None) -> float | None:
    return None if length_um is None else millimetres(length_um)


def _day(day: datetime.date | None) -> str | None:
    return None if day is None else day.isoformat()


def json_line(result: Any) -> str:
    """One result on one line."""
    return json.dumps(result, ensure_ascii=False)


# ---------------------------------------------------------------- table

_COLUMNS = (
    "time point",
    "date",
    "sum mm",
    "vs baseline",
    "vs nadir",
    "target",
    "non-target",
    "new",
    "overall",
)


def table_of(course: Course, *, name: Any = None, reader: str = "", warnings: Sequence[str] = ()) -> str:
    """A course as a table with the reasons below it, for a terminal."""
    by = f"  {reader}" if reader else ""
    title = f"{name if name is not None else course.name}{by}  {course.protocol.criteria}".strip()
    rows = [_COLUMNS, *(_row(assessment) for assessment in course.assessments)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [title]
    lines += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines += ["", *(f"{a.time_point}: {a.reason}" for a in course.assessments), ""]
    for label, best in (
        ("best overall response", course.best_overall_response),
        ("confirmed best overall response", course.confirmed_best_overall_response),
    ):
        lines.append(f"{label}: {best.reason or best.value}")
    events = [
        ("response", course.response),
        ("confirmed response", course.confirmed_response),
        ("progression", course.progression),
        ("clinical benefit", course.clinical_benefit),
    ]
    if course.icpd is not None and course.iupd is not None:
        events += [("iCPD", course.icpd), ("open iUPD", course.iupd)]
    lines += [f"{label}: {event.value} ({event.reason})" for label, event in events]
    survival = course.progression_free_survival
    if survival is not None:
        lines.append(f"progression-free survival: {survival.days} days ({survival.reason})")
    points = [f"{a.time_point}: {w}" for a in course.assessments for w in a.warnings]
    lines += [f"warning: {text}" for text in (*warnings, *course.warnings, *points)]
    return "\n".join(lines)


def _row(assessment: Assessment) -> tuple[str, ...]:
    return (
        assessment.time_point + (" (baseline)" if assessment.is_baseline else ""),
        _day(assessment.date) or "",
        "" if assessment.sum_um is None else f"{millimetres(assessment.sum_um):g}",
        _percent(assessment.change_from_baseline_percent),
        _percent(assessment.change_from_nadir_percent),
        assessment.target or "",
        assessment.non_target or "",
        assessment.new_lesion or "",
        assessment.overall or "",
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f} %"
