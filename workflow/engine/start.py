"""Whether services can start here: their ports are free, and no others run on the same home folder."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from workflow.domain.errors import ConfigurationError, TransientError
from workflow.settings import Settings


def places(settings: Settings) -> dict[str, tuple[str, int]]:
    """The address and port that each network service listens on."""
    return {
        "archive": ("127.0.0.1", settings.archive.port),
        "listener": (settings.listener.host, settings.listener.port),
        "web": (settings.web.host, settings.web.port),
    }


def check_ports(names: Sequence[str], settings: Settings) -> None:
    """See that the ports of some services are free, before any of them starts.

    Raises
    ------
    TransientError
        If another program listens on one.
    ConfigurationError
        If two of them are the same, or this process may not listen there.
    """
    wanted = {name: place for name, place in places(settings).items() if name in names}
    users: dict[int, str] = {}
    for name, (host, port) in wanted.items():
        if port in users:
            raise ConfigurationError(
                f"{users[port]}.port and {name}.port are both {port}; change one of them"
            )
        users[port] = name
        _check_port(name, host, port)


def _check_port(name: str, host: str, port: int) -> None:
    where = f"port {port} of {host}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the services do: what is left of connections of a run before is in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror as error:
        raise ConfigurationError(f"{name}.host: {host} is no address of this machine") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise TransientError(
                f"{where} is taken by another program (`ss -ltnp` names it): end that, or set {name}.port"
            ) from error
        if error.errno == errno.EACCES:
            raise ConfigurationError(
                f"{where} may not be used: below 1024 a service needs a right of its own "
                f"(CAP_NET_BIND_SERVICE); grant it, or set {name}.port"
            ) from error
        raise ConfigurationError(f"{name} can't listen on {where}: {error.strerror}") from error


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Keep others from running their services on the same home folder; it ends with this process.

    Raises
    ------
    TransientError
        If others run there already.
    """
    path = home / "run" / "up.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
            raise TransientError(
                f"the services of {home} run already (process {holder}): end them first, or give these "
                "a home of their own (TUMORLINE_HOME)"
            ) from error
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
