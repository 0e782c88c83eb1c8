"""A tumour board: which patients, in which order, what is asked, what is missing, and frozen packets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from workflow.domain.errors import UnsuitableInputError
from workflow.domain.record import digest
from workflow.domain.sheet import person_words
from workflow.domain.states import VISIT_WORDS, VisitState


class BoardPriority(StrEnum):
    """How soon a patient is to be discussed, most urgent first."""

    URGENT = "urgent"
    NORMAL = "normal"
    IF_TIME = "if time"


_RANKS = list(BoardPriority)
LONGEST_QUESTION = 2000
"""Characters of a question: it is printed at the head of the packet."""


@dataclass(frozen=True, kw_only=True)
class BoardEntry:
    """A patient on a board's list. `question` is what the board is asked, or a note; it may be empty."""

    patient_key: int
    added_by: str
    added_at: datetime
    priority: BoardPriority = BoardPriority.NORMAL
    question: str = ""

    def __post_init__(self) -> None:
        if len(self.question) > LONGEST_QUESTION:
            raise UnsuitableInputError(
                f"the question has {len(self.question)} characters; at most {LONGEST_QUESTION} fit the packet"
            )


@dataclass(frozen=True, kw_only=True)
class Agenda:
    """The list of one day's board, in the order of discussion. A patient is on it once."""

    day: date
    entries: tuple[BoardEntry, ...] = ()

    def entry(self, patient_key: int) -> BoardEntry:
        """A patient's entry.

        Raises
        ------
        UnsuitableInputError
            If the patient is not on the list.
        """
        for entry in self.entries:
            if entry.patient_key == patient_key:
                return entry
        raise UnsuitableInputError(f"the patient is not on the list of {self.day}; add the patient first")

    def with_entry(self, entry: BoardEntry) -> Agenda:
        """The list with one patient more: after all that are as urgent, before those that are less so.

        Raises
        ------
        UnsuitableInputError
            If the patient is on it.
        """
        if any(known.patient_key == entry.patient_key for known in self.entries):
            raise UnsuitableInputError(
                f"the patient is on the list of {self.day} already; change the entry there"
            )
        rank = _RANKS.index(entry.priority)
        place = next(
            (i for i, known in enumerate(self.entries) if _RANKS.index(known.priority) > rank),
            len(self.entries),
        )
        return replace(self, entries=(*self.entries[:place], entry, *self.entries[place:]))

    def without(self, patient_key: int) -> Agenda:
        """The list without a patient who is on it."""
        gone = self.entry(patient_key)
        return replace(self, entries=tuple(entry for entry in self.entries if entry is not gone))

    def with_words(self, patient_key: int, *, priority: BoardPriority, question: str) -> Agenda:
        """The list with another priority and question for a patient; the order stays as a person made it."""
        before = self.entry(patient_key)
        after = replace(before, priority=priority, question=question)
        return replace(self, entries=tuple(after if entry is before else entry for entry in self.entries))

    def moved(self, patient_key: int, steps: int) -> Agenda:
        """The list with a patient some places later (or earlier: negative), at most at its end."""
        entry = self.entry(patient_key)
        others = [known for known in self.entries if known is not entry]
        place = max(0, min(len(others), self.entries.index(entry) + steps))
        return replace(self, entries=(*others[:place], entry, *others[place:]))


@dataclass(frozen=True, kw_only=True)
class BoardVisit:
    """A patient's visit in short; `report_*` are of the version that stands, None where there is none."""

    key: int
    day: date | None
    state: VisitState
    reason: str = ""
    attention: tuple[str, ...] = ()
    report_identity: str | None = None
    report_version: int | None = None
    signed_by: str | None = None
    is_baseline: bool = False
    overall: str | None = None

    @property
    def named(self) -> str:
        """Its day, as people name it."""
        return self.day.isoformat() if self.day else "a visit without a date"


@dataclass(frozen=True, kw_only=True)
class BoardPatient:
    """A patient as the list shows one; visits in order."""

    key: int
    patient_id: str
    patient_name: str
    visits: tuple[BoardVisit, ...] = ()

    @property
    def latest(self) -> BoardVisit | None:
        """The latest visit that has a report."""
        return next((visit for visit in reversed(self.visits) if visit.report_identity), None)


_RUNNING = frozenset({VisitState.WAITING, VisitState.PROCESSING, VisitState.ANALYSED})


def missing(patient: BoardPatient) -> tuple[str, ...]:
    """What a board would miss of a patient, in words; empty if everything is there and signed."""
    if not patient.visits:
        return ("no study is on the timeline",)
    reported = [visit for visit in patient.visits if visit.report_identity]
    found = [
        f"{visit.named} {VISIT_WORDS[visit.state]}"
        for visit in patient.visits
        if visit.state not in (VisitState.DRAFT, VisitState.SIGNED) and visit.state not in _RUNNING
    ]
    if running := [visit.named for visit in patient.visits if visit.state in _RUNNING]:
        found.append(f"still running: {', '.join(running)}")
    if not reported:
        found.append("no report")
    elif all(visit.is_baseline for visit in reported):
        found.append("no follow-up, only a baseline")
    if unsigned := [visit.named for visit in reported if not visit.signed_by]:
        found.append(f"not signed: {_in_short(unsigned)}")
    if count := sum(len(visit.attention) for visit in patient.visits):
        found.append(f"{count} to be looked at")
    return tuple(found)


def _in_short(days: Sequence[str], most: int = 4) -> str:
    return ", ".join(days) if len(days) <= most else f"{len(days)} visits, {days[0]} to {days[-1]}"


# ---------------------------------------------------------------- packets


class PacketState(StrEnum):
    """How far a packet's files are; its content is frozen from the start."""

    WAITING = "WAITING"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class PacketFile:
    """A file of a packet. `name` says nothing about the patient."""

    kind: str
    name: str
    media_type: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class PacketContent:
    """What a patient's packet says, without the numbers themselves: they follow from the report versions."""

    patient_id: str
    patient_name: str
    priority: str
    question: str
    visits: tuple[BoardVisit, ...]

    @property
    def sha256(self) -> str:
        """The content's digest: another as soon as anything that a packet says is another."""
        return digest(
            [
                self.patient_id,
                self.patient_name,
                self.priority,
                self.question,
                [
                    [v.key, str(v.day), v.state.value, list(v.attention), v.report_identity, v.signed_by]
                    for v in self.visits
                ],
            ]
        )


def content_of(entry: BoardEntry, patient: BoardPatient) -> PacketContent:
    """What a packet would say of a patient now."""
    return PacketContent(
        patient_id=patient.patient_id,
        patient_name=patient.patient_name,
        priority=entry.priority.value,
        question=entry.question,
        visits=patient.visits,
    )


@dataclass(frozen=True, kw_only=True)
class Packet:
    """A frozen packet of a patient, or (`patient_key` None) of a day's whole list.

    Attributes
    ----------
    sha256
        Digest of the content. A packet is never changed: other content is another version.
    content
        Of a patient's packet, what it was made of; None for a list's, whose `members` are the ids of the
        patients' packets in the list's order.
    """

    id: int
    day: date
    patient_key: int | None
    version: int
    sha256: str
    made_by: str
    made_at: datetime
    state: PacketState = PacketState.WAITING
    reason: str = ""
    content: PacketContent | None = None
    members: tuple[int, ...] = ()
    folder: str = ""
    files: tuple[PacketFile, ...] = ()

    @property
    def stem(self) -> str:
        """The name of its files without their endings; no word of it is about the patient."""
        what = "list" if self.patient_key is None else f"packet-{self.id}"
        return f"tumour-board-{self.day}-{what}-v{self.version}"


def list_digest(members: Iterable[str]) -> str:
    """The digest of a list's packet: of its patients' packets in their order."""
    return digest(list(members))


def changed_since(then: PacketContent, now: PacketContent) -> tuple[str, ...]:
    """What changed since a packet was frozen, in words; empty if nothing that it says did."""
    if then.sha256 == now.sha256:
        return ()
    found = []
    if (then.patient_id, then.patient_name) != (now.patient_id, now.patient_name):
        found.append("name or number of the patient")
    if then.question != now.question:
        found.append("the question")
    if then.priority != now.priority:
        found.append(f"priority {then.priority} → {now.priority}")
    before = {visit.key: visit for visit in then.visits}
    after = {visit.key: visit for visit in now.visits}
    found += [f"{visit.named} is gone" for key, visit in before.items() if key not in after]
    for key, visit in after.items():
        known = before.get(key)
        if known is None:
            found.append(f"{visit.named} is new")
        elif difference := _difference(known, visit):
            found.append(f"{visit.named}: {difference}")
    return tuple(found)


def _difference(then: BoardVisit, now: BoardVisit) -> str:
    if then.signed_by != now.signed_by:
        return f"signed by {person_words(now.signed_by)}" if now.signed_by else "no longer signed"
    if then.report_identity != now.report_identity:
        return f"report version {then.report_version or 'none'} → {now.report_version or 'none'}"
    if then.attention != now.attention:
        return "what is to be looked at"
    return "" if then.state is now.state else f"{VISIT_WORDS[then.state]} → {VISIT_WORDS[now.state]}"


@dataclass(frozen=True, kw_only=True)
class BoardDay:
    """A day with a board, and how many patients are on its list."""

    day: date
    patients: int
    urgent: int = 0


def next_first(days: Sequence[BoardDay], today: date) -> tuple[tuple[BoardDay, ...], tuple[BoardDay, ...]]:
    """The boards to come, the next one first, and those that were, the latest first."""
    ordered = sorted(days, key=lambda board: board.day)
    coming = tuple(board for board in ordered if board.day >= today)
    return coming, tuple(board for board in reversed(ordered) if board.day < today)
