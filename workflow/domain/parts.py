"""One drawn region, several lesions: "LN" in a structure set is often all nodes at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from workflow.domain.geometry import Mask, Point, union
from workflow.domain.lesion import LesionPrompt, PromptSource

# Parts of one lesion lie closer than this; two nodes of a chain are measured apart.
GAP_MM = 5.0
# A part below this share of the largest is a stray contour and stays with its nearest neighbour.
SMALLEST_SHARE = 0.05


def separate(prompt: LesionPrompt, mask: Mask, spacing_mm: Point) -> list[tuple[LesionPrompt, Mask]]:
    """The lesions of a drawn region, largest first: its parts that lie more than 5 mm from each other.

    A region that carries a tracking UID is one lesion, whatever its parts: somebody said so. So is
    anything but a ROI or a segment. Nothing of the region is lost.
    """
    is_region = prompt.source in (PromptSource.STRUCTURE_SET, PromptSource.SEGMENTATION)
    if not is_region or prompt.tracking_uid is not None or mask.is_empty:
        return [(prompt, mask)]
    parts = _parts(mask, spacing_mm)
    if len(parts) == 1:
        return [(prompt, mask)]
    return [
        (
            replace(
                prompt,
                label=f"{prompt.label} (part {number} of {len(parts)})",
                item=f"{prompt.item or ''} part {number}".strip(),
            ),
            part,
        )
        for number, part in enumerate(parts, start=1)
    ]


def _parts(mask: Mask, spacing_mm: Point) -> list[Mask]:
    from scipy.ndimage import distance_transform_edt, label

    margin = [int(np.ceil(GAP_MM / mm)) for mm in spacing_mm]
    voxels = np.pad(mask.voxels, [(m, m) for m in margin])
    near = distance_transform_edt(~voxels, sampling=spacing_mm) <= GAP_MM / 2
    groups, count = label(near, structure=np.ones((3, 3, 3)))
    start = tuple(s - m for s, m in zip(mask.start_ijk, margin, strict=True))
    whole = [
        Mask.from_array(voxels & (groups == n), (start[0], start[1], start[2]), mask.shape)
        for n in range(1, count + 1)
    ]
    whole.sort(key=lambda part: (-part.voxel_count, part.start_ijk))
    large = [part for part in whole if part.voxel_count >= SMALLEST_SHARE * whole[0].voxel_count]
    for stray in whole[len(large) :]:
        nearest = min(range(len(large)), key=lambda i: _distance_mm(large[i], stray, spacing_mm))
        large[nearest] = union([large[nearest], stray])
    return large


def _distance_mm(one: Mask, other: Mask, spacing_mm: Point) -> float:
    return float(np.linalg.norm((one.centroid_ijk() - other.centroid_ijk()) * np.asarray(spacing_mm)))
