"""From the positions of parallel planes to a regular grid, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan, ceil, degrees, hypot

import numpy as np

from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Point, affine_from_axes

# A plane this far from its place on the regular grid is in place: makers round positions to 0.01 mm.
_PLACE_TOLERANCE_MM = 0.02
_PLACE_TOLERANCE_SHARE = 0.02
# Table and gating jitter: accepted as regular with a note.
_JITTER_SHARE = 0.1
_JITTER_MM = 0.5
# Positions rounded to 0.1 mm, at both ends of a thin-sliced stack.
_ROUNDING_MM = 0.1
# Between pixels or slices, and of a position from the origin: more or less is a mistake, or meant to harm.
_FINEST_MM, _COARSEST_MM, _FARTHEST_MM = 0.01, 500.0, 1e5
# A missing slice is interpolated if its neighbours are this close and it is one of at least so many.
_BRIDGE_MM = 6.0
_SLICES_PER_BRIDGE = 20
_STEEPEST_TILT_DEGREES = 35.0
# Makers round direction cosines to three digits, which moves the last of many slices by a millimetre.
_ROUNDING_DEGREES = 0.06
# Two planes closer than this are at one place.
SAME_PLACE_MM = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Where planes go in a volume.

    Attributes
    ----------
    affine
        Shape (4, 4), index (slice, row, column) of the volume to LPS mm; perpendicular axes.
    shape
        (slices, rows, columns) of the volume.
    planes
        Per slice of the volume, the number of the plane that fills it, or None where it is interpolated
        between its neighbours.
    shear_mm
        How far each next slice's rows and columns are displaced in its plane, (down, along) mm; (0, 0)
        unless the gantry was tilted.
    offset_px
        Per slice, (row, column) of the volume at which the plane's first pixel lies, fractional.
    """

    affine: FloatArray
    shape: tuple[int, int, int]
    planes: tuple[int | None, ...]
    shear_mm: tuple[float, float]
    offset_px: FloatArray
    notes: tuple[str, ...] = ()

    @property
    def is_tilted(self) -> bool:
        """Whether planes have to be shifted to lie straight above each other."""
        return self.shear_mm != (0.0, 0.0)


def plane_axes(orientation: Sequence[float]) -> FloatArray:
    """Unit vectors along a row, down a column and along the normal, as the rows of a (3, 3) array.

    Raises
    ------
    UnsuitableInputError
        If ImageOrientationPatient is not two perpendicular unit vectors (PS3.3 C.7.6.2.1.1).
    """
    along, down = np.asarray(orientation[:3], dtype=float), np.asarray(orientation[3:], dtype=float)
    lengths = np.linalg.norm(along), np.linalg.norm(down)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1)) > 0.01 or abs(float(along @ down)) > 0.01:
        raise UnsuitableInputError(
            "ImageOrientationPatient is not two perpendicular unit vectors; have it corrected"
        )
    along = along / lengths[0]
    down = down - (down @ along) * along
    down = down / np.linalg.norm(down)
    return np.stack([along, down, np.cross(along, down)])


def fit_grid(
    *,
    positions_lps: Sequence[Point],
    orientation: Sequence[float],
    pixel_spacing_mm: tuple[float, float],
    rows: int,
    columns: int,
    slice_thickness_mm: float | None,
) -> Grid:
    """Fit a regular grid to planes in ascending order along their normal, one per place.

    Parameters
    ----------
    positions_lps
        Centre of each plane's first pixel, LPS mm.
    orientation, pixel_spacing_mm, rows, columns
        Shared by all planes; spacing between rows, then between columns.
    slice_thickness_mm
        Spacing of a single plane, which has no neighbour to measure to.

    Raises
    ------
    UnsuitableInputError
        If slices are missing, unevenly spaced, shifted in their plane or tilted beyond what is handled.
    """
    axes = plane_axes(orientation)
    if not all(_FINEST_MM <= mm <= _COARSEST_MM for mm in pixel_spacing_mm):
        raise UnsuitableInputError(
            f"PixelSpacing is {pixel_spacing_mm}, which no body has; have it corrected"
        )
    if not np.all(np.abs(positions_lps) <= _FARTHEST_MM):
        raise UnsuitableInputError("ImagePositionPatient lies where no body can; have it corrected")
    along, down, height = (np.asarray(positions_lps, dtype=float) @ axes.T).T
    spacing_mm, planes, notes = _spacing(height, slice_thickness_mm)
    if not _FINEST_MM <= spacing_mm <= _COARSEST_MM:
        raise UnsuitableInputError(
            f"slices lie {spacing_mm:g} mm apart, which no body has; have it corrected"
        )
    shear, shear_notes = _shear(along, down, height, pixel_spacing_mm)
    if 0 < degrees(atan(hypot(*shear))) < _ROUNDING_DEGREES:
        axes, shear, shear_notes = _upright(axes, shear), (0.0, 0.0), ()
    return _build(
        axes,
        positions_lps[0],
        pixel_spacing_mm,
        (rows, columns),
        spacing_mm,
        planes,
        shear,
        notes + shear_notes,
    )


# ---------------------------------------------------------------- along the normal


def _spacing(
    height: FloatArray, slice_thickness_mm: float | None
) -> tuple[float, tuple[int | None, ...], tuple[str, ...]]:
    if len(height) == 1:
        if not slice_thickness_mm or slice_thickness_mm <= 0:
            raise UnsuitableInputError(
                "a single slice without SliceThickness has no slice spacing; send the whole series"
            )
        return slice_thickness_mm, (0,), ("a single slice; its thickness is taken as the slice spacing",)
    planes: tuple[int | None, ...] = tuple(range(len(height)))
    mean_mm, off_mm = _evenness(height)
    if off_mm <= tolerance_mm(mean_mm):
        return mean_mm, planes, ()
    steps = np.diff(height)
    usual_mm = float(np.median(steps))
    counts = np.rint(steps / usual_mm).astype(int)
    is_multiple = np.abs(steps - counts * usual_mm) <= tolerance_mm(usual_mm)
    if is_multiple.all() and counts.min() >= 1:
        return _bridged(height, counts, usual_mm)
    if is_even(height):
        note = f"slices lie up to {off_mm:.2f} mm off an even spacing of {mean_mm:.3f} mm; taken as even"
        return mean_mm, planes, (note,)
    raise UnsuitableInputError(
        f"slices are unevenly spaced, {steps.min():.2f} to {steps.max():.2f} mm; use an evenly "
        "reconstructed series"
    )


def is_even(height: FloatArray) -> bool:
    """Whether planes at these ascending heights (mm) can be taken as evenly spaced, jitter included."""
    if len(height) < 3:
        return True
    mean_mm, off_mm = _evenness(height)
    jitter_mm = min(_JITTER_SHARE * mean_mm, _JITTER_MM)
    return off_mm <= max(tolerance_mm(mean_mm), jitter_mm, min(_ROUNDING_MM, mean_mm / 4))


def _evenness(height: FloatArray) -> tuple[float, float]:
    """Mean spacing, and how far the worst plane lies off its place, mm."""
    mean_mm = float(height[-1] - height[0]) / (len(height) - 1)
    return mean_mm, float(np.abs(height - height[0] - mean_mm * np.arange(len(height))).max())


def tolerance_mm(spacing_mm: float) -> float:
    """How far a plane may lie from its place on a regular grid."""
    return max(_PLACE_TOLERANCE_MM, _PLACE_TOLERANCE_SHARE * spacing_mm)


def _bridged(
    height: FloatArray, counts: np.ndarray[tuple[int], np.dtype[np.int64]], usual_mm: float
) -> tuple[float, tuple[int | None, ...], tuple[str, ...]]:
    missing = int((counts - 1).sum())
    first = int(np.argmax(counts > 1))
    gap = f"{height[first]:.1f} and {height[first + 1]:.1f} mm along the normal"
    if counts.max() > 2 or 2 * usual_mm > _BRIDGE_MM or missing * _SLICES_PER_BRIDGE > len(height):
        slices = "1 slice is" if missing == 1 else f"{missing} slices are"
        raise UnsuitableInputError(
            f"{slices} missing (spacing {usual_mm:.2f} mm), first between {gap}; have the series sent again"
        )
    planes: list[int | None] = [0]
    for plane, count in enumerate(counts, start=1):
        planes += [None, plane] if count == 2 else [plane]
    spacing_mm = float(height[-1] - height[0]) / (len(planes) - 1)
    note = (
        f"{missing} of {len(planes)} slices missing, interpolated from their neighbours, first between {gap}"
    )
    return spacing_mm, tuple(planes), (note,)


# ---------------------------------------------------------------- in the plane


def _shear(
    along: FloatArray, down: FloatArray, height: FloatArray, pixel_spacing_mm: tuple[float, float]
) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Displacement in the plane (down, along) per mm of height, and what to say about it."""
    tolerance = max(_PLACE_TOLERANCE_MM, 0.1 * min(pixel_spacing_mm))
    if max(np.ptp(along), np.ptp(down)) <= tolerance:
        return (0.0, 0.0), ()
    rise = height - height[0]
    slopes = [float((axis[-1] - axis[0]) / rise[-1]) for axis in (down, along)]
    for axis, slope in zip((down, along), slopes, strict=True):
        if np.abs(axis - axis[0] - slope * rise).max() > max(tolerance, 0.05):
            raise UnsuitableInputError(
                "slices are shifted irregularly in their plane; use a series of one field of view"
            )
    angle = degrees(atan(hypot(*slopes)))
    if angle > _STEEPEST_TILT_DEGREES:
        raise UnsuitableInputError(
            f"slices are displaced by {angle:.0f}° in their plane, more than a gantry tilts; "
            "use another series"
        )
    note = f"gantry tilt of {angle:.1f}°: slices resampled in their plane (linear) onto a regular grid"
    return (slopes[0], slopes[1]), (note,)


def _upright(axes: FloatArray, slopes: tuple[float, float]) -> FloatArray:
    """Turn the axes so that the normal runs from slice to slice: a rounded orientation, not a tilt."""
    normal = axes[2] + slopes[0] * axes[1] + slopes[1] * axes[0]
    normal = normal / np.linalg.norm(normal)
    down = axes[1] - (axes[1] @ normal) * normal
    down = down / np.linalg.norm(down)
    return np.stack([np.cross(down, normal), down, normal])


def _build(
    axes: FloatArray,
    first_lps: Point,
    pixel_spacing_mm: tuple[float, float],
    matrix: tuple[int, int],
    spacing_mm: float,
    planes: tuple[int | None, ...],
    slopes: tuple[float, float],
    notes: tuple[str, ...],
) -> Grid:
    rise = spacing_mm * np.arange(len(planes))
    # Offset of each slice's first pixel from that of the first slice, in (rows, columns) of pixels.
    offset = np.outer(rise, slopes) / np.asarray(pixel_spacing_mm)
    lowest = np.minimum(offset.min(axis=0), 0.0)
    grow = [ceil(float(extent) - 1e-6) for extent in np.ptp(offset, axis=0)]
    down_mm, along_mm = lowest * np.asarray(pixel_spacing_mm)
    origin = np.asarray(first_lps, dtype=float) + down_mm * axes[1] + along_mm * axes[0]
    affine = affine_from_axes(
        origin_lps=_point(origin),
        slice_step=_point(spacing_mm * axes[2]),
        row_step=_point(pixel_spacing_mm[0] * axes[1]),
        column_step=_point(pixel_spacing_mm[1] * axes[0]),
    )
    return Grid(
        affine=affine,
        shape=(len(planes), matrix[0] + grow[0], matrix[1] + grow[1]),
        planes=planes,
        shear_mm=(slopes[0] * spacing_mm, slopes[1] * spacing_mm),
        offset_px=offset - lowest,
        notes=notes,
    )


def _point(vector: FloatArray) -> Point:
    return float(vector[0]), float(vector[1]), float(vector[2])
