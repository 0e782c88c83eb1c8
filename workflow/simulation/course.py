"""Courses of disease in one real person's lung: what is implanted where, at each time point.

    case = lung_case(seed=7)                     # baseline and follow-up, random lesions
    case = lung_case(seed=7, plan=DEMO_PLAN, time_points=3)
    for case in hundred_cases(seed=1):           # for benchmarks; each made when asked for
        case.volumes[0], case.volumes[1]         # Volume, HU, int16
        for lesion in case.lesions:
            lesion.label                         # "L1"
            lesion.at[0], lesion.at[1]           # LesionAt: state, mask, truth; None before it exists

Images of later time points than the second are the second after another breath (`breathing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import numpy as np
from scipy import ndimage

from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Mask, Point, Volume
from workflow.domain.lesion import LesionState
from workflow.simulation.acquisition import reslice
from workflow.simulation.breathing import Breathing, breathing_of
from workflow.simulation.nodules import Nodule, NoduleTruth, implant, truth_mask, truth_of
from workflow.simulation.sources import LungPair, load_lung_pair

# Below this a lesion is seen and not measured; it counts 5 mm (RECIST 1.1, 4.3.2).
TOO_SMALL_BELOW_MM = 5.0
# Between a nodule and the chest wall, and between two nodules.
_WALL_MARGIN_MM = 3.0
_NEIGHBOUR_MARGIN_MM = 8.0
# Mean HU around an implanted nodule: lung with vessels that touch it, as nodules have; not the hilum.
LARGEST_RIM_HU = -740.0
# Lung with hardly a vessel, where the edge of a nodule is beyond dispute.
QUIET_RIM_HU = -860.0
# Mean HU within 5 mm of the place of a lesion that vanished: no vessel there that could pass for it.
QUIET_HEALED_HU = -830.0
_HEALED_MM = 5.0
_RIM_MM = 4.0


class Fate(StrEnum):
    """What becomes of a lesion after baseline."""

    GROWN = "grown"
    SHRUNK = "shrunk"
    STABLE = "stable"
    VANISHED = "vanished"
    TOO_SMALL = "too small"
    NEW = "new"


@dataclass(frozen=True, kw_only=True)
class LesionPlan:
    """A lesion to implant: its long axis at each time point, mm; 0 where it isn't there."""

    label: str
    fate: Fate
    long_axes_mm: tuple[float, ...]
    aspect: float = 0.8
    solid_share: float = 1.0
    lobulation: float = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class LesionAt:
    """A lesion at a time point: `nodule`, `truth` and a mask that isn't empty unless it has disappeared."""

    state: LesionState
    centre_lps: Point
    mask: Mask
    nodule: Nodule | None = None
    truth: NoduleTruth | None = None

    @property
    def diameter_mm(self) -> float:
        """What enters the sum of a lesion that is no node: the long axis, 5 mm if too small, 0 if gone."""
        if self.state is LesionState.DISAPPEARED or self.truth is None:
            return 0.0
        return 5.0 if self.state is LesionState.TOO_SMALL else self.truth.long_axis.length_mm


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedLesion:
    """A lesion through time; `at[i]` is None at time points before it exists."""

    label: str
    fate: Fate
    at: tuple[LesionAt | None, ...]
    organ: str = "lung"
    is_nodal: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedCase:
    """Images of one person, one per time point, and the lesions in them."""

    seed: int
    volumes: tuple[Volume, ...]
    lesions: tuple[SimulatedLesion, ...]

    @property
    def baseline(self) -> Volume:
        """The first image."""
        return self.volumes[0]

    @property
    def follow_up(self) -> Volume:
        """The second image."""
        return self.volumes[1]


# Baseline and follow-up: targets 22 + 18 mm go to 14 + 24 mm (stable), a new lesion decides.
DEMO_PLAN = (
    LesionPlan(label="L1", fate=Fate.SHRUNK, long_axes_mm=(22.0, 14.0), aspect=0.75),
    LesionPlan(label="L2", fate=Fate.GROWN, long_axes_mm=(18.0, 24.0), aspect=0.8),
    LesionPlan(label="L3", fate=Fate.VANISHED, long_axes_mm=(12.0, 0.0), aspect=0.85),
    LesionPlan(label="L4", fate=Fate.NEW, long_axes_mm=(0.0, 13.0), aspect=0.85),
)

# Partial response at the first follow-up (46 to 27 mm), progression from that nadir at the second (40 mm).
RESPONSE_PLAN = (
    LesionPlan(label="L1", fate=Fate.SHRUNK, long_axes_mm=(25.0, 15.0, 23.0), aspect=0.8),
    LesionPlan(label="L2", fate=Fate.SHRUNK, long_axes_mm=(21.0, 12.0, 17.0), aspect=0.75),
    LesionPlan(label="L3", fate=Fate.STABLE, long_axes_mm=(13.0, 12.5, 12.5), aspect=0.85),
    LesionPlan(label="L4", fate=Fate.TOO_SMALL, long_axes_mm=(9.0, 4.0, 4.0), aspect=0.9),
)


def random_plan(seed: int) -> tuple[LesionPlan, ...]:
    """Three to five lesions of 8 to 28 mm, each with a fate of its own."""
    rng = np.random.default_rng([seed, 6])
    fates = [Fate.GROWN, Fate.SHRUNK, Fate.STABLE, Fate.VANISHED, Fate.NEW, Fate.TOO_SMALL]
    plans = []
    for number in range(int(rng.integers(3, 6))):
        fate = fates[int(rng.choice(6, p=[0.25, 0.25, 0.2, 0.12, 0.1, 0.08]))]
        first = float(rng.uniform(8.0, 20.0 if fate is Fate.GROWN else 28.0))
        then = {
            Fate.GROWN: first * rng.uniform(1.2, 1.6),
            Fate.SHRUNK: max(first * rng.uniform(0.5, 0.85), 6.0),
            Fate.STABLE: first * rng.uniform(0.96, 1.04),
            Fate.VANISHED: 0.0,
            Fate.TOO_SMALL: rng.uniform(3.5, 4.5),
            Fate.NEW: first,
        }[fate]
        plans.append(
            LesionPlan(
                label=f"L{number + 1}",
                fate=fate,
                long_axes_mm=(0.0 if fate is Fate.NEW else first, float(then)),
                aspect=float(rng.uniform(0.65, 0.95)),
                lobulation=float(rng.uniform(0.0, 0.15)),
            )
        )
    return tuple(plans)


def hundred_cases(seed: int, count: int = 100) -> Iterator[SimulatedCase]:
    """Cases on the real lung pair with random lesions; every second follow-up takes another breath.

    Each case is made when the iterator gets to it (0.5 to 2 s). Case `i` of a seed is always the same.
    """
    for number in range(count):
        yield lung_case(seed=seed * 1000 + number, extra_breath=number % 2 == 1)


def lung_case(
    seed: int,
    *,
    plan: Sequence[LesionPlan] | None = None,
    time_points: int = 2,
    extra_breath: bool = False,
    slice_mm: float | None = None,
    tilt_deg: float = 0.0,
    largest_rim_hu: float = LARGEST_RIM_HU,
    largest_healed_hu: float = 0.0,
    pair: LungPair | None = None,
) -> SimulatedCase:
    """Implant lesions at corresponding landmarks of the real lung pair.

    Parameters
    ----------
    seed
        Of the places, shapes, textures and breaths; and of the plan if none is given.
    plan
        The lesions; by default `random_plan(seed)`. A lesion keeps its last size at later time points.
    time_points
        2 or more; from the third on the image is the second's after another breath.
    extra_breath
        Whether the follow-up is deformed too, so that a hundred cases aren't one registration problem.
    slice_mm, tilt_deg
        Acquire every image with thicker slices, or with turned planes; see `acquisition.reslice`.
    largest_rim_hu
        Highest mean HU of the 4 mm around a nodule: the lower, the fewer vessels touch it.
    largest_healed_hu
        Highest mean HU at the place of a lesion that has vanished; by default a vessel may be there.
    pair
        The images, by default those in `examples/data`.

    Raises
    ------
    UnsuitableInputError
        If the lung has no room for the plan's lesions.
    """
    if time_points < 2:
        raise ValueError(f"a course has 2 time points or more, not {time_points}")
    lesions_planned = tuple(plan) if plan is not None else random_plan(seed)
    source = pair or load_lung_pair()
    grounds = _grounds(source, seed, time_points, extra_breath)
    if slice_mm or tilt_deg:
        grounds = [
            replace(g, volume=reslice(g.volume, slice_mm=slice_mm, tilt_deg=tilt_deg)) for g in grounds
        ]
    places = _choose_places(lesions_planned, source, seed, time_points, largest_rim_hu, largest_healed_hu)
    nodules: list[list[Nodule | None]] = []
    for number, (lesion, place) in enumerate(zip(lesions_planned, places, strict=True)):
        shape = _shape_of(lesion, seed, number)
        nodules.append(
            [
                _sized(shape, lesion, time_point, ground.points_lps[place])
                for time_point, ground in enumerate(grounds)
            ]
        )
    volumes = tuple(
        implant(ground.volume, [n[i] for n in nodules if (n[i]) is not None])  # type: ignore[misc]
        for i, ground in enumerate(grounds)
    )
    lesions = tuple(
        SimulatedLesion(
            label=lesion.label,
            fate=lesion.fate,
            at=_observations(lesion, nodules[number], grounds, volumes, places[number]),
        )
        for number, lesion in enumerate(lesions_planned)
    )
    return SimulatedCase(seed=seed, volumes=volumes, lesions=lesions)


# ---------------------------------------------------------------- the ground to implant in


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ground:
    """An image without lesions, and where the landmarks are in it."""

    volume: Volume
    points_lps: FloatArray


def _grounds(pair: LungPair, seed: int, time_points: int, extra_breath: bool) -> list[_Ground]:
    grounds = [
        _Ground(volume=pair.baseline, points_lps=pair.baseline_points_lps),
        _Ground(volume=pair.follow_up, points_lps=pair.follow_up_points_lps),
    ]
    if extra_breath:
        grounds[1] = _after_breath(
            grounds[1], breathing_of(pair.follow_up, seed=seed, diaphragm_mm=6.0), seed
        )
    for number in range(2, time_points):
        amplitude = 5.0 if number % 2 else -5.0
        breath = breathing_of(pair.follow_up, seed=seed * 31 + number, diaphragm_mm=amplitude)
        grounds.append(_after_breath(grounds[1], breath, seed * 31 + number))
    return grounds


def _after_breath(ground: _Ground, breath: Breathing, seed: int) -> _Ground:
    return _Ground(volume=breath.warp(ground.volume, seed=seed), points_lps=breath.to_new(ground.points_lps))


# ---------------------------------------------------------------- where lesions go


@lru_cache(maxsize=4)
def _room_mm(pair: LungPair) -> FloatArray:
    """Distance of each landmark from the lung's wall, the smaller of both dates, mm; shape (n,)."""
    rooms = []
    for volume, lung, points in (
        (pair.baseline, pair.baseline_lung, pair.baseline_points_lps),
        (pair.follow_up, pair.follow_up_lung, pair.follow_up_points_lps),
    ):
        distance = ndimage.distance_transform_edt(np.pad(lung, 1), sampling=volume.spacing_mm)[
            1:-1, 1:-1, 1:-1
        ]
        nearest = np.rint(volume.ijk(points)).astype(int)
        rooms.append(distance[tuple(nearest.T)])
    room: FloatArray = np.minimum(*rooms)
    return room


def _shell_hu(volume: Volume, centre_lps: FloatArray, inner_mm: float, outer_mm: float) -> float:
    """Mean HU from `inner_mm` to `outer_mm` around a position."""
    index = volume.ijk(centre_lps)
    reach = np.ceil(outer_mm / np.asarray(volume.spacing_mm)).astype(int)
    start = tuple(int(v) for v in np.rint(index).astype(int) - reach)
    stop = tuple(int(v) for v in np.rint(index).astype(int) + reach + 1)
    box = volume.crop((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in box.shape], indexing="ij"), axis=-1)
    distance = np.linalg.norm(box.lps(grid) - centre_lps, axis=-1)
    return float(box.array[(distance >= inner_mm) & (distance <= outer_mm)].mean())


def _choose_places(
    plan: Sequence[LesionPlan],
    pair: LungPair,
    seed: int,
    time_points: int,
    largest_rim_hu: float,
    largest_healed_hu: float,
) -> list[int]:
    """One landmark per lesion: inside the lung, in quiet tissue, away from walls and from each other."""
    rng = np.random.default_rng([seed, 7])
    room = _room_mm(pair)
    # Lobes and later breaths take a little more than the radius.
    radii = [max(lesion.long_axes_mm) * 0.55 + (2.0 if time_points > 2 else 0.0) for lesion in plan]
    places: dict[int, int] = {}
    for number in np.argsort([-r for r in radii], kind="stable").tolist():
        for place in rng.permutation(len(room)).tolist():
            if room[place] < radii[number] + _WALL_MARGIN_MM or place in places.values():
                continue
            taken = [(p, radii[n]) for n, p in places.items()]
            if not _is_clear(pair, place, radii[number], taken, largest_rim_hu):
                continue
            healed_hu = _shell_hu(pair.follow_up, pair.follow_up_points_lps[place], 0.0, _HEALED_MM)
            if plan[number].fate is Fate.VANISHED and healed_hu > largest_healed_hu:
                continue
            places[number] = place
            break
        else:
            raise UnsuitableInputError(
                f"the lung has no room left for lesion {plan[number].label} of {2 * radii[number]:.0f} mm: "
                "plan fewer or smaller lesions, or take another seed"
            )
    return [places[number] for number in range(len(plan))]


def _is_clear(
    pair: LungPair, place: int, radius_mm: float, taken: Sequence[tuple[int, float]], largest_rim_hu: float
) -> bool:
    for volume, points in (
        (pair.baseline, pair.baseline_points_lps),
        (pair.follow_up, pair.follow_up_points_lps),
    ):
        for other, other_radius in taken:
            gap = float(np.linalg.norm(points[place] - points[other])) - radius_mm - other_radius
            if gap < _NEIGHBOUR_MARGIN_MM:
                return False
        if _shell_hu(volume, points[place], radius_mm, radius_mm + _RIM_MM) > largest_rim_hu:
            return False
    return True


# ---------------------------------------------------------------- lesions


def _shape_of(lesion: LesionPlan, seed: int, number: int) -> Nodule:
    rng = np.random.default_rng([seed, 8, number])
    return Nodule(
        centre_lps=(0.0, 0.0, 0.0),
        long_axis_mm=1.0,
        short_axis_mm=lesion.aspect,
        height_mm=float(rng.uniform(lesion.aspect, 1.0)),
        angle_deg=float(rng.uniform(0, 180)),
        attenuation_hu=float(rng.uniform(-20, 50)),
        solid_share=lesion.solid_share,
        lobulation=lesion.lobulation,
        seed=seed * 100 + number,
    )


def _sized(shape: Nodule, lesion: LesionPlan, time_point: int, centre_lps: FloatArray) -> Nodule | None:
    long_mm = lesion.long_axes_mm[min(time_point, len(lesion.long_axes_mm) - 1)]
    if long_mm == 0:
        return None
    return replace(
        shape,
        centre_lps=(float(centre_lps[0]), float(centre_lps[1]), float(centre_lps[2])),
        long_axis_mm=long_mm,
        short_axis_mm=shape.short_axis_mm * long_mm,
        height_mm=shape.height_mm * long_mm,
    )


def _observations(
    lesion: LesionPlan,
    nodules: Sequence[Nodule | None],
    grounds: Sequence[_Ground],
    volumes: Sequence[Volume],
    place: int,
) -> tuple[LesionAt | None, ...]:
    first = next((i for i, n in enumerate(nodules) if n is not None), len(nodules))
    seen: list[LesionAt | None] = []
    for i, (nodule, ground, volume) in enumerate(zip(nodules, grounds, volumes, strict=True)):
        x, y, z = ground.points_lps[place].tolist()
        if i < first:
            seen.append(None)
        elif nodule is None:
            empty = Mask.from_array(np.zeros((0, 0, 0), dtype=bool), shape=volume.shape)
            seen.append(LesionAt(state=LesionState.DISAPPEARED, centre_lps=(x, y, z), mask=empty))
        else:
            truth = truth_of(nodule, volume)
            is_small = truth.long_axis.length_mm < TOO_SMALL_BELOW_MM
            seen.append(
                LesionAt(
                    state=LesionState.TOO_SMALL if is_small else LesionState.PRESENT,
                    centre_lps=(x, y, z),
                    mask=truth_mask(nodule, volume),
                    nodule=nodule,
                    truth=truth,
                )
            )
    return tuple(seen)
