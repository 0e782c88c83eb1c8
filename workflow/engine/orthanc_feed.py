"""The third way in: Orthanc's `/changes`, with a cursor that survives restarts on both sides."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy.orm import Session

from db.tables import CursorRow
from workflow.domain.errors import ConfigurationError, TransientError, UnsuitableInputError
from workflow.engine.context import Context
from workflow.ports import ReceivedInstance
from workflow.use_cases.run import keeper

log = logging.getLogger(__name__)

CURSOR = "orthanc"


class ChangePage(Protocol):
    """A stretch of the change log."""

    @property
    def instance_ids(self) -> Sequence[str]:
        """New instances in it."""
        ...

    @property
    def last(self) -> int:
        """Its last sequence number."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether nothing comes after it for now."""
        ...


class ChangeFeed(Protocol):
    """An archive that tells what is new."""

    def changes(self, since: int) -> ChangePage:
        """New instances after a sequence number."""
        ...

    def instance_file(self, instance_id: str) -> bytes:
        """An instance's bytes."""
        ...


def read_changes(feed: ChangeFeed, keep: Callable[[bytes, str], ReceivedInstance], context: Context) -> int:
    """Take in what is new since the stored cursor; return how many instances told us something new.

    The cursor moves after the instances of its page are recorded: a crash in between repeats them, which
    changes nothing. Orthanc's log starts again at 0 if its database is replaced: then so does the cursor.
    """
    new = 0
    while True:
        with context.reading() as session:
            since = _position(session)
        page = feed.changes(since)
        if page.last < since:
            log.warning(
                "Orthanc's change log starts again (%d after %d): reading it from the beginning",
                page.last,
                since,
            )
            _move(context, 0)
            continue
        for instance_id in page.instance_ids:
            try:
                new += context.reception.receive(keep(feed.instance_file(instance_id), "ORTHANC"))
            except UnsuitableInputError as error:
                log.warning("instance %s is left out: %s", instance_id, error)
                context.reception.reject("ORTHANC", str(error))
        _move(context, page.last)
        if page.is_done:
            return new


def follow(context: Context, stop: threading.Event) -> None:
    """Read the changes again and again until told to stop.

    Raises
    ------
    ConfigurationError
        If no Orthanc is set, its extra is not installed, or it refuses the login.
    """
    from dicom_io.orthanc import OrthancClient

    settings = context.settings.orthanc
    if settings is None:
        raise ConfigurationError("no Orthanc is set: set orthanc.url")
    client = OrthancClient(settings.url, settings.username, settings.password.get_secret_value())
    keep = keeper(context)
    while not stop.is_set():
        try:
            read_changes(client, keep, context)
        except TransientError as error:
            log.warning("%s; trying again", error)
        stop.wait(settings.poll_s)


def _position(session: Session) -> int:
    row = session.get(CursorRow, CURSOR)
    return row.value if row else 0


def _move(context: Context, position: int) -> None:
    with context.unit() as session:
        session.merge(CursorRow(name=CURSOR, value=position))
