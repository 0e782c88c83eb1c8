"""The frames of a segmentation: which segment and plane each one is, and its pixels, one frame at a time."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicom_io.parsing import Attributes, quiet
from dicom_io.prompts.image_planes import first_numbers
from workflow.domain.errors import UnsuitableInputError

# PS3.5 A.4.14 (2024): each frame deflated on its own, within encapsulation.
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"
_NATIVE = frozenset({ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian})
MAX_FRAMES = 200_000


@dataclass(frozen=True, kw_only=True)
class FrameInfo:
    """What one frame says of itself.

    Attributes
    ----------
    index
        Counted from 0.
    segment_number
        None in a LABELMAP, whose pixels are the segment numbers.
    position, orientation, spacing
        ImagePositionPatient, ImageOrientationPatient, PixelSpacing; None where not said.
    thickness_mm
        SpacingBetweenSlices, else SliceThickness.
    source
        SOP Instance UID and frame number of the image that it was drawn on.
    """

    index: int
    segment_number: int | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness_mm: float | None
    source: tuple[str, int | None] | None


def frame_infos(attributes: Attributes) -> list[FrameInfo]:
    """Describe each frame of a SEG (PS3.3 C.8.20, functional groups C.7.6.16).

    Raises
    ------
    UnsuitableInputError
        If frames are missing their description.
    """
    frames = attributes.items("PerFrameFunctionalGroupsSequence")
    count = attributes.integer("NumberOfFrames") or 1
    if not frames:
        raise UnsuitableInputError("PerFrameFunctionalGroupsSequence is missing, so its frames have no place")
    if not 0 < count == len(frames) <= MAX_FRAMES:
        raise UnsuitableInputError(
            f"NumberOfFrames {count} is not the {len(frames)} frames that it describes"
        )
    shared = attributes.items("SharedFunctionalGroupsSequence")
    labelmap = attributes.text("SegmentationType").upper() == "LABELMAP"
    only = only_segment(attributes)
    return [_frame_info(index, frame, shared, labelmap, only) for index, frame in enumerate(frames)]


def only_segment(attributes: Attributes) -> int | None:
    """The number of the one segment that is described; None if there are several."""
    segments = attributes.items("SegmentSequence")
    return segments[0].integer("SegmentNumber") if len(segments) == 1 else None


def _frame_info(
    index: int, frame: Attributes, shared: tuple[Attributes, ...], labelmap: bool, only: int | None
) -> FrameInfo:
    places = [frame, *shared]
    number = None
    if not labelmap:
        named = first_numbers(places, "SegmentIdentificationSequence", "ReferencedSegmentNumber", 1)
        if named is None and only is None:
            raise UnsuitableInputError(f"frame {index + 1} doesn't say which segment it belongs to")
        # Of one segment, a frame that names none or one that is not there shows the only one there is.
        number = only if only is not None else int(named[0]) if named is not None else None
    thickness = first_numbers(places, "PixelMeasuresSequence", "SpacingBetweenSlices", 1)
    if thickness is None or thickness[0] <= 0:
        thickness = first_numbers(places, "PixelMeasuresSequence", "SliceThickness", 1)
    return FrameInfo(
        index=index,
        segment_number=number,
        position=first_numbers(places, "PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=first_numbers(places, "PlaneOrientationSequence", "ImageOrientationPatient", 6),
        spacing=first_numbers(places, "PixelMeasuresSequence", "PixelSpacing", 2),
        thickness_mm=thickness[0] if thickness and thickness[0] > 0 else None,
        source=_source(places),
    )


def _source(places: list[Attributes]) -> tuple[str, int | None] | None:
    for place in places:
        for derivation in place.items("DerivationImageSequence"):
            for image in derivation.items("SourceImageSequence"):
                return image.text("ReferencedSOPInstanceUID"), image.integer("ReferencedFrameNumber")
    return None


def iterate_frames(dataset: Dataset) -> Iterator[NDArray[Any]]:
    """The frames in order, each an array of shape (rows, columns); one at a time to keep memory low.

    BINARY is decoded here where pydicom can't: one bit a pixel in RLE, and deflated frames.

    Raises
    ------
    UnsuitableInputError
        If the pixel data is missing, too short or can't be decoded.
    """
    attributes = Attributes(dataset, "the segmentation")
    rows, columns = attributes.integer("Rows") or 0, attributes.integer("Columns") or 0
    count = attributes.integer("NumberOfFrames") or 1
    if rows < 1 or columns < 1:
        raise UnsuitableInputError(f"its frames have {rows} rows and {columns} columns")
    try:
        with quiet():
            yield from _frames(dataset, attributes, (rows, columns), count)
    except (UnsuitableInputError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # as `reading` has it, with the transfer syntax named
        syntax = dataset.file_meta.get("TransferSyntaxUID", "") if hasattr(dataset, "file_meta") else ""
        raise UnsuitableInputError(
            f"its pixel data can't be decoded (transfer syntax {syntax}, {type(error).__name__})"
        ) from error


def _frames(
    dataset: Dataset, attributes: Attributes, shape: tuple[int, int], count: int
) -> Iterator[NDArray[Any]]:
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    bits = attributes.integer("BitsAllocated") or 0
    if syntax in _NATIVE and bits == 1:
        yield from _native_bits(dataset.PixelData, shape, count)
    elif syntax == DEFLATED_IMAGE_FRAME:
        yield from _encapsulated(dataset.PixelData, shape, count, bits, _inflate)
    elif syntax == RLELossless and bits == 1:
        yield from _encapsulated(dataset.PixelData, shape, count, bits, _unpack_rle)
    else:
        from pydicom.pixels import iter_pixels

        yield from iter_pixels(dataset, raw=True)


def _native_bits(data: bytes, shape: tuple[int, int], count: int) -> Iterator[NDArray[Any]]:
    """Bits run on from frame to frame, the lowest bit first (PS3.5 8.1.1)."""
    size = shape[0] * shape[1]
    if len(data) * 8 < size * count:
        raise UnsuitableInputError(f"its pixel data has {len(data)} bytes, too few for {count} frames")
    for index in range(count):
        first, skip = divmod(index * size, 8)
        packed = np.frombuffer(data, np.uint8, count=(skip + size + 7) // 8, offset=first)
        yield np.unpackbits(packed, bitorder="little")[skip : skip + size].reshape(shape)


def _encapsulated(
    data: bytes, shape: tuple[int, int], count: int, bits: int, decode: Callable[[bytes, int], bytes]
) -> Iterator[NDArray[Any]]:
    size = shape[0] * shape[1]
    expected = (size * bits + 7) // 8
    for frame in generate_frames(data, number_of_frames=count):
        decoded = np.frombuffer(decode(frame, expected)[:expected], np.uint8)
        if len(decoded) < expected:
            raise UnsuitableInputError(f"a frame decodes to {len(decoded)} bytes, not {expected}")
        if bits == 1:
            yield np.unpackbits(decoded, bitorder="little")[:size].reshape(shape)
        else:
            yield decoded.view(f"<u{bits // 8}").reshape(shape)


def _inflate(frame: bytes, expected: int) -> bytes:
    return zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(frame, max_length=expected + 8)


def _unpack_rle(frame: bytes, expected: int) -> bytes:
    """One RLE segment of PackBits (PS3.5 G.3) after the 64-byte header."""
    start = int.from_bytes(frame[4:8], "little")
    decoded, at = bytearray(), start
    while at < len(frame) - 1 and len(decoded) < expected:
        header = frame[at]
        if header < 128:
            decoded += frame[at + 1 : at + 2 + header]
            at += header + 2
        elif header > 128:
            decoded += frame[at + 1 : at + 2] * (257 - header)
            at += 2
        else:
            at += 1
    return bytes(decoded)
