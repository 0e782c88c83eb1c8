"""GCIG for ovarian cancer (Rustin 2011): RECIST 1.1 and serum CA-125, combined.

CA-125 response: 50 % below a baseline of at least twice the upper limit, seen again at least 28 days later
with no rise above 10 % between; within the reference range it is complete. CA-125 progression: twice the
upper limit where CA-125 was or became normal, else twice the least value, on two days at least a week apart.
Both are dated to the first of their samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workflow.domain.response import recist11
from workflow.domain.response.confirmation import days_between
from workflow.domain.response.course import Assessment
from workflow.domain.response.other_lesions import is_assessed
from workflow.domain.response.policy import Policies
from workflow.domain.response.quantities import percent_text
from workflow.domain.response.recist11 import plain_or_none
from workflow.domain.response.timeline import Timeline, TimePoint
from workflow.domain.response.values import NOT_EVALUABLE, Response

R = Response

USUAL_UPPER_LIMIT_MILLI = 35_000  # 35 U/ml, where the laboratory's own is not given
BASELINE_DAYS = 14
RESPONSE_DAYS = 28
PROGRESSION_DAYS = 7
ASSAY_PERCENT = 10


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """One evaluable CA-125 sample, thousandths of U/ml."""

    point: TimePoint
    value: int
    upper_limit: int

    @property
    def is_normal(self) -> bool:
        """Whether it is within the reference range."""
        return self.value <= self.upper_limit

    @property
    def is_twice_the_limit(self) -> bool:
        """Whether it is at least twice the upper limit."""
        return self.value >= 2 * self.upper_limit

    @property
    def text(self) -> str:
        """ "CA-125 70.5 U/ml"."""
        return f"CA-125 {self.value / 1000:g} U/ml"


@dataclass(frozen=True, kw_only=True)
class MarkerAssessment:
    """The CA-125 response of a time point: CR (normal), PR, SD, PD, NE; None without a sample."""

    response: Response | None
    reason: str = ""
    is_normal: bool = False


def assess_time_points(timeline: Timeline, policies: Policies) -> tuple[Assessment, ...]:
    """The combined response of every time point, with RECIST's and CA-125's beside it."""
    images = recist11.assess_time_points(timeline, policies)
    markers = marker_responses(timeline)
    has_marker = any(p.ca125_milli is not None for p in timeline.time_points)
    if not has_marker:
        return images
    points = {p.id: p for p in timeline.time_points}
    return tuple(
        a if a.is_baseline else _combine(a, points[a.time_point], markers[a.time_point]) for a in images
    )


def _combine(image: Assessment, point: TimePoint, marker: MarkerAssessment) -> Assessment:
    is_imaged = is_assessed(point)
    seen = (image.overall or R.NE) if is_imaged else R.NE
    parts = [("RECIST 1.1", seen)] if is_imaged else []
    parts += [("CA-125", marker.response)] if marker.response is not None else []
    if point.overall is not None:
        return replace(image, components=tuple(parts))
    overall = combined(seen, marker)
    word = f"CA-125 {marker.response} ({marker.reason})" if marker.response is not None else "no CA-125"
    text = f"images {image.reason}" if is_imaged else "no images"
    return replace(image, overall=overall, reason=f"{overall}: {text}; {word}", components=tuple(parts))


def combined(image: Response, marker: MarkerAssessment) -> Response:
    """RECIST 1.1 and CA-125 together; either progression is progression."""
    value = marker.response or R.NE
    image = plain_or_none(image) or R.NE
    if R.PD in (image, value):
        return R.PD
    if image is R.CR:
        # CA-125 in the reference range bars nothing, whether it ever was high or not.
        return R.CR if value is R.CR or marker.is_normal else R.PR
    if value in (R.CR, R.PR):
        return R.CR if image is R.NED and value is R.CR else R.PR
    if image in NOT_EVALUABLE or image is R.NED:
        return R.SD if value is R.SD else image
    return image


# ---------------------------------------------------------------- CA-125


def marker_responses(timeline: Timeline) -> dict[str, MarkerAssessment]:
    """The CA-125 response of every follow-up, by time point."""
    samples = _samples(timeline)
    baseline = timeline.baseline
    first = next((s for s in samples if baseline is not None and s.point is baseline), None)
    later = [s for s in samples if baseline is None or s.point is not baseline]
    found: dict[str, MarkerAssessment] = {}
    progressed = ""
    for point in timeline.follow_ups:
        index = next((i for i, s in enumerate(later) if s.point is point), None)
        if index is None:
            is_barred = point.ca125_milli is not None
            found[point.id] = MarkerAssessment(
                response=R.NE if is_barred else None, reason="CA-125 is not evaluable" if is_barred else ""
            )
            continue
        judged = _judge(first, later, index, timeline)
        if progressed and judged.response is not R.PD:
            judged = replace(judged, response=R.PD, reason=f"progression since {progressed}; {judged.reason}")
        if judged.response is R.PD:
            progressed = progressed or point.when
        found[point.id] = judged
    return found


def _samples(timeline: Timeline) -> list[_Sample]:
    limit = next(
        (p.ca125_upper_limit_milli for p in timeline.time_points if p.ca125_upper_limit_milli is not None),
        USUAL_UPPER_LIMIT_MILLI,
    )
    return [
        _Sample(point=p, value=p.ca125_milli, upper_limit=p.ca125_upper_limit_milli or limit)
        for p in timeline.time_points
        if p.ca125_milli is not None and p.is_ca125_evaluable
    ]


def _judge(
    first: _Sample | None, later: Sequence[_Sample], index: int, timeline: Timeline
) -> MarkerAssessment:
    now = later[index]
    if reason := _progression(first, later, index):
        return MarkerAssessment(response=R.PD, reason=reason)
    bar = _bar(first, timeline)
    if first is None or bar:
        return MarkerAssessment(response=R.NE, reason=f"{now.text}; {bar}", is_normal=now.is_normal)
    if reason := _response(first, later, index):
        word = R.CR if now.is_normal else R.PR
        return MarkerAssessment(response=word, reason=reason, is_normal=now.is_normal)
    return MarkerAssessment(
        response=R.SD,
        reason=f"{_change(now, first)}, neither response nor progression",
        is_normal=now.is_normal,
    )


def _change(now: _Sample, first: _Sample) -> str:
    if now.value == first.value or not first.value:
        return now.text
    side = "below" if now.value < first.value else "above"
    return f"{now.text}, {percent_text(now.value, first.value)} {side} baseline"


def _bar(first: _Sample | None, timeline: Timeline) -> str:
    """Why CA-125 can't show a response, or ""."""
    if first is None:
        return "no evaluable CA-125 at baseline"
    if not first.is_twice_the_limit:
        return "CA-125 at baseline is below twice the upper limit, so it shows no response"
    days = days_between(first.point.date, timeline.start)
    if days is not None and days > BASELINE_DAYS:
        return f"CA-125 at baseline is {days} days older than the start; it may be {BASELINE_DAYS}"
    return ""


def _response(first: _Sample, later: Sequence[_Sample], index: int) -> str:
    """Why this sample is part of a response, or "".

    The response began with a sample 50 % below baseline, and a later one at least 28 days on maintains it.
    """
    for begin in range(index + 1):
        end = _maintained_until(first, later, begin)
        if end is not None and begin <= index <= _last_of_response(later, begin, first):
            began = later[begin]
            return f"{_change(began, first)} on {began.point.when}, maintained on {later[end].point.when}"
    return ""


def _is_halved(sample: _Sample, first: _Sample) -> bool:
    return 2 * sample.value <= first.value


def _is_no_rise(later: _Sample, before: _Sample) -> bool:
    """Not more than the assay's 10 % above the sample before; inside the reference range it never is."""
    return later.is_normal or 100 * later.value <= (100 + ASSAY_PERCENT) * before.value


def _last_of_response(later: Sequence[_Sample], begin: int, first: _Sample) -> int:
    """The last sample of an unbroken run of halved values without a rise."""
    last = begin
    for index in range(begin + 1, len(later)):
        if not (_is_halved(later[index], first) and _is_no_rise(later[index], later[index - 1])):
            break
        last = index
    return last


def _maintained_until(first: _Sample, later: Sequence[_Sample], begin: int) -> int | None:
    """The first sample that is at least 28 days after `begin` and confirms it."""
    if not _is_halved(later[begin], first):
        return None
    for index in range(begin + 1, _last_of_response(later, begin, first) + 1):
        days = days_between(later[begin].point.date, later[index].point.date)
        if days is None or days >= RESPONSE_DAYS:
            return index
    return None


def _progression(first: _Sample | None, later: Sequence[_Sample], index: int) -> str:
    """Why this sample is progression, confirmed by another at least a week apart, or ""."""
    now = later[index]
    limit, why = _limit(first, later, index)
    if limit is None or now.value < limit:
        return ""
    for other in later[index + 1 :]:
        days = days_between(now.point.date, other.point.date)
        if days is not None and days < PROGRESSION_DAYS:
            continue
        if other.value >= limit:
            return f"{now.text} is {why}, confirmed by {other.text} on {other.point.when}"
        return ""
    return ""


def _limit(first: _Sample | None, later: Sequence[_Sample], index: int) -> tuple[int | None, str]:
    """The value (thousandths of U/ml) from which CA-125 progresses, and what it is."""
    before = [s for s in (first, *later[:index]) if s is not None]
    if not before:
        return None, ""
    if any(sample.is_normal for sample in before):
        return 2 * later[index].upper_limit, "twice the upper limit or more"
    least = min(sample.value for sample in before)
    return 2 * least, f"twice the least value of {least / 1000:g} U/ml or more"
