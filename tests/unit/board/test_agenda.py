"""The list of a board, what a patient lacks, and what changed since a packet was frozen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from workflow.domain.board import (
    LONGEST_QUESTION,
    Agenda,
    BoardDay,
    BoardEntry,
    BoardPatient,
    BoardPriority,
    BoardVisit,
    changed_since,
    content_of,
    missing,
    next_first,
)
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.states import VisitState

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def entry(key: int, priority: BoardPriority = BoardPriority.NORMAL, question: str = "") -> BoardEntry:
    return BoardEntry(patient_key=key, added_by="roe", added_at=NOW, priority=priority, question=question)


def agenda(*entries: BoardEntry) -> Agenda:
    made = Agenda(day=date(2026, 12, 1))
    for one in entries:
        made = made.with_entry(one)
    return made


def keys(made: Agenda) -> list[int]:
    return [one.patient_key for one in made.entries]


def test_a_new_patient_stands_after_those_as_urgent_and_before_the_others():
    urgent, if_time = BoardPriority.URGENT, BoardPriority.IF_TIME
    made = agenda(entry(1), entry(2, if_time), entry(3, urgent), entry(4), entry(5, urgent))
    assert keys(made) == [3, 5, 1, 4, 2]


@pytest.mark.parametrize(
    ("key", "steps", "order"),
    [(1, 1, [2, 1, 3]), (3, -1, [1, 3, 2]), (1, -1, [1, 2, 3]),
     (3, 5, [1, 2, 3]), (3, -9, [3, 1, 2]), (2, 0, [1, 2, 3])],
)  # fmt: skip
def test_a_patient_moves_by_steps_and_not_beyond_the_ends(key, steps, order):
    assert keys(agenda(entry(1), entry(2), entry(3)).moved(key, steps)) == order


def test_a_list_of_which_nothing_is_known_refuses_what_is_not_on_it():
    with pytest.raises(UnsuitableInputError, match="add the patient first"):
        agenda().without(1)
    with pytest.raises(UnsuitableInputError, match="already"):
        agenda(entry(1), entry(1))
    with pytest.raises(UnsuitableInputError, match="2001 characters"):
        entry(1, question="?" * (LONGEST_QUESTION + 1))


def test_the_next_board_is_the_first_of_those_to_come():
    days = [BoardDay(day=date(2026, 12, d), patients=1) for d in (8, 1, 24, 15)]
    coming, past = next_first(days, date(2026, 12, 8))
    assert [b.day.day for b in coming] == [8, 15, 24]
    assert [b.day.day for b in past] == [1]


def visit(day: int, **said: object) -> BoardVisit:
    values = {
        "key": day, "day": date(2026, 3, day), "state": VisitState.DRAFT, "report_identity": f"r{day}",
        "report_version": 1, "overall": "SD",
    }  # fmt: skip
    return BoardVisit(**(values | said))


def patient(*visits: BoardVisit) -> BoardPatient:
    return BoardPatient(key=1, patient_id="P-1", patient_name="Test, Person", visits=visits)


BASELINE = visit(1, is_baseline=True, state=VisitState.SIGNED, signed_by="Roe")
SIGNED = visit(2, state=VisitState.SIGNED, signed_by="Roe")


@pytest.mark.parametrize(
    ("visits", "words"),
    [
        ((), ["no study is on the timeline"]),
        ((BASELINE, SIGNED), []),
        ((BASELINE,), ["no follow-up, only a baseline"]),
        ((BASELINE, visit(2)), ["not signed: 2026-03-02"]),
        ((BASELINE, replace(SIGNED, attention=("a", "b"))), ["2 to be looked at"]),
        (
            (BASELINE, *(visit(day) for day in range(2, 8))),
            ["not signed: 6 visits, 2026-03-02 to 2026-03-07"],
        ),
        (
            (BASELINE, SIGNED, visit(3, state=VisitState.PROCESSING, report_identity=None)),
            ["still running: 2026-03-03"],
        ),
        (
            (visit(1, state=VisitState.AWAITING_PROMPTS, report_identity=None),),
            ["2026-03-01 waits for marks", "no report"],
        ),
        (
            (BASELINE, SIGNED, visit(3, state=VisitState.FAILED, report_identity=None)),
            ["2026-03-03 failed"],
        ),
    ],
)
def test_what_a_board_would_miss_is_said(visits, words):
    assert list(missing(patient(*visits))) == words


THEN = content_of(entry(1, question="Resection?"), patient(BASELINE, visit(2)))


@pytest.mark.parametrize(
    ("asked", "visits", "words"),
    [
        ("Resection?", (BASELINE, visit(2)), []),
        ("Resection?", (BASELINE, replace(visit(2), reason="other words")), []),
        ("Radiation?", (BASELINE, visit(2)), ["the question"]),
        ("Resection?", (BASELINE,), ["2026-03-02 is gone"]),
        ("Resection?", (BASELINE, visit(2), visit(3)), ["2026-03-03 is new"]),
        ("Resection?", (BASELINE, SIGNED), ["2026-03-02: signed by Roe"]),
        (
            "Resection?",
            (BASELINE, replace(visit(2), report_identity="r2b", report_version=2)),
            ["2026-03-02: report version 1 → 2"],
        ),
        (
            "Resection?",
            (BASELINE, replace(visit(2), attention=("x",))),
            ["2026-03-02: what is to be looked at"],
        ),
        (
            "Resection?",
            (BASELINE, replace(visit(2), state=VisitState.PROCESSING)),
            ["2026-03-02: draft → is being worked on"],
        ),
    ],
)
def test_what_changed_since_a_packet_is_said_and_nothing_else_makes_a_new_one(asked, visits, words):
    now = content_of(entry(1, question=asked), patient(*visits))
    assert list(changed_since(THEN, now)) == words
    assert (now.sha256 == THEN.sha256) is (words == [])
