"""What may become of a study and of a result object, and what may not."""

from __future__ import annotations

import pytest

from workflow.domain.states import TRANSITIONS, ResultState, StudyState, may_follow

R, S = ResultState, StudyState


def test_a_proven_or_held_result_stays_what_it_is():
    for state in R:
        assert not may_follow(R.VERIFIED, state)
        assert not may_follow(R.HELD, state)


def test_nothing_is_proven_that_was_not_sent():
    assert {state for state in R if may_follow(state, R.VERIFIED)} == {R.SENT}


def test_what_was_sent_in_vain_or_refused_can_be_sent_again():
    assert may_follow(R.SENT, R.PENDING)
    assert may_follow(R.REFUSED, R.PENDING)


def test_nothing_is_held_back_once_it_waits_to_be_sent():
    assert not [state for state in R if may_follow(state, R.HELD)]


def test_a_study_comes_to_a_timeline_through_ingest_alone():
    assert not may_follow(S.RECEIVING, S.INGESTED)
    assert not may_follow(S.RECEIVING, S.QUARANTINED)
    for ingesting in (S.INGESTING, S.INGESTING_INCOMPLETE):
        assert may_follow(S.RECEIVING, ingesting)
        assert may_follow(ingesting, S.INGESTED)
        assert may_follow(ingesting, S.QUARANTINED)


def test_every_study_can_be_received_again_when_more_of_it_comes():
    assert {state for state in S if may_follow(state, S.RECEIVING)} == set(S) - {S.RECEIVING}


@pytest.mark.parametrize("state", [*S, *R])
def test_every_state_has_its_row_and_stays_among_its_kind(state):
    assert {type(after) for after in TRANSITIONS[state]} <= {type(state)}
