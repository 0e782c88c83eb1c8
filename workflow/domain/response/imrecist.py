"""imRECIST (Hodi 2018): RECIST 1.1 for immunotherapy, where new lesions join the tumour burden.

Measurable new lesions (five, two per organ) are added to the sum; no new lesion and no non-target lesion is
progression by itself, but either bars a complete response. Progression counts unless a scan at least four
weeks later shows none, and a best response may come after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workflow.domain.response.course import Assessment
from workflow.domain.response.new_lesion_burden import KnownNewLesions, NewLesionBurden, burden_at
from workflow.domain.response.other_lesions import (
    NonTargetAssessment,
    assess_non_target,
    is_assessed,
    new_lesions_at,
)
from workflow.domain.response.overall import overall_response
from workflow.domain.response.policy import Policies
from workflow.domain.response.quantities import falls_by, mm_text, percent_text, rises_by
from workflow.domain.response.recist11 import Disease, begin, disease_of, plain_or_none
from workflow.domain.response.target import (
    PROGRESSION_PERCENT,
    PROGRESSION_UM,
    RESPONSE_PERCENT,
    TargetHistory,
    is_gone,
    nadir_text,
    sum_at,
)
from workflow.domain.response.timeline import Timeline, TimePoint
from workflow.domain.response.unconfirmed import verdict_on, when
from workflow.domain.response.values import NewLesion, Response

R = Response

CONFIRMATION_DAYS = 28


def assess_time_points(timeline: Timeline, policies: Policies) -> tuple[Assessment, ...]:
    """The response of every time point: CR, PR, SD, PD or NE; PDu for progression that was taken back."""
    disease = disease_of(timeline)
    found = new_lesions_at(disease.new, timeline.follow_ups)
    known = KnownNewLesions()
    assessments, history = begin(disease, timeline)
    for point in timeline.follow_ups:
        burden, known = burden_at(point, found[point.id], known, disease.new, policies)
        assessment = _assess(disease, point, history, burden, known, found[point.id].finding)
        history = history.after(
            point, assessment.sum_um, assessment.target or R.NE, is_carried=False, overalls=()
        )
        assessments.append(assessment)
    return tuple(_taken_back(assessments, index) for index in range(len(assessments)))


def _assess(
    disease: Disease,
    point: TimePoint,
    history: TargetHistory,
    burden: NewLesionBurden,
    known: KnownNewLesions,
    finding: NewLesion | None,
) -> Assessment:
    non_target = assess_non_target(disease.non_targets, point, has_non_target=disease.has_non_target)
    old, parts = sum_at(disease.targets, point)
    total = _total(disease, old, burden, known)
    target, reason = _target(disease, point, history, old, total, burden)
    base = Assessment(
        time_point=point.id,
        date=point.date,
        sum_um=total,
        baseline_sum_um=history.baseline_um,
        nadir_um=history.nadir_um,
        nadir_date=history.nadir_point.date if history.nadir_point else None,
        target=target,
        non_target=non_target.response,
        new_lesion=finding,
        target_reason=reason,
        non_target_reason=non_target.reason,
        contributions=parts,
    )
    if point.overall is not None:
        return replace(base, overall=point.overall, reason=f"{point.overall}: given")
    if not is_assessed(point):
        return replace(base, overall=R.NE, reason="NE: nothing was assessed")
    overall, why = _overall(target, non_target, burden)
    return replace(base, overall=overall, reason=f"{overall}: {'; '.join(x for x in (reason, why) if x)}")


def _total(disease: Disease, old: int | None, burden: NewLesionBurden, known: KnownNewLesions) -> int | None:
    """The tumour burden, µm: targets and measurable new lesions; None if one of them is not evaluable."""
    if not known.targets and burden.sum_um is None:
        return old
    if burden.sum_um is None or (old is None and disease.has_target):
        return None
    return (old or 0) + burden.sum_um


def _target(
    disease: Disease,
    point: TimePoint,
    history: TargetHistory,
    old: int | None,
    total: int | None,
    burden: NewLesionBurden,
) -> tuple[Response | None, str]:
    if point.target is not None:
        return point.target, "given"
    if not disease.has_target and not burden.sum_um:
        return None, ""
    baseline, nadir = history.baseline_um, history.nadir_um
    if not disease.has_target:
        baseline = nadir = 0
    if total is None or baseline is None or nadir is None:
        return R.NE, "not all lesions of the tumour burden were measured"
    text = f"tumour burden {mm_text(total)}"
    if burden.sum_um:
        text += f" with new lesions of {mm_text(burden.sum_um)}"
    if rises_by(total, nadir, percent=PROGRESSION_PERCENT, at_least=PROGRESSION_UM):
        above = f"{percent_text(total, nadir)} and " if nadir else ""
        return R.PD, f"{text}, {above}{mm_text(total - nadir)} above {nadir_text(history)}"
    if baseline and old is not None and _are_gone(disease, point, old) and not burden.sum_um:
        return R.CR, "all target lesions have disappeared"
    if baseline and falls_by(total, baseline, percent=RESPONSE_PERCENT):
        return R.PR, f"{text}, {percent_text(total, baseline)} below the baseline of {mm_text(baseline)}"
    return R.SD, f"{text}; baseline {mm_text(baseline)}, {nadir_text(history)}"


def _are_gone(disease: Disease, point: TimePoint, total: int) -> bool:
    parts = sum_at(disease.targets, point)[1]
    by_id = {lesion.id: lesion for lesion in disease.targets}
    if not parts:
        return total == 0
    return all(p.diameter_um is not None and is_gone(by_id[p.lesion], p.diameter_um) for p in parts)


def _overall(
    target: Response | None, non_target: NonTargetAssessment, burden: NewLesionBurden
) -> tuple[Response, str]:
    """Non-target and new lesions only bar a complete response."""
    other = plain_or_none(non_target.response)
    if other is R.PD:
        other = R.NON_CR_NON_PD
    overall = overall_response(plain_or_none(target), other, has_new_lesion=False)
    why = [] if non_target.response is None else [f"non-target {non_target.response} ({non_target.reason})"]
    if burden.is_present:
        why.append("new lesions are there, which by themselves are no progression")
        overall = {R.CR: R.PR if target is not None else R.NON_CR_NON_PD, R.NED: R.NON_CR_NON_PD}.get(
            overall, overall
        )
    return overall, "; ".join(why)


def _taken_back(assessments: Sequence[Assessment], index: int) -> Assessment:
    """Progression as PDu if the first scan at least four weeks later shows none."""
    assessment = assessments[index]
    if assessment.overall is not R.PD:
        return assessment
    verdict = verdict_on(assessments, index, least_days=CONFIRMATION_DAYS)
    if verdict.by is None:
        return assessment
    if not verdict.is_taken_back:
        return replace(assessment, reason=f"{assessment.reason}; confirmed on {when(verdict.by)}")
    by = f"not confirmed: {verdict.by.overall} on {when(verdict.by)}"
    why = assessment.reason.removeprefix("PD: ")
    return replace(assessment, overall=R.PDU, reason=f"{R.PDU}: {by} ({why})")
