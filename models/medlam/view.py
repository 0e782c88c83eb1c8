"""A CT as MedLAM sees it: 3 mm voxels, axes upwards, forwards and to the left, HU mapped to 0 .. 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.medlam.network import PATCH
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Volume

SPACING_MM = 3.0
_HU = (-1000.0, -200.0, 200.0, 1500.0)
_LEVELS = (0.0, 0.2, 0.8, 1.0)
_HALF = PATCH // 2
# A body is not larger; a volume that seems so has a wrong spacing.
_MAXIMUM_MM = 3000.0


@dataclass(frozen=True, kw_only=True, eq=False)
class BodyView:
    """The resampled CT.

    Attributes
    ----------
    array
        float32, axes (z upwards, y forwards, x to the left), 3 mm, 0 .. 1, no padding.
    origin_lps
        Centre of the first voxel, LPS mm.
    """

    array: NDArray[np.float32]
    origin_lps: FloatArray

    def patches(self, centres: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cubes of 64 voxels around voxels (n, 3), which may lie outside; air where the CT ends."""
        padded = np.pad(self.array, PATCH)
        inside = np.clip(centres, -_HALF, np.asarray(self.array.shape) + _HALF - 1) + PATCH
        cut = [padded[tuple(slice(int(c) - _HALF, int(c) + _HALF) for c in centre)] for centre in inside]
        return np.stack(cut)

    def voxels(self, positions_lps: FloatArray) -> FloatArray:
        """Fractional voxels (z, y, x) of positions, LPS mm, shape (n, 3)."""
        away = (np.atleast_2d(positions_lps) - self.origin_lps) / SPACING_MM
        return np.stack([away[:, 2], -away[:, 1], away[:, 0]], axis=1)

    def positions(self, voxels: FloatArray) -> FloatArray:
        """Positions in LPS mm of fractional voxels (z, y, x), shape (n, 3); the inverse of `voxels`."""
        z, y, x = np.atleast_2d(np.asarray(voxels, dtype=np.float64)).T * SPACING_MM
        return np.stack([x, -y, z], axis=1) + self.origin_lps


def offset_lps(offset_zyx: FloatArray) -> FloatArray:
    """An offset in the view's axes (mm; z upwards, y forwards, x to the left) as one in LPS, shape (n, 3)."""
    z, y, x = np.atleast_2d(offset_zyx).T
    return np.stack([x, -y, z], axis=1)


def body_view(volume: Volume) -> BodyView:
    """Resample a CT for MedLAM, whatever its orientation: trilinear, air outside.

    Raises
    ------
    UnsuitableInputError
        If the volume is larger than any body, which means that its spacing is wrong.
    """
    from scipy.ndimage import affine_transform

    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape])).reshape(3, -1).T
    places = volume.lps(corners)
    low, high = places.min(axis=0), places.max(axis=0)
    if (high - low).max() > _MAXIMUM_MM:
        raise UnsuitableInputError(
            f"the volume measures {(high - low).max():.0f} mm, more than any body; check its spacing"
        )
    origin = np.array([low[0], high[1], low[2]])
    shape_xyz = np.floor((high - low) / SPACING_MM + 1e-6).astype(int) + 1
    to_lps = np.zeros((3, 3))
    to_lps[2, 0], to_lps[1, 1], to_lps[0, 2] = SPACING_MM, -SPACING_MM, SPACING_MM
    inverse = np.linalg.inv(volume.affine[:3, :3])
    resampled = affine_transform(
        volume.array.astype(np.float32),
        inverse @ to_lps,
        offset=inverse @ (origin - volume.affine[:3, 3]),
        output_shape=(shape_xyz[2], shape_xyz[1], shape_xyz[0]),
        order=1,
        mode="constant",
        cval=_HU[0],
    )
    return BodyView(array=np.interp(resampled, _HU, _LEVELS).astype(np.float32), origin_lps=origin)
