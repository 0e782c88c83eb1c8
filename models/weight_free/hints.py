"""What a prompt says about every voxel around it: surely in, surely out, and how likely in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from scipy import ndimage

from models.weight_free.patch import Patch
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Volume, ijk_from_lps
from workflow.domain.lesion import (
    BoxPrompt,
    LesionPrompt,
    LinePrompt,
    MaskPrompt,
    OutlinePrompt,
    PointPrompt,
)

_LIMIT = 4.0  # log odds beyond which a shape alone decides nothing more


@dataclass(frozen=True, eq=False)
class Fields:
    """A hint on a patch: log odds of the lesion from shape alone, and the voxels that are decided; patch shape."""

    log_odds: np.ndarray
    inside: np.ndarray
    outside: np.ndarray


class Hint(Protocol):
    """A prompt's idea of where the lesion is and how large."""

    @property
    def centre_lps(self) -> FloatArray:
        """The middle of it, LPS mm, shape (3,)."""
        ...

    @property
    def radius_mm(self) -> float:
        """Radius of the ball of the same volume."""
        ...

    def extent_lps(self) -> tuple[FloatArray, FloatArray]:
        """Smallest and largest corner of all that may be lesion, LPS mm."""
        ...

    def fields(self, patch: Patch) -> Fields:
        """What it says about the voxels of a patch."""
        ...

    def perturbed(self, shift: FloatArray, scale: float) -> Hint:
        """The same, moved by `shift` (LPS mm) and scaled about its centre."""
        ...


@dataclass(frozen=True, eq=False)
class EllipsoidHint:
    """An ellipsoid from a box, a line or a click.

    `axes` holds unit vectors in LPS as columns, `radii_mm` the half lengths along them. `slope` is how fast
    the log odds fall from the surface outwards, per radius; beyond `limit` radii nothing is lesion, or beyond
    the box if `is_box`. The voxels within `core` radii of the core segment are lesion.
    """

    centre_lps: FloatArray
    axes: FloatArray
    radii_mm: FloatArray
    slope: float
    limit: float
    core: float = 0.25
    segment_lps: tuple[FloatArray, FloatArray] | None = None
    is_box: bool = False

    @property
    def radius_mm(self) -> float:
        """See `Hint`."""
        return float(np.prod(self.radii_mm) ** (1 / 3))

    def extent_lps(self) -> tuple[FloatArray, FloatArray]:
        """See `Hint`."""
        reach = np.sqrt(((self.axes * self.radii_mm) ** 2).sum(axis=1)) * (1.0 if self.is_box else self.limit)
        return self.centre_lps - reach, self.centre_lps + reach

    def fields(self, patch: Patch) -> Fields:
        """See `Hint`."""
        local = (patch.positions_lps() - self.centre_lps) @ self.axes / self.radii_mm
        radius = np.sqrt((local**2).sum(axis=-1))
        if self.is_box:
            half_voxel = 0.5 * np.asarray(patch.spacing_mm).max() / self.radii_mm
            outside = (np.abs(local) > 1 + half_voxel).any(axis=-1)
        else:
            outside = radius > self.limit
        inside = radius < self.core
        if self.segment_lps is not None:
            inside = (
                _distance_to_segment(patch.positions_lps(), *self.segment_lps)
                < self.core * self.radii_mm.min()
            )
        log_odds = np.clip(self.slope * (1 - radius), -_LIMIT, _LIMIT)
        return Fields(log_odds.astype(np.float32), inside & ~outside, outside)

    def perturbed(self, shift: FloatArray, scale: float) -> EllipsoidHint:
        """See `Hint`."""
        segment = self.segment_lps and tuple(
            self.centre_lps + shift + scale * (end - self.centre_lps) for end in self.segment_lps
        )
        return replace(
            self,
            centre_lps=self.centre_lps + shift,
            radii_mm=self.radii_mm * scale,
            segment_lps=segment or None,
        )


@dataclass(frozen=True, eq=False)
class ShapeHint:
    """A shape drawn or warped: its signed depth (mm, positive inside) on a grid of its own.

    `slope` is the log odds per tenth of the shape's radius; what lies deeper than `core` of the greatest
    depth is lesion, what lies further out than `limit` radii is not.
    """

    depth: Volume
    centre_lps: FloatArray
    radius_mm: float
    slope: float
    limit: float
    core: float = 0.6
    shift: FloatArray = field(default_factory=lambda: np.zeros(3))
    scale: float = 1.0

    def extent_lps(self) -> tuple[FloatArray, FloatArray]:
        """See `Hint`."""
        inside = self.depth.lps(np.argwhere(self.depth.array > 0))
        reach = self.limit * self.radius_mm
        moved = self.centre_lps + self.scale * (inside - self.centre_lps) + self.shift
        return moved.min(axis=0) - reach, moved.max(axis=0) + reach

    def fields(self, patch: Patch) -> Fields:
        """See `Hint`."""
        positions = (patch.positions_lps() - self.centre_lps - self.shift) / self.scale + self.centre_lps
        indices = np.moveaxis(self.depth.ijk(positions.reshape(-1, 3)), -1, 0)
        far = float(self.depth.array.min())
        depth = ndimage.map_coordinates(self.depth.array, indices, order=1, mode="constant", cval=far)
        depth = self.scale * depth.reshape(patch.array.shape)
        log_odds = np.clip(self.slope * 10 * depth / self.radius_mm, -_LIMIT, _LIMIT)
        deepest = max(float(depth.max()), 1e-3)
        return Fields(
            log_odds.astype(np.float32), depth > self.core * deepest, depth < -self.limit * self.radius_mm
        )

    def perturbed(self, shift: FloatArray, scale: float) -> ShapeHint:
        """See `Hint`."""
        return replace(self, shift=self.shift + shift, scale=self.scale * scale)


def _distance_to_segment(positions: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
    direction = end - start
    length = float(direction @ direction)
    share = np.clip(((positions - start) @ direction) / max(length, 1e-9), 0, 1)
    distance: FloatArray = np.linalg.norm(positions - start - share[..., None] * direction, axis=-1)
    return distance


def sphere_hint(centre_lps: FloatArray, radius_mm: float, *, slope: float, limit: float) -> EllipsoidHint:
    """A ball around a click."""
    return EllipsoidHint(centre_lps, np.eye(3), np.full(3, radius_mm), slope, limit)


def box_hint(box: BoxPrompt, volume: Volume) -> EllipsoidHint:
    """The ellipsoid inscribed in a box; a side thinner than a voxel is taken as one voxel."""
    low, high = np.asarray(box.minimum_lps), np.asarray(box.maximum_lps)
    voxel = np.abs(volume.affine[:3, :3]).sum(axis=1)
    radii = np.maximum((high - low) / 2, voxel / 2)
    return EllipsoidHint((low + high) / 2, np.eye(3), radii, slope=3.5, limit=1.0, is_box=True)


def line_hint(line: LinePrompt, volume: Volume) -> EllipsoidHint:
    """The ellipsoid on a RECIST line: as wide as its short axis, or as lesions usually are.

    Over many lesions the short axis is about 0.75 of the long one, and the extent across the
    slices lies between the two.
    """
    start, end = np.asarray(line.start_lps), np.asarray(line.end_lps)
    # Half a pixel longer at both ends: a line runs between pixel centres.
    half_mm = np.linalg.norm(end - start) / 2 + min(volume.spacing_mm) / 2
    along = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
    if not along.any():
        return sphere_hint(start, max(float(half_mm), max(volume.spacing_mm)), slope=2.5, limit=1.6)
    normal = volume.directions[:, 0]
    if abs(normal @ along) > 0.9:  # drawn across the slices, on a reformat
        normal = volume.directions[:, 1]
    across = np.cross(normal, along)
    across /= np.linalg.norm(across)
    axes = np.column_stack([along, across, np.cross(along, across)])
    if line.short_axis_lps is not None:
        ends = np.asarray(line.short_axis_lps)
        short_mm = max(float(np.linalg.norm(ends[1] - ends[0])) / 2, 0.25 * half_mm)
        slope, limit = 3.0, 1.5
    else:
        short_mm, slope, limit = 0.75 * half_mm, 2.0, 1.7
    radii = np.array([half_mm, short_mm, np.sqrt(half_mm * short_mm)])
    middle = (start + end) / 2
    segment = (middle + 0.6 * (start - middle), middle + 0.6 * (end - middle))
    return EllipsoidHint(middle, axes, radii, slope, limit, core=0.25, segment_lps=segment)


def mask_hint(mask: Volume, *, slope: float = 1.0, limit: float = 0.6) -> ShapeHint:
    """A mask on any grid as a signed distance."""
    found = np.argwhere(mask.array)
    if len(found) == 0:
        raise UnsuitableInputError("the mask prompt is empty; draw the lesion or give a point, line or box")
    radius = float((len(found) * mask.voxel_volume_mm3 * 3 / (4 * np.pi)) ** (1 / 3))
    margin = np.ceil((limit + 0.5) * radius / np.asarray(mask.spacing_mm)).astype(int) + 2
    box = mask.crop(tuple(found.min(axis=0)), tuple(found.max(axis=0) + 1))
    padded = np.pad(box.array.astype(bool), [(int(m), int(m)) for m in margin])
    affine = box.affine.copy()
    affine[:3, 3] = box.lps(-margin)
    # A voxel face lies half a voxel from either centre.
    half = min(mask.spacing_mm) / 2
    inside = ndimage.distance_transform_edt(padded, sampling=mask.spacing_mm)
    outside = ndimage.distance_transform_edt(~padded, sampling=mask.spacing_mm)
    depth = np.where(padded, inside - half, half - outside).astype(np.float32)
    centre = mask.lps(found.mean(axis=0))
    return ShapeHint(Volume(array=depth, affine=affine), centre, radius, slope, limit)


def outline_hint(outlines: Sequence[OutlinePrompt], volume: Volume) -> ShapeHint:
    """Outlines on parallel planes as one body: blended between planes, rounded off behind a single one."""
    mask = _filled(outlines, volume)
    found = np.argwhere(mask.array)
    if len(found) == 0:
        raise UnsuitableInputError(
            f"the outline of {len(outlines[0].points_lps)} points encloses no voxel centre of the volume; "
            "draw it larger or give a point"
        )
    return mask_hint(mask, slope=1.2 if len(outlines) > 1 else 0.8)


def _filled(outlines: Sequence[OutlinePrompt], volume: Volume) -> Volume:
    from skimage.draw import polygon2mask

    spacing = np.asarray(volume.spacing_mm)
    contours = [ijk_from_lps(np.asarray(outline.points_lps), volume.affine) for outline in outlines]
    together = np.concatenate(contours)
    normal_axis = int(np.argmin([np.ptp(c, axis=0) * spacing for c in contours][0]))
    plane_axes = [axis for axis in range(3) if axis != normal_axis]
    low = np.floor(together.min(axis=0)).astype(int)
    high = np.ceil(together.max(axis=0)).astype(int) + 1
    if len(outlines) == 1:
        reach = 0.5 * np.sqrt(np.prod(np.ptp(contours[0], axis=0)[plane_axes] * spacing[plane_axes]))
        low[normal_axis] = np.floor(together[:, normal_axis].mean() - reach / spacing[normal_axis])
        high[normal_axis] = np.ceil(together[:, normal_axis].mean() + reach / spacing[normal_axis]) + 1
    shape = high - low
    planes: dict[float, np.ndarray] = {}
    for contour in contours:
        flat = polygon2mask(tuple(shape[plane_axes]), (contour - low)[:, plane_axes])
        planes.setdefault(round(float(contour[:, normal_axis].mean()), 2), np.zeros_like(flat))
        planes[round(float(contour[:, normal_axis].mean()), 2)] ^= flat  # a contour in another is a hole
    keys = np.array(sorted(planes))
    depths = np.stack([_depth_2d(planes[key], spacing[plane_axes]) for key in keys])
    layers = []
    for index in range(int(low[normal_axis]), int(high[normal_axis])):
        layers.append(_layer(index, keys, depths, float(spacing[normal_axis]), len(outlines) == 1))
    array = np.moveaxis(np.stack(layers), 0, normal_axis)
    affine = volume.affine.copy()
    affine[:3, 3] = volume.lps(low)
    return Volume(array=array, affine=affine)


def _depth_2d(flat: np.ndarray, spacing: FloatArray) -> np.ndarray:
    inside = ndimage.distance_transform_edt(np.pad(flat, 1), sampling=spacing)[1:-1, 1:-1]
    outside = (
        ndimage.distance_transform_edt(~flat, sampling=spacing) if flat.any() else np.full(flat.shape, 1e3)
    )
    depth: np.ndarray = inside - outside
    return depth


def _layer(
    index: int, keys: FloatArray, depths: np.ndarray, spacing_mm: float, is_single: bool
) -> np.ndarray:
    if is_single:
        away = abs(index - keys[0]) * spacing_mm
        deepest = float(depths[0].max())
        # The shape shrinks like the sections of a ball whose radius is the outline's greatest depth.
        shrink = deepest - np.sqrt(max(deepest**2 - away**2, 0)) if away < deepest else np.inf
        return np.asarray(depths[0] > shrink)
    if index < keys[0] - 0.5 or index > keys[-1] + 0.5:
        return np.zeros(depths.shape[1:], dtype=bool)
    above = int(np.clip(np.searchsorted(keys, index), 1, len(keys) - 1)) if len(keys) > 1 else 0
    if above == 0:
        return np.asarray(depths[0] > 0)
    share = np.clip((index - keys[above - 1]) / (keys[above] - keys[above - 1]), 0, 1)
    return np.asarray((1 - share) * depths[above - 1] + share * depths[above] > 0)


def points_of(prompt: LesionPrompt, *, positive: bool) -> list[FloatArray]:
    """The prompt's clicks in (or beside) the lesion, LPS mm."""
    return [
        np.asarray(shape.position_lps)
        for shape in prompt.shapes
        if isinstance(shape, PointPrompt) and shape.is_positive == positive
    ]


def shape_hint(prompt: LesionPrompt, volume: Volume) -> Hint | None:
    """The hint of the prompt's most telling shape: mask, outlines, line, box; None if it has clicks only."""
    masks = [shape for shape in prompt.shapes if isinstance(shape, MaskPrompt)]
    outlines = [shape for shape in prompt.shapes if isinstance(shape, OutlinePrompt)]
    lines = [shape for shape in prompt.shapes if isinstance(shape, LinePrompt)]
    boxes = [shape for shape in prompt.shapes if isinstance(shape, BoxPrompt)]
    if masks:
        return mask_hint(masks[0].volume)
    if outlines:
        return outline_hint(outlines, volume)
    if lines:
        return line_hint(max(lines, key=_length), volume)
    if boxes:
        return box_hint(boxes[0], volume)
    return None


def _length(line: LinePrompt) -> float:
    return float(np.linalg.norm(np.subtract(line.end_lps, line.start_lps)))
