"""Between a grid and a patch: area-weighted averages one way, linear interpolation back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.open_lesion.encoding import Floats, Window
from workflow.domain.geometry import FloatArray


def overlap_weights(
    at_mm: FloatArray, width_mm: float, start_mm: float, spacing_mm: float, size: int
) -> tuple[Floats, slice]:
    """Weights that average a row of voxels over intervals.

    Parameters
    ----------
    at_mm, width_mm
        Middles of the intervals, ascending, shape (n,), and their common width. Intervals narrower than a
        voxel are as wide as one, which is linear interpolation.
    start_mm, spacing_mm, size
        The row: its first voxel's middle, the distance of its voxels, their number. What lies beyond its ends
        has the value of the end.

    Returns
    -------
    tuple
        Weights, float32, shape (n, m), each row with sum 1, and the m voxels that they belong to.
    """
    half = (max(width_mm, spacing_mm) + spacing_mm) / 2
    first = int(np.clip(np.ceil((at_mm[0] - half - start_mm) / spacing_mm), 0, size - 1))
    last = int(np.clip(np.floor((at_mm[-1] + half - start_mm) / spacing_mm), first, size - 1))
    voxels = start_mm + spacing_mm * np.arange(first, last + 1)
    inside = np.clip(at_mm, start_mm, start_mm + spacing_mm * (size - 1))
    shorter = min(width_mm, spacing_mm) if width_mm > spacing_mm else spacing_mm
    apart = np.abs(inside[:, None] - voxels[None, :])
    weights = np.clip(half - apart, 0, shorter)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32), slice(first, last + 1)


def sample(
    array: NDArray[np.generic], start_mm: FloatArray, spacing_mm: FloatArray, window: Window
) -> Floats:
    """A volume's values on a patch: averages where the patch is coarser, linear where it is finer.

    Parameters
    ----------
    array
        Shape (slices, rows, columns), any real type.
    start_mm, spacing_mm
        Frame position of voxel (0, 0, 0) and the distance of voxels along each axis, shape (3,) each.

    Returns
    -------
    numpy.ndarray
        float32, shape (SIDE, SIDE, SIDE).
    """
    found = [
        overlap_weights(at, float(width), float(start), float(spacing), size)
        for at, width, start, spacing, size in zip(
            window.axes_mm(), window.spacing_mm, start_mm, spacing_mm, array.shape, strict=True
        )
    ]
    crop = array[tuple(part for _, part in found)].astype(np.float32)
    return apply([weights for weights, _ in found], crop)


def apply(weights: list[Floats], values: Floats) -> Floats:
    """Each axis multiplied by its matrix, the one that shrinks it most first."""
    for axis in sorted(range(3), key=lambda axis: weights[axis].shape[0] / weights[axis].shape[1]):
        values = np.moveaxis(np.tensordot(weights[axis], values, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(values)


def paint(
    patch: Floats, window: Window, start_mm: FloatArray, spacing_mm: FloatArray, shape: tuple[int, int, int]
) -> tuple[Floats, tuple[int, int, int]]:
    """A field on a patch, linearly interpolated at the voxels of a grid that lie inside it.

    Returns the part of the grid that the patch covers (float32; an axis may be empty) and its first index.
    """
    low, high = window.centre_mm - window.sides_mm / 2, window.centre_mm + window.sides_mm / 2
    first = np.maximum(np.ceil((low - start_mm) / spacing_mm - 1e-6).astype(int), 0)
    stop = np.minimum(np.floor((high - start_mm) / spacing_mm + 1e-6).astype(int) + 1, shape)
    stop = np.maximum(stop, first)
    values = patch
    for axis, at in enumerate(window.axes_mm()):
        voxels = start_mm[axis] + spacing_mm[axis] * np.arange(first[axis], stop[axis])
        place = np.clip((voxels - at[0]) / window.spacing_mm[axis], 0, patch.shape[axis] - 1)
        lower = np.minimum(place.astype(int), patch.shape[axis] - 2)
        share = (place - lower).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        values = values.take(lower, axis=axis) * (1 - share) + values.take(lower + 1, axis=axis) * share
    return values, (int(first[0]), int(first[1]), int(first[2]))
