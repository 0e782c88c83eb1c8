"""The third way in: Orthanc's `/changes`, with a cursor that survives restarts on both sides."""

from __future__ import annotations

import logging
import threading

from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.engine.context import Context
from workflow.ports import ChangeFeed

log = logging.getLogger(__name__)

CURSOR = "orthanc"


def read_changes(feed: ChangeFeed, context: Context) -> int:
    """Take in what is new since the stored cursor; return how many instances told us something new.

    The cursor moves after the instances of its page are recorded: a crash in between repeats them, which
    changes nothing. Orthanc's log starts again at 0 if its database is replaced: then so does the cursor.
    """
    new = 0
    while True:
        since = context.cursors.position(CURSOR)
        page = feed.changes(since)
        if page.last < since:
            log.warning(
                "Orthanc's change log starts again (%d after %d): reading it from the beginning",
                page.last,
                since,
            )
            context.cursors.move(CURSOR, 0)
            continue
        for instance_id in page.instance_ids:
            try:
                new += context.reception.receive(context.keep(feed.instance_file(instance_id), "ORTHANC"))
            except UnsuitableInputError as error:
                log.warning("instance %s is left out: %s", instance_id, error)
                context.reception.reject("ORTHANC", str(error))
        context.cursors.move(CURSOR, page.last)
        if page.is_done:
            return new


def follow(feed: ChangeFeed, context: Context, poll_s: float, stop: threading.Event) -> None:
    """Read the changes again and again until told to stop."""
    while not stop.is_set():
        try:
            read_changes(feed, context)
        except TransientError as error:
            log.warning("%s; trying again", error)
        stop.wait(poll_s)
