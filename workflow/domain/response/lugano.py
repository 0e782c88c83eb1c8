"""Lugano 2014 for lymphoma: PET by the Deauville score, CT by products of perpendicular diameters.

Where a time point has a Deauville score it decides (score 4 or 5 with the change of uptake); else CT does.
Score X alone says nothing of the known disease. Bone marrow, and what a new uptake is, are a reader's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response.course import Assessment
from workflow.domain.response.other_lesions import assess_non_target, is_assessed
from workflow.domain.response.overall import overall_response
from workflow.domain.response.perpendicular import (
    Size,
    area_text,
    change_text,
    product,
    size_text,
    sizes_at,
    smaller,
    sum_of_products,
)
from workflow.domain.response.quantities import mm_text
from workflow.domain.response.recist11 import plain_or_none
from workflow.domain.response.timeline import Lesion, Timeline, TimePoint, Uptake
from workflow.domain.response.values import NOT_EVALUABLE, NewLesion, Response

R = Response

NORMAL_NODE_UM = 15_000
NORMAL_EXTRANODAL_UM = 10_000
NORMAL_SPLEEN_UM = 130_000
SPLEEN_GROWTH_UM = 20_000
LARGE_UM = 20_000


@dataclass(frozen=True, kw_only=True)
class History:
    """What later time points are judged against: products at baseline, each lesion's and the spleen's least.

    Lengths are µm, products µm².
    """

    baseline_spd: int | None = None
    smallest: Mapping[str, Size] = field(default_factory=dict)
    smallest_spd: int | None = None
    spleen_um: int | None = None
    smallest_spleen_um: int | None = None

    def after(self, sizes: Mapping[str, Size | None], spleen_um: int | None) -> History:
        """The history once a time point is assessed."""
        return History(
            baseline_spd=self.baseline_spd,
            smallest=smaller(self.smallest, sizes),
            smallest_spd=least(self.smallest_spd, sum_of_products(sizes)),
            spleen_um=self.spleen_um,
            smallest_spleen_um=least(self.smallest_spleen_um, spleen_um),
        )


def least(one: int | None, other: int | None) -> int | None:
    """The smaller of two numbers of which either may be unknown."""
    known = [value for value in (one, other) if value is not None]
    return min(known) if known else None


def history_of(targets: Sequence[Lesion], baseline: TimePoint | None) -> History:
    """The history that the first follow-up is judged against."""
    if baseline is None:
        return History()
    sizes = sizes_at(targets, baseline)
    first = History(baseline_spd=sum_of_products(sizes), spleen_um=baseline.spleen_um)
    return first.after(sizes, baseline.spleen_um)


def targets_of(timeline: Timeline) -> tuple[Lesion, ...]:
    """The lesions whose products are summed."""
    return tuple(x for x in timeline.lesions if x.role is LesionRole.TARGET)


def assess_time_points(timeline: Timeline) -> tuple[Assessment, ...]:
    """The response of every time point: CR, PR, SD, PD or NE; `target` has the word of PET or CT."""
    targets = targets_of(timeline)
    history = history_of(targets, timeline.baseline)
    assessments = [assess_baseline(timeline.baseline, history)] if timeline.baseline is not None else []
    for point in timeline.follow_ups:
        assessments.append(assess_point(timeline, targets, point, history))
        history = history.after(sizes_at(targets, point), point.spleen_um)
    return tuple(assessments)


def assess_baseline(point: TimePoint, history: History) -> Assessment:
    """The baseline: its sum of products, no response."""
    spd = history.baseline_spd
    text = "no sum of products" if spd is None else f"sum of products {area_text(spd)}"
    return Assessment(time_point=point.id, date=point.date, is_baseline=True, reason=f"baseline: {text}")


def assess_point(
    timeline: Timeline, targets: Sequence[Lesion], point: TimePoint, history: History
) -> Assessment:
    """The response of one time point after baseline."""
    new = new_lesions(timeline, point)
    base = Assessment(
        time_point=point.id,
        date=point.date,
        new_lesion=point.new_lesion or (NewLesion.YES if new else NewLesion.NO),
        warnings=_warnings(timeline, point, new),
    )
    if point.overall is not None:
        # CDISC says CAR or CMR where the response is CR by CT or by PET.
        word = point.overall
        overall = plain_or_none(word) or R.NE
        return _with(base, None if word is overall else word, None, overall, "given")
    if has_new_lesion(point, new):
        return _with(base, None, None, R.PD, f"new lesion {', '.join(new)}".strip())
    by_pet = None if point.deauville is None else _by_pet(point)
    if by_pet is not None and by_pet[1] not in NOT_EVALUABLE:
        return _with(base, by_pet[0], None, by_pet[1], by_pet[2])
    by_ct = _by_ct_and_spleen(timeline, targets, point, history, base)
    if by_pet is not None:
        # A score without its change of uptake leaves PET open: only progression by CT is proven.
        is_proven = by_ct.overall is R.PD
        return by_ct if is_proven else _with(base, by_pet[0], None, by_pet[1], by_pet[2])
    return by_ct


def _by_ct_and_spleen(
    timeline: Timeline, targets: Sequence[Lesion], point: TimePoint, history: History, base: Assessment
) -> Assessment:
    others = tuple(x for x in timeline.lesions if x.role is LesionRole.NON_TARGET)
    non_target = assess_non_target(others, point, has_non_target=bool(others) or point.non_target is not None)
    spleen = _spleen(point, history)
    if not is_assessed(point) and (spleen is None or spleen[0] is not R.PD):
        only_x = "score X alone tells nothing of the known disease"
        return _with(base, None, None, R.NE, only_x if point.has_unrelated_uptake else "nothing was assessed")
    target, reason = (point.target, "given") if point.target else _by_ct(targets, point, history)
    overall = overall_response(
        plain_or_none(target), plain_or_none(non_target.response), has_new_lesion=False
    )
    if non_target.response is not None:
        reason = f"{reason}; non-target {non_target.response} ({non_target.reason})"
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
        warnings=base.warnings,
    )


def _by_pet(point: TimePoint) -> tuple[Response, Response, str]:
    """The metabolic response, the overall one, and why."""
    score = f"Deauville {point.deauville}"
    if point.has_unrelated_uptake:
        score += " (and X: new uptake that is unlikely to be lymphoma)"
    if (point.deauville or 0) <= 3:
        return R.CMR, R.CR, score
    if point.uptake is None:
        return R.NE, R.NE, f"{score}, but how uptake compares with baseline is not said"
    metabolic, overall = {
        Uptake.DECREASED: (R.PMR, R.PR),
        Uptake.UNCHANGED: (R.NMR, R.SD),
        Uptake.INCREASED: (R.PMD, R.PD),
    }[point.uptake]
    return metabolic, overall, f"{score}, uptake {point.uptake}"


def _by_ct(targets: Sequence[Lesion], point: TimePoint, history: History) -> tuple[Response | None, str]:
    if not targets:
        return None, "no target lesions"
    sizes = sizes_at(targets, point)
    if grown := grown_lesions(targets, sizes, history):
        return R.PD, "; ".join(grown.values())
    missing = [name for name, size in sizes.items() if size is None]
    if missing or history.baseline_spd is None:
        return R.NE, f"not measured: {', '.join(missing) or 'the baseline'}"
    known = {name: size for name, size in sizes.items() if size is not None}
    if all(_is_normal(x, known[x.id]) for x in targets):
        return R.CR, "all nodes are at most 15 mm and other lesions are gone"
    spd = sum(product(size) for size in known.values())
    reason = change_text(spd, history.baseline_spd, "baseline")
    return (R.PR if 2 * spd <= history.baseline_spd else R.SD), reason


def grown_lesions(
    targets: Sequence[Lesion], sizes: Mapping[str, Size | None], history: History
) -> dict[str, str]:
    """The lesions that progress each by itself, with the reason."""
    found = {x.id: _growth(x, sizes[x.id], history.smallest.get(x.id)) for x in targets}
    return {name: reason for name, reason in found.items() if reason}


def _growth(lesion: Lesion, now: Size | None, smallest: Size | None) -> str:
    """Why a lesion progresses, or "": abnormal, product 50 % up, and a diameter up by 5 or (large) 10 mm."""
    if now is None or smallest is None:
        return ""
    if smallest == (0, 0) and now[0] > (NORMAL_NODE_UM if lesion.is_nodal else 0):
        return f"{lesion.id} {size_text(now)}, regrown after it had disappeared"
    is_abnormal = now[0] > (NORMAL_NODE_UM if lesion.is_nodal else NORMAL_EXTRANODAL_UM)
    is_half_more = 2 * product(now) >= 3 * product(smallest)
    enough = 5_000 if smallest[0] <= LARGE_UM else 10_000
    rise = max(now[0] - smallest[0], now[1] - smallest[1])
    if not (is_abnormal and is_half_more and rise >= enough):
        return ""
    change = f"{lesion.id} {size_text(now)}, from {size_text(smallest)}"
    return f"{change}: product up by half and {mm_text(rise)} more"


def _is_normal(lesion: Lesion, size: Size) -> bool:
    return size[0] <= NORMAL_NODE_UM if lesion.is_nodal else size[0] == 0


def _spleen(point: TimePoint, history: History) -> tuple[Response, str] | None:
    """What the spleen's length (µm) says: progression, or that it bars CR or PR; None if it says nothing.

    Growth counts from the smallest length so far, so that a spleen which had become normal and is enlarged
    again is recurrent splenomegaly: by more than half the excess over 13 cm that it had at baseline, or by
    2 cm where it was not enlarged there (Cheson 2014, Table 3).
    """
    now, then, smallest = point.spleen_um, history.spleen_um, history.smallest_spleen_um
    if now is None or then is None or smallest is None:
        return None
    excess, growth = max(then - NORMAL_SPLEEN_UM, 0), now - smallest
    is_enlarged = now > NORMAL_SPLEEN_UM
    was_normal = smallest <= NORMAL_SPLEEN_UM
    if is_enlarged and ((excess and 2 * growth > excess) or (was_normal and growth >= SPLEEN_GROWTH_UM)):
        name = "recurrent splenomegaly: " if excess and was_normal else ""
        beyond = f" (excess at baseline {mm_text(excess)})" if excess else ""
        return R.PD, f"{name}spleen {mm_text(now)}, {mm_text(growth)} longer than at its least{beyond}"
    if excess and 2 * max(now - NORMAL_SPLEEN_UM, 0) >= excess:
        return R.SD, f"spleen {mm_text(now)} has not lost half its excess of {mm_text(excess)}"
    if is_enlarged:
        return R.PR, f"spleen {mm_text(now)} is longer than {mm_text(NORMAL_SPLEEN_UM)}"
    return None


_ORDER = (R.CR, R.PR, R.SD, R.NON_CR_NON_PD, R.PD)


def _worse(one: Response, other: Response) -> Response:
    return max(one, other, key=lambda r: _ORDER.index(r) if r in _ORDER else len(_ORDER) - 2)


def has_new_lesion(point: TimePoint, found: Sequence[str]) -> bool:
    """Whether the time point shows new disease: the reader's finding, else the new lesions that count."""
    return bool(found) or point.new_lesion is NewLesion.YES


def new_lesions(timeline: Timeline, point: TimePoint) -> list[str]:
    """New lesions that count: a node longer than 15 mm, or any other that the reader does not doubt."""
    found = []
    for lesion in timeline.lesions:
        seen = point.observation_of(lesion.id) if lesion.role is LesionRole.NEW else None
        if seen is None or seen.is_equivocal or seen.state is LesionState.DISAPPEARED:
            continue
        if seen.state in (LesionState.NOT_EVALUABLE, LesionState.TRACKING_FAILED):
            continue
        if not lesion.is_nodal or _longest(point, lesion) > NORMAL_NODE_UM:
            found.append(lesion.id)
    return found


def _longest(point: TimePoint, lesion: Lesion) -> int:
    seen = point.observation_of(lesion.id)
    lengths = () if seen is None else (seen.long_axis_um, seen.short_axis_um, seen.diameter_um)
    return max((length for length in lengths if length is not None), default=0)


def _warnings(timeline: Timeline, point: TimePoint, new: Sequence[str]) -> tuple[str, ...]:
    """A small new extranodal lesion counts only if it is certainly lymphoma, which no size tells."""
    by_id = {lesion.id: lesion for lesion in timeline.lesions}
    small = [
        name
        for name in new
        if not by_id[name].is_nodal and 0 < _longest(point, by_id[name]) <= NORMAL_EXTRANODAL_UM
    ]
    text = "new outside the nodes and not above 10 mm: it counts only if it is certainly lymphoma"
    return tuple(f"{name} is {text}" for name in small)
