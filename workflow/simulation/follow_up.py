"""A simulated follow-up of one real CT: lesions changed by a known factor, another breath, new noise.

    case = simulate_follow_up(volume, {"Tumor": mask}, {"Tumor": 0.6}, seed=1)

A lesion is taken out, lung put in its place, and its scaled copy set back at its centre; then the
whole chest is deformed. The truth is what is measured on the scaled and deformed mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workflow.domain.geometry import FloatArray, Mask, Point, Volume
from workflow.domain.lesion import LesionState
from workflow.domain.measurement import measure
from workflow.simulation.breathing import breathing_of
from workflow.simulation.course import TOO_SMALL_BELOW_MM, Fate, LesionAt, SimulatedCase, SimulatedLesion
from workflow.simulation.nodules import NoduleTruth, erase

# The edge of the scaled copy: as sharp as a scanner's.
_EDGE_MM = 1.0
# Erasing looks this far for lung: across the chest.
_DONOR_REACH_MM = 260.0


def simulate_follow_up(
    volume: Volume,
    masks: Mapping[str, Mask],
    factors: Mapping[str, Sequence[float]] | Mapping[str, float],
    *,
    seed: int = 1,
    diaphragm_mm: float = 12.0,
    nodal: frozenset[str] = frozenset(),
) -> SimulatedCase:
    """Simulate one follow-up, or several.

    Parameters
    ----------
    volume
        The real CT, HU.
    masks
        Its lesions by label, on its grid.
    factors
        Size of a lesion at each follow-up over its size at baseline: below 1 it has shrunk, 0 it has
        vanished, 1 (or no entry) it is as it was. A single number stands for one follow-up.
    seed
        Of donors, breaths and noise.
    diaphragm_mm
        How far the diaphragm moves, mm; every second follow-up the other way.
    nodal
        Labels of lymph nodes.

    Raises
    ------
    ValueError
        If a factor is negative or above 1 (growth into the organs around would be guesswork), or the
        lesions have different numbers of follow-ups.
    """
    course = {label: _as_tuple(factors.get(label, 1.0)) for label in masks}
    count = max((len(f) for f in course.values()), default=1)
    steps = {label: f * count if len(f) == 1 else f for label, f in course.items()}
    for label, values in steps.items():
        if len(values) != count or any(not 0 <= v <= 1 for v in values):
            raise ValueError(f"factors {values} of {label} are not {count} numbers from 0 to 1")
    volumes = [volume]
    observed: dict[str, list[LesionAt]] = {
        label: [_observe(volume, mask, _centre(volume, mask))] for label, mask in masks.items()
    }
    for number in range(count):
        image, changed = volume, dict(masks)
        for label, mask in masks.items():
            factor = steps[label][number]
            if factor < 1:
                image, changed[label] = scale_lesion(image, mask, factor, seed=seed)
        breath = breathing_of(
            volume, seed=seed * 31 + number, diaphragm_mm=diaphragm_mm if number % 2 == 0 else -diaphragm_mm
        )
        image = breath.warp(image, seed=seed * 31 + number)
        for label, mask in changed.items():
            centre = breath.to_new(np.asarray(_centre(volume, masks[label])))
            warped = breath.warp_mask(mask, volume)
            observed[label].append(_observe(image, warped, _point(centre)))
        volumes.append(image)
    lesions = tuple(
        SimulatedLesion(
            label=label,
            fate=_fate(steps[label]),
            at=tuple(seen),
            organ="lymph node" if label in nodal else "lung",
            is_nodal=label in nodal,
        )
        for label, seen in observed.items()
    )
    return SimulatedCase(seed=seed, volumes=tuple(volumes), lesions=lesions)


def scale_lesion(volume: Volume, mask: Mask, factor: float, *, seed: int = 0) -> tuple[Volume, Mask]:
    """Shrink a lesion about its centre; lung takes the room that it leaves.

    Parameters
    ----------
    factor
        0 to 1; new size over old in every direction, 0 takes it away.

    Returns
    -------
    tuple
        The changed image and the changed mask, on the same grid.
    """
    cleared = erase(volume, mask, seed=seed, reach_mm=_DONOR_REACH_MM)
    if factor == 0:
        return cleared, Mask.from_array(np.zeros((0, 0, 0), dtype=bool), shape=volume.shape)
    start, stop = mask.box_with_margin(10.0, volume.spacing_mm)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    inside = mask.array()[box]
    depth = ndimage.distance_transform_edt(inside, sampling=volume.spacing_mm)
    depth = depth - ndimage.distance_transform_edt(~inside, sampling=volume.spacing_mm)
    centre = mask.centroid_ijk() - start
    index = np.stack(np.meshgrid(*[np.arange(n) for n in inside.shape], indexing="ij"))
    source = centre[:, None, None, None] + (index - centre[:, None, None, None]) / factor
    new_depth = factor * ndimage.map_coordinates(depth, source, order=1, mode="nearest")
    copy = ndimage.map_coordinates(volume.array[box].astype(np.float64), source, order=1, mode="nearest")
    weight = np.clip(0.5 + new_depth / (2 * _EDGE_MM), 0, 1)
    array = cleared.array.copy()
    array[box] = np.rint(weight * copy + (1 - weight) * array[box])
    return volume.with_array(array), Mask.from_array(new_depth > 0, start, volume.shape)


def _observe(volume: Volume, mask: Mask, centre_lps: Point) -> LesionAt:
    if mask.is_empty:
        return LesionAt(state=LesionState.DISAPPEARED, centre_lps=centre_lps, mask=mask)
    measured = measure(volume, mask)
    truth = NoduleTruth(
        long_axis=measured.long_axis,
        short_axis=measured.short_axis,
        slice_index=measured.slice_index,
        volume_mm3=measured.volume_mm3,
    )
    is_small = truth.long_axis.length_mm < TOO_SMALL_BELOW_MM
    return LesionAt(
        state=LesionState.TOO_SMALL if is_small else LesionState.PRESENT,
        centre_lps=_centre(volume, mask),
        mask=mask,
        truth=truth,
    )


def _fate(factors: Sequence[float]) -> Fate:
    if factors[0] == 0:
        return Fate.VANISHED
    return Fate.SHRUNK if factors[0] < 0.97 else Fate.STABLE


def _as_tuple(factor: Sequence[float] | float) -> tuple[float, ...]:
    return (float(factor),) if isinstance(factor, int | float) else tuple(factor)


def _centre(volume: Volume, mask: Mask) -> Point:
    return _point(volume.lps(mask.centroid_ijk()))


def _point(position: FloatArray | NDArray[np.float64]) -> Point:
    return float(position[0]), float(position[1]), float(position[2])
