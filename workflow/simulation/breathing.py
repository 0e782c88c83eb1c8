"""A smooth, invertible deformation like a different breath, and the image that it gives.

`Breathing` takes a position in the new image to where that tissue was (`to_old`) and back (`to_new`).
Both are exact to 1e-6 mm and inverse to each other, so landmarks and contours move with the tissue.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workflow.domain.geometry import FloatArray, Mask, Point, Volume
from workflow.simulation.nodules import Noise, estimate_noise

# Below 1 the map is invertible and its inverse is found by iteration; a real breath stays far below.
_LARGEST_STRAIN = 0.5
_ITERATIONS = 60


@dataclass(frozen=True, kw_only=True)
class Breathing:
    """A sum of Gaussian displacements from the new image to the old one.

    Attributes
    ----------
    centres_lps
        Where each displacement is largest, LPS mm, shape (n, 3).
    shifts_mm
        The displacement there, new to old, shape (n, 3).
    widths_mm
        Standard deviation of each Gaussian, mm, shape (n,).
    """

    centres_lps: FloatArray
    shifts_mm: FloatArray
    widths_mm: FloatArray

    def __post_init__(self) -> None:
        if self.largest_strain > _LARGEST_STRAIN:
            raise ValueError(
                f"the deformation strains tissue by {self.largest_strain:.2f}, above {_LARGEST_STRAIN}: "
                "take smaller shifts or larger widths, or it may fold"
            )

    @property
    def largest_strain(self) -> float:
        """Upper bound of the displacement's gradient; below 1 the map can't fold."""
        # A Gaussian's steepest slope is its height over its width, times exp(-1/2).
        slopes = np.linalg.norm(self.shifts_mm, axis=1) / self.widths_mm
        return float(slopes.sum() * np.exp(-0.5))

    def displacement(self, position_lps: NDArray[np.float64]) -> FloatArray:
        """Displacement (mm) from the new image to the old one at positions (LPS mm), shape (n, 3) or (3,)."""
        position = np.asarray(position_lps, dtype=np.float64)
        total = np.zeros_like(position)
        for centre, shift, width in zip(self.centres_lps, self.shifts_mm, self.widths_mm, strict=True):
            squared = ((position - centre) ** 2).sum(axis=-1, keepdims=True)
            total += np.exp(-0.5 * squared / width**2) * shift
        return total

    def to_old(self, position_lps: NDArray[np.float64]) -> FloatArray:
        """Where tissue at positions of the new image was in the old one; LPS mm, shape (n, 3) or (3,)."""
        position = np.asarray(position_lps, dtype=np.float64)
        old: FloatArray = position + self.displacement(position)
        return old

    def to_new(self, position_lps: NDArray[np.float64]) -> FloatArray:
        """Where tissue at positions of the old image is in the new one; LPS mm, shape (n, 3) or (3,)."""
        old = np.asarray(position_lps, dtype=np.float64)
        new = old.copy()
        for _ in range(_ITERATIONS):
            step = old - self.displacement(new) - new
            new += step
            if not step.size or np.abs(step).max() < 1e-9:
                break
        return new

    def warp(self, volume: Volume, *, seed: int = 0) -> Volume:
        """The image of the deformed tissue, on the same grid; what comes from beyond it repeats its border.

        Interpolation smooths noise away; as much as it took is added again, drawn with `seed`.

        Parameters
        ----------
        volume
            CT in HU.
        seed
            Of the added noise.
        """
        array = self._resample(volume, volume.array.astype(np.float32))
        warped = volume.with_array(array)
        before, after = estimate_noise(volume), estimate_noise(warped)
        lost = before.sigma_hu**2 - after.sigma_hu**2
        if lost > 0:
            noise = Noise(sigma_hu=float(np.sqrt(lost)), blur_voxels=before.blur_voxels)
            array = array + noise.field(volume.shape, np.random.default_rng([seed, 4])).astype(np.float32)
            # Outside the scanner's field of view there is a constant and no noise.
            array = np.where(warped.array <= float(volume.array.min()) + 1, warped.array, array)
        if np.issubdtype(volume.array.dtype, np.integer):
            array = np.clip(np.rint(array), volume.array.min(), np.iinfo(volume.array.dtype).max)
        return volume.with_array(array.astype(volume.array.dtype))

    def warp_mask(self, mask: Mask, volume: Volume) -> Mask:
        """A mask on `volume`'s grid after the deformation, on the same grid."""
        if mask.is_empty:
            return mask
        inside = mask.array()
        margin = float(np.linalg.norm(self.shifts_mm, axis=1).sum()) + 2 * max(volume.spacing_mm)
        start, stop = mask.box_with_margin(margin, volume.spacing_mm)
        box = volume.with_array(inside).crop(start, stop)
        signed = ndimage.distance_transform_edt(box.array, sampling=volume.spacing_mm)
        signed = signed - ndimage.distance_transform_edt(~box.array, sampling=volume.spacing_mm)
        moved = self._resample(box, signed.astype(np.float32))
        return Mask.from_array(moved > 0, start, volume.shape)

    def _resample(self, grid: Volume, array: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.empty(grid.shape, dtype=np.float32)
        rows, columns = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in grid.shape[1:]], indexing="ij")
        profiles = self._profiles(grid)
        shifts = (np.linalg.inv(grid.affine[:3, :3]) @ self.shifts_mm.T).T.astype(np.float32)

        def one(k: int) -> None:
            index = np.stack([np.full_like(rows, k), rows, columns])
            for (along_slices, along_rows, along_columns), shift in zip(profiles, shifts, strict=True):
                weight = along_slices[k] * along_rows[:, None] * along_columns
                index += shift[:, None, None] * weight
            ndimage.map_coordinates(array, index, output=out[k], order=1, mode="nearest")

        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(one, range(grid.shape[0])))
        return out

    def _profiles(self, grid: Volume) -> list[list[NDArray[np.float32]]]:
        """Each Gaussian along each axis of a grid; the axes are perpendicular, so it is their product."""
        profiles = []
        for centre, width in zip(self.centres_lps, self.widths_mm, strict=True):
            middle = grid.ijk(centre)
            profiles.append(
                [
                    np.exp(-0.5 * ((np.arange(n) - m) * step / width) ** 2).astype(np.float32)
                    for n, m, step in zip(grid.shape, middle, grid.spacing_mm, strict=True)
                ]
            )
        return profiles


def breathing_of(volume: Volume, *, seed: int, diaphragm_mm: float = 10.0) -> Breathing:
    """A breath for a chest volume.

    The diaphragm moves along z by `diaphragm_mm`, the front of the chest forward by a quarter of that,
    and tissue in between by 1 to 2 mm in directions drawn with `seed`.
    """
    rng = np.random.default_rng([seed, 5])
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape])).reshape(3, -1).T
    low, high = volume.lps(corners).min(axis=0), volume.lps(corners).max(axis=0)
    middle, size = (low + high) / 2, high - low
    centres: list[Point] = [
        (middle[0], middle[1], low[2] + 0.2 * size[2]),
        (middle[0], low[1] + 0.3 * size[1], middle[2]),
    ]
    shifts = [(0.0, 0.0, diaphragm_mm), (0.0, 0.25 * diaphragm_mm, 0.0)]
    widths = [0.35 * size[2], 0.25 * float(size.min())]
    for _ in range(4):
        place = low + rng.uniform(0.2, 0.8, 3) * size
        centres.append((float(place[0]), float(place[1]), float(place[2])))
        direction = rng.normal(size=3)
        direction *= rng.uniform(1.0, 2.0) / np.linalg.norm(direction)
        shifts.append((float(direction[0]), float(direction[1]), float(direction[2])))
        widths.append(rng.uniform(30.0, 45.0))
    return Breathing(centres_lps=np.array(centres), shifts_mm=np.array(shifts), widths_mm=np.array(widths))
