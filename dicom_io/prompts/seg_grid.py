"""Frames of a segmentation on the slices of the stack that they were drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_io.prompts.image_planes import ReferencedImages, plane_affine
from dicom_io.prompts.placement import ImageIndex, NotPlacedError
from dicom_io.prompts.planes import MAX_VOXELS, SAME_PLANE, DrawnPlane, DrawnRegion, region_of
from dicom_io.prompts.seg_frames import FrameInfo
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import BoolArray, FloatArray, Volume, lps_from_ijk, mask_on_grid

# Directions whose cosines differ by less are parallel.
PARALLEL = 1e-3
# Slice positions may be this uneven, in slices, and still count as one spacing.
SPACING_TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """The set pixels of one frame, cropped to their box, and where they lie.

    Attributes
    ----------
    start
        (row, column) of the box in the frame.
    affine
        Shape (4, 4), the frame's own: (0, row, column) of a pixel centre to LPS mm.
    """

    frame: FrameInfo
    start: tuple[int, int]
    pixels: BoolArray
    affine: FloatArray

    @property
    def corners_lps(self) -> FloatArray:
        """The centres of the box's corner pixels, shape (4, 3)."""
        (row, column), (rows, columns) = self.start, self.pixels.shape
        index = [(0, row + a * (rows - 1), column + b * (columns - 1)) for a in (0, 1) for b in (0, 1)]
        return lps_from_ijk(np.array(index), self.affine)


def frame_affine(frame: FrameInfo, images: ImageIndex) -> FloatArray:
    """Where a frame lies: as it says, else where the image lies that it was drawn on.

    Raises
    ------
    NotPlacedError
        If it says nothing of either.
    """
    if frame.position is not None and frame.orientation is not None and frame.spacing is not None:
        return plane_affine(frame.position, frame.orientation, frame.spacing)
    if frame.source is not None and images.holds(frame.source[0]):
        return images.plane_of(*frame.source).affine
    raise NotPlacedError(f"frame {frame.index + 1} has no position in the patient and no source image here")


def region_on(patches: Sequence[Patch], placed: ReferencedImages) -> DrawnRegion:
    """The patches on a stack's slices: exact where the pixels are the stack's, whichever way they are turned.

    Raises
    ------
    UnsuitableInputError
        If the frames lie across the stack's slices and make no grid of their own.
    """
    grid = placed.volume
    normal = grid.directions[:, 0]
    across = [
        float(abs(patch.affine[:3, 0] @ normal) / np.linalg.norm(patch.affine[:3, 0])) for patch in patches
    ]
    if min(across) >= 1 - PARALLEL:
        planes = [_on_slices(patch, grid) for patch in patches]
        return region_of(
            [replace(plane, reach=_reach(plane, planes, patches, grid)) for plane in planes], grid
        )
    mask = mask_on_grid(_own_volume(patches, placed), grid)
    if mask.is_empty:
        raise UnsuitableInputError("its pixels hold no voxel of the images")
    start, stop = mask.start_ijk, mask.stop_ijk
    return DrawnRegion(volume=grid.crop(start, stop).with_array(mask.voxels))


def _on_slices(patch: Patch, grid: Volume) -> DrawnPlane:
    """A patch on a stack's rows and columns: each pixel centre of the stack in the patch's nearest pixel."""
    corners = grid.ijk(patch.corners_lps)
    # Half a pixel more than the corner pixels' centres.
    margin = np.abs(np.linalg.inv(grid.affine[:3, :3]) @ patch.affine[:3, 1:3]).sum(axis=1)[1:] / 2
    limit = np.asarray(grid.shape[1:])
    low = np.clip(np.floor(corners[:, 1:].min(axis=0) - margin), 0, limit).astype(int)
    high = np.clip(np.ceil(corners[:, 1:].max(axis=0) + margin) + 1, low, limit).astype(int)
    position = float(corners[:, 0].mean())
    rows, columns = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]), indexing="ij")
    index = np.column_stack([np.full(rows.size, position), rows.ravel(), columns.ravel()])
    own = (grid.lps(index) - patch.affine[:3, 3]) @ np.linalg.inv(patch.affine[:3, :3]).T
    nearest = np.floor(own[:, 1:] + 0.5 + 1e-6).astype(int) - np.asarray(patch.start)
    is_inside = np.all((nearest >= 0) & (nearest < patch.pixels.shape), axis=1)
    pixels = np.zeros(rows.size, dtype=bool)
    pixels[is_inside] = patch.pixels[tuple(nearest[is_inside].T)]
    start = int(low[0]), int(low[1])
    return DrawnPlane(position=position, start=start, pixels=pixels.reshape(rows.shape))


def _reach(plane: DrawnPlane, planes: Sequence[DrawnPlane], patches: Sequence[Patch], grid: Volume) -> float:
    """Half of a frame's thickness in slices: what it says, at most the way to the next frame."""
    thickness = (patches[0].frame.thickness_mm or grid.spacing_mm[0]) / grid.spacing_mm[0]
    gaps = [gap for other in planes if (gap := abs(other.position - plane.position)) > SAME_PLANE]
    return min(thickness, min(gaps, default=1.0)) / 2


# ---------------------------------------------------------------- frames across the slices


def _own_volume(patches: Sequence[Patch], placed: ReferencedImages) -> Volume:
    """All frames as one volume on a grid of their own."""
    grid = _own_grid(patches, placed)
    inverse = np.linalg.inv(grid)
    starts = []
    for patch in patches:
        corner = lps_from_ijk(np.array([0, *patch.start]), patch.affine)
        starts.append(np.round((inverse @ np.append(corner, 1.0))[:3]).astype(int))
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


def _own_grid(patches: Sequence[Patch], placed: ReferencedImages) -> FloatArray:
    """A grid through all frames: the first frame's rows and columns, even steps along its normal."""
    affines = [patch.affine for patch in patches]
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
