"""Ingest: a study that went quiet becomes a revision with its series chosen, or is quarantined."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.tables import (
    InstanceRow,
    PatientRow,
    QuarantineRow,
    ResultObjectRow,
    RevisionRow,
    StudyRow,
    TimePointRow,
)
from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.domain.patient import PatientIdentity, why_not_same
from workflow.domain.series import ScoredSeries, SeriesDescription
from workflow.domain.series_choice import SeriesChoice, choose_series
from workflow.domain.study_state import Readiness, ReceptionFacts, ReceptionRule, judge_readiness
from workflow.engine.context import Context, audit
from workflow.engine.jobs import Job, enqueue

log = logging.getLogger(__name__)

# Modalities of objects that may carry prompts; everything else that is no image is only kept.
PROMPT_MODALITIES = frozenset({"RTSTRUCT", "SEG", "SR", "PR", "KO"})


def close_quiet_studies(context: Context) -> int:
    """Look at every study that is being received; the ready ones go on to ingest. Return how many."""
    rule = ReceptionRule(
        quiet_s=context.settings.readiness.quiet_s,
        max_wait_s=context.settings.readiness.max_wait_s,
        required_modalities=frozenset(context.settings.readiness.required_modalities),
    )
    with context.reading() as session:
        receiving = list(session.scalars(select(StudyRow.id).where(StudyRow.state == "RECEIVING")))
    ready = 0
    for study_id in receiving:
        try:
            _poll_pacs(study_id, context)
        except TransientError as error:  # no count is no agreement; the study waits, others go on
            log.warning("study %d: %s", study_id, error)
        with context.unit() as session:
            study = session.get_one(StudyRow, study_id, with_for_update=True)
            if study.state != "RECEIVING":  # closed by another reconciler
                continue
            now = context.clock()
            modalities = session.scalars(
                select(InstanceRow.modality).where(InstanceRow.study_instance_uid == study.study_instance_uid)
            )
            facts = ReceptionFacts(
                first_received_at=study.first_received_at,
                last_received_at=study.last_received_at,
                modalities=frozenset(modalities),
                pacs_is_asked=context.pacs_instance_count is not None,
                agreeing_polls=study.agreeing_polls,
            )
            readiness, reason = judge_readiness(facts, rule, now)
            study.reason = reason
            if readiness is not Readiness.WAIT:
                study.state = "INGESTING" if readiness is Readiness.READY else "INGESTING_INCOMPLETE"
                enqueue(session, stage="ingest", subject=str(study.id), lane=f"study:{study.id}", due_at=now)
                ready += 1
    return ready


def _poll_pacs(study_id: int, context: Context) -> None:
    """Compare the PACS's count with ours, once per quiet period: two polls in a burst prove nothing.

    Our own results are counted on neither side. A PACS that does not answer agrees with nothing.
    """
    if context.pacs_instance_count is None:
        return
    with context.reading() as session:
        study = session.get_one(StudyRow, study_id)
        uid, polled_at = study.study_instance_uid, study.polled_at
        ours = len(_instances(session, uid))
        results = set(
            session.scalars(
                select(ResultObjectRow.series_instance_uid).where(ResultObjectRow.study_instance_uid == uid)
            )
        )
    now = context.clock()
    if polled_at is not None and (now - polled_at).total_seconds() < context.settings.readiness.quiet_s / 2:
        return
    theirs: int | None = None
    try:
        theirs = context.pacs_instance_count(uid, results)
    except TransientError as error:
        log.warning("study %s can't be counted: %s", uid, error)
    with context.unit() as session:
        study = session.get_one(StudyRow, study_id)
        agrees = theirs == ours
        study.agreeing_polls = study.agreeing_polls + 1 if agrees else 0
        study.pacs_count, study.polled_at = theirs, now


def ingest(job: Job, context: Context) -> None:
    """Describe and choose the series of a study, find its patient, and place it on the timeline.

    Raises
    ------
    UnsuitableInputError
        If the study can't be measured or its patient is in doubt; it is quarantined with the reason first.
    """
    with context.reading() as session:
        study = session.get_one(StudyRow, int(job.subject))
        rows = _instances(session, study.study_instance_uid)
        is_complete = study.state != "INGESTING_INCOMPLETE"
    try:
        identity = _one_patient(rows, context)
        images = [row for row in rows if row.modality not in PROMPT_MODALITIES]
        job.report_progress(0.2, "reading headers")
        series = context.images.describe_study([Path(row.path) for row in images]) if images else []
        references = {
            row.sop_instance_uid: sorted(context.prompts.refers_to(Path(row.path)))
            for row in rows
            if row.modality in PROMPT_MODALITIES and row.refers_to is None
        }
        choice = choose_series(series) if series else None
        if choice is not None and choice.chosen is None:
            if not any(row.modality in PROMPT_MODALITIES for row in rows):
                raise UnsuitableInputError(f"no series of the study can be measured: {choice.reason}")
            choice = None  # a study of its own for prompts (RTSTRUCT beside RTPLAN and RTDOSE)
        with context.unit() as session:
            study = session.get_one(StudyRow, int(job.subject), with_for_update=True)
            patient = _patient(session, identity)
            former, study.patient_key = study.patient_key, patient.id
            _resolve(session, study, context.clock())
            for row in _instances(session, study.study_instance_uid):
                if row.sop_instance_uid in references:
                    row.refers_to = references[row.sop_instance_uid]
            if choice is not None:
                _place(session, study, patient, rows, choice, is_complete, context.clock())
            if study.state.startswith("INGESTING"):  # else an instance came meanwhile: it is looked at again
                study.state, study.reason = "INGESTED", ""
            for patient_key in {patient.id, former or patient.id}:  # corrected: it left another's timeline
                _look_at_timeline(session, patient_key, context.clock())
    except UnsuitableInputError as error:
        with context.unit() as session:
            _quarantine(session, int(job.subject), str(error), context.clock())
        raise


def _instances(session: Session, study_instance_uid: str) -> list[InstanceRow]:
    return list(
        session.scalars(
            select(InstanceRow)
            .where(InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.is_own_result.is_(False))
            .order_by(InstanceRow.sop_instance_uid)
        )
    )


def _one_patient(rows: list[InstanceRow], context: Context) -> PatientIdentity:
    """Whose study it is, when all its instances agree: a correction may have arrived by half."""
    identities = list(dict.fromkeys(context.images.patient(Path(row.path)) for row in rows))
    for identity in identities[1:]:
        if reason := why_not_same(identities[0], identity):
            raise UnsuitableInputError(f"the study's instances name different patients: {reason}")
    if not identities[0].patient_id:
        raise UnsuitableInputError("the study has no PatientID; have it corrected in the PACS and sent again")
    return identities[0]


def _patient(session: Session, identity: PatientIdentity) -> PatientRow:
    """The patient's row, made or confirmed.

    Raises
    ------
    UnsuitableInputError
        If name, birth date or sex contradict what is known under this PatientID.
    """
    same = select(PatientRow).where(
        PatientRow.patient_id == identity.patient_id,
        PatientRow.issuer_of_patient_id == identity.issuer_of_patient_id,
    )
    row = session.scalar(same)
    if row is None:
        row = PatientRow(**asdict(identity))
        try:
            with session.begin_nested():
                session.add(row)
            return row
        except IntegrityError:  # another study of a new patient was ingested at the same moment
            row = session.scalars(same).one()
    known = PatientIdentity(
        patient_id=row.patient_id,
        issuer_of_patient_id=row.issuer_of_patient_id,
        patient_name=row.patient_name,
        birth_date=row.birth_date,
        sex=row.sex,
    )
    if reason := why_not_same(known, identity):
        raise UnsuitableInputError(f"{reason}: a person has to decide whose study this is")
    row.birth_date, row.sex = row.birth_date or identity.birth_date, row.sex or identity.sex
    row.patient_name = row.patient_name or identity.patient_name
    return row


def _place(
    session: Session,
    study: StudyRow,
    patient: PatientRow,
    rows: list[InstanceRow],
    choice: SeriesChoice,
    is_complete: bool,
    now: datetime,
) -> None:
    """Write the revision (unless nothing changed) and the time point that shows it."""
    chosen = choice.chosen
    if chosen is None:
        raise ValueError("a choice without a series can't be placed")
    notes = [] if is_complete else ["the study was incomplete when it was processed"]
    if study.study_date is None:
        study.study_date = study.first_received_at.date()
        notes.append("the study has no date; the day on which it was received stands for it")
    digests = {row.sop_instance_uid: row.sha256 for row in rows}
    content = _digest(sorted(digests.values()))
    latest = study.revisions[-1] if study.revisions else None
    if latest is None or latest.content_sha256 != content or latest.is_complete != is_complete:
        latest = RevisionRow(
            study=study,
            number=len(study.revisions) + 1,
            content_sha256=content,
            is_complete=is_complete,
            created_at=now,
            series_instance_uid=chosen.series_instance_uid,
            series_stack=chosen.stack,
            series_sha256=_digest([digests[uid] for uid in sorted(chosen.sop_instance_uids)]),
            series=to_json(chosen),
            series_choice=[_choice(s) for s in choice.scores],
            notes=[choice.reason, *notes],
        )
        session.add(latest)
        session.flush()
        audit(
            session,
            now,
            actor="ingest",
            action="study revision",
            about=study.study_instance_uid,
            number=latest.number,
            series=chosen.series_instance_uid,
        )
    time_point = session.scalar(select(TimePointRow).where(TimePointRow.study_id == study.id))
    if time_point is None:
        time_point = TimePointRow(study_id=study.id, patient_key=patient.id)
        session.add(time_point)
    time_point.revision_id, time_point.patient_key = latest.id, patient.id


def fail(job: Job, reason: str, context: Context) -> None:
    """Keep a study whose ingest failed for good in view of a person, unless it is quarantined already."""
    with context.unit() as session:
        if session.get_one(StudyRow, int(job.subject)).state != "QUARANTINED":
            _quarantine(session, int(job.subject), f"ingest failed: {reason}", context.clock())


def _look_at_timeline(session: Session, patient_key: int, now: datetime) -> None:
    enqueue(session, stage="timeline", subject=str(patient_key), lane=f"patient:{patient_key}", due_at=now)


def _resolve(session: Session, study: StudyRow, now: datetime) -> None:
    """Close what was kept for a person about a study that is now in order."""
    kept = session.scalars(
        select(QuarantineRow).where(
            QuarantineRow.study_instance_uid == study.study_instance_uid, QuarantineRow.resolved_at.is_(None)
        )
    )
    for row in kept:
        row.resolved_at = now


def _quarantine(session: Session, study_id: int, reason: str, now: datetime) -> None:
    study = session.get_one(StudyRow, study_id)
    study.state, study.reason = "QUARANTINED", reason
    _resolve(session, study, now)  # the newest reason is enough
    point = session.scalar(select(TimePointRow).where(TimePointRow.study_id == study_id))
    if point is not None:  # nothing is compared with it any more
        point.state, point.reason = "QUARANTINED", reason
        _look_at_timeline(session, point.patient_key, now)
    session.add(
        QuarantineRow(
            what=f"study {study.study_instance_uid}",
            reason=reason,
            study_instance_uid=study.study_instance_uid,
            kept_at=now,
        )
    )


def _name(series: SeriesDescription) -> str:
    return series.description or f"series {series.series_number or series.series_instance_uid}"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _choice(scored: ScoredSeries) -> dict[str, Any]:
    series = scored.series
    return {
        "series_instance_uid": series.series_instance_uid,
        "stack": series.stack,
        "description": _name(series),
        "score": scored.score,
        "reasons": list(scored.reasons),
        "refusal": series.refusal,
    }


def to_json(series: SeriesDescription) -> dict[str, Any]:
    """A series description as a JSON value; `series_from_json` is the inverse."""
    value: dict[str, Any] = json.loads(json.dumps(asdict(series), default=lambda moment: moment.isoformat()))
    return value


def series_from_json(value: dict[str, Any]) -> SeriesDescription:
    """The series description that `to_json` wrote."""

    def tuples(part: Any) -> Any:
        return tuple(tuples(p) for p in part) if isinstance(part, list) else part

    fields = {name: tuples(part) for name, part in value.items()}
    if fields.get("acquired_at"):
        fields["acquired_at"] = datetime.fromisoformat(fields["acquired_at"])
    return SeriesDescription(**fields)
