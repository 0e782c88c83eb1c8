"""Random walker with prior probabilities (L. Grady, CVPR 2005): a soft segmentation by one linear system."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array32 = NDArray[np.float32]


def random_walk(
    image: Array32,
    target: Array32,
    certainty: Array32,
    *,
    noise: float,
    spacing_mm: tuple[float, float, float],
    iterations: int = 80,
) -> Array32:
    """Spread what is known of each voxel along homogeneous tissue, and not across edges.

    Minimises  sum w_ij (x_i - x_j)^2  +  sum certainty_i (x_i - target_i)^2  by conjugate gradients,
    with w_ij = exp(-(difference of neighbours)^2 / 2 noise^2), smaller for neighbours further apart.

    Parameters
    ----------
    image
        Intensities, shape (slices, rows, columns).
    target, certainty
        Probability of the lesion as each voxel alone has it, and how much that counts (> 0); same shape.
    noise
        Standard deviation of neighbouring voxels within one tissue, the image's units.

    Returns
    -------
    numpy.ndarray
        Probability of the lesion, 0 to 1, float32, same shape.
    """
    finest = min(spacing_mm)
    weights = []
    degree = certainty.copy()
    for axis in range(3):
        edge = np.diff(image, axis=axis)
        weight = (np.exp(-0.5 * (edge / noise) ** 2) + 0.01) * (finest / spacing_mm[axis]) ** 2
        weight = weight.astype(np.float32)
        weights.append(weight)
        low, high = _sides(axis)
        degree[low] += weight
        degree[high] += weight

    def apply(x: Array32) -> Array32:
        result = degree * x
        for axis, weight in enumerate(weights):
            low, high = _sides(axis)
            result[low] -= weight * x[high]
            result[high] -= weight * x[low]
        return result

    return np.clip(_conjugate_gradients(apply, certainty * target, target.copy(), degree, iterations), 0, 1)


def _sides(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
    high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
    return low, high


def _conjugate_gradients(
    apply: Callable[[Array32], Array32], right: Array32, x: Array32, diagonal: Array32, iterations: int
) -> Array32:
    residual = right - apply(x)
    scaled = residual / diagonal
    direction = scaled.copy()
    energy = _dot(residual, scaled)
    enough = 1e-6 * max(_dot(right, right / diagonal), 1e-12)
    for _ in range(iterations):
        if energy <= enough:
            break
        image = apply(direction)
        step = energy / _dot(direction, image)
        x += np.float32(step) * direction
        residual -= np.float32(step) * image
        scaled = residual / diagonal
        previous, energy = energy, _dot(residual, scaled)
        direction = scaled + np.float32(energy / previous) * direction
    return x


def _dot(one: Array32, other: Array32) -> float:
    # Not BLAS, whose sum depends on the number of threads.
    return float((one * other).sum(dtype=np.float64))
