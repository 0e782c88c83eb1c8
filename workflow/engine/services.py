"""The services of the product, each runnable alone, and the supervisor that runs them all on one machine."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context, parent_process
from multiprocessing.context import SpawnProcess
from pathlib import Path

from workflow.bootstrap import build, open_change_feed, start_archive, start_listener
from workflow.domain.errors import ConfigurationError, TransientError
from workflow.engine.orthanc_feed import follow
from workflow.engine.reconciler import Reconciler
from workflow.engine.start import places
from workflow.settings import Settings

log = logging.getLogger(__name__)

# A service that dies is started again, at first at once, then ever slower.
_RESTART_AFTER_S = (0.0, 1.0, 5.0, 15.0, 60.0)
_LIVED_LONG_ENOUGH_S = 60.0
# Tells a service that its standard input ends with its supervisor: nothing is left when that is killed.
_SUPERVISED = "_TUMORLINE_SUPERVISED"
_END_AFTER_S = 15.0
_LOOK_AT_LISTENERS_S = 0.5
# What services write is for their own user alone.
_PRIVATE = 0o077


def serve_listener(settings: Settings, stop: threading.Event) -> None:
    """Receive studies over DICOM."""
    server = start_listener(settings, build(settings))
    if not settings.listener.allowed_calling_ae_titles:
        log.warning("nobody may send: set listener.allowed_calling_ae_titles")
    others: list[SpawnProcess] = []
    while not stop.wait(_LOOK_AT_LISTENERS_S):
        others = [one for one in others if one.is_alive()]
        while len(others) < settings.listener.processes - 1:
            others.append(get_context("spawn").Process(target=_listen_too, args=(settings,), daemon=True))
            others[-1].start()
    for one in others:
        one.terminate()
    server.shutdown()
    for one in others:
        one.join(_END_AFTER_S)


def _listen_too(settings: Settings) -> None:
    """Share the port in another process, until it is told to end or the first listener is gone."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    parent = parent_process()
    server = start_listener(settings, build(settings))
    while not stop.wait(_LOOK_AT_LISTENERS_S):
        if parent is None or not parent.is_alive():
            break
    server.shutdown()


def serve_archive(settings: Settings, stop: threading.Event) -> None:
    """Stand in for a PACS."""
    server = start_archive(settings)
    stop.wait()
    server.shutdown()


def reconcile(settings: Settings, stop: threading.Event) -> None:
    """Close quiet studies, announce due jobs, take over what dead workers left."""
    from workflow.engine.tasks import announce, make_app

    context, app = build(settings), make_app(settings)
    Reconciler(context, lambda queue, count: announce(app, queue, count)).run(stop)


def work(settings: Settings, stop: threading.Event) -> None:
    """Carry out jobs (Celery handles the signals itself)."""
    from workflow.engine.tasks import run_worker

    run_worker(settings, stop)


def serve_web(settings: Settings, stop: threading.Event) -> None:
    """Show the worklist and the patients."""
    import uvicorn

    from workflow.web import make_app

    server = uvicorn.Server(
        uvicorn.Config(
            make_app(build(settings), settings),
            host=settings.web.host,
            port=settings.web.port,
            log_level="warning",
            access_log=False,  # paths hold keys of patients
            forwarded_allow_ips=list(settings.web.trusted_proxies),
            timeout_graceful_shutdown=5,
        )
    )

    def end() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=end, daemon=True).start()
    server.run()


def follow_orthanc(settings: Settings, stop: threading.Event) -> None:
    """Take in what an Orthanc reports in `/changes`.

    Raises
    ------
    ConfigurationError
        If no Orthanc is set, its extra is not installed, or it refuses the login.
    """
    orthanc = settings.orthanc
    if orthanc is None:
        raise ConfigurationError("no Orthanc is set: set orthanc.url")
    feed = open_change_feed(orthanc.url, orthanc.username, orthanc.password.get_secret_value())
    follow(feed, build(settings), orthanc.poll_s, orthanc.compare_s, stop)


Service = Callable[[Settings, threading.Event], None]
SERVICES: dict[str, Service] = {
    "archive": serve_archive,
    "listener": serve_listener,
    "reconciler": reconcile,
    "worker": work,
    "web": serve_web,
    "orthanc": follow_orthanc,
}


def wanted_services(settings: Settings) -> list[str]:
    """The services that these settings ask for, in the order in which they start."""
    unwanted = set()
    if not settings.uses_local_archive:
        unwanted.add("archive")
    if settings.orthanc is None:
        unwanted.add("orthanc")
    # A worker per queue: while one carries out an inference, another goes on with everything else.
    workers = [f"worker@{queue}" for queue in settings.worker.queues]
    return [
        one
        for name in SERVICES
        if name not in unwanted
        for one in (workers if name == "worker" and len(workers) > 1 else [name])
    ]


def service_of(name: str, settings: Settings) -> tuple[Service, Settings]:
    """The service of a name; "worker@QUEUE" is a worker that takes one queue only.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    known, _, queue = name.partition("@")
    if known not in SERVICES or (queue and (known != "worker" or queue not in settings.worker.queues)):
        raise ConfigurationError(
            f"there is no service {name}; there are {', '.join(SERVICES)}, and worker@QUEUE for each of "
            f"{', '.join(settings.worker.queues)}"
        )
    if queue:
        settings = settings.model_copy(
            update={"worker": settings.worker.model_copy(update={"queues": (queue,)})}
        )
    return SERVICES[known], settings


def run_service(name: str, settings: Settings) -> None:
    """Run one service in this process until SIGTERM or SIGINT, or until its supervisor is gone.

    Raises
    ------
    TransientError
        If it ends without having been asked to.
    """
    service, settings = service_of(name, settings)
    stop = threading.Event()
    os.umask(_PRIVATE)
    if os.environ.get(_SUPERVISED):
        threading.Thread(target=_end_with_supervisor, daemon=True).start()

    def told_to_end(*_: object) -> None:
        stop.set()
        if service is work:  # it has nothing to end yet; Celery takes its signals over when it starts
            sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told_to_end)
    folder = settings.home / "run"
    folder.mkdir(parents=True, exist_ok=True)
    pid_file = folder / f"{name}.pid"
    pid_file.write_text(str(os.getpid()))
    try:
        service(settings, stop)
    except SystemExit as end:  # Celery's, however it ended
        if not stop.is_set():
            raise TransientError(f"{name} ended by itself with {end.code}; its log says why") from end
    finally:
        pid_file.unlink(missing_ok=True)
    if not stop.is_set():
        raise TransientError(f"{name} ended by itself; its log says why")


def _end_with_supervisor() -> None:
    """Wait for the end of standard input: the supervisor holds its other end for as long as it lives."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


class Supervisor:
    """Runs services as child processes, restarts what dies, ends all by process id."""

    def __init__(
        self, names: Sequence[str], settings: Settings, environment: Mapping[str, str] | None = None
    ) -> None:
        self._names, self._settings = names, settings
        self._environment = {**os.environ, **(environment or {})}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._deaths: dict[str, int] = dict.fromkeys(names, 0)
        self._due: dict[str, float] = {}

    def start(self) -> None:
        """Start all services; the database is migrated once, before any of them opens it."""
        os.umask(_PRIVATE)
        build(self._settings)
        logs = self._settings.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        for name in self._names:
            self._spawn(name)

    def _spawn(self, name: str) -> None:
        with (self._settings.home / "logs" / f"{name}.log").open("ab") as output:
            self._children[name] = subprocess.Popen(
                [sys.executable, "-m", "workflow", "up", "--only", name],
                env={**self._environment, _SUPERVISED: "1"},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches the supervisor, which ends them in order
            )
        self._started[name] = time.monotonic()

    def check(self) -> None:
        """Start again what has died."""
        now = time.monotonic()
        for name, child in list(self._children.items()):
            if child.poll() is None:
                continue
            if name not in self._due:
                if now - self._started[name] > _LIVED_LONG_ENOUGH_S:
                    self._deaths[name] = 0
                wait_s = _RESTART_AFTER_S[min(self._deaths[name], len(_RESTART_AFTER_S) - 1)]
                self._deaths[name] += 1
                self._due[name] = now + wait_s
                log.warning(
                    "%s ended with %s; starting it again in %.0f s (%s)",
                    name,
                    child.returncode,
                    wait_s,
                    self.log_file(name),
                )
            if now >= self._due[name]:
                del self._due[name]
                if child.stdin is not None:
                    child.stdin.close()
                self._spawn(name)

    def wait_until_ready(self, timeout_s: float = 60.0, stop: threading.Event | None = None) -> None:
        """Wait until every network service accepts connections, or until `stop` is set.

        Raises
        ------
        TransientError
            If one does not; the message names its log.
        """
        import socket

        known = places(self._settings)
        end = time.monotonic() + timeout_s
        for name in (n for n in self._names if n in known):
            host, port = known[name]
            while stop is None or not stop.is_set():
                try:
                    # Who listens on all addresses listens on the loopback's too.
                    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
                    socket.create_connection((here, port), timeout=1).close()
                    break
                except OSError as error:
                    ended = self._children[name].poll() is not None
                    if ended or time.monotonic() > end:
                        raise TransientError(
                            f"{name} did not start on port {port}: {last_line(self.log_file(name))}"
                        ) from error
                    time.sleep(0.05)

    def log_file(self, name: str) -> Path:
        """Where a service's output goes."""
        return self._settings.home / "logs" / f"{name}.log"

    def stop(self) -> None:
        """End all services, the last started first; what does not end in time is killed."""
        for name in reversed(self._names):
            if name in self._children and self._children[name].poll() is None:
                self._children[name].terminate()
        end = time.monotonic() + _END_AFTER_S
        for name, child in self._children.items():
            try:
                child.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not end and is killed; its job will be taken over", name)
                child.kill()
                child.wait()
            if child.stdin is not None:
                child.stdin.close()


def last_line(path: Path) -> str:
    """The last line of a log, for an error message."""
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return f"{lines[-1]} ({path})" if lines else f"see {path}"


def check_exposure(settings: Settings) -> None:
    """Refuse to show pages without a login beyond this machine.

    Raises
    ------
    ConfigurationError
        If the web page is to listen on another than the loopback address without a login.
    """
    if not settings.web.login and settings.web.host not in ("127.0.0.1", "localhost", "::1"):
        raise ConfigurationError("web.login is off: pages without a login are shown on 127.0.0.1 only")
