"""What lies around a synthetic lesion: procedural anatomy, or a part of a real scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.open_lesion.encoding import Window
from models.open_lesion.sampling import sample
from models.training.shapes import Floats, Level, Waves, ball, rotation, tube
from workflow.domain.geometry import FloatArray, Volume

# Voxels in radii, at most: a lesion that can be found covers a few voxels in plane, and a slice or two.
LEAST_NATIVE = np.array([1.1, 0.45, 0.45])


class Look(StrEnum):
    """Which kind of image a scene imitates."""

    CT = "CT-like"
    MR = "MR-like"
    PET = "PET-like"


class Background(Protocol):
    """The surroundings of one lesion; positions are mm about the lesion's middle."""

    @property
    def look(self) -> Look:
        """What kind of image it is."""
        ...

    @property
    def native_mm(self) -> FloatArray:
        """Voxel spacing of the (simulated) scan, mm, shape (3,)."""
        ...

    @property
    def noise(self) -> float:
        """Standard deviation of its noise, in the image's unit."""
        ...

    def values(self, window: Window) -> Floats:
        """Intensities on a patch, without noise of a procedural scene; shape of the patch."""
        ...

    def boundary(self) -> Level | None:
        """An organ's border near the lesion, positive on the lesion's side, or None."""
        ...


# ---------------------------------------------------------------- real scans


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """A real scan, prepared for drawing places from.

    Attributes
    ----------
    array
        float32, (slices, rows, columns).
    spacing_mm
        Shape (3,).
    places
        Indices inside the body, shape (n, 3).
    noise
        Standard deviation of its noise, in its own unit.
    """

    array: Floats
    spacing_mm: FloatArray
    places: NDArray[np.int64]
    noise: float
    look: Look

    @classmethod
    def of(cls, volume: Volume, look: Look) -> Scan:
        """Prepare a volume; its places are in the body: what is clearly brighter than air, holes included."""
        array = np.ascontiguousarray(volume.array, dtype=np.float32)
        low, high = np.percentile(array[::2, ::3, ::3], (1, 99.5))
        bright = array > low + 0.2 * (high - low)
        body = np.stack([ndimage.binary_fill_holes(ndimage.binary_opening(part)) for part in bright])
        body = ndimage.binary_erosion(body, iterations=2)
        found = np.argwhere(body)
        if len(found) == 0:
            raise ValueError("the background scan holds no body: nothing in it is brighter than the rest")
        return cls(
            array=array,
            spacing_mm=np.asarray(volume.spacing_mm),
            places=found[:: max(len(found) // 200_000, 1)],
            noise=_noise_of(array, body),
            look=look,
        )

    def drawn(self, rng: np.random.Generator) -> RealBackground:
        """A place in the scan, mirrored, turned and stretched a little at random."""
        place = self.places[rng.integers(len(self.places))].astype(np.float64)
        array, spacing = self.array, self.spacing_mm * rng.uniform(0.8, 1.25, 3)
        for axis in range(3):
            if rng.random() < 0.5:
                array = np.flip(array, axis)
                place[axis] = array.shape[axis] - 1 - place[axis]
        if rng.random() < 0.5:
            array = array.transpose(0, 2, 1)
            place, spacing = place[[0, 2, 1]], spacing[[0, 2, 1]]
        return RealBackground(
            array=array, native_mm=spacing, start_mm=-place * spacing, noise=self.noise, look=self.look
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class RealBackground:
    """A real scan around one place."""

    array: Floats
    native_mm: FloatArray
    start_mm: FloatArray
    noise: float
    look: Look

    def values(self, window: Window) -> Floats:
        """See `Background`."""
        return sample(self.array, self.start_mm, self.native_mm, window)

    def boundary(self) -> Level | None:
        """None: the image itself says where organs end."""
        return None


def _noise_of(array: Floats, body: NDArray[np.bool_]) -> float:
    """From differences of neighbours in rows: most voxels have a neighbour of their own tissue."""
    steps = np.diff(array, axis=2)[body[:, :, 1:]]
    return max(float(np.median(np.abs(steps)) / 0.6745 / np.sqrt(2)), 1e-6)


# ---------------------------------------------------------------- procedural anatomy


@dataclass(frozen=True, kw_only=True, eq=False)
class ProceduralBackground:
    """Tissues with borders, vessels and neighbours, from level functions."""

    look: Look
    native_mm: FloatArray
    noise: float
    paint: Callable[[Floats], Floats]
    border: Level | None

    def values(self, window: Window) -> Floats:
        """See `Background`."""
        positions = window.positions_mm()
        return self.paint(positions.reshape(-1, 3)).reshape(positions.shape[:3]).astype(np.float32)

    def boundary(self) -> Level | None:
        """See `Background`."""
        return self.border


def procedural(rng: np.random.Generator, radius_mm: float, hardness: float) -> ProceduralBackground:
    """Surroundings for a lesion of that radius."""
    look = (Look.CT, Look.MR, Look.PET)[rng.choice(3, p=[0.4, 0.38, 0.22])]
    made = {Look.CT: _ct, Look.MR: _mr, Look.PET: _pet}[look](rng, radius_mm, hardness)
    return replace(made, native_mm=np.minimum(made.native_mm, radius_mm * LEAST_NATIVE))


def _ct(rng: np.random.Generator, radius: float, hardness: float) -> ProceduralBackground:
    pairs = ((-850.0, 45.0), (55.0, -95.0), (60.0, 110.0), (45.0, -850.0), (110.0, 50.0))
    base, other = pairs[rng.choice(5, p=[0.3, 0.25, 0.2, 0.1, 0.15])]
    base, other = base + rng.normal(0, 20), other + rng.normal(0, 20)
    in_lung = base < -500
    vessel = rng.uniform(0, 60) if in_lung else base + rng.choice([-1, 1]) * rng.uniform(30, 150)
    paint, border = _tissues(rng, radius, hardness, base, other, vessel, mottle=0.02 * (other - base))
    bone: Level | None = (
        tube(rng, _beside(rng, radius), radius * rng.uniform(0.5, 1.2)) if rng.random() < 0.25 else None
    )
    height = rng.uniform(200, 900)

    def with_bone(at: Floats) -> Floats:
        values = paint(at)
        return values if bone is None else np.where(bone(at) > 0, np.float32(height), values)

    plane = rng.uniform(0.5, 1.0)
    native = np.array([rng.choice([0.7, 1, 1.25, 2, 2.5, 3, 5, 5, 7]), plane, plane])
    return ProceduralBackground(
        look=Look.CT, native_mm=native, noise=rng.uniform(8, 35), paint=with_bone, border=border
    )


def _mr(rng: np.random.Generator, radius: float, hardness: float) -> ProceduralBackground:
    base, other, vessel = rng.uniform(20, 100, 3)
    paint, border = _tissues(rng, radius, hardness, base, other, vessel, mottle=rng.uniform(0, 12))
    bias = Waves.drawn(rng, 0.15 / radius, count=4)
    strength = rng.uniform(0, 0.25)

    def biased(at: Floats) -> Floats:
        values: Floats = np.maximum(paint(at), 0) * np.exp(np.float32(strength) * bias(at)[:, 0])
        return values

    plane = rng.uniform(0.4, 1.3)
    native = np.array([rng.choice([1, 1, 1.5, 3, 4, 5, 6, 7]), plane, plane])
    return ProceduralBackground(
        look=Look.MR, native_mm=native, noise=rng.uniform(1, 8), paint=biased, border=border
    )


def _pet(rng: np.random.Generator, radius: float, hardness: float) -> ProceduralBackground:
    base, other, vessel = rng.uniform(0.3, 2.5, 3)
    paint, border = _tissues(rng, radius, hardness, base, other, vessel, mottle=0.25 * base)
    plane = rng.uniform(1.2, 5.0)
    native = np.array([rng.uniform(2, 5), plane, plane])
    return ProceduralBackground(
        look=Look.PET, native_mm=native, noise=rng.uniform(0.03, 0.3), paint=paint, border=border
    )


def _tissues(
    rng: np.random.Generator,
    radius: float,
    hardness: float,
    base: float,
    other: float,
    vessel: float,
    mottle: float,
) -> tuple[Callable[[Floats], Floats], Level | None]:
    """One tissue around the lesion, perhaps a border to another one, smaller regions, vessels."""
    border = _border(rng, radius) if rng.random() < 0.15 + 0.25 * hardness else None
    patches: list[tuple[Level, float]] = []
    for _ in range(int(rng.integers(0, 1 + round(3 * hardness)))):
        size = radius * rng.uniform(0.3, 1.5)
        value = other if rng.random() < 0.4 else base + rng.normal() * 0.5 * abs(other - base)
        patches.append((ball(_beside(rng, radius + size), size), value))
    for _ in range(int(rng.integers(0, 1 + round(3 * hardness)))):
        patches.append((tube(rng, _beside(rng, radius), radius * rng.uniform(0.1, 0.45)), vessel))
    texture = Waves.drawn(rng, rng.uniform(0.5, 2.0) / radius)

    def paint(at: Floats) -> Floats:
        values = np.float32(base) + np.float32(mottle) * texture(at)[:, 0]
        for level, value in patches:
            values = np.where(level(at) > 0, np.float32(value), values)
        if border is not None:
            values = np.where(border(at) < 0, np.float32(other), values)
        return values

    return paint, border


def _border(rng: np.random.Generator, radius: float) -> Level:
    """A wavy plane at up to 1.1 radii from the lesion's middle."""
    normal = rotation(rng)[:, 0]
    distance = radius * rng.uniform(0.1, 1.1)
    wave = Waves.drawn(rng, rng.uniform(0.2, 0.6) / radius)
    height = radius * rng.uniform(0, 0.25)

    def level(at: Floats) -> Floats:
        away: Floats = at @ normal + np.float32(distance) + np.float32(height) * wave(at)[:, 0]
        return away / np.float32(radius)

    return level


def _beside(rng: np.random.Generator, distance: float) -> FloatArray:
    towards = rng.normal(size=3)
    return np.asarray(towards / np.linalg.norm(towards) * distance * rng.uniform(0.8, 1.5))


def drawn(
    rng: np.random.Generator, scans: Sequence[Scan], share_real: float, radius_mm: float, hardness: float
) -> Background:
    """Real surroundings with probability `share_real` (if there are scans), else procedural ones."""
    if scans and rng.random() < share_real:
        # One draw per look, so that a look with many scans is not shown more often.
        looks = sorted({scan.look for scan in scans})
        look = looks[rng.integers(len(looks))]
        of_look = [scan for scan in scans if scan.look == look]
        return of_look[rng.integers(len(of_look))].drawn(rng)
    return procedural(rng, radius_mm, hardness)
