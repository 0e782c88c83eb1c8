"""Response: a patient's measurements become assessments, each as it stood on the day of its time point."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from db.tables import LesionRow, ObservationRow, TimePointRow
from workflow.domain.lesion import LesionState
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
from workflow.inference import measurement_from_json
from workflow.settings import Response as ResponseSettings


@dataclass(frozen=True, kw_only=True)
class VisitAssessment:
    """The assessment of a time point in the light of everything up to it, and each lesion's own response."""

    course: Course
    assessment: Assessment
    lesion_responses: dict[str, str]
    diameters_um: dict[str, int | None]

    @property
    def sha256(self) -> str:
        """Digest of protocol and result: an assessment that says the same is the same."""
        told = json.dumps([self.course.protocol.to_dict(), self.to_json()], sort_keys=True)
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
            warnings=(*a.warnings, *self.course.warnings),
        )


def protocol_of(settings: ResponseSettings) -> Protocol:
    """The study's protocol as the settings have it.

    Raises
    ------
    ValueError
        If criteria or a policy are unknown; the message lists the known ones.
    """
    return Protocol(criteria=criteria_of(settings.criteria), policies=Policies.from_mapping(settings.policy))


def assess_visit(points: Sequence[TimePointRow], point: TimePointRow, protocol: Protocol) -> VisitAssessment:
    """Assess one time point with what was known on its day.

    Parameters
    ----------
    points
        All time points of the patient that show lesions, in order, with their analyses.
    point
        The one to assess. Studies of one day are one visit: what another study of that day
        shows counts here too, so that chest and abdomen on one day are not each "not evaluable".
    """
    day = _day(point)
    visits: dict[date, dict[str, ObservationRow]] = {}
    for other in points:
        if _day(other) <= day and other.analysis is not None:
            seen = visits.setdefault(_day(other), {})
            for observation in other.analysis.observations:
                if other.id == point.id or observation.tracking_uid not in seen:
                    seen[observation.tracking_uid] = observation
    lesions = {o.tracking_uid: o.lesion for visit in visits.values() for o in visit.values()}
    timeline = _timeline(visits, lesions.values())
    course = assess(timeline, protocol)
    assessment = course.assessment_of(day.isoformat())
    return VisitAssessment(
        course=course,
        assessment=assessment,
        lesion_responses={
            uid: _own_response(visits, lesion, protocol, assessment)
            for uid, lesion in lesions.items()
            if uid in visits[day]
        },
        diameters_um={c.lesion: c.diameter_um for c in assessment.contributions},
    )


def _day(point: TimePointRow) -> date:
    if point.study.study_date is None:
        raise ValueError(f"study {point.study.study_instance_uid} has no place in time")
    return point.study.study_date


def _timeline(visits: dict[date, dict[str, ObservationRow]], lesions: Any) -> Timeline:
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
                    _observation(visits[day][lesion.tracking_uid])
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
        long_axis_um=micrometres(size.long_axis.length_mm) if size and is_measured else None,
        short_axis_um=micrometres(size.short_axis.length_mm) if size and is_measured else None,
    )


def _own_response(
    visits: dict[date, dict[str, ObservationRow]],
    lesion: LesionRow,
    protocol: Protocol,
    assessment: Assessment,
) -> str:
    """A lesion's response on its own (CID 6143): the same rules over a timeline of this lesion alone."""
    if assessment.is_baseline or lesion.role == LesionRole.NEW:
        return ""
    first = min(day for day, seen in visits.items() if lesion.tracking_uid in seen)
    alone = {day: {u: o for u, o in seen.items() if u == lesion.tracking_uid} for day, seen in visits.items()}
    own = assess(_timeline({d: s for d, s in alone.items() if d >= first}, [lesion]), protocol)
    last = own.assessments[-1]
    if lesion.role == LesionRole.TARGET:
        return f"target {last.target.value}" if last.target and not last.is_baseline else ""
    return f"non-target {last.non_target.value}" if last.non_target and not last.is_baseline else ""


def _mm(length_um: int | None) -> float | None:
    return None if length_um is None else millimetres(length_um)
