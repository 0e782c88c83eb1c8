"""Prompts in the patient as boxes, points and outlines on the slices of a volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import BoolArray, FloatArray, Volume
from workflow.domain.lesion import (
    BoxPrompt,
    LesionPrompt,
    LinePrompt,
    MaskPrompt,
    OutlinePrompt,
    PointPrompt,
    PromptShape,
)

Box2D = tuple[float, float, float, float]
"""(first column, first row, last column, last row): pixel indices, centres of the outermost pixels."""

# A hair beyond the edge is rounding, not a prompt beside the volume.
_EDGE = 0.5 + 1e-3


@dataclass(frozen=True, kw_only=True)
class SlicePlan:
    """Where a lesion was shown, slice by slice.

    Attributes
    ----------
    markers
        Slice index to the box there, in order of the slices; at least one.
    key_slice
        The marker to begin with: the largest box.
    first, last
        The slices, both included, that the lesion can reach at most.
    """

    markers: Mapping[int, Box2D]
    key_slice: int
    first: int
    last: int

    def box_between(self, index: int) -> Box2D | None:
        """The box on a slice: a marker's own or interpolated; None outside the markers."""
        below = [slice_ for slice_ in self.markers if slice_ <= index]
        above = [slice_ for slice_ in self.markers if slice_ >= index]
        if not below or not above:
            return None
        low, high = max(below), min(above)
        if low == high:
            return self.markers[low]
        share = (index - low) / (high - low)
        x0, y0, x1, y1 = (
            (1 - share) * a + share * b for a, b in zip(self.markers[low], self.markers[high], strict=True)
        )
        return x0, y0, x1, y1

    def nearest(self, index: int) -> Box2D:
        """The box of the nearest marker."""
        return self.markers[min(self.markers, key=lambda slice_: abs(slice_ - index))]


def named(index: int, prompt: LesionPrompt) -> str:
    """How a message calls a prompt: its place in the call, from 0, and its label."""
    return f"prompt {index}" + (f" ('{prompt.label}')" if prompt.label else "")


def require_inside(volume: Volume, prompts: Sequence[LesionPrompt]) -> None:
    """Refuse prompts that lie outside the volume.

    Raises
    ------
    UnsuitableInputError
        Naming the first prompt with a shape whose centre (a box: every part) is in no voxel of the volume.
    """
    for index, prompt in enumerate(prompts):
        for shape in prompt.shapes:
            if not _is_inside(volume, shape):
                raise UnsuitableInputError(
                    f"{named(index, prompt)} lies outside the volume: its {type(shape).__name__} is at "
                    f"{_where(shape)} mm (LPS); check that it was drawn on this series"
                )


def positive_points(prompt: LesionPrompt) -> list[PointPrompt]:
    """Clicks in the lesion."""
    return [shape for shape in prompt.shapes if isinstance(shape, PointPrompt) and shape.is_positive]


def negative_points(prompt: LesionPrompt) -> list[PointPrompt]:
    """Clicks beside the lesion."""
    return [shape for shape in prompt.shapes if isinstance(shape, PointPrompt) and not shape.is_positive]


def centre_ijk(volume: Volume, prompt: LesionPrompt) -> FloatArray:
    """Fractional index (slice, row, column) of the middle of everything that shows the lesion, shape (3,)."""
    centres = [
        _centre(shape)
        for shape in prompt.shapes
        if not (isinstance(shape, PointPrompt) and not shape.is_positive)
    ]
    if not centres:
        raise UnsuitableInputError("a prompt of negative points only shows no lesion; add one in the lesion")
    middle: FloatArray = volume.ijk(np.mean(centres, axis=0))
    return middle


def slice_plan(volume: Volume, prompt: LesionPrompt, *, reach_factor: float = 1.0) -> SlicePlan | None:
    """Boxes on slices for a prompt's lines, boxes, outlines and masks; None if it has only points.

    A line with both axes becomes the box around the ellipse that they span, one axis alone the square of that
    side: a lesion is nowhere wider than its long axis. What is shown on one slice reaches half its size up
    and down (times `reach_factor`), a box as far as the box, several slices from the first to the last.
    """
    found: dict[int, list[Box2D]] = {}
    reach: list[tuple[float, float]] = []
    for shape in prompt.shapes:
        boxes, shape_reach = _boxes(volume, shape, reach_factor)
        for slice_, box in boxes.items():
            found.setdefault(slice_, []).append(box)
        reach += [shape_reach] if boxes else []
    if not found:
        return None
    if len(found) > 1 and reach_factor:
        # Who marks several slices has said where the lesion ends.
        return slice_plan(volume, prompt, reach_factor=0.0)
    markers = {slice_: _around(found[slice_]) for slice_ in sorted(found)}
    last_slice = volume.shape[0] - 1
    first = max(0, min(min(markers), *(int(np.ceil(low - 1e-6)) for low, _ in reach)))
    last = min(last_slice, max(max(markers), *(int(np.floor(high + 1e-6)) for _, high in reach)))
    key = max(markers, key=lambda slice_: (_area(markers[slice_]), -slice_))
    return SlicePlan(markers=MappingProxyType(markers), key_slice=key, first=first, last=last)


def resample_mask(mask: Volume, volume: Volume) -> BoolArray:
    """A mask on a grid of its own as voxels of `volume`: nearest neighbour, bool, shape of `volume`."""
    if mask.has_grid_of(volume):
        return mask.array.astype(bool)
    from scipy.ndimage import affine_transform

    to_mask = np.linalg.inv(mask.affine) @ volume.affine
    resampled = affine_transform(
        mask.array.astype(np.uint8),
        to_mask[:3, :3],
        offset=to_mask[:3, 3],
        output_shape=volume.shape,
        order=0,
        mode="constant",
        cval=0,
    )
    on_grid: BoolArray = resampled.astype(bool)
    return on_grid


# ---------------------------------------------------------------- one shape


def _corners(box: BoxPrompt) -> FloatArray:
    low, high = box.minimum_lps, box.maximum_lps
    return np.array(
        [[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
    )


def _centre(shape: PromptShape) -> FloatArray:
    match shape:
        case PointPrompt():
            return np.asarray(shape.position_lps, dtype=np.float64)
        case LinePrompt():
            return np.asarray(np.mean([shape.start_lps, shape.end_lps], axis=0))
        case BoxPrompt():
            return np.asarray(np.mean([shape.minimum_lps, shape.maximum_lps], axis=0))
        case OutlinePrompt():
            return np.asarray(np.mean(shape.points_lps, axis=0))
        case MaskPrompt():
            voxels = np.argwhere(shape.volume.array)
            if voxels.size == 0:
                raise UnsuitableInputError("a mask prompt is empty; draw the lesion or leave the mask out")
            return shape.volume.lps(voxels.mean(axis=0))


def _is_inside(volume: Volume, shape: PromptShape) -> bool:
    if isinstance(shape, MaskPrompt):
        return bool(resample_mask(shape.volume, volume).any())
    limit = np.asarray(volume.shape) - 1 + _EDGE
    if isinstance(shape, BoxPrompt):
        corners = volume.ijk(_corners(shape))
        return bool(np.all(corners.max(axis=0) >= -_EDGE) and np.all(corners.min(axis=0) <= limit))
    index = volume.ijk(_centre(shape))
    return bool(np.all(index >= -_EDGE) and np.all(index <= limit))


def _where(shape: PromptShape) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in _centre(shape)) + ")"


def _boxes(volume: Volume, shape: PromptShape, factor: float) -> tuple[dict[int, Box2D], tuple[float, float]]:
    """Boxes by slice and the reach (first, last slice, fractional) of one shape; no boxes for a point."""
    match shape:
        case LinePrompt():
            return _line_boxes(volume, shape, factor)
        case BoxPrompt():
            return _flat_or_deep(volume, volume.ijk(_corners(shape)), factor)
        case OutlinePrompt():
            return _flat_or_deep(volume, volume.ijk(np.asarray(shape.points_lps, dtype=np.float64)), factor)
        case MaskPrompt():
            return _mask_boxes(volume, shape, factor)
        case PointPrompt():
            return {}, (0.0, 0.0)


def _line_boxes(
    volume: Volume, line: LinePrompt, factor: float
) -> tuple[dict[int, Box2D], tuple[float, float]]:
    start, end = np.asarray(line.start_lps), np.asarray(line.end_lps)
    middle = volume.ijk((start + end) / 2)
    radius_mm = np.linalg.norm(end - start) / 2
    half = np.full(3, radius_mm) / np.asarray(volume.spacing_mm)
    depth_mm = radius_mm
    if line.short_axis_lps is not None:
        long_half = (volume.ijk(end) - volume.ijk(start)) / 2
        short_half = np.subtract(*(volume.ijk(np.asarray(point)) for point in line.short_axis_lps)) / 2
        depth_mm = np.linalg.norm(np.subtract(*map(np.asarray, line.short_axis_lps))) / 2
        if np.ptp([volume.ijk(start)[0], volume.ijk(end)[0]]) < 1:
            half = np.hypot(long_half, short_half)
    key = _slice_of(volume, middle[0])
    depth = factor * depth_mm / volume.spacing_mm[0]
    return {key: _clipped(volume, middle, half)}, (middle[0] - depth, middle[0] + depth)


def _flat_or_deep(
    volume: Volume, points_ijk: FloatArray, factor: float
) -> tuple[dict[int, Box2D], tuple[float, float]]:
    low, high = points_ijk.min(axis=0), points_ijk.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2
    box = {_slice_of(volume, middle[0]): _clipped(volume, middle, half)}
    if high[0] - low[0] >= 1:
        return box, (low[0], high[0])
    depth = factor * max(half[1:] * np.asarray(volume.spacing_mm)[1:]) / volume.spacing_mm[0]
    return box, (middle[0] - depth, middle[0] + depth)


def _mask_boxes(
    volume: Volume, shape: MaskPrompt, factor: float
) -> tuple[dict[int, Box2D], tuple[float, float]]:
    voxels = resample_mask(shape.volume, volume)
    boxes: dict[int, Box2D] = {}
    for slice_ in np.flatnonzero(voxels.any(axis=(1, 2))):
        rows, columns = (np.flatnonzero(voxels[slice_].any(axis=axis)) for axis in (1, 0))
        boxes[int(slice_)] = (float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1]))
    if len(boxes) != 1:
        return boxes, (float(min(boxes)), float(max(boxes)))
    (key, (x0, y0, x1, y1)), (slice_mm, row_mm, column_mm) = next(iter(boxes.items())), volume.spacing_mm
    depth = factor * max((x1 - x0) * column_mm, (y1 - y0) * row_mm) / 2 / slice_mm
    return boxes, (key - depth, key + depth)


def _slice_of(volume: Volume, position: float) -> int:
    return int(np.clip(round(float(position)), 0, volume.shape[0] - 1))


def _clipped(volume: Volume, middle: FloatArray, half: FloatArray) -> Box2D:
    rows, columns = volume.shape[1:]
    x0, x1 = np.clip([middle[2] - half[2], middle[2] + half[2]], 0, columns - 1)
    y0, y1 = np.clip([middle[1] - half[1], middle[1] + half[1]], 0, rows - 1)
    return float(x0), float(y0), float(x1), float(y1)


def _around(boxes: Sequence[Box2D]) -> Box2D:
    low, high = np.min(boxes, axis=0), np.max(boxes, axis=0)
    return float(low[0]), float(low[1]), float(high[2]), float(high[3])


def _area(box: Box2D) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
