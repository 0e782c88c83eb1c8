"""The tables. What the pipeline knows is here; the broker only carries job ids.

Every timestamp is UTC. JSON columns hold values that are written and read whole.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from sqlalchemy import (
    JSON,
    Date,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    Time,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

UID = String(64)


def _kept_whole(length: int) -> String:
    """What senders should keep to so many characters and do not: SQLite counts none, PostgreSQL must not."""
    return String(length).with_variant(Text(), "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on every database (SQLite keeps no zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Table(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class PatientRow(Table):
    """A patient as PatientID and IssuerOfPatientID name one."""

    __tablename__ = "patient"
    __table_args__ = (UniqueConstraint("patient_id", "issuer_of_patient_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_id: Mapped[str] = mapped_column(_kept_whole(64))
    issuer_of_patient_id: Mapped[str] = mapped_column(_kept_whole(64), default="")
    patient_name: Mapped[str] = mapped_column(Text, default="")
    birth_date: Mapped[date | None] = mapped_column(Date)
    sex: Mapped[str] = mapped_column(_kept_whole(1), default="")
    # Counts the changes of the patient's record: it is saved only if nobody else saved it meanwhile.
    version: Mapped[int] = mapped_column(default=0)
    studies: Mapped[list[StudyRow]] = relationship(back_populates="patient")


class StudyRow(Table):
    """A study of which at least one instance was received."""

    __tablename__ = "study"
    # For the worklist: each patient's latest day is read from the index alone.
    __table_args__ = (Index("studies_of_patient_by_day", "patient_key", "study_date"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    patient_key: Mapped[int | None] = mapped_column(ForeignKey("patient.id"), index=True)
    study_date: Mapped[date | None] = mapped_column(Date)
    study_time: Mapped[time | None] = mapped_column(Time)
    dated_by: Mapped[str] = mapped_column(String(32), default="StudyDate")
    # The study whose images came again under this one's UID.
    copy_of: Mapped[str | None] = mapped_column(UID)
    # The visit that the study is part of.
    time_point_id: Mapped[int | None] = mapped_column(ForeignKey("time_point.id", use_alter=True), index=True)
    description: Mapped[str] = mapped_column(Text, default="")
    accession_number: Mapped[str] = mapped_column(_kept_whole(64), default="")
    # Whose the first instance said that it is: what contradicts it is kept for a person.
    identity: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime] = mapped_column(index=True)
    # RECEIVING, then INGESTED or QUARANTINED; RECEIVING again when a late instance comes.
    state: Mapped[str] = mapped_column(String(24), default="RECEIVING", index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    # The PACS's own count at the last poll, and how often it agreed with ours in a row.
    pacs_count: Mapped[int | None]
    agreeing_polls: Mapped[int] = mapped_column(default=0)
    polled_at: Mapped[datetime | None]
    patient: Mapped[PatientRow | None] = relationship(back_populates="studies")
    revisions: Mapped[list[RevisionRow]] = relationship(back_populates="study", order_by="RevisionRow.number")


class InstanceRow(Table):
    """One received SOP instance and the file that holds its bytes as they came.

    A SOP Instance UID names an instance within its study and series: systems that copy or split studies
    keep it, and what was there stays.
    """

    __tablename__ = "instance"
    __table_args__ = (
        UniqueConstraint(
            "study_instance_uid", "series_instance_uid", "sop_instance_uid", name="uq_instance_key"
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, index=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    study_instance_uid: Mapped[str] = mapped_column(UID, index=True)
    series_instance_uid: Mapped[str] = mapped_column(UID, index=True)
    modality: Mapped[str] = mapped_column(_kept_whole(16), default="")
    transfer_syntax_uid: Mapped[str] = mapped_column(UID, default="")
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    # Of the pixels and their place, whatever the UIDs: what came again under another name is recognised.
    pixel_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    size: Mapped[int]
    source: Mapped[str] = mapped_column(String(64), default="")
    received_at: Mapped[datetime]
    # Every UID that a prompt object names (studies, series, instances, frames of reference); None for images.
    refers_to: Mapped[list[Any] | None]
    # Our own results come back from the PACS; they are neither input nor prompt.
    is_own_result: Mapped[bool] = mapped_column(default=False)
    # The user who stored it here; "" where a machine sent it.
    stored_by: Mapped[str] = mapped_column(String(64), default="")


class RevisionRow(Table):
    """A version of a study's received content, with the series that was chosen and why."""

    __tablename__ = "study_revision"
    __table_args__ = (UniqueConstraint("study_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    number: Mapped[int]
    content_sha256: Mapped[str] = mapped_column(String(64))
    is_complete: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]
    series_instance_uid: Mapped[str | None] = mapped_column(UID)
    series_stack: Mapped[int] = mapped_column(default=0)
    series_sha256: Mapped[str | None] = mapped_column(String(64))
    series: Mapped[dict[str, Any] | None]  # the best SeriesDescription
    series_choice: Mapped[list[Any]]  # every series with its score and reasons
    described: Mapped[list[Any] | None]  # every SeriesDescription with the digest of its stack's bytes
    notes: Mapped[list[Any]]
    doubts: Mapped[list[Any] | None]
    study: Mapped[StudyRow] = relationship(back_populates="revisions")


class TimePointRow(Table):
    """A visit on its patient's timeline; `study_id` is its first study, which names it."""

    __tablename__ = "time_point"
    # For the worklist: whether a patient has any report is read from the index alone.
    __table_args__ = (Index("reports_of_patient", "patient_key", "report_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_key: Mapped[int] = mapped_column(ForeignKey("patient.id"), index=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), unique=True)
    revision_id: Mapped[int] = mapped_column(ForeignKey("study_revision.id"))
    order: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(24), default="WAITING", index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    prior_id: Mapped[int | None] = mapped_column(ForeignKey("time_point.id"))
    # The identity whose analysis failed for good: it is not tried again until something changes.
    failed_identity: Mapped[str] = mapped_column(String(64), default="")
    failure: Mapped[str] = mapped_column(Text, default="")
    # What a person has to look at; NULL where there is nothing.
    attention: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    analysis_id: Mapped[int | None] = mapped_column(ForeignKey("analysis.id", use_alter=True))
    report_id: Mapped[int | None] = mapped_column(ForeignKey("report.id", use_alter=True))
    # What stages read after their transaction is over is loaded with the row.
    study: Mapped[StudyRow] = relationship(lazy="joined", foreign_keys="TimePointRow.study_id")
    studies: Mapped[list[StudyRow]] = relationship(
        foreign_keys="StudyRow.time_point_id",
        # As `workflow.domain.record.Study.place_in_time` has it.
        order_by="StudyRow.study_date, StudyRow.study_time.nulls_first(), StudyRow.study_instance_uid",
        viewonly=True,
    )
    revision: Mapped[RevisionRow] = relationship(lazy="joined")
    prior: Mapped[TimePointRow | None] = relationship(remote_side="TimePointRow.id")
    analysis: Mapped[AnalysisRow | None] = relationship(
        foreign_keys="TimePointRow.analysis_id", post_update=True, lazy="selectin"
    )
    report: Mapped[ReportRow | None] = relationship(foreign_keys="TimePointRow.report_id", post_update=True)


class AnalysisRow(Table):
    """One run of inference and measurement at a time point; none is ever changed."""

    __tablename__ = "analysis"
    __table_args__ = (UniqueConstraint("time_point_id", "identity"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    time_point_id: Mapped[int] = mapped_column(ForeignKey("time_point.id"), index=True)
    identity: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    seconds: Mapped[float] = mapped_column(default=0.0)
    # The verdict for the worklist: ANALYSED, AWAITING_PROMPTS or NO_MATCH, and why.
    state: Mapped[str] = mapped_column(String(24), default="ANALYSED")
    reason: Mapped[str] = mapped_column(Text, default="")
    is_baseline: Mapped[bool] = mapped_column(default=False)
    notes: Mapped[list[Any]]
    doubts: Mapped[list[Any] | None]
    # Loaded with the analysis: stages work on it after the transaction is over.
    observations: Mapped[list[ObservationRow]] = relationship(
        back_populates="analysis", order_by="ObservationRow.number", lazy="selectin"
    )


class LesionRow(Table):
    """A lesion: one tracking UID for life."""

    __tablename__ = "lesion"

    tracking_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    patient_key: Mapped[int] = mapped_column(ForeignKey("patient.id"), index=True)
    label: Mapped[str] = mapped_column(String(16))
    role: Mapped[str] = mapped_column(String(16))
    role_reason: Mapped[str] = mapped_column(Text, default="")
    organ: Mapped[str] = mapped_column(String(64), default="")
    finding_site: Mapped[str | None] = mapped_column(String(16))
    finding_site_meaning: Mapped[str | None] = mapped_column(String(64))
    laterality: Mapped[str | None] = mapped_column(String(16))
    is_nodal: Mapped[bool] = mapped_column(default=False)
    # What kind of lesion its prompt said that it is (a primary neoplasm ...).
    finding: Mapped[str | None] = mapped_column(String(16))
    finding_meaning: Mapped[str | None] = mapped_column(String(64))
    first_study_instance_uid: Mapped[str] = mapped_column(UID)
    prompt_label: Mapped[str] = mapped_column(Text, default="")


class ObservationRow(Table):
    """A lesion in an analysis: state, mask, measurements."""

    __tablename__ = "observation"
    __table_args__ = (UniqueConstraint("analysis_id", "tracking_uid"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analysis.id"), index=True)
    tracking_uid: Mapped[str] = mapped_column(ForeignKey("lesion.tracking_uid"), index=True)
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(24))
    # The stack of images that mask and measurement are on; None for a lesion that was never outlined.
    series_instance_uid: Mapped[str | None] = mapped_column(UID)
    series_stack: Mapped[int] = mapped_column(default=0)
    mask: Mapped[bytes | None] = mapped_column(LargeBinary)
    measurement: Mapped[dict[str, Any] | None]
    expected_lps: Mapped[list[Any] | None]  # where tracking puts the centre, mm
    is_equivocal: Mapped[bool] = mapped_column(default=False)  # of a new lesion: it may be an old one
    confidence: Mapped[float | None]
    flags: Mapped[list[Any]]
    model: Mapped[dict[str, Any]]
    prompt_source: Mapped[str] = mapped_column(String(64), default="")
    marked_by: Mapped[str] = mapped_column(String(64), default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    analysis: Mapped[AnalysisRow] = relationship(back_populates="observations")
    lesion: Mapped[LesionRow] = relationship(lazy="joined")


class AssessmentRow(Table):
    """The response at a time point under one protocol; a changed protocol makes a new one."""

    __tablename__ = "assessment"
    __table_args__ = (UniqueConstraint("time_point_id", "sha256"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    time_point_id: Mapped[int] = mapped_column(ForeignKey("time_point.id"), index=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analysis.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    protocol: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class OverrideRow(Table):
    """A reader's decision about a lesion. Never changed: another one withdraws it."""

    __tablename__ = "override"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    patient_key: Mapped[int] = mapped_column(ForeignKey("patient.id"), index=True)
    decision: Mapped[dict[str, Any]]  # workflow.domain.lesion_life.Override
    made_at: Mapped[datetime]


class SignatureRow(Table):
    """A radiologist stands behind what a draft report says. What says something else is a draft again.

    The report may not be written yet: what is signed is what is said of a patient. `patient_key` is missing
    in old rows whose report is gone.
    """

    __tablename__ = "signature"

    report_identity: Mapped[str] = mapped_column(String(64), primary_key=True)
    patient_key: Mapped[int | None] = mapped_column(ForeignKey("patient.id"), index=True)
    signed_by: Mapped[str] = mapped_column(String(64))
    signed_at: Mapped[datetime]


class ReportRow(Table):
    """A version of what is said about a time point, and the folder that holds its objects."""

    __tablename__ = "report"
    __table_args__ = (UniqueConstraint("time_point_id", "identity"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    time_point_id: Mapped[int] = mapped_column(ForeignKey("time_point.id"), index=True)
    assessment_id: Mapped[int] = mapped_column(ForeignKey("assessment.id"))
    identity: Mapped[str] = mapped_column(String(64))
    version: Mapped[int]
    status: Mapped[str] = mapped_column(String(16))
    # What it says (signature included), and what it says unsigned: a signature is put under that. The
    # same words can be said again after others, so the identity, which UIDs derive from, can differ.
    content_identity: Mapped[str] = mapped_column(String(64))
    draft_identity: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    document: Mapped[dict[str, Any]]  # report.json
    folder: Mapped[str] = mapped_column(Text)
    findings: Mapped[list[Any]]  # what validation said
    predecessor_id: Mapped[int | None] = mapped_column(ForeignKey("report.id"))
    objects: Mapped[list[ResultObjectRow]] = relationship(
        back_populates="report", order_by="ResultObjectRow.id"
    )
    predecessor: Mapped[ReportRow | None] = relationship(remote_side="ReportRow.id")
    assessment: Mapped[AssessmentRow] = relationship()


class ResultObjectRow(Table):
    """The outbox: a result object until the PACS is proven to hold it, and after."""

    __tablename__ = "result_object"

    id: Mapped[int] = mapped_column(primary_key=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"), index=True)
    role: Mapped[str] = mapped_column(String(16))  # seg, sr, pdf ...
    sop_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    series_instance_uid: Mapped[str] = mapped_column(UID)
    study_instance_uid: Mapped[str] = mapped_column(UID)
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    # PENDING, SENT (C-STORE succeeded), VERIFIED (the destination lists it), HELD (validation failed),
    # REFUSED (by the destination, for good)
    state: Mapped[str] = mapped_column(String(16), default="PENDING", index=True)
    destination: Mapped[str] = mapped_column(String(128), default="")
    verified_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(Text, default="")
    report: Mapped[ReportRow] = relationship(back_populates="objects")


class CommitmentRow(Table):
    """A request for storage commitment of a report's objects, and its answer (PS3.4 annex J)."""

    __tablename__ = "commitment"

    transaction_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    report_identity: Mapped[str] = mapped_column(String(64), index=True)
    sop_instance_uids: Mapped[list[Any]]
    asked_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    failed: Mapped[dict[str, Any]] = mapped_column(default=dict)


class JobRow(Table):
    """What must be done. States are UPS's (PS3.4 CC.1.1); a Celery message carries the id only.

    Jobs of one `lane` (a patient, a study) run one at a time: the partial unique index makes the
    second claim fail on every database.
    """

    __tablename__ = "job"
    __table_args__ = (
        Index(
            "one_running_job_per_lane",
            "lane",
            unique=True,
            sqlite_where=text("state = 'IN PROGRESS'"),
            postgresql_where=text("state = 'IN PROGRESS'"),
        ),
        Index(
            "one_waiting_job_per_subject",
            "stage",
            "subject",
            unique=True,
            sqlite_where=text("state = 'SCHEDULED'"),
            postgresql_where=text("state = 'SCHEDULED'"),
        ),
        Index("jobs_by_state", "state", "due_at"),
        Index("jobs_by_end", "ended_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(String(24))
    subject: Mapped[str] = mapped_column(String(64))
    lane: Mapped[str] = mapped_column(String(80))
    state: Mapped[str] = mapped_column(String(16), default="SCHEDULED")
    outcome: Mapped[str] = mapped_column(String(16), default="")  # unsuitable, dead
    attempts: Mapped[int] = mapped_column(default=0)
    losses: Mapped[int] = mapped_column(default=0)  # how often its worker went silent
    due_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    worker: Mapped[str] = mapped_column(String(80), default="")
    progress: Mapped[float] = mapped_column(default=0.0)
    doing: Mapped[str] = mapped_column(Text, default="")
    error: Mapped[str] = mapped_column(Text, default="")
    priority: Mapped[int] = mapped_column(default=3)  # workflow.domain.states.Priority
    # Why a person wants it ended; whoever holds it, or the reconciler, does so.
    cancel_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class QuarantineRow(Table):
    """Something that can't be used, kept for a person with the reason."""

    __tablename__ = "quarantine"

    id: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text, default="")
    study_instance_uid: Mapped[str | None] = mapped_column(UID, index=True)
    # Of a conflict: how its objects (rows of `conflict`) differ from what was received first; else "".
    difference: Mapped[str] = mapped_column(String(32), default="")
    kept_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]


class BoardEntryRow(Table):
    """A patient on the list of a tumour board; a board is the day that has some."""

    __tablename__ = "board_entry"
    __table_args__ = (UniqueConstraint("board_day", "patient_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    board_day: Mapped[date] = mapped_column(Date, index=True)
    patient_key: Mapped[int] = mapped_column(ForeignKey("patient.id"), index=True)
    place: Mapped[int]
    priority: Mapped[str] = mapped_column(String(16))
    question: Mapped[str] = mapped_column(Text, default="")
    added_by: Mapped[str] = mapped_column(String(64))
    added_at: Mapped[datetime]


class BoardPacketRow(Table):
    """A frozen packet of a patient, or of a day's list. Its content is never changed."""

    __tablename__ = "board_packet"
    # The subject is the patient's key, or "list".
    __table_args__ = (UniqueConstraint("board_day", "subject", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    board_day: Mapped[date] = mapped_column(Date, index=True)
    subject: Mapped[str] = mapped_column(String(24))
    patient_key: Mapped[int | None] = mapped_column(ForeignKey("patient.id"))
    version: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    content: Mapped[dict[str, Any]]  # what the digest is of; a list's names its members
    frozen: Mapped[dict[str, Any]] = mapped_column(deferred=True)  # timeline.json and where pictures are
    made_by: Mapped[str] = mapped_column(String(64))
    made_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16), default="WAITING")
    reason: Mapped[str] = mapped_column(Text, default="")
    folder: Mapped[str] = mapped_column(Text, default="")
    files: Mapped[list[Any]]


class PriorSearchRow(Table):
    """A study whose priors were looked for in the PACS, once; what was passed over has its reason."""

    __tablename__ = "prior_search"

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)
    patient_key: Mapped[int] = mapped_column(ForeignKey("patient.id"), index=True)
    source: Mapped[str] = mapped_column(String(128), default="")
    asked_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    passed_over: Mapped[list[Any]] = mapped_column(default=list)


class PriorStudyRow(Table):
    """An earlier study of a patient that is fetched from the PACS: workflow.domain.priors.PriorState."""

    __tablename__ = "prior_study"
    __table_args__ = (UniqueConstraint("patient_key", "study_instance_uid", name="uq_prior_study"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_key: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    study_instance_uid: Mapped[str] = mapped_column(UID, index=True)
    study_date: Mapped[date | None] = mapped_column(Date)
    description: Mapped[str] = mapped_column(Text, default="")
    instance_count: Mapped[int | None]
    reason: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(String(16), default="WANTED")
    error: Mapped[str] = mapped_column(Text, default="")
    wanted_at: Mapped[datetime]


class ConflictRow(Table):
    """Another content for an instance or a study that is there, and what a person decided about it."""

    __tablename__ = "conflict"

    id: Mapped[int] = mapped_column(primary_key=True)
    quarantine_id: Mapped[int] = mapped_column(ForeignKey("quarantine.id"), index=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, index=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    received: Mapped[dict[str, Any]]  # the columns of the instance that it becomes if it is taken
    identity: Mapped[dict[str, Any]]  # whose it says that it is
    about: Mapped[dict[str, Any]]  # what it says of its study
    keywords: Mapped[list[Any]]  # attributes whose values differ
    kept_at: Mapped[datetime]
    decision: Mapped[str] = mapped_column(String(16), default="")  # taken, left, replaced
    decided_at: Mapped[datetime | None]


class CursorRow(Table):
    """How far a feed was read, e.g. Orthanc's `/changes`."""

    __tablename__ = "cursor"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[int]


class PatientEventRow(Table):
    """What happened to a patient on a day, as a reader noted it; no result depends on it."""

    __tablename__ = "patient_event"

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_key: Mapped[int] = mapped_column(ForeignKey("patient.id"), index=True)
    day: Mapped[date] = mapped_column(Date)
    kind: Mapped[str] = mapped_column(String(16))  # workflow.domain.events.EventKind
    text: Mapped[str] = mapped_column(Text, default="")
    author: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class AuditRow(Table):
    """Who did what to which object, when. Written, never changed."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(48))
    object: Mapped[str] = mapped_column(String(128))
    detail: Mapped[dict[str, Any]]


class AccountRow(Table):
    """A person who may come in. Never deleted: what was signed names its signer. (`user` is SQL's.)"""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    full_name: Mapped[str] = mapped_column(Text, default="")
    roles: Mapped[list[Any]]  # values of workflow.domain.users.UserRole
    password_hash: Mapped[str] = mapped_column(Text)  # argon2id, its parameters and salt included
    is_disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]


class LoginSessionRow(Table):
    """A browser that logged in. Its token is nowhere here: who reads this table can't come in with it."""

    __tablename__ = "login_session"

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    last_seen_at: Mapped[datetime]
    account: Mapped[AccountRow] = relationship(lazy="joined")


class FailedLoginsRow(Table):
    """Failed attempts in a row, for a name (whether or not it is an account's) or from an address."""

    __tablename__ = "failed_logins"

    # "name:" with its SHA-256, as people type passwords into that field, or "address:" with the address.
    of: Mapped[str] = mapped_column(String(80), primary_key=True)
    count: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(index=True)
    locked_until: Mapped[datetime | None]
