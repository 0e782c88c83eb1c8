"""Delivery: results wait in the outbox until the destination is proven to hold them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from db.tables import ReportRow
from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.engine.context import Context, audit
from workflow.ports import Job

# The order in which objects leave: what is referred to comes before what refers to it.
ROLE_ORDER = ("seg", "sr", "pdf")


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
    with context.reading() as session:
        report = session.get_one(ReportRow, int(job.subject))
        waiting = sorted(
            (o for o in report.objects if o.state in ("PENDING", "SENT")),
            key=lambda o: (ROLE_ORDER.index(o.role) if o.role in ROLE_ORDER else len(ROLE_ORDER), o.id),
        )
    refused = []
    for number, result in enumerate(o for o in waiting if o.state == "PENDING"):
        job.report_progress(number / len(waiting), f"sending {result.role} to {context.destination.name}")
        try:
            context.destination.store([Path(result.path)])
        except UnsuitableInputError as error:  # the others may still be taken
            refused.append(result)
            _mark([result.id], "REFUSED", report.id, context, str(error))
        except TransientError as error:
            _mark([result.id], "PENDING", report.id, context, str(error))
            raise
        else:
            _mark([result.id], "SENT", report.id, context)
    waiting = [o for o in waiting if o not in refused]
    by_series = defaultdict(list)
    for result in waiting:
        by_series[(result.study_instance_uid, result.series_instance_uid)].append(result)
    missing = []
    for (study_uid, series_uid), results in by_series.items():
        held = context.destination.held(study_uid, series_uid)
        _mark([o.id for o in results if o.sop_instance_uid in held], "VERIFIED", report.id, context)
        missing += [o for o in results if o.sop_instance_uid not in held]
    if missing:
        _mark(
            [o.id for o in missing], "PENDING", report.id, context, "sent, but not listed by the destination"
        )
        raise TransientError(
            f"{context.destination.name} does not list {', '.join(o.sop_instance_uid for o in missing)} yet"
        )
    if refused:
        raise UnsuitableInputError(f"{context.destination.name} refused {', '.join(o.role for o in refused)}")


def _mark(object_ids: list[int], state: str, report_id: int, context: Context, error: str = "") -> None:
    if not object_ids:
        return
    with context.unit() as session:
        report = session.get_one(ReportRow, report_id)
        for row in report.objects:
            if row.id in object_ids:
                row.state, row.error, row.destination = state, error, context.destination.name
                if state == "VERIFIED":
                    row.verified_at = context.clock()
                    audit(
                        session,
                        context.clock(),
                        actor="delivery",
                        action="stored",
                        about=row.sop_instance_uid,
                        destination=context.destination.name,
                    )
