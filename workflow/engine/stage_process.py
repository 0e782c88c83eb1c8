"""The other end of `workflow.engine.child`: a process that carries out one job after the other."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from workflow.domain.errors import ProcessLostError, WorkflowError
from workflow.engine.child import Begun, Ended, Order, Progress
from workflow.engine.jobs import Stage
from workflow.ports import Job

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve whoever holds the other end of the connection whose descriptor is the argument."""
    die_with_parent()
    connection = Connection(int(sys.argv[1]))
    settings, level = connection.recv()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("workflow", "dicom_io", "models", "db"):
        logging.getLogger(name).setLevel(level)

    def all_stages() -> Mapping[str, Stage]:
        from workflow.bootstrap import build
        from workflow.engine.reconciler import stages

        return stages(build(settings))

    serve(connection, all_stages)


def serve(connection: Connection, open_stages: Callable[[], Mapping[str, Stage]]) -> None:
    """Carry out orders until nobody gives any; the stages are opened with the first one."""
    stages: Mapping[str, Stage] = {}
    while True:
        try:
            order = connection.recv()
        except EOFError:
            return
        ended = Ended()
        try:
            stages = stages or open_stages()
            connection.send(Begun())
            stages[order.stage](_job(order, connection))
        except WorkflowError as error:
            ended = Ended(error=type(error).__name__, message=str(error))
        except MemoryError:
            ended = Ended(error=ProcessLostError.__name__, message="it ran out of memory")
        except BaseException:  # the edge of the process: extensions raise what is no Exception
            ended = Ended(error="", message=traceback.format_exc(limit=-8))
        connection.send(ended)


def _job(order: Order, connection: Connection) -> Job:
    def report_progress(share: float, doing: str) -> None:
        connection.send(Progress(share=share, doing=doing))

    return Job(
        id=order.id,
        stage=order.stage,
        subject=order.subject,
        attempts=order.attempts,
        report_progress=report_progress,
    )


def die_with_parent() -> None:
    """End with whoever started this process, whatever it is doing; end first where memory runs out."""
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")


def _end_with_standard_input() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)  # with all that was started here


if __name__ == "__main__":
    main()
