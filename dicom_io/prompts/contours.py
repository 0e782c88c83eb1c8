"""Contours to pixels: exact filling on pixel centres.

Policy. A pixel belongs to a slice's region if its centre is inside any of the slice's contours; contours of
type CLOSEDPLANAR_XOR, and only those, take away where they lie inside others (PS3.3 C.8.8.6). A contour is
filled by the even-odd rule, so that keyholes cut as they should (PS3.3 C.8.8.6.3). Equal contours count
once. A centre on a contour counts on the top and left side only, so that neighbouring regions share no
pixel. Coordinates are taken to a thousandth of a pixel: more than that is noise of decimal strings. A slice
whose contours are so small that they enclose no centre gets the pixel under each one's centroid, so that a
small lesion isn't lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_io.prompts.planes import MAX_VOXELS, SAME_PLANE, DrawnPlane, DrawnRegion, region_of
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import BoolArray, FloatArray, Volume, mask_on_grid

# A contour runs in a plane of the slices if its points are no further apart along them, in slices.
FLATNESS = 0.5
# A contour that lies inside another one and leaves less than this share of it was drawn as a hole.
HOLE_SHARE = 0.9


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanarContour:
    """A closed contour in a plane of the volume's slices.

    Attributes
    ----------
    slice_position
        Fractional slice index of the plane.
    row_column
        Fractional (row, column) indices, shape (n, 2); 0 is a pixel's centre.
    is_xor
        Whether it takes away where it lies inside others.
    """

    slice_position: float
    row_column: FloatArray
    is_xor: bool = False


def planar_contour(points_lps: NDArray[Any], volume: Volume, *, is_xor: bool = False) -> PlanarContour | None:
    """A contour in the indices of a volume; None if it doesn't run in a plane of its slices.

    Parameters
    ----------
    points_lps
        LPS mm, shape (n, 3).
    """
    index = volume.ijk(points_lps)
    if np.ptp(index[:, 0]) > FLATNESS:
        return None
    return PlanarContour(slice_position=float(index[:, 0].mean()), row_column=index[:, 1:], is_xor=is_xor)


def drawn_planes(contours: Sequence[PlanarContour], volume: Volume) -> tuple[list[DrawnPlane], int]:
    """The filled contours, a plane per position, on a volume's rows and columns.

    Returns
    -------
    tuple
        The planes, and in how many of them a contour that is not of an XOR type lies inside another one: by
        the standard it adds nothing, but some systems mean a hole.
    """
    ordered = sorted(_once(contours), key=lambda contour: contour.slice_position)
    groups: list[list[PlanarContour]] = []
    for contour in ordered:
        if groups and contour.slice_position - groups[-1][-1].slice_position <= SAME_PLANE:
            groups[-1].append(contour)
        else:
            groups.append([contour])
    positions = np.array([np.mean([c.slice_position for c in group]) for group in groups])
    planes, nested = [], 0
    for number, group in enumerate(groups):
        gaps = np.abs(np.delete(positions, number) - positions[number])
        plane, has_hole = _drawn_plane(group, volume, float(positions[number]))
        nested += has_hole
        # A contour has no thickness: it stands for half of the way to the next one, at most half a slice.
        reach = float(min(0.5, gaps.min() / 2)) if gaps.size else 0.5
        planes.append(
            DrawnPlane(position=plane.position, start=plane.start, pixels=plane.pixels, reach=reach)
        )
    return planes, nested


def region_across(contours: Sequence[tuple[FloatArray, bool]], grid: Volume) -> tuple[DrawnRegion, int]:
    """The region of parallel contours that run across a stack's slices, on the stack's voxels.

    They are filled on a fine grid in planes of their own; each voxel takes what lies at its centre.

    Parameters
    ----------
    contours
        Points in LPS mm, shape (n, 3), and whether the contour is of an XOR type.

    Returns
    -------
    tuple
        As `drawn_planes` says of holes: the region, and in how many planes a contour lies inside another one.

    Raises
    ------
    UnsuitableInputError
        If the contours are not flat and parallel, or enclose no voxel.
    """
    own = _own_grid([points for points, _ in contours], grid)
    planar = [planar_contour(points, own, is_xor=is_xor) for points, is_xor in contours]
    if None in planar:
        raise UnsuitableInputError("its contours are not flat and parallel, so that they enclose no region")
    planes, nested = drawn_planes([contour for contour in planar if contour is not None], own)
    normal = own.directions[:, 0]
    voxel_mm = float(np.abs(normal @ grid.directions) @ np.asarray(grid.spacing_mm))
    gaps = np.diff([plane.position for plane in planes])
    reach = float(gaps.min()) / 2 if gaps.size else voxel_mm / own.spacing_mm[0] / 2
    region = region_of([replace(plane, reach=reach) for plane in planes], own)
    mask = mask_on_grid(region.volume, grid)
    if mask.is_empty:
        raise UnsuitableInputError("its contours hold no voxel of the images")
    # Between planes of their own, nothing that the stack has as a slice was left out.
    volume = grid.crop(mask.start_ijk, mask.stop_ijk).with_array(mask.voxels)
    return DrawnRegion(volume=volume), nested


def _own_grid(contours: Sequence[FloatArray], grid: Volume) -> Volume:
    """A fine grid whose slices run along the contours' planes."""
    widest = max(contours, key=lambda points: float(np.linalg.norm(_area_vector(points))))
    normal = _area_vector(widest)
    length = float(np.linalg.norm(normal))
    if length < 1e-3:
        raise UnsuitableInputError("its contours enclose no area")
    normal = normal / length
    # In the plane, along that axis of the stack which is the least steep to it.
    axis = grid.directions[:, int(np.argmin(np.abs(normal @ grid.directions)))]
    along = axis - (axis @ normal) * normal
    along = along / np.linalg.norm(along)
    axes = np.stack([normal, np.cross(normal, along), along])
    step = min(grid.spacing_mm) / 2
    inside = np.concatenate(contours) @ axes.T
    low = inside.min(axis=0) - step
    shape = np.ceil((inside.max(axis=0) + step - low) / step).astype(int) + 1
    if float(np.prod(shape, dtype=float)) > MAX_VOXELS:
        raise UnsuitableInputError(f"its box of {shape} voxels is too large to be a lesion")
    affine = np.eye(4)
    affine[:3, :3] = axes.T * step
    affine[:3, 3] = low @ axes
    return Volume(array=np.broadcast_to(np.False_, tuple(int(n) for n in shape)), affine=affine)


def _area_vector(points_lps: FloatArray) -> FloatArray:
    """Twice the area of a closed planar path, as a vector along its normal."""
    centred = points_lps - points_lps.mean(axis=0)
    vector: FloatArray = np.cross(centred, np.roll(centred, -1, axis=0)).sum(axis=0)
    return vector


def _once(contours: Sequence[PlanarContour]) -> list[PlanarContour]:
    """Without contours that repeat another one, wherever they start and whichever way they run."""
    found: dict[tuple[object, ...], PlanarContour] = {}
    for contour in contours:
        found.setdefault((round(contour.slice_position, 2), *_canonical(contour.row_column)), contour)
    return list(found.values())


def _canonical(row_column: FloatArray) -> tuple[tuple[float, float], ...]:
    """A closed path's points from its smallest corner on, in the direction that sorts first."""
    points = [(float(row), float(column)) for row, column in np.round(row_column, 2) + 0.0]
    path = [point for point, last in zip(points, [points[-1], *points], strict=False) if point != last]
    if not path:
        return (points[0],)
    starts = [i for i, point in enumerate(path) if point == min(path)]
    ways = [tuple(path[i:] + path[:i]) for i in starts]
    ways += [(way[0], *reversed(way[1:])) for way in ways]
    return min(ways)


def _drawn_plane(group: Sequence[PlanarContour], volume: Volume, position: float) -> tuple[DrawnPlane, bool]:
    lowest, highest = _box(group, volume)
    shape = (int(highest[0] - lowest[0]), int(highest[1] - lowest[1]))
    plain = [contour.row_column - lowest for contour in group if not contour.is_xor]
    xor = [contour.row_column - lowest for contour in group if contour.is_xor]
    pixels = fill(plain, xor, shape)
    plane = DrawnPlane(position=position, start=(int(lowest[0]), int(lowest[1])), pixels=pixels)
    return plane, _has_hole(plain, shape)


def _has_hole(contours: Sequence[FloatArray], shape: tuple[int, int]) -> bool:
    """Whether a contour lies inside another one and covers clearly less of it."""
    if len(contours) < 2:
        return False
    filled = [_filled(contour, shape) for contour in contours]
    sizes = [int(np.count_nonzero(one)) for one in filled]
    return any(
        0 < sizes[i] < HOLE_SHARE * sizes[j] and not np.any(filled[i] & ~filled[j])
        for i in range(len(filled)) for j in range(len(filled)) if i != j
    )  # fmt: skip


def fill(plain: Sequence[FloatArray], xor: Sequence[FloatArray], shape: tuple[int, int]) -> BoolArray:
    """Fill one slice's closed contours: the union of the plain ones, then each XOR one flips its inside.

    Parameters
    ----------
    plain, xor
        Each (n, 2): (row, column) indices, pixel centres at whole numbers; the last point joins the first.
    shape
        (rows, columns); what lies outside is clipped.
    """
    filled = np.zeros(shape, dtype=bool)
    for contour in plain:
        filled |= _filled(contour, shape)
    for contour in xor:
        filled ^= _filled(contour, shape)
    if not filled.any():
        for contour in (*plain, *xor):
            row, column = np.round(contour.mean(axis=0)).astype(int)
            if 0 <= row < shape[0] and 0 <= column < shape[1]:
                filled[row, column] = True
    return filled


def _filled(contour: FloatArray, shape: tuple[int, int]) -> BoolArray:
    """The pixels inside one contour by the even-odd rule, row by row between its crossings."""
    contour = np.round(contour, 3)
    filled = np.zeros(shape, dtype=bool)
    start, end = contour, np.roll(contour, -1, axis=0)
    rows, columns = shape
    first = max(0, int(np.ceil(contour[:, 0].min())))
    last = min(rows - 1, int(np.floor(contour[:, 0].max())))
    for row in range(first, last + 1):
        crosses = (start[:, 0] <= row) != (end[:, 0] <= row)
        a, b = start[crosses], end[crosses]
        at = a[:, 1] + (row - a[:, 0]) * (b[:, 1] - a[:, 1]) / (b[:, 0] - a[:, 0])
        edges = np.clip(np.ceil(np.sort(np.round(at, 6))), 0, columns).astype(int)
        for left, right in zip(edges[::2], edges[1::2], strict=True):
            filled[row, left:right] ^= True
    return filled


def _box(contours: Sequence[PlanarContour], volume: Volume) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and behind-last (row, column) around all contours, clipped to the volume, at least one pixel."""
    points = np.concatenate([contour.row_column for contour in contours])
    size = np.asarray(volume.shape[1:])
    lowest = np.clip(np.floor(points.min(axis=0)), 0, size - 1).astype(np.int64)
    highest = np.clip(np.ceil(points.max(axis=0)) + 1, lowest + 1, size).astype(np.int64)
    return lowest, highest
