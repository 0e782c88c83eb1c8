"""Facts of the database that must hold, whatever died on the way: `tumorline doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from db.jobs import CANCELED, IN_PROGRESS, SCHEDULED, database_now
from db.session import UnitOfWork
from db.tables import InstanceRow, JobRow, ReportRow, ResultObjectRow, StudyRow, TimePointRow
from workflow.domain.states import ResultState, StudyState, VisitState
from workflow.ports import JobFacts, KeptFile, Unaccounted

_AT_ONCE = 1000
# States that say by themselves what is missing.
_NAMED = frozenset({VisitState.AWAITING_PROMPTS, VisitState.NO_MATCH})
_STOPPED = ("dead", "lost", "unsuitable", "canceled")


@dataclass(frozen=True, kw_only=True)
class StoredExamination:
    """The port `workflow.ports.Examination` on the database."""

    reading: UnitOfWork

    def unaccounted(self) -> tuple[Unaccounted, ...]:
        """See `workflow.ports.Examination.unaccounted`."""
        with self.reading() as session:
            work = _Work(session)
            return (*_studies(session, work), *_visits(session, work), *_results(session, work))

    def files(self) -> Iterator[KeptFile]:
        """See `workflow.ports.Examination.files`."""
        for row, is_received in ((InstanceRow, True), (ResultObjectRow, False)):
            last = 0
            while True:
                with self.reading() as session:
                    page = session.execute(
                        select(row.id, row.path, row.sha256)
                        .where(row.id > last)
                        .order_by(row.id)
                        .limit(_AT_ONCE)
                    ).all()
                if not page:
                    break
                last = page[-1].id
                for one in page:
                    yield KeptFile(path=Path(one.path), sha256=one.sha256, is_received=is_received)

    def jobs(self) -> JobFacts:
        """See `workflow.ports.Examination.jobs`."""
        with self.reading() as session:
            now = database_now(session)
            ahead = (now - datetime.now(UTC)).total_seconds()
            silent = session.scalar(
                select(func.count(JobRow.id)).where(JobRow.state == IN_PROGRESS, JobRow.lease_until < now)
            )
            waiting = session.execute(
                select(JobRow.stage, func.min(JobRow.due_at))
                .where(JobRow.state == SCHEDULED, JobRow.due_at <= now)
                .group_by(JobRow.stage)
            )
            waiting_s = {stage: (now - _aware(oldest)).total_seconds() for stage, oldest in waiting}
            stopped = session.scalar(
                select(func.count(JobRow.id)).where(
                    JobRow.state == CANCELED, JobRow.outcome.in_(("dead", "lost"))
                )
            )
        return JobFacts(clock_ahead_s=ahead, silent=silent or 0, waiting_s=waiting_s, stopped=stopped or 0)

    def counts(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """See `workflow.ports.Examination.counts`."""
        with self.reading() as session:
            jobs = session.execute(
                select(JobRow.stage, JobRow.state, JobRow.outcome, func.count()).group_by(
                    JobRow.stage, JobRow.state, JobRow.outcome
                )
            )
            counts: dict[str, list[tuple[dict[str, str], float]]] = {
                "jobs": [
                    ({"stage": stage, "state": state, "outcome": outcome}, count)
                    for stage, state, outcome, count in jobs
                ]
            }
            for name, column in (
                ("studies", StudyRow.state),
                ("visits", TimePointRow.state),
                ("result_objects", ResultObjectRow.state),
            ):
                found = session.execute(select(column, func.count()).group_by(column))
                counts[name] = [({"state": state}, count) for state, count in found]
            counts["instances"] = [({}, session.scalar(select(func.count(InstanceRow.id))) or 0)]
        return counts

    def schema(self) -> tuple[str, str]:
        """See `workflow.ports.Examination.schema`."""
        with self.reading() as session:
            name = session.get_bind().dialect.name
            asked = "SELECT sqlite_version()" if name == "sqlite" else "SHOW server_version"
            version = session.scalar(text(asked))
            revision = session.scalar(text("SELECT version_num FROM alembic_version"))
        return f"{name} {version}", str(revision)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class _Work:
    """The jobs that wait or run, and those that were ended with a reason, by stage and subject."""

    def __init__(self, session: Session) -> None:
        self.to_do: set[tuple[str, str]] = set()
        self.stopped: set[tuple[str, str]] = set()
        jobs = select(JobRow.stage, JobRow.subject, JobRow.state).where(
            JobRow.state.in_((SCHEDULED, IN_PROGRESS)) | JobRow.outcome.in_(_STOPPED)
        )
        for stage, subject, state in session.execute(jobs):
            (self.stopped if state == CANCELED else self.to_do).add((stage, subject))

    def of_patient(self, key: int | None, visits: list[int]) -> bool:
        """Whether something is to be done for a patient that may yet change its visits."""
        return any((stage, str(key)) in self.to_do for stage in ("timeline", "report")) or any(
            ("infer", str(visit)) in self.to_do for visit in visits
        )


def _studies(session: Session, work: _Work) -> Iterator[Unaccounted]:
    rows = session.execute(
        select(
            StudyRow.id,
            StudyRow.study_instance_uid,
            StudyRow.state,
            StudyRow.reason,
            StudyRow.copy_of,
            StudyRow.patient_key,
            StudyRow.time_point_id,
            StudyRow.revisions.any().label("has_revision"),
        )
    ).all()
    for study in rows:
        state = StudyState(study.state)
        if state in (StudyState.INGESTING, StudyState.INGESTING_INCOMPLETE):
            if ("ingest", str(study.id)) not in work.to_do:
                yield Unaccounted(about=study.study_instance_uid, what="is to be ingested, and nobody will")
        elif state is StudyState.QUARANTINED and not study.reason:
            yield Unaccounted(about=study.study_instance_uid, what="is kept for a person without a reason")
        elif (
            state is StudyState.INGESTED
            and study.has_revision
            and study.time_point_id is None
            and not (study.copy_of or study.reason)
            and ("timeline", str(study.patient_key)) not in work.to_do
        ):
            yield Unaccounted(
                about=study.study_instance_uid, what="is on no timeline, and nobody will put it there"
            )


def _visits(session: Session, work: _Work) -> Iterator[Unaccounted]:
    rows = session.execute(
        select(
            TimePointRow.id,
            TimePointRow.patient_key,
            TimePointRow.state,
            TimePointRow.reason,
            TimePointRow.report_id,
            StudyRow.study_instance_uid,
        ).join(StudyRow, StudyRow.id == TimePointRow.study_id)
    ).all()
    of_patient: dict[int, list[int]] = {}
    for visit in rows:
        of_patient.setdefault(visit.patient_key, []).append(visit.id)
    for visit in rows:
        state = VisitState(visit.state)
        if state in (VisitState.FAILED, VisitState.QUARANTINED, VisitState.JOINED):
            if not visit.reason:
                yield Unaccounted(about=visit.study_instance_uid, what=f"is {state.value} without a reason")
        elif state in (VisitState.DRAFT, VisitState.SIGNED):
            if visit.report_id is None:
                yield Unaccounted(about=visit.study_instance_uid, what="is reported without a report")
        elif (
            state not in _NAMED
            and not work.of_patient(visit.patient_key, of_patient[visit.patient_key])
            and ("report", str(visit.patient_key)) not in work.stopped
            and ("timeline", str(visit.patient_key)) not in work.stopped
        ):
            yield Unaccounted(
                about=visit.study_instance_uid, what=f"is {state.value}, and nobody works on it"
            )


def _results(session: Session, work: _Work) -> Iterator[Unaccounted]:
    """Of each visit's current report: one SR per study, and every object delivered, on its way, or named."""
    rows = session.execute(
        select(
            ReportRow.id,
            ReportRow.identity,
            StudyRow.study_instance_uid,
            ResultObjectRow.role,
            ResultObjectRow.study_instance_uid.label("stored_in"),
            ResultObjectRow.state,
            ResultObjectRow.error,
        )
        .select_from(TimePointRow)
        .join(ReportRow, ReportRow.id == TimePointRow.report_id)
        .join(StudyRow, StudyRow.id == TimePointRow.study_id)
        .join(ResultObjectRow, ResultObjectRow.report_id == ReportRow.id, isouter=True)
        .order_by(ReportRow.id)
    ).all()
    seen: set[tuple[int, str, str]] = set()
    for made in rows:
        about = made.study_instance_uid
        if made.role is None:
            yield Unaccounted(about=about, what="has a report without a result object")
            continue
        if (made.id, made.role, made.stored_in) in seen:
            yield Unaccounted(about=about, what=f"has its {made.role} twice")
        seen.add((made.id, made.role, made.stored_in))
        state = ResultState(made.state)
        key = ("deliver", made.identity)
        if state in (ResultState.HELD, ResultState.REFUSED):
            if not made.error:
                yield Unaccounted(about=about, what=f"has its {made.role} {state.value} without a reason")
        elif state is not ResultState.VERIFIED and key not in work.to_do | work.stopped:
            yield Unaccounted(about=about, what=f"has its {made.role} {state.value}, and nobody delivers it")
