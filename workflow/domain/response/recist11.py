"""RECIST 1.1: the response at each time point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workflow.domain.report import LesionRole
from workflow.domain.response.confirmation import Dated
from workflow.domain.response.course import Assessment
from workflow.domain.response.other_lesions import (
    NewLesionAssessment,
    NonTargetAssessment,
    assess_non_target,
    is_assessed,
    new_lesions_at,
)
from workflow.domain.response.overall import overall_response
from workflow.domain.response.policy import Policies
from workflow.domain.response.quantities import mm_text
from workflow.domain.response.target import (
    TargetAssessment,
    TargetHistory,
    assess_target,
    contributions_of,
    sum_at,
)
from workflow.domain.response.timeline import Lesion, Timeline, TimePoint
from workflow.domain.response.values import NOT_EVALUABLE, NewLesion, Response, plain

_NO_TARGET = (None, Response.NA, Response.NED)


@dataclass(frozen=True, kw_only=True)
class Disease:
    """What the patient has: the lesions that count, and whether levels given say more.

    `marker_was_raised`: whether a tumour marker was above its normal limit at baseline.
    """

    targets: tuple[Lesion, ...]
    non_targets: tuple[Lesion, ...]
    new: tuple[Lesion, ...]
    has_target: bool
    has_non_target: bool
    marker_was_raised: bool | None = None


def disease_of(timeline: Timeline) -> Disease:
    """Sort the lesions by role; a target that measures 0 mm at baseline is none."""
    baseline = timeline.baseline
    targets = _with_role(timeline, LesionRole.TARGET)
    if baseline is not None:
        targets = tuple(lesion for lesion in targets if not is_absent_at(lesion, baseline))
    points = timeline.time_points
    return Disease(
        targets=targets,
        non_targets=_with_role(timeline, LesionRole.NON_TARGET),
        new=_with_role(timeline, LesionRole.NEW),
        has_target=bool(targets)
        or any(p.sum_um is not None or plain_or_none(p.target) not in _NO_TARGET for p in points),
        has_non_target=any(lesion.role is LesionRole.NON_TARGET for lesion in timeline.lesions)
        or any(plain_or_none(p.non_target) not in _NO_TARGET for p in points),
        marker_was_raised=None if baseline is None else baseline.is_tumour_marker_raised,
    )


def plain_or_none(response: Response | None) -> Response | None:
    """The RECIST 1.1 word for a response that may be missing."""
    return None if response is None else plain(response)


def _with_role(timeline: Timeline, role: LesionRole) -> tuple[Lesion, ...]:
    return tuple(lesion for lesion in timeline.lesions if lesion.role is role)


def is_absent_at(lesion: Lesion, point: TimePoint) -> bool:
    """Whether a lesion measures 0 mm at a time point."""
    return contributions_of((lesion,), point)[0].diameter_um == 0


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
    overall, overalls = assessment.overall, history.overalls
    if overall is Response.PD:
        overalls = ()  # what follows progression is judged by the sums again
    elif overall is not None and (overalls or overall is Response.CR):
        overalls = (*overalls, Dated(value=overall, date=assessment.date, time_point=point.id))
    return history.after(
        point,
        assessment.sum_um,
        plain_or_none(assessment.target) or Response.NE,
        is_carried=assessment.is_carried,
        overalls=overalls,
    )


@dataclass(frozen=True, kw_only=True)
class _Levels:
    """The three categories of one time point; `target` is None where the patient has no target disease."""

    target: TargetAssessment | None
    non_target: NonTargetAssessment
    new: NewLesionAssessment
    is_new: bool

    @property
    def target_word(self) -> Response | None:
        """The target response in RECIST 1.1's words."""
        return None if self.target is None else plain(self.target.response)

    @property
    def non_target_word(self) -> Response | None:
        """The non-target response in RECIST 1.1's words."""
        return plain_or_none(self.non_target.response)


def assess_point(
    disease: Disease, point: TimePoint, history: TargetHistory, new: NewLesionAssessment, policies: Policies
) -> Assessment:
    """The RECIST 1.1 response of one time point after baseline."""
    target: TargetAssessment | None = None
    if disease.has_target or point.target is not None:
        target = assess_target(disease.targets, point, history, policies)
    non_target = _with_marker(
        assess_non_target(disease.non_targets, point, has_non_target=disease.has_non_target), disease, point
    )
    is_back_dated = new.is_back_dated and policies.backdate_equivocal_new_lesions
    levels = _Levels(
        target=target,
        non_target=non_target,
        new=new,
        is_new=new.finding is NewLesion.YES or is_back_dated,
    )
    overall, reason = _overall(point, levels, history, policies)
    # Where only the overall response is given, the levels below are unknown, not NE.
    is_alone = point.overall is not None and not point.observations
    knows_target = not is_alone or point.target is not None or point.sum_um is not None
    return Assessment(
        time_point=point.id,
        date=point.day(policies.visit_date, has_progressed=overall is Response.PD),
        sum_um=target.sum_um if target else None,
        baseline_sum_um=history.baseline_um,
        nadir_um=history.nadir_um,
        nadir_date=history.nadir_point.date if history.nadir_point else None,
        target=target.response if target and knows_target else None,
        non_target=non_target.response if not is_alone or point.non_target is not None else None,
        new_lesion=new.finding if not is_alone or point.new_lesion is not None else None,
        overall=overall,
        reason=reason,
        target_reason=target.reason if target else "",
        non_target_reason=non_target.reason,
        new_lesion_reason=new.reason,
        contributions=target.contributions if target else (),
        is_carried=target.is_carried if target else False,
        is_back_dated=is_back_dated,
    )


def _with_marker(seen: NonTargetAssessment, disease: Disease, point: TimePoint) -> NonTargetAssessment:
    """Without lesions left, a marker that was raised and is not normal again bars CR (RECIST 1.1, 4.3.3)."""
    is_raised, was_raised = point.is_tumour_marker_raised, disease.marker_was_raised
    if is_raised is None and was_raised is None:
        return seen
    is_open = point.non_target is None and seen.response in (None, Response.CR)
    if not is_open or not (disease.has_target or disease.has_non_target):
        return seen
    if is_raised and was_raised is not False:
        return NonTargetAssessment(response=Response.NON_CR_NON_PD, reason="a tumour marker is still raised")
    if was_raised and is_raised is None and is_assessed(point):
        reason = "a tumour marker, raised at baseline, was not measured"
        return NonTargetAssessment(response=Response.NE, reason=reason)
    return seen


def _overall(
    point: TimePoint, levels: _Levels, history: TargetHistory, policies: Policies
) -> tuple[Response, str]:
    if point.overall is not None:
        return point.overall, f"{point.overall}: given"
    if levels.new.finding is None and not is_assessed(point):
        why = "; ".join(f"{o.lesion}: {o.reason}" for o in point.observations if o.reason)
        return Response.NE, "NE: nothing was assessed" + (f" ({why})" if why else "")
    overall = overall_response(levels.target_word, levels.non_target_word, has_new_lesion=levels.is_new)
    if overall is Response.PD:
        return overall, f"PD: {'; '.join(_progression_causes(levels))}"
    if _has_reappeared(overall, levels, history, policies):
        reason = f"disease is seen again after a complete response ({_words(levels)})"
        return Response.PD, f"PD: {reason}"
    return overall, f"{overall}: {_words(levels)}"


def _has_reappeared(overall: Response, levels: _Levels, history: TargetHistory, policies: Policies) -> bool:
    """Whether disease is seen after a true CR, which makes it PD (RECIST 1.1, Table 3, note a)."""
    if overall not in _WITH_DISEASE or not history.reappearance_is_progression(policies):
        return False
    is_target = levels.target_word in (Response.PR, Response.SD)
    return is_target or levels.non_target_word is Response.NON_CR_NON_PD


_WITH_DISEASE = frozenset({Response.PR, Response.SD, Response.NON_CR_NON_PD})


def _progression_causes(levels: _Levels) -> Sequence[str]:
    causes = []
    if levels.target and levels.target_word is Response.PD:
        causes.append(_given_or(levels.target.reason, "target lesions PD (given)"))
    if levels.non_target_word is Response.PD:
        causes.append(_given_or(levels.non_target.reason, "non-target lesions PD (given)"))
    if levels.is_new:
        causes.append(levels.new.reason)
    return causes


def _given_or(reason: str, given: str) -> str:
    return given if reason == "given" else reason


def _words(levels: _Levels) -> str:
    parts = []
    if levels.target:
        parts.append(f"target {levels.target.response} ({levels.target.reason})")
    if levels.non_target.response is not None:
        parts.append(f"non-target {levels.non_target.response} ({levels.non_target.reason})")
    if levels.target_word in NOT_EVALUABLE and not levels.new.finding:
        return "; ".join(parts)
    return "; ".join([*parts, levels.new.reason or "no new lesion"])
