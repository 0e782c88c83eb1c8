"""Slices as a radiologist sees them: networks for single slices were trained on that orientation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workflow.domain.geometry import Mask, Volume

# Patient axis of the slices (x, y, z of LPS) to the patient axis and sign in which rows and columns run:
# sagittal and coronal with the head up, axial with the front up; the patient's left on the right-hand side.
_ROWS = {0: (2, -1), 1: (2, -1), 2: (1, 1)}
_COLUMNS = {0: (1, 1), 1: (0, 1), 2: (0, 1)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Display:
    """A volume with its slices turned upright, and the way back.

    The slices stay those that were acquired; only their order, their rows and their columns may be reversed,
    and rows and columns exchanged.

    Attributes
    ----------
    volume
        The same voxels (a view) and the same place in the patient.
    is_exchanged
        Whether rows and columns are exchanged.
    is_reversed
        For (slice, row, column) of `volume`, whether the axis runs against the original's.
    original_shape
        (slices, rows, columns) of the original.
    """

    volume: Volume
    is_exchanged: bool
    is_reversed: tuple[bool, bool, bool]
    original_shape: tuple[int, int, int]

    def back(self, mask: Mask) -> Mask:
        """A mask on `volume` as one on the original's grid."""
        if mask.is_empty:
            return Mask(voxels=mask.voxels, start_ijk=(0, 0, 0), shape=self.original_shape)
        steps = tuple(slice(None, None, -1 if reverse else 1) for reverse in self.is_reversed)
        voxels = mask.voxels[steps]
        start = [
            length - stop if reverse else begin
            for begin, stop, length, reverse in zip(
                mask.start_ijk, mask.stop_ijk, mask.shape, self.is_reversed, strict=True
            )
        ]
        if self.is_exchanged:
            voxels = voxels.transpose(0, 2, 1)
            start = [start[0], start[2], start[1]]
        return Mask(
            voxels=np.ascontiguousarray(voxels),
            start_ijk=(start[0], start[1], start[2]),
            shape=self.original_shape,
        )


def upright(volume: Volume) -> Display:
    """Turn a volume's slices upright, as far as reversing and exchanging axes can."""
    directions = volume.directions
    through = int(np.argmax(np.abs(directions[:, 0])))
    row_axis, row_sign = _ROWS[through]
    column_axis, column_sign = _COLUMNS[through]
    is_exchanged = bool(abs(directions[row_axis, 2]) > abs(directions[row_axis, 1]))
    order = (0, 2, 1) if is_exchanged else (0, 1, 2)
    turned = directions[:, order]
    is_reversed = (
        bool(turned[through, 0] < 0),
        bool(turned[row_axis, 1] * row_sign < 0),
        bool(turned[column_axis, 2] * column_sign < 0),
    )
    array = volume.array.transpose(order)
    affine = volume.affine[:, (*order, 3)].copy()
    for axis, reverse in enumerate(is_reversed):
        if reverse:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    steps = tuple(slice(None, None, -1 if reverse else 1) for reverse in is_reversed)
    return Display(
        volume=Volume(array=array[steps], affine=affine),
        is_exchanged=is_exchanged,
        is_reversed=is_reversed,
        original_shape=volume.shape,
    )
