"""A near-isotropic patch around a lesion, and the way back to the volume's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from workflow.domain.geometry import BoolArray, FloatArray, Mask, Point, Volume


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """A part of a volume on a finer or coarser grid along the volume's own axes.

    Attributes
    ----------
    array
        float32, shape (slices, rows, columns) of the patch, linearly interpolated, the volume's units.
    start_ijk
        Index in the volume, fractional, of the patch's first voxel; shape (3,).
    step_ijk
        Volume voxels per patch voxel along each axis; shape (3,).
    spacing_mm
        Distance of neighbouring patch voxels along (slice, row, column).
    affine
        Patch index to LPS mm, shape (4, 4).
    """

    array: np.ndarray
    start_ijk: FloatArray
    step_ijk: FloatArray
    spacing_mm: Point
    affine: FloatArray

    def positions_lps(self) -> FloatArray:
        """LPS mm of all voxel centres, shape (slices, rows, columns, 3)."""
        indices = np.moveaxis(np.indices(self.array.shape, dtype=np.float64), 0, -1)
        return indices @ self.affine[:3, :3].T + self.affine[:3, 3]

    def of_mask(self, mask: Mask) -> BoolArray:
        """A mask on the volume's grid, at the nearest voxel of it, on this patch."""
        found = np.zeros(self.array.shape, dtype=bool)
        if mask.is_empty:
            return found
        indices: list[np.ndarray] = [
            np.round(self.start_ijk[axis] + self.step_ijk[axis] * np.arange(self.array.shape[axis])).astype(
                int
            )
            for axis in range(3)
        ]
        axes = [index - start for index, start in zip(indices, mask.start_ijk, strict=True)]
        kept = [(axis >= 0) & (axis < n) for axis, n in zip(axes, mask.voxels.shape, strict=True)]
        inside = [axis[keep] for axis, keep in zip(axes, kept, strict=True)]
        found[np.ix_(*kept)] = mask.voxels[np.ix_(*inside)]
        return found

    def to_volume(self, field: np.ndarray, volume: Volume) -> tuple[np.ndarray, tuple[int, int, int]]:
        """A field on the patch (same shape), linearly interpolated at the volume's voxels inside it.

        Returns the part of the volume's grid that the patch covers, and that part's first index.
        """
        last = self.start_ijk + self.step_ijk * (np.asarray(self.array.shape) - 1)
        start = np.maximum(np.ceil(self.start_ijk - 1e-9), 0).astype(int)
        stop = np.minimum(np.floor(last + 1e-9) + 1, volume.shape).astype(int)
        axes = [
            (np.arange(a, b) - first) / step
            for a, b, first, step in zip(start, stop, self.start_ijk, self.step_ijk, strict=True)
        ]
        return _interpolate(field, axes), (int(start[0]), int(start[1]), int(start[2]))


def cut_patch(
    volume: Volume, minimum_lps: FloatArray, maximum_lps: FloatArray, *, largest_voxel_count: int
) -> Patch:
    """Cut the box between two LPS corners out of a volume, as near to isotropic as its size allows.

    The voxels are cubes of the volume's finest spacing, or larger ones where the box would
    otherwise take more than `largest_voxel_count`; a box that leaves the volume is clipped.
    """
    corners = np.array(np.meshgrid(*zip(minimum_lps, maximum_lps, strict=True))).reshape(3, -1).T
    indices = volume.ijk(corners)
    low = np.clip(np.floor(indices.min(axis=0)), 0, np.asarray(volume.shape) - 1)
    high = np.clip(np.ceil(indices.max(axis=0)), 0, np.asarray(volume.shape) - 1)
    spacing = np.asarray(volume.spacing_mm)
    extent_mm = (high - low) * spacing
    edge_mm = max(
        float(spacing.min()), float(np.prod(extent_mm + spacing.min()) / largest_voxel_count) ** (1 / 3)
    )
    count = np.maximum(np.round(extent_mm / edge_mm).astype(int) + 1, 1)
    step = np.where(count > 1, (high - low) / np.maximum(count - 1, 1), 1.0)
    source = volume.array[tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))]
    # Averages before it skips voxels: half a coarse voxel less half a fine one.
    blur = np.where(step > 1, 0.4 * np.sqrt(np.maximum(step**2 - 1, 0)), 0)
    values = ndimage.gaussian_filter(source.astype(np.float32), blur, mode="nearest")
    array = _interpolate(values, [np.arange(n) * s for n, s in zip(count, step, strict=True)])
    affine = np.eye(4)
    affine[:3, :3] = volume.affine[:3, :3] * step
    affine[:3, 3] = volume.lps(low)
    patch_spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Patch(
        array=array,
        start_ijk=low.astype(np.float64),
        step_ijk=step,
        spacing_mm=(float(patch_spacing[0]), float(patch_spacing[1]), float(patch_spacing[2])),
        affine=affine,
    )


def _interpolate(values: np.ndarray, axes: list[np.ndarray]) -> np.ndarray:
    """Linear interpolation at the grid of the given fractional indices, one array per axis; ends are held."""
    result = np.asarray(values, dtype=np.float32)
    for axis, positions in enumerate(axes):
        positions = np.clip(positions, 0, result.shape[axis] - 1)
        low = np.minimum(np.floor(positions).astype(int), max(result.shape[axis] - 2, 0))
        high = np.minimum(low + 1, result.shape[axis] - 1)
        weight = (positions - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        result = result.take(low, axis=axis) * (1 - weight) + result.take(high, axis=axis) * weight
    return result
