"""Which of several sizes of a clicked lesion the image bears out: by edges all round, and by agreement.

A ball laid into a homogeneous mass gives a body of about its own size with hardly an edge; a real lesion
comes out as the same body from balls of several sizes. Both are told as the Dice that such a body is to be
expected to have, by a linear rule fitted on lesions implanted into real images (`benchmarks.weight_free
--implanted`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from models.weight_free.appearance import noise_of
from models.weight_free.patch import Patch
from workflow.domain.geometry import BoolArray, FloatArray, Mask, Volume, dice

# Log of a radius over another one from which on two candidates are of different size: a third in diameter.
_OTHER_SIZE = 0.35
# Expected Dice by which the best candidate has to lead all those of another size.
_CLEAR_LEAD = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A body that came out of a ball of `ball_mm` around the click.

    `body` is bool on the patch that it was found on, `mask` the same on the volume's grid, `edge` its
    `edge_strength`, `radius_mm` that of the ball of its volume.
    """

    ball_mm: float
    body: Volume
    mask: Mask
    edge: float
    radius_mm: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """The likeliest candidate, the Dice that it scores, and whether another size is about as likely."""

    candidate: Candidate
    score: float
    is_uncertain: bool


def candidate(ball_mm: float, patch: Patch, body: BoolArray, volume: Volume) -> Candidate | None:
    """Describe a body found on a patch; None if no voxel of the volume is in it."""
    part, start = patch.to_volume(body.astype(np.float32), volume)
    mask = Mask.from_array(part > 0.5, start, volume.shape)
    if mask.is_empty:
        return None
    return Candidate(
        ball_mm=ball_mm,
        body=Volume(array=body, affine=patch.affine),
        mask=mask,
        edge=edge_strength(patch, body),
        radius_mm=float((body.sum() * np.prod(patch.spacing_mm) * 3 / (4 * np.pi)) ** (1 / 3)),
    )


def choose(candidates: Sequence[Candidate | None]) -> Chosen | None:
    """The likeliest of candidates from balls of growing size; None if there is none."""
    scored = [
        (
            _expected_dice(
                one, candidates[i - 1] if i else None, candidates[i + 1] if i + 1 < len(candidates) else None
            ),
            one,
        )
        for i, one in enumerate(candidates)
        if one is not None
    ]
    if not scored:
        return None
    expected, best = max(scored, key=lambda pair: pair[0])
    others = [score for score, one in scored if abs(np.log(one.radius_mm / best.radius_mm)) > _OTHER_SIZE]
    return Chosen(
        candidate=best,
        score=expected,
        is_uncertain=bool(others) and expected - max(others) < _CLEAR_LEAD,
    )


def _expected_dice(one: Candidate, smaller: Candidate | None, larger: Candidate | None) -> float:
    agreement = [dice(one.mask, other.mask) if other is not None else 0.0 for other in (smaller, larger)]
    growth = float(np.clip(np.log(one.radius_mm / one.ball_mm), -2, 1))
    return (
        -0.01
        + 0.01 * one.edge
        + 0.29 * growth
        + 0.05 * abs(growth - 0.1)
        + 0.36 * agreement[0]
        + 0.35 * agreement[1]
        + 0.08 * one.edge * sum(agreement)
    )


def edge_strength(patch: Patch, body: BoolArray) -> float:
    """How clear a body's edge is where it is least clear: log(1 + d), 0 for none.

    d is the step from just outside to just inside, in the noise's standard deviations, that nine tenths of
    the surface exceed; a step against the body's usual sign is none.
    """
    voxel = max(patch.spacing_mm)
    depth = ndimage.distance_transform_edt(np.pad(body, 1), sampling=patch.spacing_mm)[1:-1, 1:-1, 1:-1]
    away = ndimage.distance_transform_edt(~body, sampling=patch.spacing_mm)
    inner = body & (depth <= 3 * voxel)
    if (deeper := inner & (depth > 1.1 * voxel)).any():
        inner = deeper
    outer = (away > 0.6 * voxel) & (away <= 3 * voxel)
    surface = body & (depth <= 1.01 * voxel)
    steps = (_local_mean(patch.array, inner) - _local_mean(patch.array, outer))[surface]
    steps = steps[np.isfinite(steps)]
    if steps.size < 5:
        return 0.0
    weakest = float(np.quantile(np.sign(np.median(steps)) * steps, 0.1))
    return float(np.log1p(np.clip(weakest / noise_of(patch.array, body), 0, 50)))


def _local_mean(image: np.ndarray, where: BoolArray) -> FloatArray:
    """Mean of the voxels of a set around each voxel; not a number where none is near."""
    weight = ndimage.gaussian_filter(where.astype(np.float32), 1.5, truncate=2.5)
    total = ndimage.gaussian_filter(np.where(where, image, 0).astype(np.float32), 1.5, truncate=2.5)
    return np.asarray(np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), np.nan))
