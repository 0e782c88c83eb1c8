"""Voxels and the patient: one affine per volume, to DICOM patient coordinates (LPS, mm)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Point = tuple[float, float, float]

# Two positions closer than this are the same place: half of the smallest pixel in use.
POSITION_TOLERANCE_MM = 0.01


def lps_from_ijk(index_ijk: NDArray[Any], affine: FloatArray) -> FloatArray:
    """Map voxel indices into the patient.

    Parameters
    ----------
    index_ijk
        Indices in (slice, row, column) order, shape (n, 3) or (3,); fractions are allowed.
    affine
        Shape (4, 4); takes an index to the voxel centre in DICOM patient
        coordinates: mm, x to the Left, y to Posterior, z to Superior.

    Returns
    -------
    numpy.ndarray
        Positions in mm, float64, of the same shape.
    """
    positions: FloatArray = np.asarray(index_ijk, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]
    return positions


def ijk_from_lps(position_lps: NDArray[Any], affine: FloatArray) -> FloatArray:
    """Map positions in the patient to fractional voxel indices; the inverse of `lps_from_ijk`.

    Parameters
    ----------
    position_lps
        Positions in mm, LPS, shape (n, 3) or (3,).
    affine
        Shape (4, 4), index (slice, row, column) to LPS mm.

    Returns
    -------
    numpy.ndarray
        Fractional indices in (slice, row, column) order, float64, of the same shape.
    """
    shifted = np.asarray(position_lps, dtype=np.float64) - affine[:3, 3]
    indices: FloatArray = shifted @ np.linalg.inv(affine[:3, :3]).T
    return indices


def affine_from_axes(
    *, origin_lps: Point, slice_step: Point, row_step: Point, column_step: Point
) -> FloatArray:
    """Build the affine from the first voxel's centre and the step, in LPS mm, along each index.

    `row_step` is the step from one row to the next (down an image column) and `column_step`
    from one column to the next (along an image row), as index (slice, row, column) has it.
    """
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = slice_step, row_step, column_step
    affine[:3, 3] = origin_lps
    return affine


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """A scalar image on a regular grid in the patient.

    Attributes
    ----------
    array
        Shape (slices, rows, columns). HU for CT, SUV (g/ml) for PET, stored units otherwise; bool for a mask.
    affine
        Shape (4, 4), float64; index (slice, row, column) to the voxel centre in LPS mm.
        Any rotation, either handedness; the axes are perpendicular.
    """

    array: NDArray[Any]
    affine: FloatArray

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise ValueError(f"a volume has 3 axes, not {self.array.ndim}")
        if self.affine.shape != (4, 4):
            raise ValueError(f"an affine has shape (4, 4), not {self.affine.shape}")
        if abs(np.linalg.det(self.affine[:3, :3])) < 1e-9:
            raise ValueError("the affine is singular: two axes coincide or a spacing is zero")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        slices, rows, columns = self.array.shape
        return slices, rows, columns

    @cached_property
    def spacing_mm(self) -> Point:
        """Distance of neighbouring voxel centres along (slice, row, column), mm."""
        slice_mm, row_mm, column_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slice_mm), float(row_mm), float(column_mm)

    @cached_property
    def directions(self) -> FloatArray:
        """Unit vectors in LPS of the (slice, row, column) axes, as the columns of a (3, 3) array."""
        unit: FloatArray = self.affine[:3, :3] / np.asarray(self.spacing_mm)
        return unit

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel, mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def lps(self, index_ijk: NDArray[Any]) -> FloatArray:
        """Positions (LPS mm) of indices (slice, row, column); see `lps_from_ijk`."""
        return lps_from_ijk(index_ijk, self.affine)

    def ijk(self, position_lps: NDArray[Any]) -> FloatArray:
        """Fractional indices (slice, row, column) of positions in LPS mm; see `ijk_from_lps`."""
        return ijk_from_lps(position_lps, self.affine)

    def contains(self, position_lps: Point) -> bool:
        """Whether a position lies in a voxel of this volume (faces included)."""
        index = self.ijk(np.asarray(position_lps))
        return bool(np.all(index >= -0.5 - 1e-6) and np.all(index <= np.asarray(self.shape) - 0.5 + 1e-6))

    def has_grid_of(self, other: Volume) -> bool:
        """Whether both have the same shape and no voxel centre is further off than the tolerance."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        distance = np.linalg.norm(self.lps(corners) - other.lps(corners), axis=1)
        return bool(distance.max() <= POSITION_TOLERANCE_MM)

    def with_array(self, array: NDArray[Any]) -> Volume:
        """The same grid with other voxels, shape (slices, rows, columns)."""
        if array.shape != self.array.shape:
            raise ValueError(f"shape {array.shape} is not the grid's {self.array.shape}")
        return replace(self, array=array)

    def crop(self, start_ijk: tuple[int, int, int], stop_ijk: tuple[int, int, int]) -> Volume:
        """The half-open box of indices as a volume of its own (a view), clipped to this one.

        Raises
        ------
        ValueError
            If nothing is left of the box.
        """
        start = np.clip(start_ijk, 0, self.shape)
        stop = np.clip(stop_ijk, 0, self.shape)
        if np.any(stop <= start):
            raise ValueError(f"the box {start_ijk} to {stop_ijk} is outside a volume of shape {self.shape}")
        affine = self.affine.copy()
        affine[:3, 3] = self.lps(start)
        box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return Volume(array=self.array[box], affine=affine)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask:
    """A set of voxels of a grid, stored as its bounding box so that many lesions cost little.

    Attributes
    ----------
    voxels
        Bool, the bounding box only, shape (slices, rows, columns) of the box; all axes 0 if empty.
    start_ijk
        Index (slice, row, column) of the box's first voxel in the grid.
    shape
        (slices, rows, columns) of the whole grid.
    """

    voxels: BoolArray
    start_ijk: tuple[int, int, int]
    shape: tuple[int, int, int]

    @classmethod
    def empty(cls, shape: tuple[int, int, int]) -> Mask:
        """No voxel of a grid of this shape."""
        return cls(voxels=np.zeros((0, 0, 0), dtype=bool), start_ijk=(0, 0, 0), shape=shape)

    @classmethod
    def from_array(
        cls,
        array: NDArray[Any],
        start_ijk: tuple[int, int, int] = (0, 0, 0),
        shape: tuple[int, int, int] | None = None,
    ) -> Mask:
        """Take the true voxels of an array that starts at `start_ijk` of a grid of `shape`."""
        whole = shape or (array.shape[0], array.shape[1], array.shape[2])
        found = [np.flatnonzero(array.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        if found[0].size == 0:
            return cls.empty(whole)
        box = tuple(slice(int(f[0]), int(f[-1]) + 1) for f in found)
        start = tuple(int(s + f[0]) for s, f in zip(start_ijk, found, strict=True))
        return cls(
            voxels=np.ascontiguousarray(array[box], dtype=bool),
            start_ijk=(start[0], start[1], start[2]),
            shape=whole,
        )

    @property
    def is_empty(self) -> bool:
        """Whether no voxel is set."""
        return self.voxels.size == 0

    @property
    def stop_ijk(self) -> tuple[int, int, int]:
        """Index behind the box's last voxel."""
        a, b, c = (s + n for s, n in zip(self.start_ijk, self.voxels.shape, strict=True))
        return a, b, c

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The bounding box as slices of the whole grid."""
        a, b, c = (slice(s, e) for s, e in zip(self.start_ijk, self.stop_ijk, strict=True))
        return a, b, c

    @cached_property
    def voxel_count(self) -> int:
        """How many voxels are set."""
        return int(np.count_nonzero(self.voxels))

    def array(self) -> BoolArray:
        """The mask on the whole grid: bool, shape `shape`."""
        whole = np.zeros(self.shape, dtype=bool)
        if not self.is_empty:
            whole[self.box] = self.voxels
        return whole

    def indices(self) -> NDArray[np.int64]:
        """Indices (slice, row, column) in the whole grid of the set voxels, shape (n, 3)."""
        indices: NDArray[np.int64] = np.argwhere(self.voxels) + np.asarray(self.start_ijk)
        return indices

    def centroid_ijk(self) -> FloatArray:
        """Mean index of the set voxels, shape (3,).

        Raises
        ------
        ValueError
            If the mask is empty.
        """
        if self.is_empty:
            raise ValueError("an empty mask has no centroid")
        centroid: FloatArray = self.indices().mean(axis=0)
        return centroid

    def box_with_margin(
        self, margin_mm: float, spacing_mm: Point
    ) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Start and stop of the bounding box grown by a margin in mm, clipped to the grid."""
        grow = np.ceil(margin_mm / np.asarray(spacing_mm)).astype(int)
        start = np.maximum(np.asarray(self.start_ijk) - grow, 0)
        stop = np.minimum(np.asarray(self.stop_ijk) + grow, self.shape)
        return (int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2]))


def dice(one: Mask, other: Mask) -> float:
    """Dice overlap of two masks on one grid; 1.0 if both are empty."""
    if one.shape != other.shape:
        raise ValueError(f"the masks are on different grids: {one.shape} and {other.shape}")
    total = one.voxel_count + other.voxel_count
    if total == 0:
        return 1.0
    if one.is_empty or other.is_empty:
        return 0.0
    start = np.maximum(one.start_ijk, other.start_ijk)
    stop = np.minimum(one.stop_ijk, other.stop_ijk)
    if np.any(stop <= start):
        return 0.0

    def part(mask: Mask) -> BoolArray:
        a, b, c = (slice(s - o, e - o) for s, e, o in zip(start, stop, mask.start_ijk, strict=True))
        return mask.voxels[a, b, c]

    return 2.0 * int(np.count_nonzero(part(one) & part(other))) / total


def mask_on_grid(drawn: Volume, grid: Volume) -> Mask:
    """The voxels of `grid` whose centres lie in a true voxel of `drawn` (nearest neighbour).

    Exact where the grids coincide or one is a crop of the other. What lies outside `grid` is lost.
    """
    inside = Mask.from_array(drawn.array)
    if inside.is_empty:
        return Mask.empty(grid.shape)
    corners = np.array(
        np.meshgrid(*[(a - 0.5, b - 0.5) for a, b in zip(inside.start_ijk, inside.stop_ijk, strict=True)])
    ).reshape(3, -1)
    reach = grid.ijk(drawn.lps(corners.T))
    start = np.clip(np.floor(reach.min(axis=0)).astype(int), 0, grid.shape)
    stop = np.clip(np.ceil(reach.max(axis=0)).astype(int) + 1, 0, grid.shape)
    if np.any(stop <= start):
        return Mask.empty(grid.shape)
    indices = np.stack(
        np.meshgrid(*[np.arange(a, b) for a, b in zip(start, stop, strict=True)], indexing="ij"), axis=-1
    )
    # Half-way ties go to the upper voxel on every axis, so that a shifted grid shifts as a whole.
    nearest = np.floor(drawn.ijk(grid.lps(indices.reshape(-1, 3))) + 0.5 + 1e-6).astype(int)
    is_inside = np.all((nearest >= 0) & (nearest < drawn.shape), axis=1)
    voxels = np.zeros(len(nearest), dtype=bool)
    voxels[is_inside] = drawn.array[tuple(nearest[is_inside].T)]
    return Mask.from_array(
        voxels.reshape(indices.shape[:3]), (int(start[0]), int(start[1]), int(start[2])), grid.shape
    )


def union(masks: Sequence[Mask]) -> Mask:
    """All voxels that are in any of some masks of one grid.

    Raises
    ------
    ValueError
        If there is no mask, or they are on different grids.
    """
    if not masks or any(mask.shape != masks[0].shape for mask in masks):
        raise ValueError("a union is of at least one mask, all on one grid")
    filled = [mask for mask in masks if not mask.is_empty]
    if len(filled) < 2:
        return filled[0] if filled else masks[0]
    start = np.min([mask.start_ijk for mask in filled], axis=0)
    stop = np.max([mask.stop_ijk for mask in filled], axis=0)
    voxels = np.zeros(stop - start, dtype=bool)
    for mask in filled:
        a, b, c = (slice(s - o, e - o) for s, e, o in zip(mask.start_ijk, mask.stop_ijk, start, strict=True))
        voxels[a, b, c] |= mask.voxels
    return Mask.from_array(voxels, (int(start[0]), int(start[1]), int(start[2])), masks[0].shape)
