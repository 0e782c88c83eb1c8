"""Broker, database, disk and clock fail under a running stack; afterwards the results are there, once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import servers
from hospital import LEFT, Sphere, Study, rows
from sqlalchemy import func, select
from whole_stack import BASELINE, FOLLOW_UP, Stack, with_poison

from db.tables import JobRow, ReportRow, ResultObjectRow
from workflow.domain.errors import TransientError
from workflow.use_cases.doctor import Finding, Verdict, examine

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.xdist_group("stack 2"),
]


def _check(stack: Stack, visits: int) -> None:
    """One report a visit, all of it stored, each object once; and the doctor finds nothing."""
    with rows(stack.context) as session:
        assert set(session.scalars(select(ReportRow.version))) == {1}
        assert session.scalar(select(func.count(ReportRow.id))) == visits
        assert set(session.scalars(select(ResultObjectRow.state))) == {"VERIFIED"}
        made = sorted(session.scalars(select(ResultObjectRow.sop_instance_uid)))
    assert stack.archived() == made
    unsound = [one for one in examine(stack.context, digests=True) if one.verdict is not Verdict.SOUND]
    assert [_words(one) for one in unsound] == []


def _words(finding: Finding) -> str:
    return f"{finding.check}: {finding.what}"


@pytest.mark.long_fault
def test_a_broker_killed_with_its_messages_costs_only_time(tmp_path):
    broker = servers.RedisServer(tmp_path)
    broker.start()
    stack = Stack(tmp_path / "home", {"TUMORLINE_BROKER_URL": broker.url}).start()
    try:
        stack.send(BASELINE, FOLLOW_UP, folder=tmp_path)
        stack.wait_until(lambda: stack.is_running("infer") or stack.count(ReportRow), "the work to begin")
        broker.kill()
        time.sleep(2)
        broker.start()
        stack.wait_until_done(reports=2)
        _check(stack, visits=2)
    finally:
        code, _ = stack.stop()
        broker.stop()
    assert code == 0


@pytest.mark.long_fault
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_database_that_stops_for_a_while_loses_no_job_and_blames_none(tmp_path, number):
    database = servers.PostgresqlServer(tmp_path)
    database.start()
    gate = tmp_path / "gate"
    stack = Stack(
        tmp_path / "home",
        {
            **with_poison(gate),
            "TUMORLINE_DATABASE_URL": database.url,
            # One loss would end a job: none may be counted.
            "TUMORLINE_WORKER__MAXIMUM_LOSSES": "1",
        },
    ).start()
    try:
        sphere = Sphere(centre_lps=LEFT, diameter_mm=16, is_prompted=True, label="wait")
        stack.send(Study(day=BASELINE.day, spheres=(sphere,)), folder=tmp_path)
        stack.wait_until((tmp_path / "gate.reached").exists, "the inference to run")
        database.stop(number)
        time.sleep(3 * float(stack.environment["TUMORLINE_WORKER__LEASE_S"]))
        database.start()
        gate.touch()
        stack.wait_until_done(reports=1)
        with rows(stack.context) as session:
            assert set(session.scalars(select(JobRow.losses))) == {0}
        _check(stack, visits=1)
    finally:
        code, _ = stack.stop()
        _close(stack)
        database.stop()
    assert code == 0


def _close(stack: Stack) -> None:
    """End this process's connections: psycopg warns of those that are left."""
    with rows(stack.context) as session:
        engine = session.get_bind()
    engine.dispose()


@contextmanager
def _small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("a small disk can only be made by root with the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb") as out:
        try:
            while True:
                out.write(b"\0" * 4096)
                out.flush()
        except OSError:
            return filler


@pytest.mark.long_fault
def test_a_full_disk_refuses_what_comes_keeps_what_is_there_and_goes_on_when_there_is_room(tmp_path):
    with _small_disk(tmp_path / "disk", 60) as disk:
        stack = Stack(disk / "home").start()
        try:
            stack.send(BASELINE, folder=tmp_path)
            stack.wait_until(lambda: stack.is_running("ingest") or stack.is_running("infer"), "work")
            filler = _fill(disk)
            with pytest.raises(TransientError):
                stack.send(FOLLOW_UP, folder=tmp_path)
            time.sleep(3)
            filler.unlink()
            stack.send(FOLLOW_UP, folder=tmp_path)
            stack.wait_until_done(reports=2)
            _check(stack, visits=2)
            assert list((disk / "home").rglob("*.part")) == []
        finally:
            code, _ = stack.stop()
    assert code == 0


def _by_another_clock(hours: int) -> dict[str, str]:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed; the Debian package is libfaketime")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{hours:+d}h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


@pytest.mark.long_fault
def test_hosts_an_hour_apart_take_nothing_from_each_other(tmp_path):
    """Two reconcilers and three workers on one PostgreSQL, one of each by another clock."""
    database = servers.PostgresqlServer(tmp_path)
    database.start()
    stack = Stack(tmp_path / "home", {"TUMORLINE_DATABASE_URL": database.url}).start()
    others = []
    try:
        for name, hours in (("reconciler", 1), ("worker", -1), ("worker", 0)):
            environment = {**os.environ, **stack.environment, **(_by_another_clock(hours) if hours else {})}
            command = [sys.executable, "-m", "workflow", "up", "--only", name]
            with (tmp_path / f"{name}{hours}.log").open("ab") as log:
                others.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        patients = [f"P-{number}" for number in range(3)]
        for patient in patients:
            for study in (BASELINE, FOLLOW_UP):
                own = Study(day=study.day, spheres=study.spheres, patient_id=patient)
                stack.send(own, folder=tmp_path / patient)
        stack.wait_until_done(reports=2 * len(patients))
        with rows(stack.context) as session:
            assert set(session.scalars(select(JobRow.losses))) == {0}
            workers = set(session.scalars(select(JobRow.worker)))
        assert len(workers) > 1
        _check(stack, visits=2 * len(patients))
    finally:
        for process in others:
            servers.end(process)
        code, _ = stack.stop()
        _close(stack)
        database.stop()
    assert code == 0
    assert [process.returncode for process in others] == [0, 0, 0]


def test_the_disk_that_is_filled_here_is_the_small_one(tmp_path):
    with _small_disk(tmp_path / "disk", 2) as disk:
        _fill(disk)
        assert shutil.disk_usage(disk).free == 0
        assert shutil.disk_usage(tmp_path).free > 0
