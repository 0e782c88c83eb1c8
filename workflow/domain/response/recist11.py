"""RECIST 1.1: the response at each time point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workflow.domain.report import LesionRole
from workflow.domain.response.course import Assessment
from workflow.domain.response.other_lesions import (
    NewLesionAssessment,
    NonTargetAssessment,
    assess_non_target,
    is_assessed,
    new_lesions_at,
)
from workflow.domain.response.overall import overall_response
from workflow.domain.response.policy import Policies, Reappearance
from workflow.domain.response.quantities import mm_text
from workflow.domain.response.target import TargetAssessment, TargetHistory, assess_target, sum_at
from workflow.domain.response.timeline import Lesion, Timeline, TimePoint
from workflow.domain.response.values import NOT_EVALUABLE, NewLesion, Response, plain

_NO_TARGET = (None, Response.NA, Response.NED)


@dataclass(frozen=True, kw_only=True)
class Disease:
    """What the patient has: the lesions that count, and whether levels given say more."""

    targets: tuple[Lesion, ...]
    non_targets: tuple[Lesion, ...]
    new: tuple[Lesion, ...]
    has_target: bool
    has_non_target: bool
    warnings: tuple[str, ...] = ()


def disease_of(timeline: Timeline) -> Disease:
    """Sort the lesions by role; a target that measures 0 mm at baseline is none."""
    baseline = timeline.baseline
    targets, warnings = [], []
    for lesion in _with_role(timeline, LesionRole.TARGET):
        if baseline is not None and _is_absent_at(lesion, baseline):
            warnings.append(f"{lesion.id} measures 0 mm at baseline and is left out of the target lesions")
        else:
            targets.append(lesion)
    points = timeline.time_points
    return Disease(
        targets=tuple(targets),
        non_targets=_with_role(timeline, LesionRole.NON_TARGET),
        new=_with_role(timeline, LesionRole.NEW),
        has_target=bool(targets)
        or any(p.sum_um is not None or plain_or_none(p.target) not in _NO_TARGET for p in points),
        has_non_target=any(lesion.role is LesionRole.NON_TARGET for lesion in timeline.lesions)
        or any(plain_or_none(p.non_target) not in _NO_TARGET for p in points),
        warnings=(*warnings, *_early_new_lesions(timeline)),
    )


def plain_or_none(response: Response | None) -> Response | None:
    """The RECIST 1.1 word for a response that may be missing."""
    return None if response is None else plain(response)


def _with_role(timeline: Timeline, role: LesionRole) -> tuple[Lesion, ...]:
    return tuple(lesion for lesion in timeline.lesions if lesion.role is role)


def _is_absent_at(lesion: Lesion, point: TimePoint) -> bool:
    total, parts = sum_at((lesion,), replace(point, sum_um=None))
    return bool(parts) and total == 0


def _early_new_lesions(timeline: Timeline) -> list[str]:
    baseline = timeline.baseline
    if baseline is None:
        return []
    return [
        f"{lesion.id} is called new but is observed at baseline; its role there is ignored"
        for lesion in _with_role(timeline, LesionRole.NEW)
        if baseline.observation_of(lesion.id) is not None and not _is_absent_at(lesion, baseline)
    ]


def assess_time_points(timeline: Timeline, policies: Policies) -> tuple[Assessment, ...]:
    """The RECIST 1.1 response of every time point, in order; the baseline gets its sum and no response."""
    disease = disease_of(timeline)
    found = new_lesions_at(disease.new, timeline.follow_ups)
    assessments, history = begin(disease, timeline)
    progressed: TimePoint | None = None
    for point in timeline.follow_ups:
        assessment = assess_point(disease, point, history, found[point.id], policies)
        if progressed is not None and policies.progression_is_final and assessment.overall is not Response.PD:
            reason = f"PD since {progressed.when}, which is final by policy; {assessment.reason}"
            assessment = replace(assessment, overall=Response.PD, reason=reason)
        history = history_after(history, point, assessment)
        if assessment.overall is Response.PD and progressed is None:
            progressed = point
        assessments.append(assessment)
    return tuple(assessments)


def begin(disease: Disease, timeline: Timeline) -> tuple[list[Assessment], TargetHistory]:
    """The baseline's assessment, if there is one, and the history that follow-ups are judged against."""
    if timeline.baseline is None:
        return [], TargetHistory()
    first = _assess_baseline(disease, timeline.baseline)
    return [first], _history_from(first, timeline.baseline)


def _assess_baseline(disease: Disease, point: TimePoint) -> Assessment:
    total, parts = sum_at(disease.targets, point)
    if total is not None and disease.has_target:
        count = len(disease.targets)
        of = f" of {count} target lesion{'s' if count > 1 else ''}" if count else ""
        reason = f"baseline: sum {mm_text(total)}{of}"
    elif disease.has_target and disease.targets:
        missing = "; ".join(part.reason for part in parts if part.diameter_um is None)
        reason = f"baseline: no sum ({missing or 'no measurements'})"
    elif disease.has_target:
        reason = "baseline: no sum given"
    elif disease.has_non_target:
        reason = "baseline: non-target disease only"
    else:
        reason = "baseline: no disease"
    return Assessment(
        time_point=point.id,
        date=point.date,
        is_baseline=True,
        sum_um=total if disease.has_target else None,
        baseline_sum_um=total if disease.has_target else None,
        reason=reason,
        contributions=parts,
        warnings=disease.warnings,
    )


def _history_from(baseline: Assessment, point: TimePoint) -> TargetHistory:
    return TargetHistory(
        baseline_um=baseline.sum_um,
        baseline_when=point.when,
        nadir_um=baseline.sum_um,
        nadir_point=point if baseline.sum_um is not None else None,
    )


def history_after(history: TargetHistory, point: TimePoint, assessment: Assessment) -> TargetHistory:
    """The history once a time point is assessed."""
    overall = assessment.overall
    had_complete = history.has_overall_complete_response
    return history.after(
        point,
        assessment.sum_um,
        plain_or_none(assessment.target) or Response.NE,
        is_carried=assessment.is_carried,
        # What follows progression is judged by the sums again.
        is_complete=overall is Response.CR or (had_complete and overall is not Response.PD),
    )


def assess_point(
    disease: Disease, point: TimePoint, history: TargetHistory, new: NewLesionAssessment, policies: Policies
) -> Assessment:
    """The RECIST 1.1 response of one time point after baseline."""
    is_blank = not is_assessed(point)
    target: TargetAssessment | None = None
    if disease.has_target or point.target is not None:
        target = assess_target(disease.targets, point, history, policies)
    non_target = assess_non_target(disease.non_targets, point, has_non_target=disease.has_non_target)
    base = Assessment(
        time_point=point.id,
        date=point.date,
        sum_um=target.sum_um if target else None,
        baseline_sum_um=history.baseline_um,
        nadir_um=history.nadir_um,
        nadir_date=history.nadir_point.date if history.nadir_point else None,
        target=target.response if target else None,
        non_target=non_target.response,
        new_lesion=new.finding,
        target_reason=target.reason if target else "",
        non_target_reason=non_target.reason,
        new_lesion_reason=new.reason,
        contributions=target.contributions if target else (),
        is_carried=target.is_carried if target else False,
        is_back_dated=new.is_back_dated and policies.backdate_equivocal_new_lesions,
        warnings=target.warnings if target else (),
    )
    if point.overall is not None:
        return _given_overall(base, point, point.overall)
    if is_blank and new.finding is None:
        return replace(base, overall=Response.NE, reason="NE: nothing was assessed")
    return _with_overall(base, target, non_target, new, history, policies)


def _given_overall(base: Assessment, point: TimePoint, overall: Response) -> Assessment:
    """Where only the overall response is given, the levels below are unknown, not NE."""
    has_observations = bool(point.observations)
    knows_target = point.target is not None or point.sum_um is not None or has_observations
    return replace(
        base,
        target=base.target if knows_target else None,
        non_target=base.non_target if point.non_target is not None or has_observations else None,
        new_lesion=base.new_lesion if point.new_lesion is not None or has_observations else None,
        overall=overall,
        reason=f"{overall}: given",
    )


def _with_overall(
    base: Assessment,
    target: TargetAssessment | None,
    non_target: NonTargetAssessment,
    new: NewLesionAssessment,
    history: TargetHistory,
    policies: Policies,
) -> Assessment:
    is_new = new.finding is NewLesion.YES or base.is_back_dated
    target_word, non_target_word = plain_or_none(base.target), plain_or_none(base.non_target)
    overall = overall_response(target_word, non_target_word, has_new_lesion=is_new)
    if (
        history.has_overall_complete_response
        and policies.reappearance_after_complete_response is Reappearance.ANY
        and overall in (Response.PR, Response.SD, Response.NON_CR_NON_PD)
        and _shows_disease(target_word, non_target_word)
    ):
        # RECIST 1.1, Table 3, note a: any disease seen after a true CR has reappeared.
        reason = (
            f"PD: disease is seen again after a complete response ({_levels(base, target, non_target, new)})"
        )
        return replace(base, overall=Response.PD, reason=reason)
    if overall is Response.PD:
        causes = _progression_causes(base, target, non_target, new, is_new=is_new)
        return replace(base, overall=overall, reason=f"PD: {'; '.join(causes)}")
    return replace(base, overall=overall, reason=f"{overall}: {_levels(base, target, non_target, new)}")


def _shows_disease(target: Response | None, non_target: Response | None) -> bool:
    return target in (Response.PR, Response.SD) or non_target is Response.NON_CR_NON_PD


def _progression_causes(
    base: Assessment,
    target: TargetAssessment | None,
    non_target: NonTargetAssessment,
    new: NewLesionAssessment,
    *,
    is_new: bool,
) -> Sequence[str]:
    causes = []
    if target and plain_or_none(base.target) is Response.PD:
        causes.append("target lesions PD (given)" if target.reason == "given" else target.reason)
    if plain_or_none(base.non_target) is Response.PD:
        causes.append("non-target lesions PD (given)" if non_target.reason == "given" else non_target.reason)
    if is_new:
        causes.append(new.reason)
    return causes


def _levels(
    base: Assessment,
    target: TargetAssessment | None,
    non_target: NonTargetAssessment,
    new: NewLesionAssessment,
) -> str:
    parts = []
    if target:
        parts.append(f"target {target.response} ({target.reason})")
    if base.non_target is not None:
        parts.append(f"non-target {base.non_target} ({non_target.reason})")
    if plain_or_none(base.target) in NOT_EVALUABLE and not new.finding:
        return "; ".join(parts)
    return "; ".join([*parts, new.reason or "no new lesion"])
