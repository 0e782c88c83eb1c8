"""The steps from two scans and a lesion's prior mask to logits on the new scan.

A pair of scans is registered once per fold (and mirroring, where that is wanted); each lesion then
costs one pass of the U-Net per fold. A lesion whose mask the map leads nowhere gets no pass: no
other place is looked at for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.lesionlocator.fields import Field, flip, register
from models.lesionlocator.inference import Compute, Ensemble, mirrorings
from models.lesionlocator.plans import Triple
from models.lesionlocator.tracknet import REGISTRATION_GRID, TrackNet, pad_to, patch_around
from workflow.domain.geometry import Mask
from workflow.ports import Progress, no_progress

BACKGROUND = (1.0, 0.0)
"""Logits where the U-Net did not look (upstream's constant): background."""


@dataclass(eq=False)
class LesionTrace:
    """What the folds and mirrorings say about one lesion, on the new scan's network grid.

    Attributes
    ----------
    start, total
        Sum of logits, (2, z, y, x) from voxel `start`; outside it is `count` times `BACKGROUND`.
    warped
        By fold, without mirroring: the prior's mask in the new view.
    patches
        By fold, without mirroring: start and stop of the U-Net's window in the new view.
    quality
        By fold, without mirroring: similarity and folding of the registration around the warped mask.
    """

    start: Triple = (0, 0, 0)
    total: NDArray[np.float32] | None = None
    count: int = 0
    warped: dict[int, Mask] = field(default_factory=dict)
    patches: dict[int, tuple[Triple, Triple]] = field(default_factory=dict)
    quality: dict[int, tuple[float, float]] = field(default_factory=dict)

    def add(self, start: Triple, logits: NDArray[np.float32]) -> None:
        """Add one pass, (2, z, y, x) from `start`."""
        stop = [s + n for s, n in zip(start, logits.shape[1:], strict=True)]
        self._grow(start, (stop[0], stop[1], stop[2]))
        assert self.total is not None
        constant = np.array(BACKGROUND, dtype=np.float32)[:, None, None, None]
        self.total += constant
        box = tuple(slice(a - s, b - s) for a, b, s in zip(start, stop, self.start, strict=True))
        self.total[(slice(None), *box)] += logits - constant
        self.count += 1

    def _grow(self, start: Triple, stop: Triple) -> None:
        if self.total is None:
            self.start = start
            self.total = np.zeros((2, *(b - a for a, b in zip(start, stop, strict=True))), dtype=np.float32)
            return
        end = [s + n for s, n in zip(self.start, self.total.shape[1:], strict=True)]
        low = tuple(min(a, s) for a, s in zip(start, self.start, strict=True))
        high = tuple(max(b, e) for b, e in zip(stop, end, strict=True))
        if low == self.start and list(high) == end:
            return
        grown = np.empty((2, *(b - a for a, b in zip(low, high, strict=True))), dtype=np.float32)
        grown[0], grown[1] = (value * self.count for value in BACKGROUND)
        inner = tuple(slice(s - a, e - a) for s, e, a in zip(self.start, end, low, strict=True))
        grown[(slice(None), *inner)] = self.total
        self.start, self.total = (low[0], low[1], low[2]), grown

    def mean(self) -> NDArray[np.float32]:
        """Logits averaged over all passes, (2, z, y, x) from `start`; only if `count` > 0."""
        assert self.total is not None
        average: NDArray[np.float32] = self.total / np.float32(self.count)
        return average


@dataclass(frozen=True, eq=False)
class PairTrace:
    """A pair of scans: each lesion's trace, in order, and each fold's registration."""

    lesions: list[LesionTrace]
    fields: dict[int, Field]


@dataclass(frozen=True, eq=False)
class _Look:
    """A patch in which the U-Net looks for a lesion, (2, *patch), and where its logits belong."""

    trace: LesionTrace
    patch: Tensor
    inner: tuple[slice, ...]
    start: Triple


def trace_lesions(
    prior: NDArray[np.float32],
    masks: Sequence[Mask],
    new: NDArray[np.float32],
    ensemble: Ensemble,
    *,
    mirror: bool = False,
    grid: int = REGISTRATION_GRID,
    progress: Progress = no_progress,
) -> PairTrace:
    """Find lesions of a prior scan on a new one.

    Parameters
    ----------
    prior, new
        Normalised images on the network's grid, (z, y, x).
    masks
        The lesions on the prior's grid.
    mirror
        Whether the pair is also registered and segmented in the seven mirrors.

    Returns
    -------
    PairTrace
        A lesion without any pass (`count` 0) was led nowhere.
    """
    traced = PairTrace([LesionTrace() for _ in masks], {})
    images = torch.from_numpy(prior), torch.from_numpy(new)
    compute, done = ensemble.compute, 0
    for fold, network in ensemble.networks():
        sets = mirrorings(fold.mirroring_axes if mirror else ())
        steps = len(ensemble) * len(sets) * (1 + len(masks))
        for axes in sets:
            moving, fixed = (flip(image, axes) for image in images)
            with compute.running():
                found = register(network.reg_net, moving, fixed, grid=grid, device=compute.device)
            if not axes:
                traced.fields[fold.number] = found
            done += 1
            progress(done / steps, "LesionLocator: the pair is registered")
            for first in range(0, len(masks), compute.batch):
                batch = slice(first, first + compute.batch)
                looks = [
                    _look(trace, mask, fixed, found, ensemble, axes, fold.number)
                    for trace, mask in zip(traced.lesions[batch], masks[batch], strict=True)
                ]
                _segment([look for look in looks if look is not None], network, compute, axes, found.shape)
                done += len(looks)
                progress(done / steps, f"LesionLocator: pass {done} of {steps}")
    return traced


def _look(
    trace: LesionTrace,
    mask: Mask,
    fixed: Tensor,
    found: Field,
    ensemble: Ensemble,
    axes: tuple[int, ...],
    fold: int,
) -> _Look | None:
    """Carry a lesion over and cut the patch around it; None if it is led nowhere.

    `fixed` and `found` are mirrored along `axes`, `mask` is not.
    """
    warped = found.warp(flip(torch.from_numpy(mask.array()), axes))
    patch_size = ensemble.checkpoint.plan.patch
    is_found = bool(warped.any())
    start, stop = patch_around(warped, patch_size) if is_found else ((0, 0, 0), (0, 0, 0))
    if not axes:
        trace.warped[fold] = Mask.from_array(warped.numpy())
        if is_found:
            trace.patches[fold] = (start, stop)
            trace.quality[fold] = found.quality(warped)
    if not is_found:
        return None
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    view = fixed[found.slices[0] : found.slices[1]]
    patch, inner = pad_to(torch.stack((view[box], warped[box].float())), patch_size)
    return _Look(trace, patch, inner, (start[0] + found.slices[0], start[1], start[2]))


def _segment(
    looks: list[_Look], network: TrackNet, compute: Compute, axes: tuple[int, ...], shape: Triple
) -> None:
    """One pass of the U-Net over a batch; the logits are mirrored back and added to the traces."""
    if not looks:
        return
    with compute.running():
        logits = network.unet(torch.stack([look.patch for look in looks]).to(compute.device)).float().cpu()
    for look, found in zip(looks, logits, strict=True):
        inside = found[(slice(None), *look.inner)]
        start = list(look.start)
        for axis in axes:
            start[axis] = shape[axis] - start[axis] - inside.shape[axis + 1]
        upright = flip(inside, tuple(axis + 1 for axis in axes))
        look.trace.add((start[0], start[1], start[2]), upright.numpy())
