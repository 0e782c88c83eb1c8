"""The job table: one worker at a time, nothing lost, nothing tried for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from time import monotonic, sleep

import pytest

from db import jobs
from db.jobs import StoredJobs, claim, due_job_ids, enqueue, replay, take_over_expired
from db.session import open_engine, unit_of_work
from db.tables import JobRow, PatientRow, Table
from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.engine.jobs import execute
from workflow.settings import Worker

START = datetime(2024, 1, 1, tzinfo=UTC)
SETTINGS = Worker(lease_s=60, maximum_losses=3, retry_base_s=10, retry_at_most_s=60)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def unit(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'jobs.db'}")
    Table.metadata.create_all(engine)
    yield unit_of_work(engine)
    engine.dispose()


def _enqueue(unit, stage="infer", subject="1", lane="patient:1") -> None:
    with unit() as session:
        enqueue(session, stage=stage, subject=subject, lane=lane, due_at=START)


def _due(unit, clock) -> list[int]:
    with unit() as session:
        return due_job_ids(session, clock())


def _row(unit, job_id=1) -> JobRow:
    with unit() as session:
        return session.get_one(JobRow, job_id)


def _jobs(unit, clock, settings=SETTINGS) -> StoredJobs:
    return StoredJobs(unit=unit, reading=unit, clock=clock, settings=settings)


def _execute(unit, clock, stage, job_id=1) -> bool:
    return execute(job_id, {"infer": stage, "report": stage}, _jobs(unit, clock), SETTINGS)


def test_asking_twice_for_the_same_waiting_work_makes_one_job(unit, clock):
    _enqueue(unit)
    _enqueue(unit)
    assert _due(unit, clock) == [1]


def test_work_asked_for_while_it_runs_is_done_once_more(unit, clock):
    _enqueue(unit)
    _execute(unit, clock, lambda job: _enqueue(unit))
    assert _row(unit, 1).state == "COMPLETED"
    assert _due(unit, clock) == [2]


def test_a_job_is_claimed_by_one_of_many_workers(unit, clock):
    _enqueue(unit)
    barrier, claimed = Barrier(8), []

    def worker() -> None:
        barrier.wait()
        if claim(unit, 1, clock, 60) is not None:
            claimed.append(1)

    threads = [Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert claimed == [1]


def test_jobs_of_one_patient_run_one_at_a_time(unit, clock):
    _enqueue(unit, "infer")
    _enqueue(unit, "report")
    assert claim(unit, 1, clock, 60) is not None
    assert _due(unit, clock) == []
    assert claim(unit, 2, clock, 60) is None


def test_jobs_of_two_patients_run_side_by_side(unit, clock):
    _enqueue(unit, subject="1", lane="patient:1")
    _enqueue(unit, subject="2", lane="patient:2")
    assert claim(unit, 1, clock, 60) is not None
    assert claim(unit, 2, clock, 60) is not None


def test_what_a_silent_worker_left_is_taken_over_after_its_lease(unit, clock):
    _enqueue(unit)
    claim(unit, 1, clock, 60)
    clock.advance(59)
    with unit() as session:
        assert take_over_expired(session, clock(), 3) == 0
    clock.advance(2)
    with unit() as session:
        assert take_over_expired(session, clock(), 3) == 1
    assert _due(unit, clock) == [1]


def test_the_end_of_a_job_that_was_taken_over_does_not_count(unit, clock, monkeypatch):
    _enqueue(unit)

    def stage(job) -> None:
        clock.advance(120)
        with unit() as session:
            take_over_expired(session, clock(), 3)
        monkeypatch.setattr(jobs, "WORKER_NAME", "another")
        claim(unit, 1, clock, 60)
        monkeypatch.undo()

    _execute(unit, clock, stage)
    assert (_row(unit).state, _row(unit).worker) == ("IN PROGRESS", "another")


def test_a_job_that_kills_its_worker_is_given_up_after_three_times(unit, clock):
    _enqueue(unit)
    for _ in range(3):
        assert claim(unit, 1, clock, 60) is not None
        clock.advance(61)
        with unit() as session:
            take_over_expired(session, clock(), 3)
    assert (_row(unit).state, _row(unit).outcome) == ("CANCELED", "dead")


def test_a_transient_failure_is_tried_again_later_and_later_but_never_given_up(unit, clock):
    _enqueue(unit)

    def stage(job) -> None:
        raise TransientError("the PACS is not there")

    waits = []
    for _ in range(6):
        _execute(unit, clock, stage)
        waits.append((_row(unit).due_at - clock()).total_seconds())
        clock.advance(waits[-1])
    assert waits == [10, 20, 40, 60, 60, 60]
    assert (_row(unit).state, _row(unit).error) == ("SCHEDULED", "the PACS is not there")


def test_a_worker_that_lost_its_job_stops_at_its_next_report_of_progress(unit, clock, monkeypatch):
    _enqueue(unit)
    stopped = []

    def stage(job) -> None:
        clock.advance(120)
        with unit() as session:
            take_over_expired(session, clock(), 3)
        end = monotonic() + 10
        while monotonic() < end:
            try:
                job.report_progress(0.5, "working")
            except TransientError as error:
                stopped.append(str(error))
                raise
            sleep(0.01)

    quick = SETTINGS.model_copy(update={"lease_s": 0.1})
    execute(1, {"infer": stage}, _jobs(unit, clock, quick), quick)
    assert stopped == ["job 1 was taken over by another worker"]
    assert _row(unit).state == "SCHEDULED"


def _written_twice(unit) -> None:
    """Two workers make the same row: the second finds the first's."""
    with unit() as session:
        session.add(PatientRow(patient_id="P1"))
    with unit() as session:
        session.add(PatientRow(patient_id="P1"))


def test_what_two_workers_wrote_at_once_is_tried_again_until_it_must_be_a_bug(unit, clock):
    _enqueue(unit)
    _execute(unit, clock, lambda job: _written_twice(unit))
    assert (_row(unit).state, _row(unit).error) == ("SCHEDULED", "written twice at once (IntegrityError)")
    for _ in range(SETTINGS.maximum_losses - 1):
        clock.advance(60)
        _execute(unit, clock, lambda job: _written_twice(unit))
    assert (_row(unit).state, _row(unit).outcome) == ("CANCELED", "dead")
    assert "UNIQUE constraint failed" in _row(unit).error


def test_unsuitable_input_is_never_tried_again_and_says_why(unit, clock):
    _enqueue(unit)

    def stage(job) -> None:
        raise UnsuitableInputError("the slices have gaps")

    _execute(unit, clock, stage)
    assert (_row(unit).state, _row(unit).outcome) == ("CANCELED", "unsuitable")
    assert _row(unit).error == "the slices have gaps"


def test_a_bug_is_kept_with_its_traceback_and_can_be_replayed(unit, clock):
    _enqueue(unit)
    _execute(unit, clock, lambda job: 1 / 0)
    assert _row(unit).outcome == "dead"
    assert "ZeroDivisionError" in _row(unit).error
    with unit() as session:
        replay(session, 1, clock())
    assert _execute(unit, clock, lambda job: None, job_id=2)
    assert _row(unit, 2).state == "COMPLETED"


def test_only_a_stopped_job_can_be_replayed(unit, clock):
    _enqueue(unit)
    with pytest.raises(UnsuitableInputError, match="only a cancelled one"):
        _jobs(unit, clock).replay(1)
    with pytest.raises(UnsuitableInputError, match="no job 99"):
        _jobs(unit, clock).replay(99)


def test_a_message_for_a_job_that_is_done_does_nothing(unit, clock):
    _enqueue(unit)
    done = []
    assert _execute(unit, clock, done.append)
    assert not _execute(unit, clock, done.append)
    assert len(done) == 1


def test_a_stage_with_much_to_do_keeps_no_other_from_being_announced(unit, clock):
    for number in range(30):
        _enqueue(unit, subject=str(number), lane=f"patient:{number}")
    clock.advance(1)
    with unit() as session:
        enqueue(session, stage="ingest", subject="99", lane="study:99", due_at=clock())
        due = due_job_ids(session, clock(), limit=16)
        stages = [session.get_one(JobRow, job_id).stage for job_id in due]
    assert (stages.count("infer"), stages.count("ingest")) == (16, 1)
    assert due == sorted(due)  # oldest first
