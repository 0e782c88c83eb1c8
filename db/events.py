"""Notes of what happened to a patient, in the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from db.audit import write_audit
from db.session import UnitOfWork
from db.tables import PatientEventRow, PatientRow
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.events import PatientEvent
from workflow.ports import AuditEntry


@dataclass(frozen=True, kw_only=True)
class StoredPatientEvents:
    """The port `workflow.ports.events.PatientEvents` on the database."""

    unit: UnitOfWork
    clock: Callable[[], datetime]

    def add(self, patient_key: int, event: PatientEvent, by: str) -> int:
        """See `workflow.ports.events.PatientEvents.add`."""
        with self.unit() as session:
            patient = session.get(PatientRow, patient_key)
            if patient is None:
                raise UnsuitableInputError("there is no such patient")
            now = self.clock()
            row = PatientEventRow(
                patient_key=patient_key,
                day=event.day,
                kind=event.kind,
                text=event.text.strip(),
                author=by,
                created_at=now,
            )
            session.add(row)
            session.flush()
            self._note(session, "note added", patient, row, by, now)
            return row.id

    def remove(self, patient_key: int, event_key: int, by: str) -> None:
        """See `workflow.ports.events.PatientEvents.remove`."""
        with self.unit() as session:
            row = session.get(PatientEventRow, event_key)
            patient = session.get(PatientRow, patient_key)
            if row is None or patient is None or row.patient_key != patient_key:
                raise UnsuitableInputError("the patient has no such note; it may have been removed already")
            self._note(session, "note removed", patient, row, by, self.clock())
            session.delete(row)

    @staticmethod
    def _note(
        session: Session, action: str, patient: PatientRow, row: PatientEventRow, by: str, now: datetime
    ) -> None:
        """Audit a change, and count it: pages that are open show it."""
        patient.version += 1
        said = {"day": row.day.isoformat(), "kind": row.kind, "text": row.text, "author": row.author}
        entry = AuditEntry(actor=by, action=action, about=f"patient {patient.id}", detail=said)
        write_audit(session, [entry], now)
