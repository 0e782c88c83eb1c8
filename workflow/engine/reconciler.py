"""The reconciler: looks at what is, not at what was announced, and sets in motion what should be."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from workflow import delivery, inference, ingest, priors, report, timeline
from workflow.domain.errors import TransientError
from workflow.engine.context import Context
from workflow.engine.jobs import Failure, Stage, execute

log = logging.getLogger(__name__)

Announce = Callable[[Sequence[int]], None]
# A message that was not answered by a claim for this long is taken for lost and sent again.
_ANNOUNCE_AGAIN_S = 10.0
# Of each stage; more than any site's workers take at once: each announces what comes after its own job.
_ANNOUNCED_AT_ONCE = 16


def stages(context: Context) -> dict[str, Stage]:
    """Every stage that a job can name."""
    return {
        "ingest": lambda job: ingest.ingest(job, context),
        "priors": lambda job: priors.seek_priors(job, context),
        "fetch": lambda job: priors.fetch_prior(job, context),
        "timeline": lambda job: timeline.update_timeline(job, context),
        "infer": lambda job: inference.infer(job, context),
        "report": lambda job: report.report_patient(job, context),
        "deliver": lambda job: delivery.deliver(job, context),
    }


def failures(context: Context) -> dict[str, Failure]:
    """What a job that ended for good without success leaves on the worklist."""
    return {
        "ingest": lambda job, reason: ingest.fail(job, reason, context),
        "fetch": lambda job, reason: priors.give_up(job, reason, context),
        "infer": lambda job, reason: inference.give_up(job, reason, context),
    }


def run_job(job_id: int, context: Context) -> bool:
    """Carry out one job if it can be claimed; see `workflow.engine.jobs.execute`."""
    return execute(job_id, stages(context), context.jobs, context.settings.worker, failures(context))


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
            taken, lost = context.jobs.take_over_expired()
            for job in lost:
                if (on_failure := failures(context).get(job.stage)) is not None:
                    on_failure(job, f"it ended its worker {context.settings.worker.maximum_losses} times")
            if taken:
                log.warning("%d jobs of silent workers were taken over", taken)
            due = [job.id for job in context.jobs.due(limit=_ANNOUNCED_AT_ONCE)]
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
        due = context.jobs.due(limit=1)
        if due:
            on_job(due[0].stage, due[0].subject)
            run_job(due[0].id, context)
            end = time.monotonic() + timeout_s
            continue
        if context.jobs.is_idle():
            return
        time.sleep(min(0.05, context.settings.readiness.quiet_s / 4))
    raise TransientError(f"work is left after {timeout_s:g} s; see `tumorline status`")
