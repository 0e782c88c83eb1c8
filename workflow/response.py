"""Response: a patient's measurements become assessments, each as it stood on the day of its time point."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from db.tables import LesionRow, ObservationRow, TimePointRow
from workflow.domain.lesion import LesionState
from workflow.domain.lesion_life import Override, apply_overrides, doubtful_transitions
from workflow.domain.report import LesionRole, ReportedAssessment
from workflow.domain.response import (
    Assessment,
    Course,
    Lesion,
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
from workflow.domain.series import slice_interval
from workflow.ingest import series_from_json
from workflow.recording import measurement_from_json
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
    """The assessment of a time point in the light of everything up to it, and each lesion's own response."""

    course: Course
    assessment: Assessment
    lesions: dict[str, SeenLesion]
    notes: tuple[str, ...] = ()

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
        )


def protocol_of(settings: ResponseSettings) -> Protocol:
    """The study's protocol as the settings have it.

    Raises
    ------
    ValueError
        If criteria or a policy are unknown; the message lists the known ones.
    """
    return Protocol(criteria=criteria_of(settings.criteria), policies=Policies.from_mapping(settings.policy))


def assess_visit(
    points: Sequence[TimePointRow],
    point: TimePointRow,
    protocol: Protocol,
    overrides: Sequence[Override] = (),
) -> VisitAssessment:
    """Assess one time point with what was known on its day, as its readers see it.

    Parameters
    ----------
    points
        All time points of the patient that show lesions, in order, with their analyses.
    point
        The one to assess. Studies of one day are one visit: what another study of that day
        shows counts here too, so that chest and abdomen on one day are not each "not evaluable".
    overrides
        Readers' decisions; lesions by tracking UID, time points by their day (ISO).
    """
    day = visit_day(point, points)
    visits: dict[date, dict[str, ObservationRow]] = {}
    intervals: dict[int, int | None] = {}
    for other in points:
        if visit_day(other, points) <= day and other.analysis is not None:
            intervals[other.analysis.id] = _slice_interval_um(other)
            visit = visits.setdefault(visit_day(other, points), {})
            for row in other.analysis.observations:
                if other.id == point.id or row.tracking_uid not in visit:
                    visit[row.tracking_uid] = row
    lesions = {o.tracking_uid: o.lesion for visit in visits.values() for o in visit.values()}
    # What was decided about a later day says nothing about this one (ISO days compare as dates do).
    overrides = [o for o in overrides if o.time_point is None or o.time_point <= day.isoformat()]
    overridden = apply_overrides(_timeline(visits, lesions.values(), intervals), overrides)
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
                state=seen.state,
                diameter_um=_contribution(assessment, seen),
                response=_own_response(timeline, lesion, protocol),
            )
            for lesion in timeline.lesions
            if (seen := here.observation_of(lesion.id)) is not None
        },
        notes=(*overridden.notes, *_doubts(timeline)),
    )


def _doubts(timeline: Timeline) -> list[str]:
    """Changes of state at the last time point that a reader should look at before they count."""
    last = len(timeline.time_points) - 1
    notes = []
    for lesion in timeline.lesions:
        seen = [point.observation_of(lesion.id) for point in timeline.time_points]
        states = [None if observation is None else observation.state for observation in seen]
        notes += [f"{lesion.id}: {t.reason}" for at, t in doubtful_transitions(states) if at == last]
    return notes


def _unique_labels(lesions: Mapping[str, LesionRow]) -> dict[str, str]:
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


def visit_day(point: TimePointRow, points: Sequence[TimePointRow]) -> date:
    """The day of the visit that a study belongs to: its own, or the first one's within the baseline.

    Chest and abdomen that were looked at on two days before treatment are one baseline.
    """
    if point.study.study_date is None:
        raise ValueError(f"study {point.study.study_instance_uid} has no place in time")
    if point.analysis is None or not point.analysis.is_baseline:
        return point.study.study_date
    return min(
        (p.study.study_date for p in points if p.study.study_date and p.analysis and p.analysis.observations),
        default=point.study.study_date,
    )


def _slice_interval_um(point: TimePointRow) -> int | None:
    """Of the series that the lesions were measured on, which decides how large a target must be."""
    interval_mm, _ = slice_interval(series_from_json(point.revision.series or {}))
    return micrometres(interval_mm) if interval_mm else None


def _timeline(
    visits: dict[date, dict[str, ObservationRow]], lesions: Any, intervals: Mapping[int, int | None]
) -> Timeline:
    known = sorted(lesions, key=lambda lesion: (lesion.label, lesion.tracking_uid))
    return Timeline(
        lesions=tuple(
            Lesion(
                id=lesion.tracking_uid,
                role=LesionRole(lesion.role),
                organ=lesion.organ,
                is_nodal=lesion.is_nodal,
            )
            for lesion in known
        ),
        time_points=tuple(
            TimePoint(
                id=day.isoformat(),
                date=day,
                is_baseline=day == min(visits),
                observations=tuple(
                    replace(
                        _observation(row := visits[day][lesion.tracking_uid]),
                        slice_interval_um=intervals[row.analysis_id],
                    )
                    for lesion in known
                    if lesion.tracking_uid in visits[day]
                ),
            )
            for day in sorted(visits)
        ),
    )


def _observation(row: ObservationRow) -> Observation:
    state = LesionState(row.state)
    size = measurement_from_json(row.measurement)
    # A lesion called too small counts 5 mm; the few pixels it was called so for are no measurement.
    is_measured = size is not None and state is LesionState.PRESENT
    return Observation(
        lesion=row.tracking_uid,
        state=state,
        is_equivocal=True if row.is_equivocal else None,
        long_axis_um=micrometres(size.long_axis.length_mm) if size and is_measured else None,
        short_axis_um=micrometres(size.short_axis.length_mm) if size and is_measured else None,
    )


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
