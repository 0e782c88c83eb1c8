"""Patients' records in the database: loaded whole as a value, saved whole if nobody else changed them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session, defer, selectinload

from db import mapping
from db.audit import write_audit
from db.jobs import enqueue
from db.session import UnitOfWork
from db.tables import (
    AnalysisRow,
    AssessmentRow,
    InstanceRow,
    LesionRow,
    OverrideRow,
    PatientRow,
    ReportRow,
    ResultObjectRow,
    SignatureRow,
    StudyRow,
    TimePointRow,
)
from workflow.domain.errors import GoneError, TransientError
from workflow.domain.record import PatientRecord, ReportVersion, Visit
from workflow.domain.series import PROMPT_MODALITIES
from workflow.domain.states import StudyState
from workflow.ports import Changed, NewJob, ReceivedFile

# A reader decides while a worker works: each waits for the other once, rarely twice.
_TRIES = 10


@dataclass(frozen=True, kw_only=True)
class StoredRecords:
    """The port `workflow.ports.Records` on the database."""

    unit: UnitOfWork
    reading: UnitOfWork
    clock: Callable[[], datetime]

    def load(self, patient_key: int) -> PatientRecord:
        """See `workflow.ports.Records.load`."""
        with self.reading() as session:
            return load_record(session, patient_key)

    def change(self, patient_key: int, function: Callable[[PatientRecord], Changed | None]) -> PatientRecord:
        """See `workflow.ports.Records.change`."""
        for _ in range(_TRIES):
            before = self.load(patient_key)
            changed = function(before)
            if changed is None:
                return before
            with self.unit() as session:
                if _take_version(session, before):
                    save_record(session, before, changed.record)
                    session.flush()
                    session.expire_all()
                    saved = load_record(session, patient_key)
                    ask_for(session, changed.jobs(saved))
                    write_audit(session, changed.audit, self.clock())
                    return saved
        raise TransientError(f"the record of patient {patient_key} is changed by others all the time")

    def patient_of_visit(self, visit_key: int) -> tuple[int, str] | None:
        """See `workflow.ports.Records.patient_of_visit`."""
        with self.reading() as session:
            row = session.get(TimePointRow, visit_key)
            return None if row is None else (row.patient_key, row.study.study_instance_uid)

    def patient_keys(self, patient_id: str) -> list[int]:
        """See `workflow.ports.Records.patient_keys`."""
        with self.reading() as session:
            found = select(PatientRow.id).where(PatientRow.patient_id == patient_id).order_by(PatientRow.id)
            return list(session.scalars(found))

    def foreign_tracking_uids(self, patient_key: int, tracking_uids: Collection[str]) -> frozenset[str]:
        """See `workflow.ports.Records.foreign_tracking_uids`."""
        with self.reading() as session:
            found = session.scalars(
                select(LesionRow.tracking_uid).where(
                    LesionRow.tracking_uid.in_(tracking_uids), LesionRow.patient_key != patient_key
                )
            )
            return frozenset(found)

    def files(self, study_instance_uids: Collection[str]) -> tuple[ReceivedFile, ...]:
        """See `workflow.ports.Records.files`."""
        with self.reading() as session:
            return received_files(session, study_instance_uids)


def received_files(session: Session, study_instance_uids: Collection[str]) -> tuple[ReceivedFile, ...]:
    """The received files of some studies, our own results left out, by study, series and SOP UID."""
    rows = session.scalars(
        select(InstanceRow)
        .where(InstanceRow.study_instance_uid.in_(study_instance_uids), InstanceRow.is_own_result.is_(False))
        .order_by(
            InstanceRow.study_instance_uid, InstanceRow.series_instance_uid, InstanceRow.sop_instance_uid
        )
    )
    return tuple(mapping.file_of(row) for row in rows)


def ask_for(session: Session, jobs: Sequence[NewJob]) -> None:
    """Put jobs into the queue, in the transaction that made them necessary."""
    for job in jobs:
        enqueue(
            session,
            stage=job.stage,
            subject=job.subject,
            lane=job.lane,
            delay_s=job.delay_s,
            priority=job.priority,
        )


# ---------------------------------------------------------------- loading


def load_record(session: Session, patient_key: int) -> PatientRecord:
    """Load a patient's record in a fixed number of statements."""
    patient = session.get(PatientRow, patient_key)
    if patient is None:
        raise GoneError(f"patient {patient_key} is not here (any more)")
    studies = session.scalars(
        select(StudyRow)
        .where(StudyRow.patient_key == patient_key)
        .options(selectinload(StudyRow.revisions))
        .order_by(StudyRow.study_instance_uid)
    ).all()
    prompts = session.scalars(
        select(InstanceRow)
        .join(StudyRow, StudyRow.study_instance_uid == InstanceRow.study_instance_uid)
        .where(
            StudyRow.patient_key == patient_key,
            InstanceRow.modality.in_(PROMPT_MODALITIES),
            InstanceRow.is_own_result.is_(False),
        )
        .order_by(InstanceRow.sop_instance_uid, InstanceRow.study_instance_uid)
    )
    decisions = session.scalars(
        select(OverrideRow).where(OverrideRow.patient_key == patient_key).order_by(OverrideRow.made_at)
    )
    lesions = session.scalars(select(LesionRow).where(LesionRow.patient_key == patient_key))
    visits = _load_visits(session, patient_key)
    elsewhere = session.scalars(
        select(ReportRow)
        .join(TimePointRow, TimePointRow.id == ReportRow.time_point_id)
        .join(ResultObjectRow, ResultObjectRow.report_id == ReportRow.id)
        .join(StudyRow, StudyRow.study_instance_uid == ResultObjectRow.study_instance_uid)
        .where(StudyRow.patient_key == patient_key, TimePointRow.patient_key != patient_key)
        .options(selectinload(ReportRow.objects), defer(ReportRow.document), defer(ReportRow.findings))
        .order_by(ReportRow.id)
    ).unique()
    drafts = {report.draft_identity for visit in visits for report in visit.reports}
    # Those of its reports too: a visit that came from another patient was signed there.
    signatures = session.scalars(
        select(SignatureRow).where(
            or_(SignatureRow.patient_key == patient_key, SignatureRow.report_identity.in_(drafts))
        )
    )
    return PatientRecord(
        key=patient.id,
        version=patient.version,
        identity=mapping.identity_of(patient),
        studies=tuple(mapping.study_of(row) for row in studies),
        prompt_objects=tuple(mapping.prompt_object_of(row) for row in prompts),
        visits=tuple(visits),
        lesions=MappingProxyType({row.tracking_uid: mapping.lesion_of(row) for row in lesions}),
        decisions=tuple(mapping.decision_of(row) for row in decisions),
        signatures=MappingProxyType({row.report_identity: mapping.signature_of(row) for row in signatures}),
        reports_elsewhere=tuple(mapping.report_of(row, {}) for row in elsewhere),
    )


def _load_visits(session: Session, patient_key: int) -> list[Visit]:
    rows = session.scalars(
        select(TimePointRow)
        .where(TimePointRow.patient_key == patient_key)
        .options(selectinload(TimePointRow.studies))
        .order_by(TimePointRow.order, TimePointRow.id)
    ).all()
    keys = [row.id for row in rows]
    analyses: dict[int, list[AnalysisRow]] = defaultdict(list)
    for analysis in session.scalars(
        select(AnalysisRow).where(AnalysisRow.time_point_id.in_(keys)).order_by(AnalysisRow.id)
    ):
        analyses[analysis.time_point_id].append(analysis)
    reports: dict[int, list[ReportRow]] = defaultdict(list)
    for report in session.scalars(
        select(ReportRow)
        .where(ReportRow.time_point_id.in_(keys))
        .options(selectinload(ReportRow.objects), defer(ReportRow.document), defer(ReportRow.findings))
        .order_by(ReportRow.version, ReportRow.id)
    ):
        reports[report.time_point_id].append(report)
    anchors = {row.id: row.study.study_instance_uid for row in rows}
    visits = [mapping.visit_of(row, analyses[row.id], reports[row.id], anchors) for row in rows]
    # Those without studies have no place in time, and no order.
    return sorted(visits, key=lambda visit: (not visit.studies, visit.order))


# ---------------------------------------------------------------- saving


def _take_version(session: Session, before: PatientRecord) -> bool:
    """Count the change, unless somebody else changed the record since it was loaded."""
    taken = session.execute(
        update(PatientRow)
        .where(PatientRow.id == before.key, PatientRow.version == before.version)
        .values(version=PatientRow.version + 1)
    )
    return bool(taken.rowcount == 1)  # type: ignore[attr-defined]


def save_record(session: Session, before: PatientRecord, after: PatientRecord) -> None:
    """Write what differs. Studies' own fields belong to reception and ingest; of them, the reason is kept."""
    studies = {
        row.study_instance_uid: row
        for row in session.scalars(select(StudyRow).where(StudyRow.patient_key == after.key))
    }
    for study in after.studies:
        row = studies.get(study.study_instance_uid)
        if row is not None and row.state == StudyState.INGESTED and row.reason != study.reason:
            row.reason = study.reason
    for lesion in after.lesions.values():
        if before.lesions.get(lesion.tracking_uid) != lesion:
            lesion_row = session.get(LesionRow, lesion.tracking_uid)
            if lesion_row is None:
                lesion_row = LesionRow(tracking_uid=lesion.tracking_uid)
                mapping.write_lesion(lesion, after.key, lesion_row)
                session.add(lesion_row)
            else:
                mapping.write_lesion(lesion, after.key, lesion_row)
    session.flush()
    known = {
        row.study.study_instance_uid: row
        for row in session.scalars(select(TimePointRow).where(TimePointRow.patient_key == after.key))
    }
    rows = {visit.anchor: _visit_row(session, visit, after, studies, known) for visit in after.visits}
    session.flush()
    former = {visit.anchor: visit for visit in before.visits}
    for visit in after.visits:
        _save_visit(session, visit, former.get(visit.anchor), rows, studies)
    placed = {uid: rows[visit.anchor].id for visit in after.visits for uid in visit.studies}
    keys = [row.id for row in rows.values()]
    session.execute(
        update(StudyRow)
        .where(StudyRow.time_point_id.in_(keys), StudyRow.study_instance_uid.not_in(placed))
        .values(time_point_id=None)
    )
    for uid, key in placed.items():
        studies[uid].time_point_id = key
    for decision in after.decisions:
        if decision not in before.decisions:
            session.add(
                OverrideRow(
                    id=decision.id, patient_key=after.key, decision=decision.to_dict(), made_at=decision.at
                )
            )
    for draft, signature in after.signatures.items():
        if draft not in before.signatures:
            session.add(
                SignatureRow(
                    report_identity=draft,
                    patient_key=after.key,
                    signed_by=signature.signed_by,
                    signed_at=signature.signed_at,
                )
            )


def _visit_row(
    session: Session,
    visit: Visit,
    after: PatientRecord,
    studies: dict[str, StudyRow],
    known: dict[str, TimePointRow],
) -> TimePointRow:
    """The row of a visit, made if need be; its anchor may have been another patient's until now."""
    row = known.get(visit.anchor)
    study = studies.get(visit.anchor)
    if row is None and study is not None:
        row = session.scalar(select(TimePointRow).where(TimePointRow.study_id == study.id))
        if row is not None:  # the other patient's record loses it: who works on that one loads it again
            session.execute(
                update(PatientRow)
                .where(PatientRow.id == row.patient_key)
                .values(version=PatientRow.version + 1)
            )
    if row is None:
        if study is None or not study.revisions:
            raise ValueError(f"visit {visit.anchor} has no study of this patient")
        row = TimePointRow(study_id=study.id, patient_key=after.key, revision_id=study.revisions[-1].id)
        session.add(row)
    row.patient_key = after.key
    if study is not None and study.revisions:
        row.revision_id = study.revisions[-1].id
    return row


def _save_visit(
    session: Session,
    visit: Visit,
    former: Visit | None,
    rows: dict[str, TimePointRow],
    studies: dict[str, StudyRow],
) -> None:
    row = rows[visit.anchor]
    row.order, row.state, row.reason = visit.order, visit.state.value, visit.reason
    row.prior_id = rows[visit.prior].id if visit.prior else None
    row.failed_identity, row.failure = visit.failed_identity, visit.failure
    row.attention = list(visit.attention) or None
    stored = {a.identity for a in former.analyses} if former else set()
    for analysis in visit.analyses:
        if analysis.identity not in stored:
            session.add(mapping.write_analysis(analysis, row.id))
    session.flush()
    row.analysis_id = (
        session.scalars(
            select(AnalysisRow.id).where(
                AnalysisRow.time_point_id == row.id, AnalysisRow.identity == visit.current_analysis
            )
        ).one()
        if visit.current_analysis
        else None
    )
    _save_reports(session, visit, former, row)


def _save_reports(session: Session, visit: Visit, former: Visit | None, row: TimePointRow) -> None:
    stored = {report.identity: report for report in former.reports} if former else {}
    by_identity: dict[str, ReportRow] = {}
    if visit.reports:
        by_identity = {
            report.identity: report
            for report in session.scalars(select(ReportRow).where(ReportRow.time_point_id == row.id))
        }
    for report in visit.reports:
        if report.identity not in stored:
            by_identity[report.identity] = _new_report(session, report, row, by_identity)
            continue
        known = {made.sop_instance_uid for made in stored[report.identity].objects}
        by_identity[report.identity].objects.extend(
            mapping.write_object(made) for made in report.objects if made.sop_instance_uid not in known
        )
    session.flush()
    row.report_id = by_identity[visit.current_report].id if visit.current_report else None


def _new_report(
    session: Session, report: ReportVersion, row: TimePointRow, by_identity: dict[str, ReportRow]
) -> ReportRow:
    content = report.content
    if content is None:
        raise ValueError(f"report {report.identity} is new and says nothing")
    assessment = session.scalar(
        select(AssessmentRow).where(
            AssessmentRow.time_point_id == row.id, AssessmentRow.sha256 == content.assessment_sha256
        )
    )
    if assessment is None:
        assessment = AssessmentRow(
            time_point_id=row.id,
            analysis_id=row.analysis_id,
            sha256=content.assessment_sha256,
            protocol=dict(content.protocol),
            result=dict(content.assessment),
            created_at=report.created_at,
        )
        session.add(assessment)
        session.flush()
    made = ReportRow(
        time_point_id=row.id,
        assessment_id=assessment.id,
        identity=report.identity,
        content_identity=report.content_identity,
        draft_identity=report.draft_identity,
        version=report.version,
        status=report.status,
        created_at=report.created_at,
        document=dict(content.document),
        folder=report.folder,
        findings=list(content.findings),
        predecessor_id=by_identity[report.predecessor].id if report.predecessor in by_identity else None,
        objects=[mapping.write_object(o) for o in report.objects],
    )
    session.add(made)
    session.flush()
    return made
