"""Contours to voxels: exact even-odd filling on pixel centres.

Policy. A voxel is in the region if its centre is inside an odd number of the slice's contours, so that
nested contours are holes and keyholes cut as they should (PS3.3 C.8.8.6.3). A centre on a contour counts
on the top and left side only, so that neighbouring regions share no voxel. Coordinates are taken to a
thousandth of a pixel: more than that is noise of decimal strings. A slice whose contours are so small
that they enclose no centre gets the voxel under each one's centroid, so that a small lesion isn't lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow.domain.geometry import BoolArray, FloatArray, Volume

# A contour belongs to a slice whose centre is at most this far off, in slices.
SLICE_TOLERANCE = 0.25
# More voxels than this in one region's box are no lesion but a mistake: 512 x 512 x 1000.
MAX_VOXELS = 2**28


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanarContour:
    """A closed contour in a plane of the volume's slices.

    Attributes
    ----------
    slice_position
        Fractional slice index of the plane.
    row_column
        Fractional (row, column) indices, shape (n, 2); 0 is a pixel's centre.
    """

    slice_position: float
    row_column: FloatArray


def planar_contour(points_lps: NDArray[Any], volume: Volume) -> PlanarContour | None:
    """A contour in the indices of a volume; None if it doesn't run in a plane of its slices.

    Parameters
    ----------
    points_lps
        LPS mm, shape (n, 3).
    """
    index = volume.ijk(points_lps)
    if np.ptp(index[:, 0]) > 2 * SLICE_TOLERANCE:
        return None
    return PlanarContour(slice_position=float(index[:, 0].mean()), row_column=index[:, 1:])


def rasterise(contours: Sequence[PlanarContour], volume: Volume) -> Volume | None:
    """The voxels inside contours, on the volume's grid or on the contours' own planes.

    Where the contours lie on the volume's slices the grid is the volume's. Where they were drawn on
    every n-th slice, or on evenly spaced planes between the slices, the grid has the volume's rows and
    columns and the contours' planes as its slices, so that nothing in between is invented.

    Returns
    -------
    Volume
        Bool, cropped to the region; None if the planes are neither on slices nor evenly spaced.
    """
    grid = _slice_grid([contour.slice_position for contour in contours])
    if grid is None:
        return None
    first, step, count = grid
    lowest, highest = _in_plane_box(contours, volume)
    size = tuple(int(n) for n in highest - lowest)
    if count * size[0] * size[1] > MAX_VOXELS:
        return None
    voxels = np.zeros((count, *size), dtype=bool)
    for k in range(count):
        here = [c.row_column - lowest for c in contours if round((c.slice_position - first) / step) == k]
        if here:
            voxels[k] = fill_even_odd(here, (size[0], size[1]))
    affine = volume.affine.copy()
    affine[:3, 3] = volume.lps(np.array([first, *lowest]))
    affine[:3, 0] *= step
    return Volume(array=voxels, affine=affine)


def fill_even_odd(contours: Sequence[FloatArray], shape: tuple[int, int]) -> BoolArray:
    """Fill one slice's closed contours by the even-odd rule.

    Parameters
    ----------
    contours
        Each (n, 2): (row, column) indices, pixel centres at whole numbers; the last point joins the first.
    shape
        (rows, columns); what lies outside is clipped.
    """
    filled = np.zeros(shape, dtype=bool)
    for contour in contours:
        _flip_inside(filled, np.round(contour, 3))
    if not filled.any():
        for contour in contours:
            row, column = np.round(contour.mean(axis=0)).astype(int)
            if 0 <= row < shape[0] and 0 <= column < shape[1]:
                filled[row, column] = True
    return filled


def _flip_inside(filled: BoolArray, contour: FloatArray) -> None:
    """Flip the pixels inside a contour, row by row between its crossings."""
    start, end = contour, np.roll(contour, -1, axis=0)
    rows, columns = filled.shape
    first = max(0, int(np.ceil(contour[:, 0].min())))
    last = min(rows - 1, int(np.floor(contour[:, 0].max())))
    for row in range(first, last + 1):
        crosses = (start[:, 0] <= row) != (end[:, 0] <= row)
        a, b = start[crosses], end[crosses]
        at = a[:, 1] + (row - a[:, 0]) * (b[:, 1] - a[:, 1]) / (b[:, 0] - a[:, 0])
        edges = np.clip(np.ceil(np.sort(np.round(at, 6))), 0, columns).astype(int)
        for left, right in zip(edges[::2], edges[1::2], strict=True):
            filled[row, left:right] ^= True


def _slice_grid(positions: Sequence[float]) -> tuple[float, float, int] | None:
    """First slice position, step and count of the planes; None if they fit no even spacing."""
    planes = np.unique(np.round(positions, 2))
    whole = np.unique(np.round(planes))
    if np.abs(planes - np.round(planes)).max() <= SLICE_TOLERANCE:
        step = _common_step(np.diff(whole))
        return float(whole[0]), step, round((whole[-1] - whole[0]) / step) + 1
    merged = planes[np.concatenate([[True], np.diff(planes) > SLICE_TOLERANCE])]
    if len(merged) < 2:
        return None
    gaps = np.diff(merged)
    step = float(gaps.min())
    if np.abs(gaps / step - np.round(gaps / step)).max() > SLICE_TOLERANCE / 2:
        return None
    count = round((merged[-1] - merged[0]) / step) + 1
    return float(merged[0]), float((merged[-1] - merged[0]) / (count - 1)), count


def _common_step(gaps: FloatArray) -> float:
    """The spacing, in slices, at which contours were drawn: 1 unless every gap is the same larger one."""
    if len(gaps) >= 2 and gaps.min() == gaps.max():
        return float(gaps[0])
    return 1.0


def _in_plane_box(
    contours: Sequence[PlanarContour], volume: Volume
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and behind-last (row, column) around all contours, clipped to the volume, at least one pixel."""
    points = np.concatenate([contour.row_column for contour in contours])
    size = np.asarray(volume.shape[1:])
    lowest = np.clip(np.floor(points.min(axis=0)), 0, size - 1).astype(np.int64)
    highest = np.clip(np.ceil(points.max(axis=0)) + 1, lowest + 1, size).astype(np.int64)
    return lowest, highest
