"""RANO 2.0 for gliomas (Wen 2023): products of perpendicular diameters, steroids and clinical status.

Enhancing lesions and lesions that do not enhance are judged apart, each sum against its own baseline and
nadir, and then combined. The baseline is the MRI after radiotherapy. Within twelve weeks of its end
progression must be confirmed; outside them it need not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response.confirmation import days_between
from workflow.domain.response.course import Assessment
from workflow.domain.response.other_lesions import NonTargetAssessment, assess_non_target, is_assessed
from workflow.domain.response.perpendicular import (
    area_text,
    change_text,
    size_of,
    sizes_at,
    sum_of_products,
)
from workflow.domain.response.policy import Policies
from workflow.domain.response.recist11 import plain_or_none
from workflow.domain.response.timeline import (
    ClinicalStatus,
    Corticosteroids,
    Lesion,
    Timeline,
    TimePoint,
)
from workflow.domain.response.unconfirmed import verdict_on, when
from workflow.domain.response.values import NewLesion, Response
from workflow.domain.response.who import is_quarter_more

R = Response

MEASURABLE_UM = 10_000  # in both diameters
CONFIRMATION_DAYS = 28

ENHANCING, NON_ENHANCING = "enhancing", "non-enhancing"


@dataclass(frozen=True, kw_only=True)
class _Component:
    """The lesions of one kind; their sum of products at baseline and at its least, µm²."""

    name: str
    lesions: tuple[Lesion, ...]
    baseline: int | None = None
    nadir: int | None = None

    def after(self, point: TimePoint) -> _Component:
        """The component once a time point is assessed; only whole sums reach the nadir."""
        now = sum_of_products(sizes_at(self.lesions, point))
        if now is None or (self.nadir is not None and now >= self.nadir):
            return self
        return replace(self, nadir=now)

    def response(self, point: TimePoint) -> tuple[Response, str]:
        """The response of this component and its reason; a minor one only of what does not enhance."""
        sizes = sizes_at(self.lesions, point)
        now = sum_of_products(sizes)
        if now is None or self.baseline is None or self.nadir is None:
            missing = [name for name, size in sizes.items() if size is None]
            return R.NE, f"not measured in two dimensions: {', '.join(missing) or 'the baseline'}"
        if now == 0:
            return R.CR, f"all {self.name} lesions have disappeared"
        if is_quarter_more(now, self.nadir):
            return R.PD, change_text(now, self.nadir, "least")
        text = change_text(now, self.baseline, "baseline")
        if 2 * now <= self.baseline:
            return R.PR, text
        if self.name == NON_ENHANCING and 4 * now <= 3 * self.baseline:
            return R.MR, text
        return R.SD, text


def assess_time_points(timeline: Timeline, policies: Policies) -> tuple[Assessment, ...]:
    """The response of every time point: CR, PR, MR, SD, PD, NE, or PDu for progression to be confirmed."""
    components = _components(timeline)
    assessments: list[Assessment] = []
    if timeline.baseline is not None:
        assessments.append(_baseline(timeline.baseline, components))
    for point in timeline.follow_ups:
        assessments.append(_assess(timeline, point, components))
        components = tuple(component.after(point) for component in components)
    return _confirmed(assessments, timeline, policies)


def _components(timeline: Timeline) -> tuple[_Component, ...]:
    targets = [x for x in timeline.lesions if x.role is LesionRole.TARGET]
    found = []
    for name, enhances in ((ENHANCING, True), (NON_ENHANCING, False)):
        lesions = tuple(x for x in targets if x.is_enhancing is enhances)
        sum_um2 = (
            sum_of_products(sizes_at(lesions, timeline.baseline)) if timeline.baseline and lesions else None
        )
        if lesions:
            found.append(_Component(name=name, lesions=lesions, baseline=sum_um2, nadir=sum_um2))
    return tuple(found)


def _baseline(point: TimePoint, components: Sequence[_Component]) -> Assessment:
    sums = [f"{c.name} {area_text(c.baseline)}" for c in components if c.baseline is not None]
    reason = f"baseline: sum of products {', '.join(sums)}" if sums else "baseline: no sum of products"
    return Assessment(time_point=point.id, date=point.date, is_baseline=True, reason=reason)


def _assess(timeline: Timeline, point: TimePoint, components: Sequence[_Component]) -> Assessment:
    others = tuple(x for x in timeline.lesions if x.role is LesionRole.NON_TARGET)
    non_target = assess_non_target(others, point, has_non_target=bool(others) or point.non_target is not None)
    judged = {c.name: c.response(point) for c in components}
    new = new_measurable_lesions(timeline, point)
    finding = point.new_lesion or (NewLesion.YES if new else NewLesion.NO)
    base = Assessment(
        time_point=point.id,
        date=point.date,
        non_target=non_target.response,
        new_lesion=finding,
        components=tuple((name, response) for name, (response, _) in judged.items()),
        warnings=_warnings(timeline, point, new),
    )
    target = point.target or _combined([response for response, _ in judged.values()])
    overall, reason = _overall(point, target, judged, non_target, new)
    return replace(base, target=target, overall=overall, reason=f"{overall}: {reason}")


def _overall(
    point: TimePoint,
    target: Response | None,
    judged: Mapping[str, tuple[Response, str]],
    non_target: NonTargetAssessment,
    new: Sequence[str],
) -> tuple[Response, str]:
    if point.overall is not None:
        return point.overall, "given"
    if not is_assessed(point) and point.clinical_status is not ClinicalStatus.WORSE:
        return R.NE, "nothing was assessed"
    causes = [text for response, text in judged.values() if response is R.PD and point.target is None]
    if point.target is not None and plain_or_none(point.target) is R.PD:
        causes.append("target lesions PD (given)")
    if plain_or_none(non_target.response) is R.PD:
        causes.append(non_target.reason)
    if new or point.new_lesion is NewLesion.YES:
        causes.append(f"new measurable lesion {', '.join(new)}".strip())
    if point.clinical_status is ClinicalStatus.WORSE:
        causes.append("clinical deterioration")
    if causes:
        return R.PD, "; ".join(causes)
    text = "; ".join(text for _, text in judged.values()) or "no target lesions"
    if target is None:
        return _without_target(non_target)
    if non_target.response is not None:
        text = f"{text}; non-target {non_target.response} ({non_target.reason})"
    response = plain_or_none(target) or R.NE
    if response is R.CR and not _is_gone(non_target.response):
        response = R.PR
    return _with_steroids(response, text, point)


def _without_target(non_target: NonTargetAssessment) -> tuple[Response, str]:
    if non_target.response is None:
        return R.NED, "no disease at baseline, none now"
    return (plain_or_none(non_target.response) or R.NE), non_target.reason


def _is_gone(non_target: Response | None) -> bool:
    return non_target in (None, R.NA, R.NED) or plain_or_none(non_target) is R.CR


def _with_steroids(response: Response, text: str, point: TimePoint) -> tuple[Response, str]:
    """CR needs no corticosteroids, PR and MR no more than at baseline; more alone is no progression."""
    dose = point.corticosteroids
    if response is R.CR and dose in (Corticosteroids.STABLE, Corticosteroids.DECREASED):
        return R.PR, f"{text}, but with corticosteroids"
    if response in (R.CR, R.PR, R.MR) and dose is Corticosteroids.INCREASED:
        return R.SD, f"{text}, but with more corticosteroids than at baseline"
    return response, text


_MIXED = (R.CR, R.PR, R.MR, R.SD)


def _combined(responses: Sequence[Response]) -> Response | None:
    """Enhancing and non-enhancing together: any PD is PD; a response beside stable disease is one."""
    if not responses:
        return None
    if R.PD in responses:
        return R.PD
    if R.NE in responses:
        return R.NE
    if len(set(responses)) == 1:
        return responses[0]
    if R.CR in responses:
        # What is left of the other component says how far the whole is gone.
        return next(r for r in responses if r is not R.CR)
    return next(r for r in _MIXED if r in responses)


def new_measurable_lesions(timeline: Timeline, point: TimePoint) -> list[str]:
    """New lesions that are progression: 10 mm in both diameters, or called unequivocal."""
    return [x.id for x in _new_lesions(timeline, point) if _is_measurable(x, point)]


def _new_lesions(timeline: Timeline, point: TimePoint) -> list[Lesion]:
    unseen = (LesionState.DISAPPEARED, LesionState.NOT_EVALUABLE, LesionState.TRACKING_FAILED)
    found = []
    for lesion in timeline.lesions:
        seen = point.observation_of(lesion.id) if lesion.role is LesionRole.NEW else None
        if seen is not None and not seen.is_equivocal and seen.state not in unseen:
            found.append(lesion)
    return found


def _is_measurable(lesion: Lesion, point: TimePoint) -> bool:
    seen = point.observation_of(lesion.id)
    if seen is None:
        return False
    size = size_of(seen)
    if seen.has_progressed or lesion.is_measurable:
        return True
    if size is None:
        return seen.diameter_um is not None and seen.diameter_um >= MEASURABLE_UM
    return size[1] >= MEASURABLE_UM


def _warnings(timeline: Timeline, point: TimePoint, new: Sequence[str]) -> tuple[str, ...]:
    small = [x.id for x in _new_lesions(timeline, point) if x.id not in new]
    text = "is new but not 10 mm in both diameters: it is followed, not progression"
    return tuple(f"{name} {text}" for name in small)


# ---------------------------------------------------------------- confirmation


def _confirmed(
    assessments: Sequence[Assessment], timeline: Timeline, policies: Policies
) -> tuple[Assessment, ...]:
    """Progression within twelve weeks of radiotherapy as PDu, unless a later scan has confirmed it."""
    told: list[Assessment] = []
    is_proven = False
    for index, assessment in enumerate(assessments):
        if assessment.overall is not R.PD or is_proven:
            told.append(assessment)
            continue
        window = _window_text(assessment, timeline, policies)
        verdict = verdict_on(assessments, index, least_days=CONFIRMATION_DAYS)
        if not window or _is_given(timeline, assessment):
            is_proven = True
            told.append(assessment)
        elif verdict.is_confirmed and verdict.by is not None:
            is_proven = True
            reason = f"{assessment.reason}; confirmed on {when(verdict.by)}"
            told.append(replace(assessment, reason=reason))
        else:
            told.append(_open(assessment, window, verdict.by))
    return tuple(told)


def _is_given(timeline: Timeline, assessment: Assessment) -> bool:
    """Whether the overall response of an assessment was given and not derived."""
    return any(p.id == assessment.time_point and p.overall is not None for p in timeline.time_points)


def _window_text(assessment: Assessment, timeline: Timeline, policies: Policies) -> str:
    days = days_between(timeline.radiotherapy_end, assessment.date)
    if days is not None and days <= policies.pseudoprogression_days:
        return f"{days} days after radiotherapy"
    return "by policy" if policies.confirm_every_progression else ""


def _open(assessment: Assessment, window: str, by: Assessment | None) -> Assessment:
    end = "to be confirmed" if by is None else f"not confirmed: {by.overall} on {when(by)}"
    reason = f"{R.PDU}: {window}, {end} ({assessment.reason.removeprefix('PD: ')})"
    return replace(assessment, overall=R.PDU, reason=reason)
