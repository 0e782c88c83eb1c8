"""Received instances become rows: many in one transaction, without the ORM. The first content wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import BindParameter, Connection, Table, bindparam, insert, select, update
from sqlalchemy.orm import Session

from db.audit import write_audit
from db.tables import (
    ConflictRow,
    InstanceRow,
    PatientRow,
    QuarantineRow,
    ResultObjectRow,
    StudyRow,
)
from workflow.domain.conflict import Comparison, Difference, Receipt
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.patient import PatientIdentity, why_not_same
from workflow.domain.states import StudyState, may_follow
from workflow.ports import AuditEntry, ReceivedInstance

# The tables themselves, and statements that are built once: what every instance passes through is no place
# for the ORM.
_INSTANCE, _STUDY, _RESULT, _PATIENT = (
    cast(Table, row.__table__) for row in (InstanceRow, StudyRow, ResultObjectRow, PatientRow)
)
_UIDS: BindParameter[Any] = bindparam("uids", expanding=True)
_KNOWN_INSTANCES = select(
    _INSTANCE.c.sop_instance_uid,
    _INSTANCE.c.sha256,
    _INSTANCE.c.study_instance_uid,
    _INSTANCE.c.series_instance_uid,
    _INSTANCE.c.path,
).where(_INSTANCE.c.sop_instance_uid.in_(_UIDS))
_OWN_RESULTS = select(_RESULT.c.study_instance_uid, _RESULT.c.sop_instance_uid).where(
    _RESULT.c.sop_instance_uid.in_(_UIDS)
)
# Locked, in one order for all: a study must not be closed on what it held before these instances.
_STUDIES = (
    select(
        _STUDY.c.id,
        _STUDY.c.study_instance_uid,
        _STUDY.c.state,
        _STUDY.c.identity,
        _STUDY.c.patient_key,
        _STUDY.c.description,
        _STUDY.c.accession_number,
    )
    .where(_STUDY.c.study_instance_uid.in_(_UIDS))
    .order_by(_STUDY.c.study_instance_uid)
    .with_for_update()
)
_WHOSE = select(
    _PATIENT.c.patient_id,
    _PATIENT.c.issuer_of_patient_id,
    _PATIENT.c.patient_name,
    _PATIENT.c.birth_date,
    _PATIENT.c.sex,
).where(_PATIENT.c.id == bindparam("key"))
_NEW_INSTANCE, _NEW_STUDY = insert(_INSTANCE), insert(_STUDY)
_GROWN_STUDY = update(_STUDY).where(_STUDY.c.id == bindparam("key"))


@dataclass(frozen=True, kw_only=True)
class Doubtful:
    """An instance that is not simply new: what it has to be compared with, or what is known to differ."""

    place: int
    received: ReceivedInstance
    first: Path | None = None
    comparison: Comparison | None = None


def record(
    session: Session, batch: Sequence[ReceivedInstance], now: datetime, *, stored_by: str = ""
) -> tuple[list[Receipt], list[Doubtful], list[int]]:
    """Write down what is new of a batch; what contradicts something is given back, in its place KNOWN.

    Our own results, coming back from the PACS, are marked as such and change no study. `stored_by` is the
    user who brought the batch. Given last are the keys of the studies that wait for more again.
    """
    connection = session.connection()
    known = _known(connection, batch)
    own = _own_results(connection, batch)
    studies = _studies(connection, batch)
    receipts: list[Receipt] = []
    doubtful: list[Doubtful] = []
    rows: list[dict[str, Any]] = []
    grown: dict[str, ReceivedInstance] = {}
    for place, received in enumerate(batch):
        header = received.header
        receipts.append(Receipt.KNOWN)
        is_own = (header.study_instance_uid, header.sop_instance_uid) in own
        here = known.setdefault(header.sop_instance_uid, {})
        if received.sha256 in here or (is_own and here):
            continue
        if here:
            first = _nearest(here, header.study_instance_uid, header.series_instance_uid)
            doubtful.append(Doubtful(place=place, received=received, first=first))
            continue
        if not is_own:
            identity = studies.setdefault(header.study_instance_uid, _Study()).identity
            if identity is not None and identity != received.identity and _contradicts(identity, received):
                comparison = Comparison(difference=Difference.PATIENT)
                doubtful.append(Doubtful(place=place, received=received, comparison=comparison))
                continue
            studies[header.study_instance_uid].identity = identity or received.identity
            grown[header.study_instance_uid] = received
            receipts[-1] = Receipt.NEW
        here[received.sha256] = (header.study_instance_uid, header.series_instance_uid, received.path)
        rows.append(
            {**_columns(received), "received_at": now, "is_own_result": is_own, "stored_by": stored_by}
        )
    if rows:
        connection.execute(_NEW_INSTANCE, rows)
    if stored_by:
        new = [one for one, receipt in zip(batch, receipts, strict=True) if receipt is Receipt.NEW]
        write_audit(session, [_stored(one, stored_by) for one in new], now)
    for uid, received in sorted(grown.items()):
        _grow(connection, studies[uid], received, now)
    closed = (studies[uid] for uid in grown if studies[uid].state is not StudyState.RECEIVING)
    return receipts, doubtful, sorted(study.key for study in closed if study.key is not None)


def _stored(received: ReceivedInstance, by: str) -> AuditEntry:
    header = received.header
    detail = {"study": header.study_instance_uid, "modality": header.modality, "from": received.source}
    return AuditEntry(actor=by, action="stored", about=header.sop_instance_uid, detail=detail)


def keep_conflict(
    session: Session, received: ReceivedInstance, comparison: Comparison, now: datetime
) -> Receipt:
    """Keep another content in view of a person, with the others of its study that differ in the same way."""
    if session.scalar(select(ConflictRow.id).where(ConflictRow.sha256 == received.sha256)) is not None:
        return Receipt.CONFLICT  # sent again; a decision about it holds
    if comparison.difference is Difference.NONE:
        return Receipt.KNOWN
    group = _group(session, received.header.study_instance_uid, comparison, now)
    session.add(
        ConflictRow(
            quarantine_id=group.id,
            sop_instance_uid=received.header.sop_instance_uid,
            sha256=received.sha256,
            received=_columns(received),
            identity=_identity_to_json(received.identity),
            about={
                "description": received.header.study_description,
                "accession_number": received.header.accession_number,
            },
            keywords=list(comparison.keywords),
            kept_at=now,
        )
    )
    session.flush()
    _name(session, group, received.source)
    return Receipt.CONFLICT


def decide(session: Session, quarantine_id: int, *, take: bool, by: str, reason: str, now: datetime) -> int:
    """Take what is kept as the content that counts, or leave what was there; nothing of either is deleted.

    Returns
    -------
    int
        How many instances it was about. Their study is looked at again if they are taken.

    Raises
    ------
    UnsuitableInputError
        If nothing undecided has this number.
    """
    group = session.get(QuarantineRow, quarantine_id, with_for_update=True)
    if group is None or not group.difference or group.resolved_at is not None:
        raise UnsuitableInputError(
            f"there is no open conflict {quarantine_id}; `tumorline conflicts` lists them"
        )
    conflicts = list(
        session.scalars(
            select(ConflictRow).where(ConflictRow.quarantine_id == group.id).order_by(ConflictRow.id)
        )
    )
    for conflict in conflicts:
        conflict.decision, conflict.decided_at = "taken" if take else "left", now
        former = _take(session, conflict, now) if take else None
        detail = {"sha256": conflict.sha256, "former": former, "differs in": group.difference, "why": reason}
        entry = AuditEntry(
            actor=by,
            action="other content taken" if take else "other content left",
            about=conflict.sop_instance_uid,
            detail=detail,
        )
        write_audit(session, [entry], now)
    group.resolved_at = now
    if take and conflicts:
        study = session.scalars(
            select(StudyRow).where(StudyRow.study_instance_uid == group.study_instance_uid).with_for_update()
        ).one_or_none()
        if study is None:  # a SOP Instance UID that stands in another study, and nothing else of this one
            study = StudyRow(
                study_instance_uid=str(group.study_instance_uid),
                first_received_at=now,
                state=StudyState.RECEIVING.value,
            )
            session.add(study)
        last = conflicts[-1]
        study.identity = last.identity
        study.description = last.about["description"] or study.description
        study.accession_number = last.about["accession_number"] or study.accession_number
        _reopen(study, now)
    return len(conflicts)


def _take(session: Session, conflict: ConflictRow, now: datetime) -> str | None:
    """Put a kept content in the place of the first; give the digest of what was there."""
    columns = conflict.received
    row = session.scalar(
        select(InstanceRow)
        .where(
            InstanceRow.sop_instance_uid == columns["sop_instance_uid"],
            InstanceRow.series_instance_uid == columns["series_instance_uid"],
            InstanceRow.study_instance_uid == columns["study_instance_uid"],
        )
        .with_for_update()
    )
    if row is None:
        session.add(InstanceRow(**columns, received_at=now, is_own_result=False))
        return None
    former, former_columns = row.sha256, {name: getattr(row, name) for name in columns}
    is_kept = session.scalar(select(ConflictRow.id).where(ConflictRow.sha256 == former)) is not None
    if not is_kept:  # sent once more, the former content is known to have been decided against
        session.add(
            ConflictRow(
                quarantine_id=conflict.quarantine_id,
                sop_instance_uid=row.sop_instance_uid,
                sha256=former,
                received=former_columns,
                identity=conflict.identity,
                about=conflict.about,
                keywords=conflict.keywords,
                kept_at=row.received_at,
                decision="replaced",
                decided_at=now,
            )
        )
    for name, value in columns.items():
        setattr(row, name, value)
    row.received_at = now
    row.refers_to, row.pixel_sha256 = None, None  # what it names and shows is read again
    return former


# ---------------------------------------------------------------- what is there

# By the digest of the content: study, series, file.
_Here = dict[str, tuple[str, str, Path]]


def _known(connection: Connection, batch: Sequence[ReceivedInstance]) -> dict[str, _Here]:
    found: dict[str, _Here] = {}
    uids = sorted({received.header.sop_instance_uid for received in batch})
    rows = connection.execute(_KNOWN_INSTANCES, {"uids": uids})
    for sop, sha256, study, series, path in rows:
        found.setdefault(sop, {})[sha256] = (study, series, Path(path))
    return found


def _nearest(here: _Here, study: str, series: str) -> Path:
    """The file to compare with: of the same series or study, where there is one."""
    return min(here.values(), key=lambda one: (one[:2] != (study, series), one[0] != study))[2]


def _own_results(connection: Connection, batch: Sequence[ReceivedInstance]) -> set[tuple[str, str]]:
    uids = sorted({received.header.sop_instance_uid for received in batch})
    rows = connection.execute(_OWN_RESULTS, {"uids": uids})
    return {(study, sop) for study, sop in rows}


@dataclass
class _Study:
    """A study's row before the batch, `key` None without one, and whose it is as far as is known."""

    key: int | None = None
    state: StudyState = StudyState.RECEIVING
    identity: PatientIdentity | None = None
    has_identity: bool = False
    description: str = ""
    accession_number: str = ""


def _studies(connection: Connection, batch: Sequence[ReceivedInstance]) -> dict[str, _Study]:
    uids = sorted({received.header.study_instance_uid for received in batch})
    rows = connection.execute(_STUDIES, {"uids": uids}).all()
    found = {}
    for key, uid, state, identity, patient_key, description, accession_number in rows:
        known = _identity_from_json(identity) if identity else None
        if known is None and patient_key is not None:  # received by a former version
            known = PatientIdentity(**connection.execute(_WHOSE, {"key": patient_key}).mappings().one())
        found[uid] = _Study(
            key=key,
            state=StudyState(state),
            identity=known,
            has_identity=identity is not None,
            description=description,
            accession_number=accession_number,
        )
    return found


def _grow(connection: Connection, study: _Study, received: ReceivedInstance, now: datetime) -> None:
    """A study's row after new instances: it waits for more of them."""
    header = received.header
    values: dict[str, Any] = {
        "last_received_at": now,
        "reason": "",
        "agreeing_polls": 0,
        "description": study.description or header.study_description,
        "accession_number": study.accession_number or header.accession_number,
    }
    if not study.has_identity and study.identity is not None:
        values["identity"] = _identity_to_json(study.identity)
    if study.key is None:
        values |= {
            "study_instance_uid": header.study_instance_uid,
            "first_received_at": now,
            "state": StudyState.RECEIVING.value,
            "dated_by": "StudyDate",
        }
        connection.execute(_NEW_STUDY, values)
        return
    if study.state is not StudyState.RECEIVING:  # a late instance opens a new wait
        values |= {"first_received_at": now, "state": _receiving_after(study.state)}
    connection.execute(_GROWN_STUDY, {"key": study.key, **values})


def _reopen(study: StudyRow, now: datetime) -> None:
    if study.state != StudyState.RECEIVING:
        study.first_received_at, study.state = now, _receiving_after(StudyState(study.state))
    study.last_received_at, study.reason, study.agreeing_polls = now, "", 0


def _receiving_after(state: StudyState) -> str:
    if not may_follow(state, StudyState.RECEIVING):
        raise ValueError(f"a study that is {state} can't be received again")
    return StudyState.RECEIVING.value


def _contradicts(identity: PatientIdentity, received: ReceivedInstance) -> bool:
    return why_not_same(identity, received.identity) is not None


# ---------------------------------------------------------------- what is kept for a person


def _group(session: Session, study: str, comparison: Comparison, now: datetime) -> QuarantineRow:
    group = session.scalar(
        select(QuarantineRow)
        .where(
            QuarantineRow.study_instance_uid == study,
            QuarantineRow.difference == comparison.difference.value,
            QuarantineRow.resolved_at.is_(None),
        )
        .limit(1)
    )
    if group is None:
        group = QuarantineRow(
            what="",
            reason=comparison.reason,
            study_instance_uid=study,
            difference=comparison.difference.value,
            kept_at=now,
        )
        session.add(group)
        session.flush()
    return group


def _name(session: Session, group: QuarantineRow, source: str) -> None:
    """How the group is called on the worklist."""
    rows = session.scalars(select(ConflictRow.id).where(ConflictRow.quarantine_id == group.id)).all()
    objects = "1 object" if len(rows) == 1 else f"{len(rows)} objects"
    group.what = f"{objects} that came for study {group.study_instance_uid}, last from {source}"


# ---------------------------------------------------------------- columns


def _columns(received: ReceivedInstance) -> dict[str, Any]:
    header = received.header
    return {
        "sop_instance_uid": header.sop_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "study_instance_uid": header.study_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "modality": header.modality,
        "path": str(received.path),
        "sha256": received.sha256,
        "size": received.size,
        "source": received.source,
    }


def _identity_to_json(identity: PatientIdentity) -> dict[str, Any]:
    value = asdict(identity)
    value["birth_date"] = identity.birth_date.isoformat() if identity.birth_date else None
    return value


def _identity_from_json(value: dict[str, Any]) -> PatientIdentity:
    born = value["birth_date"]
    return PatientIdentity(**{**value, "birth_date": date.fromisoformat(born) if born else None})
