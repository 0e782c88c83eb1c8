"""Drawn planes to the voxels of a stack: what was drawn is taken as drawn, on the slices that there are.

A plane on a slice is that slice. Planes between the slices, or finer than they are, are cut at each slice's
centre; undrawn slices between drawn ones belong to the region. Both by shape: the signed distance to the
outline is interpolated between the planes below and above. Each connected part is followed on its own, so
that two lesions in one region are not joined across the slices that lie between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass, distance_transform_edt, label, shift

from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import BoolArray, FloatArray, Volume

# A plane at most this far off a slice's centre, in slices, and the only one near it, is that slice.
SLICE_TOLERANCE = 0.25
# Planes closer than this are one, in slices: positions scatter with the rounding of decimal strings.
SAME_PLANE = 0.02
# More voxels than this in one region's box are no lesion but a mistake: 512 x 512 x 1000.
MAX_VOXELS = 2**28
# Planes drawn at one larger spacing throughout are a habit of drawing up to this spacing, mm.
WIDEST_HABIT_MM = 15.0
# Nobody draws so many parts: a thresholded map does, and following each through all planes would take hours.
MAX_COMPONENTS = 2000
_DIAGONAL = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnPlane:
    """The set pixels of one plane, on the stack's rows and columns.

    Attributes
    ----------
    position
        Fractional slice index.
    start
        (row, column) of the first pixel in the stack.
    pixels
        Bool, shape (rows, columns) of the box around the set pixels.
    reach
        How far the plane stands for what is beside it, in slices: half of its thickness.
    """

    position: float
    start: tuple[int, int]
    pixels: BoolArray
    reach: float = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnRegion:
    """The voxels of drawn planes; `interpolated` slices lie between drawn ones and were not drawn."""

    volume: Volume
    interpolated: int = 0


def region_of(planes: Sequence[DrawnPlane], grid: Volume) -> DrawnRegion:
    """The voxels that some planes show, on the grid of a stack, cropped to the region.

    Parameters
    ----------
    planes
        In any order; several of one position add up.
    grid
        The stack; only its shape and affine count.

    Raises
    ------
    UnsuitableInputError
        If nothing is drawn within the stack, or the region's box is absurdly large.
    """
    drawn = [plane for plane in planes if plane.pixels.any()]
    if not drawn:
        raise UnsuitableInputError("nothing is drawn on the slices")
    corner = np.min([plane.start for plane in drawn], axis=0)
    end = np.max([np.add(plane.start, plane.pixels.shape) for plane in drawn], axis=0)
    first = max(0, int(np.floor(min(plane.position - plane.reach for plane in drawn))))
    last = min(grid.shape[0] - 1, int(np.ceil(max(plane.position + plane.reach for plane in drawn))))
    size = (max(last - first + 1, 1), int(end[0] - corner[0]), int(end[1] - corner[1]))
    if float(np.prod(size, dtype=float)) > MAX_VOXELS:
        raise UnsuitableInputError(f"its box of {size} voxels is too large to be a lesion")
    levels = _levels(drawn, corner, size[1:])
    spacing = grid.spacing_mm
    voxels = np.zeros(size, dtype=bool)
    interpolated: set[int] = set()
    shown = {k for level in levels for k in range(size[0]) if abs(first + k - level.position) <= 0.5}
    for part in _parts(levels, spacing):
        part.fill(voxels, first, grid.shape[0], spacing[1:], shown, interpolated)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.lps(np.array([first, *corner]))
    volume = Volume(array=voxels, affine=affine)
    if not voxels.any():
        raise UnsuitableInputError("nothing is drawn on the slices")
    return DrawnRegion(volume=_cropped(volume), interpolated=len(interpolated))


def _cropped(volume: Volume) -> Volume:
    index = np.argwhere(volume.array)
    start, stop = index.min(axis=0), index.max(axis=0) + 1
    return volume.crop((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


# ---------------------------------------------------------------- planes, one per level


@dataclass(frozen=True, kw_only=True, eq=False)
class _Level:
    """Everything drawn at one position, on the region's box, with its connected components."""

    position: float
    reach: float
    labels: NDArray[np.int32]
    count: int

    def component(self, number: int) -> BoolArray:
        found: BoolArray = self.labels == number
        return found


def _levels(planes: Sequence[DrawnPlane], corner: FloatArray, size: tuple[int, int]) -> list[_Level]:
    groups: list[list[DrawnPlane]] = []
    for plane in sorted(planes, key=lambda plane: plane.position):
        if groups and plane.position - groups[-1][-1].position <= SAME_PLANE:
            groups[-1].append(plane)
        else:
            groups.append([plane])
    positions = _snapped([float(np.mean([plane.position for plane in group])) for group in groups])
    levels = []
    for position, group in zip(positions, groups, strict=True):
        pixels = np.zeros(size, dtype=bool)
        for plane in group:
            row, column = np.subtract(plane.start, corner).astype(int)
            rows, columns = plane.pixels.shape
            pixels[row : row + rows, column : column + columns] |= plane.pixels
        labels, count = label(pixels, structure=_DIAGONAL)
        reach = max(plane.reach for plane in group)
        levels.append(_Level(position=position, reach=reach, labels=labels, count=count))
    if sum(level.count for level in levels) > MAX_COMPONENTS:
        whole = [(level.labels > 0).astype(np.int32) for level in levels]
        levels = [replace(one, labels=mask, count=1) for one, mask in zip(levels, whole, strict=True)]
    return levels


def _snapped(positions: Sequence[float]) -> list[float]:
    """Positions near a slice moved onto it, unless another plane lies within the same slice."""
    slices = [round(position) for position in positions]
    return [
        float(k) if abs(position - k) <= SLICE_TOLERANCE and slices.count(k) == 1 else position
        for position, k in zip(positions, slices, strict=True)
    ]


# ---------------------------------------------------------------- parts, followed from plane to plane


@dataclass(kw_only=True, eq=False)
class _Part:
    """One connected part: its outline on each level that shows it, ascending."""

    levels: list[_Level] = field(default_factory=list)
    outlines: list[BoolArray] = field(default_factory=list)

    def fill(
        self,
        voxels: BoolArray,
        first: int,
        slices: int,
        pixel_mm: tuple[float, float],
        shown: set[int],
        interpolated: set[int],
    ) -> None:
        """Set the part's voxels in an array that starts at slice `first` of a stack of `slices`.

        A slice that shows another part was looked at: there, this one is not made up.
        """
        positions = [level.position for level in self.levels]
        below, above = positions[0] - self.levels[0].reach, positions[-1] + self.levels[-1].reach
        is_empty = True
        for k in range(len(voxels)):
            if not below <= first + k < above:
                continue
            is_undrawn = min(abs(first + k - position) for position in positions) > 0.5
            if is_undrawn and k in shown:
                continue
            outline = self._at(first + k, positions, pixel_mm)
            voxels[k] |= outline
            is_empty = is_empty and not outline.any()
            if is_undrawn and outline.any():
                interpolated.add(k)
        if is_empty:
            # Thinner than a slice and between two centres: nothing that was drawn is lost.
            k = min(max(round((positions[0] + positions[-1]) / 2), 0), slices - 1) - first
            for outline in self.outlines:
                voxels[min(max(k, 0), len(voxels) - 1)] |= outline

    def _at(self, k: float, positions: Sequence[float], pixel_mm: tuple[float, float]) -> BoolArray:
        """The outline at a slice's centre."""
        higher = int(np.searchsorted(positions, k))
        if higher < len(positions) and positions[higher] == k:
            return self.outlines[higher]
        if higher in (0, len(positions)):
            return self.outlines[min(higher, len(positions) - 1)]
        share = (k - positions[higher - 1]) / (positions[higher] - positions[higher - 1])
        return between(self.outlines[higher - 1], self.outlines[higher], share, pixel_mm)


def between(lower: BoolArray, upper: BoolArray, share: float, pixel_mm: tuple[float, float]) -> BoolArray:
    """The shape between two outlines, `share` (0 to 1) of the way from the lower to the upper one.

    Interpolates the signed distance to the outlines (S. P. Raya and J. K. Udupa, IEEE Trans. Med. Imaging
    9(1), 1990). Shapes that leave nothing between them (a thin oblique vessel-like lesion) are first moved
    to the same centre.

    Parameters
    ----------
    lower, upper
        Bool, shape (rows, columns); neither is empty.
    pixel_mm
        (row, column) spacing, mm.
    """
    shape: BoolArray = (1 - share) * _signed_mm(lower, pixel_mm) + share * _signed_mm(upper, pixel_mm) < 0
    if shape.any():
        return shape
    ends = np.array(center_of_mass(lower)), np.array(center_of_mass(upper))
    centre = (1 - share) * ends[0] + share * ends[1]
    distances = [
        shift(_signed_mm(outline, pixel_mm), centre - end, order=1, mode="nearest")
        for outline, end in zip((lower, upper), ends, strict=True)
    ]
    moved: BoolArray = (1 - share) * distances[0] + share * distances[1] < 0
    return moved


def _signed_mm(outline: BoolArray, pixel_mm: tuple[float, float]) -> FloatArray:
    """Distance to the outline, negative inside, mm; beyond the box counts as outside."""
    padded = np.pad(outline, 1)
    signed: FloatArray = distance_transform_edt(~padded, sampling=pixel_mm) - distance_transform_edt(
        padded, sampling=pixel_mm
    )
    return signed[1:-1, 1:-1]


def _parts(levels: Sequence[_Level], spacing_mm: tuple[float, float, float]) -> list[_Part]:
    """Join components of neighbouring levels that overlap, across undrawn slices where that is plausible."""
    names = [(i, n) for i, level in enumerate(levels) for n in range(1, level.count + 1)]
    parent = {name: name for name in names}

    def root(name: tuple[int, int]) -> tuple[int, int]:
        while parent[name] != name:
            name = parent[name]
        return name

    habit = _habit(levels, spacing_mm[0])
    for i, n in names:
        component = levels[i].component(n)
        longest = max(habit, _width_mm(component, spacing_mm) / spacing_mm[0])
        for j in range(i + 1, len(levels)):
            gap = levels[j].position - levels[i].position
            if gap > longest:
                break
            over = [int(m) for m in np.unique(levels[j].labels[component]) if m]
            for m in over:
                # What was drawn to its end is small there: a gap that is longer than wide separates.
                other = levels[j].component(m)
                if gap <= max(habit, _width_mm(other, spacing_mm) / spacing_mm[0]):
                    parent[root((j, m))] = root((i, n))
            if over:
                break
    outlines: dict[tuple[int, int], dict[int, BoolArray]] = {}
    for i, n in names:
        shown = outlines.setdefault(root((i, n)), {})
        component = levels[i].component(n)
        shown[i] = shown[i] | component if i in shown else component
    return [
        _Part(levels=[levels[i] for i in sorted(shown)], outlines=[shown[i] for i in sorted(shown)])
        for shown in outlines.values()
    ]


def _habit(levels: Sequence[_Level], slice_mm: float) -> float:
    """The largest gap that says nothing, in slices: one slice, or the spacing of all planes if it is even."""
    gaps = np.diff([level.position for level in levels])
    usual = 1.0
    if len(gaps) >= 2 and np.ptp(gaps) <= SLICE_TOLERANCE and gaps.max() * slice_mm <= WIDEST_HABIT_MM:
        usual = max(usual, float(gaps.max()))
    return usual + SLICE_TOLERANCE


def _width_mm(outline: BoolArray, spacing_mm: tuple[float, float, float]) -> float:
    """Diameter of the disc of an outline's area, mm."""
    return float(2 * np.sqrt(np.count_nonzero(outline) * spacing_mm[1] * spacing_mm[2] / np.pi))
