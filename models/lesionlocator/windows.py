"""Where the segmentation network looks: one patch around the prompt, or several if it is larger."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray

from models.lesionlocator.plans import Triple
from workflow.domain.geometry import Mask

STEP = 0.5
"""Distance of neighbouring windows, as a fraction of the patch (nnU-Net)."""


@dataclass(frozen=True)
class Window:
    """A patch-sized box, in a volume that was padded to the patch size; [start, stop) per axis."""

    start: Triple
    stop: Triple


def padding_before(shape: Triple, patch: Triple) -> Triple:
    """Zeros in front of each axis of a volume smaller than the patch: the smaller half."""
    z, y, x = (max(0, p - n) // 2 for n, p in zip(shape, patch, strict=True))
    return z, y, x


def windows_for(prompt: Mask, patch: Triple) -> list[Window]:
    """The windows in which a prompt is predicted.

    A prompt smaller than the patch on every axis gets one window, centred on its bounding box
    and moved into the volume. A larger one gets those windows of a grid in half-patch steps over the whole
    volume that overlap its bounding box.

    Parameters
    ----------
    prompt
        On the network's grid, not empty.
    patch
        Shape (z, y, x) of the network's input.

    Returns
    -------
    list of Window
        In the volume padded to at least the patch.
    """
    before = padding_before(prompt.shape, patch)
    padded = tuple(max(n, p) for n, p in zip(prompt.shape, patch, strict=True))
    low = [s + b for s, b in zip(prompt.start_ijk, before, strict=True)]
    high = [s + b for s, b in zip(prompt.stop_ijk, before, strict=True)]
    if all(b - a < p for a, b, p in zip(low, high, patch, strict=True)):
        starts = [
            # The middle of the first and the last voxel, cut off towards zero.
            [min(max(0, int((a + b - 1) / 2 - p / 2)), n - p)]
            for a, b, p, n in zip(low, high, patch, padded, strict=True)
        ]
    else:
        starts = [
            [s for s in _steps(n, p) if s < b and s + p > a]
            for a, b, p, n in zip(low, high, patch, padded, strict=True)
        ]
    return [Window((z, y, x), (z + patch[0], y + patch[1], x + patch[2])) for z, y, x in product(*starts)]


def _steps(length: int, patch: int) -> list[int]:
    """Starts of evenly spread windows, at most half a patch apart, from one end to the other."""
    count = ceil((length - patch) / (patch * STEP)) + 1
    if count == 1:
        return [0]
    return [round((length - patch) / (count - 1) * i) for i in range(count)]


@cache
def gaussian(patch: Triple) -> NDArray[np.float32]:
    """Weight of a window's voxels: a Gaussian of sigma patch / 8, 10 in the centre.

    Single precision, unlike upstream: in half precision it underflows near the corners and the
    logits there are off by up to 0.5.
    """
    from scipy.ndimage import gaussian_filter1d

    axes = []
    for n in patch:
        impulse = np.zeros(n)
        impulse[n // 2] = 1
        line = gaussian_filter1d(impulse, n / 8, mode="constant")
        axes.append(line / line.max())
    weights = 10 * axes[0][:, None, None] * axes[1][:, None] * axes[2]
    positive: NDArray[np.float32] = np.maximum(weights, weights[weights > 0].min()).astype(np.float32)
    return positive
