"""A patient's record as one value: loaded whole, worked on by plain functions, saved whole.

Nothing here knows a database. Keys are what the store calls a thing; None means that it is not stored yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from types import MappingProxyType
from typing import Any

from workflow.domain.geometry import Mask, Point
from workflow.domain.lesion import Flag, LesionMeasurement, LesionState, ModelIdentity
from workflow.domain.lesion_life import Override
from workflow.domain.patient import PatientIdentity
from workflow.domain.report import LesionRole
from workflow.domain.series import SeriesDescription, StackKey
from workflow.domain.states import ResultState, StudyState, VisitState


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A version of a study's received content.

    Attributes
    ----------
    series
        Every stack of images, the refused ones too.
    choice
        Every stack with its score and reasons, best first, as people read it.
    digests
        What the bytes of each usable stack are, by stack: a changed one is measured again.
    doubts, notes
        What a person has to look at, and what is only said.
    """

    number: int
    content_sha256: str
    is_complete: bool
    created_at: datetime
    series: tuple[SeriesDescription, ...]
    choice: tuple[Mapping[str, Any], ...] = ()
    digests: Mapping[StackKey, str] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study on its patient's timeline. `dated_by` names the attribute that its date comes from."""

    key: int
    study_instance_uid: str
    state: StudyState
    study_date: date | None = None
    study_time: time | None = None
    dated_by: str = "StudyDate"
    description: str = ""
    accession_number: str = ""
    reason: str = ""
    copy_of: str | None = None
    revision: Revision | None = None

    @property
    def is_usable(self) -> bool:
        """Whether the study can be part of a visit, unless it is a copy of one that is."""
        return (
            self.state is not StudyState.QUARANTINED
            and self.study_date is not None
            and self.revision is not None
        )

    @property
    def place_in_time(self) -> tuple[date, bool, time, str]:
        """What studies are ordered by: date, then time (none is first), then UID; the store orders so too."""
        if self.study_date is None:
            raise ValueError(f"study {self.study_instance_uid} has no place in time")
        at = self.study_time
        return self.study_date, at is not None, at or time.min, self.study_instance_uid

    @property
    def series(self) -> tuple[SeriesDescription, ...]:
        """All stacks of images of its newest revision."""
        return self.revision.series if self.revision else ()


@dataclass(frozen=True, kw_only=True)
class PromptObject:
    """A received object that may show lesions; `refers_to` are all UIDs that it names.

    `stored_by` is the user who stored it here, "" where a machine sent it. What was `drawn_here`, on our own
    page, says itself which lesion it outlines anew; a viewer stores what we told together with what is new.
    """

    sop_instance_uid: str
    study_instance_uid: str
    modality: str
    sha256: str
    refers_to: frozenset[str] = frozenset()
    stored_by: str = ""
    drawn_here: bool = False
    received_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LesionIdentity:
    """A lesion: one tracking UID for life, with its label, role and site."""

    tracking_uid: str
    label: str
    role: LesionRole
    role_reason: str = ""
    organ: str = ""
    finding_site: str | None = None
    finding_site_meaning: str | None = None
    laterality: str | None = None
    is_nodal: bool = False
    finding: str | None = None
    finding_meaning: str | None = None
    first_study_instance_uid: str = ""
    prompt_label: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """A lesion at a visit: state, mask and measurement on the stack that it is measured on.

    `marked_by` is the person (or device) whose prompt shows it here, "" where it was tracked.
    """

    tracking_uid: str
    number: int
    state: LesionState
    measured_on: StackKey | None
    mask: Mask | None = None
    measurement: LesionMeasurement | None = None
    expected_lps: Point | None = None
    is_equivocal: bool = False
    confidence: float | None = None
    flags: frozenset[Flag] = frozenset()
    model: ModelIdentity
    prompt_source: str = ""
    marked_by: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """What inference and measurement found at a visit; never changed. `identity` is what it depends on."""

    identity: str
    created_at: datetime
    state: VisitState
    reason: str
    is_baseline: bool
    observations: tuple[Observation, ...] = ()
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    seconds: float = 0.0


def kind_of_role(role: str) -> str:
    """A result object's role without its number: "seg-2" is a "seg"."""
    return role.split("-")[0]


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """A result object of a report, where it lies, and how far it is on its way."""

    role: str
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    path: str
    sha256: str
    state: ResultState = ResultState.PENDING
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """What a new report says: report.json, what validation found, and the assessment behind it."""

    document: Mapping[str, Any]
    findings: tuple[str, ...]
    assessment_sha256: str
    assessment: Mapping[str, Any]
    protocol: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ReportVersion:
    """A version of what is said about a visit. `content` is None once it is stored: the store keeps it."""

    identity: str
    content_identity: str
    draft_identity: str
    version: int
    status: str
    folder: str
    created_at: datetime
    predecessor: str | None = None
    objects: tuple[StoredObject, ...] = ()
    content: ReportContent | None = None


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A radiologist stands behind what a draft report says (`draft_identity`)."""

    draft_identity: str
    signed_by: str
    signed_at: datetime


@dataclass(frozen=True, kw_only=True, eq=False)
class Visit:
    """The studies of a patient that are judged together, and what is known of them.

    Attributes
    ----------
    anchor
        Study Instance UID of its first study, which names it.
    analyses, reports
        All that were ever made of it, oldest first; `current_analysis` and `current_report` are the
        identities of those that stand.
    attention
        What a person has to look at.
    """

    anchor: str
    key: int | None = None
    studies: tuple[str, ...] = ()
    order: int = 0
    state: VisitState = VisitState.WAITING
    reason: str = ""
    prior: str | None = None
    analyses: tuple[Analysis, ...] = ()
    current_analysis: str | None = None
    failed_identity: str = ""
    failure: str = ""
    reports: tuple[ReportVersion, ...] = ()
    current_report: str | None = None
    attention: tuple[str, ...] = ()

    @property
    def analysis(self) -> Analysis | None:
        """The analysis that stands."""
        return next((a for a in self.analyses if a.identity == self.current_analysis), None)

    @property
    def report(self) -> ReportVersion | None:
        """The version that stands."""
        return next((r for r in self.reports if r.identity == self.current_report), None)

    @property
    def observations(self) -> tuple[Observation, ...]:
        """What its analysis saw; nothing if there is none."""
        return self.analysis.observations if self.analysis else ()


@dataclass(frozen=True, kw_only=True, eq=False)
class PatientRecord:
    """Everything that is known of one patient.

    `version` counts the changes: a record is saved only if the store still has the version that was loaded.
    `reports_elsewhere` are other patients' reports about studies that are this patient's by now.
    """

    key: int
    version: int
    identity: PatientIdentity
    studies: tuple[Study, ...] = ()
    prompt_objects: tuple[PromptObject, ...] = ()
    visits: tuple[Visit, ...] = ()
    lesions: Mapping[str, LesionIdentity] = field(default_factory=lambda: MappingProxyType({}))
    decisions: tuple[Override, ...] = ()
    signatures: Mapping[str, Signature] = field(default_factory=lambda: MappingProxyType({}))
    foreign_tracking_uids: frozenset[str] = frozenset()
    reports_elsewhere: tuple[ReportVersion, ...] = ()

    def study(self, study_instance_uid: str) -> Study:
        """The study of this UID."""
        return next(s for s in self.studies if s.study_instance_uid == study_instance_uid)

    def studies_of(self, visit: Visit) -> tuple[Study, ...]:
        """A visit's studies, in its order."""
        return tuple(self.study(uid) for uid in visit.studies)

    def day_of(self, visit: Visit) -> date:
        """The day of a visit's first study."""
        return min(s.study_date for s in self.studies_of(visit) if s.study_date is not None)

    def days_of(self, visit: Visit) -> tuple[date, ...]:
        """All days of a visit, ascending."""
        return tuple(sorted({s.study_date for s in self.studies_of(visit) if s.study_date is not None}))

    def stacks_of(self, visit: Visit) -> dict[StackKey, SeriesDescription]:
        """Every stack of images of a visit."""
        return {s.key: s for study in self.studies_of(visit) for s in study.series}

    @property
    def standing(self) -> tuple[Visit, ...]:
        """The visits that have a place in time, in order."""
        return tuple(v for v in self.visits if v.studies)

    @property
    def reported(self) -> tuple[Visit, ...]:
        """The visits that have something to report, in order."""
        return tuple(v for v in self.standing if v.observations)

    def visit(self, anchor: str) -> Visit:
        """The visit that is named after a study."""
        return next(v for v in self.visits if v.anchor == anchor)

    def with_visit(self, changed: Visit) -> PatientRecord:
        """The same record with one visit changed."""
        return replace(self, visits=tuple(changed if v.anchor == changed.anchor else v for v in self.visits))


def digest(told: object) -> str:
    """SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(told, sort_keys=True, allow_nan=False).encode()).hexdigest()


def digest_of_parts(parts: Iterable[str]) -> str:
    """SHA-256 of some texts in their order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def labels_in_use(visits: Sequence[Visit], lesions: Mapping[str, LesionIdentity]) -> set[str]:
    """The labels that lesions of some visits have."""
    return {lesions[o.tracking_uid].label for v in visits for o in v.observations}
