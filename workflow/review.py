"""Review: what a reader decides about lesions, and signs. Both are audited and survive every re-run."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from workflow.domain.errors import UnsuitableInputError
from workflow.domain.lesion import LesionState
from workflow.domain.lesion_life import Decision, Override, in_force, last_of, refusal
from workflow.domain.record import PatientRecord, ReportVersion, Signature, Visit, digest
from workflow.domain.report import LesionRole
from workflow.domain.response import NewLesion, Response, micrometres
from workflow.domain.response.timeline import Intervention
from workflow.domain.states import Priority, ResultState, VisitState
from workflow.domain.users import User, UserRole
from workflow.engine.context import Context
from workflow.ports import AuditEntry, Changed, NewJob
from workflow.report import tell_visit

# While these last, what is seen is about to change.
_UNDER_WAY = frozenset({VisitState.WAITING, VisitState.PROCESSING})


class SeenOtherwiseError(UnsuitableInputError):
    """The record says something else by now than what the reader looked at; nothing was recorded."""


class NotAllowedError(UnsuitableInputError):
    """The decision is not this user's to make."""


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """A decision as a person puts it: lesions by label or tracking UID, the visit by a day of it.

    `id` names the decision for good: the same one asked for again, by a second click or a repeated request,
    is recorded once. The other attributes are those of `Override`.
    """

    decision: Decision
    reason: str = ""
    lesion: str | None = None
    day: date | None = None
    role: LesionRole | None = None
    state: LesionState | None = None
    diameter_mm: float | None = None
    other: str | None = None
    finding: NewLesion | None = None
    intervention: Intervention | None = None
    overall: Response | None = None
    id: str = ""


def decide(
    context: Context,
    *,
    patient_id: str,
    decision: Decision,
    by: str,
    reason: str = "",
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

    About a lesion, or without one about the visit as a whole: progression of non-target disease, a new
    lesion that nobody outlined, an overall response. The arguments are a `Ruling`'s.

    Raises
    ------
    UnsuitableInputError
        If patient, lesion or visit are unknown, or the decision lacks something; the message says what.
    """
    ruling = Ruling(
        decision=decision,
        reason=reason,
        lesion=lesion,
        day=day,
        role=role,
        state=state,
        diameter_mm=diameter_mm,
        other=other,
        finding=finding,
        intervention=intervention,
        overall=overall,
    )
    return record_rulings(context, _patient(context, patient_id), [ruling], by=by)[1][0]


def record_rulings(
    context: Context,
    patient_key: int,
    rulings: Sequence[Ruling],
    *,
    by: str,
    is_as_seen: Callable[[PatientRecord], bool] = lambda record: True,
) -> tuple[PatientRecord, tuple[Override, ...]]:
    """Record decisions that are made in one go, all or none, and return the record with them.

    Parameters
    ----------
    is_as_seen
        Whether the record still says what the reader looked at; asked where a decision is not recorded yet.

    Raises
    ------
    SeenOtherwiseError
        If it does not.
    UnsuitableInputError
        See `decide`.
    """
    ids, now = [ruling.id or str(uuid.uuid4()) for ruling in rulings], context.clock()

    def decided(record: PatientRecord) -> Changed | None:
        known = {o.id for o in record.decisions}
        if known.issuperset(ids):
            return None
        _require_as_seen(record, is_as_seen)
        made = tuple(
            _override(record, ruling, decision_id, by, now)
            for ruling, decision_id in zip(rulings, ids, strict=True)
            if decision_id not in known
        )
        for override in made:
            if reason_against := refusal(override, record.decisions):
                raise UnsuitableInputError(reason_against)
            record = replace(record, decisions=(*record.decisions, override))
        audit = [
            AuditEntry(actor=by, action=f"decision: {o.decision}", about=o.subject, detail=o.to_dict())
            for o in made
        ]
        return Changed(record=record, jobs=_again, audit=audit)

    saved = context.records.change(patient_key, decided)
    return saved, tuple(o for o in saved.decisions if o.id in ids)


def undo(
    context: Context,
    patient_key: int,
    day: date,
    *,
    by: str,
    of: Sequence[str],
    is_as_seen: Callable[[PatientRecord], bool] = lambda record: True,
) -> PatientRecord:
    """Withdraw a reader's own latest decisions about a visit, those that were made in one go.

    Parameters
    ----------
    of
        The ids of what is to be withdrawn, so that a second click takes back nothing more.

    Raises
    ------
    SeenOtherwiseError
        If those are not the reader's latest decisions any more.
    """
    record = context.records.load(patient_key)
    held = {o.id for o in in_force(record.decisions)}
    if not held & set(of):
        return record
    last = last_of(record.decisions, by=by, time_point=_day_of(record, day))
    if {o.id for o in last} != set(of):
        raise SeenOtherwiseError("other decisions have been made since; look again, and undo the latest one")
    rulings = [
        Ruling(
            decision=Decision.WITHDRAW,
            reason="taken back by its author",
            lesion=o.lesion,
            day=day if o.time_point else None,
            other=o.id,
            id=withdrawal_id(o.id),
        )
        for o in reversed(last)
    ]
    return record_rulings(context, patient_key, rulings, by=by, is_as_seen=is_as_seen)[0]


def withdrawal_id(decision_id: str) -> str:
    """The id of an undo: of one decision there is one."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"undo {decision_id}"))


def why_not_allowed(user: User, ruling: Ruling, record: PatientRecord) -> str:
    """Why a user may not decide so, or "": to go over the rules or another reader is an adjudicator's."""
    if user.may(UserRole.ADJUDICATOR):
        return ""
    if ruling.decision is Decision.SET_OVERALL:
        return "only an adjudicator sets an overall response over the computed one"
    others = {o.id for o in record.decisions if o.by != user.name}
    if ruling.decision is Decision.WITHDRAW and ruling.other in others:
        return "only an adjudicator takes another reader's decision back; decide otherwise instead"
    return ""


def token_of(record: PatientRecord, visit: Visit, context: Context) -> str:
    """A digest of what a reader sees of a visit: what is said about it, by whom it is decided and signed.

    Who decides sends the token of what they looked at, so that nothing is overwritten unseen.
    """
    said = tell_visit(record, visit, context).draft if visit.observations else ""
    return digest([said, sorted(o.id for o in record.decisions), said in record.signatures])


def sign(context: Context, *, patient_id: str, day: date, by: str) -> int:
    """Sign what is said of a day's visit, in a version that supersedes the draft; return how many reports.

    Raises
    ------
    UnsuitableInputError
        If there is nothing to sign, or it was held back by validation.
    """
    key = _patient(context, patient_id)
    return int(sign_visit(context, key, day, by=by, name=f"patient {patient_id}")[1])


def sign_visit(
    context: Context,
    patient_key: int,
    day: date,
    *,
    by: str,
    name: str = "the patient",
    is_as_seen: Callable[[PatientRecord], bool] = lambda record: True,
) -> tuple[PatientRecord, bool]:
    """Sign what is said of a day's visit by now; return the record, and whether it was not signed before.

    What is signed is what the record says, decisions of the last second included, whether or not its
    objects are written yet.

    Raises
    ------
    SeenOtherwiseError
        If the record says something else by now than what the reader looked at.
    UnsuitableInputError
        If there is nothing to sign yet, or validation held it back.
    """
    signed: list[bool] = []
    now = context.clock()

    def signing(record: PatientRecord) -> Changed:
        visit = _visit(record, day, name)
        if visit.report is None or not visit.observations:
            raise UnsuitableInputError(f"{name} has no report on {day}; see `tumorline status`")
        if visit.state in _UNDER_WAY:
            raise UnsuitableInputError(
                f"the visit of {day} is being worked on; sign when its results are here"
            )
        draft = tell_visit(record, visit, context).draft
        if draft in record.signatures:
            signed.append(False)
            return Changed(record=record, jobs=_again)
        _require_as_seen(record, is_as_seen)
        _require_valid(visit.report, draft, day)
        signature = Signature(draft_identity=draft, signed_by=by, signed_at=now)
        audit = AuditEntry(actor=by, action="signed", about=visit.anchor, detail={"identity": draft})
        signed.append(True)
        signatures = {**record.signatures, draft: signature}
        return Changed(record=replace(record, signatures=signatures), jobs=_again, audit=(audit,))

    return context.records.change(patient_key, signing), signed[-1]


def _require_valid(report: ReportVersion, draft: str, day: date) -> None:
    is_held = any(made.state is ResultState.HELD for made in report.objects)
    if is_held and report.draft_identity == draft:
        raise UnsuitableInputError(f"the report of {day} failed validation and can't be signed")


def _require_as_seen(record: PatientRecord, is_as_seen: Callable[[PatientRecord], bool]) -> None:
    if not is_as_seen(record):
        raise SeenOtherwiseError("the record has changed since you looked; nothing of yours was recorded")


def _override(record: PatientRecord, ruling: Ruling, decision_id: str, by: str, now: datetime) -> Override:
    visit_day = _day_of(record, ruling.day) if ruling.day is not None else None
    try:
        return Override(
            id=decision_id,
            decision=ruling.decision,
            lesion=_tracking_uid(record, ruling.lesion) if ruling.lesion else None,
            by=by,
            at=now,
            reason=ruling.reason,
            time_point=visit_day,
            role=ruling.role,
            state=ruling.state,
            diameter_um=None if ruling.diameter_mm is None else micrometres(ruling.diameter_mm),
            other=_other(record, ruling),
            finding=ruling.finding,
            intervention=ruling.intervention,
            overall=ruling.overall,
        )
    except ValueError as error:
        raise UnsuitableInputError(str(error)) from error


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


def _visit(record: PatientRecord, day: date, name: str = "the patient") -> Visit:
    """The visit that a day belongs to: any day of its studies."""
    for visit in record.standing:
        if day in record.days_of(visit):
            return visit
    known = ", ".join(d.isoformat() for v in record.standing for d in record.days_of(v)) or "none"
    raise UnsuitableInputError(f"{name} has no visit on {day}; there are: {known}")


def _day_of(record: PatientRecord, day: date) -> str:
    """The first day of the visit that a day belongs to: what decisions name it by."""
    return record.day_of(_visit(record, day)).isoformat()


def _tracking_uid(record: PatientRecord, lesion: str) -> str:
    """The tracking UID of a lesion that is named by its label or by the UID itself."""
    # What an older analysis called so is another.
    shown = dict.fromkeys(o.tracking_uid for v in record.standing for o in v.observations)
    # One that went to another patient with its study is shown until the visit is analysed again.
    seen = [uid for uid in shown if uid in record.lesions]
    for uid in seen:
        if lesion in (uid, record.lesions[uid].label):
            return uid
    known = ", ".join(sorted(record.lesions[uid].label for uid in seen)) or "none"
    raise UnsuitableInputError(f"the patient has no lesion {lesion}; there are: {known}")


def _other(record: PatientRecord, ruling: Ruling) -> str | None:
    if ruling.other is None or ruling.decision is Decision.WITHDRAW:
        return ruling.other
    return _tracking_uid(record, ruling.other)
