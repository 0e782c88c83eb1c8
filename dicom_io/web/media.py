"""Media types: what a client accepts (PS3.18 8.7), and multipart/related bodies both ways (RFC 2387)."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from email.message import Message

DICOM, JSON, OCTETS = "application/dicom", "application/dicom+json", "application/octet-stream"
MULTIPART = "multipart/related"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

# PS3.18 table 8.7.3-5: what a codestream of a transfer syntax is called.
CODESTREAM_TYPES = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
}


class NotAcceptableError(Exception):
    """Nothing that the client accepts can be given; the message says what can."""


class MalformedBodyError(Exception):
    """A multipart body that is none."""


class TooLargeError(Exception):
    """A part, or the whole, beyond what is taken."""


@dataclass(frozen=True, kw_only=True)
class MediaRange:
    """One of the types that a client accepts.

    `type` is the type of the parts where parts are asked for (`is_multipart`); `transfer_syntax` is "" if
    none is named.
    """

    type: str
    is_multipart: bool = False
    transfer_syntax: str = ""
    quality: float = 1.0

    def covers(self, *types: str) -> bool:
        """Whether it means one of these types."""
        return any(self.type in ("*/*", "*", one, f"{one.split('/')[0]}/*") for one in types)

    def takes(self, transfer_syntax_uid: str) -> bool:
        """Whether a transfer syntax may be sent; where none is named, Explicit VR Little Endian alone."""
        wanted = self.transfer_syntax or EXPLICIT_LITTLE_ENDIAN
        return wanted in ("*", transfer_syntax_uid)


def accepted(header: str | None, parameter: str | None = None) -> list[MediaRange]:
    """What a client accepts, the best first; `parameter` is the query's `accept`, which goes first."""
    ranges = [
        made
        for text in (parameter, header)
        if text
        for part in _split(text)
        if (made := _range(part)) is not None and made.quality > 0
    ]
    return sorted(ranges, key=lambda one: -one.quality) or [MediaRange(type="*/*")]


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no quotes."""
    parts, quoted = [""], False
    for character in text:
        quoted ^= character == '"'
        if character == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _range(text: str) -> MediaRange | None:
    kind, parameters = parsed(text)
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        return None
    syntax = parameters.get("transfer-syntax", "")
    if kind == MULTIPART:
        inner = parameters.get("type", "*/*").lower()
        return MediaRange(type=inner, is_multipart=True, transfer_syntax=syntax, quality=quality)
    return MediaRange(type=kind, transfer_syntax=syntax, quality=quality)


def parsed(content_type: str) -> tuple[str, dict[str, str]]:
    """A media type in lower case, and its parameters without quotes."""
    message = Message()
    message["Content-Type"] = content_type
    return message.get_content_type(), {
        name.lower(): str(value) for name, value in (message.get_params() or [])[1:]
    }


# ---------------------------------------------------------------- out


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One part of an answer: its type, and its bytes in pieces."""

    type: str
    content: Iterable[bytes]
    location: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Multipart:
    """A multipart/related answer, written piece by piece."""

    parts: Iterable[Part]
    part_type: str
    boundary: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def content_type(self) -> str:
        """For the answer's header."""
        return f'{MULTIPART}; type="{self.part_type}"; boundary={self.boundary}'

    def __iter__(self) -> Iterator[bytes]:
        """The body."""
        for part in self.parts:
            lines = [f"--{self.boundary}", f"Content-Type: {part.type}"]
            lines += [f"Content-Location: {part.location}"] if part.location else []
            yield ("\r\n".join(lines) + "\r\n\r\n").encode()
            yield from part.content
            yield b"\r\n"
        yield f"--{self.boundary}--\r\n".encode()


# ---------------------------------------------------------------- in


async def read_parts(
    chunks: AsyncIterator[bytes], boundary: str, largest_part: int
) -> AsyncIterator[tuple[str, bytes]]:
    """Parts of a multipart body as (Content-Type, content), one in memory at a time.

    Raises
    ------
    MalformedBodyError
        If the boundary or the end is missing.
    TooLargeError
        If a part is larger than allowed.
    """
    mark, held = b"\r\n--" + boundary.encode(), bytearray(b"\r\n")
    is_within, has_ended, searched = False, False, 0
    async for chunk in chunks:
        held += chunk
        while not has_ended:
            place = held.find(mark, searched)
            if place < 0:
                # The mark may be cut by the end of the piece.
                searched = max(0, len(held) - len(mark))
                if len(held) > largest_part + 4096:
                    raise TooLargeError(f"a part is larger than {largest_part >> 20} MiB")
                break
            after = place + len(mark)
            if len(held) < after + 2:
                searched = place
                break
            if is_within:
                yield _part(bytes(held[:place]), largest_part)
            is_within, has_ended = True, bytes(held[after : after + 2]) == b"--"
            # The line break stays: a part without headers begins with an empty line.
            del held[:after]
            searched = 0
    if not has_ended:
        raise MalformedBodyError("the body is no multipart/related, or ends too early")


def _part(raw: bytes, largest: int) -> tuple[str, bytes]:
    head, separator, content = raw.partition(b"\r\n\r\n")
    if not separator:
        raise MalformedBodyError("a part has no empty line after its headers")
    if len(content) > largest:
        raise TooLargeError(f"a part is larger than {largest >> 20} MiB")
    types = [
        line.split(b":", 1)[1].strip().decode("latin-1")
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-type:")
    ]
    return (types[0] if types else "application/octet-stream"), content
