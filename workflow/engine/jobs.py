"""Carrying a job out: claim it, keep its lease while its stage works, and write down how it ended."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from workflow.domain.errors import (
    CanceledError,
    ConfigurationError,
    ConflictError,
    GoneError,
    ProcessLostError,
    StoppedError,
    TransientError,
    UnsuitableInputError,
    WorkflowError,
)
from workflow.ports import Ending, Job, Jobs
from workflow.settings import Worker

log = logging.getLogger(__name__)

Stage = Callable[[Job], None]
Failure = Callable[[Job, str], None]


class StageDefectError(Exception):
    """A stage failed in a way that nobody foresaw, in another process; the message is its traceback."""


def never() -> bool:
    """Nobody asks this process to end."""
    return False


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Carries jobs out, each by its stage, and writes down how they ended.

    `failures` has, by stage, what is to be done when a job ended for good without success: its subject
    must not look as if it were still being worked on. `must_end` says whether this process is to end now:
    the job in hand is put back at its next report of progress.
    """

    stages: Mapping[str, Stage]
    failures: Mapping[str, Failure]
    jobs: Jobs
    settings: Worker
    must_end: Callable[[], bool] = never

    def run(self, job_id: int) -> bool:
        """Claim a job and carry it out. Return whether it was ours to do."""
        job = self.jobs.claim(job_id)
        if job is None:
            return False
        self._carry_out(job)
        return True

    def run_next(self, stages: Collection[str]) -> bool:
        """Carry out the most urgent job of some stages. Return whether there was one to be had."""
        # Several, because others reach for the first one too.
        return any(self.run(job.id) for job in self.jobs.due(stages, limit=8))

    def end(self, ending: Ending) -> None:
        """End a job for good: first where people look, then in the table: none must look busy for ever."""
        self._fail(ending.job, ending.outcome, ending.reason, _words(ending.outcome, ending.reason))

    def _carry_out(self, job: Job) -> None:
        try:
            with _heartbeat(job, self.jobs, self.settings.lease_s, self.must_end) as report_progress:
                self.stages[job.stage](replace(job, report_progress=report_progress))
        except Exception as error:  # the edge of the process: what nobody foresaw is kept for replay
            told = traceback.format_exc(limit=-8)
            self._patiently(partial(self._write_down, job, error, told))
        else:
            self._patiently(partial(self.jobs.complete, job))

    def _write_down(self, job: Job, error: Exception, told: str) -> None:
        """Write down how a job ended that did not succeed."""
        reason = str(error)
        match error:
            case StoppedError():
                self.jobs.put_back(job)
            case CanceledError():
                self._fail(job, "canceled", reason, _words("canceled", reason))
            case ProcessLostError() if job.losses + 1 >= self.settings.maximum_losses:
                words = f"{reason}; given up after {job.losses + 1} times"
                self._fail(job, "lost", words, words)
            case ConflictError() if job.attempts >= self.settings.maximum_losses:
                self._defect(job, told)
            case TransientError():
                self.jobs.retry(job, reason, is_loss=isinstance(error, ProcessLostError))
            case GoneError():
                log.info("%s on %s: %s", job.stage, job.subject, reason)
                self.jobs.give_up(job, "gone", reason)
            case UnsuitableInputError() | ConfigurationError():
                self._fail(job, "unsuitable", reason, reason)
            case StageDefectError():
                self._defect(job, reason)
            case _:
                self._defect(job, told)

    def _defect(self, job: Job, told: str) -> None:
        self._fail(job, "dead", told, f"a defect of the software; see job {job.id}")

    def _fail(self, job: Job, outcome: str, error: str, reason: str) -> None:
        log.warning("%s on %s ends as %s: %s", job.stage, job.subject, outcome, error)
        on_failure = self.failures.get(job.stage)
        if on_failure is not None:
            try:
                on_failure(job, reason)
            except TransientError:
                raise
            except Exception:  # the job must end all the same, or it would be begun for ever
                log.exception("the end of job %d could not be shown", job.id)
        self.jobs.give_up(job, outcome, error)

    def _patiently(self, write: Callable[[], None]) -> None:
        """Write, however long the database is away: what was done must not be done, or blamed, again."""
        while True:
            try:
                return write()
            except TransientError as error:
                log.warning("the end of a job waits: %s", error)
                if self.must_end():
                    return None  # its lease runs out, and it is done again
                time.sleep(_PATIENCE_S)


_PATIENCE_S = 1.0


def _words(outcome: str, reason: str) -> str:
    return f"canceled: {reason}" if outcome == "canceled" else reason


@contextmanager
def _heartbeat(
    job: Job, jobs: Jobs, lease_s: float, must_end: Callable[[], bool]
) -> Iterator[Callable[[float, str], None]]:
    """Extend the lease while the stage works, and store its progress on the way.

    A stage that reports progress on a job that was taken over or canceled, or in a process that must end, is
    stopped there.
    """
    done = threading.Event()
    latest: list[tuple[float, str]] = [(0.0, "")]
    ended: list[WorkflowError] = []

    def beat() -> None:
        while not done.wait(min(lease_s / 4, 2.0)):
            try:
                if not jobs.beat(job, *latest[0]):
                    ended.append(TransientError(f"job {job.id} was taken over by another worker"))
                    return
            except CanceledError as error:
                ended.append(error)
                return
            except TransientError as error:
                log.warning("job %d: heartbeat missed: %s", job.id, error)

    def report_progress(share: float, what: str) -> None:
        latest[0] = (share, what)
        if ended:
            raise ended[0]
        if must_end():
            raise StoppedError(f"job {job.id} is put back: this process ends")

    thread = threading.Thread(target=beat, name=f"heartbeat-{job.id}", daemon=True)
    thread.start()
    try:
        yield report_progress
    finally:
        done.set()
        thread.join()
