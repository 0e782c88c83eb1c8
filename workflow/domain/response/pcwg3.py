"""PCWG3 for prostate cancer (Scher 2016): soft tissue by RECIST 1.1, bone by scintigraphy and the 2+2 rule.

Bone lesions are judged by the bone scan alone and never by RECIST. Two new ones on the first scan may be a
flare: they are progression only if the next scan, at least six weeks later, shows two more. The first scan
is then the reference: two new ones after it are progression if the next scan still shows them. PSA is
reported apart and not read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import recist11
from workflow.domain.response.confirmation import days_between
from workflow.domain.response.course import Assessment
from workflow.domain.response.organs import rule_organ
from workflow.domain.response.other_lesions import assess_non_target
from workflow.domain.response.policy import Policies
from workflow.domain.response.recist11 import plain_or_none
from workflow.domain.response.target import state_of
from workflow.domain.response.timeline import Lesion, Observation, Timeline, TimePoint
from workflow.domain.response.values import NOT_EVALUABLE, Response

R = Response

NEW_LESIONS = 2


@dataclass(frozen=True, kw_only=True)
class BoneAssessment:
    """The bone response of a time point: PD, PDu, Non-CR/Non-PD (no progression), NED, NE or None."""

    response: Response | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """An evaluable bone scan; `new` names the lesions on it that were not there at baseline."""

    point: TimePoint
    new: frozenset[str]


def assess_time_points(timeline: Timeline, policies: Policies) -> tuple[Assessment, ...]:
    """The combined response of every time point, with the soft tissue's and the bone's beside it."""
    soft = recist11.assess_time_points(_soft_tissue(timeline), policies)
    bone = bone_responses(timeline, policies)
    has_target = any(a.sum_um is not None for a in soft if a.is_baseline)
    given = {p.id for p in timeline.time_points if p.overall is not None}
    return tuple(
        a if a.is_baseline else _with_bone(a, bone[a.time_point], has_target, a.time_point in given)
        for a in soft
    )


def _is_bone(lesion: Lesion) -> bool:
    return rule_organ(lesion) == "bone"


def _soft_tissue(timeline: Timeline) -> Timeline:
    """The timeline without the lesions that the bone scan judges: a bone target stays (soft-tissue part)."""
    kept = tuple(x for x in timeline.lesions if not _is_bone(x) or x.role is LesionRole.TARGET)
    names = {lesion.id for lesion in kept}
    points = tuple(
        replace(p, observations=tuple(_within(o, names) for o in p.observations if o.lesion in names))
        for p in timeline.time_points
    )
    return replace(timeline, lesions=kept, time_points=points)


def _within(seen: Observation, names: set[str]) -> Observation:
    """The observation, whose lesion can't have merged with one that is judged elsewhere."""
    return seen if seen.merged_into in names else replace(seen, merged_into=None)


def _with_bone(soft: Assessment, bone: BoneAssessment, has_target: bool, is_given: bool) -> Assessment:
    if bone.response is None:
        return soft
    parts = (("soft tissue", soft.overall or R.NE), ("bone", bone.response))
    if is_given:
        return replace(soft, components=parts)
    overall = combined(soft.overall or R.NE, bone.response, has_target=has_target)
    reason = f"{overall}: soft tissue {soft.reason}; bone {bone.response} ({bone.reason})"
    return replace(soft, overall=overall, reason=reason, components=parts)


def combined(soft: Response, bone: Response, *, has_target: bool) -> Response:
    """Soft tissue and bone together (PCWG3 with RECIST 1.1); `has_target`: whether there were targets."""
    if R.PD in (plain_or_none(soft), bone):
        return R.PD
    if soft is R.CR and bone is not R.NED:
        return R.PR if has_target else R.NON_CR_NON_PD
    if soft is R.NED:
        return R.NE if bone in NOT_EVALUABLE else bone
    return R.NE if soft in NOT_EVALUABLE else soft


# ---------------------------------------------------------------- bone


def bone_responses(timeline: Timeline, policies: Policies) -> dict[str, BoneAssessment]:
    """The bone response of every follow-up by time point; None where the patient has no bone scan at all."""
    scans = _scans(timeline)
    has_scans = bool(scans) or any(p.bone is not None for p in timeline.time_points)
    progressed = _progression(timeline, scans, policies)
    known = {scan.point.id for scan in scans}
    found: dict[str, BoneAssessment] = {}
    is_final = ""
    for point in timeline.follow_ups:
        if point.bone is not None:
            found[point.id] = BoneAssessment(response=plain_or_none(point.bone), reason="given")
            continue
        if not has_scans:
            found[point.id] = BoneAssessment(response=None)
        elif is_final:
            found[point.id] = BoneAssessment(response=R.PD, reason=f"progression since {is_final}")
        elif point.id not in known:
            found[point.id] = BoneAssessment(response=R.NE, reason="no bone scan")
        else:
            found[point.id] = progressed.get(point.id) or _without_progression(timeline, point)
        if found[point.id].response is R.PD:
            is_final = is_final or point.when
    return found


def _scans(timeline: Timeline) -> list[_Scan]:
    """The bone scans after baseline, in order: by the number of new lesions, or by lesions of bone."""
    bone = [x for x in timeline.lesions if _is_bone(x) and x.role is not LesionRole.TARGET]
    new = [x for x in bone if x.role is LesionRole.NEW]
    scans = []
    for point in timeline.follow_ups:
        if point.new_bone_lesions is not None:
            # Lesions that are only counted are taken to be the same ones from scan to scan.
            names = frozenset(f"new bone lesion {n + 1}" for n in range(point.new_bone_lesions))
            scans.append(_Scan(point=point, new=names))
        elif any(_is_seen(x, point) is not None for x in bone):
            scans.append(_Scan(point=point, new=frozenset(x.id for x in new if _is_seen(x, point))))
    return scans


def _is_seen(lesion: Lesion, point: TimePoint) -> bool | None:
    """Whether a lesion is there; None if the time point does not say."""
    seen = point.observation_of(lesion.id)
    if seen is None:
        return None
    if seen.state is None and seen.diameter_um is None and seen.long_axis_um is None:
        return not seen.is_equivocal
    state = state_of(seen, is_nodal=False)
    if state in (LesionState.NOT_EVALUABLE, LesionState.TRACKING_FAILED):
        return None
    return state is not LesionState.DISAPPEARED and not seen.is_equivocal


def _progression(timeline: Timeline, scans: Sequence[_Scan], policies: Policies) -> dict[str, BoneAssessment]:
    """What the 2+2 rule says of each scan with two new lesions."""
    found: dict[str, BoneAssessment] = {}
    if not scans:
        return found
    reference: frozenset[str] = frozenset()
    first = scans[0]
    days = days_between(timeline.start, first.point.date)
    is_flare_window = days is None or days <= policies.bone_flare_days
    if is_flare_window:
        reference = first.new
        if len(first.new) >= NEW_LESIONS:
            found[first.point.id] = _first_scan(first, _next(scans, 0, policies))
    for index, scan in enumerate(scans):
        if index == 0 and is_flare_window:
            continue
        fresh = scan.new - reference
        if len(fresh) >= NEW_LESIONS and scan.point.id not in found:
            later = _next(scans, index, policies)
            found[scan.point.id] = _later_scan(len(fresh), reference, later, is_flare_window)
    return found


def _next(scans: Sequence[_Scan], index: int, policies: Policies) -> _Scan | None:
    """The first later scan that is late enough to confirm."""
    for later in scans[index + 1 :]:
        days = days_between(scans[index].point.date, later.point.date)
        if days is None or days >= policies.bone_confirmation_days:
            return later
    return None


def _first_scan(first: _Scan, later: _Scan | None) -> BoneAssessment:
    text = f"{len(first.new)} new bone lesions on the first scan"
    if later is None:
        return BoneAssessment(response=R.PDU, reason=f"{text}, to be confirmed by two more")
    more = len(later.new - first.new)
    if more >= NEW_LESIONS:
        return BoneAssessment(response=R.PD, reason=f"{text} and {more} more on {later.point.when}")
    reason = f"{text} and {more} more on {later.point.when}: a flare, no progression"
    return BoneAssessment(response=R.NON_CR_NON_PD, reason=reason)


def _later_scan(
    fresh: int, reference: frozenset[str], later: _Scan | None, is_from_first: bool
) -> BoneAssessment:
    since = "the first scan" if is_from_first else "baseline"
    text = f"{fresh} bone lesions new since {since}"
    if later is None:
        return BoneAssessment(response=R.PDU, reason=f"{text}, to be confirmed by the next scan")
    still = len(later.new - reference)
    if still >= NEW_LESIONS:
        return BoneAssessment(response=R.PD, reason=f"{text}, still {still} on {later.point.when}")
    reason = f"{text}, only {still} on {later.point.when}: not confirmed"
    return BoneAssessment(response=R.NON_CR_NON_PD, reason=reason)


def _without_progression(timeline: Timeline, point: TimePoint) -> BoneAssessment:
    """NED where every bone lesion is gone or there never was one."""
    others = tuple(x for x in timeline.lesions if _is_bone(x) and x.role is LesionRole.NON_TARGET)
    new = [x for x in timeline.lesions if _is_bone(x) and x.role is LesionRole.NEW]
    is_new = bool(point.new_bone_lesions) or any(_is_seen(x, point) for x in new)
    judged = assess_non_target(others, replace(point, non_target=None), has_non_target=bool(others))
    if not others and point.new_bone_lesions is not None:
        # A count of new lesions does not tell whether there were others at baseline.
        return BoneAssessment(response=R.NON_CR_NON_PD, reason="fewer than two new bone lesions")
    if judged.response in (None, R.CR) and not is_new:
        return BoneAssessment(response=R.NED, reason="no bone lesions")
    if judged.response is R.NE and not is_new:
        return BoneAssessment(response=R.NE, reason=judged.reason)
    return BoneAssessment(response=R.NON_CR_NON_PD, reason="no progression in bone")
