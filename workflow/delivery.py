"""Delivery: results wait in the outbox until the destination is proven to hold them."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from pathlib import Path

from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.domain.record import StoredObject
from workflow.domain.states import ResultState
from workflow.engine.context import Context
from workflow.ports import Committer, Job


def deliver(job: Job, context: Context) -> None:
    """Store a report's objects at the destination, then ask the destination for them.

    A C-STORE status is not proof (it may still be lost there); the destination listing the instance is, or,
    with `delivery.proof`, its commitment (PS3.4 annex J). What was verified before is not sent again.

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
    if sent and context.committer is not None:
        _have_committed(job.subject, sent, context.committer, context)
    else:
        _have_listed(sent, context)
    if refused:
        raise UnsuitableInputError(f"{name} refused {', '.join(made.role for made in refused)}")


def _have_committed(
    report_identity: str, sent: list[StoredObject], committer: Committer, context: Context
) -> None:
    """Ask the destination to commit itself to keep what was sent, once; its answer may come much later.

    Where none comes in time, its list has to do.
    """
    outbox, name = context.outbox, context.destination.name
    objects = {made.sop_instance_uid: made.sop_class_uid for made in sent}
    asked = outbox.asked_commitment(report_identity)
    if asked is None or not objects.keys() <= asked.sop_instance_uids:
        transaction_uid = committer.new_transaction()
        outbox.ask_commitment(report_identity, transaction_uid, objects)
        answer = committer.request(transaction_uid, objects)
        if answer is None:
            raise TransientError(f"{name} has not answered yet whether it keeps the results")
        outbox.settle(answer)
        if lost := objects.keys() - answer.held:
            raise TransientError(f"{name} does not commit itself to keep {', '.join(sorted(lost))}")
        return
    wait = timedelta(seconds=context.settings.delivery.commitment_wait_s)
    if context.clock() - asked.asked_at < wait:
        raise TransientError(f"{name} has not answered yet whether it keeps the results")
    outbox.give_up_commitment(asked.transaction_uid)
    _have_listed(sent, context)


def _have_listed(sent: list[StoredObject], context: Context) -> None:
    """Ask the destination what it lists, and send again what it does not."""
    if missing := _not_listed(sent, context):
        name = context.destination.name
        context.outbox.mark(missing, ResultState.PENDING, name, "sent, but not listed by the destination")
        raise TransientError(f"{name} does not list {', '.join(missing)} yet")


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
