"""Notes of what happened to a patient, kept beside the record: no result depends on them."""

from __future__ import annotations

from typing import Protocol

from workflow.domain.events import PatientEvent


class PatientEvents(Protocol):
    """Writes and removes notes, each with its audit; `Overview.course` shows them."""

    def add(self, patient_key: int, event: PatientEvent, by: str) -> int:
        """Keep a note; return its key.

        Raises
        ------
        UnsuitableInputError
            If there is no such patient.
        """
        ...

    def remove(self, patient_key: int, event_key: int, by: str) -> None:
        """Take a patient's note away; the audit keeps what it said.

        Raises
        ------
        UnsuitableInputError
            If the patient has no such note.
        """
        ...
