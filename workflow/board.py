"""Board: who is discussed on which day, and what is handed out, frozen as it stood when it was asked for."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

from workflow.domain.board import (
    Agenda,
    BoardEntry,
    BoardPatient,
    BoardPriority,
    Packet,
    PacketFile,
    PacketState,
    changed_since,
    content_of,
    list_digest,
    missing,
)
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.record import PatientRecord, StoredObject, kind_of_role
from workflow.domain.states import ResultState
from workflow.engine.context import Context
from workflow.ports import AuditEntry, Changed, Job, NewJob, WrittenResults
from workflow.ports.board import Boards


def add_to_board(
    context: Context,
    *,
    day: date,
    patient_key: int,
    by: str,
    priority: BoardPriority = BoardPriority.NORMAL,
    question: str = "",
) -> Agenda:
    """Put a patient on the list of a day's board; return the list.

    Raises
    ------
    UnsuitableInputError
        If the patient is not known or is on the list already, or the question is too long.
    """
    entry = BoardEntry(
        patient_key=patient_key,
        added_by=by,
        added_at=context.clock(),
        priority=priority,
        question=question.strip(),
    )
    return context.boards.change(day, by, "board: added", lambda agenda: agenda.with_entry(entry))


def remove_from_board(context: Context, *, day: date, patient_key: int, by: str) -> Agenda:
    """Take a patient off the list; packets that were made stay.

    Raises
    ------
    UnsuitableInputError
        If the patient is not on the list.
    """
    return context.boards.change(day, by, "board: removed", lambda agenda: agenda.without(patient_key))


def move_on_board(context: Context, *, day: date, patient_key: int, steps: int, by: str) -> Agenda:
    """Discuss a patient some places later, or earlier if negative.

    Raises
    ------
    UnsuitableInputError
        If the patient is not on the list.
    """
    return context.boards.change(day, by, "board: moved", lambda agenda: agenda.moved(patient_key, steps))


def ask_board(
    context: Context, *, day: date, patient_key: int, priority: BoardPriority, question: str, by: str
) -> Agenda:
    """Change a patient's priority and what the board is asked.

    Raises
    ------
    UnsuitableInputError
        If the patient is not on the list, or the question is too long.
    """
    words = question.strip()
    return context.boards.change(
        day,
        by,
        "board: question",
        lambda agenda: agenda.with_words(patient_key, priority=priority, question=words),
    )


def freeze_packets(context: Context, *, day: date, by: str) -> tuple[Packet, ...]:
    """Freeze what is known of each patient on a day's list; workers write the files.

    Returns
    -------
    tuple of Packet
        The list's first, then the patients' in the list's order.

    Raises
    ------
    UnsuitableInputError
        If nobody is on the list.
    """
    return context.boards.freeze(day, by)


def patient_named(context: Context, patient_id: str) -> int:
    """The key of the patient of a PatientID.

    Raises
    ------
    UnsuitableInputError
        If there is none, or several issuers gave the number.
    """
    found = context.records.patient_keys(patient_id)
    if not found:
        raise UnsuitableInputError(f"there is no patient {patient_id}; `tumorline status` lists them")
    if len(found) > 1:
        raise UnsuitableInputError(
            f"{len(found)} patients of different issuers have the id {patient_id}; "
            "add the right one on the page"
        )
    return found[0]


# ---------------------------------------------------------------- what is shown


def board_json(boards: Boards, day: date) -> dict[str, Any]:
    """A day's list with what each patient lacks and the packets, for pages and scripts."""
    agenda, packets = boards.agenda(day), boards.packets(day)
    patients = boards.patients([entry.patient_key for entry in agenda.entries])
    newest = {packet.patient_key: packet for packet in packets}
    entries, digests = [], []
    for place, entry in enumerate(agenda.entries, start=1):
        patient = patients[entry.patient_key]
        now = content_of(entry, patient)
        digests.append(now.sha256)
        packet = newest.get(patient.key)
        changed: tuple[str, ...] = ()
        if packet is not None and packet.content is not None:
            changed = changed_since(packet.content, now)
        entries.append(
            patient_json(patient)
            | {
                "place": place,
                "priority": entry.priority.value,
                "question": entry.question,
                "added_by": entry.added_by,
                "added_at": entry.added_at.isoformat(timespec="seconds"),
                "packet": packet_json(packet) if packet else None,
                "changed_since": list(changed),
            }
        )
    whole = newest.get(None)
    return {
        "day": agenda.day.isoformat(),
        "entries": entries,
        "packet": packet_json(whole) if whole else None,
        "is_changed": whole is not None and whole.sha256 != list_digest(digests),
        "is_waiting": any(p.state is PacketState.WAITING for p in newest.values()),
        "earlier": [packet_json(p) for p in packets if newest[p.patient_key] is not p],
    }


def patient_json(patient: BoardPatient) -> dict[str, Any]:
    """A patient with what is missing, for pages and scripts."""
    latest = patient.latest
    return {
        "patient_key": patient.key,
        "patient_id": patient.patient_id,
        "patient_name": patient.patient_name,
        "birth_date": patient.birth_date.isoformat() if patient.birth_date else None,
        "latest_day": latest.day.isoformat() if latest and latest.day else None,
        "latest_response": latest.overall if latest else None,
        "is_signed": bool(latest and latest.signed_by),
        "missing": list(missing(patient)),
    }


def packet_json(packet: Packet) -> dict[str, Any]:
    """A packet, for pages and scripts; the server's folders are left out."""
    visits = packet.content.visits if packet.content else ()
    return {
        "id": packet.id,
        "patient_key": packet.patient_key,
        "version": packet.version,
        "sha256": packet.sha256,
        "made_by": packet.made_by,
        "made_at": packet.made_at.isoformat(timespec="seconds"),
        "state": packet.state.value,
        "reason": packet.reason,
        "reports": [
            {
                "day": v.day.isoformat() if v.day else None,
                "version": v.report_version,
                "identity": v.report_identity,
                "signed_by": v.signed_by,
            }
            for v in visits
            if v.report_identity
        ],
        "files": [asdict(file) for file in packet.files],
    }


# ---------------------------------------------------------------- the stage


def write_packet(job: Job, context: Context) -> None:
    """Write a frozen packet's files into a folder that appears whole, then the row that points to it.

    The files follow from what was frozen: done again, they say the same.
    """
    packet_id = int(job.subject)
    packet = _packet(context, packet_id)
    folder = context.settings.home / "boards" / packet.day.isoformat() / packet.stem
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    job.report_progress(0.1, f"writing {packet.stem}")
    files = context.packets.write(context.boards.frozen(packet_id), packet.stem, temporary)
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off before its row was written
    temporary.rename(folder)
    context.boards.finish(packet_id, folder, files)


def give_up_packet(job: Job, reason: str, context: Context) -> None:
    """Say on the board's page that a packet's files could not be made."""
    context.boards.fail(int(job.subject), reason)


def packet_file(context: Context, packet_id: int, name: str) -> tuple[Path, PacketFile]:
    """Where a file of a packet is, and what it is.

    Raises
    ------
    UnsuitableInputError
        If there is no such file; the message says why.
    """
    packet = _packet(context, packet_id)
    for file in packet.files:
        if file.name == name:
            return Path(packet.folder) / name, file
    raise UnsuitableInputError(
        f"the packet has no file {name}" if packet.files else f"the packet is {packet.state.value.lower()}"
    )


def store_packet(context: Context, *, packet_id: int, by: str) -> Packet:
    """Send a patient's packet to the PACS as a PDF of the latest visit's first study, through the outbox.

    The same packet again changes nothing.

    Raises
    ------
    UnsuitableInputError
        If it is a list's, its files are not made yet, or the latest report is another by now.
    """
    packet = _packet(context, packet_id)
    if packet.patient_key is None or packet.content is None:
        raise UnsuitableInputError(
            "the packet of a list speaks of several patients; store each patient's own"
        )
    pdf, _ = packet_file(context, packet_id, f"{packet.stem}.pdf")
    record = context.records.load(packet.patient_key)
    visit = record.reported[-1] if record.reported else None
    report = visit.report if visit else None
    frozen = next((v.report_identity for v in reversed(packet.content.visits) if v.report_identity), None)
    if visit is None or report is None or report.identity != frozen:
        raise UnsuitableInputError(
            "the latest report is another by now; make the packet again, then store it"
        )
    path = pdf.with_suffix(".dcm")
    sr = next(Path(made.path) for made in report.objects if kind_of_role(made.role) == "sr")
    stored = _for_outbox(context.packets.encapsulate(packet, pdf, sr, path))
    anchor = visit.anchor

    def added(now: PatientRecord) -> Changed | None:
        standing = next((v for v in now.standing if v.anchor == anchor), None)
        current = standing.report if standing else None
        if standing is None or current is None or current.identity != frozen:
            raise UnsuitableInputError("the latest report is another by now; make the packet again")
        if any(made.sop_instance_uid == stored.sop_instance_uid for made in current.objects):
            return None
        extended = replace(current, objects=(*current.objects, stored))
        reports = tuple(extended if r.identity == frozen else r for r in standing.reports)
        audit = AuditEntry(
            actor=by, action="board: stored", about=stored.sop_instance_uid, detail={"packet": packet.id}
        )
        is_sent = stored.state is ResultState.PENDING
        return Changed(
            record=now.with_visit(replace(standing, reports=reports)),
            jobs=lambda saved: [NewJob(stage="deliver", subject=frozen, lane=f"report:{frozen}")] * is_sent,
            audit=(audit,),
        )

    context.records.change(packet.patient_key, added)
    if stored.error:
        raise UnsuitableInputError(f"the PDF failed validation and is kept here: {stored.error}")
    return packet


def _for_outbox(written: WrittenResults) -> StoredObject:
    """The object as the outbox has it; what failed validation is kept there and not sent."""
    (made,) = written.objects
    return StoredObject(
        role=made.role,
        sop_instance_uid=made.sop_instance_uid,
        sop_class_uid=made.sop_class_uid,
        series_instance_uid=made.series_instance_uid,
        study_instance_uid=made.study_instance_uid,
        path=str(made.path),
        sha256=hashlib.sha256(made.path.read_bytes()).hexdigest(),
        state=ResultState.HELD if written.errors else ResultState.PENDING,
        error="; ".join(written.errors),
    )


def _packet(context: Context, packet_id: int) -> Packet:
    packet = context.boards.packet(packet_id)
    if packet is None:
        raise UnsuitableInputError(f"there is no packet {packet_id}")
    return packet
