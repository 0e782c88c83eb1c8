"""A stage in a process of its own: what it crashes, hangs or eats up costs one job and nobody else.

The worker keeps one such process warm, so that libraries are imported and models opened once, and replaces it
after a failure. Claims, leases, progress and the job's end stay with the worker. The process dies with it:
its standard input ends, and where the kernel can, it is killed at once (PR_SET_PDEATHSIG).

Memory is what the process group has resident. A limit on address space (RLIMIT_AS) would be simpler and
wrong: torch maps three times what it uses on a CPU, and tens of GB beside a GPU.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from workflow.domain import errors
from workflow.domain.errors import ProcessLostError
from workflow.engine.jobs import StageDefectError
from workflow.ports import Job
from workflow.settings import Settings, Worker

log = logging.getLogger(__name__)

_LOOK_S = 0.25
_END_AFTER_S = 2.0
_PROGRAM = (sys.executable, "-m", "workflow.engine.stage_process")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the process is told to do: the fields of a `Job` that travel."""

    id: int
    stage: str
    subject: str
    attempts: int


@dataclass(frozen=True)
class Begun:
    """That everything is imported and open: the stage's time begins."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far it is (0 to 1), and what it does."""

    share: float
    doing: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How it ended: well, by an error of `workflow.domain.errors`, or by a defect ("") with its traceback."""

    error: str | None = None
    message: str = ""


class Child:
    """Carries out jobs as a `Stage` does, in a process that is started when it is first needed."""

    def __init__(self, settings: Settings, program: Sequence[str] = _PROGRAM) -> None:
        self._settings, self._program = settings, program
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def carry_out(self, job: Job) -> None:
        """Carry out a job.

        Raises
        ------
        ProcessLostError
            If the process died, took too long or used too much; the message says what it was doing.
        StageDefectError
            If the stage raised what nobody foresaw.
        WorkflowError
            Whatever else the stage raised, and what `job.report_progress` raises.
        """
        try:
            ended = self._run(job)
        except BaseException:
            self.close()
            raise
        if ended.error is None:
            return
        error: Exception = (
            getattr(errors, ended.error)(ended.message) if ended.error else StageDefectError(ended.message)
        )
        if isinstance(error, StageDefectError | ProcessLostError):
            self.close()  # who knows what state it is in
        raise error

    def _run(self, job: Job) -> Ended:
        process, connection = self._ready()
        limits = _Limits(job.stage, self._settings.worker)
        share, doing = 0.0, "starting"
        try:
            connection.send(Order(id=job.id, stage=job.stage, subject=job.subject, attempts=job.attempts))
            while True:
                message: Any = connection.recv() if connection.poll(_LOOK_S) else None
                if isinstance(message, Ended):
                    return message
                if isinstance(message, Begun):
                    limits = _Limits(job.stage, self._settings.worker)
                if isinstance(message, Progress):
                    share, doing = message.share, message.doing
                job.report_progress(share, doing)
                limits.check(process.pid, doing)
        except (EOFError, ConnectionError) as error:
            raise ProcessLostError(f"{_how_it_died(process)} while {doing}") from error

    def _ready(self) -> tuple[subprocess.Popen[bytes], Connection]:
        if self._process is not None and self._connection is not None and self._process.poll() is None:
            return self._process, self._connection
        self.close()
        ours, theirs = multiprocessing.Pipe()
        self._process = subprocess.Popen(
            [*self._program, str(theirs.fileno())],
            stdin=subprocess.PIPE,  # ends with us
            stdout=2,  # the log's; what a library prints must not be lost, nor be taken for an answer
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # a group of its own, to be measured and ended with all that it starts
        )
        theirs.close()
        self._connection = ours
        ours.send((self._settings, logging.getLogger("workflow").getEffectiveLevel()))
        return self._process, ours

    def close(self) -> None:
        """End the process and all that it started."""
        process, self._process = self._process, None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if process is None:
            return
        _signal_group(process.pid, signal.SIGTERM)
        try:
            process.wait(_END_AFTER_S)
        except subprocess.TimeoutExpired:
            log.warning("process %d does not end and is killed", process.pid)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


class _Limits:
    def __init__(self, stage: str, settings: Worker) -> None:
        self._time_s: float = getattr(settings.time_limit_s, stage)
        self._memory_mb = settings.memory_limit_mb
        self._started = self._looked = time.monotonic()

    def check(self, group: int, doing: str) -> None:
        now = time.monotonic()
        if now - self._started > self._time_s:
            raise ProcessLostError(
                f"it took longer than {_duration(self._time_s)}; at the end it was {doing}"
            )
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        if resident_bytes(group) > self._memory_mb * 2**20:
            raise ProcessLostError(f"it used more than {_size(self._memory_mb)} of memory while {doing}")


def resident_bytes(group: int) -> int:
    """What the processes of a group have in memory; 0 where there is no /proc to ask."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # After the name, which may hold anything: state, parent, group (proc(5)).
            if int((folder / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                total += int((folder / "statm").read_text().split()[1]) * _PAGE_BYTES
        except OSError:  # it has just ended
            continue
    return total


def _how_it_died(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(_END_AFTER_S)
    except subprocess.TimeoutExpired:
        return "its process stopped answering"
    if code == -signal.SIGKILL:
        return "its process was killed by signal 9 (as is done where memory runs out)"
    return f"its process was killed by signal {-code}" if code < 0 else f"its process ended with {code}"


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def _size(megabytes: int) -> str:
    return f"{megabytes / 1024:g} GB" if megabytes % 1024 == 0 else f"{megabytes} MB"
