"""Response: a patient's measurements become assessments, each as it stood on the day of its time point."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workflow.domain.errors import ConfigurationError
from workflow.domain.lesion import LesionState
from workflow.domain.lesion_life import Decision, Override, apply_overrides, doubtful_transitions, in_force
from workflow.domain.record import LesionIdentity, PatientRecord, Visit
from workflow.domain.record import Observation as SeenAtVisit
from workflow.domain.report import LesionRole, ReportedAssessment, ReportedDecision
from workflow.domain.response import (
    Assessment,
    Course,
    Lesion,
    NewLesion,
    Observation,
    Policies,
    Protocol,
    Timeline,
    TimePoint,
    assess,
    criteria_of,
    micrometres,
    millimetres,
)
from workflow.domain.response.edit_checks import is_finding
from workflow.domain.response.inputs import Input, missing_inputs
from workflow.domain.series import SeriesDescription, slice_interval
from workflow.domain.states import LESION_WORDS
from workflow.settings import Response as ResponseSettings


@dataclass(frozen=True, kw_only=True)
class SeenLesion:
    """A lesion at a time point as its readers see it: overrides are in it."""

    role: LesionRole
    state: LesionState | None
    diameter_um: int | None
    response: str


@dataclass(frozen=True, kw_only=True)
class VisitAssessment:
    """The assessment of a visit in the light of everything up to it, and each lesion's own response.

    `doubts` are what a reader should look at before it counts; `notes` only say something.
    """

    course: Course
    assessment: Assessment
    lesions: dict[str, SeenLesion]
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Digest of protocol and result: an assessment that says the same is the same."""
        seen = {uid: [s.role, s.state, s.diameter_um, s.response] for uid, s in self.lesions.items()}
        told = json.dumps([self.course.protocol.to_dict(), self.to_json(), seen], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The result as it is stored and shown."""
        reported = self.reported()
        value = {**vars(reported)}
        value["nadir_date"] = reported.nadir_date.isoformat() if reported.nadir_date else None
        value["warnings"] = list(reported.warnings)
        return value

    def reported(self) -> ReportedAssessment:
        """The assessment in the words and numbers that SR, PDF and page show."""
        a, best = self.assessment, self.course.headline
        change_um = a.change_from_nadir_um
        return ReportedAssessment(
            criteria=self.course.protocol.criteria.value,
            overall="baseline" if a.overall is None else a.overall.value,
            reason=a.reason,
            target=a.target.value if a.target else None,
            non_target=a.non_target.value if a.non_target else None,
            new_lesion=a.new_lesion.value if a.new_lesion else None,
            sum_mm=_mm(a.sum_um),
            baseline_sum_mm=_mm(a.baseline_sum_um),
            nadir_sum_mm=_mm(a.nadir_um),
            nadir_date=a.nadir_date,
            change_from_baseline_percent=a.change_from_baseline_percent,
            change_from_nadir_percent=a.change_from_nadir_percent,
            change_from_nadir_mm=None if change_um is None else change_um / 1000,
            best_overall_response=None if a.is_baseline else best.value.value,
            best_overall_response_reason=None if a.is_baseline else best.reason,
            warnings=(*a.warnings, *self.course.warnings, *self.notes),
            computed_overall=a.computed_overall.value if a.computed_overall else None,
        )


# What the pipeline measures by itself.
SUPPLIED = frozenset({Input.DIAMETER, Input.PERPENDICULAR_DIAMETERS, Input.ATTENUATION})


def protocol_of(settings: ResponseSettings) -> Protocol:
    """The study's protocol as the settings have it.

    Raises
    ------
    ConfigurationError
        If criteria or a policy are unknown, or the criteria need what the pipeline does not measure.
    """
    try:
        protocol = Protocol(
            criteria=criteria_of(settings.criteria), policies=Policies.from_mapping(settings.policy)
        )
    except ValueError as error:
        raise ConfigurationError(f"response: {error}") from error
    if lacking := missing_inputs(protocol.criteria, SUPPLIED):
        raise ConfigurationError(
            f"response.criteria: {lacking}, which the pipeline does not measure; "
            "assess such courses with `tumorline recist`"
        )
    return protocol


def assess_visit(
    record: PatientRecord, visit: Visit, protocol: Protocol, decisions: Sequence[Override] = ()
) -> VisitAssessment:
    """Assess one visit with what was known on its day, as its readers see it.

    Parameters
    ----------
    decisions
        Readers' decisions; lesions by tracking UID, visits by their first day (ISO).
    """
    known = [v for v in record.reported if v.order <= visit.order]
    day = record.day_of(visit)
    lesions = {o.tracking_uid: record.lesions[o.tracking_uid] for v in known for o in v.observations}
    # What was decided about a later day says nothing about this one (ISO days compare as dates do).
    decisions = [o for o in decisions if o.time_point is None or o.time_point <= day.isoformat()]
    overridden = apply_overrides(_timeline(record, known, lesions.values()), decisions)
    labels = _unique_labels(lesions)
    timeline = overridden.timeline.renamed(labels)
    course = assess(timeline, protocol)
    assessment = course.assessment_of(day.isoformat())
    uids = {label: uid for uid, label in labels.items()}
    here = next(tp for tp in timeline.time_points if tp.id == day.isoformat())
    return VisitAssessment(
        course=course,
        assessment=assessment,
        lesions={
            uids[lesion.id]: SeenLesion(
                role=lesion.role,
                state=own.state,
                diameter_um=_contribution(assessment, own),
                response=_own_response(timeline, lesion, protocol),
            )
            for lesion in timeline.lesions
            if (own := here.observation_of(lesion.id)) is not None
        },
        notes=(*overridden.notes, *_doubtful_changes(timeline)),
        doubts=tuple(_doubts(timeline, course, assessment)),
    )


def _doubts(timeline: Timeline, course: Course, assessment: Assessment) -> list[str]:
    """What a reader should look at before the response of the last time point counts."""
    found = [w for w in (*assessment.warnings, *course.warnings) if is_finding(w)]
    return [*_doubtful_changes(timeline), *found]


def _doubtful_changes(timeline: Timeline) -> list[str]:
    """Changes of state at the last time point that a reader should look at before they count."""
    last = len(timeline.time_points) - 1
    notes = []
    for lesion in timeline.lesions:
        seen = [point.observation_of(lesion.id) for point in timeline.time_points]
        states = [None if observation is None else observation.state for observation in seen]
        notes += [f"{lesion.id}: {t.reason}" for at, t in doubtful_transitions(states) if at == last]
    return notes


def _unique_labels(lesions: Mapping[str, LesionIdentity]) -> dict[str, str]:
    """Label by tracking UID; where two lesions were given one label, the later one says which it is."""
    labels: dict[str, str] = {}
    for uid in sorted(lesions):
        label = lesions[uid].label
        labels[uid] = f"{label} ({uid[-6:]})" if label in labels.values() else label
    return labels


def _contribution(assessment: Assessment, seen: Observation) -> int | None:
    """What a lesion puts into the sum, or its diameter if it is none of the targets."""
    for contribution in assessment.contributions:
        if contribution.lesion == seen.lesion:
            return contribution.diameter_um
    return seen.diameter_um


def _timeline(record: PatientRecord, visits: Sequence[Visit], lesions: Iterable[LesionIdentity]) -> Timeline:
    known = sorted(lesions, key=lambda lesion: (lesion.label, lesion.tracking_uid))
    return Timeline(
        lesions=tuple(
            Lesion(id=lesion.tracking_uid, role=lesion.role, organ=lesion.organ, is_nodal=lesion.is_nodal)
            for lesion in known
        ),
        time_points=tuple(
            _time_point(record, visit, known, is_baseline=visit is visits[0]) for visit in visits
        ),
    )


def _time_point(
    record: PatientRecord, visit: Visit, lesions: Sequence[LesionIdentity], *, is_baseline: bool
) -> TimePoint:
    seen = {o.tracking_uid: o for o in visit.observations}
    stacks, days = record.stacks_of(visit), record.days_of(visit)
    return TimePoint(
        id=days[0].isoformat(),
        date=days[0],
        last_date=days[-1] if len(days) > 1 else None,
        is_baseline=is_baseline,
        observations=tuple(
            _observation(own, stacks.get(own.measured_on) if own.measured_on else None)
            for lesion in lesions
            if (own := seen.get(lesion.tracking_uid)) is not None
        ),
    )


def _observation(seen: SeenAtVisit, stack: SeriesDescription | None) -> Observation:
    size = seen.measurement
    # A lesion called too small counts 5 mm; the few pixels it was called so for are no measurement.
    is_measured = size is not None and seen.state is LesionState.PRESENT
    interval_mm = slice_interval(stack)[0] if stack else None
    return Observation(
        lesion=seen.tracking_uid,
        state=seen.state,
        is_equivocal=True if seen.is_equivocal else None,
        long_axis_um=micrometres(size.long_axis.length_mm) if size and is_measured else None,
        short_axis_um=micrometres(size.short_axis.length_mm) if size and is_measured else None,
        attenuation_milli_hu=_attenuation(seen, stack) if is_measured else None,
        # Of the stack that it is measured on, which decides how large a target must be.
        slice_interval_um=micrometres(interval_mm) if interval_mm else None,
    )


def _attenuation(seen: SeenAtVisit, stack: SeriesDescription | None) -> int | None:
    """Mean attenuation in thousandths of a HU, as Choi compares it: of the portal venous phase."""
    mean = seen.measurement.mean_hu if seen.measurement else None
    is_portal = stack is not None and stack.value_unit == "HU" and stack.contrast_phase == "portal venous"
    return round(1000 * mean) if mean is not None and is_portal else None


def _own_response(timeline: Timeline, lesion: Lesion, protocol: Protocol) -> str:
    """A lesion's response on its own (CID 6143): the same rules over a timeline of this lesion alone."""
    if lesion.role is LesionRole.NEW:
        return ""
    alone = [
        replace(point, is_baseline=None, observations=(seen,))
        for point in timeline.time_points
        if (seen := point.observation_of(lesion.id)) is not None
    ]
    last = assess(replace(timeline, lesions=(lesion,), time_points=tuple(alone)), protocol).assessments[-1]
    if last.is_baseline:
        return ""
    response = last.target if lesion.role is LesionRole.TARGET else last.non_target
    return f"{lesion.role.replace('_', '-')} {response.value}" if response else ""


def _mm(length_um: int | None) -> float | None:
    return None if length_um is None else millimetres(length_um)


# ---------------------------------------------------------------- what readers decided


def placed_decisions(record: PatientRecord) -> tuple[Override, ...]:
    """All decisions, each under the first day of the visit that its day belongs to by now.

    A decision names its visit by the first day that it had; a study that came late may have given it another.
    """
    first = {d.isoformat(): record.day_of(v).isoformat() for v in record.standing for d in record.days_of(v)}
    return tuple(
        replace(o, time_point=first.get(o.time_point, o.time_point)) if o.time_point else o
        for o in record.decisions
    )


# Decisions that hold at one visit only; the others hold wherever their lesion is shown.
_OF_ONE_VISIT = frozenset({
    Decision.SET_STATE,
    Decision.SET_DIAMETER,
    Decision.NOT_EVALUABLE,
    Decision.UNEQUIVOCAL_PROGRESSION,
    Decision.NEW_LESION,
    Decision.SET_OVERALL,
})  # fmt: skip


def decisions_at(
    record: PatientRecord, visit: Visit, assessed: VisitAssessment
) -> tuple[ReportedDecision, ...]:
    """What readers changed that shows at a visit, oldest first: who, when, why, and from what to what."""
    day = record.day_of(visit).isoformat()
    seen = {o.tracking_uid: o for o in visit.observations}
    found = []
    for decision in in_force(placed_decisions(record)):
        if decision.decision is Decision.CONFIRM:  # the signature says it
            continue
        if decision.time_point is not None and decision.time_point > day:
            continue
        if decision.decision in _OF_ONE_VISIT and decision.time_point != day:
            continue
        if decision.lesion and decision.lesion not in seen:
            continue
        old, new = _old_and_new(record, decision, seen.get(decision.lesion or ""), assessed)
        found.append(
            ReportedDecision(
                what=decision.decision.value,
                by=decision.by,
                at=decision.at,
                reason=decision.reason,
                lesion=record.lesions[decision.lesion].label if decision.lesion else "",
                old=old,
                new=new,
            )
        )
    return tuple(found)


def _old_and_new(
    record: PatientRecord, decision: Override, seen: SeenAtVisit | None, assessed: VisitAssessment
) -> tuple[str, str]:
    """What the pipeline said and what the reader says, in words."""
    match decision.decision:
        case Decision.SET_OVERALL:
            computed = assessed.assessment.computed_overall
            return computed.value if computed else "", decision.overall.value if decision.overall else ""
        case Decision.NOT_EVALUABLE:
            return LESION_WORDS[seen.state] if seen else "", LESION_WORDS[LesionState.NOT_EVALUABLE]
        case Decision.NEW_LESION:
            return "", "equivocal" if decision.finding is NewLesion.EQUIVOCAL else "definite"
        case Decision.INTERVENTION:
            done = decision.intervention
            return "", f"{done.text}: {done.taken_effect}" if done else ""
        case Decision.SET_DIAMETER:
            return _diameter_text(record, seen), f"{millimetres(decision.diameter_um or 0):.1f} mm"
        case Decision.SET_STATE:
            old = LESION_WORDS[seen.state] if seen else ""
            return old, LESION_WORDS[decision.state] if decision.state else ""
        case Decision.SET_ROLE:
            old = record.lesions[decision.lesion].role.replace("_", "-") if decision.lesion else ""
            return old, decision.role.replace("_", "-") if decision.role else ""
        case Decision.MERGE | Decision.SPLIT:
            other = record.lesions.get(decision.other or "")
            return "", other.label if other else ""
    return "", ""


def _diameter_text(record: PatientRecord, seen: SeenAtVisit | None) -> str:
    if seen is None or seen.measurement is None:
        return "not measured"
    is_nodal = record.lesions[seen.tracking_uid].is_nodal
    axis = seen.measurement.short_axis if is_nodal else seen.measurement.long_axis
    return f"{axis.length_mm:.1f} mm"
