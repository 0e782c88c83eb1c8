"""PERCIST 1.0: the hottest lesion's SULpeak against baseline (Wahl 2009, as later tables give it).

SULpeak is kept in whole thousandths. Uncertain, and so marked in docs/recist.md: whether progression is
judged from baseline (taken here) or from the lowest value, and complete response, which is a reader's: it
needs every lesion's state "disappeared" (uptake below liver and like blood pool).
"""

from __future__ import annotations

from collections.abc import Sequence

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response.course import Assessment
from workflow.domain.response.other_lesions import is_assessed, new_lesions_at
from workflow.domain.response.quantities import falls_by, percent_text, rises_by
from workflow.domain.response.recist11 import plain_or_none
from workflow.domain.response.timeline import Timeline, TimePoint
from workflow.domain.response.values import NewLesion, Response

R = Response

CHANGE_PERCENT = 30
CHANGE_MILLI = 800  # 0.8 SUL

WORDS = {R.CR: R.CMR, R.PR: R.PMR, R.SD: R.SMD, R.PD: R.PMD}


def is_measurable(sul_peak_milli: int, liver_mean_milli: int, liver_deviation_milli: int) -> bool:
    """Whether a baseline SULpeak is at least 1.5 times the liver's mean plus two standard deviations."""
    return 2 * sul_peak_milli >= 3 * liver_mean_milli + 4 * liver_deviation_milli


def assess_time_points(timeline: Timeline) -> tuple[Assessment, ...]:
    """The response of every time point in plain words (CR, PR, SD, PD, NE); `WORDS` gives PERCIST's."""
    new = tuple(lesion for lesion in timeline.lesions if lesion.role is LesionRole.NEW)
    found = new_lesions_at(new, timeline.follow_ups)
    assessments: list[Assessment] = []
    baseline = timeline.baseline
    hottest = _hottest(timeline, baseline) if baseline else None
    if baseline is not None:
        text = "no SULpeak" if hottest is None else f"hottest lesion SULpeak {_sul(hottest)}"
        assessments.append(
            Assessment(
                time_point=baseline.id, date=baseline.date, is_baseline=True, reason=f"baseline: {text}"
            )
        )
    for point in timeline.follow_ups:
        if point.overall is not None:
            value, reason = plain_words(point.overall), "given"
        elif found[point.id].counts:
            value, reason = R.PD, found[point.id].reason
        elif plain_or_none(point.non_target) is R.PD or any(o.has_progressed for o in point.observations):
            value, reason = R.PD, "unequivocal progression of other lesions"
        else:
            value, reason = _judge(timeline, point, hottest, baseline)
        finding = found[point.id].finding
        assessments.append(_assessment(point, value, reason, finding))
    return tuple(assessments)


def plain_words(response: Response) -> Response:
    """CR, PR, SD or PD for PERCIST's word; others stay."""
    back = {metabolic: plain for plain, metabolic in WORDS.items()} | {R.NMR: R.SD}
    return back.get(response, plain_or_none(response) or response)


def _assessment(point: TimePoint, value: Response, reason: str, finding: NewLesion | None) -> Assessment:
    shown = WORDS.get(value, value)
    return Assessment(
        time_point=point.id, date=point.date, overall=value, reason=f"{shown}: {reason}", new_lesion=finding
    )


def _judge(
    timeline: Timeline, point: TimePoint, hottest: int | None, baseline: TimePoint | None
) -> tuple[Response, str]:
    if point.target is not None:
        return plain_words(point.target), "given"
    if not is_assessed(point) and _hottest(timeline, point) is None:
        return R.NE, "nothing was assessed"
    if _all_gone(timeline, point):
        return R.CR, "no lesion takes up more than its surroundings"
    now = _hottest(timeline, point)
    if now is None or hottest is None or baseline is None:
        missing = "at this time point" if now is None else "at baseline"
        return R.NE, f"no SULpeak {missing}"
    return _compare(now, hottest, baseline.when)


def _compare(now: int, then: int, when: str) -> tuple[Response, str]:
    share = percent_text(now, then) if then else "100 %"
    side = "above" if now > then else "below"
    change = f"{share} and {_sul(abs(now - then))}"
    reason = f"SULpeak {_sul(now)} is {change} {side} the baseline's {_sul(then)} ({when})"
    if rises_by(now, then, percent=CHANGE_PERCENT, at_least=CHANGE_MILLI):
        return R.PD, reason
    if falls_by(now, then, percent=CHANGE_PERCENT) and then - now >= CHANGE_MILLI:
        return R.PR, reason
    return R.SD, reason


def _hottest(timeline: Timeline, point: TimePoint) -> int | None:
    """The highest SULpeak (thousandths) of the known lesions; need not be the same lesion each time."""
    values = [o.sul_peak_milli for o in point.observations if o.sul_peak_milli is not None]
    return max(values, default=None)


def _all_gone(timeline: Timeline, point: TimePoint) -> bool:
    own = [lesion for lesion in timeline.lesions if lesion.role is not LesionRole.NEW]
    seen: Sequence[LesionState | None] = [
        o.state if (o := point.observation_of(lesion.id)) is not None else None for lesion in own
    ]
    return bool(seen) and all(state is LesionState.DISAPPEARED for state in seen)


def _sul(milli: int) -> str:
    whole, rest = divmod(milli, 1000)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".")
