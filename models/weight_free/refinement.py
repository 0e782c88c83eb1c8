"""Around one lesion, at full detail: how far the registration is off, and whether it is still there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.weight_free.appearance import Binned
from models.weight_free.hints import ShapeHint
from models.weight_free.identity import is_hu
from models.weight_free.sliding import slide
from workflow.domain.geometry import FloatArray, Volume, lps_from_ijk

Array = NDArray[np.float32]

_REACH_MM = 9.0  # how far the registration may be off
_SURROUNDINGS_MM = 12.0
_VESSEL_MM = 4.0  # radius of what may be a vessel rather than the rest of a lesion
_SCALES = (0.12, 0.16, 0.21, 0.27, 0.35, 0.45, 0.58, 0.72, 0.86, 1.0, 1.17, 1.38, 1.65, 2.0)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the surroundings and the lesion's own look say.

    Attributes
    ----------
    shift_lps
        From where the registration puts the lesion to where it was found, in the prior's frame, mm.
    scale
        Size over the prior's size.
    similarity
        Normalised cross-correlation of the surroundings at the best place, -1 to 1.
    evidence
        How much the place looks like the lesion, 1 for as much as the lesion itself at the prior, 0 for
        tissue like that around it.
    distinctness
        How well the lesion stood out at the prior, 0 to 1; without any there is no evidence to be had.
    """

    shift_lps: FloatArray
    scale: float
    similarity: float
    evidence: float
    distinctness: float


def find_nearby(
    prior: Volume, hint: ShapeHint, new: Volume, to_new: FloatArray, *, largest_count: int = 64
) -> Finding:
    """Look for a prior's lesion around the place where an affine puts it.

    Parameters
    ----------
    prior, new
        The volumes.
    hint
        The lesion's shape in the prior.
    to_new
        Affine near the lesion, shape (4, 4), LPS mm of the prior to LPS mm of the new volume.
    largest_count
        Voxels along the longest side of the region of the prior that is looked at.
    """
    low, high = _body_extent(hint)
    size = float((high - low).max()) + 2 * _SURROUNDINGS_MM
    step = max(1.0, min(*prior.spacing_mm, *new.spacing_mm), size / largest_count)
    reach = int(np.ceil(_REACH_MM / step))
    grid = _grid(low - _SURROUNDINGS_MM, high + _SURROUNDINGS_MM, step)
    wide = _widened(grid, reach)
    before = _sample(prior, lps_from_ijk(*_points(grid)), grid.shape, step)
    after_points = lps_from_ijk(lps_from_ijk(*_points(wide)), to_new)
    after = _sample(new, after_points, wide.shape, step)
    depth = _depth(hint, lps_from_ijk(*_points(grid)), grid.shape)
    offset, similarity = _best_offset(before, after, depth, step, reach)
    if not (is_hu(prior) and is_hu(new)):
        a, b, c = (slice(reach + int(o), reach + int(o) + n) for o, n in zip(offset, grid.shape, strict=True))
        after[a, b, c] = _like(before, after[a, b, c], depth)
    return _look(before, after, depth, step, reach, offset, similarity, hint.radius_mm)


@dataclass(frozen=True, eq=False)
class _Grid:
    affine: FloatArray
    shape: tuple[int, int, int]


def _body_extent(hint: ShapeHint) -> tuple[FloatArray, FloatArray]:
    inside = hint.depth.lps(np.argwhere(hint.depth.array > 0))
    return inside.min(axis=0), inside.max(axis=0)


def _grid(low: FloatArray, high: FloatArray, step: float) -> _Grid:
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = step
    affine[:3, 3], affine[3, 3] = low, 1
    count = np.ceil((high - low) / step).astype(int)[::-1] + 1
    return _Grid(affine, (int(count[0]), int(count[1]), int(count[2])))


def _widened(grid: _Grid, reach: int) -> _Grid:
    affine = grid.affine.copy()
    affine[:3, 3] = lps_from_ijk(np.full(3, -reach), grid.affine)
    a, b, c = (n + 2 * reach for n in grid.shape)
    return _Grid(affine, (a, b, c))


def _points(grid: _Grid) -> tuple[NDArray[np.int64], FloatArray]:
    return np.indices(grid.shape).reshape(3, -1).T, grid.affine


def _sample(volume: Volume, positions_lps: FloatArray, shape: tuple[int, int, int], step: float) -> Array:
    """Linear interpolation at positions in the patient; the edge is held beyond the volume."""
    indices = volume.ijk(positions_lps)
    low = np.clip(np.floor(indices.min(axis=0)).astype(int) - 1, 0, np.asarray(volume.shape) - 1)
    high = np.clip(np.ceil(indices.max(axis=0)).astype(int) + 2, low + 1, volume.shape)
    part = volume.array[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
    blur = 0.4 * np.sqrt(np.maximum((step / np.asarray(volume.spacing_mm)) ** 2 - 1, 0))
    smooth = ndimage.gaussian_filter(part.astype(np.float32), blur, mode="nearest")
    values = ndimage.map_coordinates(smooth, (indices - low).T, order=1, mode="nearest")
    return np.asarray(values.reshape(shape), dtype=np.float32)


def _depth(hint: ShapeHint, positions_lps: FloatArray, shape: tuple[int, int, int]) -> Array:
    indices = hint.depth.ijk(positions_lps).T
    far = float(hint.depth.array.min())
    depth = ndimage.map_coordinates(hint.depth.array, indices, order=1, mode="constant", cval=far)
    return np.asarray(depth.reshape(shape), dtype=np.float32)


# ---------------------------------------------------------------- where: the surroundings


def _best_offset(
    before: Array, after: Array, depth: Array, step: float, reach: int
) -> tuple[NDArray[np.int64], float]:
    """The offset (grid steps) at which the surroundings agree best, near ones preferred."""
    # The lesion itself may have grown or gone: it counts little, what is around it a lot.
    weight = np.where(depth > -1.5, 0.2, np.exp(-0.5 * (depth / _SURROUNDINGS_MM) ** 2)).astype(np.float64)
    weight /= weight.sum()
    template = before - (weight * before).sum()
    spread = (weight * template**2).sum()
    mean = slide(after, weight)
    variance = np.maximum(slide(after.astype(np.float64) ** 2, weight) - mean**2, 1e-6 * (spread + 1e-6))
    score = slide(after, weight * template) / np.sqrt(spread * variance + 1e-12)
    distance = _distances(score.shape, step, reach)
    chosen = np.where(distance <= _REACH_MM, score - 0.02 * (distance / 3.0) ** 2, -np.inf)
    best = np.array(np.unravel_index(int(chosen.argmax()), chosen.shape))
    return best - reach, float(score[tuple(best)])


def _distances(shape: tuple[int, ...], step: float, reach: int) -> FloatArray:
    axes = [(np.arange(n) - reach) * step for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    distance: FloatArray = np.sqrt(z**2 + y**2 + x**2)
    return distance


# ---------------------------------------------------------------- whether: the lesion's own look


def _look(
    before: Array,
    after: Array,
    depth: Array,
    step: float,
    reach: int,
    offset: NDArray[np.int64],
    similarity: float,
    radius_mm: float,
) -> Finding:
    a, b, c = (slice(reach + int(o), reach + int(o) + n) for o, n in zip(offset, before.shape, strict=True))
    there = after[a, b, c]
    likeness_before, likeness_after = _likeness(before, before, depth), _likeness(before, there, depth)
    known = _known_structures(likeness_before, depth, step)
    prior_score = _shape_scores(likeness_before * (1 - known), depth, 1.0, radius_mm, step)
    own = float(prior_score[_middle(depth)])
    best: tuple[float, float, float, FloatArray] = (-np.inf, 1.0, 0.0, np.zeros(3))
    found_at = np.zeros(3)
    middle = np.asarray(_middle(depth))
    away = _distances_from(_middle(depth), before.shape, step)
    for scale in _SCALES:
        if scale * radius_mm < 0.8 * step:
            continue
        score = _shape_scores(likeness_after * (1 - known), depth, scale, radius_mm, step)
        # A lesion that changed its size is likelier than one that moved against its surroundings.
        limit = 2.5 + abs(1 - scale) * radius_mm
        chosen = np.where(
            away <= limit, score - 0.1 * (away / limit) ** 2 - 0.04 * abs(np.log(scale)), -np.inf
        )
        place = np.unravel_index(int(chosen.argmax()), chosen.shape)
        if chosen[place] > best[0]:
            shift: FloatArray = (np.array(place) - middle + offset)[::-1] * step
            best = (float(chosen[place]), scale, float(score[place]), shift)
            found_at = np.asarray(place, dtype=np.float64)
    found_mm = best[1] * radius_mm
    is_stump = (
        best[1] < 0.5 and found_mm < _VESSEL_MM and _passes_through(likeness_after, found_at, found_mm, step)
    )
    return Finding(
        shift_lps=best[3],
        scale=best[1],
        similarity=similarity,
        evidence=0.0 if is_stump else float(np.clip(best[2] / max(own, 1e-3), 0, 1.5)),
        distinctness=float(np.clip(own, 0, 1)),
    )


def _passes_through(likeness: FloatArray, place: FloatArray, radius_mm: float, step: float) -> bool:
    """Whether what looks like a small lesion goes on, as thick, in two opposite directions: a vessel."""
    count = 120
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    ring = np.sqrt(1 - height**2)
    directions = np.column_stack([height, ring * np.sin(turn), ring * np.cos(turn)])
    lengths = np.linspace(radius_mm + step, 2.2 * radius_mm + 2 * step, 5) / step
    rays = place + lengths[:, None, None] * directions
    values = ndimage.map_coordinates(likeness, rays.reshape(-1, 3).T, order=1, mode="nearest")
    goes_on = directions[values.reshape(rays.shape[:2]).min(axis=0) > 0.5]
    return bool(len(goes_on) > 1 and (goes_on @ goes_on.T).min() < -0.4)


def _middle(depth: Array) -> tuple[int, int, int]:
    """Index nearest to the centre of the body, or of the grid if the body is smaller than its step."""
    inside = np.argwhere(depth > 0)
    centre = inside.mean(axis=0) if len(inside) else (np.asarray(depth.shape) - 1) / 2
    a, b, c = (round(float(v)) for v in centre)
    return a, b, c


def _distances_from(middle: tuple[int, int, int], shape: tuple[int, ...], step: float) -> FloatArray:
    axes = [(np.arange(n) - m) * step for n, m in zip(shape, middle, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    distance: FloatArray = np.sqrt(z**2 + y**2 + x**2)
    return distance


def _like(before: Array, there: Array, depth: Array) -> Array:
    """The new image in the prior's intensities, matched by mean and spread of what surrounds the lesion."""
    around = depth < -2
    gain = np.clip(float(before[around].std()) / max(float(there[around].std()), 1e-6), 0.25, 4)
    matched = (there - there[around].mean()) * gain + before[around].mean()
    return np.asarray(matched, dtype=np.float32)


def _likeness(before: Array, image: Array, depth: Array) -> FloatArray:
    """Share of the lesion's intensity distribution against that of its surroundings, 0 to 1."""
    body, around = depth > 0, (depth < -1.5) & (depth > -8)
    if not body.any():
        body = depth >= depth.max()
    both = Binned.of(before, body | around)
    blur = max(1.5, 0.5 * float(before[body].std()) / both.width)
    lesion = both.density(body, min(blur, 12.0))
    # Some of the body's rim is background by partial volume, and the other way round.
    background = both.density(around, min(blur, 12.0))
    index = both.bin_of(image)
    share: FloatArray = lesion[index] / (lesion[index] + background[index])
    return share


def _known_structures(likeness: FloatArray, depth: Array, step: float) -> FloatArray:
    """Vessels and wall beside the lesion at the prior: what looks like a lesion there isn't one now."""
    beside = np.where(depth < -1.0 * step, likeness, 0)
    size = 2 * int(np.ceil(2.0 / step)) + 1
    grown = ndimage.maximum_filter(beside, size=size)
    return np.asarray(np.where(depth > -0.5 * step, np.minimum(beside, grown), grown))


def _shape_scores(
    likeness: FloatArray, depth: Array, scale: float, radius_mm: float, step: float
) -> FloatArray:
    """Mean likeness in the lesion's shape at another size less that in the shell around it, at each voxel."""
    rim = 0.3 * scale * radius_mm + 1.5 * step
    inside = np.abs(np.argwhere(depth > 0) - _middle(depth)).max(axis=0, initial=0)
    count = np.ceil(scale * inside + rim / step).astype(int) + 1
    grid = np.moveaxis(np.indices(2 * count + 1), 0, -1) - count
    sampled = grid / scale + _middle(depth)
    far = float(depth.min())
    scaled = scale * ndimage.map_coordinates(
        depth, np.moveaxis(sampled, -1, 0), order=1, mode="constant", cval=far
    )
    body = np.clip(scaled / step + 0.5, 0, 1)
    shell = ((scaled < -0.5 * step) & (scaled >= -rim)).astype(float)
    kernel = body / max(body.sum(), 1e-6) - shell / max(shell.sum(), 1)
    padded = np.pad(likeness, [(n, n) for n in count], mode="edge")
    return slide(padded, kernel)


def moved(hint: ShapeHint, to_new: FloatArray, finding: Finding | None) -> ShapeHint:
    """The lesion's shape where it is expected on the new volume, as it was found there."""
    affine = to_new.copy()
    scale = 1.0
    if finding is not None:
        affine[:3, 3] += to_new[:3, :3] @ finding.shift_lps
        scale = finding.scale
    stretch = float(abs(np.linalg.det(to_new[:3, :3])) ** (1 / 3))
    centre = lps_from_ijk(hint.centre_lps, affine)
    there = replace(
        hint,
        depth=Volume(array=hint.depth.array * np.float32(stretch), affine=affine @ hint.depth.affine),
        centre_lps=centre,
        radius_mm=hint.radius_mm * stretch,
    )
    return there.perturbed(np.zeros(3), scale)
