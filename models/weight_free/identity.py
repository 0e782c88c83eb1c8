"""Whether two registered images show one person: by structures that stay, and that registration can't invent.

Deformable registration brings any two chests together, so how well they match in the end says little. It sees
CT numbers up to 100 HU on a grid of 2.5 mm or more: bone above that, and vessels of a few millimetres in the
lung, fall on their like only if both images are of one person. Other images have no such scale: what counts
there is how well they match before any deformation, and how much of it they need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workflow.domain.geometry import BoolArray, FloatArray, Volume, lps_from_ijk

Array = NDArray[np.float32]

_AIR_HU = -500.0
_BONE_HU = (100.0, 700.0)  # the range that is compared; the parts above `_CLEARLY_BONE_HU` and what is beside
_CLEARLY_BONE_HU = 160.0
_LUNG_HU = (-1000.0, 0.0)
_DEEP_IN_LUNG_HU, _LUNG_RADIUS_MM = -600.0, 6.0
_VESSELS_MM = 6.0  # structures smaller than this
_LEAST_VOXEL_COUNT = 400  # of the working grid, 11 ml or more
_LEAST_LUNG_VOXEL_COUNT = 3000  # more than the air between a patient and the table

# Similarity below which two images are not taken for one person's. Measured in
# docs/decisions/weight-free-model.md, beside what pairs of one and of two persons have.
LEAST_CT, LEAST_OTHER = 0.65, -0.18


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What the comparison found.

    Attributes
    ----------
    similarity
        On CT the correlation of structures after deformation. On other images that of structures of 4 to
        20 mm before it, less the standard deviation of the logarithm of how much tissue grows by it: two
        persons' organs come together only by pulling. None if the images show too little to tell.
    by
        What was compared, as a sentence's subject.
    least
        The similarity that images of one person have at least.
    """

    similarity: float | None
    by: str
    least: float

    @property
    def is_in_doubt(self) -> bool:
        """Whether the images may show two persons."""
        return self.similarity is not None and self.similarity < self.least


def identity_of(
    prior: Volume,
    new: Volume,
    affine: FloatArray,
    displacement: Array,
    fixed: Volume,
    body: BoolArray,
    structures: float,
) -> Identity:
    """Compare a registered pair.

    Parameters
    ----------
    prior, new
        The images, CT in HU or any other kind.
    affine, displacement, fixed
        See `models.weight_free.registration.Registration`.
    body
        Bool on the grid of `fixed`: where either image has tissue.
    structures
        Similarity of structures before deformation less the deformation's `uneven_growth`.
    """
    by_structures = Identity(
        similarity=structures if body.sum() >= _LEAST_VOXEL_COUNT else None,
        by="structures, less the stretch that they need,",
        least=LEAST_OTHER,
    )
    if not (is_hu(prior) and is_hu(new)):
        return by_structures
    indices = np.indices(fixed.shape).reshape(3, -1).T
    places = fixed.lps(indices)
    there = lps_from_ijk(places + displacement.reshape(-1, 3), affine)

    def seen(limits_hu: tuple[float, float]) -> tuple[Array, Array]:
        return (
            _sampled(prior, places, limits_hu, fixed),
            _sampled(new, there, limits_hu, fixed),
        )

    found = [
        ("bone", _by_bone(*seen(_BONE_HU), body)),
        ("vessels of the lung", _by_vessels(*seen(_LUNG_HU), body, np.asarray(fixed.spacing_mm))),
    ]
    told = [(value, by) for by, value in found if value is not None]
    if not told:
        return by_structures
    # Either is enough: a lung may have collapsed, and ribs be covered by metal.
    similarity, by = max(told)
    return Identity(similarity=similarity, by=by, least=LEAST_CT)


def is_hu(volume: Volume) -> bool:
    """Whether a volume holds CT numbers: there is air in it."""
    return float(volume.array[::2, ::4, ::4].min()) <= _AIR_HU


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Pearson's correlation of two arrays of one shape; 0 where one is constant."""
    a, b = one - one.mean(dtype=np.float64), other - other.mean(dtype=np.float64)
    return float((a * b).sum() / np.sqrt(max((a * a).sum() * (b * b).sum(), 1e-12)))


def _by_bone(one: Array, other: Array, body: BoolArray) -> float | None:
    dense = body & ((one > _CLEARLY_BONE_HU) | (other > _CLEARLY_BONE_HU))
    looked_at = ndimage.binary_dilation(dense) & body
    return correlation(one[looked_at], other[looked_at]) if dense.sum() >= _LEAST_VOXEL_COUNT else None


def _by_vessels(one: Array, other: Array, body: BoolArray, spacing_mm: FloatArray) -> float | None:
    deep = body.copy()
    fine = []
    for image in (one, other):
        deep &= ndimage.gaussian_filter(image, _LUNG_RADIUS_MM / spacing_mm) < _DEEP_IN_LUNG_HU
        deep &= image > -950.0  # air around the patient
        fine.append(image - ndimage.gaussian_filter(image, _VESSELS_MM / spacing_mm))
    return correlation(fine[0][deep], fine[1][deep]) if deep.sum() >= _LEAST_LUNG_VOXEL_COUNT else None


def uneven_growth(displacement: Array, grid: Volume, body: BoolArray) -> float:
    """Standard deviation of the logarithm of how much tissue grows by a displacement (LPS mm) on a grid."""
    slopes = [np.asarray(np.gradient(displacement, axis=axis)) for axis in range(3)]
    # [..., component, axis]: change of each component along each axis of the grid.
    change = np.stack(slopes, axis=-1)[body]
    growth = np.linalg.det(change @ np.linalg.inv(grid.affine[:3, :3]) + np.eye(3))
    return float(np.std(np.log(np.clip(growth, 0.05, 20)))) if growth.size else 0.0


def _sampled(volume: Volume, places_lps: FloatArray, limits: tuple[float, float], grid: Volume) -> Array:
    """A volume, clipped and as coarse as a grid, at positions for all of the grid's voxels."""
    spacing = np.asarray(volume.spacing_mm)
    blur = 0.45 * np.sqrt(np.maximum((grid.spacing_mm[0] / spacing) ** 2 - 1, 0))
    clipped = np.clip(volume.array.astype(np.float32), *limits)
    smooth = ndimage.gaussian_filter(clipped, blur, mode="nearest", truncate=3)
    values = ndimage.map_coordinates(smooth, volume.ijk(places_lps).T, order=1, mode="nearest")
    return np.asarray(values.reshape(grid.shape), dtype=np.float32)
