"""In what two files that claim to be one instance differ; nothing is decoded."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydicom import DataElement, Dataset
from pydicom.tag import BaseTag

from dicom_io.headers import header_of
from dicom_io.parsing import parse, quiet, reading
from workflow.domain.conflict import Comparison, Difference
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.patient import why_not_same

_NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"})
# What the pixels are stored in: of no account where all else is equal.
_PIXELS = frozenset(BaseTag(tag) for tag in (0x7FE00008, 0x7FE00009, 0x7FE00010))
_PADDING = BaseTag(0xFFFCFFFC)


def compare_files(first: Path, other: Path) -> Comparison:
    """How the content of a file differs from that of the one that was received first.

    Two encodings of one content (byte order aside, another transfer syntax, group lengths, padding) are equal
    as far as can be told without decoding: their headers are, and pixels that are stored alike.

    Raises
    ------
    UnsuitableInputError
        If one of them can't be read.
    """
    with quiet():
        one, another = (parse(path, with_pixels=True)[0] for path in (first, other))
        with reading(other):
            return _compared(one, another, first, other)


def _compared(one: Dataset, another: Dataset, first: Path, other: Path) -> Comparison:
    mine, theirs = header_of(one, first), header_of(another, other)
    keywords = _differing(one, another)
    if why_not_same(mine.identity, theirs.identity):
        return Comparison(difference=Difference.PATIENT, keywords=keywords)
    if mine.study_instance_uid != theirs.study_instance_uid:
        return Comparison(difference=Difference.STUDY, keywords=keywords)
    if mine.series_instance_uid != theirs.series_instance_uid:
        return Comparison(difference=Difference.SERIES, keywords=keywords)
    if _have_other_pixels(one, another, mine.transfer_syntax_uid, theirs.transfer_syntax_uid):
        return Comparison(difference=Difference.PIXELS, keywords=keywords)
    return Comparison(difference=Difference.HEADER if keywords else Difference.NONE, keywords=keywords)


def _differing(one: Dataset, another: Dataset) -> tuple[str, ...]:
    """Keywords (tags, of what has none) of the attributes that are not the same on both sides."""
    tags = sorted({tag for tag in (*one.keys(), *another.keys()) if not _is_of_storage(tag)})
    return tuple(_name(tag, one, another) for tag in tags if not _is_same(tag, one, another))


def _is_of_storage(tag: BaseTag) -> bool:
    return tag in _PIXELS or tag == _PADDING or tag.element == 0


def _is_same(tag: BaseTag, one: Dataset, another: Dataset) -> bool:
    if (tag in one) != (tag in another):
        # Absent and empty are one: archives leave out what is empty.
        present: DataElement = (one if tag in one else another)[tag]
        return bool(present.is_empty)
    first, other = one[tag], another[tag]
    if isinstance(first.value, bytes) or isinstance(other.value, bytes):  # of unknown VR on one side
        return first.VR != other.VR or bytes(first.value) == bytes(other.value)
    return bool(first.value == other.value)


def _name(tag: BaseTag, one: Dataset, another: Dataset) -> str:
    return (one if tag in one else another)[tag].keyword or str(tag)


def _have_other_pixels(one: Dataset, another: Dataset, syntax: str, other_syntax: str) -> bool:
    if syntax != other_syntax and not {syntax, other_syntax} <= _NATIVE:
        return False  # another compression: nothing is decoded here, and the headers say the rest
    return _pixels(one) != _pixels(another)


def _pixels(dataset: Dataset) -> tuple[str, ...]:
    found = []
    for tag in sorted(_PIXELS):
        if tag in dataset:
            value = dataset[tag].value
            if not isinstance(value, bytes):
                raise UnsuitableInputError("pixel data that are no bytes; have it sent again")
            found.append(hashlib.sha256(value + b"\0" * (len(value) % 2)).hexdigest())
    return tuple(found)
