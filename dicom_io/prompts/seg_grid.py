"""Frames of a segmentation to one volume: on the grid of the series they were drawn on, or on their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_io.prompts.placement import ImageIndex, NotPlacedError, ReferencedImages, as_point, plane_affine
from dicom_io.prompts.seg_frames import FrameInfo
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import BoolArray, FloatArray, Volume, lps_from_ijk

# A frame sits on the grid if it is at most this far off along (slice, row, column), in voxels. DS strings
# round to less; between slices, positions scatter on the scanners whose series still count as evenly spaced.
GRID_TOLERANCE = np.array([0.1, 0.02, 0.02])
# Over a thousand pixels a frame may drift by the tolerance, no more.
DRIFT_PER_PIXEL = 2e-5
# Slice positions may be this uneven, in slices, and still count as one spacing.
SPACING_TOLERANCE = 0.05
MAX_VOXELS = 2**28


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """The set pixels of one frame, cropped to their box, and where the box starts."""

    frame: FrameInfo
    start: tuple[int, int]
    pixels: BoolArray


def volume_of(patches: Sequence[Patch], placed: ReferencedImages, images: ImageIndex) -> Volume:
    """The patches as one cropped volume: on the series' grid if the frames sit on it, else on their own."""
    affines = [_frame_affine(patch.frame, placed, images) for patch in patches]
    grid = placed.volume.affine
    if not _sits_on(affines, grid):
        grid = _own_grid(affines, patches, placed)
    inverse = np.linalg.inv(grid)
    starts = []
    for affine, patch in zip(affines, patches, strict=True):
        corner = lps_from_ijk(np.array([0, *patch.start]), affine)
        starts.append(np.round((inverse @ np.append(corner, 1.0))[:3]).astype(int))
    volume = _assemble(starts, patches, grid)
    middle = as_point(volume.lps((np.asarray(volume.shape) - 1) / 2))
    if not placed.volume.contains(middle):
        raise NotPlacedError(f"it lies outside series {placed.series.series_instance_uid}")
    return volume


def _frame_affine(frame: FrameInfo, placed: ReferencedImages, images: ImageIndex) -> FloatArray:
    if frame.position is not None and frame.orientation is not None and frame.spacing is not None:
        return plane_affine(frame.position, frame.orientation, frame.spacing)
    if frame.source is not None and images.holds(frame.source[0]):
        return images.plane_of(*frame.source).affine
    raise NotPlacedError(f"frame {frame.index + 1} has no position in the patient and no source image here")


def _sits_on(affines: Sequence[FloatArray], grid: FloatArray) -> bool:
    """Whether each frame's pixels are voxels of the grid: same rows and columns, whole offsets."""
    inverse = np.linalg.inv(grid)
    for affine in affines:
        relative = inverse @ affine
        same_axes = np.abs(relative[:3, 1:3] - np.eye(3)[:, 1:3]).max() < DRIFT_PER_PIXEL
        offset = np.abs(relative[:3, 3] - np.round(relative[:3, 3]))
        if not same_axes or np.any(offset > GRID_TOLERANCE):
            return False
    return True


def _own_grid(
    affines: Sequence[FloatArray], patches: Sequence[Patch], placed: ReferencedImages
) -> FloatArray:
    """A grid through all frames: the first frame's rows and columns, even steps along its normal.

    Raises
    ------
    UnsuitableInputError
        If the frames are not parallel, not aligned, or not evenly spaced.
    """
    first = affines[0]
    normal = first[:3, 0]
    offsets = np.array([affine[:3, 3] - first[:3, 3] for affine in affines])
    along = offsets @ normal
    aside = offsets - along[:, None] * normal
    if any(np.abs(a[:3, :3] - first[:3, :3]).max() > 1e-3 for a in affines) or np.abs(aside).max() > 0.1:
        raise UnsuitableInputError("its frames are not parallel and aligned, so that they make no grid")
    positions = np.unique(np.round(along, 3))
    gaps = np.diff(positions)
    step = float(gaps.min()) if len(gaps) else (patches[0].frame.thickness_mm or placed.volume.spacing_mm[0])
    declared = patches[0].frame.thickness_mm
    if declared and len(gaps) and declared < step and _is_whole(gaps / declared):
        step = declared
    if not _is_whole(gaps / step):
        raise UnsuitableInputError("its frames are not evenly spaced, so that they make no grid")
    grid = first.copy()
    grid[:3, 0] = normal * step
    grid[:3, 3] = first[:3, 3] + normal * positions[0]
    return grid


def _is_whole(values: NDArray[Any]) -> bool:
    return not len(values) or bool(np.abs(values - np.round(values)).max() <= SPACING_TOLERANCE)


def _assemble(starts: Sequence[NDArray[Any]], patches: Sequence[Patch], grid: FloatArray) -> Volume:
    sizes = [np.array([1, *patch.pixels.shape]) for patch in patches]
    lowest = np.min(starts, axis=0)
    shape = np.max([start + size for start, size in zip(starts, sizes, strict=True)], axis=0) - lowest
    if np.prod(shape.astype(float)) > MAX_VOXELS:
        raise UnsuitableInputError(f"its box of {shape} voxels is too large to be a lesion")
    array = np.zeros(shape, dtype=bool)
    for start, patch in zip(starts, patches, strict=True):
        k, row, column = start - lowest
        rows, columns = patch.pixels.shape
        array[k, row : row + rows, column : column + columns] |= patch.pixels
    affine = grid.copy()
    affine[:3, 3] = lps_from_ijk(lowest, grid)
    return Volume(array=array, affine=affine)
