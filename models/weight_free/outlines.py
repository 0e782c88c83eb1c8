"""Closed outlines on parallel planes as one solid mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from workflow.domain.geometry import FloatArray, Volume, ijk_from_lps
from workflow.domain.lesion import OutlinePrompt


def filled(outlines: Sequence[OutlinePrompt], volume: Volume) -> Volume:
    """Bool volume along the axes of `volume`: blended between planes, rounded off behind a single one.

    Outlines of one plane that lie in each other make holes.
    """
    from skimage.draw import polygon2mask

    spacing = np.asarray(volume.spacing_mm)
    contours = [ijk_from_lps(np.asarray(outline.points_lps), volume.affine) for outline in outlines]
    together = np.concatenate(contours)
    normal_axis = int(np.argmin(np.ptp(contours[0], axis=0) * spacing))
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
