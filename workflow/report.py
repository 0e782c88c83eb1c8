"""Report: what is said about each time point becomes SEG, SR and PDF, checked before they may leave."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from enum import Enum
from math import isfinite
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.masks import unpack_mask
from db.tables import (
    AssessmentRow,
    LesionRow,
    ObservationRow,
    OverrideRow,
    ReportRow,
    ResultObjectRow,
    SignatureRow,
    TimePointRow,
)
from workflow.context import PIPELINE_VERSION, Context, audit
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Mask
from workflow.domain.lesion import Flag, LesionState, ModelIdentity
from workflow.domain.lesion_life import Override
from workflow.domain.report import (
    MeasuredVolume,
    PredecessorReport,
    ReportedLesion,
    ReviewStatus,
    TimePointReport,
)
from workflow.findings import AS_DRAWN, NOT_OUTLINED
from workflow.inference import series_paths
from workflow.ingest import series_from_json
from workflow.jobs import Job, enqueue
from workflow.ports import WrittenObject, WrittenResults
from workflow.recording import measurement_from_json
from workflow.response import SeenLesion, VisitAssessment, assess_visit, protocol_of, visit_day
from workflow.timeline import settle

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """What is said about a time point: the report, its identities, and its row if it was written already."""

    point: TimePointRow
    visit: VisitAssessment
    report: TimePointReport
    content: str
    draft: str
    known: int | None


def report_patient(job: Job, context: Context) -> None:
    """Assess all of a patient's time points, and write the reports that are missing or out of date.

    A report is known by the digest of what it says and depends on. The same report again is
    nothing new; another one is a new version whose SR names the one it replaces.
    """
    with context.reading() as session:
        points = points_with_lesions(session, int(job.subject))
        protocol = protocol_of(context.settings.response)
        overrides = overrides_of(session, int(job.subject))
        told = [_tell(session, point, points, assess_visit(points, point, protocol, overrides), context)
                for point in points]  # fmt: skip
    unsuitable = []
    for done, one in enumerate(told):
        job.report_progress(done / len(told), f"writing the report of {one.report.study_date}")
        try:
            if one.known is None:
                _write(one, [other.report for other in told[: done + 1]], context)
            else:
                _make_current(one, context)
        except UnsuitableInputError as error:  # one study that can't be written stops no other
            unsuitable.append(f"{one.report.study_date}: {error}")
    if unsuitable:
        raise UnsuitableInputError("; ".join(unsuitable))
    if len(told) > 1 and context.settings.results.course_report:
        _write_course(points[-1], [one.report for one in told], context)


def _write_course(latest: TimePointRow, course: Sequence[TimePointReport], context: Context) -> None:
    """Add the SR over all time points to the latest report, unless this very course is there already."""
    role = f"course-{_identity([report.identity for report in course])[:8]}"
    with context.reading() as session:
        row = session.get_one(TimePointRow, latest.id)
        report = row.report
        if report is None or any(o.role == role for o in report.objects):
            return
        reports = {
            own.report.identity: _srs_of(own.report)
            for own in points_with_lesions(session, row.patient_key)
            if own.report is not None
        }
        paths, folder = series_paths(session, row), Path(report.folder)
    image = context.images.read_volume(paths, series_from_json(latest.revision.series or {}))
    written = context.results.write_course(course, reports, [image], folder)
    with context.unit() as session:
        now = context.clock()
        for made in written.objects:
            path = made.path.replace(folder / f"{role}.dcm")
            _add_object(session.get_one(ReportRow, report.id), role, made, path, written.errors)
        enqueue(session, stage="deliver", subject=str(report.id), lane=f"report:{report.id}", due_at=now)


def _srs_of(report: ReportRow) -> list[WrittenObject]:
    """The time point's own SRs among a report's objects."""
    objects = [
        WrittenObject(
            role=row.role,
            path=Path(row.path),
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            series_instance_uid=row.series_instance_uid,
            study_instance_uid=row.study_instance_uid,
        )
        for row in report.objects
    ]
    return [made for made in objects if made.kind == "sr"]


def _add_object(report: ReportRow, role: str, made: WrittenObject, path: Path, errors: Sequence[str]) -> None:
    """Put an object into the outbox; what failed validation is kept there and not sent."""
    report.objects.append(
        ResultObjectRow(
            role=role,
            sop_instance_uid=made.sop_instance_uid,
            sop_class_uid=made.sop_class_uid,
            series_instance_uid=made.series_instance_uid,
            study_instance_uid=made.study_instance_uid,
            path=str(path),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            state="HELD" if errors else "PENDING",
            error="; ".join(errors),
        )
    )


def overrides_of(session: Session, patient_key: int) -> list[Override]:
    """All decisions that readers made about a patient's lesions."""
    rows = session.scalars(
        select(OverrideRow).where(OverrideRow.patient_key == patient_key).order_by(OverrideRow.made_at)
    )
    return [Override.from_dict(row.decision) for row in rows]


def points_with_lesions(session: Session, patient_key: int) -> list[TimePointRow]:
    """The time points that have something to report, in order."""
    rows = session.scalars(
        select(TimePointRow).where(TimePointRow.patient_key == patient_key).order_by(TimePointRow.order)
    )
    return [
        row
        for row in rows
        if row.analysis is not None and row.analysis.observations and row.study.state != "QUARANTINED"
    ]


def _make_current(told: Told, context: Context) -> None:
    with context.unit() as session:
        row = session.get_one(TimePointRow, told.point.id)
        row.report_id = told.known
        row.report = session.get_one(ReportRow, told.known)
        settle(row)


def _tell(
    session: Session,
    point: TimePointRow,
    points: Sequence[TimePointRow],
    visit: VisitAssessment,
    context: Context,
) -> Told:
    """What is to be said about one time point, and whether the newest report says it already."""
    analysis, series = point.analysis, series_from_json(point.revision.series or {})
    if analysis is None or point.study.study_date is None:
        raise ValueError(f"time point {point.id} has nothing to report")
    shown = sorted(
        (o for o in analysis.observations if o.tracking_uid in visit.lesions), key=lambda o: o.lesion.label
    )
    models = {
        json.dumps(o.model, sort_keys=True): model for o in shown if (model := _model_of(o)) is not None
    }
    days = sorted({visit_day(p, points) for p in points})
    day = visit_day(point, points)
    order = 1 + days.index(day)
    notes = (*analysis.notes, *point.revision.notes[1:])
    draft = _identity(
        {
            "pipeline": PIPELINE_VERSION,
            "study": point.study.study_instance_uid,
            "place": [order, (day - days[0]).days],
            "analysis": analysis.identity,
            "assessment": visit.sha256,
            "lesions": [[o.tracking_uid, o.lesion.label, o.state] for o in shown],
            "models": sorted(models),
            "notes": notes,
            "results": context.settings.results.model_dump(mode="json"),
        }
    )
    signature = session.get(SignatureRow, draft)
    content = draft
    if signature is not None:
        content = _identity([draft, signature.signed_by, signature.signed_at.isoformat()])
    reports = list(
        session.scalars(
            select(ReportRow).where(ReportRow.time_point_id == point.id).order_by(ReportRow.version)
        )
    )
    latest = reports[-1] if reports else None
    is_said = latest is not None and latest.content_identity == content
    # The same words after others are a new version: the PACS would show the others as the newest.
    was_said = any(report.identity == content for report in reports)
    identity = _identity([content, latest.identity]) if latest is not None and was_said else content
    predecessor = None if latest is None else latest.predecessor if is_said else latest
    a = visit.assessment
    report = TimePointReport(
        patient_key=str(point.patient_key),
        study_instance_uid=point.study.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        study_date=point.study.study_date,
        time_point_id=f"TP{order}",
        order=order,
        is_baseline=a.is_baseline,
        is_nadir=a.sum_um is not None and not a.is_baseline and (a.nadir_um is None or a.sum_um < a.nadir_um),
        identity=latest.identity if latest is not None and is_said else identity,
        lesions=tuple(_lesion(o, visit.lesions[o.tracking_uid]) for o in shown),
        assessment=visit.reported(),
        models=tuple(models[key] for key in sorted(models)),
        status=ReviewStatus.DRAFT if signature is None else ReviewStatus.SIGNED,
        signed_by=signature.signed_by if signature else None,
        signed_at=signature.signed_at if signature else None,
        version=1 if latest is None else latest.version if is_said else latest.version + 1,
        predecessors=tuple(
            PredecessorReport(study_instance_uid=sr.study_instance_uid, sop_instance_uid=sr.sop_instance_uid)
            for sr in (_srs_of(predecessor) if predecessor else [])
        ),
        volumes=(
            MeasuredVolume(
                study_instance_uid=series.study_instance_uid,
                study_date=point.study.study_date,
                series=series,
            ),
        ),
        # The revision's own time: the same report has the same bytes, however often it is written.
        created_at=point.revision.created_at,
        days_from_baseline=(day - days[0]).days,
        notes=notes,
    )
    return Told(
        point=point,
        visit=visit,
        report=report,
        content=content,
        draft=draft,
        known=latest.id if latest is not None and is_said else None,
    )


def _identity(told: object) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _lesion(row: ObservationRow, seen: SeenLesion) -> ReportedLesion:
    lesion: LesionRow = row.lesion
    size = measurement_from_json(row.measurement)
    state = seen.state or LesionState(row.state)
    if seen.diameter_um is not None:
        diameter_mm: float | None = seen.diameter_um / 1000
    elif size is not None and state is LesionState.PRESENT:
        diameter_mm = size.short_axis.length_mm if lesion.is_nodal else size.long_axis.length_mm
    else:
        diameter_mm = 0.0 if state is LesionState.DISAPPEARED else None
    return ReportedLesion(
        tracking_uid=row.tracking_uid,
        label=lesion.label,
        role=seen.role,
        state=state,
        is_nodal=lesion.is_nodal,
        organ=lesion.organ,
        finding_site=lesion.finding_site,
        finding_site_meaning=lesion.finding_site_meaning,
        laterality=lesion.laterality,
        mask=mask_of(row),
        measurement=size,
        diameter_mm=diameter_mm,
        response=seen.response,
        confidence=row.confidence,
        model=_model_of(row),
        prompt_source=row.prompt_source,
        reason=row.reason,
        flags=frozenset(Flag[name] for name in row.flags),
        expected_lps=(row.expected_lps[0], row.expected_lps[1], row.expected_lps[2])
        if row.expected_lps
        else None,
    )


def _model_of(row: ObservationRow) -> ModelIdentity | None:
    """What outlined the lesion; nothing did what a person drew."""
    model = ModelIdentity(**row.model)
    return None if model in (AS_DRAWN, NOT_OUTLINED) else model


def mask_of(row: ObservationRow) -> Mask | None:
    """The observation's mask on the grid of its time point's volume."""
    return unpack_mask(row.mask) if row.mask else None


def _write(told: Told, course: Sequence[TimePointReport], context: Context) -> None:
    """Write the objects into a folder that appears whole, then the rows that point to it."""
    point, report = told.point, told.report
    with context.reading() as session:
        paths = series_paths(session, session.get_one(TimePointRow, point.id))
        earlier = [
            sr
            for other in points_with_lesions(session, point.patient_key)
            if other.report is not None and other.report.identity in {r.identity for r in course[:-1]}
            for sr in _srs_of(other.report)
        ]
    image = context.images.read_volume(paths, series_from_json(point.revision.series or {}))
    results = context.settings.home / "results" / report.study_instance_uid
    folder, temporary = results / report.identity[:16], results / f".{report.identity[:16]}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    written = context.results.write(report, [image], course, temporary, earlier)
    (temporary / "report.json").write_text(json.dumps(report_to_json(report), indent=1), encoding="utf-8")
    if folder.exists():  # a run that was cut off between the folder and its rows
        shutil.rmtree(folder)
    temporary.rename(folder)
    with context.unit() as session:
        _record(session, told, written, folder, context)


def _record(session: Session, told: Told, written: WrittenResults, folder: Path, context: Context) -> None:
    now, report, visit = context.clock(), told.report, told.visit
    point = session.get_one(TimePointRow, told.point.id)
    assessment = session.scalar(
        select(AssessmentRow).where(
            AssessmentRow.time_point_id == point.id, AssessmentRow.sha256 == visit.sha256
        )
    )
    if assessment is None:
        assessment = AssessmentRow(
            time_point_id=point.id,
            analysis_id=point.analysis_id,
            sha256=visit.sha256,
            protocol=visit.course.protocol.to_dict(),
            result=visit.to_json(),
            created_at=now,
        )
        session.add(assessment)
        session.flush()
    row = ReportRow(
        time_point_id=point.id,
        assessment_id=assessment.id,
        identity=report.identity,
        content_identity=told.content,
        draft_identity=told.draft,
        version=report.version,
        status=report.status.value,
        created_at=now,
        document=report_to_json(report),
        folder=str(folder),
        findings=[*written.errors, *written.warnings],
        predecessor_id=point.report_id,
    )
    session.add(row)
    for made in written.objects:
        _add_object(row, made.role, made, folder / made.path.name, written.errors)
    session.flush()
    point.report_id, point.report = row.id, row
    settle(point)
    if written.errors:
        log.error("report %s is held: %s", report.identity[:16], "; ".join(written.errors))
    else:
        enqueue(session, stage="deliver", subject=str(row.id), lane=f"report:{row.id}", due_at=now)
    audit(
        session,
        now,
        actor="report",
        action="report",
        about=report.study_instance_uid,
        identity=report.identity,
        version=report.version,
        overall=report.assessment.overall,
    )


def report_to_json(report: TimePointReport) -> dict[str, Any]:
    """A report as people's scripts read it (report.json); masks are in the SEG.

    A number that is not known is null, also where a computation gave NaN.
    """

    def plain(value: Any) -> Any:
        match value:
            case float():
                return value if isfinite(value) else None
            case None | bool() | int() | str() if not isinstance(value, Enum):
                return value
            case Enum():
                return value.value
            case date():
                return value.isoformat() if not isinstance(value, datetime) else str(value)
            case MeasuredVolume():
                return _volume_to_json(value)
            case Mapping():
                return {name: plain(part) for name, part in value.items()}
            case frozenset():
                return sorted(plain(part) for part in value)
            case tuple() | list():
                return [plain(part) for part in value]
            case _ if is_dataclass(value):
                parts = {f.name: getattr(value, f.name) for f in fields(value)}
                return {name: plain(part) for name, part in parts.items() if not isinstance(part, Mask)}
        raise TypeError(f"a report holds no {type(value).__name__}")

    value: dict[str, Any] = plain(report)
    return value


def _volume_to_json(volume: MeasuredVolume) -> dict[str, Any]:
    series = volume.series
    return {
        "study_instance_uid": volume.study_instance_uid,
        "study_date": volume.study_date.isoformat(),
        "series_instance_uid": series.series_instance_uid,
        "stack": series.stack,
        "series": series.name,
        "modality": series.modality,
        "value_unit": series.value_unit,
    }
