"""Report: what is said about each visit becomes SEG, SR and PDF, checked before they may leave."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from workflow.documents.report import report_to_json
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.findings import AS_DRAWN, NOT_OUTLINED
from workflow.domain.lesion import LesionState, ModelIdentity
from workflow.domain.lesion_life import Decision, in_force
from workflow.domain.record import (
    Observation,
    PatientRecord,
    ReportContent,
    ReportVersion,
    Revision,
    Signature,
    StoredObject,
    Visit,
    digest,
    kind_of_role,
)
from workflow.domain.report import (
    LesionRole,
    MeasuredVolume,
    PredecessorReport,
    ReportedDecision,
    ReportedLesion,
    ReviewStatus,
    TimePointReport,
)
from workflow.domain.series import SeriesDescription
from workflow.domain.series_choice import measurable_stacks
from workflow.domain.states import ResultState
from workflow.engine.context import PIPELINE_VERSION, Context
from workflow.inference import stack_paths
from workflow.ports import (
    AuditEntry,
    Changed,
    ImageStack,
    Job,
    NewJob,
    ReceivedFile,
    WrittenObject,
    WrittenResults,
)
from workflow.response import (
    SeenLesion,
    VisitAssessment,
    assess_visit,
    decisions_at,
    placed_decisions,
    protocol_of,
)
from workflow.timeline import settle

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """What is said about a visit: the report, its identities, and the version that says it already."""

    anchor: str
    studies: tuple[str, ...]
    assessed: VisitAssessment
    report: TimePointReport
    content: str
    draft: str
    known: str | None


def report_patient(job: Job, context: Context) -> None:
    """Assess all of a patient's visits, and write the reports that are missing or out of date.

    A report is known by the digest of what it says and depends on. The same report again is
    nothing new; another one is a new version whose SR names the one it replaces.
    """
    patient_key = int(job.subject)
    record = context.records.load(patient_key)
    told = tell(record, context)
    unsuitable = []
    for done, one in enumerate(told):
        job.report_progress(done / len(told), f"writing the report of {one.report.study_date}")
        try:
            if one.known is None:
                # With what was just written of earlier visits: it is evidence of this one.
                record = _write(record, one, [other.report for other in told[: done + 1]], context)
            else:
                record = context.records.change(patient_key, partial(_made_current, told=one))
        except UnsuitableInputError as error:  # one visit that can't be written stops no other
            unsuitable.append(f"{one.report.study_date}: {error}")
    if unsuitable:
        raise UnsuitableInputError("; ".join(unsuitable))
    if len(told) > 1 and context.settings.results.course_report:
        _write_course(patient_key, told, context)


def tell(record: PatientRecord, context: Context) -> list[Told]:
    """What is to be said about each visit that shows lesions, in order."""
    return [tell_visit(record, visit, context) for visit in record.reported]


def tell_visit(record: PatientRecord, visit: Visit, context: Context) -> Told:
    """What is to be said about one visit that shows lesions."""
    protocol = protocol_of(context.settings.response)
    return _tell(record, visit, assess_visit(record, visit, protocol, placed_decisions(record)), context)


def _made_current(record: PatientRecord, told: Told) -> Changed | None:
    visit = next((v for v in record.standing if v.anchor == told.anchor), None)
    if visit is None:
        return None
    changed = _settled(replace(visit, current_report=told.known), record, told.assessed)
    is_same = (changed.current_report, changed.state, changed.reason, changed.attention) == (
        visit.current_report,
        visit.state,
        visit.reason,
        visit.attention,
    )
    return None if is_same else Changed(record=record.with_visit(changed))


def _settled(visit: Visit, record: PatientRecord, assessed: VisitAssessment) -> Visit:
    visit = settle(visit, record)
    return replace(visit, attention=tuple(dict.fromkeys((*visit.attention, *assessed.doubts))))


# ---------------------------------------------------------------- what is said


def _tell(record: PatientRecord, visit: Visit, assessed: VisitAssessment, context: Context) -> Told:
    """What is to be said about one visit, and whether the newest report says it already."""
    analysis = visit.analysis
    if analysis is None:
        raise ValueError(f"visit {visit.anchor} has nothing to report")
    rejected = _rejected(record)
    shown = sorted(
        (
            o
            for o in analysis.observations
            if o.tracking_uid in assessed.lesions or o.tracking_uid in rejected
        ),
        key=lambda o: record.lesions[o.tracking_uid].label,
    )
    counted = [o for o in shown if o.tracking_uid not in rejected]
    used = [model for o in counted if (model := _model_of(o)) is not None]
    models = {json.dumps(_plain(model), sort_keys=True): model for model in used}
    days = [record.day_of(v) for v in record.reported]
    day = record.day_of(visit)
    order = 1 + days.index(day)
    volumes = _volumes(record, visit, shown)
    notes = [
        *analysis.notes,
        *(note for study in record.studies_of(visit) if study.revision for note in study.revision.notes[1:]),
        *_dates(record, visit),
    ]
    attention = _settled(visit, record, assessed).attention
    decisions = decisions_at(record, visit, assessed)
    draft = digest(
        {
            "pipeline": PIPELINE_VERSION,
            "studies": list(visit.studies),
            "place": [order, (day - days[0]).days],
            "analysis": analysis.identity,
            "assessment": assessed.sha256,
            "lesions": [[o.tracking_uid, record.lesions[o.tracking_uid].label, o.state.value] for o in shown],
            "models": sorted(models),
            "notes": notes,
            "attention": attention,
            "decisions": [
                [d.what, d.by, d.at.isoformat(), d.reason, d.lesion, d.old, d.new] for d in decisions
            ],
            "results": context.settings.results.model_dump(mode="json"),
        }
    )
    signature = record.signatures.get(draft)
    version = _version(record, visit, draft, signature)
    a = assessed.assessment
    by_lesion = {uid: [d for d in decisions if d.lesion == _label(record, uid)] for uid in record.lesions}
    report = TimePointReport(
        patient_key=str(record.key),
        study_instance_uid=volumes[0].study_instance_uid,
        series_instance_uid=volumes[0].series.series_instance_uid,
        study_date=day,
        time_point_id=f"TP{order}",
        order=order,
        is_baseline=a.is_baseline,
        is_nadir=a.sum_um is not None and not a.is_baseline and (a.nadir_um is None or a.sum_um < a.nadir_um),
        identity=version.identity,
        lesions=tuple(
            _lesion(record, o, assessed.lesions.get(o.tracking_uid), by_lesion[o.tracking_uid]) for o in shown
        ),
        assessment=assessed.reported(),
        models=tuple(models[key] for key in sorted(models)),
        status=ReviewStatus.DRAFT if signature is None else ReviewStatus.SIGNED,
        signed_by=signature.signed_by if signature else None,
        signed_at=signature.signed_at if signature else None,
        version=version.number,
        predecessors=_predecessors(record, visit, version),
        # The revisions' own time: the same report has the same bytes, however often it is written.
        created_at=max(_revision(record, uid).created_at for uid in visit.studies),
        days_from_baseline=(day - days[0]).days,
        notes=tuple(dict.fromkeys(notes)),
        volumes=tuple(volumes),
        decisions=tuple(d for d in decisions if not d.lesion),
        attention=attention,
    )
    return Told(
        anchor=visit.anchor,
        studies=visit.studies,
        assessed=assessed,
        report=report,
        content=version.content,
        draft=draft,
        known=version.known,
    )


@dataclass(frozen=True, kw_only=True)
class _Version:
    content: str
    identity: str
    number: int
    known: str | None


def _version(record: PatientRecord, visit: Visit, draft: str, signature: Signature | None) -> _Version:
    """Which version of the visit's report says this: the newest one, or one that is still to be written."""
    content = draft
    if signature is not None:
        content = digest([draft, signature.signed_by, signature.signed_at.isoformat()])
    latest = visit.reports[-1] if visit.reports else None
    is_newest = latest is not None and not _is_said_over(record, visit, latest)
    if latest is not None and is_newest and latest.content_identity == content:
        return _Version(
            content=content, identity=latest.identity, number=latest.version, known=latest.identity
        )
    # The same words after others are a new version: the PACS would show the others as the newest.
    was_said = any(report.identity == content for report in visit.reports)
    return _Version(
        content=content,
        identity=digest([content, latest.identity]) if latest is not None and was_said else content,
        number=1 if latest is None else latest.version + 1,
        known=None,
    )


def _predecessors(record: PatientRecord, visit: Visit, version: _Version) -> tuple[PredecessorReport, ...]:
    """The SRs that this version's SRs replace, study by study: the newest before it.

    A study that belonged to another visit before has its former SR from there.
    """
    before = [r for r in visit.reports if r.version < version.number]
    reports = [*_of_other_visits(record, visit), *before]
    found = {
        made.study_instance_uid: made.sop_instance_uid
        for report in sorted(reports, key=lambda report: report.created_at)
        for made in report.objects
        if kind_of_role(made.role) == "sr" and made.study_instance_uid in visit.studies
    }
    return tuple(
        PredecessorReport(study_instance_uid=s, sop_instance_uid=u) for s, u in sorted(found.items())
    )


def _of_other_visits(record: PatientRecord, visit: Visit) -> list[ReportVersion]:
    """Reports about a visit's studies from when those belonged to other visits."""
    others = [r for other in record.visits if other.anchor != visit.anchor for r in other.reports]
    return [
        report
        for report in (*others, *record.reports_elsewhere)
        if any(made.study_instance_uid in visit.studies for made in report.objects)
    ]


def _is_said_over(record: PatientRecord, visit: Visit, latest: ReportVersion) -> bool:
    """Whether the PACS shows a newer report than a visit's latest, from a visit that had its studies."""
    return any(report.created_at > latest.created_at for report in _of_other_visits(record, visit))


def _label(record: PatientRecord, tracking_uid: str) -> str:
    return record.lesions[tracking_uid].label


def _revision(record: PatientRecord, study_instance_uid: str) -> Revision:
    revision = record.study(study_instance_uid).revision
    assert revision is not None  # only a usable study is part of a visit
    return revision


def _rejected(record: PatientRecord) -> set[str]:
    """Lesions that a reader said are none."""
    return {o.lesion for o in in_force(record.decisions) if o.decision is Decision.NOT_A_LESION and o.lesion}


def _volumes(record: PatientRecord, visit: Visit, shown: Sequence[Observation]) -> list[MeasuredVolume]:
    """The stacks on which lesions were measured or looked for, in the order of the visit's studies."""
    used = {o.measured_on for o in shown if o.measured_on is not None}
    stacks = list(record.stacks_of(visit).values())
    measured = [s for s in stacks if s.key in used] or list(measurable_stacks(stacks)[:1])
    if not measured:
        raise UnsuitableInputError("no series of the visit can be measured")
    days = {study.study_instance_uid: study.study_date for study in record.studies_of(visit)}
    volumes = []
    for series in measured:
        day = days[series.study_instance_uid]
        assert day is not None  # a study without a date is part of no visit
        volumes.append(
            MeasuredVolume(study_instance_uid=series.study_instance_uid, study_date=day, series=series)
        )
    return volumes


def _dates(record: PatientRecord, visit: Visit) -> list[str]:
    days = record.days_of(visit)
    if len(days) < 2:
        return []
    return [f"one visit of {len(visit.studies)} studies, {' and '.join(d.isoformat() for d in days)}"]


def _lesion(
    record: PatientRecord,
    seen: Observation,
    judged: SeenLesion | None,
    decisions: Sequence[ReportedDecision],
) -> ReportedLesion:
    lesion = record.lesions[seen.tracking_uid]
    size = seen.measurement
    state = (judged.state if judged else None) or seen.state
    if judged is not None and judged.diameter_um is not None:
        diameter_mm: float | None = judged.diameter_um / 1000
    elif size is not None and state is LesionState.PRESENT:
        diameter_mm = size.short_axis.length_mm if lesion.is_nodal else size.long_axis.length_mm
    else:
        diameter_mm = 0.0 if state is LesionState.DISAPPEARED else None
    return ReportedLesion(
        tracking_uid=seen.tracking_uid,
        label=lesion.label,
        role=judged.role if judged else LesionRole(lesion.role),
        state=state,
        is_nodal=lesion.is_nodal,
        organ=lesion.organ,
        finding_site=lesion.finding_site,
        finding_site_meaning=lesion.finding_site_meaning,
        laterality=lesion.laterality,
        finding=lesion.finding,
        finding_meaning=lesion.finding_meaning,
        mask=seen.mask,
        measurement=size,
        diameter_mm=diameter_mm,
        response=judged.response if judged else "",
        confidence=seen.confidence,
        model=_model_of(seen),
        prompt_source=seen.prompt_source,
        marked_by=seen.marked_by,
        reason=seen.reason,
        flags=seen.flags,
        expected_lps=seen.expected_lps,
        measured_on=seen.measured_on,
        decisions=tuple(decisions),
        is_rejected=judged is None,
    )


def _model_of(seen: Observation) -> ModelIdentity | None:
    """What outlined the lesion; nothing did what a person drew."""
    return None if seen.model in (AS_DRAWN, NOT_OUTLINED) else seen.model


def _plain(model: ModelIdentity) -> dict[str, object]:
    return {**vars(model), "parameters": dict(model.parameters)}


# ---------------------------------------------------------------- writing


def _write(
    record: PatientRecord, told: Told, course: Sequence[TimePointReport], context: Context
) -> PatientRecord:
    """Write the objects into a folder that appears whole, then the rows that point to it."""
    report = told.report
    images = _read(report.volumes, context)
    earlier = {r.identity for r in course[:-1]}
    prior = [
        _written(made)
        for visit in record.reported
        if visit.report is not None and visit.report.identity in earlier
        for made in visit.report.objects
        if kind_of_role(made.role) == "sr"
    ]
    results = context.settings.home / "results" / report.study_instance_uid
    folder, temporary = results / report.identity[:16], results / f".{report.identity[:16]}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    written = context.results.write(report, images, course, temporary, prior)
    document = report_to_json(report)
    (temporary / "report.json").write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
    if folder.exists():  # a run that was cut off between the folder and its rows
        shutil.rmtree(folder)
    temporary.rename(folder)
    if written.errors:
        log.error("report %s is held: %s", report.identity[:16], "; ".join(written.errors))
    content = ReportContent(
        document=document,
        findings=(*written.errors, *written.warnings),
        assessment_sha256=told.assessed.sha256,
        assessment=told.assessed.to_json(),
        protocol=told.assessed.course.protocol.to_dict(),
    )
    return context.records.change(
        record.key, lambda now: _with_report(now, told, written, content, folder, context)
    )


def _read(volumes: Sequence[MeasuredVolume], context: Context) -> list[ImageStack]:
    files = context.records.files(sorted({v.study_instance_uid for v in volumes}))
    return [context.images.read_volume(_paths(files, v.series), v.series) for v in volumes]


def _paths(files: Sequence[ReceivedFile], series: SeriesDescription) -> list[Path]:
    return stack_paths([f for f in files if f.study_instance_uid == series.study_instance_uid], series)


def _written(made: StoredObject) -> WrittenObject:
    return WrittenObject(
        role=made.role,
        path=Path(made.path),
        sop_instance_uid=made.sop_instance_uid,
        sop_class_uid=made.sop_class_uid,
        series_instance_uid=made.series_instance_uid,
        study_instance_uid=made.study_instance_uid,
    )


def _with_report(
    record: PatientRecord,
    told: Told,
    written: WrittenResults,
    content: ReportContent,
    folder: Path,
    context: Context,
) -> Changed | None:
    """Add a report to the record as it is by now, if its visit still holds the same studies."""
    report = told.report
    visit = next((v for v in record.standing if v.anchor == told.anchor), None)
    if (
        visit is None
        or visit.studies != told.studies
        or any(r.identity == report.identity for r in visit.reports)
    ):
        return None
    version = ReportVersion(
        identity=report.identity,
        content_identity=told.content,
        draft_identity=told.draft,
        version=report.version,
        status=report.status.value,
        folder=str(folder),
        created_at=context.clock(),
        predecessor=visit.current_report,
        objects=tuple(_stored(made, folder / made.path.name, written.errors) for made in written.objects),
        content=content,
    )
    visit = replace(visit, reports=(*visit.reports, version), current_report=report.identity)
    record = record.with_visit(_settled(visit, record, told.assessed))
    audit = AuditEntry(
        actor="report",
        action="report",
        about=report.study_instance_uid,
        detail={
            "identity": report.identity,
            "version": report.version,
            "overall": report.assessment.overall,
        },
    )
    deliver = () if written.errors else (report.identity,)
    return Changed(record=record, jobs=lambda saved: _delivery(deliver), audit=(audit,))


def _delivery(identities: Sequence[str]) -> list[NewJob]:
    return [NewJob(stage="deliver", subject=i, lane=f"report:{i}") for i in identities]


def _stored(made: WrittenObject, path: Path, errors: Sequence[str], role: str = "") -> StoredObject:
    """An object for the outbox; what failed validation is kept there and not sent."""
    return StoredObject(
        role=role or made.role,
        sop_instance_uid=made.sop_instance_uid,
        sop_class_uid=made.sop_class_uid,
        series_instance_uid=made.series_instance_uid,
        study_instance_uid=made.study_instance_uid,
        path=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        state=ResultState.HELD if errors else ResultState.PENDING,
        error="; ".join(errors),
    )


def _write_course(patient_key: int, told: Sequence[Told], context: Context) -> None:
    """Add the SR over all visits to the latest report, unless this very course is there already."""
    latest = told[-1]
    role = f"course-{digest([one.report.identity for one in told])[:8]}"
    record = context.records.load(patient_key)
    current = {v.anchor: v.report for v in record.standing}
    report = current.get(latest.anchor)
    if (
        report is None
        or report.identity != latest.report.identity
        or any(o.role == role for o in report.objects)
    ):
        return
    reports = {
        version.identity: [_written(o) for o in version.objects if kind_of_role(o.role) == "sr"]
        for version in current.values()
        if version is not None
    }
    images = _read(latest.report.volumes, context)
    folder = Path(report.folder)
    written = context.results.write_course([one.report for one in told], reports, images, folder)
    made = [
        _stored(one, one.path.replace(folder / f"{role}.dcm"), written.errors, role)
        for one in written.objects
    ]

    def added(now: PatientRecord) -> Changed | None:
        visit = next((v for v in now.standing if v.anchor == latest.anchor), None)
        standing = visit.report if visit else None
        if visit is None or standing is None or standing.identity != report.identity:
            return None
        if any(o.role == role for o in standing.objects):
            return None
        extended = replace(standing, objects=(*standing.objects, *made))
        reports = tuple(extended if r.identity == extended.identity else r for r in visit.reports)
        return Changed(
            record=now.with_visit(replace(visit, reports=reports)),
            jobs=lambda saved: _delivery([report.identity]),
        )

    context.records.change(patient_key, added)
