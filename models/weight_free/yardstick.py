"""Measuring the new lesion with the prior's yardstick.

Readers draw a little within or outside of where the segmenter sees the edge, and follow-ups would seem to
shrink or grow by that. So the prior's own image is segmented too, and how far its outline lies from the drawn
one is allowed for at the follow-up.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from workflow.domain.geometry import BoolArray, FloatArray, Mask, Volume, dice, union

# Below this the segmenter saw something else than the reader, and nothing can be learnt from the difference.
_LEAST_DICE = 0.5
_LARGEST_SHARE = 0.35  # of the radius


def offset_mm(drawn: Mask, segmented: Mask, volume: Volume) -> float:
    """How far the drawn outline lies outside of the segmented one (below 0: within it), mm.

    The middle half of the surface tells: a vessel that one of them takes along is no matter of outline.
    """
    if dice(drawn, segmented) < _LEAST_DICE:
        return 0.0
    start, stop = union([drawn, segmented]).box_with_margin(2 * max(volume.spacing_mm), volume.spacing_mm)
    inside, own = (_within(mask, start, stop) for mask in (drawn, segmented))
    surface = own & ~ndimage.binary_erosion(own)
    apart = np.sort((_depth(inside, volume) - _depth(own, volume))[surface])
    quarter = len(apart) // 4
    limit = _LARGEST_SHARE * radius_mm(segmented, volume)
    return float(np.clip(apart[quarter : len(apart) - quarter].mean(), -limit, limit))


def _within(mask: Mask, start: tuple[int, int, int], stop: tuple[int, int, int]) -> BoolArray:
    """A mask on a box of its grid that holds it."""
    inside = np.zeros(np.subtract(stop, start), dtype=bool)
    if not mask.is_empty:
        a, b, c = (slice(f - s, t - s) for f, t, s in zip(mask.start_ijk, mask.stop_ijk, start, strict=True))
        inside[a, b, c] = mask.voxels
    return inside


def _depth(inside: BoolArray, volume: Volume) -> FloatArray:
    """Signed distance from the edge, mm, above 0 inside."""
    # The edge lies half a voxel from the centres on either side of it.
    half = min(volume.spacing_mm) / 2
    depth = np.maximum(ndimage.distance_transform_edt(inside, sampling=volume.spacing_mm) - half, 0)
    outside = ndimage.distance_transform_edt(~inside, sampling=volume.spacing_mm) - half
    return np.asarray(depth - np.maximum(outside, 0))


def radius_mm(mask: Mask, volume: Volume) -> float:
    """Radius of the ball of a mask's volume, mm."""
    return float((mask.voxel_count * volume.voxel_volume_mm3 * 3 / (4 * np.pi)) ** (1 / 3))


def moved_outline(mask: Mask, volume: Volume, offset: float) -> Mask:
    """A mask whose outline is moved outwards by `offset` mm (below 0: inwards), but never gone."""
    if mask.is_empty or abs(offset) < 1e-3:
        return mask
    own = radius_mm(mask, volume)
    offset = float(np.clip(offset, -_LARGEST_SHARE * own, _LARGEST_SHARE * own))
    count = max(round(mask.voxel_count * (1 + offset / own) ** 3), 1)
    start, stop = mask.box_with_margin(abs(offset) + 1.5 * max(volume.spacing_mm), volume.spacing_mm)
    inside = _within(mask, start, stop)
    # Smoothed, so that voxels equally far from the edge are told apart by what is around them.
    depth = ndimage.gaussian_filter(_depth(inside, volume), 0.5)
    order = np.argsort(-depth, axis=None, kind="stable")[:count]
    kept = np.zeros(inside.size, dtype=bool)
    kept[order] = True
    return Mask.from_array(kept.reshape(inside.shape), start, mask.shape)
