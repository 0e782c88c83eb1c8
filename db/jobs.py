"""The job table: ask for work, find what is due, claim it, end it, try it again, take it over.

The database is the truth and the broker a hint (design, decision 1): a lost or doubled message
costs nothing, because only a claimed row is worked on and only a due row can be claimed.
States are UPS's (PS3.4 CC.1.1): SCHEDULED, IN PROGRESS, COMPLETED, CANCELED.

Every time in it is the database's own: one clock says what is due and whose lease is over, however far
those of the hosts are apart.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, exists, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from db.session import UnitOfWork
from db.tables import JobRow, StudyRow
from workflow.domain.errors import CanceledError, ConflictError, TransientError, UnsuitableInputError
from workflow.domain.states import Priority, StudyState
from workflow.ports import Ending, Job
from workflow.settings import Worker

log = logging.getLogger(__name__)

SCHEDULED, IN_PROGRESS, COMPLETED, CANCELED = "SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"

Clock = Callable[[Session], datetime]
# Every process has a name of its own: two workers with one pid live in two containers.
WORKER_NAME = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
# No delay and no lease is longer on purpose, beside what the settings say.
_LONGEST_DELAY_S = 60.0


def database_now(session: Session) -> datetime:
    """The time on the database's clock; on SQLite that is the one host's."""
    if session.get_bind().dialect.name == "sqlite":
        text = session.scalar(select(func.strftime("%Y-%m-%d %H:%M:%f", "now")))
        return datetime.fromisoformat(str(text)).replace(tzinfo=UTC)
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now.astimezone(UTC)


def enqueue(
    session: Session,
    *,
    stage: str,
    subject: str,
    lane: str,
    delay_s: float = 0.0,
    priority: Priority = Priority.NORMAL,
    clock: Clock = database_now,
) -> None:
    """Ask for a stage on a subject; one that waits is enough, one that runs is followed by another.

    It is at least as urgent as the job that runs in its lane: the chain goes on as it began.

    Raises
    ------
    TransientError
        If others ask for, and begin, the same work again and again in the meantime.
    """
    now = clock(session)
    due_at = now + timedelta(seconds=delay_s)
    running = session.scalar(
        select(JobRow.priority).where(JobRow.lane == lane, JobRow.state == IN_PROGRESS).limit(1)
    )
    urgency = min(int(priority), running or int(priority))
    for _ in range(5):
        # Locked, so that it begins only after this transaction: it must see what this one writes.
        waiting = session.scalar(
            select(JobRow)
            .where(JobRow.stage == stage, JobRow.subject == subject, JobRow.state == SCHEDULED)
            .with_for_update()
        )
        if waiting is not None:
            waiting.due_at = min(waiting.due_at, due_at)
            waiting.priority = min(waiting.priority, urgency)
            return
        try:
            with session.begin_nested():
                session.add(
                    JobRow(
                        stage=stage,
                        subject=subject,
                        lane=lane,
                        due_at=due_at,
                        created_at=now,
                        state=SCHEDULED,
                        priority=urgency,
                    )
                )
            return
        except IntegrityError:
            log.debug("%s on %s was asked for at the same moment", stage, subject)
    raise TransientError(f"{stage} on {subject} could not be queued beside others that ask for it; try again")


def due_job_ids(session: Session, now: datetime, stages: Collection[str] = (), limit: int = 100) -> list[int]:
    """Jobs (of some stages, or all) that can be claimed now: due, and no other job of the lane is running.

    The most urgent first, then what waits longest; at most `limit`.
    """
    other = aliased(JobRow)
    busy = exists().where(other.lane == JobRow.lane, other.state == IN_PROGRESS)
    claimable = select(JobRow.id).where(
        JobRow.state == SCHEDULED, JobRow.due_at <= now, JobRow.cancel_reason.is_(None), ~busy
    )
    if stages:
        claimable = claimable.where(JobRow.stage.in_(stages))
    return list(session.scalars(claimable.order_by(JobRow.priority, JobRow.due_at, JobRow.id).limit(limit)))


def claim(unit: UnitOfWork, job_id: int, lease_s: float, clock: Clock = database_now) -> Job | None:
    """Take a due job for this process, or None if it is not due, taken, or its lane is busy."""
    try:
        with unit() as session:
            now = clock(session)
            take = (
                update(JobRow)
                .where(
                    and_(
                        JobRow.id == job_id,
                        JobRow.state == SCHEDULED,
                        JobRow.due_at <= now,
                        JobRow.cancel_reason.is_(None),
                    )
                )
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
            if session.execute(take).rowcount != 1:  # type: ignore[attr-defined]
                return None
            return _job(session.get_one(JobRow, job_id))
    except ConflictError:
        return None  # another job of the lane is running


def _job(row: JobRow) -> Job:
    return Job(id=row.id, stage=row.stage, subject=row.subject, attempts=row.attempts, losses=row.losses)


def mend_times(session: Session, now: datetime, settings: Worker) -> None:
    """Bring back what the database's clock, set back in the meantime, would keep waiting for too long."""
    lease, wait = (
        timedelta(seconds=settings.lease_s),
        timedelta(seconds=settings.retry_at_most_s + _LONGEST_DELAY_S),
    )
    session.execute(
        update(JobRow)
        .where(JobRow.state == IN_PROGRESS, JobRow.lease_until > now + 2 * lease)
        .values(lease_until=now + lease)  # whoever lives extends it
    )
    session.execute(
        update(JobRow).where(JobRow.state == SCHEDULED, JobRow.due_at > now + wait).values(due_at=now)
    )


def _expired(session: Session, now: datetime) -> Sequence[JobRow]:
    query = select(JobRow).where(
        JobRow.state == IN_PROGRESS, or_(JobRow.lease_until < now, JobRow.lease_until.is_(None))
    )
    # What is locked: its worker is just writing its end.
    return session.scalars(query.with_for_update(skip_locked=True)).all()


def take_over_expired(session: Session, now: datetime, maximum_losses: int) -> int:
    """Put jobs of workers that went silent back into the queue, but not those that keep killing them."""
    taken = 0
    for row in _expired(session, now):
        if row.losses + 1 >= maximum_losses:
            continue
        row.losses += 1
        _put_back(session, row, now, _silent(row))
        taken += 1
    return taken


def keep_killing(session: Session, now: datetime, maximum_losses: int, lease_s: float) -> list[Ending]:
    """Take the jobs of silent workers that were lost too often, to end them."""
    ending = []
    for row in _expired(session, now):
        if row.losses + 1 < maximum_losses:
            continue
        reason = f"{_silent(row)}; given up after {row.losses + 1} times"
        row.worker, row.lease_until = WORKER_NAME, now + timedelta(seconds=lease_s)
        ending.append(Ending(job=_job(row), outcome="lost", reason=reason))
    return ending


def _silent(row: JobRow) -> str:
    return f"its worker {row.worker} went silent" + (f" while {row.doing}" if row.doing else "")


def _put_back(session: Session, row: JobRow, due_at: datetime, error: str) -> None:
    """Let a job wait again; if the same work waits already, that is enough."""
    twin = session.scalar(
        select(JobRow).where(
            JobRow.stage == row.stage, JobRow.subject == row.subject, JobRow.state == SCHEDULED
        )
    )
    if twin is not None:
        twin.attempts, twin.losses = max(twin.attempts, row.attempts), max(twin.losses, row.losses)
        twin.priority, twin.due_at = min(twin.priority, row.priority), max(twin.due_at, due_at)
        cancel(row, "replaced", due_at)
    else:
        row.state, row.due_at, row.lease_until, row.error = SCHEDULED, due_at, None, error
    session.flush()


def request_cancel(session: Session, job_id: int, reason: str) -> None:
    """Ask for the end of a job that waits or runs.

    Raises
    ------
    UnsuitableInputError
        If there is no such job, or it ended already.
    """
    row = session.get(JobRow, job_id, with_for_update=True)
    if row is None:
        raise UnsuitableInputError(
            f"there is no job {job_id}; `tumorline status` lists those that wait or run"
        )
    if row.state in (COMPLETED, CANCELED):
        raise UnsuitableInputError(f"job {job_id} is {row.state} already; nothing is left to cancel")
    row.cancel_reason = reason


def replay(session: Session, job_id: int, clock: Clock = database_now) -> None:
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
    enqueue(
        session,
        stage=row.stage,
        subject=row.subject,
        lane=row.lane,
        priority=Priority(row.priority),
        clock=clock,
    )
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
    settings: Worker
    clock: Clock = database_now

    def due(self, stages: Collection[str], limit: int) -> tuple[Job, ...]:
        """See `workflow.ports.Jobs.due`."""
        with self.reading() as session:
            ids = due_job_ids(session, self.clock(session), stages, limit)
            return tuple(_job(session.get_one(JobRow, i)) for i in ids)

    def is_idle(self) -> bool:
        """See `workflow.ports.Jobs.is_idle`."""
        with self.reading() as session:
            return is_idle(session)

    def claim(self, job_id: int) -> Job | None:
        """See `workflow.ports.Jobs.claim`."""
        return claim(self.unit, job_id, self.settings.lease_s, self.clock)

    def beat(self, job: Job, share: float, doing: str) -> bool:
        """See `workflow.ports.Jobs.beat`."""
        with self.unit() as session:
            row = own(session, job)
            if row is None:
                return False
            row.lease_until = self.clock(session) + timedelta(seconds=self.settings.lease_s)
            row.progress, row.doing = share, doing
            reason = row.cancel_reason
        if reason is not None:
            raise CanceledError(reason)
        return True

    def complete(self, job: Job) -> None:
        """See `workflow.ports.Jobs.complete`."""
        with self.unit() as session:
            if row := own(session, job):
                row.state, row.outcome, row.error, row.progress = COMPLETED, "", "", 1.0
                row.ended_at, row.lease_until = self.clock(session), None

    def give_up(self, job: Job, outcome: str, error: str) -> None:
        """See `workflow.ports.Jobs.give_up`."""
        with self.unit() as session:
            row = session.get_one(JobRow, job.id, with_for_update=True)
            is_waiting = row.state == SCHEDULED and row.cancel_reason is not None
            if is_waiting or own(session, job):
                cancel(row, outcome, self.clock(session))
                row.error = error

    def retry(self, job: Job, error: str, *, is_loss: bool = False) -> None:
        """See `workflow.ports.Jobs.retry`."""
        # Never given up: a PACS that is down over a weekend gets its results on Monday.
        s = self.settings
        wait_s = min(s.retry_base_s * 2.0 ** min(job.attempts - 1, 30), s.retry_at_most_s)
        log.info("%s on %s waits %.0f s: %s", job.stage, job.subject, wait_s, error)
        with self.unit() as session:
            if row := own(session, job):
                row.losses += is_loss
                _put_back(session, row, self.clock(session) + timedelta(seconds=wait_s), error)

    def put_back(self, job: Job) -> None:
        """See `workflow.ports.Jobs.put_back`."""
        with self.unit() as session:
            if row := own(session, job):
                row.attempts -= 1
                _put_back(session, row, self.clock(session), "")

    def take_over_expired(self) -> int:
        """See `workflow.ports.Jobs.take_over_expired`."""
        with self.unit() as session:
            now = self.clock(session)
            mend_times(session, now, self.settings)
            return take_over_expired(session, now, self.settings.maximum_losses)

    def to_be_ended(self) -> tuple[Ending, ...]:
        """See `workflow.ports.Jobs.to_be_ended`."""
        with self.unit() as session:
            ending = keep_killing(
                session, self.clock(session), self.settings.maximum_losses, self.settings.lease_s
            )
            canceled = session.scalars(
                select(JobRow).where(JobRow.state == SCHEDULED, JobRow.cancel_reason.is_not(None))
            )
            ending += [
                Ending(job=_job(row), outcome="canceled", reason=row.cancel_reason or "") for row in canceled
            ]
        return tuple(ending)

    def hurry(self, lanes: Collection[str], priority: Priority) -> None:
        """See `workflow.ports.Jobs.hurry`."""
        with self.unit() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.state == SCHEDULED, JobRow.lane.in_(lanes), JobRow.priority > priority)
                .values(priority=int(priority))
            )

    def cancel(self, job_id: int, reason: str) -> None:
        """See `workflow.ports.Jobs.cancel`."""
        with self.unit() as session:
            request_cancel(session, job_id, reason)

    def replay(self, job_id: int) -> None:
        """See `workflow.ports.Jobs.replay`."""
        with self.unit() as session:
            replay(session, job_id, self.clock)
