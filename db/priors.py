"""Earlier studies that the PACS is asked for: what was looked for, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.jobs import enqueue
from db.mapping import identity_of
from db.session import UnitOfWork
from db.tables import InstanceRow, PatientRow, PriorSearchRow, PriorStudyRow, RevisionRow, StudyRow
from workflow.domain.priors import Arrived, PriorChoice, PriorState
from workflow.ports.priors import WantedPrior


@dataclass(frozen=True, kw_only=True)
class StoredPriors:
    """The port `workflow.ports.priors.Priors` on the database."""

    unit: UnitOfWork
    reading: UnitOfWork
    clock: Callable[[], datetime]

    def ask(self, study_key: int) -> None:
        """See `workflow.ports.priors.Priors.ask`."""
        with self.unit() as session:
            study = session.get(StudyRow, study_key)
            if study is None or study.patient_key is None:
                return
            search = session.get(PriorSearchRow, study_key)
            if search is not None and search.patient_key == study.patient_key:
                return
            was_fetched = select(PriorStudyRow.id).where(
                PriorStudyRow.study_instance_uid == study.study_instance_uid,
                PriorStudyRow.patient_key == study.patient_key,
            )
            if session.scalar(was_fetched) is not None:
                return
            _search(session, study_key, study.patient_key, self.clock())

    def arrived(self, study_key: int) -> Arrived | None:
        """See `workflow.ports.priors.Priors.arrived`."""
        with self.reading() as session:
            study = session.get(StudyRow, study_key)
            if study is None or study.patient is None or study.study_date is None:
                return None
            revision = study.revisions[-1] if study.revisions else None
            return Arrived(
                study_instance_uid=study.study_instance_uid,
                patient=identity_of(study.patient),
                day=study.study_date,
                modalities=frozenset(one["modality"] for one in _series(revision)),
                words=" ".join((study.description, *_words(revision))),
            )

    def held(self, patient_id: str) -> frozenset[str]:
        """See `workflow.ports.priors.Priors.held`."""
        of_patient = PatientRow.patient_id == patient_id
        with self.reading() as session:
            here = select(StudyRow.study_instance_uid).join(PatientRow).where(of_patient)
            wanted = (
                select(PriorStudyRow.study_instance_uid)
                .join(PatientRow, PatientRow.id == PriorStudyRow.patient_key)
                .where(of_patient)
            )
            return frozenset([*session.scalars(here), *session.scalars(wanted)])

    def want(self, study_key: int, source: str, choices: Sequence[PriorChoice]) -> None:
        """See `workflow.ports.priors.Priors.want`."""
        now = self.clock()
        with self.unit() as session:
            search = session.get(PriorSearchRow, study_key, with_for_update=True)
            if search is None:
                return
            search.source, search.answered_at = source, now
            search.passed_over = [
                {
                    "study_instance_uid": choice.study.study_instance_uid,
                    "study_date": choice.study.day.isoformat() if choice.study.day else None,
                    "reason": choice.refusal,
                }
                for choice in choices
                if choice.refusal
            ]
            for place, choice in enumerate(choice for choice in choices if not choice.refusal):
                row = PriorStudyRow(
                    patient_key=search.patient_key,
                    study_instance_uid=choice.study.study_instance_uid,
                    study_date=choice.study.day,
                    description=choice.study.description,
                    instance_count=choice.study.instance_count,
                    reason=choice.reason,
                    state=PriorState.WANTED.value,
                    wanted_at=now,
                )
                session.add(row)
                session.flush()
                _fetch(session, row, delay_s=place / 1000)

    def wanted(self, prior_key: int) -> WantedPrior | None:
        """See `workflow.ports.priors.Priors.wanted`."""
        with self.reading() as session:
            row = session.get(PriorStudyRow, prior_key)
            if row is None:
                return None
            return WantedPrior(
                key=row.id, study_instance_uid=row.study_instance_uid, state=PriorState(row.state)
            )

    def received(self, study_instance_uid: str) -> int:
        """See `workflow.ports.priors.Priors.received`."""
        with self.reading() as session:
            here = InstanceRow.study_instance_uid == study_instance_uid
            return session.scalar(select(func.count(InstanceRow.id)).where(here)) or 0

    def mark(self, prior_key: int, state: PriorState, error: str = "") -> None:
        """See `workflow.ports.priors.Priors.mark`."""
        with self.unit() as session:
            row = session.get(PriorStudyRow, prior_key)
            if row is not None:
                row.state, row.error = state.value, error

    def again(self, patient_key: int) -> int:
        """See `workflow.ports.priors.Priors.again`."""
        now = self.clock()
        of_patient = PriorSearchRow.patient_key == patient_key
        with self.unit() as session:
            searches = list(session.scalars(select(PriorSearchRow).where(of_patient)))
            fetched = select(PriorStudyRow.study_instance_uid).where(PriorStudyRow.patient_key == patient_key)
            never_asked = select(StudyRow.id).where(
                StudyRow.patient_key == patient_key,
                StudyRow.id.not_in([search.study_id for search in searches]),
                StudyRow.study_instance_uid.not_in(fetched),
                StudyRow.revisions.any(),
            )
            keys = [*(search.study_id for search in searches), *session.scalars(never_asked)]
            for key in keys:
                _search(session, key, patient_key, now)
            failed = select(PriorStudyRow).where(
                PriorStudyRow.patient_key == patient_key, PriorStudyRow.state != PriorState.FETCHED
            )
            for row in session.scalars(failed):
                row.state, row.error = PriorState.WANTED.value, ""
                _fetch(session, row)
            return len(keys)


def priors_of(session: Session, patient_key: int) -> list[dict[str, Any]]:
    """A patient's earlier studies that were asked for, oldest first, as JSON."""
    rows = session.scalars(
        select(PriorStudyRow)
        .where(PriorStudyRow.patient_key == patient_key)
        .order_by(PriorStudyRow.study_date, PriorStudyRow.study_instance_uid)
    )
    return [
        {
            "study_instance_uid": row.study_instance_uid,
            "study_date": row.study_date.isoformat() if row.study_date else None,
            "study_description": row.description,
            "state": row.state,
            "reason": row.reason,
            "error": row.error,
        }
        for row in rows
    ]


def _search(session: Session, study_key: int, patient_key: int, now: datetime) -> None:
    session.merge(
        PriorSearchRow(
            study_id=study_key,
            patient_key=patient_key,
            source="",
            asked_at=now,
            answered_at=None,
            passed_over=[],
        )
    )
    enqueue(session, stage="priors", subject=str(study_key), lane=f"priors:{patient_key}")


def _fetch(session: Session, row: PriorStudyRow, delay_s: float = 0.0) -> None:
    enqueue(session, stage="fetch", subject=str(row.id), lane=f"priors:{row.patient_key}", delay_s=delay_s)


def _series(revision: RevisionRow | None) -> list[dict[str, Any]]:
    return [line["series"] for line in (revision.described or ())] if revision else []


def _words(revision: RevisionRow | None) -> list[str]:
    return [f"{one.get('body_part', '')} {one.get('description', '')}" for one in _series(revision)]
