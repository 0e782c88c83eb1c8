"""PDUs of the DICOM upper layer (PS3.8 9.3) and DIMSE commands (PS3.7 6.3, 9.3): bytes in, bytes out.

Every length that a peer claims is checked against what is there before it is believed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dicom_io.uids import IMPLEMENTATION_CLASS_UID

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
HEADER_LENGTH = 6

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_IMPLEMENTATION_VERSION = "TUMORLINE"

C_STORE_RQ, C_ECHO_RQ, N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0001, 0x0030, 0x0100, 0x0130
_RESPONSE = 0x8000
N_EVENT_REPORT_RSP = N_EVENT_REPORT_RQ | _RESPONSE
_DATA_SET, _NO_DATA_SET = 0x0001, 0x0101


class ProtocolError(Exception):
    """A peer sent what the standard does not allow; the association ends."""


@dataclass(frozen=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21), and what the log says."""

    result: int
    source: int
    reason: int
    words: str

    def pdu(self) -> bytes:
        """The A-ASSOCIATE-RJ PDU."""
        return _pdu(ASSOCIATE_RJ, bytes((0, self.result, self.source, self.reason)))


_PERMANENT, _TRANSIENT = 1, 2
CALLING_AE_TITLE_NOT_RECOGNIZED = Rejection(_PERMANENT, 1, 3, "unknown calling AE title")
HOST_NOT_ALLOWED = Rejection(_PERMANENT, 1, 3, "its calling AE title may not call from this host")
CALLED_AE_TITLE_NOT_RECOGNIZED = Rejection(_PERMANENT, 1, 7, "it calls somebody else")
APPLICATION_CONTEXT_NOT_SUPPORTED = Rejection(_PERMANENT, 1, 2, "another application context")
PROTOCOL_VERSION_NOT_SUPPORTED = Rejection(_PERMANENT, 2, 2, "another protocol version")
TOO_MANY_ASSOCIATIONS = Rejection(_TRANSIENT, 3, 2, "all associations are in use")
TOO_MANY_FROM_HOST = Rejection(_TRANSIENT, 3, 2, "all associations of its host are in use")


@dataclass(frozen=True)
class ProposedContext:
    """A presentation context as the caller proposes it."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class Role:
    """What the caller wants to be for an abstract syntax (PS3.7 D.3.3.4), or what is agreed on."""

    abstract_syntax: str
    is_scu: bool
    is_scp: bool


@dataclass(frozen=True)
class AssociationRequest:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2); `maximum_length` is what the caller receives, 0 without limit."""

    protocol_version: int
    called_ae_title: str
    calling_ae_title: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    maximum_length: int
    roles: tuple[Role, ...] = ()


# Presentation context, whether it is of a command, whether it is the last, its bytes.
Fragment = tuple[int, bool, bool, memoryview]


def pdu_header(header: bytes | memoryview) -> tuple[int, int]:
    """Type and length of the PDU that six bytes begin."""
    kind, _, length = struct.unpack(">BBI", header)
    return kind, length


def parse_associate_rq(body: bytes) -> AssociationRequest:
    """Read an A-ASSOCIATE-RQ, without its six bytes of header.

    Raises
    ------
    ProtocolError
        If it is none.
    """
    if len(body) < 68:
        raise ProtocolError("an association request of less than its fixed fields")
    application, contexts, maximum, roles = "", [], 0, []
    for kind, item in _items(body[68:]):
        if kind == 0x10:
            application = _text(item)
        elif kind == 0x20:
            contexts.append(_context(item))
        elif kind == 0x50:
            for sub_kind, sub_item in _items(item):
                if sub_kind == 0x51 and len(sub_item) == 4:
                    (maximum,) = struct.unpack(">I", sub_item)
                elif sub_kind == 0x54:
                    roles.append(_role(sub_item))
    return AssociationRequest(
        protocol_version=int(struct.unpack(">H", body[:2])[0]),
        called_ae_title=_text(body[4:20]),
        calling_ae_title=_text(body[20:36]),
        application_context=application,
        contexts=tuple(contexts),
        maximum_length=maximum,
        roles=tuple(roles),
    )


def associate_ac(
    request: AssociationRequest,
    results: Sequence[tuple[int, int, str]],
    maximum_length: int,
    roles: Sequence[Role] = (),
) -> bytes:
    """The A-ASSOCIATE-AC: of each context its id, result (PS3.8 table 9-18) and transfer syntax.

    `roles` are agreed on; for other abstract syntaxes the caller is SCU.
    """
    items = _item(0x10, APPLICATION_CONTEXT.encode())
    for context_id, result, transfer_syntax in results:
        items += _item(0x21, bytes((context_id, 0, result, 0)) + _item(0x40, transfer_syntax.encode()))
    items += _item(
        0x50,
        _item(0x51, struct.pack(">I", maximum_length))
        + _item(0x52, str(IMPLEMENTATION_CLASS_UID).encode())
        + b"".join(_item(0x54, _role_bytes(role)) for role in roles)
        + _item(0x55, _IMPLEMENTATION_VERSION.encode()),
    )
    titles = (request.called_ae_title, request.calling_ae_title)
    fixed = struct.pack(">HH", 1, 0) + b"".join(t.encode("latin-1", "replace")[:16].ljust(16) for t in titles)
    return _pdu(ASSOCIATE_AC, fixed + bytes(32) + items)


def release_rp() -> bytes:
    """The A-RELEASE-RP PDU."""
    return _pdu(RELEASE_RP, bytes(4))


def abort(*, by_provider: bool = True) -> bytes:
    """The A-ABORT PDU, without a reason."""
    return _pdu(ABORT, bytes((0, 0, 2 if by_provider else 0, 0)))


def fragments(body: memoryview) -> Iterator[Fragment]:
    """The presentation data values of a P-DATA-TF.

    Raises
    ------
    ProtocolError
        If an item is longer than the PDU, or too short to be one.
    """
    while body:
        if len(body) < 6:
            raise ProtocolError("a presentation data value that is cut off")
        (length,) = struct.unpack(">I", body[:4])
        if not 2 <= length <= len(body) - 4:
            raise ProtocolError("a presentation data value longer than its PDU")
        yield body[4], bool(body[5] & 1), bool(body[5] & 2), body[6 : 4 + length]
        body = body[4 + length :]


def command_pdus(context_id: int, command: bytes, maximum_length: int) -> bytes:
    """A command set as P-DATA-TF PDUs that the peer can receive."""
    return _data_pdus(context_id, command, maximum_length, kind=1)


def data_set_pdus(context_id: int, data_set: bytes, maximum_length: int) -> bytes:
    """An encoded data set as P-DATA-TF PDUs that the peer can receive."""
    return _data_pdus(context_id, data_set, maximum_length, kind=0)


def _data_pdus(context_id: int, content: bytes, maximum_length: int, kind: int) -> bytes:
    size = max(maximum_length - 6, 1) if maximum_length else len(content)
    parts = [content[i : i + size] for i in range(0, len(content), size)]
    last = len(parts) - 1
    return b"".join(
        _pdu(P_DATA, struct.pack(">IBB", len(part) + 2, context_id, kind | (2 if i == last else 0)) + part)
        for i, part in enumerate(parts)
    )


# ---------------------------------------------------------------- DIMSE


@dataclass(frozen=True)
class Command:
    """What is asked for: the fields of a command set that are of use here.

    `message_id` of a response is that of its request; `kind` is the type of an action or an event.
    """

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool
    kind: int = 0


def parse_command(content: bytes) -> Command:
    """Read a command set (implicit VR little endian, group 0000).

    Raises
    ------
    ProtocolError
        If it is malformed.
    """
    elements: dict[int, bytes] = {}
    offset = 0
    while offset < len(content):
        if len(content) - offset < 8:
            raise ProtocolError("a command set that is cut off")
        group, element, length = struct.unpack_from("<HHI", content, offset)
        offset += 8
        if group != 0 or length > len(content) - offset:
            raise ProtocolError("a command set with an element that can't be in it")
        elements[element] = content[offset : offset + length]
        offset += length
    command = _number(elements, 0x0100)
    is_action, kinds = command == N_ACTION_RQ, {N_ACTION_RQ: 0x1008, N_EVENT_REPORT_RQ: 0x1002}
    return Command(
        field=command,
        message_id=_number(elements, 0x0120 if command & _RESPONSE else 0x0110),
        # An action has a requested instance, everything else an affected one.
        sop_class_uid=_text(elements.get(0x0003 if is_action else 0x0002, b"")),
        sop_instance_uid=_text(elements.get(0x1001 if is_action else 0x1000, b"")),
        has_data_set=_number(elements, 0x0800) != _NO_DATA_SET,
        kind=_number(elements, kinds[command]) if command in kinds else 0,
    )


def response(request: Command, status: int, comment: str = "") -> bytes:
    """The command set that answers a request; the comment is an LO of at most 64 characters."""
    elements: dict[int, bytes] = {
        0x0002: _uid(request.sop_class_uid),
        0x0100: struct.pack("<H", request.field | _RESPONSE),
        0x0120: struct.pack("<H", request.message_id),
        0x0800: struct.pack("<H", _NO_DATA_SET),
        0x0900: struct.pack("<H", status),
    }
    if comment:
        elements[0x0902] = _even(comment.encode("ascii", "replace")[:64], b" ")
    if request.sop_instance_uid:
        elements[0x1000] = _uid(request.sop_instance_uid)
    return _command_set(elements)


def event_report(request: Command, message_id: int, event_type: int) -> bytes:
    """The command set of an N-EVENT-REPORT about what a request named; a data set comes after it."""
    return _command_set(
        {
            0x0002: _uid(request.sop_class_uid),
            0x0100: struct.pack("<H", N_EVENT_REPORT_RQ),
            0x0110: struct.pack("<H", message_id),
            0x0800: struct.pack("<H", _DATA_SET),
            0x1000: _uid(request.sop_instance_uid),
            0x1002: struct.pack("<H", event_type),
        }
    )


def _command_set(elements: Mapping[int, bytes]) -> bytes:
    body = b"".join(
        struct.pack("<HHI", 0, element, len(value)) + value for element, value in sorted(elements.items())
    )
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def file_meta(command: Command, transfer_syntax: str, source: str) -> bytes:
    """Preamble, prefix and file meta information (PS3.10 7.1) of a data set that was received."""
    ui = {
        0x0002: command.sop_class_uid,
        0x0003: command.sop_instance_uid,
        0x0010: transfer_syntax,
        0x0012: str(IMPLEMENTATION_CLASS_UID),
    }
    values: Mapping[int, tuple[bytes, bytes]] = {
        **{element: (b"UI", _uid(uid)) for element, uid in ui.items()},
        0x0013: (b"SH", _even(_IMPLEMENTATION_VERSION.encode(), b" ")),
        0x0016: (b"AE", _even(source.encode("ascii", "replace")[:16], b" ")),
    }
    version = struct.pack("<HH2sHI", 2, 1, b"OB", 0, 2) + b"\0\1"
    body = version + b"".join(
        struct.pack("<HH2sH", 2, element, vr, len(value)) + value
        for element, (vr, value) in sorted(values.items())
    )
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(body)) + body


# ---------------------------------------------------------------- bytes


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(body)) + body


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(content):
        if len(content) - offset < 4:
            raise ProtocolError("an item that is cut off")
        kind, _, length = struct.unpack_from(">BBH", content, offset)
        offset += 4
        if length > len(content) - offset:
            raise ProtocolError("an item longer than what holds it")
        yield kind, content[offset : offset + length]
        offset += length


def _context(item: bytes) -> ProposedContext:
    if len(item) < 4:
        raise ProtocolError("a presentation context that is cut off")
    abstract, syntaxes = "", []
    for kind, content in _items(item[4:]):
        if kind == 0x30:
            abstract = _text(content)
        elif kind == 0x40:
            syntaxes.append(_text(content))
    return ProposedContext(item[0], abstract, tuple(syntaxes))


def _role(item: bytes) -> Role:
    length = struct.unpack(">H", item[:2])[0] if len(item) > 1 else 0
    if len(item) != length + 4:
        raise ProtocolError("a role selection that is cut off")
    return Role(_text(item[2 : 2 + length]), bool(item[2 + length]), bool(item[3 + length]))


def _role_bytes(role: Role) -> bytes:
    uid = role.abstract_syntax.encode()
    return struct.pack(">H", len(uid)) + uid + bytes((role.is_scu, role.is_scp))


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip("\0 ")


def _number(elements: Mapping[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise ProtocolError(f"a command set without (0000,{element:04X})")
    return int(struct.unpack("<H", value)[0])


def _uid(uid: str) -> bytes:
    return _even(uid.encode("latin-1", "replace"), b"\0")


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding * (len(value) % 2)
