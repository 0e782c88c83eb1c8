"""Celery over every broker: what is announced is done once, and what a broker loses is announced again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import servers
from hospital import rows
from sqlalchemy import select

from db.jobs import due_job_ids, enqueue
from db.tables import JobRow, PatientRow
from workflow.bootstrap import build
from workflow.domain.errors import TransientError
from workflow.engine import reconciler
from workflow.engine.context import Context
from workflow.engine.tasks import announce, make_app
from workflow.settings import Settings, load_settings

BROKERS = [
    pytest.param("folder", marks=pytest.mark.xdist_group("folder broker")),
    pytest.param("redis", marks=pytest.mark.xdist_group("redis")),
    pytest.param("rabbitmq", marks=pytest.mark.xdist_group("rabbitmq")),
]


@pytest.fixture
def settings(request, tmp_path) -> Settings:
    broker = request.param
    url = "" if broker == "folder" else request.getfixturevalue(f"{broker}_broker")
    return load_settings(None, home=tmp_path / "home", broker_url=url)


@contextmanager
def worker(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process on these settings."""
    environment = {
        **os.environ,
        "TUMORLINE_HOME": str(settings.home),
        "TUMORLINE_BROKER_URL": settings.broker_url,
        "TUMORLINE_WORKER__QUEUES": '["' + '","'.join(settings.worker.queues) + '"]',
    }
    with (settings.home / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workflow", "up", "--only", "worker"],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        servers.end(process)


def _enqueue(context: Context, *subjects: str, stage: str = "timeline") -> list[int]:
    """Work that is quickly done: the timeline of a patient without studies is empty."""
    with rows(context) as session:
        for subject in subjects:
            session.merge(PatientRow(id=int(subject), patient_id=subject))
            enqueue(session, stage=stage, subject=subject, lane=f"p:{subject}", due_at=context.clock())
    with rows(context) as session:
        return due_job_ids(session, context.clock())


def _states(context: Context, stage: str = "timeline") -> list[tuple[str, int]]:
    with rows(context) as session:
        found = session.execute(select(JobRow.state, JobRow.attempts).where(JobRow.stage == stage))
        return [(state, attempts) for state, attempts in found]


def _wait_for(context: Context, count: int) -> None:
    servers.wait_until(
        lambda: [state for state, _ in _states(context)].count("COMPLETED") == count,
        f"{count} jobs to be completed",
    )


@pytest.mark.parametrize("settings", BROKERS, indirect=True)
def test_announced_jobs_are_done_once_however_often_they_are_announced(settings):
    context, app = build(settings), make_app(settings)
    jobs = _enqueue(context, "101", "102", "103")
    for _ in range(3):
        announce(app, context, jobs)
    with worker(settings):
        _wait_for(context, 3)
        announce(app, context, jobs)
        later = _enqueue(context, "104")
        announce(app, context, later)
        _wait_for(context, 4)
    assert _states(context) == [("COMPLETED", 1)] * 4
    app.close()


@pytest.mark.xdist_group("folder broker")
@pytest.mark.parametrize("settings", ["folder"], indirect=True)
def test_messages_that_are_lost_are_announced_again(settings, monkeypatch):
    monkeypatch.setattr(reconciler, "_ANNOUNCE_AGAIN_S", 0.5)
    context, app = build(settings), make_app(settings)
    _enqueue(context, "101", "102")
    keeper = reconciler.Reconciler(context, lambda ids: announce(app, context, ids))
    keeper.tick()
    messages = list((settings.home / "broker" / "queue").iterdir())
    assert len(messages) == 2
    for message in messages:
        message.unlink()
    stop = threading.Event()
    thread = threading.Thread(target=keeper.run, args=(stop,))
    with worker(settings):
        thread.start()
        try:
            _wait_for(context, 2)
        finally:
            stop.set()
            thread.join()
    assert _states(context) == [("COMPLETED", 1)] * 2
    app.close()


@pytest.mark.parametrize("settings", BROKERS, indirect=True)
def test_two_workers_on_one_host_both_live(settings):
    context, app = build(settings), make_app(settings)
    with worker(settings) as one, worker(settings) as other:
        announce(app, context, _enqueue(context, "1", "2", "3", "4"))
        _wait_for(context, 4)
        # RabbitMQ refuses the second worker of a name within its first seconds.
        time.sleep(3)
        assert (one.poll(), other.poll()) == (None, None)
    app.close()


@pytest.mark.xdist_group("folder broker")
@pytest.mark.parametrize("settings", ["folder"], indirect=True)
def test_a_worker_takes_only_the_queues_it_is_set_to(settings):
    only = settings.worker.model_copy(update={"queues": ("pipeline",)})
    context, app = build(settings), make_app(settings)
    announce(app, context, _enqueue(context, "7", stage="infer"))
    announce(app, context, [j for j in _enqueue(context, "8") if j != 1])
    with worker(settings.model_copy(update={"worker": only})):
        _wait_for(context, 1)
    assert _states(context, "infer") == [("SCHEDULED", 0)]
    app.close()


def test_a_broker_that_is_not_there_is_tried_again(tmp_path):
    from workflow.use_cases.demo import free_port

    settings = load_settings(None, home=tmp_path, broker_url=f"redis://127.0.0.1:{free_port()}/0")
    context, app = build(settings), make_app(settings)
    with pytest.raises(TransientError, match="the broker is not there"):
        announce(app, context, _enqueue(context, "1"))
    app.close()


def test_a_broker_folder_is_made_where_there_is_none(tmp_path: Path):
    make_app(load_settings(None, home=tmp_path / "new")).close()
    assert (tmp_path / "new" / "broker" / "queue").is_dir()
