"""The third way in: Orthanc's `/changes`, with a cursor that survives restarts on both sides.

What the log does not tell (it was cleared, it belongs to another database, an instance could not be had then)
is found by comparing everything that Orthanc holds with what is here, at start and every so often.
"""

from __future__ import annotations

import logging
import threading
import time

from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.engine.context import Context
from workflow.ports import ChangeFeed

log = logging.getLogger(__name__)

CURSOR = "orthanc"
# Of everything that Orthanc holds, so many are compared at once.
_PAGE = 500


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
        new += sum(_take_in(instance_id, feed, context) for instance_id in page.instance_ids)
        context.cursors.move(CURSOR, page.last)
        if page.is_done:
            return new


def compare_all(feed: ChangeFeed, context: Context) -> int:
    """Take in whatever Orthanc holds and we don't; return how many instances told us something new.

    What was refused before is not asked for again: a person has it in view.
    """
    new = since = 0
    while held := feed.held_instances(since, _PAGE):
        since += len(held)
        unknown = context.reception.unknown(frozenset(held.values()))
        for instance_id, uid in held.items():
            if uid in unknown and not context.reception.was_rejected(_source(instance_id)):
                new += _take_in(instance_id, feed, context)
    if new:
        log.warning("%d instances that Orthanc's change log did not tell of were taken in", new)
    return new


def _take_in(instance_id: str, feed: ChangeFeed, context: Context) -> bool:
    try:
        return context.reception.receive(context.keep(feed.instance_file(instance_id), "ORTHANC"))
    except UnsuitableInputError as error:
        log.warning("instance %s is left out: %s", instance_id, error)
        if not context.reception.was_rejected(_source(instance_id)):
            context.reception.reject(_source(instance_id), str(error))
        return False


def _source(instance_id: str) -> str:
    return f"ORTHANC (its instance {instance_id})"


def follow(
    feed: ChangeFeed, context: Context, poll_s: float, compare_s: float, stop: threading.Event
) -> None:
    """Read the changes until told to stop; at first, and every `compare_s`, compare everything."""
    compare_at = time.monotonic()
    while not stop.is_set():
        try:
            read_changes(feed, context)
            if time.monotonic() >= compare_at:
                compare_all(feed, context)
                compare_at = time.monotonic() + compare_s
        except TransientError as error:
            log.warning("%s; trying again", error)
        stop.wait(poll_s)
