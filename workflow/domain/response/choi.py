"""Choi 2007 for gastrointestinal stromal tumours: 10 % in size or 15 % in attenuation on portal venous CT.

Size is the sum of the targets' longest diameters, attenuation the mean of their HU. An intratumoral nodule
that is new or grows is a reader's finding, and progression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workflow.domain.response.course import Assessment
from workflow.domain.response.other_lesions import (
    NewLesionAssessment,
    NonTargetAssessment,
    assess_non_target,
    is_assessed,
    new_lesions_at,
)
from workflow.domain.response.overall import overall_response
from workflow.domain.response.quantities import falls_by, mm_text, percent_text, rises_by
from workflow.domain.response.recist11 import Disease, begin, disease_of, plain_or_none
from workflow.domain.response.target import TargetHistory, is_gone, nadir_text, sum_at
from workflow.domain.response.timeline import Lesion, Timeline, TimePoint
from workflow.domain.response.values import NewLesion, Response

R = Response

SIZE_PERCENT = 10
ATTENUATION_PERCENT = 15


@dataclass(frozen=True, kw_only=True)
class _Attenuation:
    """Mean HU (thousandths) of the same lesions now and at baseline, as sums over `count` lesions."""

    now: int
    baseline: int
    count: int

    @property
    def has_fallen(self) -> bool:
        """Whether it is 15 % or more below baseline."""
        return self.baseline > 0 and falls_by(self.now, self.baseline, percent=ATTENUATION_PERCENT)

    @property
    def text(self) -> str:
        """ "attenuation 40 HU, 50 % below baseline"."""
        mean = f"attenuation {self.now / self.count / 1000:g} HU"
        if self.now == self.baseline or self.baseline <= 0:
            return f"{mean}, at baseline {self.baseline / self.count / 1000:g} HU"
        side = "below" if self.now < self.baseline else "above"
        return f"{mean}, {percent_text(self.now, self.baseline)} {side} baseline"


def assess_time_points(timeline: Timeline) -> tuple[Assessment, ...]:
    """The response of every time point: CR, PR, SD, PD or NE."""
    disease = disease_of(timeline)
    found = new_lesions_at(disease.new, timeline.follow_ups)
    assessments, history = begin(disease, timeline)
    for point in timeline.follow_ups:
        assessment = _assess(disease, timeline.baseline, point, history, found[point.id])
        history = history.after(
            point, assessment.sum_um, assessment.target or R.NE, is_carried=False, overalls=()
        )
        assessments.append(assessment)
    return tuple(assessments)


def _assess(
    disease: Disease,
    baseline: TimePoint | None,
    point: TimePoint,
    history: TargetHistory,
    new: NewLesionAssessment,
) -> Assessment:
    total, parts = sum_at(disease.targets, point)
    non_target = assess_non_target(disease.non_targets, point, has_non_target=disease.has_non_target)
    target, reason = _target(disease, baseline, point, history, total)
    is_new = new.finding is NewLesion.YES or new.is_back_dated
    base = Assessment(
        time_point=point.id,
        date=point.date,
        sum_um=total,
        baseline_sum_um=history.baseline_um,
        nadir_um=history.nadir_um,
        nadir_date=history.nadir_point.date if history.nadir_point else None,
        target=target,
        non_target=non_target.response,
        new_lesion=new.finding,
        target_reason=reason,
        non_target_reason=non_target.reason,
        new_lesion_reason=new.reason,
        contributions=parts,
        is_back_dated=new.is_back_dated,
    )
    if point.overall is not None:
        return replace(base, overall=point.overall, reason=f"{point.overall}: given")
    if not is_assessed(point) and new.finding is None and target is not R.PD:
        return replace(base, overall=R.NE, reason="NE: nothing was assessed")
    overall = overall_response(
        plain_or_none(target), plain_or_none(non_target.response), has_new_lesion=is_new
    )
    return replace(base, overall=overall, reason=f"{overall}: {_words(reason, non_target, new, is_new)}")


def _words(reason: str, non_target: NonTargetAssessment, new: NewLesionAssessment, is_new: bool) -> str:
    parts = [new.reason] if is_new else []
    parts += [reason] if reason else []
    if non_target.response is not None:
        parts.append(f"non-target {non_target.response} ({non_target.reason})")
    return "; ".join(parts) or "no disease"


def _target(
    disease: Disease,
    baseline: TimePoint | None,
    point: TimePoint,
    history: TargetHistory,
    total: int | None,
) -> tuple[Response | None, str]:
    if point.target is not None:
        return point.target, "given"
    if not disease.has_target:
        return None, ""
    nodules = [o.lesion for o in point.observations if o.has_intratumoral_nodule]
    if nodules:
        return R.PD, f"a new or growing nodule inside {', '.join(nodules)}"
    attenuation = None if baseline is None else attenuation_of(disease.targets, point, baseline)
    first, least = history.baseline_um, history.nadir_um
    if total is None or first is None or least is None:
        return R.NE, "not all target lesions were measured"
    if _are_gone(disease, point, total):
        return R.CR, "all target lesions have disappeared"
    density = attenuation.text if attenuation else "attenuation not measured"
    if attenuation and attenuation.has_fallen:
        return R.PR, f"sum {mm_text(total)}; {density}"
    if rises_by(total, least, percent=SIZE_PERCENT, at_least=0):
        above = f"sum {mm_text(total)} is {percent_text(total, least) if least else mm_text(total)} above"
        text = f"{above} {nadir_text(history)}; {density}"
        return (R.PD, text) if attenuation else (R.NE, f"{text}, which could make it PR")
    if first and falls_by(total, first, percent=SIZE_PERCENT):
        return R.PR, f"sum {mm_text(total)} is {percent_text(total, first)} below baseline; {density}"
    text = f"sum {mm_text(total)}, at baseline {mm_text(first)}; {density}"
    return (R.SD, text) if attenuation else (R.NE, f"{text}, which could make it PR")


def _are_gone(disease: Disease, point: TimePoint, total: int) -> bool:
    parts = sum_at(disease.targets, point)[1]
    by_id = {lesion.id: lesion for lesion in disease.targets}
    if not parts:
        return total == 0
    return all(p.diameter_um is not None and is_gone(by_id[p.lesion], p.diameter_um) for p in parts)


def attenuation_of(targets: Sequence[Lesion], point: TimePoint, baseline: TimePoint) -> _Attenuation | None:
    """The targets' attenuation now and at baseline; a lesion that is gone has none, and none is missing."""
    now, then, count = 0, 0, 0
    present = [p.lesion for p in sum_at(targets, point)[1] if p.diameter_um != 0]
    for lesion in present:
        seen, first = point.observation_of(lesion), baseline.observation_of(lesion)
        if seen is None or first is None:
            return None
        if seen.attenuation_milli_hu is None or first.attenuation_milli_hu is None:
            return None
        now, then, count = now + seen.attenuation_milli_hu, then + first.attenuation_milli_hu, count + 1
    return _Attenuation(now=now, baseline=then, count=count) if count else None
