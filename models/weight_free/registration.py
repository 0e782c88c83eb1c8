"""Where the tissue of one volume lies in another: translation, rigid, affine, then demons, coarse to fine.

Deterministic: nothing is sampled at random, and no sum depends on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.weight_free.identity import Identity, correlation, identity_of, is_hu, uneven_growth
from models.weight_free.sliding import slide
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Volume, ijk_from_lps, lps_from_ijk

_TRANSLATION_MM = 8.0
_FINEST_MM = 2.5
# Of structures, in the body; see `_refuse_unlike`.
_LEAST_SIMILARITY, _LEAST_SHARE = 0.3, 0.01
# Stretch of a person between two visits, along any axis; an affine map beyond it has lost its way.
_LEAST_STRETCH, _LARGEST_STRETCH = 0.75, 1.34
_STRUCTURES_MM = (4.0, 20.0)
_TISSUE = 0.2  # of the working range; below it are air and lung
_SMALLEST_OVERLAP = 0.3  # of the smaller image
_LARGEST_SAMPLE = 1e5
_AIR_HU, _DENSE_HU = -1000.0, 100.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Registration:
    """A map from the prior volume into the new one, with the images that it was made on.

    Attributes
    ----------
    affine
        Shape (4, 4), LPS mm of the prior (displaced) to LPS mm of the new volume.
    displacement
        Shape (slices, rows, columns, 3): LPS mm that is added before the affine, on the grid of `fixed`.
    fixed, moved
        The prior, and the new volume brought onto it, both on the working grid (axes along LPS);
        equal where the new volume has nothing.
    covered
        Bool on the working grid: inside the new volume's field of view.
    similarity
        Normalised cross-correlation of `fixed` and `moved` where covered, -1 to 1.
    affine_similarity
        The same of structures between 4 and 20 mm within the bodies, before deformation.
    identity
        Whether both show one person, as `models.weight_free.identity` has it.
    """

    affine: FloatArray
    displacement: NDArray[np.float32]
    fixed: Volume
    moved: NDArray[np.float32]
    covered: NDArray[np.bool_]
    similarity: float
    affine_similarity: float
    identity: Identity

    def map(self, positions_lps: FloatArray) -> FloatArray:
        """Positions of the prior (LPS mm, shape (n, 3)) in the new volume."""
        indices = self.fixed.ijk(positions_lps).T
        moved = np.stack(
            [
                np.asarray(ndimage.map_coordinates(field, indices, order=1, mode="nearest"))
                for field in np.moveaxis(self.displacement, -1, 0)
            ],
            axis=1,
        )
        return lps_from_ijk(positions_lps + moved, self.affine)

    def local_affine(self, centre_lps: FloatArray, inner_mm: float, outer_mm: float) -> FloatArray:
        """The affine map, shape (4, 4), LPS to LPS, that fits this one best in a shell of the prior.

        The inner radius leaves the lesion out: where it grew or shrank, the map has stretched it along.
        """
        grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 11)] * 3, indexing="ij"), -1).reshape(-1, 3)
        away = outer_mm * np.linalg.norm(grid, axis=1)
        points = centre_lps + outer_mm * grid[(away >= inner_mm) & (away <= outer_mm)]
        homogeneous = np.column_stack([points - centre_lps, np.ones(len(points))])
        solution = np.linalg.solve(homogeneous.T @ homogeneous, homogeneous.T @ self.map(points))
        affine = np.eye(4)
        affine[:3, :3] = solution[:3].T
        affine[:3, 3] = solution[3] - affine[:3, :3] @ centre_lps
        return affine

    def around(self, centre_lps: FloatArray, radius_mm: float) -> tuple[float, float, float]:
        """Quality within a ball of the prior: similarity, folding fraction, covered fraction."""
        positions = np.moveaxis(np.indices(self.fixed.shape), 0, -1)
        reach = np.ceil(radius_mm / np.asarray(self.fixed.spacing_mm)).astype(int)
        middle = np.round(self.fixed.ijk(centre_lps)).astype(int)
        box = tuple(
            slice(max(int(m - r), 0), max(int(m + r + 1), 0)) for m, r in zip(middle, reach, strict=True)
        )
        away = np.linalg.norm(self.fixed.lps(positions[box].reshape(-1, 3)) - centre_lps, axis=1)
        ball = (away <= radius_mm).reshape(positions[box].shape[:3])
        if not ball.any():
            return -1.0, 0.0, 0.0
        seen = ball & self.covered[box]
        similarity = (
            correlation(self.fixed.array[box][seen], self.moved[box][seen]) if seen.sum() > 8 else -1.0
        )
        return similarity, self._folding(box, ball), float(seen.sum() / ball.sum())

    def _folding(self, box: tuple[slice, ...], ball: NDArray[np.bool_]) -> float:
        if min(ball.shape) < 2:
            return 0.0
        part = self.displacement[box]
        # [..., component, axis]: change of each component along each axis of the grid.
        change = np.stack([np.asarray(np.gradient(part, axis=axis)) for axis in range(3)], axis=-1)
        determinant = np.linalg.det(change @ np.linalg.inv(self.fixed.affine[:3, :3]) + np.eye(3))
        return float(np.mean(determinant[ball] <= 0))


def register(prior: Volume, new: Volume, *, largest_voxel_count: float = 1.2e6) -> Registration:
    """Find where each position of the prior lies in the new volume.

    Parameters
    ----------
    prior, new
        Any orientation and spacing; both CT in HU, or both of one kind of image.
    largest_voxel_count
        Voxels of the finest working grid; its spacing is never below 2.5 mm.

    Raises
    ------
    UnsuitableInputError
        If the volumes show no common region.
    """
    finest_mm, scale = _finest_mm(prior, largest_voxel_count), _Scale.of(prior, new)
    prior, new = (_reduced(volume, finest_mm) for volume in (prior, new))
    affine, fixed, moving = _linear(prior, new, scale, finest_mm)
    similarity, share = _match(affine, fixed, moving)
    # The scanner's own coordinates are a map too: a head held in place needs no other, and gets no worse one.
    own_similarity, own_share = _match(np.eye(4), fixed, moving)
    if own_similarity > similarity and own_share > 0.8 * share:
        affine, similarity, share = np.eye(4), own_similarity, own_share
    _refuse_unlike(similarity, share)
    return _deform(prior, new, affine, scale, finest_mm, similarity)


def _match(affine: FloatArray, fixed: Volume, moving: Volume) -> tuple[float, float]:
    """Similarity of structures under an affine map, and the share of the prior that the new volume covers."""
    seen, covered = _through(affine, moving, fixed)
    return _structural_similarity(fixed, seen, covered), float(covered.mean())


def _finest_mm(prior: Volume, largest_voxel_count: float) -> float:
    extent = np.prod(np.asarray(prior.shape) * np.asarray(prior.spacing_mm))
    return max(_FINEST_MM, float((extent / largest_voxel_count) ** (1 / 3)))


def _reduced(volume: Volume, finest_mm: float) -> Volume:
    """Means over blocks of voxels no larger than the finest working grid's: nothing finer is looked at.

    What is left of a block at the far ends is left out, less than a working voxel.
    """
    sizes = [
        min(max(int(finest_mm / mm), 1), n) for mm, n in zip(volume.spacing_mm, volume.shape, strict=True)
    ]
    if max(sizes) == 1:
        return volume
    count = [n // size for n, size in zip(volume.shape, sizes, strict=True)]
    whole = volume.array[tuple(slice(n * size) for n, size in zip(count, sizes, strict=True))]
    (a, b, c), (i, j, k) = count, sizes
    # Slice by slice: the volume is never held in another type as a whole.
    array = np.stack(
        [
            part.reshape(i, b, j, c, k).mean(axis=(0, 2, 4), dtype=np.float32)
            for part in whole.reshape(a, i, *whole.shape[1:])
        ]
    )
    affine = volume.affine.copy()
    affine[:3, :3] *= sizes
    affine[:3, 3] = volume.lps((np.asarray(sizes) - 1) / 2)
    return Volume(array=array, affine=affine)


def _linear(prior: Volume, new: Volume, scale: _Scale, finest_mm: float) -> tuple[FloatArray, Volume, Volume]:
    """The affine map from prior to new (LPS mm), and both volumes on the last working grid."""
    affine = np.eye(4)
    for spacing_mm, generators in ((_TRANSLATION_MM, None), (8.0, _RIGID), (8.0, _AFFINE), (4.0, _AFFINE)):
        fixed = _on_grid(prior, max(spacing_mm, finest_mm), scale.prior)
        moving = _on_grid(new, max(spacing_mm, finest_mm), scale.new)
        if generators is None:
            affine[:3, 3] = _best_translation(fixed, moving)
        else:
            found = _gauss_newton(fixed, moving, affine, generators)
            affine = found if _is_plausible(found) else affine
    return affine, fixed, moving


def _is_plausible(affine: FloatArray) -> bool:
    stretch = np.linalg.svd(affine[:3, :3], compute_uv=False)
    return bool(stretch.min() >= _LEAST_STRETCH and stretch.max() <= _LARGEST_STRETCH)


# ---------------------------------------------------------------- intensities and grids


@dataclass(frozen=True)
class _Scale:
    """How intensities are made comparable: a clipped range per volume, mapped to 0 to 1."""

    prior: tuple[float, float]
    new: tuple[float, float]

    @classmethod
    def of(cls, prior: Volume, new: Volume) -> _Scale:
        if is_hu(prior) and is_hu(new):
            # Up to soft tissue: contrast medium and bone change or move on their own.
            return cls((_AIR_HU, _DENSE_HU), (_AIR_HU, _DENSE_HU))
        return cls(_range_of(prior), _range_of(new))


def _range_of(volume: Volume) -> tuple[float, float]:
    low, high = np.quantile(volume.array[::2, ::2, ::2].astype(np.float32), (0.02, 0.99))
    return float(low), float(max(high, low + 1e-6))


def _sitk_of(array: NDArray[Any], affine: FloatArray) -> Any:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(array)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    # ITK's axes are (column, row, slice).
    image.SetSpacing([float(s) for s in spacing[::-1]])
    image.SetDirection([float(d) for d in (affine[:3, :3] / spacing)[:, ::-1].ravel()])
    image.SetOrigin([float(o) for o in affine[:3, 3]])
    return image


def _on_grid(volume: Volume, spacing_mm: float, intensities: tuple[float, float]) -> Volume:
    """The volume, 0 to 1, on a grid along the patient's axes that holds all of it."""
    low, high = intensities
    blur = 0.45 * np.sqrt(np.maximum((spacing_mm / np.asarray(volume.spacing_mm)) ** 2 - 1, 0))
    values = np.clip((volume.array.astype(np.float32) - low) / (high - low), 0, 1)
    smooth = ndimage.gaussian_filter(values, blur, mode="nearest", truncate=3)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape])).reshape(3, -1).T
    positions = volume.lps(corners)
    start, stop = positions.min(axis=0), positions.max(axis=0)
    affine = np.zeros((4, 4))
    # (slice, row, column) along (z, y, x).
    affine[[2, 1, 0], [0, 1, 2]] = spacing_mm
    affine[:3, 3], affine[3, 3] = start, 1
    count = (np.ceil((stop - start) / spacing_mm - 1e-6).astype(int) + 1)[::-1]
    step = np.linalg.inv(volume.affine) @ affine
    array = ndimage.affine_transform(
        smooth, step[:3, :3], step[:3, 3], output_shape=tuple(count), order=1, mode="constant", cval=0.0
    )
    return Volume(array=array.astype(np.float32), affine=affine)


# ---------------------------------------------------------------- translation


def _best_translation(prior: Volume, new: Volume) -> FloatArray:
    """The shift (LPS mm) at which the two correlate best, over all that leave enough overlap."""
    a, b = new.array.astype(np.float64), prior.array.astype(np.float64)
    ones_a, ones_b = np.ones_like(a), np.ones_like(b)
    count = np.round(slide(ones_a, ones_b, overhanging=True))
    enough = count >= _SMALLEST_OVERLAP * min(a.size, b.size)
    count = np.maximum(count, 1)

    def mean(one: FloatArray, other: FloatArray) -> FloatArray:
        return slide(one, other, overhanging=True) / count

    mean_a, mean_b = mean(a, ones_b), mean(ones_a, b)
    covariance = mean(a, b) - mean_a * mean_b
    spread = (mean(a * a, ones_b) - mean_a**2) * (mean(ones_a, b * b) - mean_b**2)
    score = np.where(enough & (spread > 1e-6), covariance / np.sqrt(np.maximum(spread, 1e-6)), -1)
    best = np.array(np.unravel_index(int(score.argmax()), score.shape)) - (np.asarray(prior.shape) - 1)
    shift: FloatArray = best[::-1] * new.spacing_mm[0] + new.affine[:3, 3] - prior.affine[:3, 3]
    return shift


# ---------------------------------------------------------------- rigid and affine


def _rotation_generators() -> FloatArray:
    generators = np.zeros((3, 3, 3))
    for axis, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        generators[axis, i, j], generators[axis, j, i] = -1, 1
    return generators


_RIGID = _rotation_generators()
_AFFINE = np.eye(9).reshape(9, 3, 3)


def _gauss_newton(
    fixed: Volume, moving: Volume, affine: FloatArray, generators: FloatArray, iterations: int = 25
) -> FloatArray:
    """Least squares over the linear part that `generators` span and the translation, from a start."""
    slopes = np.stack(np.gradient(moving.array), axis=0)
    # A hundred thousand places tell twelve numbers; every n-th along each axis, always the same.
    stride = max(1, round((fixed.array.size / _LARGEST_SAMPLE) ** (1 / 3)))
    sample = (slice(None, None, stride),) * 3
    index = np.indices(fixed.shape)[(slice(None), *sample)].reshape(3, -1).T
    positions = fixed.lps(index)
    middle = positions.mean(axis=0)
    values = fixed.array[sample].ravel()
    to_index = np.linalg.inv(moving.affine[:3, :3])
    best, best_error, damping = affine, np.inf, 1e-3
    candidate = affine
    system: tuple[FloatArray, FloatArray] | None = None
    for _ in range(iterations):
        mapped = ijk_from_lps(lps_from_ijk(positions, candidate), moving.affine).T
        inside = ((mapped >= 0) & (mapped <= np.asarray(moving.shape)[:, None] - 1)).all(axis=0)
        if inside.mean() < 0.1:
            break
        there = mapped[:, inside]
        residual = ndimage.map_coordinates(moving.array, there, order=1) - values[inside]
        error = float(np.mean(residual.astype(np.float64) ** 2))
        if error < best_error * (1 - 1e-4):
            best, best_error, damping = candidate, error, damping / 4
            slope = np.stack([ndimage.map_coordinates(s, there, order=1) for s in slopes], 1) @ to_index
            system = _normal_equations(slope, positions[inside] - middle, residual, generators, best)
        elif system is None or damping > 1e3:
            break
        else:
            damping *= 8
        assert system is not None
        candidate = _stepped(best, system, generators, middle, damping)
    return best


def _normal_equations(
    slope: FloatArray, offsets: FloatArray, residual: FloatArray, generators: FloatArray, affine: FloatArray
) -> tuple[FloatArray, FloatArray]:
    # The update acts before the affine: x -> A(x + G x + t).
    slope = slope @ affine[:3, :3]
    columns = [np.einsum("ni,ij,nj->n", slope, g, offsets / 100.0) for g in generators]
    columns += [slope[:, i] for i in range(3)]
    hessian = np.array([[float((a * b).sum()) for b in columns] for a in columns])
    gradient = np.array([float((a * residual).sum()) for a in columns])
    return hessian, gradient


def _stepped(
    affine: FloatArray,
    system: tuple[FloatArray, FloatArray],
    generators: FloatArray,
    middle: FloatArray,
    damping: float,
) -> FloatArray:
    hessian, gradient = system
    damped = hessian + damping * np.diag(np.diag(hessian) + 1e-9)
    step = -np.linalg.solve(damped, gradient)
    linear = np.einsum("k,kij->ij", step[:-3] / 100.0, generators)
    if len(generators) == 3:
        # Cayley's map keeps it a rotation.
        linear = np.linalg.solve(np.eye(3) - linear / 2, np.eye(3) + linear / 2) - np.eye(3)
    update = np.eye(4)
    update[:3, :3] += linear
    update[:3, 3] = step[-3:] - linear @ middle
    moved: FloatArray = affine @ update
    return moved


# ---------------------------------------------------------------- deformation

# Working grid (mm) and iterations; the finest grid comes last.
_SCHEDULE, _FINEST_ITERATIONS = ((8.0, 60), (5.0, 50)), 30


def _deform(
    prior: Volume, new: Volume, affine: FloatArray, scale: _Scale, finest_mm: float, affine_similarity: float
) -> Registration:
    import SimpleITK as sitk  # noqa: N813

    levels = [(mm, n) for mm, n in _SCHEDULE if mm > 1.3 * finest_mm] + [(finest_mm, _FINEST_ITERATIONS)]
    field: Any = None
    for spacing_mm, iterations in levels:
        fixed = _on_grid(prior, spacing_mm, scale.prior)
        moving, covered = _through(affine, _on_grid(new, spacing_mm, scale.new), fixed)
        # Where the new volume ends there is nothing to fit, so nothing pulls.
        moving = np.where(covered, moving, fixed.array).astype(np.float32)
        fixed_image, moving_image = (_sitk_of(a, fixed.affine) for a in (fixed.array, moving))
        if field is None:
            field = sitk.Image(fixed_image.GetSize(), sitk.sitkVectorFloat64)
            field.CopyInformation(fixed_image)
        else:
            field = sitk.Resample(
                field, fixed_image, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkVectorFloat64
            )
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfIterations(iterations)
        demons.SetStandardDeviations(2.0)
        demons.SetMaximumUpdateStepLength(2.0)
        # Intensities are 0 to 1 here; the default is meant for grey values.
        demons.SetIntensityDifferenceThreshold(1e-4)
        field = demons.Execute(fixed_image, moving_image, field)
    warped = sitk.Resample(
        moving_image, fixed_image, sitk.DisplacementFieldTransform(sitk.Image(field)), sitk.sitkLinear, 0.0
    )
    moved = sitk.GetArrayFromImage(warped)
    displacement = sitk.GetArrayFromImage(field).astype(np.float32)
    body = covered & (_body(fixed.array) | _body(moved))
    structures = affine_similarity - uneven_growth(displacement, fixed, body)
    identity = identity_of(prior, new, affine, displacement, fixed, body, structures)
    if _structural_similarity(fixed, moved, covered) < _structural_similarity(fixed, moving, covered):
        # It has pulled noise and slice profiles together, and the structures apart.
        displacement, moved = np.zeros_like(displacement), moving
    return Registration(
        affine=affine,
        displacement=displacement,
        fixed=fixed,
        moved=moved,
        covered=covered,
        similarity=correlation(fixed.array[covered], moved[covered]) if covered.any() else -1.0,
        affine_similarity=affine_similarity,
        identity=identity,
    )


def _through(affine: FloatArray, moving: Volume, fixed: Volume) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The moving volume seen through an affine on the fixed one's grid, and where it has voxels."""
    step = np.linalg.inv(moving.affine) @ affine @ fixed.affine
    seen = ndimage.affine_transform(
        moving.array, step[:3, :3], step[:3, 3], output_shape=fixed.shape, order=1, mode="nearest"
    )
    indices = np.moveaxis(np.indices(fixed.shape), 0, -1) @ step[:3, :3].T + step[:3, 3]
    is_inside = (indices >= -0.5) & (indices <= np.asarray(moving.shape) - 0.5)
    return np.asarray(seen), np.asarray(is_inside.all(axis=-1))


# ---------------------------------------------------------------- one region or two


def _structural_similarity(fixed: Volume, seen: NDArray[Any], covered: NDArray[np.bool_]) -> float:
    """Correlation of what is between 4 and 20 mm large in the bodies: outlines alone look alike anywhere."""
    bodies = covered & (_body(fixed.array) | _body(seen))
    if bodies.sum() < 8:
        return -1.0
    fine, coarse = (mm / np.asarray(fixed.spacing_mm) for mm in _STRUCTURES_MM)
    one, other = (
        ndimage.gaussian_filter(image, fine) - ndimage.gaussian_filter(image, coarse)
        for image in (fixed.array, seen)
    )
    return correlation(one[bodies], other[bodies])


def _body(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Tissue and what it encloses, such as the lungs, in each slice."""
    return np.stack([ndimage.binary_fill_holes(plane > _TISSUE) for plane in image])


def _refuse_unlike(similarity: float, share: float) -> None:
    """Refuse a pair that has nothing in common.

    Two visits of one person had a similarity of 0.46 (ADC maps) to 0.98 (CT), chests of two persons 0.31 to
    0.60 where they were brought together; chest and abdomen, head or thigh mostly had less than 0.25. A small
    crop may reach 0.4 by chance: what is around each lesion is judged again. How far tissue had to move is
    no evidence, as a deep breath takes the diaphragm along by several centimetres.
    """
    if share < _LEAST_SHARE or similarity < _LEAST_SIMILARITY:
        raise UnsuitableInputError(
            f"the volumes show no common region (similarity of structures {similarity:.2f}, overlap "
            f"{100 * share:.0f} %); choose a series of the same body part or place the lesions by hand"
        )
