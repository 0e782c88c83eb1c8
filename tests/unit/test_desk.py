"""The places of a worker: as many jobs at once as it has, no queue waiting for another, no message lost."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Collection

import pytest

from workflow.engine import tasks
from workflow.engine.tasks import Desk
from workflow.settings import load_settings


class Queues:
    """Jobs by their stages, in place of the table; counts how many are carried out at once."""

    def __init__(self, expected: int = 1, **waiting: int) -> None:
        self.expected, self.reached = expected, threading.Event()
        self.waiting, self.done = Counter(waiting), deque[str]()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def run_next(self, wanted: Collection[str]) -> bool:
        with self.lock:
            stage = next((s for s in sorted(wanted) if self.waiting[s]), None)
            if stage is None:
                return False
            self.waiting[stage] -= 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            if self.at_once >= self.expected:
                self.reached.set()
        self.reached.wait(20)
        time.sleep(0.01)  # for more than are expected to meet
        with self.lock:
            self.at_once -= 1
            self.done.append(stage)
        return True


@pytest.fixture
def desk_of(tmp_path, monkeypatch):
    def make(jobs: Queues, concurrency: int = 1) -> Desk:
        monkeypatch.setattr(tasks, "runner", lambda *arguments, **more: jobs)
        monkeypatch.setattr(Desk, "_wake_others", lambda self: None)
        settings = load_settings(None, home=tmp_path / "home", worker={"concurrency": concurrency})
        return Desk(settings, tasks.make_app(settings))

    return make


def _messages(desk: Desk, count: int) -> None:
    threads = [threading.Thread(target=desk.work, args=("pipeline",)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_worker_carries_out_so_many_jobs_at_once_and_goes_on_until_none_is_left(desk_of, concurrency):
    jobs = Queues(concurrency, timeline=12)
    _messages(desk_of(jobs, concurrency), 5)
    assert len(jobs.done) == 12
    assert jobs.most_at_once == concurrency


def test_an_inference_that_takes_long_keeps_nothing_else_of_this_worker_waiting(desk_of):
    jobs = Queues(2, infer=1, timeline=5)  # the inference waits for somebody beside it
    desk = desk_of(jobs)
    inference = threading.Thread(target=desk.work, args=("inference",))
    inference.start()
    desk.work("pipeline")
    inference.join()
    assert Counter(jobs.done) == {"infer": 1, "timeline": 5}
    assert jobs.most_at_once == 2


def test_a_message_for_a_queue_that_is_another_workers_does_nothing(desk_of):
    jobs = Queues(timeline=1)
    desk_of(jobs).work("of yesterday")
    assert not jobs.done


def test_what_is_announced_to_a_busy_worker_is_done_when_it_has_looked_around(desk_of):
    jobs, looks = Queues(), []
    desk = desk_of(jobs)
    look = jobs.run_next

    def run_next(wanted: Collection[str]) -> bool:
        found = look(wanted)
        looks.append(found)
        if len(looks) == 1:  # the queue was empty, and now it is not
            jobs.waiting["timeline"] = 1
            _messages(desk, 1)
        return found

    jobs.run_next = run_next
    desk.work("pipeline")
    assert list(jobs.done) == ["timeline"]


def test_a_worker_that_is_to_end_begins_nothing_more(desk_of):
    jobs = Queues(timeline=1)
    desk = desk_of(jobs)
    desk.close()
    desk.work("pipeline")
    assert not jobs.done
