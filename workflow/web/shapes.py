"""What the JSON of the pages looks like, for the OpenAPI document; tests hold the answers against it.

Dates are "2026-03-01", instants "2026-03-01T09:30:00+00:00" (UTC). Lengths are mm, volumes mm³, positions
LPS mm. What is not known is null; there is no NaN and no infinity.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workflow.domain.events import EventKind
from workflow.domain.lesion import LesionState
from workflow.domain.priors import PriorState
from workflow.domain.report import LesionRole, ReviewStatus
from workflow.domain.states import ResultState, StudyState, VisitState
from workflow.domain.worklist import Waiting


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AttentionLine(_Shape):
    """Something that a person has to look at."""

    study_date: str | None
    text: str


class LatestVisit(_Shape):
    """The latest visit of a patient, in short."""

    key: int
    study_date: str | None
    state: VisitState
    reason: str
    overall_response: str | None


class WorklistPatient(_Shape):
    """A patient and what it waits for, the most urgent first."""

    patient_key: int
    patient_id: str
    patient_name: str
    visits: int
    latest_study_date: str | None
    waits_for: list[Waiting]
    needs_a_person: bool
    is_stored: bool
    latest: LatestVisit | None
    attention: list[AttentionLine]


class WaitingStudy(_Shape):
    """A study that is on no patient's timeline yet."""

    study_instance_uid: str
    study_description: str
    study_date: str | None
    state: StudyState
    reason: str
    last_received_at: str
    instances: int
    waits_for: Waiting


class WorklistPage(_Shape):
    """At most 50 patients, and how many there are of each kind."""

    patients: list[WorklistPatient]
    studies: list[WaitingStudy]
    page: int
    pages: int
    total: int
    counts: dict[str, int] = Field(description="By kind of waiting, and of all patients (all).")


class Status(_Shape):
    """Counts, and what runs, waits, stopped, or was kept for a person."""

    attention: list[dict[str, Any]]
    instances: int
    studies: dict[StudyState, int]
    jobs: list[dict[str, Any]]
    running: list[dict[str, Any]]
    retrying: list[dict[str, Any]]
    stopped: list[dict[str, Any]]
    outbox: dict[ResultState, int]
    quarantine: list[dict[str, Any]]


class SeriesLine(_Shape):
    """A series of a study: its score and why, or why it can't be measured."""

    model_config = ConfigDict(extra="allow")
    description: str
    score: float | None
    reasons: list[str]


class VisitStudy(_Shape):
    """A study that a visit is made of."""

    study_instance_uid: str
    study_date: str | None
    dated_by: str
    study_description: str
    accession_number: str
    series_choice: list[SeriesLine]
    notes: list[str]
    is_complete: bool


class OtherStudy(_Shape):
    """A study of the patient that no visit is made of, and why."""

    study_instance_uid: str
    study_date: str | None
    study_description: str
    state: StudyState
    reason: str


class ResultObject(_Shape):
    """A SEG, SR, PDF or presentation state, and whether the PACS holds it."""

    role: str
    sop_instance_uid: str
    study_instance_uid: str
    state: ResultState
    destination: str
    error: str
    href: str


class ReportLesion(_Shape):
    """A lesion at a visit (report.json)."""

    model_config = ConfigDict(extra="allow")
    tracking_uid: str
    label: str
    role: LesionRole
    state: LesionState
    diameter_mm: float | None
    measurement: dict[str, Any] | None
    confidence: float | None
    reason: str
    flags: list[str]


class ReportAssessment(_Shape):
    """The response at a visit, with its reason (report.json)."""

    model_config = ConfigDict(extra="allow")
    criteria: str
    overall: str
    reason: str
    sum_mm: float | None
    baseline_sum_mm: float | None
    nadir_sum_mm: float | None
    nadir_date: str | None
    change_from_baseline_percent: float | None
    change_from_nadir_percent: float | None
    change_from_nadir_mm: float | None


class VisitReport(_Shape):
    """report.json."""

    model_config = ConfigDict(extra="allow")
    time_point_id: str
    study_date: str
    is_baseline: bool
    status: ReviewStatus
    signed_by: str | None
    lesions: list[ReportLesion]
    assessment: ReportAssessment


class TimePoint(_Shape):
    """A visit with what is known of it."""

    id: str | None
    key: int
    order: int
    study_instance_uid: str
    study_date: str | None
    study_description: str
    accession_number: str
    state: VisitState
    reason: str
    attention: list[str]
    prior_study_instance_uid: str | None
    studies: list[VisitStudy]
    series_choice: list[SeriesLine]
    notes: list[str]
    is_complete: bool
    seconds: float | None
    report: VisitReport | None
    report_version: int | None
    objects: list[ResultObject]


class PriorStudy(_Shape):
    """An earlier study that the PACS lists, and whether it was asked for and came."""

    study_instance_uid: str
    study_date: str | None
    study_description: str
    state: PriorState
    reason: str
    error: str


class Event(_Shape):
    """What happened to the patient on a day, as a reader noted it."""

    key: int
    day: str
    kind: EventKind
    text: str
    author: str
    created_at: str


class Course(_Shape):
    """timeline.json: all visits of a patient, in order."""

    patient_key: int
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    time_points: list[TimePoint]
    studies_on_no_visit: list[OtherStudy]
    priors: list[PriorStudy]
    events: list[Event]
