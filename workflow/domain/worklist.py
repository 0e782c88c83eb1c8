"""Who waits for what: the kinds of waiting that a worklist tells apart, the most urgent first."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from workflow.domain.states import ResultState, StudyState, VisitState


class Waiting(StrEnum):
    """What a patient waits for, or that its results arrived; one patient can be in several."""

    FAILED = "failed"
    DECISION = "decision"
    MARKS = "marks"
    REVIEW = "review"
    OVERDUE = "overdue"
    RECEIVING = "receiving"
    WORKING = "working"
    STORED = "stored"


WAITING_WORDS: Mapping[Waiting, str] = {
    Waiting.FAILED: "Failed",
    Waiting.DECISION: "To decide",
    Waiting.MARKS: "To mark",
    Waiting.REVIEW: "To review",
    Waiting.OVERDUE: "Overdue",
    Waiting.RECEIVING: "Being received",
    Waiting.WORKING: "Being worked on",
    Waiting.STORED: "Stored in the PACS",
}
# What somebody has to do something about.
NEEDS_A_PERSON = (Waiting.FAILED, Waiting.DECISION, Waiting.MARKS, Waiting.REVIEW, Waiting.OVERDUE)

VISITS: Mapping[Waiting, frozenset[VisitState]] = {
    Waiting.FAILED: frozenset({VisitState.FAILED, VisitState.NO_MATCH}),
    Waiting.DECISION: frozenset({VisitState.QUARANTINED}),
    Waiting.MARKS: frozenset({VisitState.AWAITING_PROMPTS}),
    Waiting.REVIEW: frozenset({VisitState.DRAFT}),
    Waiting.WORKING: frozenset({VisitState.WAITING, VisitState.PROCESSING, VisitState.ANALYSED}),
}
STUDIES: Mapping[Waiting, frozenset[StudyState]] = {
    Waiting.DECISION: frozenset({StudyState.QUARANTINED}),
    Waiting.RECEIVING: frozenset(
        {StudyState.RECEIVING, StudyState.INGESTING, StudyState.INGESTING_INCOMPLETE}
    ),
}
RESULTS: Mapping[Waiting, frozenset[ResultState]] = {
    Waiting.FAILED: frozenset({ResultState.HELD, ResultState.REFUSED}),
    Waiting.WORKING: frozenset({ResultState.PENDING, ResultState.SENT}),
}


class WorklistOrder(StrEnum):
    """How a worklist can be sorted."""

    URGENCY = "urgency"
    NAME = "name"
    NUMBER = "number"
    LATEST = "latest"


ORDER_WORDS: Mapping[WorklistOrder, str] = {
    WorklistOrder.URGENCY: "most urgent first",
    WorklistOrder.NAME: "by name",
    WorklistOrder.NUMBER: "by number",
    WorklistOrder.LATEST: "latest visit first",
}
