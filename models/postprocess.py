"""What every backend's masks go through: holes, components, the body's outline, neighbours; and their flags.

All of it works on crops (`workflow.domain.geometry.Mask`), so that a hundred small lesions in a large volume
cost a hundred small boxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow.domain.geometry import BoolArray, FloatArray, Mask, Volume
from workflow.domain.lesion import Flag

# Halfway between air (-1000) and fat (-100): the skin.
BODY_THRESHOLD_HU = -500.0
# Air around the patient, as opposed to lung (about -850).
OPEN_AIR_HU = -940.0
_EVERY_NEIGHBOUR = np.ones((3, 3, 3), dtype=bool)


class Fill(StrEnum):
    """Which holes are filled: those closed within a slice, those closed in 3-D, or none."""

    SLICES = "slices"
    VOLUME = "volume"
    NONE = "none"


class Keep(StrEnum):
    """Which 26-connected components stay: the one at the prompt, the largest, or all."""

    AT_PROMPT = "at prompt"
    LARGEST = "largest"
    ALL = "all"


@dataclass(frozen=True, kw_only=True)
class CleanUp:
    """What is done to a model's mask; `describe` puts it into the provenance."""

    fill: Fill = Fill.SLICES
    keep: Keep = Keep.AT_PROMPT
    clip_to_body: bool = True

    def describe(self) -> str:
        """E.g. "holes: slices, components: at prompt, clipped to body"."""
        clipped = "clipped to body" if self.clip_to_body else "not clipped"
        return f"holes: {self.fill}, components: {self.keep}, {clipped}"


UNTOUCHED = CleanUp(fill=Fill.NONE, keep=Keep.ALL, clip_to_body=False)


def clean(
    mask: Mask, volume: Volume, *, seeds_ijk: NDArray[Any] | None = None, how: CleanUp | None = None
) -> tuple[Mask, frozenset[Flag]]:
    """Clean one mask and say what a reader should know about it.

    Parameters
    ----------
    mask
        On the grid of `volume`.
    seeds_ijk
        Indices (slice, row, column) of the prompt, shape (n, 3), fractions allowed; for `Keep.AT_PROMPT`.
        Without any, the largest component is kept.

    Returns
    -------
    tuple
        The mask, and its flags: EMPTY, SKIPPED_SLICES (as the model left it), OUTSIDE_BODY (something was
        clipped), TRUNCATED_AT_VOLUME_END.
    """
    chosen = how or CleanUp()
    flags = {Flag.SKIPPED_SLICES} if has_skipped_slices(mask) else set()
    if chosen.clip_to_body:
        inside = clip_to_body(mask, volume)
        if inside.voxel_count < mask.voxel_count:
            flags.add(Flag.OUTSIDE_BODY)
        mask = inside
    mask = fill_holes(mask, chosen.fill)
    if chosen.keep is not Keep.ALL:
        mask = keep_component(mask, seeds_ijk if chosen.keep is Keep.AT_PROMPT else None)
    return mask, frozenset(flags | position_flags(mask))


def position_flags(mask: Mask) -> frozenset[Flag]:
    """EMPTY, or TRUNCATED_AT_VOLUME_END if the mask reaches the first or last slice, row or column."""
    if mask.is_empty:
        return frozenset({Flag.EMPTY})
    is_cut = any(a == 0 or b == n for a, b, n in zip(mask.start_ijk, mask.stop_ijk, mask.shape, strict=True))
    return frozenset({Flag.TRUNCATED_AT_VOLUME_END}) if is_cut else frozenset()


def touches_border(mask: Mask, start_ijk: Sequence[int], stop_ijk: Sequence[int]) -> bool:
    """Whether a mask reaches the inner border of a model's field of view, start to stop (half-open).

    Where the field of view ends with the volume there is nothing beyond: that is a truncation, not this.
    """
    if mask.is_empty:
        return False
    axes = zip(mask.start_ijk, mask.stop_ijk, start_ijk, stop_ijk, mask.shape, strict=True)
    return any((0 < low >= a) or (n > high <= b) for a, b, low, high, n in axes)


def has_skipped_slices(mask: Mask) -> bool:
    """Whether a slice between the first and the last of a mask is empty."""
    return not mask.is_empty and not bool(mask.voxels.any(axis=(1, 2)).all())


def fill_holes(mask: Mask, fill: Fill = Fill.SLICES) -> Mask:
    """Fill what the mask encloses, in each slice or in 3-D."""
    if mask.is_empty or fill is Fill.NONE:
        return mask
    from scipy.ndimage import binary_fill_holes

    if fill is Fill.VOLUME:
        filled = binary_fill_holes(mask.voxels)
    else:
        filled = np.stack([binary_fill_holes(one) for one in mask.voxels])
    return Mask(voxels=filled, start_ijk=mask.start_ijk, shape=mask.shape)


def keep_component(mask: Mask, seeds_ijk: NDArray[Any] | None = None) -> Mask:
    """The 26-connected component that holds most seeds; without a seed in any, the largest one."""
    if mask.is_empty:
        return mask
    from scipy.ndimage import label

    labels, count = label(mask.voxels, structure=_EVERY_NEIGHBOUR)
    if count == 1:
        return mask
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    votes = _seed_votes(mask, labels, seeds_ijk, count)
    best = int(np.lexsort((sizes, votes))[-1])
    return Mask.from_array(labels == best, mask.start_ijk, mask.shape)


def clip_to_body(mask: Mask, volume: Volume) -> Mask:
    """Remove voxels in the air around the patient (CT in HU only; other volumes pass unchanged).

    Outside is what lies below -500 HU, is connected to the border of its slice and is, in the median, as
    empty as open air; so lung, bowel gas and a lung cut open by a narrow field of view are inside.
    """
    if mask.is_empty or float(volume.array[mask.start_ijk[0] : mask.stop_ijk[0]].min()) >= OPEN_AIR_HU:
        return mask
    start, stop = mask.start_ijk, mask.stop_ijk
    air = np.stack([_outside_air(volume.array[index]) for index in range(start[0], stop[0])])
    inside = mask.voxels & ~air[:, start[1] : stop[1], start[2] : stop[2]]
    return Mask.from_array(inside, start, mask.shape)


def separate(
    masks: Sequence[Mask], volume: Volume, centres_ijk: Sequence[FloatArray] | None = None
) -> list[tuple[Mask, frozenset[Flag]]]:
    """Give every voxel that several lesions claim to one of them; flag those that touch.

    A voxel goes to the lesion whose undisputed part is nearest in mm; where one has no undisputed part (it
    lies inside the other), to the one whose prompt's centre is nearest. Ties go to the first.

    Parameters
    ----------
    masks
        On the grid of `volume`.
    centres_ijk
        The prompts' centres, (slice, row, column); the masks' own centroids if left out.

    Returns
    -------
    list
        For each mask, in order: the mask, disjoint from all others, and TOUCHES_NEIGHBOUR or nothing.
    """
    parts = list(masks)
    centres = [
        centres_ijk[i]
        if centres_ijk is not None
        else (mask.centroid_ijk() if not mask.is_empty else np.zeros(3))
        for i, mask in enumerate(parts)
    ]
    touching: set[int] = set()
    for one, other in _near_pairs(parts):
        if not _touch(parts[one], parts[other]):
            continue
        touching |= {one, other}
        parts[one], parts[other] = _divide(
            parts[one], parts[other], (centres[one], centres[other]), np.asarray(volume.spacing_mm)
        )
    flagged = frozenset({Flag.TOUCHES_NEIGHBOUR})
    return [(mask, flagged if i in touching else frozenset()) for i, mask in enumerate(parts)]


# ---------------------------------------------------------------- parts


def _seed_votes(
    mask: Mask, labels: NDArray[Any], seeds_ijk: NDArray[Any] | None, count: int
) -> NDArray[np.int64]:
    if seeds_ijk is None or len(seeds_ijk) == 0:
        return np.zeros(count + 1, dtype=np.int64)
    seeds = np.rint(np.asarray(seeds_ijk, dtype=np.float64)).astype(int).reshape(-1, 3) - mask.start_ijk
    inside = seeds[np.all((seeds >= 0) & (seeds < labels.shape), axis=1)]
    votes = np.bincount(labels[tuple(inside.T)], minlength=count + 1)
    votes[0] = 0
    return votes


def _outside_air(plane: NDArray[Any]) -> BoolArray:
    from scipy.ndimage import label

    labels, _ = label(plane <= BODY_THRESHOLD_HU)
    edges = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    # A lung cut open by a narrow field of view reaches the border too, but is not as empty as air.
    outside = [one for one in edges if one != 0 and np.median(plane[labels == one]) < OPEN_AIR_HU]
    air: BoolArray = np.isin(labels, outside)
    return air


def _near_pairs(masks: Sequence[Mask]) -> Iterable[tuple[int, int]]:
    for one in range(len(masks)):
        for other in range(one + 1, len(masks)):
            a, b = masks[one], masks[other]
            if a.is_empty or b.is_empty:
                continue
            # Boxes that are one voxel apart still hold voxels that touch.
            gap = np.maximum(np.subtract(a.start_ijk, b.stop_ijk), np.subtract(b.start_ijk, a.stop_ijk))
            if np.all(gap <= 0):
                yield one, other


def _common(one: Mask, other: Mask, margin: int = 0) -> tuple[tuple[int, ...], BoolArray, BoolArray]:
    """Both masks on the smallest box around the two, grown by a margin that may leave the grid."""
    start = np.minimum(one.start_ijk, other.start_ijk) - margin
    stop = np.maximum(one.stop_ijk, other.stop_ijk) + margin
    filled = []
    for mask in (one, other):
        array = np.zeros(stop - start, dtype=bool)
        a, b, c = (slice(s - o, e - o) for s, e, o in zip(mask.start_ijk, mask.stop_ijk, start, strict=True))
        array[a, b, c] = mask.voxels
        filled.append(array)
    return (int(start[0]), int(start[1]), int(start[2])), filled[0], filled[1]


def _touch(one: Mask, other: Mask) -> bool:
    if one.is_empty or other.is_empty:
        return False
    from scipy.ndimage import binary_dilation

    _, a, b = _common(one, other, margin=1)
    return bool(np.any(binary_dilation(a, structure=_EVERY_NEIGHBOUR) & b))


def _divide(
    one: Mask, other: Mask, centres: tuple[FloatArray, FloatArray], spacing: FloatArray
) -> tuple[Mask, Mask]:
    start, a, b = _common(one, other)
    disputed = a & b
    if not disputed.any():
        return one, other
    if (a & ~b).any() and (b & ~a).any():
        from scipy.ndimage import distance_transform_edt

        to_a, to_b = (distance_transform_edt(~own, sampling=spacing) for own in (a & ~b, b & ~a))
        goes_to_a = to_a[disputed] <= to_b[disputed]
    else:
        places = np.argwhere(disputed) + start
        to_one, to_other = (np.linalg.norm((places - centre) * spacing, axis=1) for centre in centres)
        goes_to_a = to_one <= to_other
    a[disputed], b[disputed] = goes_to_a, ~goes_to_a
    grid_start = (start[0], start[1], start[2])
    return Mask.from_array(a, grid_start, one.shape), Mask.from_array(b, grid_start, one.shape)
