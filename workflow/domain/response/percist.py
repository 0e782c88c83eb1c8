"""PERCIST 1.0: the hottest lesion's SULpeak against baseline (Wahl 2009, Table 6).

SULpeak is kept in whole thousandths. A lesion is measurable at 1.5 times the liver's mean and two standard
deviations; two scans are comparable if the liver's means differ by at most 20 % and less than 0.3. Complete
response is a reader's: every lesion's state "disappeared" (below the liver and like blood pool), and no
SULpeak at or above the liver's mean. Extent and total lesion glycolysis are not read.
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
from workflow.domain.response.values import NewLesion, Response, plain

R = Response

CHANGE_PERCENT = 30
CHANGE_MILLI = 800  # 0.8 SUL
LIVER_PERCENT = 20
LIVER_MILLI = 300  # 0.3 SUL

WORDS = {R.CR: R.CMR, R.PR: R.PMR, R.SD: R.SMD, R.PD: R.PMD}

_UNSEEN = (LesionState.NOT_EVALUABLE, LesionState.TRACKING_FAILED)


def is_measurable(sul_peak_milli: int, liver_mean_milli: int, liver_deviation_milli: int) -> bool:
    """Whether a baseline SULpeak is at least 1.5 times the liver's mean plus two standard deviations."""
    return 2 * sul_peak_milli >= 3 * liver_mean_milli + 4 * liver_deviation_milli


def is_comparable(liver_milli: int, baseline_liver_milli: int) -> bool:
    """Whether the liver's mean SUL differs by at most 20 % and by less than 0.3 from that at baseline."""
    difference = abs(liver_milli - baseline_liver_milli)
    return 100 * difference <= LIVER_PERCENT * baseline_liver_milli and difference < LIVER_MILLI


def assess_time_points(timeline: Timeline) -> tuple[Assessment, ...]:
    """The response of every time point in plain words (CR, PR, SD, PD, NE); `WORDS` gives PERCIST's."""
    new = tuple(lesion for lesion in timeline.lesions if lesion.role is LesionRole.NEW)
    found = new_lesions_at(new, timeline.follow_ups)
    assessments: list[Assessment] = []
    baseline = timeline.baseline
    hottest = _hottest(baseline) if baseline else None
    if baseline is not None:
        text = "no SULpeak" if hottest is None else f"hottest lesion SULpeak {_sul(hottest)}"
        if bar := _not_measurable(baseline, hottest):
            text = f"{text}; {bar}"
        assessments.append(
            Assessment(
                time_point=baseline.id, date=baseline.date, is_baseline=True, reason=f"baseline: {text}"
            )
        )
    for point in timeline.follow_ups:
        if point.overall is not None:
            value, reason = plain(point.overall), "given"
        elif found[point.id].counts:
            value, reason = R.PD, found[point.id].reason
        elif plain_or_none(point.non_target) is R.PD or any(o.has_progressed for o in point.observations):
            value, reason = R.PD, "unequivocal progression of other lesions"
        else:
            value, reason = _judge(timeline, point, hottest, baseline)
        finding = found[point.id].finding
        assessments.append(_assessment(point, value, reason, finding))
    return tuple(assessments)


def _assessment(point: TimePoint, value: Response, reason: str, finding: NewLesion | None) -> Assessment:
    shown = WORDS.get(value, value)
    return Assessment(
        time_point=point.id, date=point.date, overall=value, reason=f"{shown}: {reason}", new_lesion=finding
    )


def _judge(
    timeline: Timeline, point: TimePoint, hottest: int | None, baseline: TimePoint | None
) -> tuple[Response, str]:
    if point.target is not None:
        return plain(point.target), "given"
    now = _hottest(point)
    if not is_assessed(point) and now is None:
        return R.NE, "nothing was assessed"
    if _all_gone(timeline, point):
        return _complete(point, now)
    if now is None or hottest is None or baseline is None:
        missing = "at this time point" if now is None else "at baseline"
        return R.NE, f"no SULpeak {missing}"
    if bar := _not_measurable(baseline, hottest) or _not_comparable(point, baseline):
        return R.NE, bar
    value, reason = _compare(now, hottest, baseline.when)
    unseen = _unseen(point)
    if unseen and value is not R.PD:
        # The hottest lesion may be the one that nobody measured.
        return R.NE, f"not evaluable: {', '.join(unseen)}; of the others {reason}"
    return value, reason


def _complete(point: TimePoint, now: int | None) -> tuple[Response, str]:
    liver = point.liver_sul_mean_milli
    if now is not None and liver is not None and now >= liver:
        return R.NE, f"called gone, but SULpeak {_sul(now)} is not below the liver's mean of {_sul(liver)}"
    return R.CR, "no lesion takes up more than its surroundings"


def _not_measurable(baseline: TimePoint, hottest: int | None) -> str:
    mean, deviation = baseline.liver_sul_mean_milli, baseline.liver_sul_deviation_milli
    if hottest is None or mean is None or deviation is None or is_measurable(hottest, mean, deviation):
        return ""
    least = f"1.5 x {_sul(mean)} + 2 x {_sul(deviation)}"
    return f"SULpeak {_sul(hottest)} at baseline is not measurable: below {least} of the liver"


def _not_comparable(point: TimePoint, baseline: TimePoint) -> str:
    now, then = point.liver_sul_mean_milli, baseline.liver_sul_mean_milli
    if now is None or then is None or is_comparable(now, then):
        return ""
    return f"the liver's mean SUL is {_sul(now)}, at baseline {_sul(then)}: the scans are not comparable"


def _unseen(point: TimePoint) -> list[str]:
    return [o.lesion for o in point.observations if o.state in _UNSEEN and o.sul_peak_milli is None]


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


def _hottest(point: TimePoint) -> int | None:
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
