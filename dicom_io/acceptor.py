"""Associations that others open with us, over sockets: every length, count and wait has a bound.

A caller gets a thread only after its whole association request was read and accepted. Until then its
connection waits with others in one selector loop, under a deadline for all of it, and when too many wait the
one that has waited longest goes: silent or slow peers shut nobody out. What an association may
hold in memory is one PDU and one command set; data sets are handed on as they come.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Protocol

from pydicom.uid import UID_dictionary
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts

from dicom_io import upper_layer as ul
from dicom_io.upper_layer import AssociationRequest, Command, ProtocolError, Rejection
from workflow.domain.errors import TransientError

log = logging.getLogger(__name__)

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
# Data sets that are held in memory are encoded in one of these.
_PLAIN_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_STORAGE = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
_TRANSFER_SYNTAXES = frozenset(map(str, ALL_TRANSFER_SYNTAXES))

# 128 contexts with every known transfer syntax take 170 kB.
_LONGEST_REQUEST = 256 << 10
_LONGEST_PDU = 256 << 10
_LONGEST_COMMAND = 16 << 10
_LONGEST_COMMITMENT = 8 << 20  # about 60,000 references
_WAITING_AT_MOST = 128
_BREATH_S = 0.02
# Below this many bytes a second, a minute into a message, a sender holds its place for nothing.
_SLOWEST_PER_S = 1024
_PATIENCE_S = 60.0
# PS3.4 J.3.2; PS3.7 C.4.10.
_REQUEST_COMMITMENT, _NO_SUCH_ACTION = 1, 0x0123
_ACCEPTED, _ABSTRACT_SYNTAX_REFUSED, _TRANSFER_SYNTAXES_REFUSED = 0, 3, 4


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much at once, and how long; times in seconds, `object_bytes` of one data set."""

    associations: int = 32
    associations_per_host: int = 16
    request_s: float = 10.0
    idle_s: float = 60.0
    object_bytes: int = 4 << 30


@dataclass(frozen=True, kw_only=True)
class Callers:
    """Who may open an association: calling AE titles, each from the networks that are listed for it.

    A title without networks may call from anywhere. `called_ae_title` is what they have to call us; "" takes
    any title.
    """

    called_ae_title: str
    calling_ae_titles: tuple[str, ...]
    networks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def rejection(self, request: AssociationRequest, host: str) -> Rejection | None:
        """Why a request is refused, None if it is not."""
        if not request.protocol_version & 1:
            return ul.PROTOCOL_VERSION_NOT_SUPPORTED
        if request.application_context != ul.APPLICATION_CONTEXT:
            return ul.APPLICATION_CONTEXT_NOT_SUPPORTED
        if request.calling_ae_title not in self.calling_ae_titles:
            return ul.CALLING_AE_TITLE_NOT_RECOGNIZED
        networks = self.networks.get(request.calling_ae_title)
        if networks is not None:
            address = ip_address(host)
            address = getattr(address, "ipv4_mapped", None) or address
            if not any(address in ip_network(network, strict=False) for network in networks):
                return ul.HOST_NOT_ALLOWED
        if self.called_ae_title and request.called_ae_title != self.called_ae_title:
            return ul.CALLED_AE_TITLE_NOT_RECOGNIZED
        return None


class DataSetSink(Protocol):
    """Takes one data set as it comes. Closed without `finish`, nothing of it stays."""

    def write(self, part: memoryview) -> None:
        """Take the next bytes."""
        ...

    def finish(self) -> tuple[int, str]:
        """Keep it; the C-STORE status to answer and a comment, "" for none."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class CommitmentService(Protocol):
    """Both sides of storage commitment; data sets are encoded in the given transfer syntax."""

    def asked(self, content: bytes, transfer_syntax: str) -> tuple[int, bytes]:
        """Answer a request: the type of the event and its data set."""
        ...

    def answered(self, content: bytes, transfer_syntax: str) -> None:
        """Take the answer to a request of ours."""
        ...


# What a C-STORE's data set goes to: its command, transfer syntax and calling AE title. A status without a
# sink is answered after the data set was read and thrown away.
OpenSink = Callable[[Command, str, str], DataSetSink | tuple[int, str]]


def is_storage(abstract_syntax: str) -> bool:
    """Whether it is a class of objects that belong to a study: a known one, a new one, or a private one."""
    if abstract_syntax in _STORAGE:
        return True
    if not abstract_syntax.startswith("1.2.840.10008."):
        return bool(abstract_syntax)
    name = UID_dictionary.get(abstract_syntax, ("",))[0]
    is_new = abstract_syntax.startswith("1.2.840.10008.5.1.4.1.1.")
    return is_new and (not name or "Storage" in name)


class Acceptor:
    """A DICOM listener for C-ECHO, C-STORE and storage commitment; starts when made, ends with `shutdown`.

    Raises
    ------
    TransientError
        If the port is taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        callers: Callers,
        open_sink: OpenSink,
        commitment: CommitmentService | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        shares_port: bool = False,
    ) -> None:
        self._callers, self._open_sink, self._tls = callers, open_sink, tls
        self._commitment = commitment
        self._limits = limits or Limits()
        self._waiting: dict[socket.socket, _Waiting] = {}
        self._open: dict[_Association, str] = {}
        self._lock = threading.Lock()
        self._is_ending = False
        self._listening = _listen(host, port, callers.called_ae_title, shares_port)
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._loop = threading.Thread(target=self._run, name="acceptor", daemon=True)
        self._loop.start()

    def shutdown(self) -> None:
        """Take no more callers, and end the associations that are open."""
        self._is_ending = True
        self._wake.send(b"\0")
        self._loop.join()
        with self._lock:
            associations = list(self._open)
        for association in associations:
            association.end()
        for association in associations:
            association.thread.join(timeout=5)
        for end in (self._wake, self._woken):
            end.close()

    # -------------------------------------------------------- before an association

    def _run(self) -> None:
        while not self._is_ending:
            for key, _ in self._selector.select(self._next_deadline_s()):
                if key.fileobj is self._listening:
                    self._take_call()
                elif isinstance(key.data, _Waiting):
                    self._hear(key.data)
            now = time.monotonic()
            for late in [one for one in self._waiting.values() if one.deadline <= now]:
                self._drop(late, "did not finish its association request in time")
        for waiting in list(self._waiting.values()):
            self._drop(waiting, "")
        self._selector.close()
        self._listening.close()

    def _next_deadline_s(self) -> float | None:
        if not self._waiting:
            return None
        # In the order in which they came: the first is the next to be late.
        return max(0.0, next(iter(self._waiting.values())).deadline - time.monotonic())

    def _take_call(self) -> None:
        try:
            connection, address = self._listening.accept()
        except OSError as error:  # gone already, or no descriptor left: the oldest goes
            log.warning("a connection could not be taken: %s", error.strerror)
            self._drop_oldest()
            time.sleep(_BREATH_S)
            return
        if len(self._waiting) >= _WAITING_AT_MOST:
            self._drop_oldest()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
        except (OSError, ValueError):
            connection.close()
            return
        waiting = _Waiting(connection, str(address[0]), time.monotonic() + self._limits.request_s)
        self._waiting[connection] = waiting
        self._selector.register(connection, selectors.EVENT_READ, waiting)

    def _drop_oldest(self) -> None:
        if self._waiting:
            self._drop(next(iter(self._waiting.values())), "made room for others")

    def _hear(self, waiting: _Waiting) -> None:
        try:
            body = waiting.read()
        except (OSError, ProtocolError) as error:
            self._drop(waiting, str(error) if isinstance(error, ProtocolError) else "")
            return
        if waiting.events != self._selector.get_key(waiting.connection).events:
            self._selector.modify(waiting.connection, waiting.events, waiting)
        if body is None:
            return
        self._selector.unregister(waiting.connection)
        del self._waiting[waiting.connection]
        try:
            self._answer(waiting, ul.parse_associate_rq(body))
        except (OSError, ProtocolError, UnicodeError):
            log.warning("%s sent an association request that is malformed", waiting.host)
            waiting.connection.close()

    def _answer(self, waiting: _Waiting, request: AssociationRequest) -> None:
        connection, host = waiting.connection, waiting.host
        connection.settimeout(self._limits.idle_s)
        association = _Association(self, connection, host, request)
        rejection = self._callers.rejection(request, host) or self._seat(association)
        if rejection is not None:
            log.warning("%s at %s is refused: %s", request.calling_ae_title, host, rejection.words)
            _say_last(connection, rejection.pdu())
            return
        association.thread.start()

    def _seat(self, association: _Association) -> Rejection | None:
        with self._lock:
            if len(self._open) >= self._limits.associations:
                return ul.TOO_MANY_ASSOCIATIONS
            if Counter(self._open.values())[association.host] >= self._limits.associations_per_host:
                return ul.TOO_MANY_FROM_HOST
            self._open[association] = association.host
        return None

    def _drop(self, waiting: _Waiting, why: str) -> None:
        if why:
            log.warning("the connection from %s is ended: it %s", waiting.host, why)
        self._waiting.pop(waiting.connection, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(waiting.connection)
        waiting.connection.close()

    # -------------------------------------------------------- for associations

    def left(self, association: _Association) -> None:
        """An association is over: its place is free."""
        with self._lock:
            self._open.pop(association, None)

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._limits

    @property
    def commitment(self) -> CommitmentService | None:
        """Who does storage commitment, if anybody."""
        return self._commitment

    @property
    def open_sink(self) -> OpenSink:
        """What data sets go to."""
        return self._open_sink


class _Waiting:
    """A connection that has not finished its association request."""

    def __init__(self, connection: socket.socket, host: str, deadline: float) -> None:
        self.connection, self.host, self.deadline = connection, host, deadline
        self.events = selectors.EVENT_READ
        self._content = bytearray()
        self._is_shaken = not isinstance(connection, ssl.SSLSocket)

    def read(self) -> bytes | None:
        """The request's body once it is whole.

        Raises
        ------
        ProtocolError
            If what comes is no association request, or a longer one than there can be.
        """
        try:
            if isinstance(self.connection, ssl.SSLSocket) and not self._is_shaken:
                self.connection.do_handshake()
                self._is_shaken = True
            # To the end of what has come: TLS holds back what a selector does not see.
            while (missing := self._missing()) > 0:
                part = self.connection.recv(missing)
                if not part:
                    raise OSError("closed")
                self._content += part
        except (BlockingIOError, ssl.SSLWantReadError):
            self.events = selectors.EVENT_READ
            return None
        except ssl.SSLWantWriteError:
            self.events = selectors.EVENT_WRITE
            return None
        return bytes(self._content[ul.HEADER_LENGTH :])

    def _missing(self) -> int:
        if len(self._content) < ul.HEADER_LENGTH:
            return ul.HEADER_LENGTH - len(self._content)
        kind, length = ul.pdu_header(bytes(self._content[: ul.HEADER_LENGTH]))
        if kind != ul.ASSOCIATE_RQ:
            raise ProtocolError("does not begin with an association request")
        if length > _LONGEST_REQUEST:
            raise ProtocolError(f"announces an association request of {length} bytes")
        return ul.HEADER_LENGTH + length - len(self._content)


class _Association:
    """An association that was asked for, in a thread of its own."""

    def __init__(
        self, acceptor: Acceptor, connection: socket.socket, host: str, request: AssociationRequest
    ) -> None:
        self.host = host
        self._acceptor, self._connection, self._request = acceptor, connection, request
        self._contexts: dict[int, tuple[str, str]] = {}
        self._buffer = memoryview(bytearray(_LONGEST_PDU))
        self._fragments = self._incoming()
        self._message_id = 0
        self.thread = threading.Thread(target=self._serve, name=f"association {host}", daemon=True)

    def end(self) -> None:
        """End it from another thread."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        caller = self._request.calling_ae_title
        try:
            self._connection.sendall(self._agreement())
            while (message := self._next_command()) is not None:
                self._carry_out(*message)
        except ProtocolError as error:
            log.warning("the association with %s at %s is aborted: %s", caller, self.host, error)
            _say_last(self._connection, ul.abort())
        except (OSError, ssl.SSLError) as error:
            log.info("the association with %s at %s is lost (%s)", caller, self.host, type(error).__name__)
        except Exception:  # the edge of the association: others go on
            log.exception("the association with %s at %s is aborted by a defect", caller, self.host)
            _say_last(self._connection, ul.abort())
        finally:
            self._connection.close()
            self._acceptor.left(self)

    def _agreement(self) -> bytes:
        results = []
        for proposed in self._request.contexts:
            does_commitment = proposed.abstract_syntax == STORAGE_COMMITMENT and self._acceptor.commitment
            usable = _PLAIN_SYNTAXES if does_commitment else _TRANSFER_SYNTAXES
            known = [syntax for syntax in proposed.transfer_syntaxes if syntax in usable]
            first = proposed.transfer_syntaxes[0] if proposed.transfer_syntaxes else ""
            is_served = proposed.abstract_syntax == VERIFICATION or does_commitment
            if not is_served and not is_storage(proposed.abstract_syntax):
                results.append((proposed.context_id, _ABSTRACT_SYNTAX_REFUSED, first))
            elif not known:
                results.append((proposed.context_id, _TRANSFER_SYNTAXES_REFUSED, first))
            else:
                self._contexts[proposed.context_id] = (proposed.abstract_syntax, known[0])
                results.append((proposed.context_id, _ACCEPTED, known[0]))
        # Whoever was asked for commitment calls back as SCP.
        roles = [role for role in self._request.roles if role.abstract_syntax == STORAGE_COMMITMENT]
        return ul.associate_ac(
            self._request, results, _LONGEST_PDU, roles if self._acceptor.commitment else ()
        )

    # -------------------------------------------------------- messages

    def _next_command(self) -> tuple[int, Command] | None:
        """The next command with its context; None when the association was released or aborted."""
        content = bytearray()
        for context_id, is_command, is_last, part in self._fragments:
            if not is_command or len(content) + len(part) > _LONGEST_COMMAND:
                raise ProtocolError("a data set without its command, or a command too long to be one")
            if context_id not in self._contexts:
                raise ProtocolError("a message in a presentation context that was not accepted")
            content += part
            if is_last:
                return context_id, ul.parse_command(bytes(content))
        if content:
            raise ProtocolError("it ends within a command")
        return None

    def _carry_out(self, context_id: int, command: Command) -> None:
        abstract_syntax, transfer_syntax = self._contexts[context_id]
        if command.field == ul.C_ECHO_RQ and not command.has_data_set:
            self._respond(context_id, command, 0x0000)
        elif command.field == ul.C_STORE_RQ and command.has_data_set:
            if abstract_syntax == VERIFICATION or command.sop_class_uid != abstract_syntax:
                raise ProtocolError("a C-STORE of another class than its presentation context's")
            self._store(context_id, command, transfer_syntax)
        elif abstract_syntax == STORAGE_COMMITMENT:
            self._commit(context_id, command, transfer_syntax)
        else:
            raise ProtocolError(f"a request 0x{command.field:04X}, which nobody offered")

    def _store(self, context_id: int, command: Command, transfer_syntax: str) -> None:
        opened = self._acceptor.open_sink(command, transfer_syntax, self._request.calling_ae_title)
        sink = None if isinstance(opened, tuple) else opened
        try:
            self._take_data_set(context_id, sink)
            status, comment = opened if isinstance(opened, tuple) else opened.finish()
        finally:
            if sink is not None:
                sink.close()
        self._respond(context_id, command, status, comment)

    def _commit(self, context_id: int, command: Command, transfer_syntax: str) -> None:
        service = self._acceptor.commitment
        if command.field == ul.N_EVENT_REPORT_RSP or service is None:
            return
        content = _InMemory()
        if not command.has_data_set:
            raise ProtocolError("a storage commitment without a data set")
        self._take_data_set(context_id, content)
        if command.field == ul.N_EVENT_REPORT_RQ:
            service.answered(bytes(content.content), transfer_syntax)
            self._respond(context_id, command, 0x0000)
        elif command.field == ul.N_ACTION_RQ and command.kind == _REQUEST_COMMITMENT:
            event_type, answer = service.asked(bytes(content.content), transfer_syntax)
            self._respond(context_id, command, 0x0000)
            report = ul.event_report(command, self._next_message_id(), event_type)
            length = self._request.maximum_length
            self._connection.sendall(ul.command_pdus(context_id, report, length))
            self._connection.sendall(ul.data_set_pdus(context_id, answer, length))
        else:
            self._respond(context_id, command, _NO_SUCH_ACTION)

    def _next_message_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def _take_data_set(self, context_id: int, sink: DataSetSink | None) -> None:
        size, started = 0, time.monotonic()
        for part_id, is_command, is_last, part in self._fragments:
            if is_command or part_id != context_id:
                raise ProtocolError("another message within a data set")
            size += len(part)
            if size > self._acceptor.limits.object_bytes:
                raise ProtocolError(f"a data set of more than {self._acceptor.limits.object_bytes} bytes")
            elapsed = time.monotonic() - started
            if elapsed > _PATIENCE_S and size < elapsed * _SLOWEST_PER_S:
                raise ProtocolError("a data set that comes too slowly")
            if sink is not None:
                sink.write(part)
            if is_last:
                return
        raise ProtocolError("it ends within a data set")

    def _respond(self, context_id: int, command: Command, status: int, comment: str = "") -> None:
        answer = ul.response(command, status, comment)
        self._connection.sendall(ul.command_pdus(context_id, answer, self._request.maximum_length))

    # -------------------------------------------------------- PDUs

    def _incoming(self) -> Iterator[ul.Fragment]:
        """Fragments of messages as they come, PDU after PDU; ends when the caller releases or aborts."""
        while True:
            kind, length = ul.pdu_header(self._receive(ul.HEADER_LENGTH))
            if length > _LONGEST_PDU:
                raise ProtocolError(f"a PDU of {length} bytes, where {_LONGEST_PDU} were agreed on")
            body = self._receive(length)
            if kind == ul.RELEASE_RQ:
                _say_last(self._connection, ul.release_rp())
            if kind in (ul.RELEASE_RQ, ul.ABORT):
                return
            if kind != ul.P_DATA:
                raise ProtocolError(f"a PDU of type {kind} where none can be")
            yield from ul.fragments(body)

    def _receive(self, length: int) -> memoryview:
        """So many bytes, in the association's one buffer: they hold until the next are received."""
        view, deadline = self._buffer[:length], time.monotonic() + self._acceptor.limits.idle_s
        done = 0
        while done < length:
            got = self._connection.recv_into(view[done:])
            if not got:
                raise ConnectionResetError("closed")
            done += got
            if done < length and time.monotonic() > deadline:
                raise ProtocolError("a PDU that comes too slowly")
        return view


@dataclass
class _InMemory:
    """A data set that is small, or refused."""

    content: bytearray = field(default_factory=bytearray)

    def write(self, part: memoryview) -> None:
        """See `DataSetSink.write`."""
        if len(self.content) + len(part) > _LONGEST_COMMITMENT:
            raise ProtocolError(f"a storage commitment of more than {_LONGEST_COMMITMENT} bytes")
        self.content += part

    def finish(self) -> tuple[int, str]:
        """See `DataSetSink.finish`."""
        return 0x0000, ""

    def close(self) -> None:
        """See `DataSetSink.close`."""


def _say_last(connection: socket.socket, pdu: bytes) -> None:
    """Send a connection's last PDU and close it; whoever is gone already misses nothing."""
    with contextlib.suppress(OSError):
        connection.settimeout(1.0)
        connection.sendall(pdu)
    connection.close()


def _listen(host: str, port: int, name: str, shares_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
        listening.listen(_WAITING_AT_MOST)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise TransientError(
            f"{name} can't listen on {host}:{port}: {error.strerror}; is another one running?"
        ) from error
    return listening
