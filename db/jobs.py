"""The job table: ask for work, find what is due, claim it, end it, try it again, take it over.

The database is the truth and the broker a hint (design, decision 1): a lost or doubled message
costs nothing, because only a claimed row is worked on and only a due row can be claimed.
States are UPS's (PS3.4 CC.1.1): SCHEDULED, IN PROGRESS, COMPLETED, CANCELED.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, exists, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from db.session import UnitOfWork
from db.tables import JobRow, StudyRow
from workflow.domain.errors import ConflictError, TransientError, UnsuitableInputError
from workflow.domain.states import StudyState
from workflow.ports import Job
from workflow.settings import Worker

log = logging.getLogger(__name__)

SCHEDULED, IN_PROGRESS, COMPLETED, CANCELED = "SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"

Clock = Callable[[], datetime]
# Every process has a name of its own: two workers with one pid live in two containers.
WORKER_NAME = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


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
    """Jobs that can be claimed now, oldest first: due, and no other job of the lane is running.

    At most `limit` of each stage: what waits for an inference worker must not keep new studies waiting.
    """
    other = aliased(JobRow)
    busy = exists().where(other.lane == JobRow.lane, other.state == IN_PROGRESS)
    place = func.row_number().over(partition_by=JobRow.stage, order_by=(JobRow.due_at, JobRow.id))
    claimable = (
        select(JobRow.id, JobRow.due_at, place.label("place"))
        .where(JobRow.state == SCHEDULED, JobRow.due_at <= now, ~busy)
        .subquery()
    )
    query = (
        select(claimable.c.id).where(claimable.c.place <= limit).order_by(claimable.c.due_at, claimable.c.id)
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
    except ConflictError:
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
            cancel(row, "dead", now)
            if given_up is not None:
                given_up.append(Job(id=row.id, stage=row.stage, subject=row.subject, attempts=row.attempts))
            continue
        twin = session.scalar(
            select(JobRow.id).where(
                JobRow.stage == row.stage, JobRow.subject == row.subject, JobRow.state == SCHEDULED
            )
        )
        if twin is not None:  # the same work waits already
            cancel(row, "replaced", now)
        else:
            row.state, row.due_at, row.lease_until = SCHEDULED, now, None
        session.flush()
    return len(expired)


def replay(session: Session, job_id: int, now: datetime) -> None:
    """Put a cancelled job back into the queue, with its attempts forgotten.

    Raises
    ------
    UnsuitableInputError
        If there is no such job, or it was not cancelled.
    """
    row = session.get(JobRow, job_id)
    if row is None:
        raise UnsuitableInputError(f"there is no job {job_id}; `tumorline status` lists the stopped ones")
    if row.state != CANCELED:
        raise UnsuitableInputError(f"job {job_id} is {row.state}; only a cancelled one can be replayed")
    enqueue(session, stage=row.stage, subject=row.subject, lane=row.lane, due_at=now)
    row.outcome = "replayed"


def cancel(row: JobRow, outcome: str, now: datetime) -> None:
    """End a job for good without success; `outcome` says how."""
    row.state, row.outcome, row.ended_at, row.lease_until = CANCELED, outcome, now, None


def own(session: Session, job: Job) -> JobRow | None:
    """The job's row, if this process still holds it: a lease that was lost stays lost."""
    row = session.get_one(JobRow, job.id, with_for_update=True)
    if row.state == IN_PROGRESS and row.worker == WORKER_NAME and row.attempts == job.attempts:
        return row
    log.warning("job %d was taken over; this end of it does not count", job.id)
    return None


def end(unit: UnitOfWork, job: Job, state: str, outcome: str, error: str, now: datetime) -> None:
    """Write down how a job ended, if this process still holds it."""
    with unit() as session:
        if row := own(session, job):
            row.state, row.outcome, row.error = state, outcome, error
            row.ended_at, row.lease_until, row.progress = now, None, 1.0


def retry(unit: UnitOfWork, job: Job, error: str, now: datetime, settings: Worker) -> None:
    """Put a job back for later, with a wait that doubles."""
    # Never given up: a PACS that is down over a weekend gets its results on Monday.
    wait_s = min(settings.retry_base_s * 2.0 ** min(job.attempts - 1, 30), settings.retry_at_most_s)
    log.info("%s on %s waits %.0f s: %s", job.stage, job.subject, wait_s, error)
    with unit() as session:
        row = own(session, job)
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
            cancel(row, "replaced", now)
        else:
            row.state, row.lease_until = SCHEDULED, None
            row.due_at, row.error = now + timedelta(seconds=wait_s), error


def is_idle(session: Session) -> bool:
    """Whether no study is being received and no job waits or runs."""
    on_their_way = (StudyState.RECEIVING, StudyState.INGESTING, StudyState.INGESTING_INCOMPLETE)
    receiving = session.scalar(select(func.count(StudyRow.id)).where(StudyRow.state.in_(on_their_way)))
    jobs = session.scalar(select(func.count(JobRow.id)).where(JobRow.state.in_((SCHEDULED, IN_PROGRESS))))
    return not receiving and not jobs


@dataclass(frozen=True, kw_only=True)
class StoredJobs:
    """The port `workflow.ports.Jobs` on the database."""

    unit: UnitOfWork
    reading: UnitOfWork
    clock: Clock
    settings: Worker

    def due(self, limit: int) -> tuple[Job, ...]:
        """See `workflow.ports.Jobs.due`."""
        with self.reading() as session:
            rows = [session.get_one(JobRow, i) for i in due_job_ids(session, self.clock(), limit)]
            return tuple(
                Job(id=row.id, stage=row.stage, subject=row.subject, attempts=row.attempts) for row in rows
            )

    def stages(self, job_ids: Sequence[int]) -> dict[int, str]:
        """See `workflow.ports.Jobs.stages`."""
        with self.reading() as session:
            rows = session.execute(select(JobRow.id, JobRow.stage).where(JobRow.id.in_(job_ids)))
            stages = {row.id: row.stage for row in rows}
        return {job_id: stages[job_id] for job_id in job_ids if job_id in stages}

    def is_idle(self) -> bool:
        """See `workflow.ports.Jobs.is_idle`."""
        with self.reading() as session:
            return is_idle(session)

    def claim(self, job_id: int) -> Job | None:
        """See `workflow.ports.Jobs.claim`."""
        return claim(self.unit, job_id, self.clock, self.settings.lease_s)

    def beat(self, job: Job, share: float, doing: str) -> bool:
        """See `workflow.ports.Jobs.beat`."""
        with self.unit() as session:
            row = own(session, job)
            if row is None:
                return False
            row.lease_until = self.clock() + timedelta(seconds=self.settings.lease_s)
            row.progress, row.doing = share, doing
            return True

    def complete(self, job: Job) -> None:
        """See `workflow.ports.Jobs.complete`."""
        end(self.unit, job, COMPLETED, "", "", self.clock())

    def give_up(self, job: Job, outcome: str, error: str) -> None:
        """See `workflow.ports.Jobs.give_up`."""
        end(self.unit, job, CANCELED, outcome, error, self.clock())

    def retry(self, job: Job, error: str) -> None:
        """See `workflow.ports.Jobs.retry`."""
        retry(self.unit, job, error, self.clock(), self.settings)

    def take_over_expired(self) -> tuple[int, tuple[Job, ...]]:
        """See `workflow.ports.Jobs.take_over_expired`."""
        lost: list[Job] = []
        with self.unit() as session:
            taken = take_over_expired(session, self.clock(), self.settings.maximum_losses, lost)
        return taken, tuple(lost)

    def replay(self, job_id: int) -> None:
        """See `workflow.ports.Jobs.replay`."""
        with self.unit() as session:
            replay(session, job_id, self.clock())
