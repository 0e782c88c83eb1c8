"""The reconciler: looks at what is, not at what was announced, and sets in motion what should be."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from workflow import board, delivery, inference, ingest, priors, report, timeline
from workflow.domain.errors import TransientError
from workflow.domain.states import Priority
from workflow.engine.context import Context
from workflow.engine.jobs import Failure, Runner, Stage
from workflow.ports import Jobs
from workflow.settings import PIPELINE_QUEUE, Settings

log = logging.getLogger(__name__)

# Tells some of the workers of a queue, as many as the number says, that there is something to do.
Announce = Callable[[str, int], None]
# A message that was not answered by a claim for this long is taken for lost and sent again.
_ANNOUNCE_AGAIN_S = 10.0
_ANNOUNCE_AT_LEAST_EVERY_S = 300.0
# The next one, over a weekend too.
_BOARD_IS_SOON = timedelta(days=3)
_LOOK_AT_BOARDS_EVERY_S = 10.0
# Of each queue; more than any site's workers take at once: each goes on until nothing is left.
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
        "board": lambda job: board.write_packet(job, context),
    }


def failures(context: Context) -> dict[str, Failure]:
    """What a job that ended for good without success leaves on the worklist."""
    return {
        "ingest": lambda job, reason: ingest.fail(job, reason, context),
        "fetch": lambda job, reason: priors.give_up(job, reason, context),
        "infer": lambda job, reason: inference.give_up(job, reason, context),
        "board": lambda job, reason: board.give_up_packet(job, reason, context),
    }


# Carried out in the worker itself; the others decode what strangers sent, or compute, and get a process of
# their own (docs/decisions/processes.md).
LIGHT_STAGES = frozenset({"timeline", "deliver", "priors"})
_PIPELINE_STAGES = frozenset({"ingest", "priors", "fetch", "timeline", "report", "deliver", "board"})


def queues(settings: Settings) -> Mapping[str, frozenset[str]]:
    """The queues and the stages of each."""
    return {PIPELINE_QUEUE: _PIPELINE_STAGES, settings.worker.inference_queue: frozenset({"infer"})}


def runner(context: Context, own_stages: Mapping[str, Stage] | None = None, **more: Any) -> Runner:
    """What carries jobs out here; `own_stages` replace those of this process."""
    return Runner(
        stages={**stages(context), **(own_stages or {})},
        failures=failures(context),
        jobs=context.jobs,
        settings=context.settings.worker,
        **more,
    )


class Reconciler:
    """Closes quiet studies, takes over the jobs of dead workers, tells workers of due jobs."""

    def __init__(self, context: Context, announce: Announce) -> None:
        self._context, self._runner = context, runner(context)
        self._announcements = {
            queue: _Announcements(queue, stages, announce)
            for queue, stages in queues(context.settings).items()
        }
        self._trusts_leases_from = self._boards_at = 0.0

    def tick(self) -> None:
        """Look once at everything; what goes wrong with one part stops no other."""
        for look in (self._close_studies, self._take_over, self._end, self._hurry, self._announce):
            try:
                look()
            except TransientError as error:
                # While the database was away no worker could extend its lease.
                self._trusts_leases_from = time.monotonic() + self._context.settings.worker.lease_s
                log.warning("reconciler: %s; trying again", error)
            except Exception:  # the edge of the process
                log.exception("reconciler: trying again")

    def _close_studies(self) -> None:
        ingest.close_quiet_studies(self._context)

    def _take_over(self) -> None:
        if time.monotonic() >= self._trusts_leases_from and (taken := self._context.jobs.take_over_expired()):
            log.warning("%d jobs of silent workers were taken over", taken)

    def _end(self) -> None:
        if time.monotonic() >= self._trusts_leases_from:
            for ending in self._context.jobs.to_be_ended():
                self._runner.end(ending)

    def _hurry(self) -> None:
        """Whoever a board looks at soon comes before the others."""
        if time.monotonic() < self._boards_at:
            return
        self._boards_at = time.monotonic() + _LOOK_AT_BOARDS_EVERY_S
        boards, today = self._context.boards, self._context.clock().date()
        soon = [one.day for one in boards.days() if today <= one.day <= today + _BOARD_IS_SOON]
        lanes = {f"patient:{entry.patient_key}" for day in soon for entry in boards.agenda(day).entries}
        if lanes:
            self._context.jobs.hurry(lanes, Priority.BOARD)

    def _announce(self) -> None:
        for announcements in self._announcements.values():
            announcements.look(self._context.jobs)

    def run(self, stop: threading.Event) -> None:
        """Look again and again until told to stop."""
        while not stop.is_set():
            self.tick()
            stop.wait(self._context.settings.worker.reconcile_s)


class _Announcements:
    """What the workers of one queue were told, and when to tell them again.

    A message only wakes a worker, which then takes the most urgent job itself. As long as nobody takes what
    was announced, messages become rarer: a queue that no worker serves must not fill a broker's disk.
    """

    def __init__(self, queue: str, stages: frozenset[str], announce: Announce) -> None:
        self._queue, self._stages, self._announce = queue, stages, announce
        self._known: frozenset[int] = frozenset()
        self._last, self._wait_s = 0.0, _ANNOUNCE_AGAIN_S

    def look(self, jobs: Jobs) -> None:
        """Announce what is new, and what waits for too long."""
        due = frozenset(job.id for job in jobs.due(self._stages, limit=_ANNOUNCED_AT_ONCE))
        if self._known - due:  # somebody took one
            self._wait_s = _ANNOUNCE_AGAIN_S
        new, moment = due - self._known, time.monotonic()
        if new:
            self._announce(self._queue, len(new))
        elif due and moment - self._last > self._wait_s:
            self._announce(self._queue, len(due))
            self._wait_s = min(2 * self._wait_s, _ANNOUNCE_AT_LEAST_EVERY_S)
        else:
            self._known = due
            return
        self._known, self._last = due, moment


def work_until_idle(
    context: Context,
    on_job: Callable[[str, str], None] = lambda stage, subject: None,
    timeout_s: float = 3600,
) -> None:
    """Do everything that is to be done in this process: close studies, run jobs, until nothing is left.

    The same stages, job table and readiness as with workers; only nobody else is asked, and no limit ends
    a stage: a person waits for it. Waits for studies to become quiet and for retries to become due.

    Raises
    ------
    TransientError
        If nothing was done for `timeout_s` and work is still left.
    """
    here = runner(context)
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        ingest.close_quiet_studies(context)
        for ending in context.jobs.to_be_ended():
            here.end(ending)
        due = context.jobs.due((), limit=1)
        if due:
            on_job(due[0].stage, due[0].subject)
            here.run(due[0].id)
            end = time.monotonic() + timeout_s
            continue
        if context.jobs.is_idle():
            return
        time.sleep(min(0.05, context.settings.readiness.quiet_s / 4))
    raise TransientError(f"work is left after {timeout_s:g} s; see `tumorline status`")
