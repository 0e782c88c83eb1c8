"""What the review page shows of a visit, ready for its template."""

from __future__ import annotations

from typing import Any

from workflow.documents.report import report_to_json
from workflow.domain.lesion import LesionState
from workflow.domain.lesion_life import Decision, Override, in_force, last_of
from workflow.domain.patient import readable_name
from workflow.domain.reading import LesionToRead, Standing, lesions_to_read
from workflow.domain.record import PatientRecord, Visit
from workflow.domain.report import ROLE_WORDS
from workflow.domain.response import NewLesion, millimetres
from workflow.domain.states import LESION_WORDS, VISIT_WORDS, StudyState, VisitState
from workflow.domain.users import User
from workflow.domain.visit import roster_of
from workflow.engine.context import Context
from workflow.report import Told
from workflow.response import placed_decisions
from workflow.review import Ruling, token_of, told_of, why_not_allowed
from workflow.web.colours import colour_class
from workflow.web.slices import shown_stacks, volume_id


def review_view(
    record: PatientRecord, visit: Visit, visit_key: int, context: Context, user: User
) -> dict[str, Any]:
    """A visit as its reader sees it at this moment, decisions that no report holds yet included.

    Everything that is said of the disease comes from the report that is to be written: the same words and
    numbers as timeline.json will have.
    """
    told = told_of(record, visit, context)
    report = report_to_json(told.report) if told else None
    decisions = placed_decisions(record)
    day = record.day_of(visit)
    to_read = lesions_to_read(record, visit, told.report, decisions) if told else ()
    lesions = [
        _lesion_view(record, visit, one, shown)
        for one, shown in zip(to_read, report["lesions"] if report else (), strict=True)
    ]
    lesions.sort(key=lambda one: (list(ROLE_WORDS.values()).index(one["role"]), one["label"]))
    last = last_of(decisions, by=user.name, time_point=day.isoformat())
    signature = record.signatures.get(told.draft) if told else None
    is_open = [one for one in to_read if one.standing is Standing.OPEN]
    return {
        "visit_key": visit_key,
        "patient_key": record.key,
        "patient_id": record.identity.patient_id,
        "patient_name": readable_name(record.identity.patient_name),
        "study_date": day.isoformat(),
        "state": visit.state.value,
        "state_words": VISIT_WORDS[visit.state],
        "state_reason": visit.reason,
        "time_point_id": told.report.time_point_id if told else "",
        "is_baseline": bool(told and told.report.is_baseline),
        "seen": token_of(record, told),
        "analysis": visit.current_analysis or "",
        "assessment": report["assessment"] if report else None,
        "attention": report["attention"] if report else list(visit.attention),
        "lesions": lesions,
        "open": [one.lesion.label for one in is_open],
        "unremarkable": [one.lesion.label for one in is_open if one.is_unremarkable],
        "decisions": [
            _decision_view(record, made, user)
            for made in in_force(decisions)
            if made.decision is not Decision.CONFIRM and made.time_point in (None, day.isoformat())
        ],
        "undo": [made.id for made in last],
        "undo_words": ", ".join(dict.fromkeys(decision_words(record, made) for made in last)),
        "signed_by": signature.signed_by if signature else "",
        "signed_at": signature.signed_at.isoformat() if signature else "",
        "is_busy": bool(why_busy(record, visit, told)),
        "busy_with": why_busy(record, visit, told),
        "volumes": [
            {"id": volume_id(record, visit, s.key), "name": s.name, "modality": s.modality}
            for s in shown_stacks(record, visit)
        ],
        "prior": _prior_view(record, visit),
    }


def _lesion_view(
    record: PatientRecord, visit: Visit, one: LesionToRead, shown: dict[str, Any]
) -> dict[str, Any]:
    lesion, size = one.lesion, one.lesion.measurement
    known = next((k for k in roster_of(record, visit) if k.tracking_uid == lesion.tracking_uid), None)
    earlier = record.visit(known.visit) if known and known.visit else None
    own = lesion.measured_on
    previous_mm = one.previous_mm
    change = None
    if lesion.diameter_mm is not None and previous_mm:
        change = f"{100 * (lesion.diameter_mm - previous_mm) / previous_mm:+.0f} %".replace("-", "−")
    return {
        "tracking_uid": lesion.tracking_uid,
        "label": lesion.label,
        "role": ROLE_WORDS[lesion.role],
        "colour": colour_class(lesion.role, lesion.label),
        "site": lesion.finding_site_meaning or lesion.organ or "site not said",
        "laterality": lesion.laterality,
        "organ": lesion.organ,
        "is_nodal": lesion.is_nodal,
        "state": lesion.state.value,
        "size": f"{lesion.diameter_mm:.1f} mm" if _is_measured(one) else LESION_WORDS[lesion.state],
        "diameter_mm": shown["diameter_mm"],
        "previous": None if previous_mm is None else f"{previous_mm:.1f} mm",
        "change": change,
        "axes": f"{size.long_axis.length_mm:.1f} × {size.short_axis.length_mm:.1f} mm" if size else "",
        "volume_ml": f"{size.volume_mm3 / 1000:.2f} ml" if size else "",
        "confidence": None
        if lesion.confidence is None or lesion.model is None
        else round(100 * lesion.confidence),
        "model": lesion.model.name if lesion.model else "",
        "reason": lesion.reason,
        "is_rejected": lesion.is_rejected,
        "standing": one.standing.value,
        "by": one.by,
        "remarks": list(one.remarks),
        "is_corrected": any(d.what == Decision.SET_DIAMETER.value for d in lesion.decisions),
        "volume": volume_id(record, visit, own) if own else "",
        "earlier": None
        if earlier is None or known is None or known.stack is None
        else {
            "visit_key": earlier.key,
            "volume": volume_id(record, earlier, known.stack),
            "day": record.day_of(earlier).isoformat(),
        },
    }


def _is_measured(one: LesionToRead) -> bool:
    return one.lesion.diameter_mm is not None and one.lesion.state in (LesionState.PRESENT, LesionState.SPLIT)


def _prior_view(record: PatientRecord, visit: Visit) -> list[dict[str, Any]]:
    """The volumes of the visit before, to be shown beside what no earlier outline belongs to."""
    prior = next((v for v in record.standing if v.anchor == visit.prior), None)
    if prior is None:
        return []
    day = record.day_of(prior).isoformat()
    return [
        {
            "visit_key": prior.key,
            "volume": volume_id(record, prior, s.key),
            "day": day,
            "modality": s.modality,
        }
        for s in shown_stacks(record, prior)
    ]


def _decision_view(record: PatientRecord, made: Override, user: User) -> dict[str, Any]:
    withdrawal = Ruling(decision=Decision.WITHDRAW, other=made.id)
    return {
        "id": made.id,
        "words": decision_words(record, made),
        "by": made.by,
        "at": made.at.isoformat(timespec="minutes"),
        "reason": made.reason,
        "may_withdraw": not why_not_allowed(user, withdrawal, record),
    }


def decision_words(record: PatientRecord, made: Override) -> str:
    """A decision in a few words: "T01: set diameter 18.0 mm"."""
    known = record.lesions.get(made.lesion or "")
    other = record.lesions.get(made.other or "")
    what = made.decision.value
    values = [
        f"{millimetres(made.diameter_um):.1f} mm"
        if made.decision is Decision.SET_DIAMETER and made.diameter_um is not None
        else "",
        LESION_WORDS[made.state] if made.decision is Decision.SET_STATE and made.state else "",
        ROLE_WORDS[made.role] if made.role else "",
        other.label if other else "",
        ("equivocal" if made.finding is NewLesion.EQUIVOCAL else "definite") if made.finding else "",
        made.intervention.text if made.intervention else "",
        made.overall.value if made.overall else "",
    ]
    said = " ".join([what, *filter(None, values)])
    return f"{known.label}: {said}" if known else said


def why_busy(record: PatientRecord, visit: Visit, told: Told | None) -> str:
    """What is going on with a visit that will change the page by itself, "" if nothing is."""
    coming = {StudyState.RECEIVING, StudyState.INGESTING, StudyState.INGESTING_INCOMPLETE}
    if any(study.state in coming for study in record.studies_of(visit)):
        return "images or marks are coming in"
    if visit.state is VisitState.PROCESSING:
        return "lesions are being outlined and measured"
    if visit.state is VisitState.WAITING:
        return visit.reason or VISIT_WORDS[visit.state]
    if told is None:
        return ""
    is_signed = told.draft in record.signatures
    is_written = visit.report is not None and visit.report.draft_identity == told.draft
    if not is_written or (is_signed and visit.state is VisitState.DRAFT):
        return "the signed report is being written" if is_signed else "the report is being written"
    return ""
