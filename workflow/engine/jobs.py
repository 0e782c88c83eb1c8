"""Carrying a job out: claim it, keep its lease while its stage works, and write down how it ended."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from workflow.domain.errors import ConfigurationError, ConflictError, TransientError, UnsuitableInputError
from workflow.ports import Job, Jobs
from workflow.settings import Worker

log = logging.getLogger(__name__)

Stage = Callable[[Job], None]
Failure = Callable[[Job, str], None]


def execute(
    job_id: int,
    stages: Mapping[str, Stage],
    jobs: Jobs,
    settings: Worker,
    failures: Mapping[str, Failure] | None = None,
) -> bool:
    """Claim a job and carry it out; its end is in its row. Return whether it was ours to do.

    `failures` has, by stage, what is to be done when a job ended for good without success: its subject
    must not look as if it were still being worked on.
    """
    job = jobs.claim(job_id)
    if job is None:
        return False
    try:
        with _heartbeat(job, jobs, settings.lease_s) as report_progress:
            stages[job.stage](replace(job, report_progress=report_progress))
    except ConflictError as error:
        if job.attempts < settings.maximum_losses:
            jobs.retry(job, str(error))
        else:
            _fail(jobs, job, "dead", traceback.format_exc(limit=-8), failures)
    except TransientError as error:
        jobs.retry(job, str(error))
    except (UnsuitableInputError, ConfigurationError) as error:
        log.warning("%s on %s stopped: %s", job.stage, job.subject, error)
        _fail(jobs, job, "unsuitable", str(error), failures)
    except Exception:  # the edge of the process: the bug is kept in the row for replay
        log.exception("%s on %s failed", job.stage, job.subject)
        _fail(jobs, job, "dead", traceback.format_exc(limit=-8), failures)
    else:
        jobs.complete(job)
    return True


def _fail(jobs: Jobs, job: Job, outcome: str, error: str, failures: Mapping[str, Failure] | None) -> None:
    on_failure = (failures or {}).get(job.stage)
    if on_failure is not None:
        reason = error if outcome == "unsuitable" else f"a defect of the software; see job {job.id}"
        on_failure(job, reason)
    jobs.give_up(job, outcome, error)


@contextmanager
def _heartbeat(job: Job, jobs: Jobs, lease_s: float) -> Iterator[Callable[[float, str], None]]:
    """Extend the lease while the stage works, and store its progress on the way.

    A stage that reports progress on a job that was taken over is stopped there (`TransientError`): another
    worker does the same now.
    """
    stop, is_lost = threading.Event(), threading.Event()
    latest: list[tuple[float, str]] = [(0.0, "")]

    def beat() -> None:
        while not stop.wait(min(lease_s / 4, 2.0)):
            try:
                if not jobs.beat(job, *latest[0]):
                    is_lost.set()
                    return
            except TransientError as error:
                log.warning("job %d: heartbeat missed: %s", job.id, error)

    def report_progress(share: float, what: str) -> None:
        latest[0] = (share, what)
        if is_lost.is_set():
            raise TransientError(f"job {job.id} was taken over by another worker")

    thread = threading.Thread(target=beat, name=f"heartbeat-{job.id}", daemon=True)
    thread.start()
    try:
        yield report_progress
    finally:
        stop.set()
        thread.join()
