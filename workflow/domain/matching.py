"""Which of several findings on one volume are the same lesion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workflow.domain.geometry import Mask, Point, dice

# Two outlines of one lesion by different hands overlap more than this; neighbours do not.
SAME_LESION_DICE = 0.1
# Two centres of one lesion lie closer than this, or than the smaller one's own radius.
SAME_LESION_MM = 5.0


def centre_distance_mm(one: Mask, other: Mask, spacing_mm: Point) -> float:
    """Distance of the centroids, mm; infinite if one mask is empty."""
    if one.is_empty or other.is_empty:
        return float("inf")
    return float(np.linalg.norm((one.centroid_ijk() - other.centroid_ijk()) * np.asarray(spacing_mm)))


def radius_mm(mask: Mask, spacing_mm: Point) -> float:
    """Radius of the sphere of the mask's volume, mm."""
    return float((3 * mask.voxel_count * float(np.prod(spacing_mm)) / (4 * np.pi)) ** (1 / 3))


def likeness(one: Mask, other: Mask, spacing_mm: Point) -> float:
    """How much two masks look like one lesion: 0 if they don't, else more than 0, at most 2."""
    if one.is_empty or other.is_empty:
        return 0.0
    overlap = dice(one, other)
    distance = centre_distance_mm(one, other, spacing_mm)
    reach = max(SAME_LESION_MM, min(radius_mm(one, spacing_mm), radius_mm(other, spacing_mm)))
    nearness = max(0.0, 1 - distance / reach)
    if overlap < SAME_LESION_DICE and nearness == 0:
        return 0.0
    return overlap + nearness


def match(found: Sequence[Mask], known: Sequence[Mask], spacing_mm: Point) -> dict[int, int]:
    """Pair findings with known lesions, the likest first, each at most once.

    Parameters
    ----------
    found, known
        Masks on one grid with this spacing in mm (slice, row, column).

    Returns
    -------
    dict
        Index of the finding to index of the known lesion; findings without a pair are missing.
    """
    pairs = sorted(
        (
            (-score, f, k)
            for f, a in enumerate(found)
            for k, b in enumerate(known)
            if (score := likeness(a, b, spacing_mm)) > 0
        ),
    )
    matched: dict[int, int] = {}
    for _, f, k in pairs:
        if f not in matched and k not in matched.values():
            matched[f] = k
    return matched
