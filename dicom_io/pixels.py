"""Stored numbers out of files: each is opened once, and nothing is decoded that can't be what it claims."""

from __future__ import annotations

import hashlib
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID

from dicom_io.frames import Frame, PixelFormat, read_frames
from dicom_io.parsing import parse, quiet, reading
from workflow.domain.errors import TransientError, UnsuitableInputError

PlaneArray = NDArray[np.integer[Any]]

# Native transfer syntaxes, read straight from the file: (explicit VR, big endian). PS3.5 annex A.
_NATIVE = {
    "1.2.840.10008.1.2": (False, False),
    "1.2.840.10008.1.2.1": (True, False),
    "1.2.840.10008.1.2.2": (True, True),
}
_PIXEL_DATA_LITTLE, _PIXEL_DATA_BIG = b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"
# Where several decoders are installed, the one that notices damage: JPEG-LS lossless and near-lossless.
_STRICT_PLUGINS = {f"1.2.840.10008.1.2.4.{end}": "pyjpegls" for end in ("80", "81")}
_LONGEST_SIDE = 8192
_LARGEST_INSTANCE_BYTES = 8 << 30
# Lossless coders reach 100 : 1 on empty slices; beyond this a small file claims to be a huge image.
_HIGHEST_COMPRESSION = 3000
_SMALL_BYTES = 16 << 20


# The sequence delimitation item, behind which only a little can come (PS3.5 A.4).
_END_OF_FRAGMENTS, _TAIL_BYTES = b"\xfe\xff\xdd\xe0\0\0\0\0", 64 << 10


def check_format(pixels: PixelFormat, path: Path) -> None:
    """Refuse what can't be decoded, or claims more pixels than its bytes can hold, before decoding.

    Raises
    ------
    UnsuitableInputError
        The message names the file and the figures.
    """
    if pixels.bits_allocated not in (8, 16, 32) or not 0 < pixels.bits_stored <= pixels.bits_allocated:
        raise UnsuitableInputError(
            f"{path}: {pixels.bits_stored} of {pixels.bits_allocated} bits per pixel are not supported; "
            "use a series of 8, 16 or 32"
        )
    if not pixels.bits_stored - 1 <= pixels.high_bit < pixels.bits_allocated:
        raise UnsuitableInputError(f"{path}: HighBit {pixels.high_bit} is impossible; have it corrected")
    plane = pixels.rows * pixels.columns * pixels.samples_per_pixel * pixels.bits_allocated // 8
    claimed = plane * pixels.frames
    if max(pixels.rows, pixels.columns) > _LONGEST_SIDE or claimed > _LARGEST_INSTANCE_BYTES:
        raise UnsuitableInputError(
            f"{path}: {pixels.frames} frames of {pixels.rows} x {pixels.columns} are more than is read "
            f"({_LONGEST_SIDE} pixels a side, {_LARGEST_INSTANCE_BYTES >> 30} GiB); have it corrected"
        )
    if pixels.transfer_syntax_uid in _NATIVE:
        present = pixels.file_size - pixels.offset - (12 if _NATIVE[pixels.transfer_syntax_uid][0] else 8)
        if present < claimed:
            raise UnsuitableInputError(
                f"{path}: truncated: {claimed} bytes of pixels claimed, {max(present, 0)} present; "
                "have it sent again"
            )
    elif claimed > _SMALL_BYTES and claimed > _HIGHEST_COMPRESSION * pixels.file_size:
        raise UnsuitableInputError(
            f"{path}: {claimed} bytes of pixels claimed in a file of {pixels.file_size}, more than any "
            "compression reaches; have it sent again"
        )


def why_truncated(frame: Frame) -> str | None:
    """Why an image's pixel data can't be whole, by its file's length and end; None if they may be."""
    pixels, path = frame.pixels, frame.header.path
    try:
        if pixels.transfer_syntax_uid in _NATIVE:
            is_explicit, _ = _NATIVE[pixels.transfer_syntax_uid]
            bits = pixels.rows * pixels.columns * pixels.samples_per_pixel * pixels.bits_allocated
            present = pixels.file_size - pixels.offset - (12 if is_explicit else 8)
            is_whole = present >= bits // 8 * pixels.frames
        elif UID(pixels.transfer_syntax_uid).is_encapsulated:
            with path.open("rb") as file:
                file.seek(max(0, pixels.file_size - _TAIL_BYTES))
                is_whole = _END_OF_FRAGMENTS in file.read()
        else:
            return None  # deflated: parsed as a whole already
    except (OSError, ValueError):  # whoever reads it says so
        return None
    return None if is_whole else f"{path.name}: its pixel data are cut off; have it sent again"


def read_planes(frames: Sequence[Frame]) -> Iterator[tuple[int, PlaneArray]]:
    """Read planes' stored numbers, file by file.

    Parameters
    ----------
    frames
        In any order; several may be of one file, which is opened once.

    Yields
    ------
    tuple
        The plane's place in `frames`, and its numbers, shape (rows, columns): sign extended, free of
        overlay bits, before any rescaling. The array may be overwritten.

    Raises
    ------
    UnsuitableInputError
        If a file is truncated, its codestream broken, or its pixels don't have the shape its header says.
    """
    by_file: dict[Path, list[int]] = defaultdict(list)
    for place, frame in enumerate(frames):
        by_file[frame.header.path].append(place)
    for path, places in by_file.items():
        check_format(frames[places[0]].pixels, path)
    for path, places in by_file.items():
        if frames[places[0]].pixels.transfer_syntax_uid in _NATIVE:
            yield from _native_planes(path, places, frames)
        else:
            # One after the other: the codecs hold the interpreter's lock, so threads only cost memory.
            yield from zip(places, _decode(path, [frames[i] for i in places]), strict=True)


def equal_duplicates(frames: Sequence[Frame], duplicates: Sequence[tuple[int, Frame]]) -> tuple[str, ...]:
    """Compare planes with those whose place they share, by rescaling and stored numbers.

    Parameters
    ----------
    frames
        One per place.
    duplicates
        (number in `frames`, plane).

    Returns
    -------
    tuple
        The duplicates' labels.

    Raises
    ------
    UnsuitableInputError
        If two planes at one place differ, or one can't be read.
    """
    kept = sorted({place for place, _ in duplicates})
    originals = {kept[i]: stored for i, stored in read_planes([frames[place] for place in kept])}
    for i, stored in read_planes([frame for _, frame in duplicates]):
        place, frame = duplicates[i]
        other = frames[place]
        same_scale = (frame.slope, frame.intercept) == (other.slope, other.intercept)
        if not same_scale or not np.array_equal(stored, originals[place]):
            raise UnsuitableInputError(
                f"{other.label} and {frame.label} lie at one place and differ, and nothing in their "
                "headers tells them apart; use a series with one image per place"
            )
    return tuple(frame.label for _, frame in duplicates)


def pixel_digest(path: Path) -> str | None:
    """Digest an image's stored pixels, their place and their time; None if it is no CT, MR or PET image.

    UIDs, names and descriptions don't count, nor the pixel data's encapsulation (offset tables, fragments):
    an archive that copies a study under new UIDs changes them. The time counts, so that two noiseless images
    of a phantom, taken on two days, are two images. Nothing is decoded: recompressed pixels are others.

    Raises
    ------
    UnsuitableInputError
        If the file is damaged.
    """
    header, frames = read_frames(path)
    if not frames:
        return None
    taken = {keyword: (day, at) for keyword, day, at in header.dates}
    # Rounded: another VR or another writer's number of digits is no other place.
    places = [
        [
            [round(number, 3) for number in numbers]
            for numbers in (f.position_lps, f.orientation, f.pixel_spacing_mm, (f.slope, f.intercept))
            if numbers is not None
        ]
        for f in frames
    ]
    first = frames[0]
    stored = first.pixels.rows, first.pixels.columns, first.pixels.bits_allocated, first.pixels.is_signed
    when = first.acquired_at or taken.get("SeriesDate") or taken.get("StudyDate")
    digest = hashlib.sha256(repr((places, stored, when)).encode())
    with quiet(), reading(path):
        dataset, _ = parse(path, with_pixels=True)
        if "PixelData" not in dataset:
            raise UnsuitableInputError(f"{path}: holds no (integer) pixel data; have it sent again")
        if not UID(first.pixels.transfer_syntax_uid).is_encapsulated:
            digest.update(dataset.PixelData)
            return digest.hexdigest()
        for codestream in generate_frames(dataset.PixelData, number_of_frames=first.pixels.frames):
            digest.update(codestream.rstrip(b"\0"))
    return digest.hexdigest()


def _native_planes(
    path: Path, places: Sequence[int], frames: Sequence[Frame]
) -> Iterator[tuple[int, PlaneArray]]:
    pixels = frames[places[0]].pixels
    is_explicit, is_big_endian = _NATIVE[pixels.transfer_syntax_uid]
    stored_type = np.dtype(
        f"{'>' if is_big_endian else '<'}{'i' if pixels.is_signed else 'u'}{pixels.bits_allocated // 8}"
    )
    length = pixels.rows * pixels.columns
    try:
        with path.open("rb") as file:
            file.seek(pixels.offset)
            tag = file.read(12 if is_explicit else 8)[:4]
            if tag != (_PIXEL_DATA_BIG if is_big_endian else _PIXEL_DATA_LITTLE):
                raise UnsuitableInputError(f"{path}: holds no (integer) pixel data; have it sent again")
            start = file.tell()
            for place in places:
                file.seek(start + frames[place].index * length * stored_type.itemsize)
                stored = np.fromfile(file, dtype=stored_type, count=length)
                if stored.size < length:
                    raise UnsuitableInputError(f"{path}: truncated while being read; have it sent again")
                plane = stored.astype(stored_type.newbyteorder("="), copy=False)
                if is_big_endian and pixels.bits_allocated == 8:
                    plane = _swapped_bytes(file, path, start, frames[place].index, pixels)
                yield place, _without_overlay_bits(plane.reshape(pixels.rows, pixels.columns), pixels)
    except OSError as error:
        raise TransientError(f"{path}: the storage failed ({error.strerror}); it is read again") from error


def _swapped_bytes(file: Any, path: Path, start: int, index: int, pixels: PixelFormat) -> PlaneArray:
    """8 bit pixels in big endian words (OW) have their bytes swapped in pairs (PS3.5 8.1.1)."""
    length = pixels.rows * pixels.columns
    file.seek(start - 12 + 4)
    is_words = file.read(2) == b"OW"
    first = index * length
    file.seek(start + first - first % 2)
    raw = np.fromfile(file, dtype=np.uint8, count=length + first % 2 + (length + first) % 2)
    if is_words:
        raw = raw[: raw.size // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1)
    raw = raw[first % 2 :][:length]
    if raw.size < length:
        raise UnsuitableInputError(f"{path}: truncated while being read; have it sent again")
    return raw.view(np.int8 if pixels.is_signed else np.uint8)


def _decode(path: Path, frames: Sequence[Frame]) -> Iterator[PlaneArray]:
    from pydicom.pixels import iter_pixels

    pixels = frames[0].pixels
    dataset, _ = parse(path, with_pixels=True)
    if "PixelData" not in dataset:
        raise UnsuitableInputError(f"{path}: holds no (integer) pixel data; have it sent again")
    _check_codestreams(dataset, pixels, path)
    plugin = _STRICT_PLUGINS.get(pixels.transfer_syntax_uid, "")
    decoded = iter_pixels(
        dataset, indices=[frame.index for frame in frames], raw=True, decoding_plugin=plugin
    )
    for _ in frames:
        with reading(path):
            plane = next(decoded)
        if plane.shape != (pixels.rows, pixels.columns):
            raise UnsuitableInputError(
                f"{path}: the pixels have shape {plane.shape}, the header says "
                f"{(pixels.rows, pixels.columns)}; have it sent again"
            )
        yield _without_overlay_bits(np.array(plane), pixels)


def _check_codestreams(dataset: Dataset, pixels: PixelFormat, path: Path) -> None:
    """Check that each codestream is whole and of the header's size, before a decoder is let at it.

    Decoders allocate what a codestream says, and libjpeg fills what is cut off without a word.
    """
    if not UID(pixels.transfer_syntax_uid).is_encapsulated:
        return
    with reading(path):
        for codestream in generate_frames(dataset.PixelData, number_of_frames=pixels.frames):
            if codestream[:2] == b"\xff\xd8" and codestream.rstrip(b"\0")[-2:] != b"\xff\xd9":
                raise UnsuitableInputError(
                    f"{path}: truncated: a JPEG codestream without end; have it sent again"
                )
            size = codestream_size(codestream)
            if size is not None and size != (pixels.rows, pixels.columns):
                raise UnsuitableInputError(
                    f"{path}: the codestream holds {size[0]} x {size[1]} pixels, the header says "
                    f"{pixels.rows} x {pixels.columns}; have it sent again"
                )


def codestream_size(codestream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream says it has; None for any other."""
    if codestream[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: SOC, SIZ (ISO 15444-1 A.5.1)
        x_end, y_end, x_start, y_start = struct.unpack(">4I", codestream[8:24])
        return y_end - y_start, x_end - x_start
    if codestream[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(codestream) and codestream[place] == 0xFF:
        marker, length = codestream[place + 1], struct.unpack(">H", codestream[place + 2 : place + 4])[0]
        # SOF0 to SOF15 without DHT, JPG and DAC (ISO 10918-1 B.1.1.3), and SOF55 of JPEG-LS.
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = struct.unpack(">HH", codestream[place + 5 : place + 9])
            return rows, columns
        place += 1 if marker == 0xFF else 2 + length
    return None


def _without_overlay_bits(plane: PlaneArray, pixels: PixelFormat) -> PlaneArray:
    """Keep the stored bits only: old images have overlays in the others, or no sign extension."""
    unused_high = pixels.bits_allocated - 1 - pixels.high_bit
    unused = pixels.bits_allocated - pixels.bits_stored
    if unused == 0 or plane.dtype.itemsize * 8 != pixels.bits_allocated:
        return plane
    lowest = -(1 << (pixels.bits_stored - 1)) if pixels.is_signed else 0
    highest = lowest + (1 << pixels.bits_stored) - 1
    if unused_high == unused and plane.min() >= lowest and plane.max() <= highest:
        return plane
    plane <<= unused_high
    plane >>= unused
    return plane
