"""From a CT in HU to the network's grid and intensities, and masks back.

The order is upstream's: crop away a border that is exactly zero, clip and scale the intensities,
change the grid. Only the window that a network sees is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.lesionlocator.plans import Normalisation, Plan, Resampling, Spacing, Triple
from models.lesionlocator.resampling import GridChange, apply_weights
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import BoolArray, FloatArray, Mask, Volume

_SLICES_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkImage:
    """A scan and the way to the network's grid. Axes are (z, y, x) throughout.

    Attributes
    ----------
    array
        HU, shape (z, y, x), before cropping.
    crop_start, crop_stop
        Bounding box of the voxels that are not exactly 0.
    shape
        Of the cropped scan on the network's grid.
    """

    array: NDArray[Any]
    spacing: Spacing
    plan: Plan
    crop_start: Triple
    crop_stop: Triple
    shape: Triple

    @classmethod
    def of(cls, array: NDArray[Any], spacing: Spacing, plan: Plan) -> NetworkImage:
        """Prepare a scan: HU, shape (z, y, x), spacing in mm.

        The spacing is taken to the nearest nanometre: how many voxels the network's grid has, and
        whether an axis is coarse, must not hang on the rounding errors of a header.

        Raises
        ------
        UnsuitableInputError
            If every voxel is 0.
        """
        exact = _spacing(round(mm, 6) for mm in spacing)
        held = array != 0
        found = [np.flatnonzero(held.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        if found[0].size == 0:
            raise UnsuitableInputError("every voxel of the volume is 0 HU: there is no image in it")
        start, stop = _triple(int(f[0]) for f in found), _triple(int(f[-1]) + 1 for f in found)
        cropped = _triple(b - a for a, b in zip(start, stop, strict=True))
        shape = _triple(
            max(1, round(old / new * n)) for old, new, n in zip(exact, plan.spacing, cropped, strict=True)
        )
        return cls(array=array, spacing=exact, plan=plan, crop_start=start, crop_stop=stop, shape=shape)

    @property
    def cropped_shape(self) -> Triple:
        """Shape of the cropped scan on its own grid."""
        return _triple(b - a for a, b in zip(self.crop_start, self.crop_stop, strict=True))

    @cached_property
    def forward(self) -> GridChange:
        """From the cropped scan's grid to the network's."""
        return GridChange.between(
            self.plan.resampling,
            old_shape=self.cropped_shape,
            old_spacing=self.spacing,
            new_shape=self.shape,
            new_spacing=self.plan.spacing,
        )

    @cached_property
    def backward(self) -> GridChange:
        """From the network's grid to the cropped scan's."""
        return GridChange.between(
            self.plan.resampling,
            old_shape=self.shape,
            old_spacing=self.plan.spacing,
            new_shape=self.cropped_shape,
            new_spacing=self.spacing,
        )

    @property
    def cropped(self) -> NDArray[Any]:
        """The scan without its zero border, HU, a view."""
        return self.array[tuple(slice(a, b) for a, b in zip(self.crop_start, self.crop_stop, strict=True))]

    def to_scan(self, start: Triple, stop: Triple) -> tuple[Triple, Triple]:
        """The voxels of the scan's own grid that a box of the network's grid can speak about."""
        ranges = [self.backward.taps[a].within(start[a], stop[a]) for a in range(3)]
        return (
            _triple(c + a for c, (a, _) in zip(self.crop_start, ranges, strict=True)),
            _triple(c + b for c, (_, b) in zip(self.crop_start, ranges, strict=True)),
        )

    def index_on_scan(self, index: FloatArray) -> FloatArray:
        """A fractional index of the network's grid as one of the scan's own grid, shape (3,)."""
        ratio = np.asarray(self.cropped_shape) / np.asarray(self.shape)
        own: FloatArray = (np.asarray(index) + 0.5) * ratio - 0.5 + np.asarray(self.crop_start)
        return own

    @cached_property
    def _limits(self) -> tuple[FloatArray, FloatArray]:
        """Range to which interpolated intensities are clipped, per slice of a separate axis."""
        axis = self.forward.separate_axis
        others = None if axis is None else tuple(a for a in range(3) if a != axis)
        cropped = self.cropped
        low, high = (
            normalise(np.asarray(extreme, dtype=np.float32), self.plan.normalisation).astype(np.float64)
            for extreme in (
                cropped.min(axis=others, keepdims=axis is not None),
                cropped.max(axis=others, keepdims=axis is not None),
            )
        )
        return low, high

    def window(self, start: Triple, stop: Triple) -> NDArray[np.float32]:
        """The normalised image in a window of the network's grid, float32, shape `stop - start`."""
        change = self.forward
        if change.is_identity:
            inside = self.cropped[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
            return normalise(inside.astype(np.float32), self.plan.normalisation)
        weights = [change.image_weights(axis, start[axis], stop[axis]) for axis in range(3)]
        block = self.cropped[tuple(slice(w.start, w.stop) for w in weights)]
        out = apply_weights(normalise(block.astype(np.float32), self.plan.normalisation), weights)
        low, high = self._limits
        axis = change.separate_axis
        if axis is not None:
            taken = change.taps[axis].low[start[axis] : stop[axis]]
            low, high = np.take(low, taken, axis=axis), np.take(high, taken, axis=axis)
        np.clip(out, low, high, out=out)
        return out.astype(np.float32)

    def whole(self) -> NDArray[np.float32]:
        """The whole normalised image on the network's grid, float32."""
        if self.plan.resampling.family is Resampling.TRILINEAR and not self.forward.is_identity:
            return self._whole_by_torch()
        # Slab by slab: splines are computed in double precision.
        out = np.empty(self.shape, dtype=np.float32)
        for start in range(0, self.shape[0], _SLICES_AT_ONCE):
            stop = min(start + _SLICES_AT_ONCE, self.shape[0])
            out[start:stop] = self.window((start, 0, 0), (stop, *self.shape[1:]))
        return out

    def _whole_by_torch(self) -> NDArray[np.float32]:
        # Where all is wanted, torch itself is faster, and bit for bit what upstream computes.
        import torch

        scaled = normalise(self.cropped.astype(np.float32), self.plan.normalisation)
        resized = torch.nn.functional.interpolate(
            torch.from_numpy(scaled)[None, None], self.shape, mode="trilinear"
        )
        out: NDArray[np.float32] = resized[0, 0].numpy()
        return out

    def restore(
        self, logits: NDArray[np.float32], start: Triple, *, outside: tuple[float, float] | None = None
    ) -> Mask:
        """The lesion on the scan's own grid.

        Parameters
        ----------
        logits
            Background and lesion, shape (2, z, y, x): a box of the network's grid.
        start
            The box's first voxel on that grid.
        outside
            The logits everywhere else. None: there are none, and a voxel of the scan that would
            need one is background.

        Returns
        -------
        Mask
            Where the interpolated logit of the lesion is the larger one.
        """
        if outside is not None:
            logits, start = self._with_ring(logits, start, outside)
        stop = _triple(s + n for s, n in zip(start, logits.shape[1:], strict=True))
        ranges = [self.backward.taps[a].within(start[a], stop[a]) for a in range(3)]
        if any(b <= a for a, b in ranges):
            return Mask.from_array(np.zeros((1, 1, 1), dtype=bool), shape=_triple(self.array.shape))
        # Linear interpolation of a difference is the difference of the interpolations.
        lead = self._resampled_lead(logits, start, ranges)
        first = _triple(c + a for c, (a, _) in zip(self.crop_start, ranges, strict=True))
        return Mask.from_array(lead > 0, first, _triple(self.array.shape))

    def _resampled_lead(
        self, logits: NDArray[np.float32], start: Triple, ranges: list[tuple[int, int]]
    ) -> FloatArray:
        lead: FloatArray = logits[1].astype(np.float64) - logits[0]
        if self.backward.is_identity:
            return lead
        weights = [self.backward.taps[axis].weights(*ranges[axis]) for axis in range(3)]
        block = tuple(slice(w.start - s, w.stop - s) for w, s in zip(weights, start, strict=True))
        return apply_weights(lead[block], weights)

    def _with_ring(
        self, logits: NDArray[np.float32], start: Triple, outside: tuple[float, float]
    ) -> tuple[NDArray[np.float32], Triple]:
        """The box grown by one voxel of the outer value where the grid goes on."""
        before = [min(1, s) for s in start]
        after = [min(1, n - s - k) for n, s, k in zip(self.shape, start, logits.shape[1:], strict=True)]
        shape = [b + k + a for b, k, a in zip(before, logits.shape[1:], after, strict=True)]
        grown = np.empty((2, *shape), dtype=np.float32)
        grown[0], grown[1] = outside
        inner = tuple(slice(b, b + k) for b, k in zip(before, logits.shape[1:], strict=True))
        grown[(slice(None), *inner)] = logits
        return grown, _triple(s - b for s, b in zip(start, before, strict=True))


def require_finite(volume: Volume) -> None:
    """Refuse a volume with values that are no numbers.

    Raises
    ------
    UnsuitableInputError
        Naming the first such voxel.
    """
    if np.issubdtype(volume.array.dtype, np.floating) and not np.isfinite(volume.array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(volume.array))[0])
        raise UnsuitableInputError(f"the volume holds no number at voxel {where} (slice, row, column)")


def normalise(hu: NDArray[np.float32], by: Normalisation) -> NDArray[np.float32]:
    """Clip and scale HU (float32, any shape), in single precision as upstream does."""
    out: NDArray[np.float32] = np.clip(hu, np.float32(by.low), np.float32(by.high))
    out -= np.float32(by.mean)
    out /= np.float32(max(by.std, 1e-8))
    return out


def crop_mask(mask: Mask, image: NetworkImage) -> tuple[BoolArray, Triple]:
    """The part of a mask on the scan's grid that lies in the cropped scan: block and its start there."""
    start = np.maximum(mask.start_ijk, image.crop_start)
    stop = np.maximum(np.minimum(mask.stop_ijk, image.crop_stop), start)
    box = tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(start, stop, mask.start_ijk, strict=True))
    return mask.voxels[box], _triple(int(a - c) for a, c in zip(start, image.crop_start, strict=True))


def _triple(values: Any) -> Triple:
    z, y, x = values
    return int(z), int(y), int(x)


def _spacing(values: Any) -> Spacing:
    z, y, x = values
    return float(z), float(y), float(x)
