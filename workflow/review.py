"""Review: what a reader decides about lesions, and signs. Both are audited and survive every re-run."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import date

from workflow.domain.errors import UnsuitableInputError
from workflow.domain.lesion import LesionState
from workflow.domain.lesion_life import Decision, Override, refusal
from workflow.domain.record import PatientRecord, ReportVersion, Signature, Visit
from workflow.domain.report import LesionRole
from workflow.domain.response import NewLesion, Response, micrometres
from workflow.domain.response.timeline import Intervention
from workflow.domain.states import Priority, ResultState
from workflow.engine.context import Context
from workflow.ports import AuditEntry, Changed, NewJob


def decide(
    context: Context,
    *,
    patient_id: str,
    decision: Decision,
    by: str,
    reason: str,
    lesion: str | None = None,
    day: date | None = None,
    role: LesionRole | None = None,
    state: LesionState | None = None,
    diameter_mm: float | None = None,
    other: str | None = None,
    finding: NewLesion | None = None,
    intervention: Intervention | None = None,
    overall: Response | None = None,
) -> Override:
    """Record a reader's decision and have the patient assessed again.

    About a lesion (by its label), or without one about the visit as a whole: progression of non-target
    disease, a new lesion that nobody outlined, an overall response.

    Raises
    ------
    UnsuitableInputError
        If patient, lesion or visit are unknown, or the decision lacks something; the message says what.
    """
    made: list[Override] = []
    decision_id, now = str(uuid.uuid4()), context.clock()

    def decided(record: PatientRecord) -> Changed:
        visit = _visit(record, patient_id, day) if day is not None else None
        try:
            override = Override(
                id=decision_id,
                decision=decision,
                lesion=_tracking_uid(record, patient_id, lesion) if lesion else None,
                by=by,
                at=now,
                reason=reason,
                time_point=record.day_of(visit).isoformat() if visit else None,
                role=role,
                state=state,
                diameter_um=None if diameter_mm is None else micrometres(diameter_mm),
                other=_other(record, patient_id, decision, other),
                finding=finding,
                intervention=intervention,
                overall=overall,
            )
        except ValueError as error:
            raise UnsuitableInputError(str(error)) from error
        if reason_against := refusal(override, record.decisions):
            raise UnsuitableInputError(reason_against)
        made.append(override)
        audit = AuditEntry(
            actor=by, action=f"decision: {decision}", about=override.subject, detail=override.to_dict()
        )
        return Changed(
            record=replace(record, decisions=(*record.decisions, override)), jobs=_again, audit=(audit,)
        )

    context.records.change(_patient(context, patient_id), decided)
    return made[-1]


def sign(context: Context, *, patient_id: str, day: date, by: str) -> int:
    """Sign the current report of a day's visit; return how many. Its signed version supersedes the draft.

    Raises
    ------
    UnsuitableInputError
        If there is nothing to sign, or it was held back by validation.
    """
    signed: list[int] = []
    now = context.clock()

    def signing(record: PatientRecord) -> Changed:
        report = _visit(record, patient_id, day).report
        if report is None:
            raise UnsuitableInputError(f"patient {patient_id} has no report on {day}; see `tumorline status`")
        if report.draft_identity in record.signatures:
            signed.append(0)
            return Changed(record=record, jobs=_again)
        _require_valid(report, day)
        signature = Signature(draft_identity=report.draft_identity, signed_by=by, signed_at=now)
        audit = AuditEntry(
            actor=by,
            action="signed",
            about=_visit(record, patient_id, day).anchor,
            detail={"identity": report.draft_identity},
        )
        signed.append(1)
        signatures = {**record.signatures, signature.draft_identity: signature}
        return Changed(record=replace(record, signatures=signatures), jobs=_again, audit=(audit,))

    context.records.change(_patient(context, patient_id), signing)
    return signed[-1]


def _require_valid(report: ReportVersion, day: date) -> None:
    if any(made.state is ResultState.HELD for made in report.objects):
        raise UnsuitableInputError(f"the report of {day} failed validation and can't be signed")


def _again(record: PatientRecord) -> list[NewJob]:
    # The timeline asks for the reports once all analyses are up to date.
    lane = f"patient:{record.key}"
    return [NewJob(stage="timeline", subject=str(record.key), lane=lane, priority=Priority.READER)]


def _patient(context: Context, patient_id: str) -> int:
    found = context.records.patient_keys(patient_id)
    if not found:
        raise UnsuitableInputError(f"there is no patient {patient_id}; `tumorline status` lists them")
    if len(found) > 1:
        raise UnsuitableInputError(f"{len(found)} patients of different issuers have the id {patient_id}")
    return found[0]


def _visit(record: PatientRecord, patient_id: str, day: date) -> Visit:
    """The visit that a day belongs to: any day of its studies."""
    for visit in record.standing:
        if day in record.days_of(visit):
            return visit
    known = ", ".join(d.isoformat() for v in record.standing for d in record.days_of(v)) or "none"
    raise UnsuitableInputError(f"patient {patient_id} has no visit on {day}; there are: {known}")


def _tracking_uid(record: PatientRecord, patient_id: str, lesion: str) -> str:
    """The tracking UID of a lesion that is named by its label or by the UID itself."""
    # What an older analysis called so is another.
    shown = dict.fromkeys(o.tracking_uid for v in record.standing for o in v.observations)
    # One that went to another patient with its study is shown until the visit is analysed again.
    seen = [uid for uid in shown if uid in record.lesions]
    for uid in seen:
        if lesion in (uid, record.lesions[uid].label):
            return uid
    known = ", ".join(sorted(record.lesions[uid].label for uid in seen)) or "none"
    raise UnsuitableInputError(f"patient {patient_id} has no lesion {lesion}; there are: {known}")


def _other(record: PatientRecord, patient_id: str, decision: Decision, other: str | None) -> str | None:
    if other is None or decision is Decision.WITHDRAW:
        return other
    return _tracking_uid(record, patient_id, other)
