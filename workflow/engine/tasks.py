"""Celery: one thin task that wakes a worker. What must be done, and what first, is in the job table."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Collection, Sequence
from queue import Empty, LifoQueue
from typing import Any

from celery import Celery, signals
from celery.worker import state
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES

from workflow.bootstrap import build
from workflow.domain.errors import TransientError
from workflow.engine.child import Child
from workflow.engine.context import Context
from workflow.engine.jobs import Runner
from workflow.engine.reconciler import LIGHT_STAGES, queues, runner, stages
from workflow.settings import Settings

log = logging.getLogger(__name__)

WORK = "tumorline.work"
# A message that nobody took for so long says nothing any more: the reconciler has sent others.
_STALE_AFTER_S = 600
# A worker that is told to end finishes what ends soon; the rest is put back for another.
_FINISH_S = 5.0


def make_app(settings: Settings) -> Celery:
    """Make the Celery application for these settings: any broker will do, and without one a folder does."""
    app = Celery("tumorline", set_as_current=False)
    url, options = _broker(settings)
    app.conf.update(
        broker_url=url,
        broker_transport_options=options,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_ignore_result=True,
        task_queues=[_queue(name) for name in queues(settings)],
        task_create_missing_queues=False,
        # Nothing is asked of workers by messages; each would need a queue of its own to be asked in.
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        task_serializer="json",
        accept_content=["json"],
    )
    return app


def _queue(name: str) -> Queue:
    """A queue on the broker, which may serve others too."""
    return Queue(f"tumorline.{name}", Exchange("tumorline"), routing_key=f"tumorline.{name}")


def announce(app: Celery, queue: str, count: int) -> None:
    """Wake some workers of a queue. Losing a message costs a few seconds, nothing else.

    Raises
    ------
    TransientError
        If the broker is not there.
    """
    try:
        for _ in range(count):
            app.send_task(
                WORK, args=(queue,), queue=f"tumorline.{queue}", expires=_STALE_AFTER_S, ignore_result=True
            )
    except (OperationalError, OSError) as error:
        raise TransientError(f"the broker is not there: {error}") from error


def require_broker(app: Celery) -> None:
    """Ask the broker for an answer.

    Raises
    ------
    TransientError
        If there is none.
    """
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5, interval_start=0)
    except (OperationalError, OSError) as error:
        raise TransientError(f"the broker is not there: {error}") from error


class _Places:
    """Where the jobs of one queue are carried out, one after the other at each place."""

    def __init__(self, stages: Collection[str], runners: Sequence[Runner]) -> None:
        self.stages = stages
        self.asked = threading.Event()
        # The place that was left last is taken first: its process is warm.
        self.free: LifoQueue[Runner] = LifoQueue()
        for one in runners:
            self.free.put(one)


class Desk:
    """Where a worker's jobs are carried out: each of its queues has `worker.concurrency` places.

    So an inference of an hour keeps nothing else waiting, even where one worker does all.
    """

    def __init__(self, settings: Settings, app: Celery) -> None:
        self._app = app
        self._context: Context = build(settings)
        self._queues = queues(settings)
        self._ends_at: float | None = None
        self._children: list[Child] = []
        self._places = {
            name: _Places(
                self._queues[name], [self._place(settings) for _ in range(settings.worker.concurrency)]
            )
            for name in settings.worker.queues
        }

    def _place(self, settings: Settings) -> Runner:
        child = Child(settings)
        self._children.append(child)
        apart = {name: child.carry_out for name in stages(self._context) if name not in LIGHT_STAGES}
        return runner(self._context, apart, must_end=self._must_end)

    def work(self, queue: str) -> None:
        """Carry out jobs of a queue until it has none.

        A worker that is busy leaves a message to the others: it looks for itself when it is done.
        """
        places = self._places.get(queue)
        if places is None:  # of another worker, from before the settings changed
            return
        places.asked.set()
        while places.asked.is_set():
            try:
                place = places.free.get_nowait()
            except Empty:
                return
            # Whoever asks from here on is heard: this place looks once more after its last look.
            places.asked.clear()
            try:
                while self._ends_at is None and place.run_next(places.stages):
                    self._wake_others()
            except TransientError as error:
                log.warning("%s; the work is announced again", error)
            finally:
                places.free.put(place)

    def _wake_others(self) -> None:
        """What a job left to do begins without waiting for the reconciler."""
        for name, of_queue in self._queues.items():
            if self._context.jobs.due(of_queue, limit=1):
                try:
                    announce(self._app, name, 1)
                except TransientError as error:  # this worker goes on without a broker
                    log.warning("%s; the reconciler announces it again", error)

    def _must_end(self) -> bool:
        return self._ends_at is not None and time.monotonic() > self._ends_at

    def close(self) -> None:
        """Begin nothing more, and end soon."""
        self._ends_at = time.monotonic() + _FINISH_S

    def end_children(self) -> None:
        """End the processes that are kept warm."""
        for child in self._children:
            child.close()


def run_worker(settings: Settings, stop: threading.Event) -> None:
    """Be a worker until told to end; `stop` is set then."""
    app = make_app(settings)
    desk = Desk(settings, app)
    app.task(desk.work, name=WORK)

    def told_to_end(**_: Any) -> None:
        desk.close()
        stop.set()

    def end_if_told_before(**_: Any) -> None:
        # A signal that came while this process imported what it needs was swallowed there.
        if stop.is_set():
            state.should_stop = 0

    signals.worker_shutting_down.connect(told_to_end)
    signals.worker_ready.connect(end_if_told_before)
    try:
        app.worker_main(
            [
                "worker",
                "--loglevel=WARNING",
                # RabbitMQ ends the second worker of a name on one host.
                f"--hostname=tumorline-{uuid.uuid4().hex[:8]}@%h",
                f"--queues={','.join(f'tumorline.{name}' for name in settings.worker.queues)}",
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
                # The work is done by processes of our own. One thread more takes what comes meanwhile.
                "--pool=threads",
                f"--concurrency={settings.worker.concurrency * len(settings.worker.queues) + 1}",
            ]
        )
    finally:
        desk.end_children()


def _broker(settings: Settings) -> tuple[str, dict[str, Any]]:
    if settings.broker_url:
        return settings.broker_url, {}
    folder = settings.home / "broker" / "queue"
    folder.mkdir(parents=True, exist_ok=True)
    TRANSPORT_ALIASES["tumorline-folder"] = "workflow.engine.folder_broker:Transport"
    return "tumorline-folder://localhost", {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "polling_interval": 0.1,
    }
