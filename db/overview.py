"""What people and scripts want to see of the database: the worklist, a patient's course, the state."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session, selectinload

from db.tables import (
    AnalysisRow,
    InstanceRow,
    JobRow,
    PatientRow,
    QuarantineRow,
    ReportRow,
    ResultObjectRow,
    StudyRow,
    TimePointRow,
)


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
            ReportRow.document["assessment", "overall"].as_string().label("overall_response"),
        )
        .join(StudyRow, StudyRow.id == TimePointRow.study_id)
        .join(ReportRow, ReportRow.id == TimePointRow.report_id, isouter=True)
        .order_by(TimePointRow.patient_key, TimePointRow.order)
    )
    for row in rows.mappings():
        point = {**row, "study_date": _iso(row["study_date"])}
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
        "time_points": [time_point(point) for point in _points(session, patient_key)],
    }


def time_point(point: TimePointRow) -> dict[str, Any]:
    """A time point with what is known of it; `report` is report.json, None until there is one."""
    report: ReportRow | None = point.report
    return {
        "id": report.document["time_point_id"] if report else None,
        "key": point.id,
        "order": point.order,
        "study_instance_uid": point.study.study_instance_uid,
        "study_date": _iso(point.study.study_date),
        "study_description": point.study.description,
        "accession_number": point.study.accession_number,
        "state": point.state,
        "reason": point.reason,
        "prior_study_instance_uid": point.prior.study.study_instance_uid if point.prior else None,
        "series_choice": point.revision.series_choice,
        "notes": [*point.revision.notes, *(point.analysis.notes if point.analysis else [])],
        "is_complete": point.revision.is_complete,
        "seconds": point.analysis.seconds if point.analysis else None,
        "report": report.document if report else None,
        "report_version": report.version if report else None,
        "objects": [
            {
                "role": result.role,
                "sop_instance_uid": result.sop_instance_uid,
                "state": result.state,
                "destination": result.destination,
                "path": result.path,
                "error": result.error,
            }
            for result in (report.objects if report else [])
        ],
    }


def system_status(session: Session) -> dict[str, Any]:
    """Counts of what waits, runs, failed and was kept for a person."""
    jobs = session.execute(
        select(JobRow.stage, JobRow.state, JobRow.outcome, func.count()).group_by(
            JobRow.stage, JobRow.state, JobRow.outcome
        )
    )
    running = session.scalars(select(JobRow).where(JobRow.state == "IN PROGRESS"))
    retrying = session.scalars(select(JobRow).where(JobRow.state == "SCHEDULED", JobRow.error != ""))
    stopped = session.scalars(
        select(JobRow).where(JobRow.state == "CANCELED", JobRow.outcome.in_(("dead", "unsuitable")))
    )
    kept = session.scalars(select(QuarantineRow).where(QuarantineRow.resolved_at.is_(None)))
    return {
        "instances": session.scalar(select(func.count(InstanceRow.id))),
        "studies": _counts(session, StudyRow.state),
        "jobs": [
            {"stage": stage, "state": state, "outcome": outcome, "count": count}
            for stage, state, outcome, count in jobs
        ],
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
        "outbox": _counts(session, ResultObjectRow.state),
        "quarantine": [
            {"id": q.id, "what": q.what, "reason": q.reason, "path": q.path, "kept_at": q.kept_at.isoformat()}
            for q in kept
        ],
    }


def _counts(session: Session, column: InstrumentedAttribute[str]) -> dict[str, int]:
    return {row[0]: row[1] for row in session.execute(select(column, func.count()).group_by(column))}


def readable_name(patient_name: str) -> str:
    """A person name as people write it: "Doe^Jane" is "Doe, Jane" (PS3.5 6.2.1)."""
    components = [part.strip() for part in patient_name.split("=")[0].split("^")]
    family, given = components[0], " ".join(part for part in components[1:3] if part)
    return f"{family}, {given}" if family and given else family or given


def _points(session: Session, patient_key: int) -> list[TimePointRow]:
    """A patient's time points with what `time_point` reads, and without the masks."""
    rows = session.scalars(
        select(TimePointRow)
        .where(TimePointRow.patient_key == patient_key)
        .order_by(TimePointRow.order)
        .options(
            selectinload(TimePointRow.analysis).lazyload(AnalysisRow.observations),
            selectinload(TimePointRow.report).selectinload(ReportRow.objects),
        )
    )
    return list(rows)


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None
