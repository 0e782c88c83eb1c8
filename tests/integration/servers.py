"""Real servers for the integration tests, each in a temporary folder, on free loopback ports.

Every server is waited for, and ended by its own process id. Where a program is not installed the test
is skipped with the name of the Debian package.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dicom_io.scu import RemoteNode
from workflow.use_cases.demo import free_port

_DEBIAN = {"Orthanc": "orthanc", "redis-server": "redis-server", "rabbitmq-server": "rabbitmq-server"}


def needs(program: str, package: str = "") -> str:
    """Path of a server's program; the test is skipped where it is not installed."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/lib/rabbitmq/bin")
    if found is None:
        pytest.skip(f"{program} is not installed; the Debian package is {package or _DEBIAN[program]}")
    return found


def wait_until(is_so: Callable[[], object], what: str, timeout_s: float = 30.0) -> None:
    """Wait until something holds; fail with its name otherwise."""
    end = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.05)


def accepts(port: int) -> bool:
    """Whether somebody accepts connections on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def end(process: subprocess.Popen[bytes], timeout_s: float = 30.0) -> int:
    """End a process by its id and wait until it is gone."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _start(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            command, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=output,
            stderr=output,
        )  # fmt: skip


@dataclass
class OrthancServer:
    """An Orthanc with an empty database. It can be stopped and started again on the same data."""

    folder: Path
    modalities: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    dicom_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def node(self, calling_ae_title: str = "TUMORLINE") -> RemoteNode:
        return RemoteNode(
            ae_title="ORTHANC", host="127.0.0.1", port=self.dicom_port, calling_ae_title=calling_ae_title
        )

    def start(self) -> OrthancServer:
        program = needs("Orthanc")
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = {
            "Name": "test",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "index"),
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "UnknownSopClassAccepted": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "StableAge": 1,
            "HttpCompressionEnabled": False,
            "DicomModalities": dict(self.modalities),
            "Plugins": [],
            **self.overrides,
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(configuration))
        # Debian's DCMTK leaves Nagle's algorithm on: without this every C-STORE waits 40 ms.
        self.process = _start([program, str(path)], self.folder / "log.txt", {"TCP_NODELAY": "1"})
        wait_until(lambda: accepts(self.http_port) and accepts(self.dicom_port), f"Orthanc in {self.folder}")
        return self

    def stop(self) -> None:
        """End it; its SQLite index is locked until the process is gone."""
        if self.process is not None:
            end(self.process)
            self.process = None

    def forget_everything(self) -> None:
        """Replace its database by an empty one (while it is stopped)."""
        for part in ("storage", "index"):
            shutil.rmtree(self.folder / part)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}{path}", data=data, method="POST"), timeout=60
        ) as answer:
            return json.load(answer)

    def wait_until_stable(self) -> None:
        """Wait until it has announced everything as stable, and what that sets off is over."""
        wait_until(lambda: all(s["IsStable"] for s in self.get("/series?expand")), "all series to be stable")
        wait_until(lambda: all(j["State"] == "Success" for j in self.get("/jobs?expand")), "all jobs to end")

    def send_study(self, study_instance_uid: str, to: str) -> None:
        """Forward a study to a modality, as a router would."""
        found = self.post("/tools/lookup", study_instance_uid.encode())
        (study,) = [entry["ID"] for entry in found if entry["Type"] == "Study"]
        self.post(f"/modalities/{to}/store", {"Resources": [study], "Synchronous": True})


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL server; gives the URL of an empty database, which `new_database` makes more of."""
    server = PostgresqlServer(folder)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


class PostgresqlServer:
    """A PostgreSQL server that can be stopped and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not programs:
            pytest.skip("initdb is not installed; the Debian package is postgresql")
        self._binaries, self._port = programs[-1].parent, free_port()
        self._data, self._log = folder / "pg", folder / "pg.log"
        self._as_server = ["su", "postgres", "-c"] if os.getuid() == 0 else ["sh", "-c"]
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            for part in [folder, *folder.parents]:
                if part == Path("/tmp") or part.parent == part:
                    break
                part.chmod(part.stat().st_mode | 0o111)
            self._data.mkdir()
            shutil.chown(self._data, "postgres", "postgres")
        made = f"{self._binaries}/initdb -D {self._data} -A trust -U postgres --no-sync -E UTF8 --locale=C"
        subprocess.run([*self._as_server, made], check=True, capture_output=True, timeout=60, cwd="/")

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._as_server, f"exec {self._binaries}/postgres -D {self._data} {options}"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
            )  # fmt: skip
        pid_file = self._data / "postmaster.pid"
        wait_until(
            lambda: accepts(self._port) and "ready" in pid_file.read_text(), f"PostgreSQL, see {self._log}"
        )

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it: SIGINT ends its connections in order, SIGQUIT at once."""
        pid_file = self._data / "postmaster.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text().split()[0]), number)
        self._process.wait(30)


def new_database(url: str, name: str) -> str:
    """Make an empty database on a PostgreSQL server; give its URL."""
    import sqlalchemy as sa

    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    engine.dispose()
    return f"{url.rsplit('/', 1)[0]}/{name}"


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis server that keeps nothing; gives its URL."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


class RedisServer:
    """A Redis server that keeps nothing: started again it is empty."""

    def __init__(self, folder: Path) -> None:
        self._program, self._port, self._folder = needs("redis-server"), free_port(), folder

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        self._process = _start(
            [self._program, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--dir", str(self._folder)],
            self._folder / "redis.log",
        )  # fmt: skip
        wait_until(lambda: accepts(self._port), "Redis")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        end(self._process)


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """A RabbitMQ server with a port mapper of its own; gives its URL."""
    program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    if not program.exists():
        needs("rabbitmq-server")
    port, mapper_port, distribution_port = free_port(), free_port(), free_port()
    mapper = _start(
        [needs("epmd", "erlang-base"), "-port", str(mapper_port), "-address", "127.0.0.1"],
        folder / "epmd.log",
    )
    environment = {
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(mapper_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "HOME": str(folder),
    }
    process = _start([str(program)], folder / "rabbitmq.log", environment)
    try:
        wait_until(lambda: accepts(port), f"RabbitMQ, see {folder / 'rabbitmq.log'}", timeout_s=60)
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        end(process)
        end(mapper)
