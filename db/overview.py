"""What people and scripts want to see of the database: the worklist, a patient's course, the state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, selectinload

from db.priors import priors_of
from db.session import UnitOfWork
from db.tables import (
    AnalysisRow,
    InstanceRow,
    JobRow,
    PatientEventRow,
    PatientRow,
    QuarantineRow,
    ReportRow,
    ResultObjectRow,
    StudyRow,
    TimePointRow,
)
from workflow.domain.patient import readable_name
from workflow.domain.states import StudyState, VisitState


def worklist(session: Session) -> list[dict[str, Any]]:
    """One entry per patient, the one with the latest study first; its time points in short.

    Two statements, however many patients there are: the page asks for this every few seconds.
    """
    points: dict[int, list[dict[str, Any]]] = {}
    rows = session.execute(
        select(
            TimePointRow.patient_key,
            TimePointRow.id.label("key"),
            TimePointRow.order,
            StudyRow.study_instance_uid,
            StudyRow.study_date,
            StudyRow.description.label("study_description"),
            StudyRow.accession_number,
            TimePointRow.state,
            TimePointRow.reason,
            TimePointRow.attention,
            ReportRow.document["assessment", "overall"].as_string().label("overall_response"),
        )
        .join(StudyRow, StudyRow.id == TimePointRow.study_id)
        .join(ReportRow, ReportRow.id == TimePointRow.report_id, isouter=True)
        .where(TimePointRow.state != VisitState.JOINED)
        .order_by(TimePointRow.patient_key, TimePointRow.order)
    )
    for row in rows.mappings():
        point = {**row, "study_date": iso(row["study_date"]), "attention": list(row["attention"] or ())}
        points.setdefault(point.pop("patient_key"), []).append(point)
    entries = [
        {
            "patient_key": patient.id,
            "patient_id": patient.patient_id,
            "patient_name": readable_name(patient.patient_name),
            "time_points": (known := points.get(patient.id, [])),
            "latest_study_date": max((p["study_date"] or "" for p in known), default=""),
        }
        for patient in session.scalars(select(PatientRow))
    ]
    return sorted(entries, key=lambda e: (e["latest_study_date"], e["patient_key"]), reverse=True)


def patient_course(session: Session, patient_key: int) -> dict[str, Any]:
    """A patient's timeline with lesions, assessments and result objects (timeline.json)."""
    patient = session.get_one(PatientRow, patient_key)
    return {
        "patient_key": patient.id,
        "patient_id": patient.patient_id,
        "issuer_of_patient_id": patient.issuer_of_patient_id,
        "patient_name": readable_name(patient.patient_name),
        "priors": priors_of(session, patient_key),
        "time_points": [time_point(point) for point in _points(session, patient_key)],
        "studies_on_no_visit": _studies_on_no_visit(session, patient_key),
        "events": _events(session, patient_key),
    }


def _studies_on_no_visit(session: Session, patient_key: int) -> list[dict[str, Any]]:
    """The patient's studies that no visit is made of, with the reason."""
    rows = session.scalars(
        select(StudyRow)
        .where(StudyRow.patient_key == patient_key, StudyRow.time_point_id.is_(None))
        .order_by(StudyRow.study_date, StudyRow.study_instance_uid)
    )
    return [
        {
            "study_instance_uid": study.study_instance_uid,
            "study_date": iso(study.study_date),
            "study_description": study.description,
            "state": study.state,
            "reason": study.reason or (copy_words(study.copy_of) if study.copy_of else ""),
        }
        for study in rows
    ]


def copy_words(original_uid: str) -> str:
    """Why a study that came twice is on no timeline."""
    return f"holds the images of study {original_uid} again, under a new UID: it is not measured twice"


def _events(session: Session, patient_key: int) -> list[dict[str, Any]]:
    rows = session.scalars(
        select(PatientEventRow)
        .where(PatientEventRow.patient_key == patient_key)
        .order_by(PatientEventRow.day, PatientEventRow.id)
    )
    return [
        {
            "key": event.id,
            "day": event.day.isoformat(),
            "kind": event.kind,
            "text": event.text,
            "author": event.author,
            "created_at": event.created_at.isoformat(),
        }
        for event in rows
    ]


def time_point(point: TimePointRow) -> dict[str, Any]:
    """A visit with what is known of it; `report` is report.json, None until there is one.

    `study_instance_uid`, `study_date` and so on are those of its first study; `studies` has them all.
    """
    report: ReportRow | None = point.report
    studies = [_study(study) for study in point.studies or [point.study]]
    return {
        "id": report.document["time_point_id"] if report else None,
        "key": point.id,
        "order": point.order,
        "study_instance_uid": point.study.study_instance_uid,
        "study_date": min((s["study_date"] for s in studies if s["study_date"]), default=None),
        "study_description": ", ".join(dict.fromkeys(s["study_description"] for s in studies)),
        "accession_number": point.study.accession_number,
        "state": point.state,
        "reason": point.reason,
        "attention": list(point.attention or ()),
        "prior_study_instance_uid": point.prior.study.study_instance_uid if point.prior else None,
        "studies": studies,
        "series_choice": [line for study in studies for line in study["series_choice"]],
        "notes": [
            *(note for study in studies for note in study["notes"]),
            *(point.analysis.notes if point.analysis else []),
        ],
        "is_complete": all(study["is_complete"] for study in studies),
        "seconds": point.analysis.seconds if point.analysis else None,
        "report": report.document if report else None,
        "report_version": report.version if report else None,
        "objects": [
            {
                "role": result.role,
                "sop_instance_uid": result.sop_instance_uid,
                "study_instance_uid": result.study_instance_uid,
                "state": result.state,
                "destination": result.destination,
                "path": result.path,
                "error": result.error,
            }
            for result in (report.objects if report else [])
        ],
    }


def _study(study: StudyRow) -> dict[str, Any]:
    revision = study.revisions[-1] if study.revisions else None
    return {
        "study_instance_uid": study.study_instance_uid,
        "study_date": iso(study.study_date),
        "dated_by": study.dated_by,
        "study_description": study.description,
        "accession_number": study.accession_number,
        "series_choice": revision.series_choice if revision else [],
        "notes": list(revision.notes) if revision else [],
        "is_complete": revision.is_complete if revision else True,
    }


def work_now(session: Session) -> dict[str, Any]:
    """What runs, waits after an error, stopped, or was kept for a person."""
    running = session.scalars(select(JobRow).where(JobRow.state == "IN PROGRESS"))
    retrying = session.scalars(select(JobRow).where(JobRow.state == "SCHEDULED", JobRow.error != ""))
    stopped = session.scalars(
        select(JobRow).where(JobRow.state == "CANCELED", JobRow.outcome.in_(("dead", "lost", "unsuitable")))
    )
    kept = session.scalars(select(QuarantineRow).where(QuarantineRow.resolved_at.is_(None)))
    return {
        "running": [
            {"id": j.id, "stage": j.stage, "subject": j.subject, "progress": j.progress, "doing": j.doing}
            for j in running
        ],
        "retrying": [
            {
                "id": j.id,
                "stage": j.stage,
                "subject": j.subject,
                "attempts": j.attempts,
                "error": j.error,
                "due_at": j.due_at.isoformat(),
            }
            for j in retrying
        ],
        "stopped": [
            {"id": j.id, "stage": j.stage, "subject": j.subject, "outcome": j.outcome, "error": j.error}
            for j in stopped
        ],
        "quarantine": [
            {"id": q.id, "what": q.what, "reason": q.reason, "path": q.path, "kept_at": q.kept_at.isoformat()}
            for q in kept
        ],
    }


def system_status(session: Session) -> dict[str, Any]:
    """What `work_now` says, counts, and what a person has to look at."""
    jobs = session.execute(
        select(JobRow.stage, JobRow.state, JobRow.outcome, func.count()).group_by(
            JobRow.stage, JobRow.state, JobRow.outcome
        )
    )
    return {
        **work_now(session),
        "attention": _attention(session),
        "instances": session.scalar(select(func.count(InstanceRow.id))),
        "studies": _counts(session, StudyRow.state),
        "jobs": [
            {"stage": stage, "state": state, "outcome": outcome, "count": count}
            for stage, state, outcome, count in jobs
        ],
        "outbox": _counts(session, ResultObjectRow.state),
    }


def _attention(session: Session) -> list[dict[str, Any]]:
    """What a person has to look at, visit by visit, and studies that are on no timeline."""
    visits = session.execute(
        select(
            TimePointRow.patient_key, StudyRow.study_instance_uid, StudyRow.study_date, TimePointRow.attention
        )
        .join(StudyRow, StudyRow.id == TimePointRow.study_id)
        .where(TimePointRow.attention.is_not(None))
        .order_by(TimePointRow.patient_key, TimePointRow.order)
    )
    lines = [
        {"patient_key": key, "study_instance_uid": uid, "study_date": iso(day), "text": text}
        for key, uid, day, texts in visits
        for text in texts
    ]
    original = aliased(StudyRow)
    is_copy = exists().where(
        original.study_instance_uid == StudyRow.copy_of,
        original.patient_key == StudyRow.patient_key,
        original.state != StudyState.QUARANTINED,
    )
    beside = session.scalars(
        select(StudyRow)
        .where(StudyRow.state == StudyState.INGESTED, or_(is_copy, StudyRow.reason != ""))
        .order_by(StudyRow.patient_key, StudyRow.study_instance_uid)
    )
    for study in beside:
        text = study.reason or copy_words(study.copy_of or "")
        line = {"study_instance_uid": study.study_instance_uid, "study_date": iso(study.study_date)}
        lines.append({"patient_key": study.patient_key, **line, "text": text})
    return lines


def _counts(session: Session, column: InstrumentedAttribute[str]) -> dict[str, int]:
    return {row[0]: row[1] for row in session.execute(select(column, func.count()).group_by(column))}


def _points(session: Session, patient_key: int) -> list[TimePointRow]:
    """A patient's time points with what `time_point` reads, and without the masks."""
    rows = session.scalars(
        select(TimePointRow)
        .where(TimePointRow.patient_key == patient_key, TimePointRow.state != VisitState.JOINED)
        .order_by(TimePointRow.order)
        .options(
            selectinload(TimePointRow.studies).selectinload(StudyRow.revisions),
            selectinload(TimePointRow.analysis).lazyload(AnalysisRow.observations),
            selectinload(TimePointRow.report).selectinload(ReportRow.objects),
        )
    )
    return list(rows)


def iso(day: date | None) -> str | None:
    """A day as JSON has it."""
    return day.isoformat() if day else None


@dataclass(frozen=True, kw_only=True)
class StoredOverview:
    """The port `workflow.ports.Overview` on the database."""

    reading: UnitOfWork

    def check(self) -> None:
        """See `workflow.ports.Overview.check`."""
        with self.reading() as session:
            session.execute(select(1))

    def worklist(self) -> list[dict[str, Any]]:
        """See `workflow.ports.Overview.worklist`."""
        with self.reading() as session:
            return worklist(session)

    def status(self) -> dict[str, Any]:
        """See `workflow.ports.Overview.status`."""
        with self.reading() as session:
            return system_status(session)

    def work(self) -> dict[str, Any]:
        """See `workflow.ports.Overview.work`."""
        with self.reading() as session:
            return work_now(session)

    def course(self, patient_key: int) -> dict[str, Any] | None:
        """See `workflow.ports.Overview.course`."""
        with self.reading() as session:
            if session.get(PatientRow, patient_key) is None:
                return None
            return patient_course(session, patient_key)

    def courses(self) -> list[dict[str, Any]]:
        """See `workflow.ports.Overview.courses`."""
        with self.reading() as session:
            keys = session.scalars(select(PatientRow.id).order_by(PatientRow.patient_id, PatientRow.id))
            return [patient_course(session, key) for key in list(keys)]

    def key_image(self, visit_key: int, tracking_uid: str) -> Path | None:
        """See `workflow.ports.Overview.key_image`."""
        report = self._report(visit_key)
        lesions = report.document["lesions"] if report else []
        if report is None or tracking_uid not in {lesion["tracking_uid"] for lesion in lesions}:
            return None
        return Path(report.folder) / f"{tracking_uid}.png"

    def overview_image(self, visit_key: int, number: int = 1) -> Path | None:
        """See `workflow.ports.Overview.overview_image`."""
        report = self._report(visit_key)
        if report is None:
            return None
        return Path(report.folder) / ("overview.png" if number == 1 else f"overview-{number}.png")

    def _report(self, visit_key: int) -> ReportRow | None:
        with self.reading() as session:
            # The newest report need not be the current one: a withdrawn decision brings an older one back.
            return session.scalar(
                select(ReportRow)
                .join(TimePointRow, TimePointRow.report_id == ReportRow.id)
                .where(TimePointRow.id == visit_key)
            )

    def key_image_folders(self, patient_key: int) -> dict[int, Path]:
        """See `workflow.ports.Overview.key_image_folders`."""
        with self.reading() as session:
            found = session.execute(
                select(TimePointRow.id, ReportRow.folder)
                .join(ReportRow, ReportRow.id == TimePointRow.report_id)
                .where(TimePointRow.patient_key == patient_key)
            )
            return {key: Path(folder) for key, folder in found}

    def result_object(self, sop_instance_uid: str) -> Path | None:
        """See `workflow.ports.Overview.result_object`."""
        with self.reading() as session:
            path = session.scalar(
                select(ResultObjectRow.path).where(ResultObjectRow.sop_instance_uid == sop_instance_uid)
            )
        return Path(path) if path else None
