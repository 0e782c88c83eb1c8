"""`tumorline up` in a process of its own, for the tests that kill, fill, stop and set back what it needs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import pydicom
import pytest
from hospital import LEFT, RIGHT, Sphere, Study, rows
from sqlalchemy import func, select

from db.tables import JobRow, ReportRow, ResultObjectRow
from dicom_io.scu import RemoteNode
from workflow.bootstrap import build
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


TESTS = Path(__file__).resolve().parent


def with_poison(gate: Path) -> dict[str, str]:
    """An environment in which the model is tests/faults/site; what waits there waits for the file `gate`."""
    return {
        "PYTHONPATH": os.pathsep.join((str(TESTS / "faults" / "site"), str(TESTS))),
        "POISON_GATE": str(gate),
        "TUMORLINE_MODELS__SEGMENTER": "poison",
        "TUMORLINE_MODELS__TRACKER": "poison",
    }


class Stack:
    """`tumorline up` in a process of its own, on free ports, in a home folder of its own."""

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
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
            **(environment or {}),
        }
        self.settings = load_settings(
            None,
            home=home,
            database_url=self.environment.get("TUMORLINE_DATABASE_URL", ""),
            broker_url=self.environment.get("TUMORLINE_BROKER_URL", ""),
            archive={"port": int(self.environment["TUMORLINE_ARCHIVE__PORT"])},
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

    def terminate(self, service: str) -> None:
        os.kill(self.pid(service), signal.SIGTERM)

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
