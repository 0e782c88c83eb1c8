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

from db.jobs import enqueue
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


def _enqueue(context: Context, *subjects: str, stage: str = "timeline") -> None:
    """Work that is quickly done: the timeline of a patient without studies is empty."""
    with rows(context) as session:
        for subject in subjects:
            session.merge(PatientRow(id=int(subject), patient_id=subject))
            enqueue(session, stage=stage, subject=subject, lane=f"p:{subject}")


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
    _enqueue(context, "101", "102", "103")
    announce(app, "pipeline", 9)
    with worker(settings):
        _wait_for(context, 3)
        announce(app, "pipeline", 3)
        _enqueue(context, "104")
        announce(app, "pipeline", 1)
        _wait_for(context, 4)
    assert _states(context) == [("COMPLETED", 1)] * 4
    app.close()


@pytest.mark.xdist_group("folder broker")
@pytest.mark.parametrize("settings", ["folder"], indirect=True)
def test_messages_that_are_lost_are_announced_again(settings, monkeypatch):
    monkeypatch.setattr(reconciler, "_ANNOUNCE_AGAIN_S", 0.5)
    context, app = build(settings), make_app(settings)
    _enqueue(context, "101", "102")
    keeper = reconciler.Reconciler(context, lambda queue, count: announce(app, queue, count))
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


@pytest.mark.xdist_group("folder broker")
@pytest.mark.parametrize("settings", ["folder"], indirect=True)
def test_a_worker_survives_half_a_message_and_what_is_no_message(settings):
    context, app = build(settings), make_app(settings)
    folder = settings.home / "broker" / "queue"
    announce(app, "pipeline", 1)
    (whole,) = folder.glob("*.msg")
    content = whole.read_bytes()
    for number, garbage in enumerate(
        (b"", content[: len(content) // 2], b"\x00\xff", b"[1, 2]", b'{"body": 1}')
    ):
        (folder / f"0{number}_x.tumorline.pipeline.msg").write_bytes(garbage)
    (folder / "0_x.unfinished").write_bytes(content[:10])
    (folder / "letter.txt").write_text("hello")
    _enqueue(context, "101")
    with worker(settings) as process:
        _wait_for(context, 1)
        _enqueue(context, "102")
        announce(app, "pipeline", 1)
        _wait_for(context, 2)
        assert process.poll() is None
    assert list(folder.glob("*_x.tumorline.pipeline.msg")) == []  # all were looked at
    app.close()


@pytest.mark.xdist_group("folder broker")
@pytest.mark.parametrize("settings", ["folder"], indirect=True)
def test_a_worker_ends_with_0_only_if_it_was_asked_to(settings, monkeypatch):
    build(settings)
    with worker(settings) as process:
        servers.wait_until((settings.home / "run" / "worker.pid").exists, "the worker to start")
    assert process.returncode == 0
    monkeypatch.setenv("TUMORLINE_BROKER_URL", "nothing://127.0.0.1")
    broken = settings.model_copy(update={"broker_url": "nothing://127.0.0.1"})
    with worker(broken) as process:
        assert process.wait(30) not in (0, None)


@pytest.mark.parametrize("settings", BROKERS, indirect=True)
def test_two_workers_on_one_host_both_live(settings):
    context, app = build(settings), make_app(settings)
    with worker(settings) as one, worker(settings) as other:
        _enqueue(context, "1", "2", "3", "4")
        announce(app, "pipeline", 4)
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
    _enqueue(context, "7", stage="infer")
    _enqueue(context, "8")
    announce(app, "inference", 1)
    announce(app, "pipeline", 1)
    with worker(settings.model_copy(update={"worker": only})):
        _wait_for(context, 1)
    assert _states(context, "infer") == [("SCHEDULED", 0)]
    app.close()


def test_a_broker_that_is_not_there_is_tried_again(tmp_path):
    from workflow.use_cases.demo import free_port

    settings = load_settings(None, home=tmp_path, broker_url=f"redis://127.0.0.1:{free_port()}/0")
    app = make_app(settings)
    with pytest.raises(TransientError, match="the broker is not there"):
        announce(app, "pipeline", 1)
    app.close()


def test_a_broker_folder_is_made_where_there_is_none(tmp_path: Path):
    make_app(load_settings(None, home=tmp_path / "new")).close()
    assert (tmp_path / "new" / "broker" / "queue").is_dir()


def test_a_worker_that_was_told_to_end_while_it_started_ends(tmp_path):
    told = (
        "import sys, threading; from pathlib import Path; "
        "from workflow.engine.tasks import run_worker; from workflow.settings import load_settings; "
        "stop = threading.Event(); stop.set(); run_worker(load_settings(None, home=Path(sys.argv[1])), stop)"
    )
    done = subprocess.run([sys.executable, "-c", told, str(tmp_path)], timeout=100, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
