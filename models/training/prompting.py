"""Prompts that a person would give who sees the true mask, exactly or a little off."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from scipy import ndimage

from workflow.domain.geometry import FloatArray, Mask, Point, Volume
from workflow.domain.lesion import (
    BoxPrompt,
    LesionPrompt,
    LinePrompt,
    MaskPrompt,
    OutlinePrompt,
    PointPrompt,
    PromptShape,
    PromptSource,
)
from workflow.domain.measurement import measure

_PRIOR_SHIFT_MM = 3.0  # how far a tracker's mask is off, along the diagonal


class PromptKind(StrEnum):
    """What is drawn."""

    BOX = "box"
    LINE = "line"
    BOTH_AXES = "both axes"
    OUTLINE = "outline"
    PRIOR = "prior mask"
    CLICK = "click"


def prompt_of(
    kind: PromptKind, volume: Volume, mask: Mask, jitter: float = 0.0, rng: np.random.Generator | None = None
) -> LesionPrompt:
    """One lesion's prompt.

    Parameters
    ----------
    kind
        BOX: the tight box, voxel faces. LINE, BOTH_AXES: the axes as `measure` has them. OUTLINE: of the
        largest slice. PRIOR: the mask moved by 3 mm, as a tracker hands it over. CLICK: the voxel furthest
        from the border.
    mask
        On the volume's grid, at least one voxel.
    jitter
        Standard deviation with which each corner, end or point is off, in parts of the lesion's long axis.
    rng
        For the jitter; by default always the same.
    """
    off = _Jitter(measure(volume, mask).long_axis.length_mm * jitter, rng or np.random.default_rng(0))
    source = PromptSource.PRIOR if kind is PromptKind.PRIOR else PromptSource.READER
    return LesionPrompt(shapes=(_shape(kind, volume, mask, off),), source=source)


class _Jitter:
    def __init__(self, sigma_mm: float, rng: np.random.Generator) -> None:
        self.sigma_mm, self.rng = sigma_mm, rng

    def __call__(self, position: FloatArray) -> FloatArray:
        moved: FloatArray = np.asarray(position) + self.rng.normal(0, 1, np.shape(position)) * self.sigma_mm
        return moved


def _shape(kind: PromptKind, volume: Volume, mask: Mask, off: _Jitter) -> PromptShape:
    match kind:
        case PromptKind.BOX:
            return _box(volume, mask, off)
        case PromptKind.LINE | PromptKind.BOTH_AXES:
            size = measure(volume, mask)
            ends = [off(np.asarray(end)) for end in (size.long_axis.start_lps, size.long_axis.end_lps)]
            short = tuple(
                _point(off(np.asarray(end))) for end in (size.short_axis.start_lps, size.short_axis.end_lps)
            )
            return LinePrompt(
                start_lps=_point(ends[0]),
                end_lps=_point(ends[1]),
                short_axis_lps=(short[0], short[1]) if kind is PromptKind.BOTH_AXES else None,
            )
        case PromptKind.OUTLINE:
            return _outline(volume, mask, off)
        case PromptKind.PRIOR:
            affine = volume.affine.copy()
            affine[:3, 3] = off(volume.lps(np.asarray(mask.start_ijk)) + _PRIOR_SHIFT_MM / np.sqrt(3))
            return MaskPrompt(volume=Volume(array=mask.voxels, affine=affine))
        case PromptKind.CLICK:
            return _click(volume, mask, off)


def _box(volume: Volume, mask: Mask, off: _Jitter) -> BoxPrompt:
    positions = volume.lps(mask.indices())
    half_voxel = np.abs(volume.affine[:3, :3]).sum(axis=1) / 2
    one, other = off(positions.min(axis=0) - half_voxel), off(positions.max(axis=0) + half_voxel)
    return BoxPrompt(minimum_lps=_point(np.minimum(one, other)), maximum_lps=_point(np.maximum(one, other)))


def _outline(volume: Volume, mask: Mask, off: _Jitter) -> OutlinePrompt:
    from skimage.measure import find_contours

    largest = int(mask.voxels.sum(axis=(1, 2)).argmax())
    padded = np.pad(mask.voxels[largest], 1).astype(float)
    contour = max(find_contours(padded, 0.5), key=len)[:-1] - 1
    indices = np.column_stack([np.full(len(contour), largest), contour]) + mask.start_ijk
    # A shaking hand stays on the slice: the outline is moved as a whole in its plane.
    shift = volume.affine[:3, 1:3] @ (np.linalg.pinv(volume.affine[:3, 1:3]) @ off(np.zeros(3)))
    return OutlinePrompt(points_lps=tuple(_point(position + shift) for position in volume.lps(indices)))


def _click(volume: Volume, mask: Mask, off: _Jitter) -> PointPrompt:
    depth = ndimage.distance_transform_edt(np.pad(mask.voxels, 1), sampling=volume.spacing_mm)
    deepest = np.array(np.unravel_index(int(depth.argmax()), depth.shape)) - 1 + mask.start_ijk
    place = off(volume.lps(deepest))
    index = np.rint(volume.ijk(place)).astype(int)
    inside = mask.indices()
    # A click that missed is taken to the nearest voxel of the lesion: the person saw it.
    if not (inside == index).all(axis=1).any():
        place = volume.lps(inside[((inside - index) ** 2).sum(axis=1).argmin()])
    return PointPrompt(position_lps=_point(place))


def _point(position: FloatArray) -> Point:
    x, y, z = (float(value) for value in position)
    return x, y, z
