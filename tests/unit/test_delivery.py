"""Delivery believes what the destination lists, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workflow.delivery import deliver
from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.domain.record import StoredObject
from workflow.domain.states import ResultState
from workflow.ports import Job

S = ResultState


class FakeOutbox:
    def __init__(self, *objects: StoredObject) -> None:
        self.objects = {made.sop_instance_uid: made for made in objects}
        self.marked: list[tuple[str, ResultState, str]] = []

    def waiting(self, report_identity: str) -> tuple[StoredObject, ...]:
        return tuple(o for o in self.objects.values() if o.state in (S.PENDING, S.SENT))

    def mark(self, uids: Sequence[str], state: ResultState, destination: str, error: str = "") -> None:
        for uid in uids:
            self.objects[uid] = replace(self.objects[uid], state=state, error=error)
            self.marked.append((uid, state, destination))

    def states(self) -> dict[str, ResultState]:
        return {uid: made.state for uid, made in self.objects.items()}


class FakeDestination:
    """Takes everything with success, and lists it unless told otherwise."""

    name = "PACS@there"

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.loses: set[str] = set()
        self.raises: dict[str, Exception] = {}

    def store(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if path.name in self.raises:
                raise self.raises[path.name]
            self.stored.append(path.name)

    def held(self, study: str, series: str) -> frozenset[str]:
        return frozenset(uid for uid in self.stored if uid.startswith(series)) - self.loses


def _object(role: str, state: ResultState = S.PENDING) -> StoredObject:
    uid = f"{role}.1"
    return StoredObject(
        role=role, sop_instance_uid=uid, sop_class_uid="1.2", series_instance_uid=role,
        study_instance_uid="study", path=f"/results/{uid}", state=state, sha256="00",
    )  # fmt: skip


@pytest.fixture
def destination() -> FakeDestination:
    return FakeDestination()


def _deliver(outbox: FakeOutbox, destination: FakeDestination, said: list[Any] | None = None) -> None:
    job = Job(id=1, stage="deliver", subject="r", attempts=1)
    if said is not None:
        job = replace(job, report_progress=lambda share, what: said.append((share, what)))
    deliver(job, SimpleNamespace(outbox=outbox, destination=destination))


def test_what_is_stored_and_listed_is_verified_in_the_order_in_which_it_waits(destination):
    outbox, said = FakeOutbox(_object("seg"), _object("sr")), []
    _deliver(outbox, destination, said)
    assert destination.stored == ["seg.1", "sr.1"]
    assert outbox.states() == {"seg.1": S.VERIFIED, "sr.1": S.VERIFIED}
    assert said == [(0.0, "sending seg to PACS@there"), (0.5, "sending sr to PACS@there")]
    assert {where for _, _, where in outbox.marked} == {"PACS@there"}


def test_a_success_status_is_no_proof(destination):
    outbox = FakeOutbox(_object("seg"), _object("sr"))
    destination.loses = {"sr.1"}
    with pytest.raises(TransientError, match=r"does not list sr\.1 yet"):
        _deliver(outbox, destination)
    assert outbox.states() == {"seg.1": S.VERIFIED, "sr.1": S.PENDING}
    assert outbox.objects["sr.1"].error == "sent, but not listed by the destination"
    destination.loses = set()
    _deliver(outbox, destination)
    assert destination.stored == ["seg.1", "sr.1", "sr.1"]  # the lost one again, the proven one not
    assert outbox.states() == {"seg.1": S.VERIFIED, "sr.1": S.VERIFIED}


def test_what_was_sent_before_a_crash_is_asked_for_and_not_sent_again(destination):
    outbox = FakeOutbox(_object("seg", S.SENT))
    destination.stored = ["seg.1"]
    _deliver(outbox, destination)
    assert (destination.stored, outbox.states()) == (["seg.1"], {"seg.1": S.VERIFIED})


def test_a_refused_object_stops_none_of_the_others_and_is_named(destination):
    outbox = FakeOutbox(_object("seg"), _object("sr"))
    destination.raises = {"seg.1": UnsuitableInputError("0xA900")}
    with pytest.raises(UnsuitableInputError, match=r"PACS@there refused seg$"):
        _deliver(outbox, destination)
    assert outbox.states() == {"seg.1": S.REFUSED, "sr.1": S.VERIFIED}
    assert outbox.objects["seg.1"].error == "0xA900"


def test_a_destination_that_goes_away_leaves_the_rest_waiting(destination):
    outbox = FakeOutbox(_object("seg"), _object("sr"))
    destination.raises = {"sr.1": TransientError("it is not there")}
    with pytest.raises(TransientError, match="it is not there"):
        _deliver(outbox, destination)
    assert outbox.states() == {"seg.1": S.SENT, "sr.1": S.PENDING}
    assert outbox.objects["sr.1"].error == "it is not there"
