"""Reception: a row per instance, whichever way it came; nothing slow, no pixels."""

# ruff: noqa: D102

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.tables import InstanceRow, QuarantineRow, ResultObjectRow, StudyRow
from workflow.domain.errors import UnsuitableInputError
from workflow.engine.context import Context, audit

log = logging.getLogger(__name__)


class Header(Protocol):
    """What reception needs of an instance's header."""

    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def sop_class_uid(self) -> str: ...
    @property
    def study_instance_uid(self) -> str: ...
    @property
    def series_instance_uid(self) -> str: ...
    @property
    def transfer_syntax_uid(self) -> str: ...
    @property
    def modality(self) -> str: ...
    @property
    def accession_number(self) -> str: ...
    @property
    def study_description(self) -> str: ...
    @property
    def study_at(self) -> datetime | None: ...


class Received(Protocol):
    """An instance that lies on disk, its bytes as they came."""

    @property
    def header(self) -> Header: ...
    @property
    def path(self) -> Path: ...
    @property
    def sha256(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def source(self) -> str: ...


def receive(received: Received, context: Context) -> bool:
    """Record an instance. Return whether it told us anything new.

    The same instance again changes nothing; with other content it replaces the former (whose file stays)
    and the study is looked at again. Our own results, coming back from the PACS, are marked as such.
    """
    try:
        with context.unit() as session:
            return _receive(received, session, context.clock())
    except IntegrityError:  # two associations brought the first instance of a study at once
        with context.unit() as session:
            return _receive(received, session, context.clock())


def _receive(received: Received, session: Session, now: datetime) -> bool:
    header = received.header
    known = session.scalar(select(InstanceRow).where(InstanceRow.sop_instance_uid == header.sop_instance_uid))
    if known is not None and known.sha256 == received.sha256:
        return False
    is_own = (
        session.scalar(
            select(ResultObjectRow.id).where(ResultObjectRow.sop_instance_uid == header.sop_instance_uid)
        )
        is not None
    )
    if known is None:
        known = InstanceRow(sop_instance_uid=header.sop_instance_uid)
        session.add(known)
    else:
        audit(
            session,
            now,
            actor=received.source,
            action="instance replaced",
            about=header.sop_instance_uid,
            former=known.sha256,
            present=received.sha256,
        )
    known.sop_class_uid = header.sop_class_uid
    known.study_instance_uid = header.study_instance_uid
    known.series_instance_uid = header.series_instance_uid
    known.transfer_syntax_uid = header.transfer_syntax_uid
    known.modality = header.modality
    known.path, known.sha256, known.size = str(received.path), received.sha256, received.size
    known.source, known.received_at, known.is_own_result = received.source, now, is_own
    known.refers_to = None  # what it names is read again
    if is_own:
        return False
    # Locked: a study must not be closed on what it held before this instance.
    study = session.scalar(
        select(StudyRow).where(StudyRow.study_instance_uid == header.study_instance_uid).with_for_update()
    )
    if study is None:
        study = StudyRow(study_instance_uid=header.study_instance_uid, first_received_at=now)
        session.add(study)
    elif study.state != "RECEIVING":
        study.first_received_at = now  # a late instance opens a new wait
    study.last_received_at, study.state, study.reason, study.agreeing_polls = now, "RECEIVING", "", 0
    # The newest word counts: a PACS corrects dates and descriptions by sending the study again.
    study.description = header.study_description or study.description
    study.accession_number = header.accession_number or study.accession_number
    if header.study_at is not None:
        study.study_date, study.study_time = header.study_at.date(), header.study_at.time()
    return True


def reject(source: str, reason: str, context: Context, path: str = "") -> None:
    """Keep what could not be read in view of a person."""
    with context.unit() as session:
        session.add(
            QuarantineRow(what=f"object from {source}", reason=reason, path=path, kept_at=context.clock())
        )


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What an import did."""

    new: int
    known: int
    rejected: tuple[tuple[str, str], ...]


def import_files(
    paths: list[Path],
    keep: Callable[[bytes, str], Received],
    context: Context,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> ImportResult:
    """Take files in as if they had come over the network; what is not DICOM is named and left out."""
    new = known = 0
    rejected = []
    for done, path in enumerate(paths, start=1):
        try:
            is_new = receive(keep(path.read_bytes(), "IMPORT"), context)
        except UnsuitableInputError as error:
            rejected.append((str(path), str(error)))
        else:
            new, known = new + is_new, known + (not is_new)
        progress(done, len(paths))
    return ImportResult(new=new, known=known, rejected=tuple(rejected))


def dicom_files(inputs: list[Path]) -> Iterator[Path]:
    """Files below the inputs that claim to be DICOM (DICM prefix), sorted; a file named itself, always."""
    for given in inputs:
        if given.is_file():
            yield given
            continue
        for path in sorted(p for p in given.rglob("*") if p.is_file()):
            with path.open("rb") as file:
                if file.read(132)[128:] == b"DICM":
                    yield path
