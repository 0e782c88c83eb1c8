"""Progression that a later scan confirms or takes back (RANO 2.0, imRECIST, LYRIC, PCWG3).

A time point is told as it stands today: once a later scan has confirmed it, it is PD on its own day.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from workflow.domain.response.confirmation import days_between
from workflow.domain.response.course import Assessment, BestResponse, Course
from workflow.domain.response.values import INDETERMINATE, NOT_EVALUABLE, Response

R = Response


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the first later scan that is late enough says of a progression; `by` is None if there is none."""

    is_confirmed: bool
    by: Assessment | None = None

    @property
    def is_taken_back(self) -> bool:
        """Whether a later scan shows no progression."""
        return self.by is not None and not self.is_confirmed


def verdict_on(assessments: Sequence[Assessment], index: int, *, least_days: int) -> Verdict:
    """The verdict on the progression at `index`. An unknown interval is taken as long enough."""
    for later in assessments[index + 1 :]:
        if later.overall in NOT_EVALUABLE or later.overall is None:
            continue
        days = days_between(assessments[index].date, later.date)
        if days is None or days >= least_days:
            return Verdict(is_confirmed=later.overall is R.PD, by=later)
    return Verdict(is_confirmed=False)


def when(assessment: Assessment) -> str:
    """The day of an assessment, or its time point's name."""
    return assessment.date.isoformat() if assessment.date else assessment.time_point


def counted(assessments: Sequence[Assessment]) -> tuple[Assessment, ...]:
    """The assessments for best response: one that is open counts for nothing, a minor response as SD."""
    return tuple(_counted(assessment) for assessment in assessments)


def _counted(assessment: Assessment) -> Assessment:
    if assessment.overall in INDETERMINATE:
        return replace(assessment, overall=R.NE)
    return replace(assessment, overall=R.SD) if assessment.overall is R.MR else assessment


def in_own_words(course: Course, assessments: Sequence[Assessment]) -> Course:
    """The course with its own assessments back, and with a best response in the criteria's own words."""
    by_id = {a.time_point: a for a in assessments if not a.is_baseline}
    return replace(
        course,
        assessments=tuple(assessments),
        best_overall_response=_own(course.best_overall_response, by_id),
        confirmed_best_overall_response=_own(course.confirmed_best_overall_response, by_id),
    )


def _own(best: BestResponse, by_id: dict[str, Assessment]) -> BestResponse:
    if best.value is R.NE:
        return _first(best, by_id, lambda a: a.overall in INDETERMINATE)
    if best.value is R.SD:
        return _first(best, by_id, lambda a: a.overall is R.MR)
    return best


def _first(
    best: BestResponse, by_id: dict[str, Assessment], fits: Callable[[Assessment], bool]
) -> BestResponse:
    found = next((a for a in by_id.values() if fits(a)), None)
    if found is None or found.overall is None:
        return best
    reason = f"{found.overall}: on {when(found)}, with no better response"
    return BestResponse(value=found.overall, date=found.date, time_point=found.time_point, reason=reason)
