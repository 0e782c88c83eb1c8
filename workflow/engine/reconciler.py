"""The reconciler: looks at what is, not at what was announced, and sets in motion what should be."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from sqlalchemy import func, select

from db.jobs import IN_PROGRESS, SCHEDULED, due_job_ids, take_over_expired
from db.tables import JobRow, StudyRow
from workflow import delivery, inference, ingest, report, timeline
from workflow.domain.errors import TransientError
from workflow.engine.context import Context
from workflow.engine.jobs import Failure, Stage, execute
from workflow.ports import Job

log = logging.getLogger(__name__)

Announce = Callable[[Sequence[int]], None]
# A message that was not answered by a claim for this long is taken for lost and sent again.
_ANNOUNCE_AGAIN_S = 10.0
# More than any site's workers take at once; each worker announces what comes after its own job.
_ANNOUNCED_AT_ONCE = 16


def stages(context: Context) -> dict[str, Stage]:
    """Every stage that a job can name."""
    return {
        "ingest": lambda job: ingest.ingest(job, context),
        "timeline": lambda job: timeline.update_timeline(job, context),
        "infer": lambda job: inference.infer(job, context),
        "report": lambda job: report.report_patient(job, context),
        "deliver": lambda job: delivery.deliver(job, context),
    }


def failures(context: Context) -> dict[str, Failure]:
    """What a job that ended for good without success leaves on the worklist."""
    return {
        "ingest": lambda job, reason: ingest.fail(job, reason, context),
        "infer": lambda job, reason: inference.give_up(job, reason, context),
    }


def run_job(job_id: int, context: Context) -> bool:
    """Carry out one job if it can be claimed; see `workflow.engine.jobs.execute`."""
    return execute(
        job_id, stages(context), context.unit, context.clock, context.settings.worker, failures(context)
    )


class Reconciler:
    """Closes quiet studies, takes over the jobs of dead workers, announces due jobs to the broker."""

    def __init__(self, context: Context, announce: Announce) -> None:
        self._context = context
        self._announce = announce
        self._announced: dict[int, float] = {}

    def tick(self) -> None:
        """Look once at everything."""
        context = self._context
        try:
            ingest.close_quiet_studies(context)
            with context.unit() as session:
                now = context.clock()
                lost: list[Job] = []
                taken = take_over_expired(session, now, context.settings.worker.maximum_losses, lost)
            for job in lost:
                if (on_failure := failures(context).get(job.stage)) is not None:
                    on_failure(job, f"it ended its worker {context.settings.worker.maximum_losses} times")
            if taken:
                log.warning("%d jobs of silent workers were taken over", taken)
            with context.reading() as session:
                due = due_job_ids(session, context.clock(), limit=_ANNOUNCED_AT_ONCE)
            moment = time.monotonic()
            self._announced = {i: t for i, t in self._announced.items() if i in due}
            fresh = [i for i in due if moment - self._announced.get(i, -1e9) > _ANNOUNCE_AGAIN_S]
            if fresh:
                self._announce(fresh)
                self._announced |= dict.fromkeys(fresh, moment)
        except TransientError as error:
            log.warning("reconciler: %s; trying again", error)

    def run(self, stop: threading.Event) -> None:
        """Look again and again until told to stop."""
        while not stop.is_set():
            self.tick()
            stop.wait(self._context.settings.worker.reconcile_s)


def work_until_idle(
    context: Context,
    on_job: Callable[[str, str], None] = lambda stage, subject: None,
    timeout_s: float = 3600,
) -> None:
    """Do everything that is to be done in this process: close studies, run jobs, until nothing is left.

    The same stages, job table and readiness as with workers; only nobody else is asked. Waits for
    studies to become quiet and for retries to become due.

    Raises
    ------
    TransientError
        If nothing was done for `timeout_s` and work is still left.
    """
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        ingest.close_quiet_studies(context)
        with context.reading() as session:
            due = due_job_ids(session, context.clock(), limit=1)
            name = session.get_one(JobRow, due[0]) if due else None
        if name is not None:
            on_job(name.stage, name.subject)
            run_job(name.id, context)
            end = time.monotonic() + timeout_s
            continue
        if is_idle(context):
            return
        time.sleep(min(0.05, context.settings.readiness.quiet_s / 4))
    raise TransientError(f"work is left after {timeout_s:g} s; see `tumorline status`")


def is_idle(context: Context) -> bool:
    """Whether no study is being received and no job waits or runs."""
    with context.reading() as session:
        receiving = session.scalar(
            select(func.count(StudyRow.id)).where(
                StudyRow.state.in_(("RECEIVING", "INGESTING", "INGESTING_INCOMPLETE"))
            )
        )
        jobs = session.scalar(select(func.count(JobRow.id)).where(JobRow.state.in_((SCHEDULED, IN_PROGRESS))))
    return not receiving and not jobs
