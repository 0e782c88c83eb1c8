"""Change of grid, computed for a window alone, with the numbers that a change of the whole volume gives.

Upstream resamples the whole scan and then looks at one patch of it. All its interpolations are
separable: along each axis an output sample is a weighted sum of input samples, so a window is
three small matrices applied to the input around it. The scale is always that of the whole
volume. The one interpolation that is not local, the cubic spline with its prefilter, decays by a
factor of 0.268 per voxel (Unser 1999), so that a margin of 20 voxels is exact to 1e-11.

Two families exist (see `plans.Resampling`):

SPLINE
    scipy.ndimage.zoom with half-pixel centres and replicated edges, as skimage.transform.resize calls it:
    cubic for images, clipped to the input's range, linear for labels and logits. Where the old or
    the new spacing differs by more than a factor of 3 between axes, slices along the coarse axis are
    resized in plane, each clipped to its own range, and taken by nearest neighbour.
TRILINEAR
    torch.nn.functional.interpolate, half-pixel centres, linear for everything, in single precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.lesionlocator.plans import Resampling, ResamplingPlan, Spacing, Triple
from workflow.domain.geometry import BoolArray, FloatArray

ANISOTROPY_THRESHOLD = 3.0
"""Ratio of the largest to the smallest spacing above which the coarse axis is done apart (nnU-Net)."""

_SPLINE_MARGIN = 20
_EDGE_PADDING = 12  # what scipy.ndimage.zoom pads by for mode "nearest"
_ROWS_AT_ONCE = 48


@dataclass(frozen=True)
class AxisWeights:
    """Outputs of one axis as sums of inputs: `matrix`, shape (out, stop - start), over [start, stop)."""

    start: int
    stop: int
    matrix: FloatArray


@dataclass(frozen=True)
class Taps:
    """Linear interpolation along one axis: (1 - fraction) * x[low] + fraction * x[high], per output."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    fraction: FloatArray

    def within(self, start: int, stop: int) -> tuple[int, int]:
        """Range of outputs that touch no input outside [start, stop); empty ranges are (n, n)."""
        inside = np.flatnonzero((self.low >= start) & (self.high < stop))
        return (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)

    def touching(self, start: int, stop: int) -> tuple[int, int]:
        """Range of outputs that touch an input in [start, stop)."""
        touched = np.flatnonzero((self.high >= start) & (self.low < stop))
        return (int(touched[0]), int(touched[-1]) + 1) if touched.size else (0, 0)

    def nearest(self) -> NDArray[np.int64]:
        """The nearer of the two inputs, the higher one where both are as near."""
        return np.where(self.fraction >= 0.5, self.high, self.low)

    def part(self, start: int, stop: int) -> Taps:
        """Those of the outputs [start, stop)."""
        return Taps(self.low[start:stop], self.high[start:stop], self.fraction[start:stop])

    def counted_from(self, first: int) -> Taps:
        """The same with inputs counted from `first`."""
        return Taps(self.low - first, self.high - first, self.fraction)

    def weights(self, start: int, stop: int) -> AxisWeights:
        """The outputs [start, stop) as a matrix over the inputs they touch."""
        low, high = self.low[start:stop], self.high[start:stop]
        first, last = int(low.min()), int(high.max()) + 1
        matrix = np.zeros((stop - start, last - first))
        rows = np.arange(stop - start)
        np.add.at(matrix, (rows, low - first), 1 - self.fraction[start:stop])
        np.add.at(matrix, (rows, high - first), self.fraction[start:stop])
        return AxisWeights(first, last, matrix)


@dataclass(frozen=True, kw_only=True)
class GridChange:
    """From a grid of `old_shape` to one of `new_shape` over the same field of view, axes (z, y, x)."""

    old_shape: Triple
    new_shape: Triple
    family: Resampling
    image_order: int
    separate_axis: int | None

    @classmethod
    def between(
        cls,
        plan: ResamplingPlan,
        *,
        old_shape: Triple,
        old_spacing: Spacing,
        new_shape: Triple,
        new_spacing: Spacing,
    ) -> GridChange:
        """The change that a plan makes between two grids; spacings (z, y, x) in mm."""
        return cls(
            old_shape=old_shape,
            new_shape=new_shape,
            family=plan.family,
            image_order=plan.image_order,
            separate_axis=_separate_axis(plan, old_spacing, new_spacing),
        )

    @property
    def is_identity(self) -> bool:
        """Whether both grids are one; nothing is interpolated then."""
        return self.old_shape == self.new_shape

    @cached_property
    def taps(self) -> tuple[Taps, Taps, Taps]:
        """Linear interpolation along each axis; nearest neighbour along a separate axis."""
        z, y, x = (self._taps(axis) for axis in range(3))
        return z, y, x

    def _taps(self, axis: int) -> Taps:
        old, new = self.old_shape[axis], self.new_shape[axis]
        position: FloatArray = (
            _torch_positions(old, new)
            if self.family is Resampling.TRILINEAR
            else np.clip(_positions(old, new), 0, old - 1)
        )
        if axis == self.separate_axis:
            nearest = np.clip(np.floor(position + 0.5).astype(np.int64), 0, old - 1)
            return Taps(nearest, nearest, np.zeros(new))
        low = np.floor(position).astype(np.int64)
        return Taps(low, np.minimum(low + 1, old - 1), position - low)

    def image_weights(self, axis: int, start: int, stop: int) -> AxisWeights:
        """Weights of the image's interpolation for the outputs [start, stop) of one axis."""
        if self.image_order == 3 and axis != self.separate_axis and not self.is_identity:
            return _cubic_weights(self.old_shape[axis], self.new_shape[axis], start, stop)
        return self.taps[axis].weights(start, stop)


def _separate_axis(plan: ResamplingPlan, old: Spacing, new: Spacing) -> int | None:
    """The axis that is resampled by nearest neighbour, if any: the coarse one of the anisotropic grid."""
    for spacing in (old, new):
        is_anisotropic = max(spacing) / min(spacing) > ANISOTROPY_THRESHOLD
        if plan.separate_z or (plan.separate_z is None and is_anisotropic):
            coarse = [axis for axis in range(3) if spacing[axis] == max(spacing)]
            return coarse[0] if len(coarse) == 1 else None
    return None


def _positions(old: int, new: int) -> FloatArray:
    """Where the new samples lie between the old ones: half-pixel centres, not yet clipped to the edges."""
    positions: FloatArray = (np.arange(new, dtype=np.float64) + 0.5) * (old / new) - 0.5
    return positions


def _torch_positions(old: int, new: int) -> FloatArray:
    # torch computes these in single precision; in a long scan that moves a sample by 1e-4 voxels.
    scale = np.float32(old) / np.float32(new)
    position = scale * (np.arange(new, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    positions: FloatArray = np.clip(position, 0, old - 1).astype(np.float64)
    return positions


def _cubic_weights(old: int, new: int, start: int, stop: int) -> AxisWeights:
    """Cubic B-spline interpolation, its prefilter included."""
    from scipy.ndimage import spline_filter1d

    position = _positions(old, new)[start:stop]
    first = max(0, int(np.floor(position[0])) - 1 - _SPLINE_MARGIN)
    last = min(old, int(np.floor(position[-1])) + 3 + _SPLINE_MARGIN)
    padded = np.pad(np.eye(last - first), ((_EDGE_PADDING, _EDGE_PADDING), (0, 0)), mode="edge")
    coefficients = spline_filter1d(padded, order=3, axis=0, mode="nearest")
    local = position - first + _EDGE_PADDING
    base = np.floor(local).astype(np.int64)
    t = local - base
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4, t**3)
    matrix = sum(w[:, None] / 6 * coefficients[base + k - 1] for k, w in enumerate(basis))
    return AxisWeights(first, last, np.asarray(matrix))


def apply_weights(block: NDArray[Any], weights: Sequence[AxisWeights]) -> FloatArray:
    """Resample a block along its last three axes.

    Parameters
    ----------
    block
        Shape (..., z, y, x): exactly the inputs [start, stop) of each axis' weights.
    weights
        For z, y and x.

    Returns
    -------
    numpy.ndarray
        float64, shape (..., outputs of z, of y, of x).
    """
    out: FloatArray = np.asarray(block, dtype=np.float64)
    # The axis that shrinks most goes first: what follows has less to do.
    order = sorted(range(3), key=lambda axis: weights[axis].matrix.shape[0] / weights[axis].matrix.shape[1])
    for axis in order:
        out = _along(out, weights[axis].matrix, axis - 3)
    return out


def _along(block: FloatArray, matrix: FloatArray, axis: int) -> FloatArray:
    # The matrix is banded: rows are taken in groups, each with the columns it uses.
    moved = np.moveaxis(block, axis, -2) if axis != -1 else block
    rows, columns = matrix.shape
    parts = []
    for row in range(0, rows, _ROWS_AT_ONCE):
        group = matrix[row : row + _ROWS_AT_ONCE]
        used = np.flatnonzero(np.abs(group).max(axis=0) > 1e-13)
        first, last = (int(used[0]), int(used[-1]) + 1) if used.size else (0, min(1, columns))
        if axis == -1:
            parts.append(moved[..., first:last] @ group[:, first:last].T)
        else:
            parts.append(np.matmul(group[:, first:last], moved[..., first:last, :]))
    out: FloatArray = np.concatenate(parts, axis=-1 if axis == -1 else -2)
    return out if axis == -1 else np.moveaxis(out, -2, axis)


def resample_labels(labels: NDArray[Any], change: GridChange, start: Triple, stop: Triple) -> NDArray[Any]:
    """A window of a label map on the new grid.

    Each label is interpolated linearly on its own. SPLINE: the largest wins, a tie goes to the
    nearest voxel's label. TRILINEAR: a label is set where it exceeds one half, else background.

    Parameters
    ----------
    labels
        Integers or bool, shape `change.old_shape`; 0 is background.
    start, stop
        The window on the new grid.

    Returns
    -------
    numpy.ndarray
        Shape `stop - start`, the labels' dtype.
    """
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    if change.is_identity:
        return labels[window].copy()
    taps = [change.taps[axis].part(start[axis], stop[axis]) for axis in range(3)]
    first = [int(tap.low.min()) for tap in taps]
    block = labels[tuple(slice(a, int(tap.high.max()) + 1) for a, tap in zip(first, taps, strict=True))]
    taps = [tap.counted_from(a) for tap, a in zip(taps, first, strict=True)]
    share_of = _torch_share if change.family is Resampling.TRILINEAR else _scipy_share
    shares = ((label, share_of(block == label, taps)) for label in np.unique(block))
    if change.family is Resampling.TRILINEAR:
        return _above_half(shares, taps, labels.dtype)
    nearest = block[np.ix_(*(tap.nearest() for tap in taps))]
    return _largest(shares, nearest)


def _above_half(shares: Iterable[tuple[Any, NDArray[Any]]], taps: Sequence[Taps], dtype: Any) -> NDArray[Any]:
    winner = np.zeros([len(tap.low) for tap in taps], dtype=dtype)
    for label, share in shares:
        winner[share > 0.5] = label
    return winner


def _largest(shares: Iterable[tuple[Any, NDArray[Any]]], nearest: NDArray[Any]) -> NDArray[Any]:
    winner, best = np.zeros_like(nearest), np.full(nearest.shape, -1.0)
    share_of_nearest = np.zeros(nearest.shape)
    for label, share in shares:
        winner[share > best] = label
        best = np.maximum(best, share)
        share_of_nearest = np.where(nearest == label, share, share_of_nearest)
    return np.where(share_of_nearest == best, nearest, winner)


def _scipy_share(block: BoolArray, taps: Sequence[Taps]) -> FloatArray:
    """Linear interpolation of an indicator, summed in scipy's order: ties are decided by the last bit."""
    ends = [((tap.low, 1 - tap.fraction), (tap.high, tap.fraction)) for tap in taps]
    share: FloatArray = np.zeros([len(tap.low) for tap in taps])
    for (z, of_z), (y, of_y), (x, of_x) in product(*ends):
        weight = (of_z[:, None, None] * of_y[:, None]) * of_x
        share += np.where(block[np.ix_(z, y, x)], weight, 0.0)
    return share


def _torch_share(block: BoolArray, taps: Sequence[Taps]) -> NDArray[np.float32]:
    """Linear interpolation of an indicator in single precision, innermost axis first as torch does."""
    out: NDArray[np.float32] = block.astype(np.float32)
    for axis in (2, 1, 0):
        high = taps[axis].fraction.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        low = np.float32(1) - high
        out = low * np.take(out, taps[axis].low, axis) + high * np.take(out, taps[axis].high, axis)
    return out


def resample_mask(mask: BoolArray, start: Triple, change: GridChange) -> tuple[BoolArray, Triple]:
    """A mask, given as a block at `start` of the old grid, on the new grid: the block there and its start."""
    stop = tuple(s + n for s, n in zip(start, mask.shape, strict=True))
    ranges = [change.taps[axis].touching(start[axis], stop[axis]) for axis in range(3)]
    out_start = (ranges[0][0], ranges[1][0], ranges[2][0])
    out_stop = (ranges[0][1], ranges[1][1], ranges[2][1])
    # Only what lies around the block is looked at: the rest of the old grid is background.
    whole = np.zeros(change.old_shape, dtype=bool)
    whole[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = mask
    return resample_labels(whole, change, out_start, out_stop).astype(bool), out_start
