"""The pixels of a SEG: which frames it has, and masks as labels or as packed bits.

A BINARY SEG has a frame per segment and slice. Its headers are highdicom's, made for an array that holds
one marker voxel per frame; its bits are packed here from the masks themselves. So lesions may overlap
without a stack of volumes (one per lesion, 6 GB at 512 x 512 x 600), and a frame may be empty.

A frame is as large as the source's images, and so is a slice of the measured volume, unless that was
straightened (gantry tilt): there each slice's image begins somewhere else in the volume.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow.domain.geometry import Mask

Frame = tuple[int, int]
"""Segment number (from 1) and slice of the volume."""

FirstPixel = Callable[[int], tuple[int, int]]
"""The (row, column) of the volume that a slice's frame begins at."""

_FRAMES_AT_ONCE = 8  # eight frames end on a whole byte, whatever the image's size


def frames_of(masks: Sequence[Mask]) -> list[Frame]:
    """A frame per mask and slice that it touches; segment numbers are the masks' places from 1."""
    return [(number, index) for number, mask in enumerate(masks, start=1) for index in slices_of(mask)]


def slices_of(mask: Mask) -> list[int]:
    """The slices that have a voxel of the mask, ascending."""
    return [int(i) + mask.start_ijk[0] for i in np.flatnonzero(mask.voxels.any(axis=(1, 2)))]


def with_even_bytes(frames: Sequence[Frame], shape: tuple[int, int, int]) -> list[Frame]:
    """The frames and as many empty ones as make the packed bits an even number of bytes.

    `shape` is (slices of the volume, rows, columns of a frame), as everywhere here.

    DICOM pads an odd number with a byte (PS3.5 8.1.1), which OHIF 3.13 takes for a broken file. Empty frames
    go where a segment has none on a slice that is there already, else on the slices next to them. Where
    even that is not enough (every slice is full) the frames stay as they are.
    """
    slices, rows, columns = shape
    wanted = len(frames)
    while _byte_count(wanted, rows * columns) % 2:
        wanted += 1
    there = sorted({index for _, index in frames})
    beside = [*range(there[-1] + 1, slices), *range(there[0] - 1, -1, -1)]
    segments = sorted({number for number, _ in frames})
    taken = set(frames)
    free = [(number, index) for index in there for number in segments if (number, index) not in taken]
    free += [(segments[0], index) for index in beside]
    missing = wanted - len(frames)
    return [*frames, *free[:missing]] if missing <= len(free) else list(frames)


def _byte_count(frames: int, pixels: int) -> int:
    return -(-frames * pixels // 8)


def markers(
    frames: Sequence[Frame], shape: tuple[int, int, int]
) -> tuple[list[int], NDArray[np.uint8 | np.uint16]]:
    """An array from which highdicom makes exactly these frames: one voxel each, at a place of its segment.

    Returns
    -------
    tuple
        The slices, ascending, and labels of shape (slices, rows, columns).
    """
    _, rows, columns = shape
    indices = sorted({index for _, index in frames})
    place = {index: n for n, index in enumerate(indices)}
    labels = np.zeros((len(indices), rows, columns), dtype=_label_type(max(number for number, _ in frames)))
    for number, index in frames:
        labels[(place[index], *divmod(number - 1, columns))] = number
    return indices, labels


def packed(
    frames: Sequence[Frame], masks: Sequence[Mask], shape: tuple[int, int, int], first: FirstPixel
) -> bytes:
    """The frames' bits in this order, the first pixel in the lowest bit (PS3.5 8.1.1), padded to even."""
    _, rows, columns = shape
    parts = []
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        chunk = frames[start : start + _FRAMES_AT_ONCE]
        pixels = np.zeros((len(chunk), rows, columns), dtype=bool)
        for image, (number, index) in zip(pixels, chunk, strict=True):
            draw(image, masks[number - 1], index, first(index))
        parts.append(np.packbits(pixels, bitorder="little").tobytes())
    data = b"".join(parts)
    return data + b"\0" * (len(data) % 2)


def draw(
    image: NDArray[Any], mask: Mask, index: int, first: tuple[int, int] = (0, 0), value: int = 1
) -> None:
    """Set the pixels of a frame that are a mask's on a slice; what lies outside the frame is left out."""
    if not mask.start_ijk[0] <= index < mask.stop_ijk[0]:
        return
    starts = [start - beside for start, beside in zip(mask.start_ijk[1:], first, strict=True)]
    part = mask.voxels[index - mask.start_ijk[0]]
    into, taken = [], []
    for start, length, size in zip(starts, part.shape, image.shape, strict=True):
        into.append(slice(max(start, 0), max(min(start + length, size), 0)))
        taken.append(slice(max(-start, 0), max(min(length, size - start), 0)))
    image[into[0], into[1]][part[taken[0], taken[1]]] = value


def overlap(masks: Sequence[Mask]) -> bool:
    """Whether two masks share a voxel."""
    return any(_share(one, other) for one, other in combinations(masks, 2))


def _share(one: Mask, other: Mask) -> bool:
    start = np.maximum(one.start_ijk, other.start_ijk)
    stop = np.minimum(one.stop_ijk, other.stop_ijk)
    if (start >= stop).any():
        return False
    windows = [
        mask.voxels[tuple(slice(a - o, b - o) for a, b, o in zip(start, stop, mask.start_ijk, strict=True))]
        for mask in (one, other)
    ]
    return bool((windows[0] & windows[1]).any())


def labels_of(
    masks: Sequence[Mask], shape: tuple[int, int, int], first: FirstPixel
) -> tuple[list[int], NDArray[np.uint8 | np.uint16]]:
    """Masks that share no voxel as one label array, on the slices that have any voxel only.

    Returns
    -------
    tuple
        The slices, ascending, and labels of shape (slices, rows, columns), numbers from 1.
    """
    indices = sorted({index for mask in masks for index in slices_of(mask)})
    _, rows, columns = shape
    labels = np.zeros((len(indices), rows, columns), dtype=_label_type(len(masks)))
    for number, mask in enumerate(masks, start=1):
        own = slices_of(mask)
        for index, image in zip(own, (labels[n] for n in np.searchsorted(indices, own)), strict=True):
            draw(image, mask, index, first(index), number)
    return indices, labels


def _label_type(highest: int) -> type[np.uint8 | np.uint16]:
    return np.uint8 if highest < 256 else np.uint16
