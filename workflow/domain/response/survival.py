"""Progression-free survival with its censoring (FDA, Clinical Trial Endpoints, 2018, appendix)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from workflow.domain.response.course import Assessment, Course, Duration
from workflow.domain.response.timeline import Timeline, TimePoint
from workflow.domain.response.values import NOT_EVALUABLE


def before_new_therapy(timeline: Timeline) -> tuple[TimePoint, ...]:
    """The time points that count for what the study drug did: none after the start of another therapy."""
    if timeline.new_therapy_date is None:
        return timeline.time_points
    for index, point in enumerate(timeline.time_points):
        if point.date is not None and point.date > timeline.new_therapy_date:
            return timeline.time_points[:index]
    return timeline.time_points


def progression_free_survival(timeline: Timeline, course: Course) -> Duration | None:
    """Days from the start to progression or death, or to the last evaluable assessment before (censored).

    None where the start is unknown, or the day of the event. Progression or death after several missed
    assessments in a row is censored at the last evaluable one, as is what follows another therapy.
    """
    start = timeline.start
    if start is None:
        return None
    seen = [a for a in course.assessments[: len(before_new_therapy(timeline))] if not a.is_baseline]
    limit = course.protocol.policies.missed_visits_before_censoring
    if course.progression.happened:
        at = [a.time_point for a in seen].index(course.progression.time_point or "")
        missed = _missed_at_the_end(seen[:at])
        if limit and missed >= limit:
            return _censored(start, seen[:at], f"progression after {missed} missed assessments")
        return _event(start, course.progression.date, course.progression.reason)
    if timeline.new_therapy_date is not None:
        return _censored(start, seen, f"another therapy from {timeline.new_therapy_date}")
    if timeline.death_date is not None:
        missed = _missed_at_the_end(seen)
        if limit and missed >= limit:
            return _censored(start, seen, f"death after {missed} missed assessments")
        return _event(start, timeline.death_date, f"death on {timeline.death_date}")
    return _censored(start, seen, "no progression")


def _missed_at_the_end(assessments: Sequence[Assessment]) -> int:
    missed = 0
    for assessment in reversed(assessments):
        if assessment.overall not in NOT_EVALUABLE:
            break
        missed += 1
    return missed


def _event(start: date, end: date | None, reason: str) -> Duration | None:
    return None if end is None else Duration(days=(end - start).days, start=start, end=end, reason=reason)


def _censored(start: date, assessments: Sequence[Assessment], why: str) -> Duration:
    """Censored at the last evaluable assessment; without one at the start."""
    last = next(
        (a.date for a in reversed(assessments) if a.overall not in NOT_EVALUABLE and a.date is not None),
        start,
    )
    reason = (
        f"{why}; censored at the last evaluable assessment" if last != start else f"{why}; none evaluable"
    )
    return Duration(days=(last - start).days, start=start, end=last, is_censored=True, reason=reason)
