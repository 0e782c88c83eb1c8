"""What the stages ask of the store: records, reception, outbox, jobs, and what people see of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Protocol

from workflow.domain.commitment import AskedCommitment, Commitment
from workflow.domain.conflict import Receipt
from workflow.domain.patient import PatientIdentity
from workflow.domain.record import PatientRecord, Revision, StoredObject
from workflow.domain.series import SeriesDescription
from workflow.domain.states import Priority, ResultState, StudyState
from workflow.domain.study_state import Readiness, ReceptionFacts


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job, as its stage sees it: how often it was begun, and how often that cost a process."""

    id: int
    stage: str
    subject: str
    attempts: int
    losses: int = 0
    report_progress: Callable[[float, str], None] = field(default=lambda share, what: None)


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """Work that follows from a change. `subject` is the stage's own, jobs of one `lane` run one at a time.

    What follows from a job that runs in its lane is at least as urgent as that one.
    """

    stage: str
    subject: str
    lane: str
    delay_s: float = 0.0
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """Who did what to which object; `about` is a UID, never a name."""

    actor: str
    action: str
    about: str
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReceivedFile:
    """A received instance and the file that holds its bytes as they came.

    `stored_by` is the user who stored it here, "" where a machine sent it.
    """

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    modality: str
    sha256: str
    path: Path
    stored_by: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Changed:
    """A patient's record after a change, with what has to be done next and what is audited, all or nothing.

    `jobs` is asked with the saved record, which knows the keys of what is new.
    """

    record: PatientRecord
    jobs: Callable[[PatientRecord], Sequence[NewJob]] = lambda saved: ()
    audit: Sequence[AuditEntry] = ()


class Records(Protocol):
    """Patients' records, loaded and saved whole."""

    def load(self, patient_key: int) -> PatientRecord:
        """Everything that is known of a patient."""
        ...

    def change(self, patient_key: int, function: Callable[[PatientRecord], Changed | None]) -> PatientRecord:
        """Load a record, have it changed, and save it if nobody changed it in between, else once more.

        `function` may run several times; None leaves everything as it is.

        Raises
        ------
        TransientError
            If others change the record again and again in the meantime.
        """
        ...

    def patient_of_visit(self, visit_key: int) -> tuple[int, str] | None:
        """The patient and the anchor of a visit, None if there is no such visit."""
        ...

    def patient_keys(self, patient_id: str) -> list[int]:
        """The patients of this PatientID; several if several issuers gave it."""
        ...

    def foreign_tracking_uids(self, patient_key: int, tracking_uids: Collection[str]) -> frozenset[str]:
        """Those of some tracking UIDs that are lesions of other patients."""
        ...

    def files(self, study_instance_uids: Collection[str]) -> tuple[ReceivedFile, ...]:
        """The received files of some studies, our own results left out, in a fixed order."""
        ...


class InstanceHeader(Protocol):
    """What reception needs of an instance's header."""

    @property
    def sop_instance_uid(self) -> str: ...  # noqa: D102
    @property
    def sop_class_uid(self) -> str: ...  # noqa: D102
    @property
    def study_instance_uid(self) -> str: ...  # noqa: D102
    @property
    def series_instance_uid(self) -> str: ...  # noqa: D102
    @property
    def transfer_syntax_uid(self) -> str: ...  # noqa: D102
    @property
    def modality(self) -> str: ...  # noqa: D102
    @property
    def accession_number(self) -> str: ...  # noqa: D102
    @property
    def study_description(self) -> str: ...  # noqa: D102


class ReceivedInstance(Protocol):
    """An instance that lies on disk, its bytes as they came; `identity` is whose it says that it is."""

    @property
    def header(self) -> InstanceHeader: ...  # noqa: D102
    @property
    def identity(self) -> PatientIdentity: ...  # noqa: D102
    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class KnownStudy:
    """A study that the store knows; `patient` is None until it is given to one (or while it is in doubt)."""

    key: int
    state: StudyState
    patient: KnownPatient | None


@dataclass(frozen=True, kw_only=True)
class KnownPatient:
    """A patient that the store knows, and whose it says the record is."""

    key: int
    identity: PatientIdentity


@dataclass(frozen=True, kw_only=True)
class QuietStudy:
    """What is asked of the PACS about a study that is being received.

    `own_result_series` are left out on both sides: our own results come back from the PACS.
    """

    study_instance_uid: str
    instance_count: int
    own_result_series: frozenset[str]
    polled_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class ReceivedStudy:
    """A study as it was received.

    `unread` are prompt objects whose references nobody has read yet, `elsewhere` the SOP Instance UIDs that
    stand in other studies too: those are other instances, and what was there stays. `kept` says what else
    came for it and contradicts what was received first: a person decides about that.
    """

    key: int
    study_instance_uid: str
    is_complete: bool
    files: tuple[ReceivedFile, ...]
    unread: frozenset[str]
    elsewhere: frozenset[str]
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class KeptConflict:
    """Other content for a study, kept until a person decides: all of it that differs in the same way.

    `difference` is a word of `workflow.domain.conflict.Difference`, `keywords` the attributes whose values
    differ, `files` what was sent, as it came.
    """

    key: int
    study_instance_uid: str
    difference: str
    reason: str
    keywords: tuple[str, ...]
    files: tuple[Path, ...]
    sources: tuple[str, ...]
    kept_at: datetime


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """What ingest found out about a study: whose it is, when it was taken, what it holds.

    `patient` is the known patient's key, or None for a new one. `revision` is None for a study that
    holds no images of its own to measure (marks only). `refusal` keeps it for a person.
    """

    identity: PatientIdentity
    patient: int | None
    study_date: date | None
    study_time: time | None
    dated_by: str
    references: Mapping[str, Sequence[str]]
    pixel_digests: Mapping[Path, str]
    revision: Revision | None
    best: SeriesDescription | None
    copy_of: str | None = None
    copies: frozenset[str] = frozenset()
    refusal: str = ""


class Reception(Protocol):
    """Received instances and studies on their way to a timeline."""

    def receive(self, received: ReceivedInstance, *, stored_by: str = "", is_urgent: bool = False) -> bool:
        """Record an instance; return whether it told us anything new.

        Parameters
        ----------
        stored_by
            The user who stored it here, "" where a machine sent it.
        is_urgent
            Somebody waits for the answer: the study goes to ingest at once instead of after its quiet time,
            unless its images are still coming in.
        """
        ...

    def known_study(self, study_instance_uid: str) -> KnownStudy | None:
        """Whose study this is and how far it is, None if nothing of it was received."""
        ...

    def receive_all(self, batch: Sequence[ReceivedInstance]) -> list[Receipt]:
        """Record instances in one transaction; what became of each, in their order.

        The first content of a SOP Instance UID wins, and so does the patient that a study's first instance
        names: what contradicts them is kept for a person (`conflicts`) and changes nothing.
        """
        ...

    def conflicts(self) -> list[KeptConflict]:
        """Other content that waits for a person's decision, the oldest first."""
        ...

    def decide_conflict(self, key: int, *, take: bool, by: str, reason: str) -> int:
        """Take the other content instead of the first, or leave the first; audited. Return of how many.

        Neither is deleted. What was taken is looked at as if it had just been received.

        Raises
        ------
        UnsuitableInputError
            If no open conflict has this key.
        """
        ...

    def reject(self, source: str, reason: str, path: str = "") -> None:
        """Keep what could not be read in view of a person."""
        ...

    def was_rejected(self, source: str) -> bool:
        """Whether something of a source is in view of a person already."""
        ...

    def unknown(self, sop_instance_uids: Collection[str]) -> frozenset[str]:
        """Those of some SOP Instance UIDs that never came."""
        ...

    def receiving(self) -> list[int]:
        """Keys of the studies that are being received."""
        ...

    def quiet_study(self, study_key: int) -> QuietStudy:
        """What is asked of the PACS about a study."""
        ...

    def note_poll(self, study_key: int, count: int | None, *, agrees: bool) -> None:
        """Write down what the PACS counts."""
        ...

    def close(
        self, study_key: int, judge: Callable[[ReceptionFacts], tuple[Readiness, str]], *, pacs_is_asked: bool
    ) -> bool:
        """Judge a study under lock; return whether it went on to ingest."""
        ...

    def study(self, study_key: int) -> ReceivedStudy:
        """A study with its files."""
        ...

    def patients(self, patient_id: str) -> list[KnownPatient]:
        """The patients that have this PatientID, whoever issued it."""
        ...

    def pixel_digests(self, patient_key: int, but: str) -> dict[str, frozenset[str]]:
        """The digests of the images of a patient's studies, but one and copies, by Study Instance UID."""
        ...

    def strangers_with(self, digests: Collection[str], patient_key: int | None) -> int:
        """How many of some digests are images of other patients."""
        ...

    def place(self, study_key: int, placement: Placement) -> None:
        """Write down what ingest found, all or nothing, and have the timelines that it touches looked at."""
        ...

    def quarantine(self, study_key: int, reason: str, *, unless_kept: bool = False) -> None:
        """Keep a study for a person: nothing is compared with it until it is in order.

        `unless_kept` leaves the reason of a study that is kept already.
        """
        ...


class Outbox(Protocol):
    """Result objects until the PACS is proven to hold them."""

    def asked_commitment(self, report_identity: str) -> AskedCommitment | None:
        """The newest request for commitment of a report's objects that was not answered yet."""
        ...

    def ask_commitment(
        self, report_identity: str, transaction_uid: str, sop_instance_uids: Collection[str]
    ) -> None:
        """Write a request down before it is sent: its answer may be quicker than we are."""
        ...

    def give_up_commitment(self, transaction_uid: str) -> None:
        """Wait for an answer no longer."""
        ...

    def settle(self, commitment: Commitment) -> bool:
        """Write an answer down: what is held is proven, the rest is sent again. False if nobody asked."""
        ...

    def kept(self, sop_instance_uids: Collection[str]) -> dict[str, str]:
        """The SOP Class UID of each of some instances that were received and are kept here."""
        ...

    def waiting(self, report_identity: str) -> tuple[StoredObject, ...]:
        """What of a report is not proven to be stored, in the order to send it."""
        ...

    def mark(
        self, sop_instance_uids: Collection[str], state: ResultState, destination: str, error: str = ""
    ) -> None:
        """Write down how far some objects are."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ending:
    """A job that is to be ended for good, as `Jobs.give_up` takes it."""

    job: Job
    outcome: str
    reason: str


class Jobs(Protocol):
    """The job table: what must be done, by whom it is done now, and how it ended.

    All its times are the database's: hosts whose clocks differ agree on what is due and who is silent.
    """

    def due(self, stages: Collection[str], limit: int) -> tuple[Job, ...]:
        """Jobs of some stages (none named: of all) that can be claimed now, the most urgent first."""
        ...

    def is_idle(self) -> bool:
        """Whether no study is being received and no job waits or runs."""
        ...

    def claim(self, job_id: int) -> Job | None:
        """Take a due job for this process, or None if it is not due, taken, or its lane is busy."""
        ...

    def beat(self, job: Job, share: float, doing: str) -> bool:
        """Extend the lease and note the progress (0 to 1); False if another worker has the job now.

        Raises
        ------
        CanceledError
            If a person wants it ended.
        """
        ...

    def complete(self, job: Job) -> None:
        """Write down that a job is done, if this process still holds it."""
        ...

    def give_up(self, job: Job, outcome: str, error: str) -> None:
        """End a job for good without success, if this process still holds it, or it waits to be cancelled.

        `outcome` is "dead" (a defect), "lost" (it cost a process again and again), "unsuitable", "canceled"
        or "gone".
        """
        ...

    def retry(self, job: Job, error: str, *, is_loss: bool = False) -> None:
        """Put a job back for later, with a wait that doubles; `is_loss` counts that it cost a process."""
        ...

    def put_back(self, job: Job) -> None:
        """Put a job back at once, as if nobody had begun: this process ends."""
        ...

    def take_over_expired(self) -> int:
        """Put the jobs of silent workers back; return how many."""
        ...

    def to_be_ended(self) -> tuple[Ending, ...]:
        """What to end for good: jobs that keep killing workers (held by this process now), and canceled ones.

        Who asks shows the reason where people look, then calls `give_up`; if it dies before, another does.
        """
        ...

    def hurry(self, lanes: Collection[str], priority: Priority) -> None:
        """Make waiting jobs of some lanes at least as urgent as this."""
        ...

    def cancel(self, job_id: int, reason: str) -> None:
        """Ask for the end of a job that waits or runs; its worker or the reconciler ends it, and says why.

        Raises
        ------
        UnsuitableInputError
            If there is no such job, or it ended already.
        """
        ...

    def replay(self, job_id: int) -> None:
        """Put a cancelled job back into the queue, with its attempts forgotten.

        Raises
        ------
        UnsuitableInputError
            If there is no such job, or it was not cancelled.
        """
        ...


class Cursors(Protocol):
    """How far the change logs of others were read."""

    def position(self, name: str) -> int:
        """The last sequence number that was read, 0 at first."""
        ...

    def move(self, name: str, position: int) -> None:
        """Go on from here next time."""
        ...


class Overview(Protocol):
    """What people and scripts want to see; the dictionaries are JSON, and nothing else of the store."""

    def check(self) -> None:
        """Ask the store for an answer; `TransientError` if there is none."""
        ...

    def worklist(self) -> list[dict[str, Any]]:
        """One entry per patient, the one with the latest study first; its time points in short."""
        ...

    def status(self) -> dict[str, Any]:
        """Counts of what waits, runs, failed and was kept for a person."""
        ...

    def work(self) -> dict[str, Any]:
        """That part of `status`: what runs, waits after an error, stopped or was kept for a person."""
        ...

    def course(self, patient_key: int) -> dict[str, Any] | None:
        """A patient's timeline (timeline.json), None if there is no such patient."""
        ...

    def courses(self) -> list[dict[str, Any]]:
        """Every patient's timeline, in the order of PatientIDs."""
        ...

    def key_image(self, visit_key: int, tracking_uid: str) -> Path | None:
        """Where a visit's current picture of a lesion is, None if there is none."""
        ...

    def overview_image(self, visit_key: int, number: int = 1) -> Path | None:
        """Where the coronal picture of a visit's measured volume is, counted from 1; None without one."""
        ...

    def key_image_folders(self, patient_key: int) -> dict[int, Path]:
        """Where the current pictures of each visit are, each named after its lesion's tracking UID (.png)."""
        ...

    def result_object(self, sop_instance_uid: str) -> Path | None:
        """Where a result object is, None if there is none."""
        ...
