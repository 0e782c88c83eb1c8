"""The job table at work: enqueue, claim, heartbeat, finish, retry, take over.

The database is the truth and the broker a hint (design, decision 1): a lost or doubled message
costs nothing, because only a claimed row is worked on and only a due row can be claimed.
States are UPS's (PS3.4 CC.1.1): SCHEDULED, IN PROGRESS, COMPLETED, CANCELED.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import and_, exists, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from db.session import UnitOfWork
from db.tables import JobRow
from workflow.domain.errors import ConfigurationError, TransientError, UnsuitableInputError
from workflow.settings import Worker

log = logging.getLogger(__name__)

SCHEDULED, IN_PROGRESS, COMPLETED, CANCELED = "SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"

Clock = Callable[[], datetime]
# Every process has a name of its own: two workers with one pid live in two containers.
WORKER_NAME = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A claimed job, as its stage sees it."""

    id: int
    stage: str
    subject: str
    attempts: int
    report_progress: Callable[[float, str], None] = field(default=lambda share, what: None)


Stage = Callable[[Job], None]
Failure = Callable[[Job, str], None]


def enqueue(session: Session, *, stage: str, subject: str, lane: str, due_at: datetime) -> None:
    """Ask for a stage on a subject; one that waits is enough, one that runs is followed by another.

    Raises
    ------
    TransientError
        If others ask for, and begin, the same work again and again in the meantime.
    """
    for _ in range(5):
        # Locked, so that it begins only after this transaction: it must see what this one writes.
        waiting = session.scalar(
            select(JobRow)
            .where(JobRow.stage == stage, JobRow.subject == subject, JobRow.state == SCHEDULED)
            .with_for_update()
        )
        if waiting is not None:
            waiting.due_at = min(waiting.due_at, due_at)
            return
        try:
            with session.begin_nested():
                session.add(
                    JobRow(
                        stage=stage,
                        subject=subject,
                        lane=lane,
                        due_at=due_at,
                        created_at=due_at,
                        state=SCHEDULED,
                    )
                )
            return
        except IntegrityError:
            log.debug("%s on %s was asked for at the same moment", stage, subject)
    raise TransientError(f"{stage} on {subject} could not be queued beside others that ask for it; try again")


def due_job_ids(session: Session, now: datetime, limit: int = 100) -> list[int]:
    """Jobs that can be claimed now, oldest first: due, and no other job of the lane is running."""
    other = aliased(JobRow)
    busy = exists().where(other.lane == JobRow.lane, other.state == IN_PROGRESS)
    query = (
        select(JobRow.id)
        .where(JobRow.state == SCHEDULED, JobRow.due_at <= now, ~busy)
        .order_by(JobRow.due_at, JobRow.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def claim(unit: UnitOfWork, job_id: int, clock: Clock, lease_s: float) -> Job | None:
    """Take a due job for this process, or None if it is not due, taken, or its lane is busy."""
    now = clock()
    take = (
        update(JobRow)
        .where(and_(JobRow.id == job_id, JobRow.state == SCHEDULED, JobRow.due_at <= now))
        .values(
            state=IN_PROGRESS,
            attempts=JobRow.attempts + 1,
            worker=WORKER_NAME,
            lease_until=now + timedelta(seconds=lease_s),
            started_at=now,
            progress=0.0,
            doing="",
            error="",
        )
    )
    try:
        with unit() as session:
            if session.execute(take).rowcount != 1:  # type: ignore[attr-defined]
                return None
            row = session.get_one(JobRow, job_id)
            return Job(id=row.id, stage=row.stage, subject=row.subject, attempts=row.attempts)
    except IntegrityError:
        return None  # another job of the lane is running


def take_over_expired(
    session: Session, now: datetime, maximum_losses: int, given_up: list[Job] | None = None
) -> int:
    """Put jobs of workers that went silent back into the queue; give up on one that keeps killing them.

    Those are added to `given_up`.
    """
    expired = list(
        session.scalars(
            select(JobRow)
            .where(JobRow.state == IN_PROGRESS, or_(JobRow.lease_until < now, JobRow.lease_until.is_(None)))
            .with_for_update(skip_locked=True)  # its worker is just writing its end
        )
    )
    for row in expired:
        row.error = f"worker {row.worker} went silent"
        row.losses += 1
        if row.losses >= maximum_losses:
            _cancel(row, "dead", now)
            if given_up is not None:
                given_up.append(Job(id=row.id, stage=row.stage, subject=row.subject, attempts=row.attempts))
            continue
        twin = session.scalar(
            select(JobRow.id).where(
                JobRow.stage == row.stage, JobRow.subject == row.subject, JobRow.state == SCHEDULED
            )
        )
        if twin is not None:  # the same work waits already
            _cancel(row, "replaced", now)
        else:
            row.state, row.due_at, row.lease_until = SCHEDULED, now, None
        session.flush()
    return len(expired)


def execute(
    job_id: int,
    stages: Mapping[str, Stage],
    unit: UnitOfWork,
    clock: Clock,
    settings: Worker,
    failures: Mapping[str, Failure] | None = None,
) -> bool:
    """Claim a job and carry it out; its end is in its row. Return whether it was ours to do.

    `failures` has, by stage, what is to be done when a job ended for good without success: its subject
    must not look as if it were still being worked on.
    """
    job = claim(unit, job_id, clock, settings.lease_s)
    if job is None:
        return False
    try:
        with _heartbeat(job, unit, clock, settings.lease_s) as report_progress:
            stages[job.stage](
                Job(
                    id=job.id,
                    stage=job.stage,
                    subject=job.subject,
                    attempts=job.attempts,
                    report_progress=report_progress,
                )
            )
    except TransientError as error:
        _retry(unit, job, str(error), clock(), settings)
    except IntegrityError as error:  # another worker wrote the same at the same moment; if not, it is a bug
        if job.attempts < settings.maximum_losses:
            _retry(unit, job, f"written twice at once ({type(error.orig).__name__})", clock(), settings)
        else:
            _fail(unit, job, "dead", traceback.format_exc(limit=-8), clock(), failures)
    except (UnsuitableInputError, ConfigurationError) as error:
        log.warning("%s on %s stopped: %s", job.stage, job.subject, error)
        _fail(unit, job, "unsuitable", str(error), clock(), failures)
    except Exception:  # the edge of the process: the bug is kept in the row for replay
        log.exception("%s on %s failed", job.stage, job.subject)
        _fail(unit, job, "dead", traceback.format_exc(limit=-8), clock(), failures)
    else:
        _end(unit, job, COMPLETED, "", "", clock())
    return True


def replay(session: Session, job_id: int, now: datetime) -> None:
    """Put a cancelled job back into the queue, with its attempts forgotten.

    Raises
    ------
    ValueError
        If the job was not cancelled.
    """
    row = session.get_one(JobRow, job_id)
    if row.state != CANCELED:
        raise ValueError(f"job {job_id} is {row.state}; only a cancelled one can be replayed")
    enqueue(session, stage=row.stage, subject=row.subject, lane=row.lane, due_at=now)
    row.outcome = "replayed"


def _fail(
    unit: UnitOfWork,
    job: Job,
    outcome: str,
    error: str,
    now: datetime,
    failures: Mapping[str, Failure] | None,
) -> None:
    on_failure = (failures or {}).get(job.stage)
    if on_failure is not None:
        reason = error if outcome == "unsuitable" else f"a defect of the software; see job {job.id}"
        on_failure(job, reason)
    _end(unit, job, CANCELED, outcome, error, now)


def _cancel(row: JobRow, outcome: str, now: datetime) -> None:
    row.state, row.outcome, row.ended_at, row.lease_until = CANCELED, outcome, now, None


def _own(session: Session, job: Job) -> JobRow | None:
    """The job's row, if this process still holds it: a lease that was lost stays lost."""
    row = session.get_one(JobRow, job.id, with_for_update=True)
    if row.state == IN_PROGRESS and row.worker == WORKER_NAME and row.attempts == job.attempts:
        return row
    log.warning("job %d was taken over; this end of it does not count", job.id)
    return None


def _end(unit: UnitOfWork, job: Job, state: str, outcome: str, error: str, now: datetime) -> None:
    with unit() as session:
        if row := _own(session, job):
            row.state, row.outcome, row.error = state, outcome, error
            row.ended_at, row.lease_until, row.progress = now, None, 1.0


def _retry(unit: UnitOfWork, job: Job, error: str, now: datetime, settings: Worker) -> None:
    # Never given up: a PACS that is down over a weekend gets its results on Monday.
    wait_s = min(settings.retry_base_s * 2.0 ** min(job.attempts - 1, 30), settings.retry_at_most_s)
    log.info("%s on %s waits %.0f s: %s", job.stage, job.subject, wait_s, error)
    with unit() as session:
        row = _own(session, job)
        if row is None:
            return
        twin = session.scalar(
            select(JobRow).where(
                JobRow.stage == row.stage, JobRow.subject == row.subject, JobRow.state == SCHEDULED
            )
        )
        if twin is not None:
            twin.attempts = max(twin.attempts, row.attempts)
            twin.due_at = max(twin.due_at, now + timedelta(seconds=wait_s))
            _cancel(row, "replaced", now)
        else:
            row.state, row.lease_until = SCHEDULED, None
            row.due_at, row.error = now + timedelta(seconds=wait_s), error


@contextmanager
def _heartbeat(
    job: Job, unit: UnitOfWork, clock: Clock, lease_s: float
) -> Iterator[Callable[[float, str], None]]:
    """Extend the lease while the stage works, and store its progress on the way.

    A stage that reports progress on a job that was taken over is stopped there (`TransientError`): another
    worker does the same now.
    """
    stop, is_lost = threading.Event(), threading.Event()
    latest: list[tuple[float, str]] = [(0.0, "")]

    def beat() -> None:
        while not stop.wait(min(lease_s / 4, 2.0)):
            try:
                with unit() as session:
                    row = _own(session, job)
                    if row is None:
                        is_lost.set()
                        return
                    row.lease_until = clock() + timedelta(seconds=lease_s)
                    row.progress, row.doing = latest[0]
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
