"""One drawn region, several lesions: what lies apart in the drawing and in the image is not one lesion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from workflow.domain.anatomy import is_nodal_name
from workflow.domain.geometry import FloatArray, Mask, Point, Volume, union
from workflow.domain.lesion import LesionPrompt, PromptSource

# Parts of one lesion lie closer than this; what is further apart is looked at in the image.
GAP_MM = 5.0
# A part below this share of the largest is a stray contour and stays with its nearest neighbour.
SMALLEST_SHARE = 0.05
# Tissue around a lesion: this far from it. Voxels nearer are partly lesion.
SHELL_MM = (2.0, 6.0)
# What lies between two parts is looked at within this distance of the line between them.
TUBE_MM = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The lesions of a drawn region, largest first; `doubt` says why a person has to look, "" if not."""

    parts: tuple[tuple[LesionPrompt, Mask], ...]
    doubt: str = ""


def separate(prompt: LesionPrompt, mask: Mask, volume: Volume) -> Parts:
    """The lesions of a drawn region. Nothing of the region is lost.

    A region is one lesion unless its parts lie more than 5 mm from each other and the image shows other
    tissue between them: then they stay several, and a person is asked. A region that carries a tracking
    UID is one lesion, whatever its parts: somebody said so. So is anything but an ROI or a segment. A
    region that is named after lymph nodes is often all of them at once: its parts are nodes.

    Parameters
    ----------
    mask
        On the volume's grid.
    volume
        The values that were drawn on.
    """
    is_region = prompt.source in (PromptSource.STRUCTURE_SET, PromptSource.SEGMENTATION)
    whole = Parts(parts=((prompt, mask),))
    if not is_region or prompt.tracking_uid is not None or mask.is_empty:
        return whole
    parts = _parts(mask, volume.spacing_mm)
    if len(parts) == 1:
        return whole
    if is_nodal_name(prompt.label):
        return Parts(parts=_named(prompt, parts))
    lesions = _joined_by_image(parts, mask, volume)
    if len(lesions) == 1:
        return whole
    doubt = (
        f"{prompt.item or prompt.label} of {prompt.sop_instance_uid or 'the drawing'} was drawn as one and "
        f"has {len(lesions)} parts with other tissue between them; each is measured on its own, so say if "
        "they are one lesion"
    )
    return Parts(parts=_named(prompt, lesions), doubt=doubt)


def _named(prompt: LesionPrompt, parts: Sequence[Mask]) -> tuple[tuple[LesionPrompt, Mask], ...]:
    return tuple(
        (
            replace(
                prompt,
                label=f"{prompt.label} (part {number} of {len(parts)})",
                item=f"{prompt.item or ''} part {number}".strip(),
            ),
            part,
        )
        for number, part in enumerate(parts, start=1)
    )


# ---------------------------------------------------------------- apart in the drawing


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
    whole.sort(key=_size_order)
    large = [part for part in whole if part.voxel_count >= SMALLEST_SHARE * whole[0].voxel_count]
    for stray in whole[len(large) :]:
        nearest = min(range(len(large)), key=lambda i: _distance_mm(large[i], stray, spacing_mm))
        large[nearest] = union([large[nearest], stray])
    return large


def _size_order(part: Mask) -> tuple[int, tuple[int, int, int]]:
    return -part.voxel_count, part.start_ijk


def _distance_mm(one: Mask, other: Mask, spacing_mm: Point) -> float:
    return float(np.linalg.norm((one.centroid_ijk() - other.centroid_ijk()) * np.asarray(spacing_mm)))


# ---------------------------------------------------------------- apart in the image


def _joined_by_image(parts: Sequence[Mask], mask: Mask, volume: Volume) -> list[Mask]:
    """The parts, those put together between which the image shows no other tissue."""
    around = _around(mask, volume)
    group = list(range(len(parts)))
    for i, j in combinations(range(len(parts)), 2):
        if group[i] != group[j] and not _is_other_tissue_between(parts[i], parts[j], around, volume):
            group = [group[i] if g == group[j] else g for g in group]
    lesions = [
        union([parts[i] for i, g in enumerate(group) if g == number]) for number in dict.fromkeys(group)
    ]
    return sorted(lesions, key=_size_order)


def _around(mask: Mask, volume: Volume) -> FloatArray:
    """The values around a region, in a shell of a few millimetres."""
    from scipy.ndimage import distance_transform_edt

    start, stop = mask.box_with_margin(SHELL_MM[1], volume.spacing_mm)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    inside = np.zeros([b - a for a, b in zip(start, stop, strict=True)], dtype=bool)
    own = tuple(slice(a - s, b - s) for a, b, s in zip(mask.start_ijk, mask.stop_ijk, start, strict=True))
    inside[own] = mask.voxels
    off_mm = distance_transform_edt(~inside, sampling=volume.spacing_mm)
    values: FloatArray = volume.array[box][(off_mm >= SHELL_MM[0]) & (off_mm <= SHELL_MM[1])].astype(
        np.float64
    )
    return values


def _is_other_tissue_between(one: Mask, other: Mask, around: FloatArray, volume: Volume) -> bool:
    """Whether values between two parts are rather those around the lesion than those in it.

    Where the lesion does not stand out from what is around it the image can't join what was drawn apart.
    """
    between = _between(one, other, volume)
    inside = np.concatenate([volume.array[tuple(part.indices().T)] for part in (one, other)]).astype(
        np.float64
    )
    if not between.size or not around.size:
        return True
    lesion, tissue = float(np.median(inside)), float(np.median(around))
    noise = 1.4826 * float(np.median(np.abs(inside - lesion)))
    if abs(lesion - tissue) <= noise:
        return True
    middle = float(np.median(between))
    return abs(middle - tissue) <= abs(middle - lesion)


def _between(one: Mask, other: Mask, volume: Volume) -> FloatArray:
    """The values in a tube between the nearest voxels of two parts, both ends left out."""
    from scipy.spatial import cKDTree

    spacing = np.asarray(volume.spacing_mm)
    a, b = (part.indices() * spacing for part in (one, other))
    distances, nearest = cKDTree(b).query(a)
    # Of all places where they face each other, the middle one: a corner sees past both.
    facing = np.flatnonzero(distances <= distances.min() + spacing.max() / 2)
    middles = (a[facing] + b[nearest[facing]]) / 2
    chosen = facing[int(np.argmin(np.linalg.norm(middles - middles.mean(axis=0), axis=1)))]
    start, end = a[chosen], b[nearest[chosen]]
    length = float(np.linalg.norm(end - start))
    skip = min(SHELL_MM[0], length / 3)
    along = np.linspace(skip, length - skip, max(3, int(length / spacing.min()))) / length
    line = start + along[:, None] * (end - start)
    offsets = np.array(np.meshgrid(*[(-TUBE_MM, 0.0, TUBE_MM)] * 3)).reshape(3, -1).T
    index = np.round((line[:, None, :] + offsets) / spacing).astype(int).reshape(-1, 3)
    index = np.unique(index[np.all((index >= 0) & (index < volume.shape), axis=1)], axis=0)
    drawn = union([one, other])
    own = index - np.asarray(drawn.start_ijk)
    in_box = np.all((own >= 0) & (own < drawn.voxels.shape), axis=1)
    is_drawn = np.zeros(len(index), dtype=bool)
    is_drawn[in_box] = drawn.voxels[tuple(own[in_box].T)]
    values: FloatArray = volume.array[tuple(index[~is_drawn].T)].astype(np.float64)
    return values
