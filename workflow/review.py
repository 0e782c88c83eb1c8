"""Review: what a reader decides about lesions, and signs. Both are audited and survive every re-run."""

from __future__ import annotations

import uuid
from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables import OverrideRow, PatientRow, ReportRow, SignatureRow, StudyRow, TimePointRow
from workflow.context import Context, audit
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.lesion import LesionState
from workflow.domain.lesion_life import Decision, Override
from workflow.domain.report import LesionRole
from workflow.domain.response import micrometres
from workflow.jobs import enqueue
from workflow.report import points_with_lesions
from workflow.response import visit_day


def decide(
    context: Context,
    *,
    patient_id: str,
    lesion: str,
    decision: Decision,
    by: str,
    reason: str,
    day: date | None = None,
    role: LesionRole | None = None,
    state: LesionState | None = None,
    diameter_mm: float | None = None,
    other: str | None = None,
) -> Override:
    """Record a reader's decision about a lesion (by its label) and have the patient assessed again.

    Raises
    ------
    UnsuitableInputError
        If patient, lesion or time point are unknown, or the decision lacks something; the message says what.
    """
    with context.unit() as session:
        patient = _patient(session, patient_id)
        now = context.clock()
        if day is not None:
            day = visit_day(_time_point(session, patient, day)[0], points_with_lesions(session, patient.id))
        try:
            override = Override(
                id=str(uuid.uuid4()),
                decision=decision,
                lesion=_tracking_uid(session, patient, lesion),
                by=by,
                at=now,
                reason=reason,
                time_point=day.isoformat() if day else None,
                role=role,
                state=state,
                diameter_um=None if diameter_mm is None else micrometres(diameter_mm),
                other=_other(session, patient, decision, other),
            )
        except ValueError as error:
            raise UnsuitableInputError(str(error)) from error
        session.add(
            OverrideRow(id=override.id, patient_key=patient.id, decision=override.to_dict(), made_at=now)
        )
        audit(
            session,
            now,
            actor=by,
            action=f"decision: {decision}",
            about=override.subject,
            **override.to_dict(),
        )
        _assess_again(session, patient.id, context)
    return override


def sign(context: Context, *, patient_id: str, day: date, by: str) -> int:
    """Sign the current reports of a day; return how many. Their signed versions supersede the drafts.

    Raises
    ------
    UnsuitableInputError
        If there is nothing to sign, or it was held back by validation.
    """
    with context.unit() as session:
        patient = _patient(session, patient_id)
        now = context.clock()
        points = [p for p in _time_point(session, patient, day) if p.report is not None]
        if not points:
            raise UnsuitableInputError(f"patient {patient_id} has no report on {day}; see `tumorline status`")
        signed = 0
        for point in points:
            report: ReportRow | None = point.report
            if report is None or session.get(SignatureRow, report.draft_identity) is not None:
                continue
            if any(o.state == "HELD" for o in report.objects):
                raise UnsuitableInputError(f"the report of {day} failed validation and can't be signed")
            session.add(SignatureRow(report_identity=report.draft_identity, signed_by=by, signed_at=now))
            audit(session, now, actor=by, action="signed", about=point.study.study_instance_uid,
                  identity=report.draft_identity)  # fmt: skip
            signed += 1
        _assess_again(session, patient.id, context)
    return signed


def _assess_again(session: Session, patient_key: int, context: Context) -> None:
    enqueue(
        session,
        stage="timeline",  # which asks for the reports once all analyses are up to date
        subject=str(patient_key),
        lane=f"patient:{patient_key}",
        due_at=context.clock(),
    )


def _patient(session: Session, patient_id: str) -> PatientRow:
    found = list(session.scalars(select(PatientRow).where(PatientRow.patient_id == patient_id)))
    if not found:
        raise UnsuitableInputError(f"there is no patient {patient_id}; `tumorline status` lists them")
    if len(found) > 1:
        raise UnsuitableInputError(f"{len(found)} patients of different issuers have the id {patient_id}")
    return found[0]


def _time_point(session: Session, patient: PatientRow, day: date) -> list[TimePointRow]:
    points = list(
        session.scalars(
            select(TimePointRow)
            .join(StudyRow, StudyRow.id == TimePointRow.study_id)
            .where(TimePointRow.patient_key == patient.id, StudyRow.study_date == day)
        )
    )
    if not points:
        raise UnsuitableInputError(f"patient {patient.patient_id} has no time point on {day}")
    return points


def _tracking_uid(session: Session, patient: PatientRow, lesion: str) -> str:
    """The tracking UID of a lesion that is named by its label or by the UID itself."""
    points = session.scalars(select(TimePointRow).where(TimePointRow.patient_key == patient.id))
    seen = [o.lesion for p in points for o in (p.analysis.observations if p.analysis else [])]
    rows = list(
        {row.tracking_uid: row for row in seen}.values()
    )  # what an older analysis called so is another
    for row in rows:
        if lesion in (row.label, row.tracking_uid):
            return row.tracking_uid
    known = ", ".join(sorted(row.label for row in rows)) or "none"
    raise UnsuitableInputError(f"patient {patient.patient_id} has no lesion {lesion}; there are: {known}")


def _other(session: Session, patient: PatientRow, decision: Decision, other: str | None) -> str | None:
    if other is None or decision is Decision.WITHDRAW:
        return other
    return _tracking_uid(session, patient, other)
