"""Received instances and studies in the database, on their way to a timeline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import exists, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from db import mapping
from db.audit import write_audit
from db.instances import Doubtful, decide, keep_conflict, record
from db.jobs import enqueue
from db.session import UnitOfWork
from db.tables import (
    ConflictRow,
    InstanceRow,
    PatientRow,
    QuarantineRow,
    ResultObjectRow,
    RevisionRow,
    StudyRow,
)
from workflow.domain.conflict import Comparison, Difference, Receipt
from workflow.domain.errors import ConflictError, UnsuitableInputError
from workflow.domain.record import Revision
from workflow.domain.series import PROMPT_MODALITIES
from workflow.domain.states import Priority, StudyState, may_follow
from workflow.domain.study_state import Readiness, ReceptionFacts
from workflow.ports import (
    AuditEntry,
    KeptConflict,
    KnownPatient,
    KnownStudy,
    Placement,
    QuietStudy,
    ReceivedInstance,
    ReceivedStudy,
)

# SQLite takes at most 32766 values in one statement.
_AT_ONCE = 10_000


@dataclass(frozen=True, kw_only=True)
class StoredReception:
    """The port `workflow.ports.Reception` on the database."""

    unit: UnitOfWork
    reading: UnitOfWork
    clock: Callable[[], datetime]
    # How a file's content differs from that of the one that was received first.
    compare: Callable[[Path, Path], Comparison]

    def receive(self, received: ReceivedInstance, *, stored_by: str = "", is_urgent: bool = False) -> bool:
        """See `workflow.ports.Reception.receive`."""
        receipts = self._received([received], stored_by=stored_by, is_urgent=is_urgent)
        return receipts[0] is Receipt.NEW

    def receive_all(self, batch: Sequence[ReceivedInstance]) -> list[Receipt]:
        """See `workflow.ports.Reception.receive_all`."""
        return self._received(batch, stored_by="", is_urgent=False)

    def _received(
        self, batch: Sequence[ReceivedInstance], *, stored_by: str, is_urgent: bool
    ) -> list[Receipt]:
        try:
            return self._receive_all(batch, stored_by=stored_by, is_urgent=is_urgent)
        except ConflictError:  # another process brought the first instance of a study at the same moment
            return self._receive_all(batch, stored_by=stored_by, is_urgent=is_urgent)

    def _receive_all(
        self, batch: Sequence[ReceivedInstance], *, stored_by: str, is_urgent: bool
    ) -> list[Receipt]:
        now = self.clock()
        with self.unit() as session:
            receipts, doubtful, reopened = record(session, batch, now, stored_by=stored_by)
            if is_urgent:
                for key in reopened:
                    _close_at_once(session, session.get_one(StudyRow, key))
        # Files are read while nobody waits for the database.
        compared = [(one, one.comparison or self._compare(one)) for one in doubtful]
        if compared:
            with self.unit() as session:
                for one, comparison in compared:
                    receipts[one.place] = keep_conflict(session, one.received, comparison, now)
        for one, _ in compared:
            if receipts[one.place] is Receipt.KNOWN:  # the first bytes stay, no row will name these
                one.received.path.unlink(missing_ok=True)
        return receipts

    def _compare(self, one: Doubtful) -> Comparison:
        try:
            return self.compare(one.first or one.received.path, one.received.path)
        except UnsuitableInputError:  # of a file that can't be read, only that it is another is known
            return Comparison(difference=Difference.HEADER)

    def known_study(self, study_instance_uid: str) -> KnownStudy | None:
        """See `workflow.ports.Reception.known_study`."""
        with self.reading() as session:
            row = session.scalar(select(StudyRow).where(StudyRow.study_instance_uid == study_instance_uid))
            if row is None:
                return None
            owner = session.get_one(PatientRow, row.patient_key) if row.patient_key is not None else None
            return KnownStudy(
                key=row.id,
                state=StudyState(row.state),
                patient=KnownPatient(key=owner.id, identity=mapping.identity_of(owner)) if owner else None,
            )

    def conflicts(self) -> list[KeptConflict]:
        """See `workflow.ports.Reception.conflicts`."""
        with self.reading() as session:
            rows = session.execute(
                select(QuarantineRow, ConflictRow)
                .join(ConflictRow, ConflictRow.quarantine_id == QuarantineRow.id)
                .where(QuarantineRow.resolved_at.is_(None), ConflictRow.decision == "")
                .order_by(QuarantineRow.id, ConflictRow.id)
            ).all()
        groups: dict[int, tuple[QuarantineRow, list[ConflictRow]]] = {}
        for group, conflict in rows:
            groups.setdefault(group.id, (group, []))[1].append(conflict)
        return [
            KeptConflict(
                key=key,
                study_instance_uid=group.study_instance_uid or "",
                difference=group.difference,
                reason=group.reason,
                keywords=tuple(dict.fromkeys(word for one in conflicts for word in one.keywords)),
                files=tuple(Path(one.received["path"]) for one in conflicts),
                sources=tuple(sorted({str(one.received["source"]) for one in conflicts})),
                kept_at=group.kept_at,
            )
            for key, (group, conflicts) in groups.items()
        ]

    def decide_conflict(self, key: int, *, take: bool, by: str, reason: str) -> int:
        """See `workflow.ports.Reception.decide_conflict`."""
        with self.unit() as session:
            return decide(session, key, take=take, by=by, reason=reason, now=self.clock())

    def reject(self, source: str, reason: str, path: str = "") -> None:
        """See `workflow.ports.Reception.reject`."""
        what = f"object from {source}"
        with self.unit() as session:
            is_kept = exists().where(
                QuarantineRow.what == what,
                QuarantineRow.reason == reason,
                QuarantineRow.resolved_at.is_(None),
            )
            if not session.scalar(select(is_kept)):  # senders try again
                session.add(QuarantineRow(what=what, reason=reason, path=path, kept_at=self.clock()))

    def was_rejected(self, source: str) -> bool:
        """See `workflow.ports.Reception.was_rejected`."""
        with self.reading() as session:
            kept = select(QuarantineRow.id).where(QuarantineRow.what == f"object from {source}")
            return session.scalar(kept.limit(1)) is not None

    def unknown(self, sop_instance_uids: Collection[str]) -> frozenset[str]:
        """See `workflow.ports.Reception.unknown`."""
        with self.reading() as session:
            known = session.scalars(
                select(InstanceRow.sop_instance_uid).where(
                    InstanceRow.sop_instance_uid.in_(sop_instance_uids)
                )
            )
            return frozenset(sop_instance_uids) - frozenset(known)

    def receiving(self) -> list[int]:
        """See `workflow.ports.Reception.receiving`."""
        with self.reading() as session:
            return list(session.scalars(select(StudyRow.id).where(StudyRow.state == StudyState.RECEIVING)))

    def quiet_study(self, study_key: int) -> QuietStudy:
        """See `workflow.ports.Reception.quiet_study`."""
        with self.reading() as session:
            study = session.get_one(StudyRow, study_key)
            uid = study.study_instance_uid
            own = select(ResultObjectRow.series_instance_uid).where(ResultObjectRow.study_instance_uid == uid)
            count = session.scalar(
                select(func.count(InstanceRow.id)).where(
                    InstanceRow.study_instance_uid == uid,
                    InstanceRow.is_own_result.is_(False),
                    # OHIF stores an edited report into the series of ours that it was made from.
                    InstanceRow.series_instance_uid.not_in(own),
                    InstanceRow.stored_by == "",  # the PACS has never seen what was stored here
                )
            )
            instance = aliased(InstanceRow)
            kept = session.scalar(  # the PACS has them too
                select(func.count(ConflictRow.sop_instance_uid.distinct()))
                .join(QuarantineRow, QuarantineRow.id == ConflictRow.quarantine_id)
                .where(
                    QuarantineRow.study_instance_uid == uid,
                    ~exists().where(
                        instance.study_instance_uid == uid,
                        instance.sop_instance_uid == ConflictRow.sop_instance_uid,
                    ),
                )
            )
            return QuietStudy(
                study_instance_uid=uid,
                instance_count=(count or 0) + (kept or 0),
                own_result_series=frozenset(session.scalars(own)),
                polled_at=study.polled_at,
            )

    def note_poll(self, study_key: int, count: int | None, *, agrees: bool) -> None:
        """See `workflow.ports.Reception.note_poll`."""
        with self.unit() as session:
            study = session.get_one(StudyRow, study_key)
            study.agreeing_polls = study.agreeing_polls + 1 if agrees else 0
            study.pacs_count, study.polled_at = count, self.clock()

    def close(
        self, study_key: int, judge: Callable[[ReceptionFacts], tuple[Readiness, str]], *, pacs_is_asked: bool
    ) -> bool:
        """See `workflow.ports.Reception.close`."""
        with self.unit() as session:
            study = session.get_one(StudyRow, study_key, with_for_update=True)
            if study.state != StudyState.RECEIVING:  # closed by another reconciler
                return False
            modalities = session.scalars(
                select(InstanceRow.modality).where(InstanceRow.study_instance_uid == study.study_instance_uid)
            )
            facts = ReceptionFacts(
                first_received_at=study.first_received_at,
                last_received_at=study.last_received_at,
                modalities=frozenset(modalities),
                pacs_is_asked=pacs_is_asked,
                agreeing_polls=study.agreeing_polls,
            )
            readiness, study.reason = judge(facts)
            if readiness is Readiness.WAIT:
                return False
            is_whole = readiness is Readiness.READY
            _set_state(study, StudyState.INGESTING if is_whole else StudyState.INGESTING_INCOMPLETE)
            _ask_for_ingest(session, study)
            return True

    def study(self, study_key: int) -> ReceivedStudy:
        """See `workflow.ports.Reception.study`."""
        with self.reading() as session:
            study = session.get_one(StudyRow, study_key)
            rows = _instances(session, study.study_instance_uid)
            others = aliased(InstanceRow)
            elsewhere = session.scalars(
                select(InstanceRow.sop_instance_uid)
                .join(others, others.sop_instance_uid == InstanceRow.sop_instance_uid)
                .where(
                    InstanceRow.study_instance_uid == study.study_instance_uid,
                    InstanceRow.is_own_result.is_(False),
                    others.study_instance_uid != study.study_instance_uid,
                )
            )
            return ReceivedStudy(
                key=study_key,
                study_instance_uid=study.study_instance_uid,
                is_complete=study.state != StudyState.INGESTING_INCOMPLETE,
                files=tuple(mapping.file_of(row) for row in rows),
                elsewhere=frozenset(elsewhere),
                kept=tuple(
                    session.scalars(
                        select(QuarantineRow.what + ": " + QuarantineRow.reason)
                        .where(
                            QuarantineRow.study_instance_uid == study.study_instance_uid,
                            QuarantineRow.difference != "",
                            QuarantineRow.resolved_at.is_(None),
                        )
                        .order_by(QuarantineRow.id)
                    )
                ),
                unread=frozenset(
                    row.sop_instance_uid
                    for row in rows
                    if row.modality in PROMPT_MODALITIES and row.refers_to is None
                ),
            )

    def patients(self, patient_id: str) -> list[KnownPatient]:
        """See `workflow.ports.Reception.patients`."""
        with self.reading() as session:
            rows = session.scalars(
                select(PatientRow).where(PatientRow.patient_id == patient_id).order_by(PatientRow.id)
            )
            return [KnownPatient(key=row.id, identity=mapping.identity_of(row)) for row in rows]

    def pixel_digests(self, patient_key: int, but: str) -> dict[str, frozenset[str]]:
        """See `workflow.ports.Reception.pixel_digests`."""
        found: dict[str, set[str]] = defaultdict(set)
        with self.reading() as session:
            rows = session.execute(
                select(InstanceRow.study_instance_uid, InstanceRow.pixel_sha256)
                .join(StudyRow, StudyRow.study_instance_uid == InstanceRow.study_instance_uid)
                .where(
                    StudyRow.patient_key == patient_key,
                    StudyRow.copy_of.is_(None),
                    StudyRow.study_instance_uid != but,
                    InstanceRow.pixel_sha256.is_not(None),
                )
            )
            for uid, digest in rows:
                found[uid].add(str(digest))
        return {uid: frozenset(digests) for uid, digests in found.items()}

    def strangers_with(self, digests: Collection[str], patient_key: int | None) -> int:
        """See `workflow.ports.Reception.strangers_with`."""
        wanted, count = sorted(set(digests)), 0
        with self.reading() as session:
            for start in range(0, len(wanted), _AT_ONCE):
                count += (
                    session.scalar(
                        select(func.count(InstanceRow.pixel_sha256.distinct()))
                        .join(StudyRow, StudyRow.study_instance_uid == InstanceRow.study_instance_uid)
                        .where(
                            InstanceRow.pixel_sha256.in_(wanted[start : start + _AT_ONCE]),
                            StudyRow.patient_key.is_not(None),
                            StudyRow.patient_key != (patient_key or -1),
                        )
                    )
                    or 0
                )
        return count

    def place(self, study_key: int, placement: Placement) -> None:
        """See `workflow.ports.Reception.place`."""
        now = self.clock()
        with self.unit() as session:
            study = _taken_out(session, study_key, placement.patient)
            patient = _patient(session, placement)
            former, study.patient_key = study.patient_key, patient.id
            study.study_date, study.study_time = placement.study_date, placement.study_time
            study.dated_by, study.copy_of = placement.dated_by or "StudyDate", placement.copy_of
            for row in _instances(session, study.study_instance_uid):
                if row.sop_instance_uid in placement.references:
                    row.refers_to = list(placement.references[row.sop_instance_uid])
            _set_digests(session, study, placement)
            for uid in placement.copies:
                other = session.scalar(select(StudyRow).where(StudyRow.study_instance_uid == uid))
                if other is not None:
                    other.copy_of = study.study_instance_uid
            _resolve(session, study, now)
            if placement.revision is not None:
                _add_revision(session, study, placement, placement.revision)
            # Else an instance came, and it is looked at again. One that was kept is here by a replay.
            if study.state.startswith(StudyState.INGESTING) or study.state == StudyState.QUARANTINED:
                if placement.refusal:
                    _keep_for_a_person(session, study, placement.refusal, now)
                else:
                    _set_state(study, StudyState.INGESTED)
                    study.reason = ""
            for patient_key in sorted(
                {patient.id, former or patient.id}
            ):  # corrected: it left another's timeline
                _look_at_timeline(session, patient_key, now)

    def quarantine(self, study_key: int, reason: str, *, unless_kept: bool = False) -> None:
        """See `workflow.ports.Reception.quarantine`."""
        now = self.clock()
        with self.unit() as session:
            study = _taken_out(session, study_key)
            if unless_kept and study.state == StudyState.QUARANTINED:
                return
            _resolve(session, study, now)  # the newest reason is enough
            _keep_for_a_person(session, study, reason, now)
            if study.patient_key is not None:  # nothing is compared with it any more
                _look_at_timeline(session, study.patient_key, now)
                study.patient_key, study.time_point_id = None, None


# ---------------------------------------------------------------- instances


def _close_at_once(session: Session, study: StudyRow) -> None:
    """What was whole before is whole with one more object: nobody has to wait for silence."""
    is_whole = not study.revisions or study.revisions[-1].is_complete
    _set_state(study, StudyState.INGESTING if is_whole else StudyState.INGESTING_INCOMPLETE)
    _ask_for_ingest(session, study, Priority.READER)


def _ask_for_ingest(session: Session, study: StudyRow, priority: Priority = Priority.NORMAL) -> None:
    enqueue(session, stage="ingest", subject=str(study.id), lane=f"study:{study.id}", priority=priority)


def _instances(session: Session, study_instance_uid: str) -> list[InstanceRow]:
    return list(
        session.scalars(
            select(InstanceRow)
            .where(InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.is_own_result.is_(False))
            .order_by(
                InstanceRow.study_instance_uid, InstanceRow.series_instance_uid, InstanceRow.sop_instance_uid
            )
        )
    )


def _set_digests(session: Session, study: StudyRow, placement: Placement) -> None:
    by_path = {str(path): digest for path, digest in placement.pixel_digests.items()}
    for row in _instances(session, study.study_instance_uid):
        if row.path in by_path:
            row.pixel_sha256 = by_path[row.path]


# ---------------------------------------------------------------- studies and patients


def _taken_out(session: Session, study_key: int, goes_to: int | None = None) -> StudyRow:
    """The study, locked, after the records that it changes: who works on one of those loads it again.

    Records first, as whoever saves one does: so nobody waits for the other.
    """
    stays_with = session.scalar(select(StudyRow.patient_key).where(StudyRow.id == study_key))
    for patient_key in sorted({stays_with, goes_to} - {None}):  # type: ignore[type-var]
        session.execute(
            update(PatientRow).where(PatientRow.id == patient_key).values(version=PatientRow.version + 1)
        )
    return session.get_one(StudyRow, study_key, with_for_update=True)


def _set_state(study: StudyRow, state: StudyState) -> None:
    former = StudyState(study.state)
    if not may_follow(former, state):
        raise ValueError(f"study {study.study_instance_uid} is {former} and can't become {state}")
    study.state = state.value


def _patient(session: Session, placement: Placement) -> PatientRow:
    """The patient's row, made or completed by what was missing in it."""
    identity = placement.identity
    if placement.patient is not None:
        row = session.get_one(PatientRow, placement.patient)
    else:
        row = PatientRow(**asdict(identity))
        try:
            with session.begin_nested():
                session.add(row)
            return row
        except IntegrityError:  # another study of a new patient was ingested at the same moment
            row = session.scalars(
                select(PatientRow).where(
                    PatientRow.patient_id == identity.patient_id,
                    PatientRow.issuer_of_patient_id == identity.issuer_of_patient_id,
                )
            ).one()
    row.birth_date, row.sex = row.birth_date or identity.birth_date, row.sex or identity.sex
    row.patient_name = row.patient_name or identity.patient_name
    row.issuer_of_patient_id = row.issuer_of_patient_id or identity.issuer_of_patient_id
    return row


def _add_revision(session: Session, study: StudyRow, placement: Placement, revision: Revision) -> None:
    """Write the revision unless the newest one is the same."""
    described = [
        {"series": mapping.series_to_json(series), "sha256": revision.digests.get(series.key)}
        for series in revision.series
    ]
    latest = study.revisions[-1] if study.revisions else None
    is_known = (
        latest is not None
        and latest.content_sha256 == revision.content_sha256
        and latest.is_complete == revision.is_complete
        and latest.described == described
        and list(latest.doubts or ()) == list(revision.doubts)
    )
    if is_known:
        return
    best = placement.best
    row = RevisionRow(
        study=study,
        number=len(study.revisions) + 1,
        content_sha256=revision.content_sha256,
        is_complete=revision.is_complete,
        created_at=revision.created_at,
        series_instance_uid=best.series_instance_uid if best else None,
        series_stack=best.stack if best else 0,
        series_sha256=revision.digests.get(best.key) if best else None,
        series=mapping.series_to_json(best) if best else None,
        series_choice=[dict(line) for line in revision.choice],
        described=described,
        notes=list(revision.notes),
        doubts=list(revision.doubts),
    )
    session.add(row)
    session.flush()
    entry = AuditEntry(
        actor="ingest",
        action="study revision",
        about=study.study_instance_uid,
        detail={"number": row.number, "series": row.series_instance_uid},
    )
    write_audit(session, [entry], revision.created_at)


def _look_at_timeline(session: Session, patient_key: int, now: datetime) -> None:
    enqueue(session, stage="timeline", subject=str(patient_key), lane=f"patient:{patient_key}")


def _resolve(session: Session, study: StudyRow, now: datetime) -> None:
    """Close what was kept for a person about a study that is now in order."""
    kept = session.scalars(
        select(QuarantineRow).where(
            QuarantineRow.study_instance_uid == study.study_instance_uid,
            QuarantineRow.resolved_at.is_(None),
            QuarantineRow.difference == "",  # other content waits for a person's word
        )
    )
    for row in kept:
        row.resolved_at = now


def _keep_for_a_person(session: Session, study: StudyRow, reason: str, now: datetime) -> None:
    _set_state(study, StudyState.QUARANTINED)
    study.reason = reason
    session.add(
        QuarantineRow(
            what=f"study {study.study_instance_uid}",
            reason=reason,
            study_instance_uid=study.study_instance_uid,
            kept_at=now,
        )
    )
