"""What a prompt says about every voxel around it: surely in, surely out, and how likely in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from scipy import ndimage

from models.weight_free.outlines import filled
from models.weight_free.patch import Patch
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Mask, Volume, mask_on_grid, union
from workflow.domain.lesion import (
    BoxPrompt,
    LesionPrompt,
    LinePrompt,
    MaskPrompt,
    OutlinePrompt,
    PointPrompt,
)

# A lesion fills about half of its tight box, as an ellipsoid does (pi / 6), and mostly within this, as a log.
_BOX_SHARE, _BOX_TOLERANCE = 0.45, 0.15
_LIMIT = 5.0  # log odds beyond which a shape alone decides nothing more


@dataclass(frozen=True, eq=False)
class Fields:
    """A hint on a patch: log odds of the lesion from shape alone, and the decided voxels; patch shape."""

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

    @property
    def knows_size(self) -> bool:
        """Whether `fit` says anything."""
        ...

    def fit(self, mask: Mask, volume: Volume) -> float:
        """How well a mask on a volume has the size that the prompt tells, up to 1; 0 if it tells none."""
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
    `known_mm` holds the drawn lengths along the first two axes, in their plane, None for one not drawn.
    """

    centre_lps: FloatArray
    axes: FloatArray
    radii_mm: FloatArray
    slope: float
    limit: float
    core: float = 0.25
    segment_lps: tuple[FloatArray, FloatArray] | None = None
    is_box: bool = False
    known_mm: tuple[float, float | None] | None = None

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

    @property
    def knows_size(self) -> bool:
        """See `Hint`."""
        return self.is_box or self.known_mm is not None

    def fit(self, mask: Mask, volume: Volume) -> float:
        """See `Hint`."""
        if not self.knows_size or mask.is_empty:
            return 0.0
        if self.is_box:
            share = mask.voxel_count * volume.voxel_volume_mm3 / float(np.prod(2 * self.radii_mm))
            return 1.0 - max(abs(float(np.log(share / _BOX_SHARE))) - _BOX_TOLERANCE, 0.0)
        assert self.known_mm is not None
        return _axes_fit(volume.lps(mask.indices()), self.centre_lps, self.axes, self.known_mm, volume)

    def perturbed(self, shift: FloatArray, scale: float) -> EllipsoidHint:
        """See `Hint`."""
        segment = None
        if self.segment_lps is not None:
            start, end = (
                self.centre_lps + shift + scale * (end - self.centre_lps) for end in self.segment_lps
            )
            segment = (start, end)
        return replace(
            self,
            centre_lps=self.centre_lps + shift,
            radii_mm=self.radii_mm * scale,
            segment_lps=segment,
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

    @property
    def knows_size(self) -> bool:
        """See `Hint`."""
        return False

    def fit(self, mask: Mask, volume: Volume) -> float:
        """See `Hint`."""
        return 0.0

    def perturbed(self, shift: FloatArray, scale: float) -> ShapeHint:
        """See `Hint`."""
        return replace(self, shift=self.shift + shift, scale=self.scale * scale)


def _axes_fit(
    positions: FloatArray,
    centre: FloatArray,
    axes: FloatArray,
    known_mm: tuple[float, float | None],
    volume: Volume,
) -> float:
    """1 less the mean relative error of the extents along the drawn axes, in their plane."""
    local = (positions - centre) @ axes
    thickness = np.abs(volume.directions.T @ axes[:, 2]) @ np.asarray(volume.spacing_mm)
    plane = local[np.abs(local[:, 2]) <= 0.51 * thickness]
    if len(plane) == 0:
        return 0.0
    errors = [
        abs(float(np.ptp(plane[:, axis])) - length) / max(length, 1.0)
        for axis, length in enumerate(known_mm)
        if length is not None
    ]
    return 1.0 - float(np.mean(errors))


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
    return EllipsoidHint((low + high) / 2, np.eye(3), radii, slope=7.0, limit=1.0, is_box=True)


def line_hint(line: LinePrompt, volume: Volume) -> EllipsoidHint:
    """The ellipsoid on a RECIST line: as wide as its short axis, or as lesions usually are.

    Over many lesions the short axis is about 0.75 of the long one, and the extent across the
    slices lies between the two.
    """
    start, end = np.asarray(line.start_lps), np.asarray(line.end_lps)
    # Half a pixel longer at both ends: a line runs between pixel centres.
    half_mm = float(np.linalg.norm(end - start)) / 2 + min(volume.spacing_mm) / 2
    along = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
    if not along.any():
        return sphere_hint(start, max(half_mm, max(volume.spacing_mm)), slope=2.5, limit=1.6)
    normal = volume.directions[:, 0]
    if abs(normal @ along) > 0.9:  # drawn across the slices, on a reformat
        normal = volume.directions[:, 1]
    across = np.cross(normal, along)
    across /= np.linalg.norm(across)
    axes = np.column_stack([along, across, np.cross(along, across)])
    if line.short_axis_lps is not None:
        ends = np.asarray(line.short_axis_lps)
        short_mm = max(float(np.linalg.norm(ends[1] - ends[0])) / 2, 0.25 * half_mm)
        slope, limit = 5.0, 1.4
    else:
        short_mm, slope, limit = 0.75 * half_mm, 2.0, 1.7
    radii = np.array([half_mm, short_mm, np.sqrt(half_mm * short_mm)])
    middle = (start + end) / 2
    segment = (middle + 0.6 * (start - middle), middle + 0.6 * (end - middle))
    known = (float(np.linalg.norm(end - start)), 2 * short_mm if line.short_axis_lps is not None else None)
    return EllipsoidHint(middle, axes, radii, slope, limit, segment_lps=segment, known_mm=known)


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
    mask = filled(outlines, volume)
    found = np.argwhere(mask.array)
    if len(found) == 0:
        raise UnsuitableInputError(
            f"the outline of {len(outlines[0].points_lps)} points encloses no voxel centre of the volume; "
            "draw it larger or give a point"
        )
    return mask_hint(mask, slope=1.8 if len(outlines) > 1 else 1.4)


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
        if len(masks) == 1:
            return mask_hint(masks[0].volume)
        whole = union([mask_on_grid(mask.volume, volume) for mask in masks])
        return mask_hint(volume.with_array(whole.array()))
    if outlines:
        return outline_hint(outlines, volume)
    if lines:
        return line_hint(max(lines, key=_length), volume)
    if boxes:
        return box_hint(boxes[0], volume)
    return None


def _length(line: LinePrompt) -> float:
    return float(np.linalg.norm(np.subtract(line.end_lps, line.start_lps)))
