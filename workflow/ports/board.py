"""What tumour-board preparation asks of the world: lists and packets in the store, packets as files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

from workflow.domain.board import Agenda, BoardDay, BoardPatient, Packet, PacketFile
from workflow.domain.cohort import CohortVisit
from workflow.ports.dicom import WrittenResults


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenPatient:
    """A patient as a packet froze one.

    Attributes
    ----------
    course
        timeline.json, as it was then.
    pictures
        By a visit's key, the folder with the key images of the report that stood then ("<uid>.png").
    missing
        What was missing then, in words.
    birth_date, sex
        ISO date and DICOM's letter (M, F, O); empty where not known.
    """

    course: Mapping[str, Any]
    pictures: Mapping[int, Path]
    priority: str
    question: str
    missing: Sequence[str] = ()
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenPacket:
    """All that a packet's files are made of. A patient's has one patient, a list's has them in order."""

    day: date
    version: int
    made_by: str
    made_at: datetime
    sha256: str
    is_list: bool
    patients: Sequence[FrozenPatient]


class Boards(Protocol):
    """The lists of the boards, their frozen packets, and the cohort."""

    def days(self) -> tuple[BoardDay, ...]:
        """Every day that has a patient on its list, ascending."""
        ...

    def agenda(self, day: date) -> Agenda:
        """A day's list; empty if nobody is on it."""
        ...

    def change(self, day: date, by: str, action: str, function: Callable[[Agenda], Agenda]) -> Agenda:
        """Change a day's list under lock, audited with who did what; return it as it is then.

        Raises
        ------
        UnsuitableInputError
            If a patient on it is not known.
        """
        ...

    def patients(self, keys: Collection[int]) -> dict[int, BoardPatient]:
        """Some patients with their visits in short; those that are not known are left out."""
        ...

    def find(self, words: str, limit: int = 20) -> tuple[BoardPatient, ...]:
        """Patients whose PatientID or name holds some words, whatever the case."""
        ...

    def days_of(self, patient_key: int) -> tuple[date, ...]:
        """The boards whose list a patient is on."""
        ...

    def freeze(self, day: date, by: str) -> tuple[Packet, ...]:
        """Freeze a packet of each patient on a day's list and one of the list, and ask for their files.

        Who has a packet that says the same gets no other; one whose files failed is tried again.

        Returns
        -------
        tuple of Packet
            The list's first, then the patients' in the list's order.

        Raises
        ------
        UnsuitableInputError
            If nobody is on the list.
        """
        ...

    def packets(self, day: date) -> tuple[Packet, ...]:
        """Every packet of a day, oldest first."""
        ...

    def packet(self, packet_id: int) -> Packet | None:
        """A packet, None if there is none."""
        ...

    def frozen(self, packet_id: int) -> FrozenPacket:
        """What a packet's files are made of."""
        ...

    def finish(self, packet_id: int, folder: Path, files: Sequence[PacketFile]) -> None:
        """Write down where a packet's files are. A packet that has files keeps them."""
        ...

    def fail(self, packet_id: int, reason: str) -> None:
        """Write down that a packet's files could not be made."""
        ...

    def cohort(self) -> tuple[CohortVisit, ...]:
        """Every visit with a report, those of a patient in order, in one statement."""
        ...


class PacketWriter(Protocol):
    """Writes a frozen packet as files for people and for programs."""

    def write(self, packet: FrozenPacket, stem: str, folder: Path) -> tuple[PacketFile, ...]:
        """Write PDF, PPTX, XLSX, CSV, FHIR and JSON into a folder, named after a stem."""
        ...

    def encapsulate(self, packet: Packet, pdf: Path, report: Path, path: Path) -> WrittenResults:
        """Write a packet's PDF as a DICOM object of the study that a report's SR lies in, and check it."""
        ...
