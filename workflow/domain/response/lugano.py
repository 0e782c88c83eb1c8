"""Lugano 2014 for lymphoma: PET by the Deauville score, CT by products of perpendicular diameters.

Where a time point has a Deauville score it decides (score 4 or 5 with the change of uptake); else CT does.
Bone marrow, and regrowth of single resolved lesions, are a reader's: non-target and new lesion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response.course import Assessment
from workflow.domain.response.other_lesions import assess_non_target, is_assessed
from workflow.domain.response.overall import overall_response
from workflow.domain.response.quantities import mm_text, percent_text
from workflow.domain.response.recist11 import plain_or_none
from workflow.domain.response.timeline import Lesion, Observation, Timeline, TimePoint, Uptake
from workflow.domain.response.values import NewLesion, Response

R = Response

NORMAL_NODE_UM = 15_000
NORMAL_EXTRANODAL_UM = 10_000
NORMAL_SPLEEN_UM = 130_000
SPLEEN_GROWTH_UM = 20_000
TOO_SMALL_UM = 5_000
LARGE_UM = 20_000

Size = tuple[int, int]  # longest diameter and its perpendicular, µm


@dataclass(frozen=True, kw_only=True)
class _History:
    baseline_spd: int | None = None
    smallest: Mapping[str, Size] = field(default_factory=dict)
    spleen_um: int | None = None


def assess_time_points(timeline: Timeline) -> tuple[Assessment, ...]:
    """The response of every time point: CR, PR, SD, PD or NE; by PET, `target` has its metabolic word."""
    targets = tuple(x for x in timeline.lesions if x.role is LesionRole.TARGET)
    history, assessments = _History(), []
    baseline = timeline.baseline
    if baseline is not None:
        sizes = _sizes(targets, baseline)
        spd = _spd(sizes)
        history = _History(
            baseline_spd=spd,
            smallest={name: size for name, size in sizes.items() if size is not None},
            spleen_um=baseline.spleen_um,
        )
        text = "no sum of products" if spd is None else f"sum of products {_area(spd)}"
        assessments.append(
            Assessment(
                time_point=baseline.id, date=baseline.date, is_baseline=True, reason=f"baseline: {text}"
            )
        )
    for point in timeline.follow_ups:
        assessments.append(_assess(timeline, targets, point, history))
        history = _after(history, _sizes(targets, point))
    return tuple(assessments)


def _assess(timeline: Timeline, targets: Sequence[Lesion], point: TimePoint, history: _History) -> Assessment:
    new = _new_lesions(timeline, point)
    base = Assessment(
        time_point=point.id,
        date=point.date,
        new_lesion=point.new_lesion or (NewLesion.YES if new else NewLesion.NO),
    )
    if point.overall is not None:
        overall = plain_or_none(point.overall) or R.NE
        return _with(base, None, None, overall, "given")
    if new or point.new_lesion is NewLesion.YES:
        return _with(base, None, None, R.PD, f"new lesion {', '.join(new)}".strip())
    if point.deauville is not None:
        return _by_pet(base, point)
    others = tuple(x for x in timeline.lesions if x.role is LesionRole.NON_TARGET)
    non_target = assess_non_target(others, point, has_non_target=bool(others) or point.non_target is not None)
    if not is_assessed(point):
        return _with(base, None, None, R.NE, "nothing was assessed")
    target, reason = (point.target, "given") if point.target else _by_ct(targets, point, history)
    overall = overall_response(
        plain_or_none(target), plain_or_none(non_target.response), has_new_lesion=False
    )
    spleen = _spleen(point, history)
    if spleen is not None and (spleen[0] is R.PD or overall in (R.CR, R.PR)):
        overall, reason = _worse(overall, spleen[0]), f"{reason}; {spleen[1]}"
    return _with(base, target, non_target.response, overall, reason)


def _with(
    base: Assessment, target: Response | None, non_target: Response | None, overall: Response, reason: str
) -> Assessment:
    return Assessment(
        time_point=base.time_point,
        date=base.date,
        new_lesion=base.new_lesion,
        target=target,
        non_target=non_target,
        overall=overall,
        reason=f"{overall}: {reason}",
        target_reason=reason,
    )


def _by_pet(base: Assessment, point: TimePoint) -> Assessment:
    score = f"Deauville {point.deauville}"
    if (point.deauville or 0) <= 3:
        return _with(base, R.CMR, None, R.CR, score)
    if point.uptake is None:
        return _with(base, R.NE, None, R.NE, f"{score}, but how uptake compares with baseline is not said")
    metabolic, overall = {
        Uptake.DECREASED: (R.PMR, R.PR),
        Uptake.UNCHANGED: (R.NMR, R.SD),
        Uptake.INCREASED: (R.PMD, R.PD),
    }[point.uptake]
    return _with(base, metabolic, None, overall, f"{score}, uptake {point.uptake}")


def _by_ct(targets: Sequence[Lesion], point: TimePoint, history: _History) -> tuple[Response | None, str]:
    if not targets:
        return None, "no target lesions"
    sizes = _sizes(targets, point)
    grown = [_growth(x, sizes[x.id], history.smallest.get(x.id)) for x in targets]
    if any(grown):
        return R.PD, "; ".join(text for text in grown if text)
    missing = [name for name, size in sizes.items() if size is None]
    if missing or history.baseline_spd is None:
        return R.NE, f"not measured: {', '.join(missing) or 'the baseline'}"
    known = {name: size for name, size in sizes.items() if size is not None}
    if all(_is_normal(x, known[x.id]) for x in targets):
        return R.CR, "all nodes are at most 15 mm and other lesions are gone"
    spd = sum(a * b for a, b in known.values())
    change = f"sum of products {_area(spd)}"
    if history.baseline_spd:
        then, side = history.baseline_spd, "above" if spd > history.baseline_spd else "below"
        change += f" is {percent_text(spd, then)} {side} the baseline's {_area(then)}"
    return (R.PR if 2 * spd <= history.baseline_spd else R.SD), change


def _growth(lesion: Lesion, now: Size | None, smallest: Size | None) -> str:
    """Why a lesion progresses, or "": abnormal, product 50 % up, and a diameter up by 5 or (large) 10 mm."""
    if now is None or smallest is None:
        return ""
    is_abnormal = now[0] > (NORMAL_NODE_UM if lesion.is_nodal else NORMAL_EXTRANODAL_UM)
    is_half_more = 2 * now[0] * now[1] >= 3 * smallest[0] * smallest[1]
    least = 5_000 if smallest[0] <= LARGE_UM else 10_000
    rise = max(now[0] - smallest[0], now[1] - smallest[1])
    if not (is_abnormal and is_half_more and rise >= least):
        return ""
    return f"{lesion.id} {_both(now)}, from {_both(smallest)}: product up by half and {mm_text(rise)} more"


def _is_normal(lesion: Lesion, size: Size) -> bool:
    return size[0] <= NORMAL_NODE_UM if lesion.is_nodal else size[0] == 0


def _spleen(point: TimePoint, history: _History) -> tuple[Response, str] | None:
    """What the spleen's length (µm) says: progression, or that it bars CR or PR; None if it says nothing."""
    now, then = point.spleen_um, history.spleen_um
    if now is None or then is None:
        return None
    excess = max(then - NORMAL_SPLEEN_UM, 0)
    if excess and 2 * (now - then) > excess:
        return R.PD, f"spleen {mm_text(now)}, grown by more than half its excess of {mm_text(excess)}"
    if not excess and now > NORMAL_SPLEEN_UM and now - then >= SPLEEN_GROWTH_UM:
        return R.PD, f"spleen {mm_text(now)}, {mm_text(now - then)} longer than at baseline"
    if excess and 2 * max(now - NORMAL_SPLEEN_UM, 0) >= excess:
        return R.SD, f"spleen {mm_text(now)} has not lost half its excess of {mm_text(excess)}"
    if now > NORMAL_SPLEEN_UM:
        return R.PR, f"spleen {mm_text(now)} is longer than {mm_text(NORMAL_SPLEEN_UM)}"
    return None


_ORDER = (R.CR, R.PR, R.SD, R.NON_CR_NON_PD, R.PD)


def _worse(one: Response, other: Response) -> Response:
    return max(one, other, key=lambda r: _ORDER.index(r) if r in _ORDER else len(_ORDER) - 2)


def _after(history: _History, sizes: Mapping[str, Size | None]) -> _History:
    smallest = dict(history.smallest)
    for name, size in sizes.items():
        if size is not None and (
            name not in smallest or size[0] * size[1] < smallest[name][0] * smallest[name][1]
        ):
            smallest[name] = size
    return _History(baseline_spd=history.baseline_spd, smallest=smallest, spleen_um=history.spleen_um)


def _sizes(targets: Sequence[Lesion], point: TimePoint) -> dict[str, Size | None]:
    return {lesion.id: _size(point.observation_of(lesion.id)) for lesion in targets}


def _size(seen: Observation | None) -> Size | None:
    if seen is None or seen.state in (LesionState.NOT_EVALUABLE, LesionState.TRACKING_FAILED):
        return None
    if seen.state is LesionState.DISAPPEARED:
        return 0, 0
    if seen.long_axis_um is not None and seen.short_axis_um is not None:
        return max(seen.long_axis_um, seen.short_axis_um), min(seen.long_axis_um, seen.short_axis_um)
    return (TOO_SMALL_UM, TOO_SMALL_UM) if seen.state is LesionState.TOO_SMALL else None


def _spd(sizes: Mapping[str, Size | None]) -> int | None:
    known = [size for size in sizes.values() if size is not None]
    return sum(a * b for a, b in known) if known and len(known) == len(sizes) else None


def _new_lesions(timeline: Timeline, point: TimePoint) -> list[str]:
    """New lesions that count: a node longer than 15 mm, or any other that the reader does not doubt."""
    found = []
    for lesion in timeline.lesions:
        seen = point.observation_of(lesion.id) if lesion.role is LesionRole.NEW else None
        if seen is None or seen.is_equivocal or seen.state is LesionState.DISAPPEARED:
            continue
        if seen.state in (LesionState.NOT_EVALUABLE, LesionState.TRACKING_FAILED):
            continue
        longest = max(seen.long_axis_um or 0, seen.short_axis_um or 0, seen.diameter_um or 0)
        if not lesion.is_nodal or longest > NORMAL_NODE_UM:
            found.append(lesion.id)
    return found


def _both(size: Size) -> str:
    return f"{mm_text(size[0]).removesuffix(' mm')} x {mm_text(size[1])}"


def _area(um2: int) -> str:
    return f"{um2 / 1e6:g} mm²"
