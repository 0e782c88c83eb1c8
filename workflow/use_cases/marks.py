"""Marks come in: what a reader stored is kept, remembered as that reader's, and worked on at once.

Whatever a reader draws, in OHIF or on our own canvas, comes as DICOM and is received like any other instance.
The pipeline says what it means (`workflow.domain.marks`): a new lesion, or a correction of a known one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from workflow.domain.errors import UnsuitableInputError, WorkflowError
from workflow.domain.marks import CANVAS, Recogniser
from workflow.domain.patient import why_not_same
from workflow.domain.record import PromptObject
from workflow.domain.series import PROMPT_MODALITIES
from workflow.domain.users import User
from workflow.engine.context import Context
from workflow.ports import ReceivedInstance


class Taken(StrEnum):
    """What became of one object."""

    MARKS = "marks"
    IMAGES = "images"
    KNOWN = "known"  # it is here already, or is one of our own results
    NOT_DICOM = "not DICOM"
    NO_STUDY = "no such study"
    OTHER_PATIENT = "another patient"
    FAILED = "failed"  # for now; another try may do

    @property
    def is_accepted(self) -> bool:
        """Whether the object is here now."""
        return self in (Taken.MARKS, Taken.IMAGES, Taken.KNOWN)


@dataclass(frozen=True, kw_only=True)
class TakenObject:
    """One object: what became of it, and why, for the person who stored it.

    The UIDs are "" where the bytes are no DICOM. `lesions` are the labels of our lesions that it corrects.
    """

    outcome: Taken
    said: str
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    lesions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TakenIn:
    """Some objects, in the order in which they were given."""

    objects: tuple[TakenObject, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every object is here now."""
        return all(one.outcome.is_accepted for one in self.objects)


def take_in(context: Context, contents: Sequence[bytes], user: User, source: str) -> TakenIn:
    """Keep and receive what a reader stored; say of each object what became of it.

    Marks on a study that was processed before are worked on at once. An object that can't be taken stops no
    other; it is kept in view of a person with the reason, unless it is no DICOM.

    Parameters
    ----------
    contents
        Whole DICOM files (PS3.10), one for each object.
    source
        Which way they came, e.g. "STOW-RS" or "CANVAS"; 16 characters at most, as an AE title.
    """
    return TakenIn(objects=tuple(_take(context, content, user, source) for content in contents))


def _take(context: Context, content: bytes, user: User, source: str) -> TakenObject:
    try:
        received = context.keep(content, source)
    except UnsuitableInputError as error:
        context.reception.reject(source, f"stored by {user.name}: {error}")
        return TakenObject(outcome=Taken.NOT_DICOM, said="it is no DICOM instance that can be read")
    except OSError as error:
        return TakenObject(outcome=Taken.FAILED, said=f"it could not be kept ({error.strerror}); try again")
    is_mark = received.header.modality in PROMPT_MODALITIES
    if is_mark and (refused := _refusal(context, received)):
        outcome, reason = refused
        context.reception.reject(source, f"stored by {user.name}: {reason}", str(received.path))
        return _told(received, outcome, reason)
    try:
        is_new = context.reception.receive(received, stored_by=user.name, is_urgent=is_mark)
    except WorkflowError as error:
        return _told(received, Taken.FAILED, f"it could not be received: {error}; try again")
    if not is_new:
        return _told(received, Taken.KNOWN, "it is here already, or is one of our own results")
    if not is_mark:
        return _told(received, Taken.IMAGES, "received; the study is processed when it is quiet")
    meaning, lesions = _meaning(context, received, user)
    return _told(received, Taken.MARKS, f"received: {meaning}; the study is being processed", lesions)


def _meaning(context: Context, received: ReceivedInstance, user: User) -> tuple[str, tuple[str, ...]]:
    """What the pipeline will take a measurement report for, in words, and the lesions that it corrects."""
    study = context.reception.known_study(received.header.study_instance_uid)
    if received.header.modality != "SR" or study is None or study.patient is None:
        return "marks", ()
    record = context.records.load(study.patient.key)
    visit = next((v for v in record.standing if received.header.study_instance_uid in v.studies), None)
    if visit is None:
        return "marks", ()
    stored = PromptObject(
        sop_instance_uid=received.header.sop_instance_uid,
        study_instance_uid=received.header.study_instance_uid,
        modality=received.header.modality,
        sha256=received.sha256,
        stored_by=user.name,
        drawn_here=received.source == CANVAS,
        received_at=context.clock(),
    )
    recogniser = Recogniser(record, visit, [stored])
    files = context.records.files(visit.studies)
    read = context.prompts.read(
        [received.path],
        [f.path for f in files if f.modality not in PROMPT_MODALITIES],
        recognise=recogniser,
        labels=recogniser.labels,
    )
    lesions = tuple(one.told.label for made in recogniser.corrections.values() for one in made)
    parts = [f"a correction of {', '.join(lesions)}"] if lesions else []
    new = len(read.prompts) - len(lesions)
    parts += [f"{new} new mark{'s' if new > 1 else ''}"] if new else []
    as_told = len(recogniser.notes)
    parts += [f"{as_told} as we told {'them' if as_told > 1 else 'it'}"] if as_told else []
    return " and ".join(parts) or "nothing that shows a lesion", lesions


def _told(
    received: ReceivedInstance, outcome: Taken, said: str, lesions: tuple[str, ...] = ()
) -> TakenObject:
    header = received.header
    return TakenObject(
        outcome=outcome,
        said=said,
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        lesions=lesions,
    )


def _refusal(context: Context, received: ReceivedInstance) -> tuple[Taken, str] | None:
    """Why marks can't be taken: one object of a wrong patient would put the whole study in doubt."""
    study = context.reception.known_study(received.header.study_instance_uid)
    if study is None:
        return Taken.NO_STUDY, "its study is not here; have the images sent first"
    if study.patient is None:
        return Taken.NO_STUDY, "its study waits for a person to say whose it is"
    known = study.patient.identity
    try:
        named = context.images.patient(received.path)
    except UnsuitableInputError:
        return Taken.NOT_DICOM, "it says nothing of its patient that can be read"
    # Viewers copy the patient from the image, and leave the issuer out.
    named = replace(named, issuer_of_patient_id=named.issuer_of_patient_id or known.issuer_of_patient_id)
    reason = why_not_same(known, named)
    return (Taken.OTHER_PATIENT, f"it names another patient than its study: {reason}") if reason else None
