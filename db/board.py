"""Tumour boards in the database: lists, frozen packets, and the cohort in one statement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from db.audit import write_audit
from db.jobs import enqueue
from db.overview import patient_course
from db.session import UnitOfWork
from db.tables import (
    BoardEntryRow,
    BoardPacketRow,
    PatientRow,
    ReportRow,
    StudyRow,
    TimePointRow,
)
from workflow.domain.board import (
    Agenda,
    BoardDay,
    BoardEntry,
    BoardPatient,
    BoardPriority,
    BoardVisit,
    Packet,
    PacketContent,
    PacketFile,
    PacketState,
    content_of,
    list_digest,
    missing,
)
from workflow.domain.cohort import CohortVisit
from workflow.domain.errors import ConflictError, UnsuitableInputError
from workflow.domain.patient import readable_name
from workflow.domain.states import VisitState
from workflow.ports import AuditEntry
from workflow.ports.board import FrozenPacket, FrozenPatient

_LIST = "list"
STAGE = "board"


@dataclass(frozen=True, kw_only=True)
class StoredBoards:
    """The port `workflow.ports.board.Boards` on the database."""

    unit: UnitOfWork
    reading: UnitOfWork
    clock: Callable[[], datetime]

    # ------------------------------------------------------------ lists

    def days(self) -> tuple[BoardDay, ...]:
        """See `workflow.ports.board.Boards.days`."""
        urgent = func.count().filter(BoardEntryRow.priority == BoardPriority.URGENT.value)
        with self.reading() as session:
            found = session.execute(
                select(BoardEntryRow.board_day, func.count(), urgent)
                .group_by(BoardEntryRow.board_day)
                .order_by(BoardEntryRow.board_day)
            )
            return tuple(BoardDay(day=day, patients=count, urgent=some) for day, count, some in found)

    def agenda(self, day: date) -> Agenda:
        """See `workflow.ports.board.Boards.agenda`."""
        with self.reading() as session:
            return _agenda(session, day)

    def change(self, day: date, by: str, action: str, function: Callable[[Agenda], Agenda]) -> Agenda:
        """See `workflow.ports.board.Boards.change`."""
        with self.unit() as session:
            rows = _rows(session, day, lock=True)
            before = Agenda(day=day, entries=tuple(map(_entry, rows)))
            after = function(before)
            _require_known(session, after)
            known = {row.patient_key: row for row in rows}
            kept = {entry.patient_key for entry in after.entries}
            for row in rows:
                if row.patient_key not in kept:
                    session.delete(row)
            for place, entry in enumerate(after.entries, start=1):
                row = known.get(entry.patient_key) or BoardEntryRow(
                    board_day=day, patient_key=entry.patient_key
                )
                session.add(row)
                row.place, row.priority, row.question = place, entry.priority.value, entry.question
                row.added_by, row.added_at = entry.added_by, entry.added_at
            patients = [entry.patient_key for entry in after.entries]
            audit = AuditEntry(actor=by, action=action, about=day.isoformat(), detail={"patients": patients})
            write_audit(session, [audit], self.clock())
            return after

    def patients(self, keys: Collection[int]) -> dict[int, BoardPatient]:
        """See `workflow.ports.board.Boards.patients`."""
        with self.reading() as session:
            return _patients(session, keys)

    def find(self, words: str, limit: int = 20) -> tuple[BoardPatient, ...]:
        """See `workflow.ports.board.Boards.find`."""
        wanted = words.strip()
        if not wanted:
            return ()
        with self.reading() as session:
            # "Doe, Jane" is stored as "Doe^Jane".
            name = wanted.replace(", ", "^").replace(" ", "^")
            keys = session.scalars(
                select(PatientRow.id)
                .where(
                    or_(
                        PatientRow.patient_id.icontains(wanted, autoescape=True),
                        PatientRow.patient_name.icontains(wanted, autoescape=True),
                        PatientRow.patient_name.icontains(name, autoescape=True),
                    )
                )
                .order_by(PatientRow.patient_id, PatientRow.id)
                .limit(limit)
            ).all()
            found = _patients(session, keys)
            return tuple(found[key] for key in keys)

    def days_of(self, patient_key: int) -> tuple[date, ...]:
        """See `workflow.ports.board.Boards.days_of`."""
        with self.reading() as session:
            return tuple(
                session.scalars(
                    select(BoardEntryRow.board_day)
                    .where(BoardEntryRow.patient_key == patient_key)
                    .order_by(BoardEntryRow.board_day)
                )
            )

    # ------------------------------------------------------------ packets

    def freeze(self, day: date, by: str) -> tuple[Packet, ...]:
        """See `workflow.ports.board.Boards.freeze`."""
        try:
            return self._freeze(day, by)
        except ConflictError:  # two people asked at once: the other's packets say the same
            return self._freeze(day, by)

    def _freeze(self, day: date, by: str) -> tuple[Packet, ...]:
        now = self.clock()
        with self.unit() as session:
            agenda = _agenda(session, day)
            if not agenda.entries:
                raise UnsuitableInputError(f"nobody is on the list of {day}; add a patient first")
            patients = _patients(session, [entry.patient_key for entry in agenda.entries])
            newest = {row.subject: row for row in _packet_rows(session, day)}
            made = []
            for entry in agenda.entries:
                patient = patients[entry.patient_key]
                content = content_of(entry, patient)
                made.append(
                    self._kept_or_new(
                        session,
                        newest.get(str(patient.key)),
                        BoardPacketRow(
                            board_day=day,
                            subject=str(patient.key),
                            patient_key=patient.key,
                            sha256=content.sha256,
                            content=_content_json(content),
                            made_by=by,
                            made_at=now,
                        ),
                        partial(_frozen_patient, session, patient, entry),
                    )
                )
            session.flush()
            members = [row.id for row in made]
            whole = self._kept_or_new(
                session,
                newest.get(_LIST),
                BoardPacketRow(
                    board_day=day,
                    subject=_LIST,
                    sha256=list_digest(row.sha256 for row in made),
                    content={"members": members},
                    made_by=by,
                    made_at=now,
                ),
                dict,
            )
            session.flush()
            waiting = [row for row in (whole, *made) if row.state == PacketState.WAITING]
            for row in waiting:
                enqueue(session, stage=STAGE, subject=str(row.id), lane=f"board:{row.id}")
            detail = {"packets": [row.id for row in waiting]}
            audit = AuditEntry(actor=by, action="board packets", about=day.isoformat(), detail=detail)
            write_audit(session, [audit], now)
            return tuple(_packet(row) for row in (whole, *made))

    def _kept_or_new(
        self,
        session: Session,
        newest: BoardPacketRow | None,
        wanted: BoardPacketRow,
        frozen: Callable[[], dict[str, Any]],
    ) -> BoardPacketRow:
        """The newest packet if it says the same (waiting again if it failed), else a new version."""
        if newest is not None and newest.sha256 == wanted.sha256:
            if newest.state == PacketState.FAILED:
                newest.state, newest.reason = PacketState.WAITING.value, ""
            return newest
        wanted.version = 1 if newest is None else newest.version + 1
        wanted.frozen, wanted.files, wanted.state = frozen(), [], PacketState.WAITING.value
        session.add(wanted)
        return wanted

    def packets(self, day: date) -> tuple[Packet, ...]:
        """See `workflow.ports.board.Boards.packets`."""
        with self.reading() as session:
            return tuple(map(_packet, _packet_rows(session, day)))

    def packet(self, packet_id: int) -> Packet | None:
        """See `workflow.ports.board.Boards.packet`."""
        with self.reading() as session:
            row = session.get(BoardPacketRow, packet_id)
            return None if row is None else _packet(row)

    def frozen(self, packet_id: int) -> FrozenPacket:
        """See `workflow.ports.board.Boards.frozen`."""
        with self.reading() as session:
            row = session.get_one(BoardPacketRow, packet_id)
            members = row.content.get("members")
            of = [row] if members is None else [session.get_one(BoardPacketRow, i) for i in members]
            return FrozenPacket(
                day=row.board_day,
                version=row.version,
                made_by=row.made_by,
                made_at=row.made_at,
                sha256=row.sha256,
                is_list=members is not None,
                patients=[_thawed(one.frozen) for one in of],
            )

    def finish(self, packet_id: int, folder: Path, files: Sequence[PacketFile]) -> None:
        """See `workflow.ports.board.Boards.finish`."""
        with self.unit() as session:
            row = session.get_one(BoardPacketRow, packet_id, with_for_update=True)
            if row.state != PacketState.READY:
                row.folder, row.files = str(folder), [asdict(file) for file in files]
                row.state, row.reason = PacketState.READY.value, ""

    def fail(self, packet_id: int, reason: str) -> None:
        """See `workflow.ports.board.Boards.fail`."""
        with self.unit() as session:
            row = session.get_one(BoardPacketRow, packet_id, with_for_update=True)
            if row.state != PacketState.READY:
                row.state, row.reason = PacketState.FAILED.value, reason

    # ------------------------------------------------------------ cohort

    def cohort(self) -> tuple[CohortVisit, ...]:
        """See `workflow.ports.board.Boards.cohort`."""
        told = ReportRow.document
        with self.reading() as session:
            found = session.execute(
                select(
                    TimePointRow.patient_key,
                    PatientRow.patient_id,
                    ReportRow.status,
                    told["study_date"].as_string(),
                    told["days_from_baseline"].as_integer(),
                    told["is_baseline"].as_boolean(),
                    told["assessment"],
                )
                .join(ReportRow, ReportRow.id == TimePointRow.report_id)
                .join(PatientRow, PatientRow.id == TimePointRow.patient_key)
                .where(TimePointRow.state != VisitState.JOINED)
                .order_by(TimePointRow.patient_key, TimePointRow.order)
            ).all()
        return tuple(
            CohortVisit(
                patient_key=key,
                patient_id=patient_id,
                day=date.fromisoformat(day),
                days_from_baseline=days,
                is_baseline=is_baseline,
                is_signed=status == "signed",
                criteria=a["criteria"],
                overall=a["overall"],
                best_overall_response=a["best_overall_response"],
                new_lesion=a["new_lesion"],
                sum_mm=a["sum_mm"],
                change_from_baseline_percent=a["change_from_baseline_percent"],
            )
            for key, patient_id, status, day, days, is_baseline, a in found
        )


# ---------------------------------------------------------------- rows to values


def _rows(session: Session, day: date, *, lock: bool = False) -> list[BoardEntryRow]:
    query = select(BoardEntryRow).where(BoardEntryRow.board_day == day).order_by(BoardEntryRow.place)
    return list(session.scalars(query.with_for_update() if lock else query))


def _agenda(session: Session, day: date) -> Agenda:
    return Agenda(day=day, entries=tuple(map(_entry, _rows(session, day))))


def _entry(row: BoardEntryRow) -> BoardEntry:
    return BoardEntry(
        patient_key=row.patient_key,
        added_by=row.added_by,
        added_at=row.added_at,
        priority=BoardPriority(row.priority),
        question=row.question,
    )


def _require_known(session: Session, agenda: Agenda) -> None:
    keys = {entry.patient_key for entry in agenda.entries}
    known = set(session.scalars(select(PatientRow.id).where(PatientRow.id.in_(keys))))
    if keys - known:
        raise UnsuitableInputError(f"there is no patient {min(keys - known)}; `tumorline status` lists them")


def _patients(session: Session, keys: Iterable[int]) -> dict[int, BoardPatient]:
    """Patients with their visits in short, in two statements."""
    wanted = list(keys)
    told = ReportRow.document
    visits: dict[int, list[BoardVisit]] = {}
    rows = session.execute(
        select(
            TimePointRow.patient_key,
            TimePointRow.id,
            TimePointRow.state,
            TimePointRow.reason,
            TimePointRow.attention,
            StudyRow.study_date,
            ReportRow.identity,
            ReportRow.version,
            ReportRow.status,
            told["signed_by"].as_string(),
            told["study_date"].as_string(),
            told["is_baseline"].as_boolean(),
            told["assessment", "overall"].as_string(),
        )
        .join(StudyRow, StudyRow.id == TimePointRow.study_id)
        .join(ReportRow, ReportRow.id == TimePointRow.report_id, isouter=True)
        .where(TimePointRow.patient_key.in_(wanted), TimePointRow.state != VisitState.JOINED)
        .order_by(TimePointRow.patient_key, TimePointRow.order)
    )
    for row in rows:
        patient, key, state, reason, attention, study_day, identity, version, status, *told_of = row
        by, day, is_baseline, overall = told_of
        visits.setdefault(patient, []).append(
            BoardVisit(
                key=key,
                day=date.fromisoformat(day) if day else study_day,
                state=VisitState(state),
                reason=reason,
                attention=tuple(attention or ()),
                report_identity=identity,
                report_version=version,
                signed_by=(by or "an unnamed reader") if status == "signed" else None,
                is_baseline=bool(is_baseline),
                overall=overall,
            )
        )
    return {
        row.id: BoardPatient(
            key=row.id,
            patient_id=row.patient_id,
            patient_name=readable_name(row.patient_name),
            birth_date=row.birth_date,
            sex=row.sex,
            visits=tuple(visits.get(row.id, ())),
        )
        for row in session.scalars(select(PatientRow).where(PatientRow.id.in_(wanted)))
    }


def _packet_rows(session: Session, day: date) -> list[BoardPacketRow]:
    """A day's packets, oldest first."""
    return list(
        session.scalars(
            select(BoardPacketRow).where(BoardPacketRow.board_day == day).order_by(BoardPacketRow.id)
        )
    )


def _packet(row: BoardPacketRow) -> Packet:
    members = row.content.get("members")
    return Packet(
        id=row.id,
        day=row.board_day,
        patient_key=row.patient_key,
        version=row.version,
        sha256=row.sha256,
        made_by=row.made_by,
        made_at=row.made_at,
        state=PacketState(row.state),
        reason=row.reason,
        content=_content(row.content) if members is None else None,
        members=tuple(members or ()),
        folder=row.folder,
        files=tuple(PacketFile(**file) for file in row.files),
    )


def _content_json(content: PacketContent) -> dict[str, Any]:
    visits = [{**asdict(v), "day": v.day.isoformat() if v.day else None} for v in content.visits]
    return {**asdict(content), "visits": visits}


def _content(stored: Mapping[str, Any]) -> PacketContent:
    visits = tuple(
        BoardVisit(
            **{
                **visit,
                "day": date.fromisoformat(visit["day"]) if visit["day"] else None,
                "state": VisitState(visit["state"]),
                "attention": tuple(visit["attention"]),
            }
        )
        for visit in stored["visits"]
    )
    return PacketContent(**{**stored, "visits": visits})


def _frozen_patient(session: Session, patient: BoardPatient, entry: BoardEntry) -> dict[str, Any]:
    folders = session.execute(
        select(TimePointRow.id, ReportRow.folder)
        .join(ReportRow, ReportRow.id == TimePointRow.report_id)
        .where(TimePointRow.patient_key == patient.key)
    )
    course = patient_course(session, patient.key)
    for point in course["time_points"]:
        for made in point["objects"]:
            del made["path"]  # a packet leaves the house; where our files lie stays here
    return {
        "course": course,
        "pictures": {str(key): folder for key, folder in folders},
        "priority": entry.priority.value,
        "question": entry.question,
        "missing": list(missing(patient)),
        "birth_date": patient.birth_date.isoformat() if patient.birth_date else "",
        "sex": patient.sex,
    }


def _thawed(stored: Mapping[str, Any]) -> FrozenPatient:
    return FrozenPatient(
        course=stored["course"],
        pictures={int(key): Path(folder) for key, folder in stored["pictures"].items()},
        priority=stored["priority"],
        question=stored["question"],
        missing=tuple(stored["missing"]),
        birth_date=stored["birth_date"],
        sex=stored["sex"],
    )
