"""The states of studies, visits and result objects, how each may change, and their words for people."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum

from workflow.domain.lesion import LesionState


class Priority(IntEnum):
    """What is done first; within one, what has waited longest."""

    READER = 1  # somebody sits before it and waits
    BOARD = 2  # a tumour board looks at it tomorrow
    NORMAL = 3


class StudyState(StrEnum):
    """How far a study is on its way to a timeline."""

    RECEIVING = "RECEIVING"
    INGESTING = "INGESTING"
    INGESTING_INCOMPLETE = "INGESTING_INCOMPLETE"
    INGESTED = "INGESTED"
    QUARANTINED = "QUARANTINED"


class VisitState(StrEnum):
    """How far a visit is on its way to a signed report."""

    WAITING = "WAITING"  # for the visit before it
    PROCESSING = "PROCESSING"
    AWAITING_PROMPTS = "AWAITING_PROMPTS"
    NO_MATCH = "NO_MATCH"
    ANALYSED = "ANALYSED"
    FAILED = "FAILED"
    DRAFT = "DRAFT"
    SIGNED = "SIGNED"
    QUARANTINED = "QUARANTINED"
    JOINED = "JOINED"  # its studies belong to another visit now


class ResultState(StrEnum):
    """Where a result object is on its way to the PACS."""

    PENDING = "PENDING"
    SENT = "SENT"  # C-STORE succeeded
    VERIFIED = "VERIFIED"  # the destination lists it
    HELD = "HELD"  # validation failed
    REFUSED = "REFUSED"  # by the destination, for good


_STUDY = StudyState
_RESULT = ResultState
# A visit is judged anew from what is known of it: any of its states may follow any other.
TRANSITIONS: Mapping[StudyState | ResultState, frozenset[StudyState | ResultState]] = {
    _STUDY.RECEIVING: frozenset({_STUDY.INGESTING, _STUDY.INGESTING_INCOMPLETE}),
    _STUDY.INGESTING: frozenset({_STUDY.INGESTED, _STUDY.QUARANTINED, _STUDY.RECEIVING}),
    _STUDY.INGESTING_INCOMPLETE: frozenset({_STUDY.INGESTED, _STUDY.QUARANTINED, _STUDY.RECEIVING}),
    _STUDY.INGESTED: frozenset({_STUDY.RECEIVING, _STUDY.INGESTED, _STUDY.QUARANTINED}),
    _STUDY.QUARANTINED: frozenset({_STUDY.RECEIVING, _STUDY.INGESTED, _STUDY.QUARANTINED}),
    _RESULT.PENDING: frozenset({_RESULT.PENDING, _RESULT.SENT, _RESULT.REFUSED}),
    _RESULT.SENT: frozenset({_RESULT.PENDING, _RESULT.VERIFIED}),
    _RESULT.VERIFIED: frozenset(),
    _RESULT.HELD: frozenset(),
    _RESULT.REFUSED: frozenset({_RESULT.PENDING}),
}


def may_follow(before: StudyState | ResultState, after: StudyState | ResultState) -> bool:
    """Whether a state may follow another."""
    return after in TRANSITIONS[before]


VISIT_WORDS: Mapping[VisitState, str] = {
    VisitState.WAITING: "waits for an earlier visit",
    VisitState.PROCESSING: "is being worked on",
    VisitState.AWAITING_PROMPTS: "waits for marks",
    VisitState.NO_MATCH: "no lesion found again",
    VisitState.ANALYSED: "analysed",
    VisitState.FAILED: "failed",
    VisitState.DRAFT: "draft",
    VisitState.SIGNED: "signed",
    VisitState.QUARANTINED: "waits for a decision",
    VisitState.JOINED: "part of another visit",
}
STUDY_WORDS: Mapping[StudyState, str] = {
    StudyState.RECEIVING: "being received",
    StudyState.INGESTING: "being looked at",
    StudyState.INGESTING_INCOMPLETE: "being looked at, incomplete",
    StudyState.INGESTED: "not used",
    StudyState.QUARANTINED: "waits for a decision",
}
RESULT_WORDS: Mapping[ResultState, str] = {
    ResultState.PENDING: "to be sent",
    ResultState.SENT: "sent, not yet listed by the PACS",
    ResultState.VERIFIED: "stored in the PACS",
    ResultState.HELD: "held back, validation failed",
    ResultState.REFUSED: "refused by the PACS",
}
# The stages of the pipeline as an operator reads them; one that is not here is called by its name.
STAGE_WORDS: Mapping[str, str] = {
    "ingest": "look at study",
    "timeline": "timeline of patient",
    "infer": "find lesions of visit",
    "report": "report of patient",
    "deliver": "deliver report",
}
LESION_WORDS: Mapping[LesionState, str] = {
    LesionState.PRESENT: "present",
    LesionState.TOO_SMALL: "too small to measure",
    LesionState.DISAPPEARED: "disappeared",
    LesionState.MERGED: "merged",
    LesionState.SPLIT: "split",
    LesionState.NOT_EVALUABLE: "not evaluable",
    LesionState.TRACKING_FAILED: "not found again",
}
