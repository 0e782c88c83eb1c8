"""Size of a lesion: axes in the acquisition plane, volume, mean intensity.

Diameters run between pixel centres (design, decision 9): on digitised disks that is within 0.2 mm
of the truth, where corner to corner is almost a pixel too long.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from workflow.domain.geometry import FloatArray, Mask, Point, Volume, lps_from_ijk
from workflow.domain.lesion import Axis, LesionMeasurement

# Lengths closer than this are the same; far below any pixel, far above rounding.
_SAME_LENGTH_MM = 1e-6


def measure(volume: Volume, mask: Mask, *, value_unit: str = "HU") -> LesionMeasurement:
    """Measure one lesion as RECIST 1.1 (4.2) does, over all slices of the volume's first axis.

    The long axis is the longest distance between the centres of two mask pixels of one slice; it
    is exact, and the first slice wins among equals. The short axis is the longest chord of the
    same slice at a right angle to it: of all pairs of mask pixel centres whose offset along the
    long axis is at most half the larger pixel spacing, the pair that lies furthest apart across
    it. Both ends are pixels of the lesion, so a concave lesion is not given the width of its
    convex hull; either axis may cross a gap between them, as a ruler on the screen does.
    A lesion that is a single pixel on each of its slices has axes of length 0.

    Parameters
    ----------
    volume
        The image; any rotation and pixel spacing. Slices are its acquisition planes.
    mask
        The lesion on the volume's grid, at least one voxel.
    value_unit
        What the volume's values are in (`SeriesDescription.value_unit`); "" where their mean means nothing,
        and then there is none. There is none either where it would be no finite number.

    Raises
    ------
    ValueError
        If the mask is empty or on another grid.
    """
    if mask.shape != volume.shape:
        raise ValueError(f"the mask is on a grid of {mask.shape}, the volume on one of {volume.shape}")
    if mask.is_empty:
        raise ValueError("an empty mask has no size; report its state instead")
    long_axis = _longest_in_any_slice(mask, volume.affine)
    short_axis = _longest_across(mask, volume, long_axis)
    return LesionMeasurement(
        long_axis=long_axis.axis(volume.affine),
        short_axis=short_axis.axis(volume.affine),
        slice_index=int(long_axis.start_ijk[0]),
        volume_mm3=mask.voxel_count * volume.voxel_volume_mm3,
        mean_hu=_mean(volume, mask) if value_unit else None,
    )


def _mean(volume: Volume, mask: Mask) -> float | None:
    mean = float(volume.array[mask.box][mask.voxels].mean(dtype=np.float64))
    return mean if isfinite(mean) else None


@dataclass(frozen=True)
class _Chord:
    """Two pixels of one slice, as indices (slice, row, column), and their distance."""

    start_ijk: NDArray[np.int64]
    end_ijk: NDArray[np.int64]
    length_mm: float

    def axis(self, affine: FloatArray) -> Axis:
        start, end = lps_from_ijk(np.stack([self.start_ijk, self.end_ijk]), affine)
        return Axis(start_lps=_point(start), end_lps=_point(end), length_mm=self.length_mm)


def _point(position: FloatArray) -> Point:
    x, y, z = (float(value) for value in position)
    return x, y, z


def _longest_in_any_slice(mask: Mask, affine: FloatArray) -> _Chord:
    best: _Chord | None = None
    for offset, pixels in enumerate(mask.voxels):
        ends = _row_ends(pixels)
        if best is not None and _diagonal_mm(ends, affine) <= best.length_mm + _SAME_LENGTH_MM:
            continue
        found = _longest(ends, mask.start_ijk, offset, affine)
        if found is not None and (best is None or found.length_mm > best.length_mm + _SAME_LENGTH_MM):
            best = found
    assert best is not None, "a mask that is not empty has a slice with a pixel"
    return best


def _row_ends(pixels: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First and last pixel (row, column) of each row: the ends of any longest chord are among them."""
    rows = np.flatnonzero(pixels.any(axis=1))
    first = pixels[rows].argmax(axis=1)
    last = pixels.shape[1] - 1 - pixels[rows, ::-1].argmax(axis=1)
    ends: NDArray[np.int64] = np.concatenate([np.stack([rows, first], 1), np.stack([rows, last], 1)])
    return np.unique(ends, axis=0)


def _diagonal_mm(ends: NDArray[np.int64], affine: FloatArray) -> float:
    """Longest distance that a slice with these pixels could hold."""
    if len(ends) == 0:
        return -1.0
    extent = ends.max(axis=0) - ends.min(axis=0)
    steps = np.abs(extent)[:, None] * affine[:3, 1:3].T
    return float(max(np.linalg.norm(steps[0] + steps[1]), np.linalg.norm(steps[0] - steps[1])))


def _longest(
    ends: NDArray[np.int64], start_ijk: tuple[int, int, int], offset: int, affine: FloatArray
) -> _Chord | None:
    if len(ends) == 0:
        return None
    plane = ends @ affine[:3, 1:3].T
    squares = ((plane[:, None, :] - plane[None, :, :]) ** 2).sum(axis=-1)
    one, other = np.unravel_index(int(squares.argmax()), squares.shape)
    indices = np.column_stack([np.full(len(ends), offset), ends]) + np.asarray(start_ijk)
    return _Chord(indices[one], indices[other], float(np.sqrt(squares[one, other])))


def _longest_across(mask: Mask, volume: Volume, long_axis: _Chord) -> _Chord:
    offset = int(long_axis.start_ijk[0]) - mask.start_ijk[0]
    pixels = np.argwhere(mask.voxels[offset])
    indices = np.column_stack([np.full(len(pixels), offset), pixels]) + np.asarray(mask.start_ijk)
    if long_axis.length_mm == 0:
        return _Chord(indices[0], indices[0], 0.0)
    plane = (indices - long_axis.start_ijk) @ volume.affine[:3, :3].T
    along_direction = (
        (long_axis.end_ijk - long_axis.start_ijk) @ volume.affine[:3, :3].T / long_axis.length_mm
    )
    across_direction = np.cross(_normal(volume), along_direction)
    tolerance_mm = max(volume.spacing_mm[1:]) / 2 + _SAME_LENGTH_MM
    one, other = _widest_pair(plane @ along_direction, plane @ across_direction, tolerance_mm)
    length_mm = float(np.linalg.norm(plane[one] - plane[other]))
    return _Chord(indices[one], indices[other], length_mm)


def _normal(volume: Volume) -> FloatArray:
    normal = np.cross(volume.affine[:3, 1], volume.affine[:3, 2])
    unit: FloatArray = normal / np.linalg.norm(normal)
    return unit


def _widest_pair(along: FloatArray, across: FloatArray, tolerance: float) -> tuple[int, int]:
    """The two points furthest apart in `across` whose `along` differs by no more than the tolerance.

    Among equals the pair with the smallest difference in `along`, the one nearest to a right angle.
    """
    order = np.lexsort((across, along))
    along, across = along[order], across[order]
    first = np.searchsorted(along, along - tolerance, side="left")
    behind = np.searchsorted(along, along + tolerance, side="right")
    # reduceat takes the maximum of each [first, behind); a sentinel lets `behind` be the length.
    padded = np.append(across, -np.inf)
    highest = np.maximum.reduceat(padded, np.column_stack([first, behind]).ravel())[::2]
    widths = highest - across
    best: tuple[float, int, int] | None = None
    for low in np.flatnonzero(widths >= widths.max() - _SAME_LENGTH_MM):
        window = np.arange(first[low], behind[low])
        tops = window[across[window] >= highest[low] - _SAME_LENGTH_MM]
        slant = np.abs(along[tops] - along[low])
        pair = (float(slant.min()), int(low), int(tops[slant.argmin()]))
        best = pair if best is None or pair[0] < best[0] - _SAME_LENGTH_MM else best
    assert best is not None, "each point is its own pair"
    return int(order[best[1]]), int(order[best[2]])
