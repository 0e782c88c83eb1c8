"""The boundary at half height between a lesion and what lies outside it, voxel by voxel.

A blurred edge crosses half of its height where the sharp one was, so the size does not depend on the
kernel or the slice thickness; that is also how readers set calipers in the lung.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from models.weight_free.hints import Fields
from models.weight_free.patch import Patch

_UNLIKELY = -3.5  # log odds from shape below which nothing is added: a vessel that leaves has no edge
_LEAST_CONTRAST = 3.0  # local difference over local spread; below, the random walk's edge stays


def at_half_height(
    soft: np.ndarray, body: np.ndarray, patch: Patch, fields: Fields, rounds: int = 3
) -> np.ndarray:
    """Move the edge of a body to half height wherever inside and outside differ clearly.

    Parameters
    ----------
    soft
        Probability of the lesion on the patch, 0 to 1.
    body
        Bool, the part of `soft > 0.5` that is the lesion.

    Returns
    -------
    numpy.ndarray
        The probability with another edge: 0.5 at half height; patch shape.
    """
    voxel = max(patch.spacing_mm)
    result = np.where(body, np.maximum(soft, 0.5), np.minimum(soft, 0.5))
    for _ in range(rounds):
        body = result > 0.5
        if not body.any():
            break
        depth = _signed_depth(body, patch.spacing_mm)
        height, trusted = _height(patch.array, depth, voxel)
        band = (np.abs(depth) <= 1.6 * voxel) & trusted & ~fields.inside & (fields.log_odds > _UNLIKELY)
        result = np.where(band, height, result).astype(np.float32)
    return np.asarray(result)


def _signed_depth(body: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    inside = ndimage.distance_transform_edt(body, sampling=spacing_mm)
    outside = ndimage.distance_transform_edt(~body, sampling=spacing_mm)
    return np.asarray(inside - outside)


def _height(image: np.ndarray, depth: np.ndarray, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    """Where each voxel lies between outside (0) and inside (1), and where that can be said."""
    deepest = float(depth.max())
    # Away from the edge where the lesion is large enough, its middle where it is not.
    core = depth >= min(1.7 * voxel, 0.75 * deepest)
    shell = (depth <= -1.5 * voxel) & (depth >= -max(3.5 * voxel, 4.0))
    reach = max(2.0, 0.35 * deepest / voxel)
    inner, inner_spread = _local(image, core, max(reach, deepest / voxel))
    outer, outer_spread = _local(image, shell, reach)
    contrast = inner - outer
    spread = np.sqrt(inner_spread**2 + outer_spread**2) + 1e-6
    trusted = np.abs(contrast) > _LEAST_CONTRAST * spread
    height = (image - outer) / np.where(trusted, contrast, 1.0)
    return np.clip(height, 0, 1), trusted


def _local(image: np.ndarray, where: np.ndarray, reach_voxels: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the voxels of a set, weighted by nearness."""
    weight = where.astype(np.float32)
    total = np.maximum(ndimage.gaussian_filter(weight, reach_voxels, truncate=2.5), 1e-9)
    middle = float(image[where].mean()) if where.any() else 0.0
    centred = np.where(where, image - middle, 0)
    mean = ndimage.gaussian_filter(centred, reach_voxels, truncate=2.5) / total
    square = ndimage.gaussian_filter(centred**2, reach_voxels, truncate=2.5) / total
    return mean + middle, np.sqrt(np.maximum(square - mean**2, 0))
