"""The real stack under `tumorline up`, with processes killed at bad moments: the same results, once."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import pydicom
import pytest
from hospital import LEFT, RIGHT, Sphere, Study, rows
from sqlalchemy import func, select

from db.tables import InstanceRow, JobRow, ReportRow, ResultObjectRow
from dicom_io.keeping import file_digest
from dicom_io.scu import RemoteNode
from workflow.bootstrap import build
from workflow.domain.errors import TransientError
from workflow.settings import load_settings
from workflow.use_cases.demo import free_port

BASELINE = Study(
    day=date(2024, 3, 4),
    spheres=(
        Sphere(centre_lps=LEFT, diameter_mm=16, is_prompted=True, label="left lung"),
        Sphere(centre_lps=RIGHT, diameter_mm=12, is_prompted=True, label="right lung"),
    ),
)
FOLLOW_UP = Study(
    day=date(2024, 5, 6),
    spheres=(Sphere(centre_lps=LEFT, diameter_mm=8), Sphere(centre_lps=RIGHT, diameter_mm=8)),
)

# pynetdicom leaves the socket of a lost connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")


class Stack:
    """`tumorline up` in a process of its own, on free ports, in a home folder of its own."""

    def __init__(self, home: Path) -> None:
        self.environment = {
            "TUMORLINE_HOME": str(home),
            "TUMORLINE_LISTENER__PORT": str(free_port()),
            "TUMORLINE_LISTENER__ALLOWED_CALLING_AE_TITLES": '["CT1"]',
            "TUMORLINE_LISTENER__MINIMUM_FREE_MB": "1",
            "TUMORLINE_ARCHIVE__PORT": str(free_port()),
            "TUMORLINE_WEB__PORT": str(free_port()),
            "TUMORLINE_WEB__LOGIN": "false",
            "TUMORLINE_READINESS__QUIET_S": "1",
            "TUMORLINE_WORKER__LEASE_S": "2",
            "TUMORLINE_WORKER__RECONCILE_S": "0.2",
            "TUMORLINE_RESULTS__ENCAPSULATED_PDF": "false",
            "OMP_NUM_THREADS": "1",
        }
        self.settings = load_settings(
            None,
            home=home,
            listener={"port": int(self.environment["TUMORLINE_LISTENER__PORT"])},
            web={"port": int(self.environment["TUMORLINE_WEB__PORT"])},
        )
        self.context = build(self.settings)
        self.node = RemoteNode(
            ae_title="TUMORLINE", host="127.0.0.1", port=self.settings.listener.port, calling_ae_title="CT1"
        )

    def start(self) -> Stack:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workflow", "up"],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.wait_until(self.answers, "the listener to answer", 90)
        return self

    def stop(self) -> tuple[int, float]:
        """End it by SIGTERM; give the exit code and the seconds that it took."""
        started = time.monotonic()
        self.process.terminate()
        try:
            code = self.process.wait(60)
        finally:
            self.process.kill()
        return code, time.monotonic() - started

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.node.port), timeout=1).close()
        except OSError:
            return False
        return True

    def pid(self, service: str) -> int:
        return int((self.settings.home / "run" / f"{service}.pid").read_text())

    def kill(self, service: str) -> None:
        os.kill(self.pid(service), signal.SIGKILL)

    def send(self, *studies: Study, folder: Path) -> None:
        for study in studies:
            self.node.store(written(study, folder))

    def wait_until(self, is_so: Callable[[], object], what: str, timeout_s: float = 120) -> None:
        end = time.monotonic() + timeout_s
        while not is_so():
            if time.monotonic() > end:
                logs = [p.read_text()[-2000:] for p in (self.settings.home / "logs").glob("*.log")]
                pytest.fail(f"waited {timeout_s:g} s for {what}: {logs}")
            time.sleep(0.02)

    def wait_until_done(self, reports: int) -> None:
        """Wait until nothing is left to do and so many reports are there."""
        self.wait_until(lambda: self.count(ReportRow) >= reports, f"{reports} reports")
        self.wait_until(lambda: self.context.jobs.is_idle(), "all work to be done")

    def count(self, table: type) -> int:
        with rows(self.context) as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def is_running(self, stage: str) -> bool:
        with rows(self.context) as session:
            query = select(JobRow.id).where(JobRow.stage == stage, JobRow.state == "IN PROGRESS")
            return session.scalar(query.limit(1)) is not None

    def results(self) -> list[str]:
        """SOP Instance UIDs of the current reports, in the course's order."""
        (course,) = self.context.overview.courses()
        return [o["sop_instance_uid"] for point in course["time_points"] for o in point["objects"]]

    def archived(self) -> list[str]:
        """SOP Instance UIDs of the archive's files, one each, as the files themselves say."""
        files = (self.settings.home / "archive").glob("*/*/*.dcm")
        return sorted(str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files)

    def check(self, expected: Sequence[str]) -> None:
        """Hold the end against that of an undisturbed run: same UIDs, each once, nothing left over."""
        assert self.results() == list(expected)
        assert self.archived() == sorted(expected)
        assert self.count(ResultObjectRow) == len(expected)
        with rows(self.context) as session:
            assert set(session.scalars(select(ResultObjectRow.state))) == {"VERIFIED"}
            assert set(session.scalars(select(ReportRow.version))) == {1}
            ended = {tuple(row) for row in session.execute(select(JobRow.state, JobRow.outcome))}
        assert ended <= {("COMPLETED", ""), ("CANCELED", "replaced")}


def written(study: Study, folder: Path) -> list[Path]:
    target = folder / study.day.isoformat()
    if not target.exists():
        study.write(target)
    return sorted(target.glob("*.dcm"))


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
    stack.kill("worker")
    stack.wait_until_done(reports=2)
    stack.check(expected)


@pytest.mark.xdist_group("stack 2")
def test_a_worker_killed_between_store_and_verify_delivers_once(stack, expected, tmp_path):
    stack.send(FOLLOW_UP, BASELINE, folder=tmp_path)
    archive = stack.settings.home / "archive"
    stack.wait_until(lambda: next(archive.glob("*/*/*.dcm"), None), "the first object to arrive")
    stack.kill("worker")
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
    names = ["archive", "listener", "reconciler", "worker", "web"]
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
