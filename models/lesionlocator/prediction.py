"""From a scan and drawn prompts to logits: windows, folds, mirrorings and their average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.lesionlocator.checkpoints import Checkpoint, Part, open_checkpoint
from models.lesionlocator.inference import Compute, Ensemble, predict_logits
from models.lesionlocator.networks import ResidualEncoderUNet
from models.lesionlocator.plans import Triple
from models.lesionlocator.preprocessing import NetworkImage
from models.lesionlocator.prompts import Drawing
from models.lesionlocator.windows import Window, gaussian, padding_before, windows_for
from workflow.domain.geometry import Mask
from workflow.ports import Progress, no_progress

PARTS = {Drawing.BOX: Part.BOX, Drawing.POINT: Part.POINT}
"""The part of the release that was trained on each kind of drawing."""
_WINDOWS_AT_ONCE = 8
"""Windows whose input is held in memory (64 MB each) while the folds take turns."""


@dataclass(frozen=True, eq=False)
class RegionLogits:
    """Logits where a lesion was looked for.

    `logits` is float32, (2, z, y, x): background and lesion, from voxel `start` of the network's grid.
    Elsewhere there are none. `windows` are those predicted, in the padded volume.
    """

    start: Triple
    logits: NDArray[np.float32]
    windows: tuple[Window, ...]


@dataclass(frozen=True, eq=False)
class _Job:
    lesion: int
    window: Window


class _Sum:
    """Weighted sum of overlapping windows of one lesion; a single window needs no weights."""

    def __init__(self, windows: Sequence[Window], shape: Triple, before: Triple, patch: Triple) -> None:
        self.windows = tuple(windows)
        self._before = before
        starts = np.array([w.start for w in windows]) - before
        stops = np.array([w.stop for w in windows]) - before
        low = np.maximum(starts.min(axis=0), 0)
        high = np.minimum(stops.max(axis=0), shape)
        self.start: Triple = (int(low[0]), int(low[1]), int(low[2]))
        size = tuple(int(n) for n in high - low)
        self._logits = np.zeros((2, *size), dtype=np.float32)
        self._weights = np.zeros(size, dtype=np.float32) if len(windows) > 1 else None
        self._gaussian = gaussian(patch) if len(windows) > 1 else None
        self._added = 0

    def add(self, window: Window, logits: NDArray[np.float32]) -> None:
        """Add a window's logits, shape (2, *patch)."""
        to, of = [], []
        for axis in range(3):
            first = window.start[axis] - self._before[axis] - self.start[axis]
            size = self._logits.shape[axis + 1]
            low, high = max(0, first), min(size, first + logits.shape[axis + 1])
            to.append(slice(low, high))
            of.append(slice(low - first, high - first))
        if self._weights is None or self._gaussian is None:
            self._logits[:, *to] += logits[:, *of]
            self._added += 1
        else:
            weight = self._gaussian[*of]
            self._logits[:, *to] += logits[:, *of] * weight
            self._weights[*to] += weight

    def mean(self) -> RegionLogits:
        """What was added, averaged."""
        divisor = self._added if self._weights is None else self._weights
        return RegionLogits(self.start, self._logits / np.float32(divisor), self.windows)


def predict(
    image: NetworkImage,
    prompts: Sequence[Mask],
    ensemble: Ensemble,
    *,
    mirror: bool = False,
    progress: Progress = no_progress,
) -> list[RegionLogits]:
    """Logits of each prompt, averaged over folds, mirrorings and overlapping windows.

    Parameters
    ----------
    prompts
        Drawn on the network's grid (`models.lesionlocator.prompts`), none empty.
    mirror
        Whether each window is also shown mirrored along the axes that the checkpoint allows.
    """
    patch = ensemble.checkpoint.plan.patch
    before = padding_before(image.shape, patch)
    sums = [_Sum(windows_for(prompt, patch), image.shape, before, patch) for prompt in prompts]
    jobs = [_Job(index, window) for index, total in enumerate(sums) for window in total.windows]
    done, passes = 0, len(jobs) * len(ensemble)
    for first in range(0, len(jobs), _WINDOWS_AT_ONCE):
        group = jobs[first : first + _WINDOWS_AT_ONCE]
        inputs = torch.stack([window_input(image, prompts[job.lesion], job.window) for job in group])
        for fold, network in ensemble.networks():
            axes = fold.mirroring_axes if mirror else ()
            for at in range(0, len(group), ensemble.compute.batch):
                batch = slice(at, at + ensemble.compute.batch)
                logits = predict_logits(network, inputs[batch], axes, ensemble.compute)
                for job, found in zip(group[batch], logits, strict=True):
                    sums[job.lesion].add(job.window, found)
                done += len(logits)
                progress(done / passes, f"LesionLocator: window {done} of {passes}")
    return [total.mean() for total in sums]


def window_input(image: NetworkImage, prompt: Mask, window: Window) -> torch.Tensor:
    """The network's input for one window: image and prompt, float32, (2, *patch), 0 outside the volume."""
    before = padding_before(image.shape, image.plan.patch)
    start = [max(0, a - b) for a, b in zip(window.start, before, strict=True)]
    stop = [min(n, e - b) for n, e, b in zip(image.shape, window.stop, before, strict=True)]
    first, last = (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])
    inner = tuple(
        slice(a + b - w, e + b - w) for a, e, b, w in zip(start, stop, before, window.start, strict=True)
    )
    out = torch.zeros((2, *image.plan.patch))
    out[0][inner] = torch.from_numpy(image.window(first, last))
    out[1][inner] = torch.from_numpy(_block(prompt, first, last).astype(np.float32))
    return out


def _block(mask: Mask, start: Triple, stop: Triple) -> NDArray[np.bool_]:
    """A box of a mask's grid as an array."""
    out = np.zeros([b - a for a, b in zip(start, stop, strict=True)], dtype=bool)
    low = np.maximum(mask.start_ijk, start)
    high = np.minimum(mask.stop_ijk, stop)
    if np.all(high > low):
        to = tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, start, strict=True))
        of = tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, mask.start_ijk, strict=True))
        out[to] = mask.voxels[of]
    return out


def open_ensemble(
    weights: Path, drawing: Drawing, *, folds: Sequence[int] | None = None, compute: Compute
) -> Ensemble:
    """The network for one kind of prompt, with the folds of its checkpoint."""
    return Ensemble(open_checkpoint(weights, PARTS[drawing], folds), _build, compute)


def _build(checkpoint: Checkpoint) -> ResidualEncoderUNet:
    return ResidualEncoderUNet(checkpoint.plan.architecture)


def certainty(logits: NDArray[np.float32]) -> float:
    """Mean of 2 p - 1 over the voxels that lean towards the lesion, p its probability; 0 if none does."""
    lead = logits[1] - logits[0]
    leaning = lead[lead > 0].astype(np.float64)
    return float(np.mean(np.tanh(leaning / 2))) if leaning.size else 0.0
