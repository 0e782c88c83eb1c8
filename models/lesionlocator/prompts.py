"""What shows a lesion to the networks, drawn on the network's grid.

The segmentation networks were trained on two drawings: a ball of 739 voxels around a point, and a
filled box one voxel larger than the lesion. Everything a reader may give (line, outline, mask ...)
becomes one of them. Axes are (z, y, x), indices those of the network's grid unless said otherwise.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.lesionlocator.plans import Triple
from models.lesionlocator.preprocessing import NetworkImage, crop_mask
from models.lesionlocator.resampling import resample_labels, resample_mask
from workflow.domain.geometry import BoolArray, Mask

BALL_RADIUS = 5


class Drawing(StrEnum):
    """How a prompt is drawn; each has its own checkpoint."""

    POINT = "point"
    BOX = "box"


def point_to_network(index: NDArray[Any], image: NetworkImage) -> Triple:
    """The network's voxel of a point, given as an index (fractions allowed) of the scan's own grid."""
    shifted = np.asarray(index, dtype=np.float64) - image.crop_start
    z, y, x = (
        round(float(value) * new / old)
        for value, new, old in zip(shifted, image.shape, image.cropped_shape, strict=True)
    )
    return z, y, x


def draw_point(centre: Triple, shape: Triple) -> Mask:
    """A ball of 739 voxels around a voxel, cut off at the borders of a grid of `shape`."""
    ball = _ball()
    start = tuple(c - BALL_RADIUS for c in centre)
    return _cut(ball, start, shape)


def box_to_network(start: NDArray[Any], stop: NDArray[Any], image: NetworkImage) -> tuple[Triple, Triple]:
    """The network's voxels of a half-open box of the scan's own grid, rounded outwards."""
    ratio = [(new, old) for new, old in zip(image.shape, image.cropped_shape, strict=True)]
    low = [
        int(np.floor((a - c) * n / o)) for a, c, (n, o) in zip(start, image.crop_start, ratio, strict=True)
    ]
    high = [int(np.ceil((b - c) * n / o)) for b, c, (n, o) in zip(stop, image.crop_start, ratio, strict=True)]
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def draw_box(start: Triple, stop: Triple, shape: Triple) -> Mask:
    """A filled box, one voxel larger than given on each side, cut off at the borders of the grid."""
    # Cut first, then enlarged and cut again: a box that reaches the border is not enlarged beyond it.
    low = [max(0, a) for a in start]
    high = [min(n, b) for b, n in zip(stop, shape, strict=True)]
    if any(b <= a for a, b in zip(low, high, strict=True)):
        return _cut(np.zeros((1, 1, 1), dtype=bool), (0, 0, 0), shape)
    grown = tuple(b - a + 2 for a, b in zip(low, high, strict=True))
    return _cut(np.ones(grown, dtype=bool), tuple(a - 1 for a in low), shape)


def mask_to_network(mask: Mask, image: NetworkImage) -> Mask:
    """A mask of the scan's own grid on the network's grid.

    Empty only if nothing of it lies in the cropped scan: of one too thin for the interpolation the
    nearest voxels are taken.
    """
    block, start = crop_mask(mask, image)
    if not block.any():
        return _cut(np.zeros((1, 1, 1), dtype=bool), (0, 0, 0), image.shape)
    resampled, at = resample_mask(block, start, image.forward)
    return _cut(resampled, at, image.shape) if resampled.any() else _nearest_voxels(block, start, image)


def masks_to_network(masks: list[Mask], image: NetworkImage) -> list[Mask]:
    """Several lesions of one scan on the network's grid, as one label map where they do not overlap.

    Between touching lesions each voxel then goes to the one that fills most of it.
    """
    labels = np.zeros(image.cropped_shape, dtype=np.uint16)
    blocks = [crop_mask(mask, image) for mask in masks]
    overlapping: set[int] = set()
    for number, (block, start) in enumerate(blocks, 1):
        box = tuple(slice(s, s + n) for s, n in zip(start, block.shape, strict=True))
        others = np.unique(labels[box][block])
        overlapping.update(int(other) for other in others if other)
        if others.any():
            overlapping.add(number)
        labels[box][block] = number
    return [
        mask_to_network(mask, image)
        if number in overlapping or not block.any()
        else _label_to_network(labels, number, block, start, image)
        for number, (mask, (block, start)) in enumerate(zip(masks, blocks, strict=True), 1)
    ]


def _label_to_network(
    labels: NDArray[np.uint16], number: int, block: BoolArray, start: Triple, image: NetworkImage
) -> Mask:
    ranges = [
        image.forward.taps[axis].touching(start[axis], start[axis] + block.shape[axis]) for axis in range(3)
    ]
    first, last = zip(*ranges, strict=True)
    window = resample_labels(labels, image.forward, first, last)
    moved = window == number
    return _cut(moved, first, image.shape) if moved.any() else _nearest_voxels(block, start, image)


def _nearest_voxels(block: BoolArray, start: Triple, image: NetworkImage) -> Mask:
    """The network's voxels that hold the centres of a block's voxels; `start` is on the cropped scan."""
    ratio = np.asarray(image.shape) / np.asarray(image.cropped_shape)
    index = np.floor((np.argwhere(block) + start + 0.5) * ratio).astype(int)
    index = np.minimum(index, np.asarray(image.shape) - 1)
    first = index.min(axis=0)
    voxels = np.zeros(index.max(axis=0) - first + 1, dtype=bool)
    voxels[tuple((index - first).T)] = True
    return Mask.from_array(voxels, (int(first[0]), int(first[1]), int(first[2])), image.shape)


def draw_mask(mask: Mask, drawing: Drawing) -> Mask:
    """A mask on the network's grid as a ball around its centroid or as its bounding box."""
    if mask.is_empty:
        return mask
    if drawing is Drawing.POINT:
        z, y, x = (int(c) for c in np.round(mask.centroid_ijk()))
        return draw_point((z, y, x), mask.shape)
    return draw_box(mask.start_ijk, mask.stop_ijk, mask.shape)


def components(mask: BoolArray) -> list[BoolArray]:
    """The 26-connected components of a binary map, in scan order of their first voxels."""
    from scipy.ndimage import label

    labelled, count = label(mask, structure=np.ones((3, 3, 3)))
    return [labelled == number for number in range(1, count + 1)]


def _ball() -> BoolArray:
    line = np.arange(-BALL_RADIUS, BALL_RADIUS + 1) ** 2
    squared = line[:, None, None] + line[:, None] + line
    ball: BoolArray = squared <= (BALL_RADIUS + 0.5) ** 2
    return ball


def _cut(block: BoolArray, start: tuple[int, ...], shape: Triple) -> Mask:
    """A mask from a block that may reach beyond the grid."""
    low = [max(0, -s) for s in start]
    high = [max(0, min(k, n - s)) for k, n, s in zip(block.shape, shape, start, strict=True)]
    inside = block[tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))]
    if inside.size == 0:
        inside, low, start = np.zeros((1, 1, 1), dtype=bool), [0, 0, 0], (0, 0, 0)
    z, y, x = (s + a for s, a in zip(start, low, strict=True))
    return Mask.from_array(inside, (z, y, x), shape)
