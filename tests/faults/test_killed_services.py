"""The real stack under `tumorline up`, with processes killed at bad moments: the same results, once."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hospital import rows
from sqlalchemy import select
from whole_stack import BASELINE, FOLLOW_UP, Stack, written

from db.tables import InstanceRow
from dicom_io.keeping import file_digest
from workflow.domain.errors import TransientError

# pynetdicom leaves the socket of a lost connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def stack(tmp_path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "home").start()
    yield stack
    code, seconds = stack.stop()
    assert (code, seconds < 20) == (0, True)


@pytest.fixture(scope="session")
def expected(tmp_path_factory) -> list[str]:
    """The results of an undisturbed run, in one process."""
    from workflow.use_cases.run import run

    folder = tmp_path_factory.mktemp("undisturbed")
    for study in (BASELINE, FOLLOW_UP):
        written(study, folder / "in")
    plain = Stack(folder / "home").settings
    results = plain.results.model_copy(update={"encapsulated_pdf": False})
    done = run([folder / "in"], folder / "out", plain.model_copy(update={"results": results}))
    (course,) = done.patients
    return [o["sop_instance_uid"] for point in course["time_points"] for o in point["objects"]]


@pytest.mark.xdist_group("stack 1")
@pytest.mark.parametrize("stage", ["infer", "report"])
def test_a_worker_killed_in_the_middle_of_a_stage_changes_nothing(stack, expected, tmp_path, stage):
    stack.send(BASELINE, FOLLOW_UP, folder=tmp_path)
    stack.wait_until(lambda: stack.is_running(stage), f"{stage} to run")
    stack.kill("worker@inference" if stage == "infer" else "worker@pipeline")
    stack.wait_until_done(reports=2)
    stack.check(expected)


@pytest.mark.xdist_group("stack 2")
def test_a_worker_killed_between_store_and_verify_delivers_once(stack, expected, tmp_path):
    stack.send(FOLLOW_UP, BASELINE, folder=tmp_path)
    archive = stack.settings.home / "archive"
    stack.wait_until(lambda: next(archive.glob("*/*/*.dcm"), None), "the first object to arrive")
    stack.kill("worker@pipeline")
    stack.wait_until_done(reports=2)
    stack.check(expected)
    stack.send(BASELINE, FOLLOW_UP, folder=tmp_path)  # and again, in the other order
    time.sleep(3 * stack.settings.worker.reconcile_s)
    stack.wait_until_done(reports=2)
    stack.check(expected)


@pytest.mark.xdist_group("stack 2")
def test_a_listener_killed_while_receiving_owns_up_to_all_it_confirmed(stack, expected, tmp_path):
    stack.send(FOLLOW_UP, folder=tmp_path)
    files, confirmed = written(BASELINE, tmp_path), 0

    def kill_at_seven(done: int, of: int) -> None:
        nonlocal confirmed
        confirmed = done
        if done == 7:
            stack.kill("listener")

    with pytest.raises(TransientError):
        stack.node.store(files, progress=kill_at_seven)
    with rows(stack.context) as session:
        kept = {row.sha256: Path(row.path) for row in session.scalars(select(InstanceRow))}
    assert 7 <= confirmed < len(files)
    assert {file_digest(file) for file in files[:confirmed]} <= set(kept)
    assert all(file_digest(path) == digest for digest, path in kept.items())
    stack.wait_until(stack.answers, "the listener to be started again")
    stack.node.store(files)
    stack.wait_until_done(reports=2)
    assert stack.results() == expected
    gc.collect()  # the lost connection's socket, in this test and not in the next


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.xdist_group("stack 1")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_supervisor(tmp_path, number):
    stack = Stack(tmp_path / "home").start()
    names = ["archive", "listener", "reconciler", "worker@pipeline", "worker@inference", "web"]
    run = stack.settings.home / "run"
    stack.wait_until(lambda: all((run / f"{name}.pid").exists() for name in names), "all services")
    pids = [stack.pid(name) for name in names]
    started = time.monotonic()
    stack.process.send_signal(number)
    code = stack.process.wait(30)
    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    stack.wait_until(lambda: not any(map(_is_alive, pids)), "the services to end", 20)
    assert time.monotonic() - started < 20
    assert list(run.glob("*.pid")) == []
