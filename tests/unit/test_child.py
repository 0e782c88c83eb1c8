"""A stage in a process of its own: whatever that process does, the worker gets a reason in words."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from workflow.domain.errors import ProcessLostError, StoppedError, UnsuitableInputError
from workflow.engine.child import Child, resident_bytes
from workflow.engine.jobs import StageDefectError
from workflow.ports import Job
from workflow.settings import load_settings

# The program of the other end with stages that misbehave: the subject says how.
PROGRAM = textwrap.dedent(
    """
    import os, signal, sys, time
    from multiprocessing.connection import Connection
    from workflow.domain.errors import UnsuitableInputError
    from workflow.engine.stage_process import die_with_parent, serve

    class Panic(BaseException):
        pass

    def stage(job):
        job.report_progress(0.5, "reading slice 7")
        match job.subject.split(":"):
            case ["well", path]:
                with open(path, "a") as out:
                    print(os.getpid(), file=out)
            case ["killed"]:
                os.kill(os.getpid(), signal.SIGKILL)
            case ["segfault"]:
                os.kill(os.getpid(), signal.SIGSEGV)
            case ["exit"]:
                os._exit(3)
            case ["panic"]:
                raise Panic("index out of bounds")
            case ["no memory"]:
                raise MemoryError
            case ["unsuitable"]:
                raise UnsuitableInputError("the slices have gaps")
            case ["hang"]:
                time.sleep(1000)
            case ["deaf", path]:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                with open(path, "w") as out:
                    out.write(str(os.getpid()))
                time.sleep(1000)
            case ["much"]:
                filled = bytearray(os.urandom(1024)) * 1024 * 400
                time.sleep(1000)
            case ["prints"]:
                print("a library says hello", flush=True)

    die_with_parent()
    connection = Connection(int(sys.argv[1]))
    connection.recv()
    serve(connection, lambda: {"infer": stage})
    """
)


def _job(subject: str) -> Job:
    return Job(id=1, stage="infer", subject=subject, attempts=1)


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    child = _child()
    yield child
    child.close()


def _child(**worker) -> Child:
    settings = load_settings(None, worker={"memory_limit_mb": 300, **worker})
    return Child(settings, [sys.executable, "-c", PROGRAM])


def _pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def _wait_until(is_so, what: str) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def test_one_process_carries_out_many_jobs(child, tmp_path):
    for _ in range(3):
        child.carry_out(_job(f"well:{tmp_path / 'pids'}"))
    assert len(_pids(tmp_path / "pids")) == 3
    assert len(set(_pids(tmp_path / "pids"))) == 1
    assert os.getpid() not in _pids(tmp_path / "pids")


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("killed", r"killed by signal 9 \(as is done where memory runs out\) while reading slice 7"),
        ("segfault", "killed by signal 11 while reading slice 7"),
        ("exit", "ended with 3 while reading slice 7"),
        ("no memory", "it ran out of memory"),
        ("much", "it used more than 300 MB of memory while reading slice 7"),
    ],
)
def test_a_process_that_is_lost_says_how_and_what_it_was_doing_and_the_next_job_is_done(
    child, tmp_path, subject, reason
):
    with pytest.raises(ProcessLostError, match=reason):
        child.carry_out(_job(subject))
    child.carry_out(_job(f"well:{tmp_path / 'pids'}"))
    assert len(_pids(tmp_path / "pids")) == 1


def test_a_stage_that_takes_too_long_is_ended(tmp_path):
    child = _child(time_limit_s={"infer": 1})
    try:
        with pytest.raises(ProcessLostError, match=r"longer than 1 s; at the end it was reading slice 7"):
            child.carry_out(_job("hang"))
    finally:
        child.close()


def test_what_an_extension_raises_beside_all_exceptions_is_a_defect_with_its_traceback(child):
    with pytest.raises(StageDefectError, match=r"(?s)Traceback.*Panic: index out of bounds"):
        child.carry_out(_job("panic"))


def test_what_a_stage_raises_on_purpose_arrives_and_the_process_stays(child, tmp_path):
    child.carry_out(_job(f"well:{tmp_path / 'pids'}"))
    with pytest.raises(UnsuitableInputError, match=r"^the slices have gaps$"):
        child.carry_out(_job("unsuitable"))
    child.carry_out(_job("prints"))  # and what a library prints is not taken for an answer
    child.carry_out(_job(f"well:{tmp_path / 'pids'}"))
    assert len(set(_pids(tmp_path / "pids"))) == 1


def test_progress_reaches_the_worker(child, tmp_path):
    seen = []
    job = replace(
        _job(f"well:{tmp_path / 'x'}"), report_progress=lambda share, doing: seen.append((share, doing))
    )
    child.carry_out(job)
    assert (0.5, "reading slice 7") in seen


def test_a_job_that_is_to_stop_is_ended_even_if_its_process_listens_to_nobody(tmp_path):
    child, pid_file = _child(), tmp_path / "pid"

    def report_progress(share, doing) -> None:
        if pid_file.exists() and pid_file.read_text():
            raise StoppedError("this process ends")

    with pytest.raises(StoppedError):
        child.carry_out(replace(_job(f"deaf:{pid_file}"), report_progress=report_progress))
    assert not _is_alive(int(pid_file.read_text()))


def test_a_worker_that_is_killed_takes_the_process_along(tmp_path):
    pid_file = tmp_path / "pid"
    worker = f"""
import sys
from workflow.engine.child import Child
from workflow.ports import Job
from workflow.settings import load_settings
child = Child(load_settings(None), [sys.executable, "-c", {PROGRAM!r}])
child.carry_out(Job(id=1, stage="infer", subject="deaf:{pid_file}", attempts=1))
"""
    process = subprocess.Popen([sys.executable, "-c", worker])
    _wait_until(lambda: pid_file.exists() and pid_file.read_text(), "the stage to begin")
    process.kill()
    process.wait()
    _wait_until(lambda: not _is_alive(int(pid_file.read_text())), "the process to end with its worker")


def test_the_memory_of_a_group_is_that_of_its_processes():
    process = subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(b'1') * (100 * 2**20); print(1, flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    process.stdout.readline()
    assert 100 * 2**20 < resident_bytes(process.pid) < 200 * 2**20
    process.communicate(b"\n")
    assert resident_bytes(process.pid) == 0
