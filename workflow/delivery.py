"""Delivery: results wait in the outbox until the destination is proven to hold them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.domain.record import StoredObject
from workflow.domain.states import ResultState
from workflow.engine.context import Context
from workflow.ports import Job


def deliver(job: Job, context: Context) -> None:
    """Store a report's objects at the destination, then ask the destination for them.

    A C-STORE status is not proof (it may still be lost there); the destination listing the
    instance is. What was verified before is not sent again.

    Raises
    ------
    TransientError
        If the destination is not there or does not list an object yet; the job is tried again.
    UnsuitableInputError
        If it refuses an object for good; the outbox shows its status.
    """
    outbox, name = context.outbox, context.destination.name
    waiting = outbox.waiting(job.subject)
    pending = [made for made in waiting if made.state is ResultState.PENDING]
    refused: list[StoredObject] = []
    for number, made in enumerate(pending):
        job.report_progress(number / len(waiting), f"sending {made.role} to {name}")
        try:
            context.destination.store([Path(made.path)])
        except UnsuitableInputError as error:  # the others may still be taken
            refused.append(made)
            outbox.mark([made.sop_instance_uid], ResultState.REFUSED, name, str(error))
        except TransientError as error:
            outbox.mark([made.sop_instance_uid], ResultState.PENDING, name, str(error))
            raise
        else:
            outbox.mark([made.sop_instance_uid], ResultState.SENT, name)
    sent = [made for made in waiting if made not in refused]
    missing = _not_listed(sent, context)
    if missing:
        outbox.mark(missing, ResultState.PENDING, name, "sent, but not listed by the destination")
        raise TransientError(f"{name} does not list {', '.join(missing)} yet")
    if refused:
        raise UnsuitableInputError(f"{name} refused {', '.join(made.role for made in refused)}")


def _not_listed(sent: list[StoredObject], context: Context) -> list[str]:
    """SOP Instance UIDs that the destination does not list; those that it does are marked as proven."""
    by_series: dict[tuple[str, str], list[str]] = defaultdict(list)
    for made in sent:
        by_series[made.study_instance_uid, made.series_instance_uid].append(made.sop_instance_uid)
    missing: list[str] = []
    for (study_uid, series_uid), uids in by_series.items():
        held = context.destination.held(study_uid, series_uid)
        listed = [uid for uid in uids if uid in held]
        context.outbox.mark(listed, ResultState.VERIFIED, context.destination.name)
        missing += [uid for uid in uids if uid not in held]
    return missing
