"""Delivery: a result is stored once the destination lists it, and not before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow.delivery import deliver
from workflow.domain.commitment import NO_SUCH_OBJECT, AskedCommitment, Commitment
from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.domain.record import StoredObject
from workflow.domain.states import ResultState, may_follow
from workflow.ports import Job, Progress, no_progress
from workflow.settings import Delivery

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Outbox:
    """Two objects that wait, and what was marked of each."""

    def __init__(self, *states: ResultState) -> None:
        self.objects = [
            StoredObject(
                role=role, sop_instance_uid=f"1.{n}", sop_class_uid="1.9", series_instance_uid=f"1.8.{n}",
                study_instance_uid="1.7", path=f"{role}.dcm", sha256="", state=state,
            )
            for n, (role, state) in enumerate(zip(("seg", "sr"), states, strict=True))
        ]  # fmt: skip
        self.asked: AskedCommitment | None = None

    def waiting(self, report_identity: str) -> tuple[StoredObject, ...]:
        waits = (ResultState.PENDING, ResultState.SENT)
        return tuple(o for o in self.objects if o.state in waits)

    def mark(self, uids, state, destination, error="") -> None:
        for place, made in enumerate(self.objects):
            if made.sop_instance_uid in uids:
                assert may_follow(made.state, state), (made.state, state)
                self.objects[place] = replace(made, state=state, error=error)

    def asked_commitment(self, report_identity: str) -> AskedCommitment | None:
        return self.asked

    def ask_commitment(self, report_identity: str, transaction_uid: str, uids) -> None:
        self.asked = AskedCommitment(
            transaction_uid=transaction_uid, asked_at=NOW, sop_instance_uids=frozenset(uids)
        )

    def give_up_commitment(self, transaction_uid: str) -> None:
        self.asked = None

    def settle(self, commitment: Commitment) -> bool:
        assert self.asked is not None
        assert commitment.transaction_uid == self.asked.transaction_uid
        self.asked = None
        self.mark(commitment.held, ResultState.VERIFIED, "")
        self.mark(list(commitment.failed), ResultState.PENDING, "", "not committed")
        return True

    @property
    def states(self) -> list[ResultState]:
        return [o.state for o in self.objects]


class Destination:
    """Answers every C-STORE with success, and lists what it is told to list."""

    name = "ARCHIVE"

    def __init__(self, *listed: str, refuses: str = "", is_away_for: str = "") -> None:
        self.listed, self.refuses, self.is_away_for = frozenset(listed), refuses, is_away_for
        self.stored = list[str]()

    def store(self, paths: Sequence[Path]) -> None:
        (path,) = paths
        if path.stem == self.refuses:
            raise UnsuitableInputError("status 0xC000")
        if path.stem == self.is_away_for:
            raise TransientError("the archive is not there")
        self.stored.append(path.stem)

    def held(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        return self.listed


class Committer:
    """Answers at once with what it holds, or not at all."""

    def __init__(self, *held: str, is_silent: bool = False) -> None:
        self.held, self.is_silent, self.asked = frozenset(held), is_silent, list[str]()

    def new_transaction(self) -> str:
        return f"2.{len(self.asked)}"

    def request(self, transaction_uid: str, objects: Mapping[str, str]) -> Commitment | None:
        self.asked.append(transaction_uid)
        if self.is_silent:
            return None
        lost = dict.fromkeys(objects.keys() - self.held, NO_SUCH_OBJECT)
        return Commitment(transaction_uid=transaction_uid, held=self.held & objects.keys(), failed=lost)


def _deliver(
    outbox: Outbox,
    destination: Destination,
    committer: Committer | None = None,
    later_s: float = 0.0,
    report_progress: Progress = no_progress,
) -> None:
    context = SimpleNamespace(
        outbox=outbox,
        destination=destination,
        committer=committer,
        clock=lambda: NOW + timedelta(seconds=later_s),
        settings=SimpleNamespace(delivery=Delivery()),
    )
    job = Job(id=1, stage="deliver", subject="report", attempts=1, report_progress=report_progress)
    deliver(job, context)  # type: ignore[arg-type]


def test_what_the_destination_took_and_lists_is_proven():
    outbox, destination = Outbox(ResultState.PENDING, ResultState.PENDING), Destination("1.0", "1.1")
    _deliver(outbox, destination)
    assert destination.stored == ["seg", "sr"]
    assert outbox.states == [ResultState.VERIFIED, ResultState.VERIFIED]


def test_a_c_store_status_is_no_proof():
    outbox, destination = Outbox(ResultState.PENDING, ResultState.PENDING), Destination("1.0")
    with pytest.raises(TransientError, match=r"does not list 1\.1"):
        _deliver(outbox, destination)
    assert outbox.states == [ResultState.VERIFIED, ResultState.PENDING]
    destination.listed = frozenset({"1.0", "1.1"})
    _deliver(outbox, destination)
    assert destination.stored == ["seg", "sr", "sr"]  # only what was not proven is sent again
    assert outbox.states == [ResultState.VERIFIED, ResultState.VERIFIED]


def test_what_was_sent_before_a_worker_ended_is_asked_for_and_not_sent_again():
    outbox, destination = Outbox(ResultState.SENT, ResultState.PENDING), Destination("1.0", "1.1")
    _deliver(outbox, destination)
    assert destination.stored == ["sr"]
    assert outbox.states == [ResultState.VERIFIED, ResultState.VERIFIED]


def test_an_object_that_is_refused_stops_no_other_and_is_shown():
    outbox = Outbox(ResultState.PENDING, ResultState.PENDING)
    with pytest.raises(UnsuitableInputError, match="refused seg"):
        _deliver(outbox, Destination("1.1", refuses="seg"))
    assert outbox.states == [ResultState.REFUSED, ResultState.VERIFIED]
    assert outbox.objects[0].error == "status 0xC000"


def test_a_destination_that_goes_away_ends_the_try_and_its_words_stay_with_the_object():
    outbox = Outbox(ResultState.PENDING, ResultState.PENDING)
    destination = Destination("1.0", is_away_for="seg")
    with pytest.raises(TransientError, match="the archive is not there"):
        _deliver(outbox, destination)
    assert destination.stored == []  # the SR, which refers to the SEG, does not go before it
    assert outbox.states == [ResultState.PENDING, ResultState.PENDING]
    assert outbox.objects[0].error == "the archive is not there"


def test_progress_is_the_share_that_was_sent():
    outbox, said = Outbox(ResultState.PENDING, ResultState.PENDING), []
    _deliver(outbox, Destination("1.0", "1.1"), report_progress=lambda *now: said.append(now))
    assert said == [(0.0, "sending seg to ARCHIVE"), (0.5, "sending sr to ARCHIVE")]


def test_with_commitment_the_list_of_the_destination_is_not_enough():
    outbox, destination = Outbox(ResultState.PENDING, ResultState.PENDING), Destination("1.0", "1.1")
    silent = Committer(is_silent=True)
    for _ in range(3):
        with pytest.raises(TransientError, match="has not answered yet"):
            _deliver(outbox, destination, silent)
    assert silent.asked == ["2.0"]  # once, however often the job is tried again
    assert destination.stored == ["seg", "sr"]
    assert outbox.states == [ResultState.SENT, ResultState.SENT]


def test_what_the_destination_commits_itself_to_is_proven():
    outbox = Outbox(ResultState.PENDING, ResultState.SENT)
    _deliver(outbox, Destination(), Committer("1.0", "1.1"))
    assert outbox.states == [ResultState.VERIFIED, ResultState.VERIFIED]


def test_what_it_does_not_commit_itself_to_is_sent_again():
    outbox, destination = Outbox(ResultState.PENDING, ResultState.PENDING), Destination()
    with pytest.raises(TransientError, match=r"does not commit itself to keep 1\.1"):
        _deliver(outbox, destination, Committer("1.0"))
    assert outbox.states == [ResultState.VERIFIED, ResultState.PENDING]
    _deliver(outbox, destination, Committer("1.0", "1.1"))
    assert destination.stored == ["seg", "sr", "sr"]
    assert outbox.states == [ResultState.VERIFIED, ResultState.VERIFIED]


def test_where_no_commitment_comes_in_time_the_list_has_to_do():
    outbox, destination = Outbox(ResultState.PENDING, ResultState.PENDING), Destination("1.0", "1.1")
    silent = Committer(is_silent=True)
    with pytest.raises(TransientError):
        _deliver(outbox, destination, silent)
    _deliver(outbox, destination, silent, later_s=Delivery().commitment_wait_s + 1)
    assert outbox.states == [ResultState.VERIFIED, ResultState.VERIFIED]
