"""Ingest: a study that went quiet is described, dated, given to its patient, or kept for a person."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.domain.patient import Likeness, compare, why_not_same
from workflow.domain.record import Revision, digest_of_parts
from workflow.domain.series import PROMPT_MODALITIES, ScoredSeries, SeriesDescription, StackKey
from workflow.domain.series_choice import SeriesChoice, choose_series, measurable_stacks
from workflow.domain.study_facts import StudyFacts, copy_of
from workflow.domain.study_state import ReceptionRule, judge_readiness
from workflow.engine.context import Context
from workflow.ports import Job, KnownPatient, Placement, ReceivedFile, ReceivedStudy

log = logging.getLogger(__name__)

# What a study must hold to be measured on; a study of other images (RTDOSE, US) only carries marks.
_MEASURED = frozenset({"CT", "MR", "PT"})


def close_quiet_studies(context: Context) -> int:
    """Look at every study that is being received; the ready ones go on to ingest. Return how many."""
    readiness = context.settings.readiness
    rule = ReceptionRule(
        quiet_s=readiness.quiet_s,
        max_wait_s=readiness.max_wait_s,
        required_modalities=frozenset(readiness.required_modalities),
    )
    ready = 0
    for study_key in context.reception.receiving():
        try:
            _poll_pacs(study_key, context)
        except TransientError as error:  # no count is no agreement; the study waits, others go on
            log.warning("study %d: %s", study_key, error)
        ready += context.reception.close(
            study_key,
            lambda facts: judge_readiness(facts, rule, context.clock()),
            pacs_is_asked=context.pacs_instance_count is not None,
        )
    return ready


def _poll_pacs(study_key: int, context: Context) -> None:
    """Compare the PACS's count with ours, once per quiet period: two polls in a burst prove nothing.

    Our own results are counted on neither side. A PACS that does not answer agrees with nothing.
    """
    if context.pacs_instance_count is None:
        return
    asked = context.reception.quiet_study(study_key)
    pause = timedelta(seconds=context.settings.readiness.quiet_s / 2)
    if asked.polled_at is not None and context.clock() - asked.polled_at < pause:
        return
    theirs: int | None = None
    try:
        theirs = context.pacs_instance_count(asked.study_instance_uid, asked.own_result_series)
    except TransientError as error:
        log.warning("study %s can't be counted: %s", asked.study_instance_uid, error)
    context.reception.note_poll(study_key, theirs, agrees=theirs == asked.instance_count)


def ingest(job: Job, context: Context) -> None:
    """Find out whose a study is, when it was taken and what can be measured on it.

    Raises
    ------
    UnsuitableInputError
        If it can't be measured or its patient or date is in doubt; it is kept for a person first.
    """
    study = context.reception.study(int(job.subject))
    try:
        facts = _facts(study, context)
        patient, remark = _whose(facts, context)
        job.report_progress(0.2, "reading headers")
        placement = _placement(study, facts, patient, remark, context)
    except UnsuitableInputError as error:
        context.reception.quarantine(study.key, str(error))
        raise
    context.reception.place(study.key, placement)
    if context.prior_source is not None and placement.revision is not None:
        context.priors.ask(study.key)
    if placement.refusal:
        raise UnsuitableInputError(placement.refusal)


def fail(job: Job, reason: str, context: Context) -> None:
    """Keep a study whose ingest failed for good in view of a person, unless it is kept already."""
    context.reception.quarantine(int(job.subject), f"ingest failed: {reason}", unless_kept=True)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ingest would find out about a study and do with it. `refusal` would keep it for a person."""

    patient_id: str
    is_known_patient: bool
    study_date: date | None
    dated_by: str
    choice: str
    series: tuple[Mapping[str, object], ...]
    doubts: tuple[str, ...]
    refusal: str


def plan(study_key: int, context: Context) -> Plan:
    """Look at a received study as `ingest` does, and change nothing."""
    study = context.reception.study(study_key)
    facts = _facts(study, context)
    patient, refusal = None, ""
    try:
        patient, _ = _whose(facts, context)
    except UnsuitableInputError as error:
        refusal = str(error)
    seen = _seen(study, facts, context)
    return Plan(
        patient_id=facts.identities[0].patient_id if facts.identities else "",
        is_known_patient=patient is not None,
        study_date=facts.study_date,
        dated_by=facts.dated_by,
        choice=seen.choice.reason if seen.choice else "",
        series=tuple(_line(scored) for scored in seen.choice.scores) if seen.choice else (),
        doubts=(*facts.doubts, *_repeated(study)),
        refusal=refusal or seen.refusal,
    )


# ---------------------------------------------------------------- whose


def _facts(study: ReceivedStudy, context: Context) -> StudyFacts:
    # Whose the marks are that somebody stored here was compared with the study then; viewers leave out
    # half of what identifies a patient.
    speaking = [f for f in study.files if not (f.stored_by and f.modality in PROMPT_MODALITIES)]
    return context.images.study_facts([f.path for f in speaking], context.clock().date())


def _whose(facts: StudyFacts, context: Context) -> tuple[KnownPatient | None, str]:
    """The known patient whose study it is, None for a new one, and what is worth saying of that.

    Raises
    ------
    UnsuitableInputError
        If its instances name several patients, or a person has to say whose it is.
    """
    if not facts.identities:
        raise UnsuitableInputError("no instance of the study can be read; have it sent again")
    identity, *others = facts.identities
    for other in others:  # a correction may have arrived by half
        if reason := why_not_same(identity, other):
            raise UnsuitableInputError(f"the study's instances name different patients: {reason}")
    if not identity.patient_id:
        raise UnsuitableInputError("the study has no PatientID; have it corrected in the PACS and sent again")
    known_patients = context.reception.patients(identity.patient_id)
    matches = [(known, compare(known.identity, identity)) for known in known_patients]
    same = [known for known, match in matches if match.likeness is Likeness.SAME]
    joined = [(known, match) for known, match in matches if match.likeness is Likeness.JOINED]
    doubtful = [match for _, match in matches if match.likeness is Likeness.IN_DOUBT]
    if same:
        return same[0], ""
    if len(joined) == 1 and not doubtful:
        return joined[0][0], joined[0][1].reason
    if joined:
        raise UnsuitableInputError(
            "patients of several issuers have this PatientID: a person has to decide whose study this is"
        )
    if doubtful:
        raise UnsuitableInputError(f"{doubtful[0].reason}: a person has to decide whose study this is")
    return None, ""


# ---------------------------------------------------------------- what


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What of a study is images and marks, what can be measured, and why it would be kept, "" if not."""

    images: Sequence[ReceivedFile]
    marks: Sequence[ReceivedFile]
    series: Sequence[SeriesDescription]
    choice: SeriesChoice | None
    refusal: str


def _seen(study: ReceivedStudy, facts: StudyFacts, context: Context) -> _Seen:
    images = [f for f in study.files if f.modality not in PROMPT_MODALITIES]
    series = context.images.describe_study([f.path for f in images]) if images else []
    marks = [f for f in study.files if f.modality in PROMPT_MODALITIES]
    choice = choose_series(series) if series else None
    refusal = _why_not_measured(series, choice, has_marks=bool(marks))
    if not refusal and facts.study_date is None and (images or marks):
        refusal = "the study bears no date, and the day of receipt is none; have it corrected and sent again"
    return _Seen(images=images, marks=marks, series=series, choice=choice, refusal=refusal)


def _placement(
    study: ReceivedStudy,
    facts: StudyFacts,
    patient: KnownPatient | None,
    remark: str,
    context: Context,
) -> Placement:
    seen = _seen(study, facts, context)
    choice = seen.choice
    digests = context.images.pixel_digests([f.path for f in seen.images])
    original, copies = _copies(study, patient, frozenset(digests.values()), context)
    revision = None
    if choice is not None and not seen.refusal and choice.chosen is not None:
        revision = _revision(study, seen.series, choice, facts, context)
        strangers = context.reception.strangers_with(digests.values(), patient.key if patient else None)
        notes = [*revision.notes, *([remark] if remark else [])]
        doubts = list(revision.doubts)
        if strangers:
            doubts.append(f"{strangers} of its images are also images of another patient: whose are they?")
        revision = replace(revision, notes=tuple(notes), doubts=tuple(doubts))
    return Placement(
        identity=facts.identities[0],
        patient=patient.key if patient else None,
        study_date=facts.study_date,
        study_time=facts.study_time,
        dated_by=facts.dated_by,
        references={
            f.sop_instance_uid: sorted(context.prompts.refers_to(f.path))
            for f in seen.marks
            if f.sop_instance_uid in study.unread
        },
        pixel_digests=digests,
        revision=revision,
        best=choice.chosen if choice else None,
        copy_of=original,
        copies=copies,
        refusal=seen.refusal,
    )


def _why_not_measured(
    series: Sequence[SeriesDescription], choice: SeriesChoice | None, *, has_marks: bool
) -> str:
    """Why a study is kept for a person instead of being measured, "" if it is not.

    A study of marks only, or of marks beside what is no image to measure on (RTDOSE), is in order.
    """
    if choice is None:
        return "" if has_marks else "the study holds neither images nor marks"
    if choice.chosen is not None:
        return ""
    if has_marks and not any(one.modality in _MEASURED for one in series):
        return ""
    return f"no series of the study can be measured: {choice.reason}"


def _revision(
    study: ReceivedStudy,
    series: Sequence[SeriesDescription],
    choice: SeriesChoice,
    facts: StudyFacts,
    context: Context,
) -> Revision:
    notes = [choice.reason, *facts.notes]
    if not study.is_complete:
        notes.append("the study was incomplete when it was processed")
    measured = measurable_stacks(series)
    doubts = [
        *facts.doubts,
        *(doubt for one in measured for doubt in one.doubts),
        *_repeated(study),
        *study.kept,
    ]
    return Revision(
        number=0,
        content_sha256=digest_of_parts(sorted(f.sha256 for f in study.files)),
        is_complete=study.is_complete,
        created_at=context.clock(),
        series=tuple(series),
        choice=tuple(_line(scored) for scored in choice.scores),
        digests=_stack_digests(study.files, series),
        notes=tuple(notes),
        doubts=tuple(dict.fromkeys(doubts)),
    )


def _line(scored: ScoredSeries) -> Mapping[str, object]:
    """A series with its score as people read it; a score that is no number is none."""
    series = scored.series
    return {
        "series_instance_uid": series.series_instance_uid,
        "stack": series.stack,
        "study_instance_uid": series.study_instance_uid,
        "modality": series.modality,
        "description": series.description or series.name,
        "score": scored.score if abs(scored.score) < float("inf") else None,
        "reasons": list(scored.reasons),
        "refusal": series.refusal,
    }


def _stack_digests(files: Sequence[ReceivedFile], series: Sequence[SeriesDescription]) -> dict[StackKey, str]:
    """What the bytes of each usable stack are."""
    digests = {(f.series_instance_uid, f.sop_instance_uid): f.sha256 for f in files}
    return {
        one.key: digest_of_parts(
            digests[one.series_instance_uid, uid] for uid in sorted(one.sop_instance_uids)
        )
        for one in series
        if one.refusal is None
    }


def _repeated(study: ReceivedStudy) -> list[str]:
    """SOP Instance UIDs that stand elsewhere too: all are kept, and a person should know."""
    series_of: dict[str, set[str]] = {}
    for file in study.files:
        series_of.setdefault(file.sop_instance_uid, set()).add(file.series_instance_uid)
    shared = [uid for uid, own in series_of.items() if len(own) > 1]
    found = []
    if shared:
        found.append(f"{len(shared)} of its SOP Instance UIDs stand in several of its series; all are kept")
    if study.elsewhere:
        found.append(f"{len(study.elsewhere)} of its SOP Instance UIDs stand in other studies too")
    return found


def _copies(
    study: ReceivedStudy, patient: KnownPatient | None, mine: frozenset[str], context: Context
) -> tuple[str | None, frozenset[str]]:
    """The study that this one is a copy of, and the studies that are copies of this one."""
    if patient is None or not mine:
        return None, frozenset()
    others = context.reception.pixel_digests(patient.key, but=study.study_instance_uid)
    if original := copy_of(mine, others):
        return original, frozenset()
    uid = study.study_instance_uid
    return None, frozenset(other for other, theirs in others.items() if copy_of(theirs, {uid: mine}))
