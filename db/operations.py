"""What an operator sees of the database, and decides about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from db.audit import write_audit
from db.session import UnitOfWork
from db.tables import AuditRow, InstanceRow, JobRow, QuarantineRow, StudyRow
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.states import StudyState
from workflow.ports import AuditEntry
from workflow.ports.operations import KnownStudy

_HOURS = 24
# How many instances of a study are here, our own results left out.
_INSTANCES = (
    select(func.count(InstanceRow.id))
    .where(
        InstanceRow.study_instance_uid == StudyRow.study_instance_uid, InstanceRow.is_own_result.is_(False)
    )
    .correlate(StudyRow)
    .scalar_subquery()
)


@dataclass(frozen=True, kw_only=True)
class StoredOperations:
    """The port `workflow.ports.operations.Operations` on the database."""

    unit: UnitOfWork
    reading: UnitOfWork
    clock: Callable[[], datetime]

    def view(self, now: datetime) -> dict[str, Any]:
        """See `workflow.ports.operations.Operations.view`."""
        with self.reading() as session:
            return {
                "queues": _queues(session, now),
                "workers": _workers(session, now),
                "throughput": _throughput(session, now),
                "receiving": _receiving(session),
                "kept": _kept(session),
            }

    def audit(self, limit: int) -> list[dict[str, Any]]:
        """See `workflow.ports.operations.Operations.audit`."""
        with self.reading() as session:
            rows = session.scalars(select(AuditRow).order_by(AuditRow.id.desc()).limit(limit))
            return [
                {
                    "at": row.at.isoformat(),
                    "actor": row.actor,
                    "action": row.action,
                    "object": row.object,
                    "detail": row.detail,
                }
                for row in rows
            ]

    def study(self, study_instance_uid: str) -> KnownStudy | None:
        """See `workflow.ports.operations.Operations.study`."""
        with self.reading() as session:
            found = session.execute(
                select(StudyRow, _INSTANCES).where(StudyRow.study_instance_uid == study_instance_uid)
            ).one_or_none()
        if found is None:
            return None
        study, instances = found
        return KnownStudy(key=study.id, state=StudyState(study.state), instances=instances)

    def dismiss(self, entry: int, audit: AuditEntry) -> None:
        """See `workflow.ports.operations.Operations.dismiss`."""
        now = self.clock()
        with self.unit() as session:
            row = session.get(QuarantineRow, entry, with_for_update=True)
            if row is None or row.resolved_at is not None:
                raise UnsuitableInputError(f"nothing of number {entry} waits for a decision")
            row.resolved_at = now
            write_audit(session, [audit], now)

    def record(self, entries: Sequence[AuditEntry]) -> None:
        """See `workflow.ports.operations.Operations.record`."""
        with self.unit() as session:
            write_audit(session, entries, self.clock())


def _queues(session: Session, now: datetime) -> list[dict[str, Any]]:
    is_due = and_(JobRow.state == "SCHEDULED", JobRow.due_at <= now)
    rows = session.execute(
        select(
            JobRow.stage,
            func.count(case((is_due, 1))).label("due"),
            func.count(case((and_(JobRow.state == "SCHEDULED", JobRow.due_at > now), 1))).label("later"),
            func.count(case((JobRow.state == "IN PROGRESS", 1))).label("running"),
            func.min(case((is_due, JobRow.due_at))).label("since"),
        )
        .where(JobRow.state.in_(("SCHEDULED", "IN PROGRESS")))
        .group_by(JobRow.stage)
        .order_by(JobRow.stage)
    )
    return [
        {**row, "since": row["since"].isoformat() if row["since"] else None} for row in rows.mappings().all()
    ]


def _workers(session: Session, now: datetime) -> list[dict[str, Any]]:
    """Who ended or began a job in the last day; a worker that nothing was there for is not known."""
    rows = session.execute(
        select(
            JobRow.worker,
            func.max(JobRow.started_at).label("last_job_at"),
            func.count(case((JobRow.state == "COMPLETED", 1))).label("done"),
            func.count(case((JobRow.state == "IN PROGRESS", 1))).label("running"),
        )
        .where(JobRow.worker != "", _is_recent(now - timedelta(hours=_HOURS)))
        .group_by(JobRow.worker)
        .order_by(func.max(JobRow.started_at).desc())
    )
    return [{**row, "last_job_at": row["last_job_at"].isoformat()} for row in rows.mappings().all()]


def _is_recent(since: datetime) -> Any:
    return (JobRow.ended_at >= since) | (JobRow.state == "IN PROGRESS")


def _throughput(session: Session, now: datetime) -> dict[str, Any]:
    """How many jobs of each stage were done in each of the last hours, the present one last."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    hours = [this_hour - timedelta(hours=back) for back in reversed(range(_HOURS))]
    done: dict[str, Counter[datetime]] = {}
    # Counted here: no two databases cut a time to its hour alike.
    rows = session.execute(
        select(JobRow.stage, JobRow.ended_at).where(JobRow.ended_at >= hours[0], JobRow.state == "COMPLETED")
    )
    for stage, ended_at in rows:
        if ended_at is not None:
            done.setdefault(stage, Counter())[ended_at.replace(minute=0, second=0, microsecond=0)] += 1
    return {
        "hours": [hour.isoformat() for hour in hours],
        "stages": {stage: [counts[hour] for hour in hours] for stage, counts in sorted(done.items())},
    }


def _receiving(session: Session) -> list[dict[str, Any]]:
    studies = session.execute(
        select(StudyRow, _INSTANCES)
        .where(StudyRow.state == StudyState.RECEIVING)
        .order_by(StudyRow.first_received_at)
    )
    return [
        {
            "study_instance_uid": study.study_instance_uid,
            "study_description": study.description,
            "accession_number": study.accession_number,
            "instances": instances,
            "pacs_count": study.pacs_count,
            "first_received_at": study.first_received_at.isoformat(),
            "last_received_at": study.last_received_at.isoformat(),
            "waits_for": study.reason,
        }
        for study, instances in studies
    ]


def _kept(session: Session) -> list[dict[str, Any]]:
    rows = session.execute(
        select(QuarantineRow, StudyRow.id, StudyRow.state)
        .join(StudyRow, StudyRow.study_instance_uid == QuarantineRow.study_instance_uid, isouter=True)
        .where(QuarantineRow.resolved_at.is_(None))
        .order_by(QuarantineRow.id)
    ).all()
    keys = [str(key) for _, key, state in rows if state == StudyState.QUARANTINED]
    jobs = session.execute(
        select(JobRow.subject, func.max(JobRow.id).label("id"))
        .where(JobRow.stage == "ingest", JobRow.state == "CANCELED", JobRow.subject.in_(keys))
        .group_by(JobRow.subject)
    )
    stopped = {job.subject: job.id for job in jobs}
    return [
        {
            "id": kept.id,
            "what": kept.what,
            "reason": kept.reason,
            "path": kept.path,
            "study_instance_uid": kept.study_instance_uid,
            "kept_at": kept.kept_at.isoformat(),
            "difference": kept.difference,
            "job": None if kept.difference else stopped.get(str(key)),
        }
        for kept, key, _ in rows
    ]
