"""Nodules of exactly known size, put into (or taken out of) a CT volume.

The interface, which the rest of the package, tests and benchmarks build on:

    Nodule(centre_lps=..., long_axis_mm=12, short_axis_mm=9, height_mm=10, ...)
        what is implanted: a smooth, slightly lobulated ellipsoid in the patient
    implant(volume, [nodule, ...], noise=None) -> Volume
        the same grid and dtype with the nodules in it
    truth_of(nodule, volume) -> NoduleTruth
        axes as RECIST measures them, from the shape itself and not from voxels
    truth_mask(nodule, volume) -> Mask
        the voxels of which at least half is nodule
    erase(volume, mask, seed=0) -> Volume
        the same volume with the mask's voxels replaced by tissue from next to it
    estimate_noise(volume) -> Noise

Everything is a pure function of its arguments: the same nodule and volume give the same voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workflow.domain.geometry import FloatArray, Mask, Point, Volume
from workflow.domain.lesion import Axis

# Points on an outline: the longest chord between them misses the axis by under 0.01 %.
_OUTLINE_POINTS = 360
# A voxel on the surface is cut into this many parts along each axis, so its share is known to 1 or 2 %.
_PARTS = 4
# The scanner's point spread, as a share of the voxel: edges as sharp as those of vessels beside it.
_POINT_SPREAD_VOXELS = (0.30, 0.55, 0.55)
# Soft tissue is not uniform within a nodule: slow changes of this size, over this distance.
_INHOMOGENEITY_HU = 6.0
_INHOMOGENEITY_MM = 2.5
_LOBES = 11
# Erasing: donors tried, and what a donor wholly of another tissue costs beside its misfit in HU.
_DONORS = 400
_FOREIGN_HU = 2000.0


@dataclass(frozen=True, kw_only=True)
class Nodule:
    """An ellipsoid with lobes, at rest in the patient.

    Attributes
    ----------
    centre_lps
        LPS mm.
    long_axis_mm, short_axis_mm
        Diameters in the axial plane through the centre; the long axis is exact with lobes too.
    height_mm
        Extent along z (head to feet), mm.
    angle_deg
        Direction of the long axis in the axial plane, from +x (left) towards +y (posterior).
    attenuation_hu
        Mean HU of the solid part.
    solid_share
        Diameter of the solid core over the nodule's, 0 to 1; 1 is a solid nodule, less a part-solid one.
    ground_glass_hu
        HU around the core of a part-solid nodule.
    lobulation
        Height of the lobes as a share of the radius, 0 (smooth) to 0.2.
    seed
        Of the lobes and the texture.
    """

    centre_lps: Point
    long_axis_mm: float
    short_axis_mm: float
    height_mm: float
    angle_deg: float = 0.0
    attenuation_hu: float = 30.0
    solid_share: float = 1.0
    ground_glass_hu: float = -580.0
    lobulation: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.short_axis_mm <= self.long_axis_mm:
            raise ValueError(
                f"short axis {self.short_axis_mm} mm is not between 0 and the long axis's {self.long_axis_mm}"
            )
        if self.height_mm <= 0:
            raise ValueError(f"height {self.height_mm} mm is not above 0")
        if not 0 <= self.solid_share <= 1:
            raise ValueError(f"solid share {self.solid_share} is not between 0 and 1")
        if not 0 <= self.lobulation <= 0.2:
            raise ValueError(f"lobulation {self.lobulation} is not between 0 and 0.2")

    @cached_property
    def axes_lps(self) -> FloatArray:
        """Unit vectors of the long axis, the short axis and the height, as columns; shape (3, 3)."""
        angle = np.deg2rad(self.angle_deg)
        cosine, sine = np.cos(angle), np.sin(angle)
        return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])

    @cached_property
    def _lobe_directions(self) -> FloatArray:
        directions = np.random.default_rng([self.seed, 1]).normal(size=(_LOBES, 3))
        unit: FloatArray = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        return unit

    def _relief(self, unit: FloatArray) -> FloatArray:
        """Radius over the ellipsoid's in directions `unit` (n, 3) of the nodule's own, unit-sphere frame."""
        if self.lobulation == 0:
            return np.ones(len(unit))
        bumps = np.exp(9.0 * (unit @ self._lobe_directions.T - 1.0)).sum(axis=1)
        relief: FloatArray = 1.0 + self.lobulation * (2.0 * np.tanh(bumps) - 1.0)
        return relief

    @cached_property
    def _semi_axes_mm(self) -> FloatArray:
        nominal = np.array([self.long_axis_mm, self.short_axis_mm, self.height_mm]) / 2
        if self.lobulation == 0:
            return nominal
        angles = np.linspace(0, 2 * np.pi, _OUTLINE_POINTS, endpoint=False)
        unit = np.column_stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)])
        outline = (unit * nominal * self._relief(unit)[:, None])[:, :2]
        long_axis, _ = _axes_of_outline(outline)
        scaled: FloatArray = nominal * self.long_axis_mm / np.linalg.norm(long_axis[1] - long_axis[0])
        return scaled

    def depth(self, position_lps: NDArray[np.float64]) -> FloatArray:
        """Distance from the centre over that of the surface in the same direction: (n, 3) LPS mm to (n,)."""
        local = (position_lps - np.asarray(self.centre_lps)) @ self.axes_lps / self._semi_axes_mm
        radius = np.linalg.norm(local, axis=1)
        unit = local / np.maximum(radius, 1e-9)[:, None]
        depth: FloatArray = radius / self._relief(unit)
        return depth

    @cached_property
    def radius_mm(self) -> float:
        """Radius of a sphere around the centre that holds the nodule, mm."""
        return float(self._semi_axes_mm.max() * (1 + self.lobulation))

    @cached_property
    def volume_mm3(self) -> float:
        """Volume, mm³; with lobes by integrating the radius over the sphere."""
        count = 4000
        height = 1 - (2 * np.arange(count) + 1) / count
        turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
        ring = np.sqrt(1 - height**2)
        unit = np.column_stack([ring * np.cos(turn), ring * np.sin(turn), height])
        return float(4 / 3 * np.pi * self._semi_axes_mm.prod() * np.mean(self._relief(unit) ** 3))


@dataclass(frozen=True, kw_only=True)
class NoduleTruth:
    """What a perfect reader would find, in the acquisition plane (of those that exist) where it is longest.

    Diameters are of the shape itself. A measurement between pixel centres of a perfect mask is up
    to one pixel shorter, as the outermost centres lie inside the surface.
    """

    long_axis: Axis
    short_axis: Axis
    slice_index: int
    volume_mm3: float

    @property
    def short_axis_mm(self) -> float:
        """Length of the short axis, mm."""
        return self.short_axis.length_mm


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise of a volume: standard deviation in HU, and the width (voxels) of the blur that correlates it."""

    sigma_hu: float
    blur_voxels: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def field(self, shape: tuple[int, int, int], rng: np.random.Generator) -> FloatArray:
        """Noise of its own in a box, HU, shape `shape`."""
        white = rng.normal(size=shape)
        blurred = ndimage.gaussian_filter(white, self.blur_voxels, mode="wrap")
        # Unit variance after the blur; the box may be too small to estimate it from one field.
        gain = np.prod([_blur_gain(s, n) for s, n in zip(self.blur_voxels, shape, strict=True)])
        scaled: FloatArray = blurred * (self.sigma_hu / float(gain))
        return scaled


def _blur_gain(sigma_voxels: float, length: int) -> float:
    if sigma_voxels == 0:
        return 1.0
    impulse = np.zeros(length)
    impulse[0] = 1.0
    return float(np.sqrt((ndimage.gaussian_filter1d(impulse, sigma_voxels, mode="wrap") ** 2).sum()))


def estimate_noise(volume: Volume) -> Noise:
    """Estimate noise in homogeneous soft tissue (-50 to 120 HU); 0 where there is no such tissue."""
    array = volume.array[:: max(1, volume.shape[0] // 12)].astype(np.float64)
    soft = (array > -50) & (array < 120)
    inside = ndimage.minimum_filter(soft, size=(1, 7, 7))
    if np.count_nonzero(inside) < 200:
        return Noise(sigma_hu=0.0)
    residual = array - ndimage.gaussian_filter(array, (0, 2.0, 2.0))
    sigma = 1.4826 * float(np.median(np.abs(residual[inside])))
    widths = [0.0]
    for axis in (1, 2):
        pair = inside & np.roll(inside, -1, axis)
        product = np.clip(residual * np.roll(residual, -1, axis), -9 * sigma**2, 9 * sigma**2)[pair]
        correlation = float(np.clip(product.mean() / max(sigma**2, 1e-9), 1e-3, 0.9))
        # White noise blurred by a Gaussian of width s has the correlation exp(-1 / 4 s²) one voxel on.
        widths.append(float(np.sqrt(-1 / (4 * np.log(correlation)))))
    return Noise(sigma_hu=sigma, blur_voxels=(widths[0], widths[1], widths[2]))


# ---------------------------------------------------------------- implanting


def implant(volume: Volume, nodules: Sequence[Nodule], *, noise: Noise | None = None) -> Volume:
    """Put nodules into a CT volume.

    Edges carry the share of the voxel that is nodule, blurred as the scanner blurs; texture
    has the noise of the volume's own soft tissue.

    Parameters
    ----------
    volume
        CT in HU.
    nodules
        In the patient of `volume`; where two overlap, the later one covers the earlier.
    noise
        Of the nodules' texture; estimated from the volume if not given.

    Returns
    -------
    Volume
        On the same grid, of the same dtype.

    Raises
    ------
    ValueError
        If a nodule does not lie wholly inside the volume.
    """
    texture = estimate_noise(volume) if noise is None else noise
    array = volume.array.astype(np.float64)
    for nodule in nodules:
        start, stop = _box_of(nodule, volume)
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        whole, solid = _shares(nodule, volume, start, stop)
        inside = nodule.ground_glass_hu + (nodule.attenuation_hu - nodule.ground_glass_hu) * solid
        inside = inside + _texture(nodule, whole.shape, volume, texture)
        array[box] = (1 - whole) * array[box] + whole * inside
    if np.issubdtype(volume.array.dtype, np.integer):
        limits = np.iinfo(volume.array.dtype)
        array = np.clip(np.rint(array), limits.min, limits.max)
    return volume.with_array(array.astype(volume.array.dtype))


def _texture(nodule: Nodule, shape: tuple[int, int, int], volume: Volume, noise: Noise) -> FloatArray:
    rng = np.random.default_rng([nodule.seed, 2])
    width = _INHOMOGENEITY_MM / np.asarray(volume.spacing_mm)
    slow = Noise(sigma_hu=_INHOMOGENEITY_HU, blur_voxels=(float(width[0]), float(width[1]), float(width[2])))
    return noise.field(shape, rng) + slow.field(shape, rng)


def _shares(
    nodule: Nodule, volume: Volume, start: tuple[int, int, int], stop: tuple[int, int, int]
) -> tuple[FloatArray, FloatArray]:
    """Shares (0 to 1) of each voxel of the box: of the nodule, and of its solid core."""
    whole = ndimage.gaussian_filter(
        coverage(nodule, volume, start, stop), _POINT_SPREAD_VOXELS, mode="nearest"
    )
    if nodule.solid_share == 1:
        return whole, np.ones_like(whole)
    core = coverage(nodule, volume, start, stop, scale=nodule.solid_share)
    return whole, ndimage.gaussian_filter(core, _POINT_SPREAD_VOXELS, mode="nearest")


def coverage(
    nodule: Nodule,
    volume: Volume,
    start_ijk: tuple[int, int, int],
    stop_ijk: tuple[int, int, int],
    *,
    scale: float = 1.0,
) -> FloatArray:
    """Share of each voxel's box that lies in the nodule (or in the nodule scaled about its centre).

    Returns
    -------
    numpy.ndarray
        0 to 1, shape `stop_ijk - start_ijk`.
    """
    if scale <= 0:
        return np.zeros(tuple(b - a for a, b in zip(start_ijk, stop_ijk, strict=True)))
    axes = [np.arange(a, b) for a, b in zip(start_ijk, stop_ijk, strict=True)]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    depth = nodule.depth(volume.lps(index)) / scale
    share = (depth <= 1).astype(np.float64)
    # A corner of a voxel is at most half its diagonal from the centre.
    reach = 0.5 * float(np.linalg.norm(volume.spacing_mm)) / (scale * float(nodule._semi_axes_mm.min())) * 1.5
    surface = np.flatnonzero(np.abs(depth - 1) <= reach)
    step = (np.arange(_PARTS) + 0.5) / _PARTS - 0.5
    parts = np.stack(np.meshgrid(step, step, step, indexing="ij"), axis=-1).reshape(-1, 3)
    for chunk in np.array_split(surface, max(1, len(surface) // 4000)):
        fine = (index[chunk][:, None, :] + parts[None]).reshape(-1, 3)
        share[chunk] = (nodule.depth(volume.lps(fine)) <= scale).reshape(len(chunk), -1).mean(axis=1)
    return share.reshape([len(a) for a in axes])


def _box_of(nodule: Nodule, volume: Volume) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    centre = volume.ijk(np.asarray(nodule.centre_lps))
    reach = nodule.radius_mm / np.asarray(volume.spacing_mm) + 3
    start = np.floor(centre - reach).astype(int)
    stop = np.ceil(centre + reach).astype(int) + 1
    if np.any(start + 2 < 0) or np.any(stop - 2 > volume.shape):
        raise ValueError(
            f"a nodule of {nodule.long_axis_mm} mm at {nodule.centre_lps} does not fit into the volume of "
            f"shape {volume.shape}: choose a centre further inside"
        )
    start = np.clip(start, 0, volume.shape)
    stop = np.clip(stop, 0, volume.shape)
    return (int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2]))


# ---------------------------------------------------------------- truth


def truth_mask(nodule: Nodule, volume: Volume) -> Mask:
    """The voxels of which at least half is nodule, on the volume's grid."""
    start, stop = _box_of(nodule, volume)
    return Mask.from_array(coverage(nodule, volume, start, stop) >= 0.5, start, volume.shape)


def truth_of(nodule: Nodule, volume: Volume) -> NoduleTruth:
    """Axes of the nodule's shape in the volume's planes.

    The cut through each slice's centre plane is traced; the slice with the longest axis counts.

    Raises
    ------
    ValueError
        If no slice's centre plane cuts the nodule.
    """
    middle = float(volume.ijk(np.asarray(nodule.centre_lps))[0])
    # Lobes move the largest cut off the centre, but not by half the radius.
    reach = max(0.5 * nodule.radius_mm / volume.spacing_mm[0], 0.5)
    first, last = (
        max(0, int(np.floor(middle - reach))),
        min(volume.shape[0] - 1, int(np.ceil(middle + reach))),
    )
    best: NoduleTruth | None = None
    for slice_index in range(first, last + 1):
        cut = _outline_in_slice(nodule, volume, slice_index)
        if cut is None:
            continue
        centre, outline = cut
        in_plane = np.column_stack([volume.directions[:, 2], volume.directions[:, 1]])
        axes = [_axis(centre + ends @ in_plane.T) for ends in _axes_of_outline(outline)]
        if best is None or axes[0].length_mm > best.long_axis.length_mm:
            best = NoduleTruth(
                long_axis=axes[0],
                short_axis=axes[1],
                slice_index=slice_index,
                volume_mm3=nodule.volume_mm3,
            )
    if best is None:
        raise ValueError(
            f"no slice of the volume cuts the nodule of {nodule.long_axis_mm} mm at {nodule.centre_lps}"
        )
    return best


def outline_in_slice(nodule: Nodule, volume: Volume, slice_index: int) -> FloatArray | None:
    """Where the nodule's surface meets the centre plane of a slice.

    Returns
    -------
    numpy.ndarray or None
        Points in order, LPS mm, shape (n, 3), the first not repeated; None if the plane misses the nodule.
    """
    cut = _outline_in_slice(nodule, volume, slice_index)
    if cut is None:
        return None
    centre, outline = cut
    in_plane = np.column_stack([volume.directions[:, 2], volume.directions[:, 1]])
    points: FloatArray = centre + outline @ in_plane.T
    return points


def _outline_in_slice(
    nodule: Nodule, volume: Volume, slice_index: int
) -> tuple[FloatArray, FloatArray] | None:
    """A point inside (LPS mm) and the outline around it: mm along (column, row), shape (n, 2)."""
    index = volume.ijk(np.asarray(nodule.centre_lps))
    centre = volume.lps(np.array([slice_index, index[1], index[2]]))
    if nodule.depth(centre[None])[0] >= 1:
        return None
    angles = np.linspace(0, 2 * np.pi, _OUTLINE_POINTS, endpoint=False)
    rays = np.column_stack([np.cos(angles), np.sin(angles)])
    rays_lps = rays @ np.column_stack([volume.directions[:, 2], volume.directions[:, 1]]).T
    inner, outer = np.zeros(len(angles)), np.full(len(angles), 2.0 * nodule.radius_mm)
    for _ in range(30):  # halving 60 mm thirty times leaves 0.1 nm
        middle = (inner + outer) / 2
        inside = nodule.depth(centre + middle[:, None] * rays_lps) < 1
        inner, outer = np.where(inside, middle, inner), np.where(inside, outer, middle)
    return centre, rays * inner[:, None]


def _axes_of_outline(outline: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ends, shape (2, 2), of the longest axis of an outline (n, 2) and of the longest chord across it."""
    distance = np.linalg.norm(outline[:, None] - outline[None], axis=2)
    one, other = (int(i) for i in np.unravel_index(int(distance.argmax()), distance.shape))
    start, end = outline[one], outline[other]
    along = (end - start) / distance[one, other]
    across = np.array([-along[1], along[0]])
    turned = np.roll(outline, -one, axis=0) - start
    u, v = turned @ along, turned @ across
    split = (other - one) % len(outline)
    stations = np.linspace(0, distance[one, other], 400)[1:-1]
    sides = []
    for part in (slice(0, split + 1), slice(split, None)):
        order = np.argsort(u[part], kind="stable")
        sides.append(np.interp(stations, u[part][order], v[part][order]))
    widest = int(np.abs(sides[0] - sides[1]).argmax())
    ends = [start + stations[widest] * along + side[widest] * across for side in sides]
    return np.array([start, end]), np.array(ends)


def _axis(ends_lps: FloatArray) -> Axis:
    length_mm = float(np.linalg.norm(ends_lps[1] - ends_lps[0]))
    return Axis(start_lps=_point(ends_lps[0]), end_lps=_point(ends_lps[1]), length_mm=length_mm)


def _point(position: FloatArray) -> Point:
    return float(position[0]), float(position[1]), float(position[2])


# ---------------------------------------------------------------- erasing


def erase(
    volume: Volume,
    mask: Mask,
    *,
    seed: int = 0,
    margin_mm: float = 3.0,
    reach_mm: float = 60.0,
    tissue_hu: tuple[float, float] = (-965.0, -550.0),
) -> Volume:
    """Replace a mask's voxels by tissue from elsewhere, feathered into what surrounds it.

    The donor is a shifted copy: of many, the one that is most of the wanted tissue, and that fits best
    to such tissue around the mask.

    Parameters
    ----------
    volume
        CT in HU.
    mask
        What to erase; on the volume's grid.
    seed
        Of the donors that are tried.
    margin_mm
        Width of the seam around the mask that is replaced too, and feathered, mm.
    reach_mm
        How far away a donor may be along each axis, mm.
    tissue_hu
        Lowest and highest HU of the wanted tissue; lung by default, and no air.

    Raises
    ------
    ValueError
        If the mask is empty, or no donor within reach fits into the volume.
    """
    if mask.is_empty:
        raise ValueError("an empty mask has nothing to erase")
    start, stop = mask.box_with_margin(3 * margin_mm, volume.spacing_mm)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    blocked = mask.array()
    distance = ndimage.distance_transform_edt(~blocked[box], sampling=volume.spacing_mm)
    seam, rim = distance <= margin_mm, (distance > margin_mm) & (distance <= 3 * margin_mm)
    host = volume.array[box].astype(np.float32)
    rim &= (host >= tissue_hu[0]) & (host <= tissue_hu[1])
    reach = np.maximum(reach_mm / np.asarray(volume.spacing_mm), 1).astype(int)
    lowest, highest = (
        np.maximum(-reach, -np.asarray(start)),
        np.minimum(reach, volume.shape - np.asarray(stop)),
    )
    rng = np.random.default_rng([seed, 3])
    best: tuple[float, FloatArray] | None = None
    for shift in rng.integers(lowest, highest + 1, size=(_DONORS, 3)):
        there = tuple(slice(int(a + d), int(b + d)) for a, b, d in zip(start, stop, shift, strict=True))
        if (blocked[there] & seam).any():
            continue
        donor = volume.array[there].astype(np.float32)
        given = donor[seam]
        foreign = float(np.mean((given < tissue_hu[0]) | (given > tissue_hu[1])))
        misfit = _FOREIGN_HU * foreign + (float(np.abs(donor - host)[rim].mean()) if rim.any() else 0.0)
        if best is None or misfit < best[0]:
            best = misfit, donor.astype(np.float64)
    if best is None:
        raise ValueError(f"no tissue within {reach_mm} mm of the mask can stand in for it: widen the reach")
    weight = np.clip(1.5 - distance / margin_mm, 0, 1)
    filled = weight * best[1] + (1 - weight) * host
    array = volume.array.copy()
    array[box] = np.rint(filled) if np.issubdtype(array.dtype, np.integer) else filled
    return volume.with_array(array)
