"""The job table: one worker at a time, nothing lost, nothing tried for ever."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from time import monotonic, sleep
from types import SimpleNamespace

import pytest

from db import jobs
from db.jobs import StoredJobs, claim, due_job_ids, enqueue, replay, take_over_expired
from db.session import open_engine, unit_of_work
from db.tables import JobRow, PatientRow, Table
from workflow.domain.errors import GoneError, ProcessLostError, TransientError, UnsuitableInputError
from workflow.domain.states import Priority
from workflow.engine import jobs as engine_jobs
from workflow.engine.jobs import Runner
from workflow.engine.reconciler import LIGHT_STAGES, Reconciler, queues, stages
from workflow.settings import TimeLimits, Worker, load_settings

START = datetime(2024, 1, 1, tzinfo=UTC)
SETTINGS = Worker(lease_s=60, maximum_losses=3, retry_base_s=10, retry_at_most_s=60)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self, session: object = None) -> datetime:
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


def _enqueue(unit, stage="infer", subject="1", lane="patient:1", **more) -> None:
    with unit() as session:
        enqueue(session, stage=stage, subject=subject, lane=lane, clock=lambda session: START, **more)


def _due(unit, clock) -> list[int]:
    with unit() as session:
        return due_job_ids(session, clock())


def _row(unit, job_id=1) -> JobRow:
    with unit() as session:
        return session.get_one(JobRow, job_id)


def _jobs(unit, clock, settings=SETTINGS) -> StoredJobs:
    return StoredJobs(unit=unit, reading=unit, clock=clock, settings=settings)


def _execute(unit, clock, stage, job_id=1, settings=SETTINGS, failures=None, **more) -> bool:
    stages = {"infer": stage, "report": stage}
    jobs = _jobs(unit, clock, settings)
    return Runner(stages=stages, failures=failures or {}, jobs=jobs, settings=settings, **more).run(job_id)


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
        if claim(unit, 1, 60, clock) is not None:
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
    assert claim(unit, 1, 60, clock) is not None
    assert _due(unit, clock) == []
    assert claim(unit, 2, 60, clock) is None


def test_jobs_of_two_patients_run_side_by_side(unit, clock):
    _enqueue(unit, subject="1", lane="patient:1")
    _enqueue(unit, subject="2", lane="patient:2")
    assert claim(unit, 1, 60, clock) is not None
    assert claim(unit, 2, 60, clock) is not None


def test_what_a_silent_worker_left_is_taken_over_after_its_lease(unit, clock):
    _enqueue(unit)
    claim(unit, 1, 60, clock)
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
        claim(unit, 1, 60, clock)
        monkeypatch.undo()

    _execute(unit, clock, stage)
    assert (_row(unit).state, _row(unit).worker) == ("IN PROGRESS", "another")


def test_a_job_that_kills_its_worker_is_given_up_after_three_times_and_says_so(unit, clock):
    _enqueue(unit)
    stored, shown = _jobs(unit, clock), []
    for _ in range(3):
        assert claim(unit, 1, 60, clock) is not None
        clock.advance(61)
        stored.take_over_expired()
    assert _row(unit).state == "IN PROGRESS"
    (ending,) = stored.to_be_ended()
    failures = {"infer": lambda job, reason: shown.append((job.subject, reason))}
    Runner(stages={}, failures=failures, jobs=stored, settings=SETTINGS).end(ending)
    assert (_row(unit).state, _row(unit).outcome) == ("CANCELED", "lost")
    ((subject, reason),) = shown
    assert subject == "1"
    assert re.fullmatch(r"its worker .* went silent; given up after 3 times", reason)
    assert _row(unit).error == reason


def test_a_job_whose_end_was_not_shown_is_ended_by_the_next_who_looks(unit, clock, monkeypatch):
    _enqueue(unit)
    once = SETTINGS.model_copy(update={"maximum_losses": 1})
    claim(unit, 1, 60, clock)
    clock.advance(61)
    assert len(_jobs(unit, clock, once).to_be_ended()) == 1  # who asked dies here
    assert _jobs(unit, clock, once).to_be_ended() == ()
    clock.advance(61)
    monkeypatch.setattr(jobs, "WORKER_NAME", "another")
    stored = _jobs(unit, clock, once)
    (ending,) = stored.to_be_ended()
    stored.give_up(ending.job, ending.outcome, ending.reason)
    assert (_row(unit).state, _row(unit).outcome) == ("CANCELED", "lost")


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
    _execute(unit, clock, stage, settings=quick)
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
        replay(session, 1, clock)
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
    _enqueue(unit, "ingest", subject="99", lane="study:99")
    told = []
    reconciler = Reconciler(_context(unit, clock), lambda queue, count: told.append((queue, count)))
    reconciler.tick()
    assert sorted(told) == [("inference", 16), ("pipeline", 1)]
    reconciler.tick()
    assert len(told) == 2  # not again at once


def test_every_stage_has_a_queue_and_what_runs_apart_has_a_time_limit():
    settings = load_settings(None)
    known = set(stages(SimpleNamespace()))
    queued = [stage for of_queue in queues(settings).values() for stage in of_queue]
    assert sorted(queued) == sorted(known)
    assert known - LIGHT_STAGES == set(TimeLimits.model_fields)


def test_what_is_urgent_is_done_first_then_what_waits_longest(unit, clock):
    _enqueue(unit, subject="1", lane="patient:1")
    _enqueue(unit, subject="2", lane="patient:2", priority=Priority.BOARD)
    _enqueue(unit, subject="3", lane="patient:3", priority=Priority.READER)
    _enqueue(unit, subject="4", lane="patient:4", priority=Priority.READER)
    done = []
    stages = {"infer": lambda job: done.append(job.subject)}
    runner = Runner(stages=stages, failures={}, jobs=_jobs(unit, clock), settings=SETTINGS)
    while runner.run_next(["infer"]):
        pass
    assert done == ["3", "4", "2", "1"]


def _context(unit, clock, agendas=None) -> SimpleNamespace:
    """As much of the world as a reconciler looks at; `agendas` are the patients of boards by day."""
    agendas = agendas or {}
    boards = SimpleNamespace(
        days=lambda: [SimpleNamespace(day=day) for day in agendas],
        agenda=lambda day: SimpleNamespace(entries=[SimpleNamespace(patient_key=k) for k in agendas[day]]),
    )
    return SimpleNamespace(
        settings=load_settings(None),
        jobs=_jobs(unit, clock),
        reception=SimpleNamespace(receiving=list),
        boards=boards,
        clock=clock,
    )


def test_whom_a_board_looks_at_soon_comes_before_the_others_and_after_a_reader(unit, clock):
    for number in range(1, 5):
        _enqueue(unit, subject=str(number), lane=f"patient:{number}")
    _enqueue(unit, subject="1", lane="patient:1", priority=Priority.READER)
    days = {START.date() + timedelta(days=n): [key] for n, key in ((-1, 2), (1, 3), (30, 4))}
    days[START.date() + timedelta(days=1)].append(1)
    Reconciler(_context(unit, clock, days), lambda queue, count: None).tick()
    urgencies = {_row(unit, number).subject: _row(unit, number).priority for number in range(1, 5)}
    assert urgencies == {
        "1": Priority.READER,
        "2": Priority.NORMAL,
        "3": Priority.BOARD,
        "4": Priority.NORMAL,
    }


def test_what_is_asked_for_again_by_somebody_in_a_hurry_becomes_urgent(unit, clock):
    _enqueue(unit)
    _enqueue(unit, priority=Priority.READER)
    _enqueue(unit, priority=Priority.NORMAL)
    assert _row(unit).priority == Priority.READER


def test_what_follows_from_an_urgent_job_is_as_urgent(unit, clock):
    _enqueue(unit, priority=Priority.READER)
    _execute(unit, clock, lambda job: _enqueue(unit, "report", subject="7"))
    assert _row(unit, 2).priority == Priority.READER
    _enqueue(unit, "report", subject="8", lane="patient:8")
    assert _row(unit, 3).priority == Priority.NORMAL


# ---------------------------------------------------------------- cancel


def test_a_waiting_job_that_is_canceled_never_begins_and_its_subject_shows_why(unit, clock):
    _enqueue(unit)
    stored, shown = _jobs(unit, clock), []
    stored.cancel(1, "the wrong patient")
    assert _due(unit, clock) == []
    assert stored.claim(1) is None
    failures = {"infer": lambda job, reason: shown.append(reason)}
    runner = Runner(stages={}, failures=failures, jobs=stored, settings=SETTINGS)
    for ending in stored.to_be_ended():
        runner.end(ending)
    assert shown == ["canceled: the wrong patient"]
    row = _row(unit)
    assert (row.state, row.outcome, row.error) == ("CANCELED", "canceled", "the wrong patient")
    assert stored.to_be_ended() == ()


def test_a_running_job_that_is_canceled_stops_at_its_next_report_of_progress(unit, clock):
    _enqueue(unit)
    quick = SETTINGS.model_copy(update={"lease_s": 0.1})
    shown = []

    def stage(job) -> None:
        _jobs(unit, clock).cancel(1, "not needed")
        end = monotonic() + 10
        while monotonic() < end:
            job.report_progress(0.5, "working")
            sleep(0.01)

    failures = {"infer": lambda job, reason: shown.append(reason)}
    _execute(unit, clock, stage, settings=quick, failures=failures)
    assert (_row(unit).state, _row(unit).outcome) == ("CANCELED", "canceled")
    assert shown == ["canceled: not needed"]


def test_a_job_that_ended_or_is_not_there_can_not_be_canceled(unit, clock):
    _enqueue(unit)
    _execute(unit, clock, lambda job: None)
    with pytest.raises(UnsuitableInputError, match="COMPLETED already"):
        _jobs(unit, clock).cancel(1, "too late")
    with pytest.raises(UnsuitableInputError, match="no job 99"):
        _jobs(unit, clock).cancel(99, "never was")


# ---------------------------------------------------------------- processes that end, and are lost


def test_a_process_that_must_end_puts_its_job_back_as_if_nobody_had_begun(unit, clock):
    _enqueue(unit)
    _execute(unit, clock, lambda job: job.report_progress(0.1, "working"), must_end=lambda: True)
    row = _row(unit)
    assert (row.state, row.attempts, row.losses, row.error) == ("SCHEDULED", 0, 0, "")
    assert _due(unit, clock) == [1]


def test_a_job_that_costs_its_process_each_time_is_given_up_and_says_why(unit, clock):
    _enqueue(unit)
    shown = []

    def stage(job) -> None:
        raise ProcessLostError("it used more than 8 GB of memory while reading marks")

    for _ in range(3):
        _execute(unit, clock, stage, failures={"infer": lambda job, reason: shown.append(reason)})
        clock.advance(60)
    assert (_row(unit).state, _row(unit).outcome) == ("CANCELED", "lost")
    assert shown == ["it used more than 8 GB of memory while reading marks; given up after 3 times"]


def test_a_job_of_something_that_is_gone_ends_quietly(unit, clock):
    _enqueue(unit)
    shown = []

    def stage(job) -> None:
        raise GoneError("patient 1 is not here (any more)")

    _execute(unit, clock, stage, failures={"infer": lambda job, reason: shown.append(reason)})
    assert (_row(unit).outcome, _row(unit).error) == ("gone", "patient 1 is not here (any more)")
    assert shown == []


def test_a_job_ends_even_if_its_end_can_not_be_shown(unit, clock):
    _enqueue(unit)

    def show(job, reason) -> None:
        raise ZeroDivisionError

    _execute(unit, clock, lambda job: 1 / 0, failures={"infer": show})
    assert (_row(unit).state, _row(unit).outcome) == ("CANCELED", "dead")


def test_the_end_of_a_job_waits_for_a_database_that_is_away(unit, clock, monkeypatch):
    _enqueue(unit)
    monkeypatch.setattr(engine_jobs, "_PATIENCE_S", 0.01)
    failures = iter([TransientError("away"), TransientError("away")])
    complete = StoredJobs.complete

    def unsteady(self, job) -> None:
        if (error := next(failures, None)) is not None:
            raise error
        complete(self, job)

    monkeypatch.setattr(StoredJobs, "complete", unsteady)
    _execute(unit, clock, lambda job: None)
    assert (_row(unit).state, _row(unit).attempts, _row(unit).losses) == ("COMPLETED", 1, 0)


# ---------------------------------------------------------------- whose clock


def test_hosts_whose_clocks_differ_agree_on_who_is_silent(unit, monkeypatch):
    """The lease is the database's: a reconciler an hour ahead takes nothing from a worker that lives."""
    with unit() as session:
        enqueue(session, stage="infer", subject="1", lane="patient:1")
    stored = StoredJobs(unit=unit, reading=unit, settings=SETTINGS)
    job = stored.claim(1)
    for hours in (-1, 1):
        skewed = _skewed(hours)
        monkeypatch.setattr(jobs, "datetime", skewed)
        assert skewed.now(UTC) != datetime.now(UTC)
        assert stored.take_over_expired() == 0
        assert stored.to_be_ended() == ()
        assert stored.beat(job, 0.5, "working")
    with unit() as session:
        lease = (session.get_one(JobRow, 1).lease_until - datetime.now(UTC)).total_seconds()
    assert 50 < lease <= 60


def _skewed(hours: float) -> type[datetime]:
    class Skewed(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=hours)

    return Skewed


def test_a_clock_that_is_set_back_keeps_no_job_waiting(unit, clock):
    _enqueue(unit, subject="1", lane="patient:1")
    _enqueue(unit, subject="2", lane="patient:2")
    stored = _jobs(unit, clock)
    job = stored.claim(1)
    clock.advance(-7200)
    assert _due(unit, clock) == []
    assert stored.take_over_expired() == 0  # its worker may live: it has a lease's time to say so
    assert _due(unit, clock) == [2]
    clock.advance(59)
    assert stored.beat(job, 0.5, "working")
    clock.advance(59)
    assert stored.take_over_expired() == 0
    clock.advance(2)
    assert stored.take_over_expired() == 1  # and then its lease is over
