"""Frames out of files: as they are stored, or decoded; one in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import UID

from dicom_io.parsing import parse, quiet, reading
from dicom_io.pixels import codestream_size
from dicom_io.web.media import EXPLICIT_LITTLE_ENDIAN
from workflow.domain.errors import UnsuitableInputError, WorkflowError

_LARGEST_FRAME_BYTES = 512 << 20
_LITTLE_ENDIAN = ("1.2.840.10008.1.2", EXPLICIT_LITTLE_ENDIAN)
_DEFLATED = "1.2.840.10008.1.2.1.99"


class NoPixelsError(WorkflowError):
    """The instance has no frames, or not that one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameSource:
    """An image file whose frames can be fetched.

    `header` is the data set without its pixels, `offset` where the pixel data element starts in the file.
    """

    path: Path
    header: Dataset
    offset: int

    @property
    def transfer_syntax_uid(self) -> str:
        """How the frames are stored."""
        return str(self.header.file_meta.TransferSyntaxUID)

    @property
    def is_encapsulated(self) -> bool:
        """Whether frames are codestreams."""
        return bool(UID(self.transfer_syntax_uid).is_encapsulated)

    @property
    def count(self) -> int:
        """How many frames there are."""
        return max(1, int(self.header.get("NumberOfFrames") or 1))

    @property
    def bits(self) -> int:
        """Bits of one frame, decoded."""
        h = self.header
        return int(h.Rows) * int(h.Columns) * int(h.get("SamplesPerPixel") or 1) * int(h.BitsAllocated)


def open_frames(path: Path) -> FrameSource:
    """An image file.

    Raises
    ------
    NoPixelsError
        If it holds no pixels.
    UnsuitableInputError
        If it is damaged, or claims more than is sent.
    """
    with quiet(), reading(path):
        header, offset = parse(path)
        source = FrameSource(path=path, header=header, offset=offset)
        if "Rows" not in header or "BitsAllocated" not in header:
            raise NoPixelsError("the instance has no pixels")
        if source.bits // 8 > _LARGEST_FRAME_BYTES or source.count < 1:
            raise UnsuitableInputError(f"a frame of {source.bits // 8} bytes is more than is sent")
    return source


def stored_frame(source: FrameSource, number: int) -> bytes:
    """A frame's bytes as they are stored; `number` counts from 1.

    Raises
    ------
    NoPixelsError
        If there is no such frame.
    UnsuitableInputError
        If the file is damaged.
    """
    _require(source, number)
    with reading(source.path):
        if source.transfer_syntax_uid == _DEFLATED:
            with quiet():
                whole, _ = parse(source.path, with_pixels=True)
            return _native(whole.PixelData, source, number)
        with source.path.open("rb") as file:
            file.seek(source.offset)
            if source.is_encapsulated:
                file.seek(12, 1)  # tag, VR and undefined length: always explicit (PS3.5 A.4)
                return bytes(get_frame(file, number - 1, number_of_frames=source.count))
            head = file.read(12)
            start = source.offset + (8 if source.transfer_syntax_uid == _LITTLE_ENDIAN[0] else 12)
            if len(head) < 8:
                raise NoPixelsError("the instance has no pixels")
            first, last = _span(source, number)
            file.seek(start + first)
            return _aligned(file.read(last - first), source, number)


def _require(source: FrameSource, number: int) -> None:
    if not 1 <= number <= source.count:
        raise NoPixelsError(f"there is no frame {number}; the instance has {source.count}")


def _span(source: FrameSource, number: int) -> tuple[int, int]:
    """First and last byte (not included) of a native frame; bits of packed frames run on."""
    return (number - 1) * source.bits // 8, -(-number * source.bits // 8)


def _native(data: bytes, source: FrameSource, number: int) -> bytes:
    first, last = _span(source, number)
    return _aligned(data[first:last], source, number)


def _aligned(raw: bytes, source: FrameSource, number: int) -> bytes:
    """A frame that begins at a byte: frames of single bits follow each other without a gap (PS3.5 8.1.1)."""
    if len(raw) < -(-source.bits // 8):
        raise UnsuitableInputError(f"{source.path}: truncated; have it sent again")
    start = (number - 1) * source.bits % 8
    if int(source.header.BitsAllocated) != 1 or (start == 0 and source.bits % 8 == 0):
        return raw
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[start : start + source.bits]
    return np.packbits(bits, bitorder="little").tobytes()


def decoded_array(source: FrameSource, number: int) -> NDArray[Any]:
    """A frame's stored numbers, shape (rows, columns) or (rows, columns, samples), colours as stored.

    Raises
    ------
    NoPixelsError
        If there is no such frame.
    UnsuitableInputError
        If it can't be decoded.
    """
    from pydicom.pixels import pixel_array

    _require(source, number)
    header = source.header
    with reading(source.path):
        if source.is_encapsulated:
            size = codestream_size(stored_frame(source, number))
            if size is not None and size != (int(header.Rows), int(header.Columns)):
                raise UnsuitableInputError(f"{source.path}: the codestream has another size than the header")
        with quiet():
            frame: NDArray[Any] = pixel_array(source.path, index=number - 1, raw=True)
        return frame


def decoded_frame(source: FrameSource, number: int) -> bytes:
    """A frame in Explicit VR Little Endian: the stored bytes where that is what they are.

    Raises
    ------
    NoPixelsError, UnsuitableInputError
        As `stored_frame` and `decoded_array` do.
    """
    if source.transfer_syntax_uid in (*_LITTLE_ENDIAN, _DEFLATED):
        return stored_frame(source, number)
    array = decoded_array(source, number)
    if int(source.header.BitsAllocated) == 1:
        return np.packbits(array.astype(bool).ravel(), bitorder="little").tobytes()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
