"""The listener against callers that claim, wait and send what they should not, over raw sockets."""

from __future__ import annotations

import contextlib
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hospital import Hospital

from dicom_io.acceptor import Acceptor, Callers, Limits, is_storage
from dicom_io.listener import serve_listener
from dicom_io.scu import RemoteNode
from workflow.domain.conflict import Receipt
from workflow.domain.errors import TransientError
from workflow.use_cases.demo import free_port

CT, WORKLIST = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.31"
EXPLICIT = "1.2.840.10008.1.2.1"
CALLERS = Callers(called_ae_title="TUMORLINE", calling_ae_titles=("CT1",), networks={"MR1": ("10.0.0.0/8",)})


class Site:
    """A listener whose instances are only counted."""

    def __init__(self, folder: Path, callers: Callers = CALLERS, **limits: float) -> None:
        self.port, self.folder = free_port(), folder
        self.batches: list[int] = []
        self.rejected: list[str] = []
        self.server: Acceptor = serve_listener(
            host="127.0.0.1", port=self.port, folder=folder, callers=callers,
            on_received=lambda batch: self.record(batch),
            on_rejected=lambda _, reason: self.rejected.append(reason),
            limits=Limits(**limits), minimum_free_mb=1,
        )  # fmt: skip

    def record(self, batch) -> list[Receipt]:
        self.batches.append(len(batch))
        return [Receipt.NEW] * len(batch)

    def call(self, host: str = "127.0.0.1") -> socket.socket:
        connection = socket.socket()
        connection.bind((host, 0))
        connection.settimeout(20)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def echo(self) -> None:
        RemoteNode(
            ae_title="TUMORLINE", host="127.0.0.1", port=self.port, calling_ae_title="CT1", timeout_s=20
        ).echo()

    def unfinished(self) -> list[Path]:
        return list((self.folder / "incoming").glob("*"))


@pytest.fixture
def open_site(tmp_path) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def opened(**options) -> Site:
        sites.append(Site(tmp_path / "received", **options))
        return sites[-1]

    yield opened
    for site in sites:
        site.server.shutdown()


def resident_mb() -> float:
    """What this process, the listener within it, holds in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / (1 << 20)


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def request(
    *abstract_syntaxes: str, called: str = "TUMORLINE", calling: str = "CT1", version: int = 1
) -> bytes:
    body = struct.pack(">HH", version, 0) + called.ljust(16).encode() + calling.ljust(16).encode() + bytes(32)
    body += _item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, abstract in enumerate(abstract_syntaxes):
        syntaxes = _item(0x30, abstract.encode()) + _item(0x40, EXPLICIT.encode())
        body += _item(0x20, bytes((2 * number + 1, 0, 0, 0)) + syntaxes)
    body += _item(0x50, _item(0x51, struct.pack(">I", 16384)))
    return struct.pack(">BBI", 1, 0, len(body)) + body


def pdv(content: bytes, control: int, context: int = 1) -> bytes:
    return struct.pack(">BBIIBB", 4, 0, len(content) + 6, len(content) + 2, context, control) + content


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def store_rq(uid: str) -> bytes:
    def field(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHI", 0, number, len(value)) + value

    return (
        field(0x0002, CT.encode()) + field(0x0100, b"\1\0") + field(0x0110, b"\1\0")
        + field(0x0700, b"\0\0") + field(0x0800, b"\0\0") + field(0x1000, uid.encode())
    )  # fmt: skip


def data_set(uid: str) -> bytes:
    return (
        element(8, 0x16, b"UI", CT.encode()) + element(8, 0x18, b"UI", uid.encode())
        + element(8, 0x60, b"CS", b"CT") + element(0x10, 0x20, b"LO", b"P-1")
        + element(0x20, 0xD, b"UI", b"1.2.3") + element(0x20, 0xE, b"UI", b"1.2.3.4")
    )  # fmt: skip


def read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    def read(length: int) -> bytes:
        content = b""
        while len(content) < length:
            part = connection.recv(length - len(content))
            if not part:
                return content
            content += part
        return content

    header = read(6)
    return (header[0], read(struct.unpack(">I", header[2:])[0])) if len(header) == 6 else (0, b"")


def associated(site: Site, host: str = "127.0.0.1") -> socket.socket:
    connection = site.call(host)
    connection.sendall(request(CT))
    assert read_pdu(connection)[0] == 2
    return connection


def stored(connection: socket.socket, uid: str, content: bytes) -> int:
    """Send an object in one go; the status that comes back."""
    connection.sendall(pdv(store_rq(uid), 3) + pdv(content, 2))
    kind, body = read_pdu(connection)
    assert kind == 4
    return int(struct.unpack("<H", body.split(struct.pack("<HHI", 0, 0x0900, 2))[1][:2])[0])


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side ends the connection without a word that means yes."""
    try:
        return read_pdu(connection)[0] in (0, 7)
    except ConnectionResetError:
        return True


# ---------------------------------------------------------------- before an association


@pytest.mark.parametrize(
    "claim",
    [struct.pack(">BBI", 1, 0, 0xFFFFFFFF), struct.pack(">BBI", 4, 0, 100), b"GET / HTTP/1.1\r\n\r\n"],
    ids=["a request of 4 GB", "data before a request", "HTTP"],
)
def test_what_is_no_request_ends_the_connection_and_is_not_read(open_site, claim):
    site = open_site()
    before = resident_mb()
    with site.call() as connection:
        connection.sendall(claim)
        with contextlib.suppress(OSError):
            for _ in range(64):  # as much as the listener would take
                connection.sendall(bytes(1 << 20))
        assert resident_mb() - before < 32
        assert is_closed(connection)
    site.echo()


def test_silent_and_byte_a_second_callers_shut_nobody_out(open_site):
    site = open_site(associations=2, associations_per_host=1)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(site.call()) for _ in range(16)]
        for connection in slow:
            connection.sendall(request(CT)[:1])
        for _ in range(300):  # more than may wait at once: the oldest make room
            stack.enter_context(site.call())
        site.echo()
        assert is_closed(slow[0])


def test_a_request_has_to_be_whole_in_time_however_it_trickles(open_site):
    site = open_site(request_s=0.4)
    with site.call() as connection:
        whole = request(CT)
        pause = threading.Event()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):  # noqa: PT012
            for byte in whole * 10:
                connection.sendall(bytes((byte,)))
                pause.wait(0.05)
    site.echo()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(CT, calling="NOBODY"), (1, 1, 3)),
        (request(CT, called="OTHER"), (1, 1, 7)),
        (request(CT, calling="MR1"), (1, 1, 3)),
        (request(CT, version=2), (1, 2, 2)),
        (request(CT).replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9"), (1, 1, 2)),
    ],
    ids=["calling AE title", "called AE title", "host", "protocol version", "application context"],
)
def test_a_refused_association_names_the_true_reason(open_site, asked, expected):
    site = open_site(callers=Callers(called_ae_title="TUMORLINE", calling_ae_titles=("CT1", "MR1"),
                                     networks={"MR1": ("10.0.0.0/8",)}))  # fmt: skip
    with site.call() as connection:
        connection.sendall(asked)
        kind, body = read_pdu(connection)
    assert (kind, tuple(body[1:])) == (3, expected)


def test_a_title_is_taken_from_the_networks_that_are_listed_for_it(open_site):
    site = open_site(callers=Callers(called_ae_title="", calling_ae_titles=("CT1",),
                                     networks={"CT1": ("127.0.0.2",)}))  # fmt: skip
    for host, kind in (("127.0.0.2", 2), ("127.0.0.3", 3)):
        with site.call(host) as connection:
            connection.sendall(request(CT))
            assert read_pdu(connection)[0] == kind


def test_too_many_associations_are_a_local_limit_and_no_host_takes_the_places_of_others(open_site):
    site = open_site(associations=3, associations_per_host=2)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(associated(site))
        third = stack.enter_context(site.call())
        third.sendall(request(CT))
        assert read_pdu(third) == (3, bytes((0, 2, 3, 2)))
        stack.enter_context(associated(site, "127.0.0.2"))
        other = stack.enter_context(site.call("127.0.0.3"))
        other.sendall(request(CT))
        assert read_pdu(other) == (3, bytes((0, 2, 3, 2)))


def test_only_storage_classes_are_taken_as_storage(open_site):
    site = open_site()
    with site.call() as connection:
        connection.sendall(request(CT, WORKLIST, "1.2.840.10008.1.1"))
        kind, body = read_pdu(connection)
    assert kind == 2
    results = [body[i + 6] for i in range(68, len(body) - 8) if body[i] == 0x21 and body[i + 1] == 0]
    assert results == [0, 3, 0]
    assert [is_storage(uid) for uid in (CT, "1.2.840.10008.5.1.4.1.1.66.7", "1.2.3.4")] == [True] * 3
    assert [is_storage(uid) for uid in (WORKLIST, "1.2.840.10008.5.1.4.1.2.2.1", "")] == [False] * 3


# ---------------------------------------------------------------- within an association


def test_an_endless_data_set_is_broken_off_and_nothing_of_it_stays(open_site):
    site = open_site(object_bytes=1 << 20)
    with associated(site) as connection:
        connection.sendall(pdv(store_rq("1.2.3.4.5"), 3))
        with pytest.raises((ConnectionResetError, BrokenPipeError)):  # noqa: PT012
            for _ in range(4096):
                connection.sendall(pdv(bytes(16000), 0))
    site.echo()
    assert site.unfinished() == []
    assert site.batches == []


def test_a_large_object_is_streamed_in_bounded_memory(open_site):
    site = open_site()
    with associated(site) as connection:
        stored(connection, "1.2.3.4.4", data_set("1.2.3.4.4"))
        before = resident_mb()
        length = 256 << 20
        head = data_set("1.2.3.4.5") + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, length)
        connection.sendall(pdv(store_rq("1.2.3.4.5"), 3) + pdv(head, 0))
        part = pdv(bytes(1 << 17), 0)
        for _ in range(length >> 17):
            connection.sendall(part)
        assert resident_mb() - before < 32
        connection.sendall(pdv(b"", 2))
        assert read_pdu(connection)[0] == 4
    (file,) = (path for path in site.folder.glob("1.2.3/1.2.3.4/*.dcm") if path.stat().st_size > length)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "bad",
    [
        struct.pack(">BBI", 4, 0, 0xFFFFFFFF),
        struct.pack(">BBIIBB", 4, 0, 8, 0x7FFFFFFF, 1, 3) + bytes(2),
        pdv(bytes(20000), 1),
        pdv(b"\0\0\2\0\xff\xff\xff\xff", 3),
        pdv(store_rq("1.2.3"), 3, context=3),
        pdv(data_set("1.2.3"), 2),
        pdv(store_rq("1.2.3"), 3) + pdv(store_rq("1.2.3"), 3),
        pdv(store_rq("1.2.3").replace(b"\0\1\2\0\0\0\1\0", b"\0\1\2\0\0\0\x20\0"), 3) + pdv(b"", 2),
        struct.pack(">BBI", 9, 0, 0),
    ],
    ids=["PDU of 4 GB", "value longer than its PDU", "long command", "element longer than its command",
         "unknown context", "data without a command", "command within data", "C-FIND", "unknown PDU"],
)  # fmt: skip
def test_what_breaks_the_protocol_aborts_the_association_and_leaves_nothing(open_site, bad):
    site = open_site()
    with associated(site) as connection:
        connection.sendall(bad)
        assert is_closed(connection)
    site.echo()
    assert site.unfinished() == []


def test_a_sender_that_goes_in_the_middle_of_an_object_leaves_no_part_and_frees_its_place(open_site):
    site = open_site(associations=1, associations_per_host=1)
    with associated(site) as connection:
        connection.sendall(pdv(store_rq("1.2.3.4.5"), 3) + pdv(data_set("1.2.3.4.5"), 0))
    for _ in range(200):
        with site.call() as again:
            again.sendall(request(CT))
            if read_pdu(again)[0] == 2:
                break
    else:
        pytest.fail("its place was never free again")
    assert site.unfinished() == []


def test_another_instance_than_was_announced_is_refused_and_kept_for_a_person(open_site):
    site = open_site()
    with associated(site) as connection:
        assert stored(connection, "1.2.3.4.5", data_set("1.2.3.4.6")) == 0xC000
        assert stored(connection, "1.2.3.4.7", data_set("1.2.3.4.7")) == 0
    assert "another instance than its sender announced" in site.rejected[0]
    assert len(list((site.folder / "rejected").iterdir())) == 1
    assert site.unfinished() == []


def test_a_silent_association_is_ended(open_site):
    site = open_site(idle_s=0.2)
    with associated(site) as connection:
        assert is_closed(connection)


# ---------------------------------------------------------------- what several bring at once


def _store_from_each(site: Site, count: int, statuses: list[int]) -> list[threading.Thread]:
    def send(number: int) -> None:
        with associated(site) as connection:
            statuses.append(stored(connection, f"1.2.3.4.{number}", data_set(f"1.2.3.4.{number}")))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(1, count + 1)]
    for thread in threads:
        thread.start()
    return threads


def test_what_comes_while_one_batch_is_recorded_is_recorded_in_one(open_site, monkeypatch):
    site = open_site()
    go_on, statuses = threading.Event(), []
    arrived: list[int] = []

    def record(batch) -> list[Receipt]:
        arrived.append(len(batch))
        go_on.wait(20)
        return [Receipt.NEW] * len(batch)

    monkeypatch.setattr(site, "record", record)
    threads = _store_from_each(site, 8, statuses)
    while len(list(site.folder.glob("1.2.3/1.2.3.4/*.dcm"))) < 8:  # durable, and about to be recorded
        threading.Event().wait(0.01)
    threading.Event().wait(0.2)
    assert statuses == []  # nothing is answered before it is recorded
    go_on.set()
    for thread in threads:
        thread.join()
    assert (len(arrived), sum(arrived), statuses) == (2, 8, [0] * 8)


def test_an_instance_that_can_not_be_recorded_takes_no_other_along(open_site):
    site = open_site()
    statuses: list[int] = []

    def record(batch) -> list[Receipt]:
        if any(one.header.sop_instance_uid == "1.2.3.4.3" for one in batch):
            raise TransientError("the database did not answer")
        return [Receipt.NEW] * len(batch)

    site.record = record
    for thread in _store_from_each(site, 6, statuses):
        thread.join()
    assert sorted(statuses) == [0] * 5 + [0xA700]


def test_the_home_folder_is_its_owners_alone(tmp_path):
    hospital = Hospital(tmp_path)
    assert stat.S_IMODE(hospital.settings.home.stat().st_mode) == 0o700
