"""How many elements a data set has and how deep it is, counted before a parser is let at it."""

from __future__ import annotations

import struct

from pydicom.datadict import dictionary_VR
from pydicom.tag import BaseTag

from workflow.domain.errors import UnsuitableInputError

# An enhanced object of 5000 frames with 60 attributes each has 300,000.
MOST_ELEMENTS = 1_000_000
# An SR of some depth nests ten; a parser that calls itself for each ends the process at some hundreds.
DEEPEST = 48

_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = 0x7FE00010


def limit_structure(content: bytes | memoryview, *, is_implicit: bool) -> None:
    """Refuse a little endian data set of too many elements, or with sequences too deep in each other.

    What is malformed otherwise is left to the parser.

    Raises
    ------
    UnsuitableInputError
        If it is; the message says which limit.
    """
    offset, end = 0, len(content)
    # Where what is open ends (behind all: where it says so itself), and how elements were encoded around it.
    ends: list[tuple[int, bool]] = []
    elements = 0
    while offset + 8 <= end:
        while ends and ends[-1][0] <= offset < end:
            is_implicit = ends.pop()[1]
        group, number = struct.unpack_from("<HH", content, offset)
        tag = group << 16 | number
        if tag in (_ITEM, _ITEM_END, _SEQUENCE_END):
            (length,) = struct.unpack_from("<I", content, offset + 4)
            offset += 8
            if tag == _ITEM:
                if length == 0:
                    continue
                ends.append((end if length == _UNDEFINED else offset + length, is_implicit))
            elif ends:
                is_implicit = ends.pop()[1]
        else:
            vr, length, offset = _element(content, offset, tag, is_implicit)
            if tag == _PIXELS and length == _UNDEFINED:
                return  # its fragments are no data set
            if vr == b"SQ" or length == _UNDEFINED:
                ends.append((end if length == _UNDEFINED else offset + length, is_implicit))
                is_implicit = is_implicit or vr == b"UN"  # PS3.5 6.2.2, note 1
            else:
                offset += length
        elements += 1
        if elements > MOST_ELEMENTS:
            raise UnsuitableInputError(f"more than {MOST_ELEMENTS} elements and items")
        if len(ends) > 2 * DEEPEST:
            raise UnsuitableInputError(f"sequences more than {DEEPEST} deep")


def _element(content: bytes | memoryview, offset: int, tag: int, is_implicit: bool) -> tuple[bytes, int, int]:
    """VR, length and the value's offset of the element at an offset."""
    if is_implicit:
        (length,) = struct.unpack_from("<I", content, offset + 4)
        return _known_vr(tag), length, offset + 8
    vr = bytes(content[offset + 4 : offset + 6])
    if vr not in _LONG_VRS:
        (length,) = struct.unpack_from("<H", content, offset + 6)
        return vr, length, offset + 8
    if offset + 12 > len(content):
        return vr, 0, len(content)
    (length,) = struct.unpack_from("<I", content, offset + 8)
    return vr, length, offset + 12


def _known_vr(tag: int) -> bytes:
    try:
        return str(dictionary_VR(BaseTag(tag))).encode()
    except KeyError:
        return b"UN"
