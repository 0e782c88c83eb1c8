"""What a reader drew holds on the slice that it was drawn on: outlines exactly, axes by their ends.

A line is the longest diameter that the reader saw (RECIST 1.1, 4.2): both of its ends belong to the lesion,
and no two of its pixels on that slice are further apart. With both axes drawn the lesion is as wide as the
short one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.weight_free.hints import Fields, points_of
from models.weight_free.outlines import planes_of
from models.weight_free.patch import Patch
from workflow.domain.geometry import BoolArray, FloatArray, Mask, Volume
from workflow.domain.lesion import LesionPrompt, LinePrompt, OutlinePrompt

# A drawing belongs to a slice if all of it lies this near to it, in slices.
_IN_PLANE = 0.5
_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnSlice:
    """On one slice of a volume, the pixels that are lesion at least and at most.

    Attributes
    ----------
    least, most
        Bool, shape (rows, columns) of a box that starts at `start`, (row, column); outside the box there is
        no lesion. Equal for an outline.
    bounds_all
        Whether no other slice holds more than `most` either: with axes drawn where they are longest.
    bounds_search
        Whether that is known from the start, not only in the end: with both axes. Cut to the length of its
        one axis, every result would seem to have it.
    """

    least: BoolArray
    most: BoolArray
    start: tuple[int, int]
    bounds_all: bool = False
    bounds_search: bool = True

    def most_on(self, shape: tuple[int, ...], start: NDArray[np.int64]) -> BoolArray:
        """`most` on another box of the slice that holds this one; `start` is (row, column)."""
        whole = np.zeros(shape, dtype=bool)
        a, b = (slice(s - o, s - o + n) for s, o, n in zip(self.start, start, self.most.shape, strict=True))
        whole[a, b] = self.most
        return whole


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """What a prompt leaves no doubt about, on one volume.

    Attributes
    ----------
    slices
        The drawings by index of the volume's slice.
    clicks, beside
        Positions in the lesion and beside it, LPS mm, each of shape (3,). They count more than a drawing.
    """

    slices: Mapping[int, DrawnSlice] = field(default_factory=dict)
    clicks: Sequence[FloatArray] = ()
    beside: Sequence[FloatArray] = ()

    @classmethod
    def of(cls, prompt: LesionPrompt, volume: Volume) -> Drawn:
        """What the prompt's clicks and its outlines, or else its longest line, decide.

        Drawings in other planes than the volume's slices decide nothing here.
        """
        outlines = [shape for shape in prompt.shapes if isinstance(shape, OutlinePrompt)]
        lines = [shape for shape in prompt.shapes if isinstance(shape, LinePrompt)]
        return cls(
            slices=_outlined(outlines, volume) if outlines else _measured(lines, volume),
            clicks=points_of(prompt, positive=True),
            beside=points_of(prompt, positive=False),
        )

    def limit(self, fields: Fields, patch: Patch) -> Fields:
        """Add what is decided here to a patch's decided voxels."""
        inside, outside = fields.inside.copy(), fields.outside.copy()
        for index, drawn in self.slices.items():
            if drawn.bounds_search:
                _limit_slice(inside, outside, patch, index, drawn)
        if self.clicks or self.beside:
            positions = patch.positions_lps()
            reach = 1.5 * max(patch.spacing_mm)
            for points, decided, other in ((self.clicks, inside, outside), (self.beside, outside, inside)):
                for point in points:
                    near = np.linalg.norm(positions - point, axis=-1) <= reach
                    decided |= near
                    other &= ~near
        return replace(fields, inside=inside, outside=outside)

    def hold(self, mask: Mask, volume: Volume) -> Mask:
        """A mask on the volume with the drawn slices as drawn, and what is in one piece with them."""
        if not self.slices:
            return mask
        start, stop = _around(mask, self.slices)
        voxels = np.zeros(stop - start, dtype=bool)
        if not mask.is_empty:
            a, b, c = (
                slice(f - s, t - s) for f, t, s in zip(mask.start_ijk, mask.stop_ijk, start, strict=True)
            )
            voxels[a, b, c] = mask.voxels
        for index, drawn in self.slices.items():
            if drawn.bounds_all:
                voxels &= drawn.most_on(voxels.shape[1:], start[1:])
            plane = voxels[index - start[0]]
            box = tuple(
                slice(s - o, s - o + n)
                for s, o, n in zip(drawn.start, start[1:], drawn.most.shape, strict=True)
            )
            parts, _ = ndimage.label(plane[box] & drawn.most | drawn.least, structure=_NEIGHBOURS[0])
            plane[:] = False
            plane[box] = np.isin(parts, np.unique(parts[drawn.least]))
        parts, _ = ndimage.label(voxels, structure=_NEIGHBOURS)
        drawn_parts = np.unique(parts[[index - start[0] for index in self.slices]])
        kept = np.isin(parts, drawn_parts[drawn_parts > 0])
        first = (int(start[0]), int(start[1]), int(start[2]))
        return self._without_beside(Mask.from_array(kept, first, volume.shape), volume)

    def _without_beside(self, mask: Mask, volume: Volume) -> Mask:
        if not self.beside or mask.is_empty:
            return mask
        positions = volume.lps(mask.indices())
        away = np.min([np.linalg.norm(positions - point, axis=1) for point in self.beside], axis=0)
        voxels = mask.voxels.copy()
        voxels[mask.voxels] = away > 1.5 * min(volume.spacing_mm)
        return Mask.from_array(voxels, mask.start_ijk, mask.shape)


def _limit_slice(inside: BoolArray, outside: BoolArray, patch: Patch, index: int, drawn: DrawnSlice) -> None:
    along = [
        f + s * np.arange(n) for f, s, n in zip(patch.start_ijk, patch.step_ijk, inside.shape, strict=True)
    ]
    rows, columns = (np.round(a).astype(int) - s for a, s in zip(along[1:], drawn.start, strict=True))
    height, width = drawn.most.shape
    within = np.outer((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
    at = np.ix_(np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1))
    if drawn.bounds_all:
        outside |= ~(drawn.most[at] & within)
        return
    near = np.flatnonzero(np.abs(along[0] - index) <= 0.5 * max(1.0, float(patch.step_ijk[0])))
    inside[near] = drawn.least[at] & within
    outside[near] = ~(drawn.most[at] & within)


def _around(mask: Mask, slices: Mapping[int, DrawnSlice]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and stop (slice, row, column) of the box that holds a mask and the drawn slices."""
    starts = [(index, *drawn.start) for index, drawn in slices.items()]
    sizes = [(1, drawn.most.shape[0], drawn.most.shape[1]) for drawn in slices.values()]
    stops = [(s[0] + n[0], s[1] + n[1], s[2] + n[2]) for s, n in zip(starts, sizes, strict=True)]
    if not mask.is_empty:
        starts, stops = [*starts, mask.start_ijk], [*stops, mask.stop_ijk]
    return np.min(starts, axis=0), np.max(stops, axis=0)


def _slice_of(points: FloatArray, volume: Volume) -> int | None:
    """The slice in whose plane the points (indices, shape (n, 3)) lie; None if in none."""
    index = round(float(points[:, 0].mean()))
    is_in = np.abs(points[:, 0] - index).max() <= _IN_PLANE + 1e-6 and 0 <= index < volume.shape[0]
    return index if is_in else None


def _outlined(outlines: Sequence[OutlinePrompt], volume: Volume) -> dict[int, DrawnSlice]:
    contours = [volume.ijk(np.asarray(outline.points_lps)) for outline in outlines]
    if any(_slice_of(contour, volume) is None for contour in contours):
        return {}
    together = np.concatenate(contours)[:, 1:]
    low = np.clip(np.floor(together.min(axis=0)).astype(int), 0, volume.shape[1:])
    high = np.clip(np.ceil(together.max(axis=0)).astype(int) + 1, 0, volume.shape[1:])
    shape = (int(high[0] - low[0]), int(high[1] - low[1]))
    slices = {}
    for position, flat in planes_of(contours, 0, low, shape).items():
        if flat.any():
            slices[round(position)] = DrawnSlice(least=flat, most=flat, start=(int(low[0]), int(low[1])))
    return slices


def _measured(lines: Sequence[LinePrompt], volume: Volume) -> dict[int, DrawnSlice]:
    if not lines:
        return {}
    line = max(lines, key=lambda one: float(np.linalg.norm(np.subtract(one.end_lps, one.start_lps))))
    ends = volume.ijk(np.array([line.start_lps, line.end_lps]))
    points = (
        ends
        if line.short_axis_lps is None
        else np.vstack([ends, volume.ijk(np.asarray(line.short_axis_lps))])
    )
    index = _slice_of(points, volume)
    if index is None:
        return {}
    spacing = np.asarray(volume.spacing_mm[1:])
    flat = points[:, 1:] * spacing
    length = float(np.linalg.norm(flat[1] - flat[0]))
    if length < float(spacing.min()):
        return {}
    low = np.clip(np.floor((flat.min(axis=0) - 0.6 * length) / spacing).astype(int), 0, volume.shape[1:])
    high = np.clip(np.ceil((flat.max(axis=0) + 0.6 * length) / spacing).astype(int) + 1, 0, volume.shape[1:])
    rows, columns = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]), indexing="ij")
    pixels = np.stack([rows, columns], axis=-1) * spacing
    least = _spanned(flat, pixels, spacing)
    return {
        index: DrawnSlice(
            least=least,
            most=_within(flat, length, pixels, spacing) | least,
            start=(int(low[0]), int(low[1])),
            bounds_all=True,
            bounds_search=line.short_axis_lps is not None,
        )
    }


def _spanned(flat: FloatArray, pixels: FloatArray, spacing: FloatArray) -> BoolArray:
    """The pixels between the ends of the axes."""
    from skimage.draw import line as pixels_between
    from skimage.draw import polygon

    at = np.round((flat - pixels[0, 0]) / spacing).astype(int)
    height, width = pixels.shape[:2]
    least = np.zeros((height, width), dtype=bool)
    if len(at) == 4:
        corners = at[[0, 2, 1, 3]]
        least[polygon(corners[:, 0], corners[:, 1], (height, width))] = True
    for one, other in combinations(at.tolist(), 2):
        rows, columns = pixels_between(one[0], one[1], other[0], other[1])
        is_in = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        least[rows[is_in], columns[is_in]] = True
    return least


def _within(flat: FloatArray, length: float, pixels: FloatArray, spacing: FloatArray) -> BoolArray:
    """Where pixels leave the drawn axis the longest one and, if the short one was drawn, as wide."""
    start, end = flat[:2]
    # A quarter of a pixel less: among equals, another axis than the drawn one might be measured.
    radius = 0.5 * length - 0.25 * float(spacing.min())
    most = np.linalg.norm(pixels - (start + end) / 2, axis=-1) <= radius
    if len(flat) == 4:
        tolerance = min(float(spacing.max()) / 2, 0.5)
        along = (end - start) / length
        across = np.array([-along[1], along[0]])
        sides = np.sort((flat[2:] - start) @ across)
        beside = (pixels - start) @ across
        most &= (beside >= sides[0] - tolerance) & (beside <= sides[1] + tolerance)
    return np.asarray(most)
