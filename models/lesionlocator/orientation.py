"""Volumes of any orientation as the networks see them: slices upwards, rows to the back, columns to the left.

Upstream takes the axes as they lie in the file; a sagittal or upside-down volume then shows the
network a body it never learned. Here axes are swapped and reversed, never interpolated. A volume
that already lies so passes unchanged, an oblique one keeps its tilt.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from workflow.domain.geometry import Mask, Volume


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """Axis `order[k]` of the volume is axis k of the network's view, reversed where `reverse[k]`."""

    order: tuple[int, int, int]
    reverse: tuple[bool, bool, bool]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, volume: Volume) -> Orientation:
        """The swap that brings a volume's axes nearest to (Superior, Posterior, Left)."""
        towards = volume.directions[::-1]  # rows: along S (z), P (y), L (x); columns: the volume's axes
        order = max(
            permutations(range(3)), key=lambda o: sum(abs(towards[k, axis]) for k, axis in enumerate(o))
        )
        reverse = tuple(bool(towards[k, axis] < 0) for k, axis in enumerate(order))
        return cls(
            order=(order[0], order[1], order[2]),
            reverse=(reverse[0], reverse[1], reverse[2]),
            shape=volume.shape,
        )

    def view(self, volume: Volume) -> Volume:
        """The same voxels at the same places in the patient, axes (z, y, x); the array is a view."""
        flips = tuple(slice(None, None, -1) if back else slice(None) for back in self.reverse)
        affine = volume.affine.copy()
        for k, (axis, back) in enumerate(zip(self.order, self.reverse, strict=True)):
            step = volume.affine[:3, axis]
            affine[:3, k] = -step if back else step
            if back:
                affine[:3, 3] += step * (volume.shape[axis] - 1)
        return Volume(array=volume.array.transpose(self.order)[flips], affine=affine)

    def mask_to_view(self, mask: Mask) -> Mask:
        """A mask of the volume's grid on the view's grid."""
        starts, stops = mask.start_ijk, mask.stop_ijk
        start = [
            mask.shape[axis] - stops[axis] if back else starts[axis]
            for axis, back in zip(self.order, self.reverse, strict=True)
        ]
        flips = tuple(slice(None, None, -1) if back else slice(None) for back in self.reverse)
        z, y, x = (mask.shape[axis] for axis in self.order)
        return Mask(
            voxels=np.ascontiguousarray(mask.voxels.transpose(self.order)[flips]),
            start_ijk=(start[0], start[1], start[2]) if not mask.is_empty else (0, 0, 0),
            shape=(z, y, x),
        )

    def mask_from_view(self, mask: Mask) -> Mask:
        """A mask of the view's grid on the volume's grid."""
        if mask.is_empty:
            return Mask(voxels=mask.voxels, start_ijk=(0, 0, 0), shape=self.shape)
        flips = tuple(slice(None, None, -1) if back else slice(None) for back in self.reverse)
        start = [0, 0, 0]
        for k, (axis, back) in enumerate(zip(self.order, self.reverse, strict=True)):
            start[axis] = mask.shape[k] - mask.stop_ijk[k] if back else mask.start_ijk[k]
        back_to = np.argsort(self.order)
        return Mask(
            voxels=np.ascontiguousarray(mask.voxels[flips].transpose(back_to)),
            start_ijk=(start[0], start[1], start[2]),
            shape=self.shape,
        )
