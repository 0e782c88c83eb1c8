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
    spacing = np.asarray(volume.spacing_mm)
    contours = [ijk_from_lps(np.asarray(outline.points_lps), volume.affine) for outline in outlines]
    together = np.concatenate(contours)
    normal_axis = int(np.argmin(np.ptp(contours[0], axis=0) * spacing))
    plane_axes = [axis for axis in range(3) if axis != normal_axis]
    low = np.floor(together.min(axis=0)).astype(int)
    high = np.ceil(together.max(axis=0)).astype(int) + 1
    if len(outlines) == 1:
        reach = 0.6 * np.sqrt(np.prod(np.ptp(contours[0], axis=0)[plane_axes] * spacing[plane_axes]))
        low[normal_axis] = np.floor(together[:, normal_axis].mean() - reach / spacing[normal_axis])
        high[normal_axis] = np.ceil(together[:, normal_axis].mean() + reach / spacing[normal_axis]) + 1
    shape = high - low
    planes = planes_of(contours, normal_axis, low[plane_axes], tuple(shape[plane_axes]))
    keys = np.array(sorted(planes))
    depths = np.stack([_depth_2d(planes[key], spacing[plane_axes]) for key in keys])
    axes_mm = spacing[[normal_axis, *plane_axes]]
    layers = [
        _layer(index, keys, depths, axes_mm) for index in range(int(low[normal_axis]), int(high[normal_axis]))
    ]
    array = np.moveaxis(np.stack(layers), 0, normal_axis)
    affine = volume.affine.copy()
    affine[:3, 3] = volume.lps(low)
    return Volume(array=array, affine=affine)


def planes_of(
    contours: Sequence[FloatArray], normal_axis: int, low: np.ndarray, shape: tuple[int, ...]
) -> dict[float, np.ndarray]:
    """What closed contours (indices, shape (n, 3)) enclose, by their place along an axis.

    Each is bool, of `shape`, from index `low` along the two other axes. A contour in another one is a hole.
    """
    from skimage.draw import polygon2mask

    axes = [axis for axis in range(3) if axis != normal_axis]
    planes: dict[float, np.ndarray] = {}
    for contour in contours:
        flat = polygon2mask(shape, contour[:, axes] - low)
        key = round(float(contour[:, normal_axis].mean()), 2)
        planes[key] = planes.get(key, np.zeros_like(flat)) ^ flat
    return planes


def _depth_2d(flat: np.ndarray, spacing: FloatArray) -> np.ndarray:
    inside = ndimage.distance_transform_edt(np.pad(flat, 1), sampling=spacing)[1:-1, 1:-1]
    outside = (
        ndimage.distance_transform_edt(~flat, sampling=spacing) if flat.any() else np.full(flat.shape, 1e3)
    )
    depth: np.ndarray = inside - outside
    return depth


def _layer(index: int, keys: FloatArray, depths: np.ndarray, spacing: FloatArray) -> np.ndarray:
    """The section at an index; `spacing` is (normal, then the plane's two axes), mm."""
    if len(keys) == 1:
        return _section(depths[0], abs(index - keys[0]) * float(spacing[0]), float(spacing[1] * spacing[2]))
    if index < keys[0] - 0.5 or index > keys[-1] + 0.5:
        return np.zeros(depths.shape[1:], dtype=bool)
    above = int(np.clip(np.searchsorted(keys, index), 1, len(keys) - 1))
    share = np.clip((index - keys[above - 1]) / (keys[above] - keys[above - 1]), 0, 1)
    return np.asarray((1 - share) * depths[above - 1] + share * depths[above] > 0)


def _section(depth: np.ndarray, away_mm: float, pixel_mm2: float) -> np.ndarray:
    """A single outline at a distance from its plane: smaller as the sections of a ball of its area are."""
    inside = depth > 0
    height = np.sqrt(inside.sum() * pixel_mm2 / np.pi)
    if away_mm >= height:
        return np.zeros(depth.shape, dtype=bool)
    middle = np.argwhere(inside).mean(axis=0)
    index = np.moveaxis(np.indices(depth.shape), 0, -1)
    where = middle + (index - middle) / np.sqrt(1 - (away_mm / height) ** 2)
    sampled = ndimage.map_coordinates(depth, np.moveaxis(where, -1, 0), order=1, mode="nearest")
    return np.asarray(sampled > 0)
