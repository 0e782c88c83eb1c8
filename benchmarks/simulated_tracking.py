"""The weight-free tracker on simulated follow-ups of a real lung, against their truth.

    python -m benchmarks.simulated_tracking [COUNT] [FIRST] [SEED]
    python -m benchmarks.simulated_tracking stable CASES
    python -m benchmarks.simulated_tracking persons CASES

Each case is a real pair of chest CTs with nodules of known size at corresponding points (grown, shrunk,
stable, vanished, too small); every second follow-up is deformed by another breath. The goals: nodules
found to within 3 mm in 95 %, and their diameter to within 2 mm in 90 %. Also printed: the registration's
error at the landmarks, which it never sees.

`stable` tracks real lesions (see `benchmarks.weight_free` for CASES) to the same anatomy at another visit:
the patient lies and breathes otherwise, the image has new noise, another kernel and, where slices are thin,
thicker ones. Nothing has changed, so diameter and volume must not. `persons` registers pairs of images of one
patient and of two, and prints by how much what stays in a body matches.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks import weight_free
from models.weight_free import open_tracker
from models.weight_free.registration import register
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Mask, Volume, dice
from workflow.domain.lesion import LesionState, PriorLesion, TrackedLesion
from workflow.domain.measurement import measure
from workflow.simulation.breathing import Breathing
from workflow.simulation.course import LesionAt, SimulatedCase, hundred_cases
from workflow.simulation.sources import load_lung_pair
from workflow.use_cases.images import read_image

FOUND_MM, SIZED_MM = 3.0, 2.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One tracked lesion against its truth; errors are None where nothing was found or nothing is there."""

    case: int
    label: str
    fate: str
    truth: LesionState
    state: LesionState
    position_error_mm: float | None
    diameter_error_mm: float | None
    reason: str

    @property
    def is_found(self) -> bool:
        """Within 3 mm of the true place."""
        return self.position_error_mm is not None and self.position_error_mm <= FOUND_MM

    @property
    def is_sized(self) -> bool:
        """Long axis within 2 mm of the true one."""
        return self.diameter_error_mm is not None and abs(self.diameter_error_mm) <= SIZED_MM


def outcomes(cases: Iterable[SimulatedCase]) -> Iterator[Outcome]:
    """Track every case's lesions that exist at baseline."""
    tracker = open_tracker()
    for case in cases:
        known = [lesion for lesion in case.lesions if lesion.at[0] is not None]
        priors = [
            PriorLesion(tracking_uid=lesion.label, mask=lesion.at[0].mask) for lesion in known if lesion.at[0]
        ]
        found = tracker.track(case.baseline, priors, case.follow_up)
        for lesion, one in zip(known, found, strict=True):
            truth = lesion.at[1]
            assert truth is not None
            yield _outcome(case, lesion.label, lesion.fate.value, truth, one)


def _outcome(case: SimulatedCase, label: str, fate: str, truth: LesionAt, found: TrackedLesion) -> Outcome:
    position_error = diameter_error = None
    if truth.truth is not None and not found.mask.is_empty:
        place = case.follow_up.lps(found.mask.centroid_ijk())
        position_error = float(np.linalg.norm(place - truth.centre_lps))
        size = measure(case.follow_up, found.mask)
        diameter_error = size.long_axis.length_mm - truth.truth.long_axis.length_mm
    return Outcome(
        case=case.seed,
        label=label,
        fate=fate,
        truth=truth.state,
        state=found.state,
        position_error_mm=position_error,
        diameter_error_mm=diameter_error,
        reason=found.reason,
    )


def landmark_errors_mm() -> np.ndarray:
    """Distance of each landmark, carried over by the registration alone, from where it is; mm, shape (n,)."""
    pair = load_lung_pair()
    registration = register(pair.baseline, pair.follow_up)
    errors: np.ndarray = np.linalg.norm(
        registration.map(pair.baseline_points_lps) - pair.follow_up_points_lps, axis=1
    )
    return errors


# ---------------------------------------------------------------- another visit, nothing changed


def revisited(volume: Volume, mask: Mask | None, seed: int, *, is_ct: bool, far_mm: float = 5.0) -> Visit:
    """The same anatomy at another visit: posture, breath, noise, kernel, scale (not CT), slice thickness.

    `far_mm` is how far tissue moves at most besides the patient's posture. The mask moves along.
    """
    source = np.random.default_rng(seed)
    thick = 2 if min(volume.shape) > 30 and volume.spacing_mm[0] < 3.5 and seed % 2 else 1
    affine = volume.affine.copy()
    affine[:3, 0] *= thick
    # Slices begin elsewhere, and a thick one lies in the middle of those that it averages.
    affine[:3, 3] = volume.lps(np.array([0.5 * (thick - 1) + 0.3, 0.2, -0.3]))
    shape = (volume.shape[0] // thick, *volume.shape[1:])
    new = Volume(array=np.zeros(shape, dtype=np.float32), affine=affine)
    to_old = _motion(volume, source, far_mm)

    def seen(array: np.ndarray, order: int) -> np.ndarray:
        old = volume.ijk(to_old(new.lps(np.indices(shape).reshape(3, -1).T))).T
        return np.asarray(
            ndimage.map_coordinates(array, old, order=order, mode="nearest").reshape(shape), dtype=np.float32
        )

    blur = (0.45 * np.sqrt(thick**2 - 1), *[source.uniform(0.2, 0.7)] * 2)
    image = seen(ndimage.gaussian_filter(volume.array.astype(np.float32), blur), 1)
    fine = np.abs(np.diff(volume.array.astype(np.float32), axis=2))
    level = float(np.median(fine[fine > 0])) if is_ct else 0.02 * float(np.quantile(volume.array, 0.99))
    image += source.normal(0, level, shape)
    if not is_ct:
        image = np.clip(image * source.uniform(0.7, 1.4), 0, None)
    depth = np.zeros(volume.shape, dtype=np.float32) if mask is None else _depth(mask, volume)
    return Visit(new.with_array(image), Mask.from_array(seen(depth, 1) > 0))


@dataclass(frozen=True, eq=False)
class Visit:
    """An image and the lesion in it."""

    volume: Volume
    mask: Mask


def _depth(mask: Mask, volume: Volume) -> np.ndarray:
    inside = mask.array()
    depth = ndimage.distance_transform_edt(inside, sampling=volume.spacing_mm)
    return np.asarray(depth - ndimage.distance_transform_edt(~inside, sampling=volume.spacing_mm))


def _motion(volume: Volume, source: np.random.Generator, far_mm: float) -> Callable[[FloatArray], FloatArray]:
    corners = volume.lps(np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape])).reshape(3, -1).T)
    low, size = corners.min(axis=0), np.ptp(corners, axis=0)
    widths = np.maximum(source.uniform(0.25, 0.5, 3) * size.min(), 60.0)
    shifts = source.normal(size=(3, 3))
    shifts *= (far_mm * source.uniform(0.4, 1, 3) / np.linalg.norm(shifts, axis=1))[:, None]
    strain = float((np.linalg.norm(shifts, axis=1) / widths).sum()) * np.exp(-0.5)
    breath = Breathing(
        centres_lps=low + source.uniform(0.1, 0.9, (3, 3)) * size,
        shifts_mm=shifts * min(1.0, 0.45 / strain),
        widths_mm=widths,
    )
    angle = np.deg2rad(source.uniform(-4, 4))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    middle, shift = low + size / 2, source.normal(0, 4, 3)
    return lambda positions: breath.to_old((positions - middle) @ turn.T + middle + shift)


def stable(folder: Path) -> None:
    """Track lesions that did not change, and print how much they seem to have."""
    tracker = open_tracker()
    changes = []
    for number, whole in enumerate(weight_free.cases(folder)):
        case = _cropped(whole)
        visit = revisited(case.volume, case.mask, number, is_ct=case.modality == "CT")
        prior = PriorLesion(tracking_uid=case.name, mask=case.mask)
        (found,) = tracker.track(case.volume, [prior], visit.volume)
        truth = measure(visit.volume, visit.mask)
        if found.mask.is_empty:
            print(f"| {case.name} | {found.state} | | | {found.confidence:.2f} | {found.reason}", flush=True)
            continue
        size = measure(visit.volume, found.mask)
        ratio = size.volume_mm3 / truth.volume_mm3
        longer = size.long_axis.length_mm - truth.long_axis.length_mm
        changes.append((np.log(ratio), longer, longer / truth.long_axis.length_mm))
        print(
            f"| {case.name} | {found.state} | {ratio:.2f} | {longer:+.1f} of {truth.long_axis.length_mm:.0f} "
            f"| {found.confidence:.2f} | Dice {dice(found.mask, visit.mask):.2f}",
            flush=True,
        )
    logs, lengths, shares = np.array(changes).T
    print(
        f"{len(logs)} measured: volume ratio {np.exp(logs.mean()):.2f} on average, "
        f"{np.exp(logs.min()):.2f} to {np.exp(logs.max()):.2f}; "
        f"long axis {lengths.mean():+.1f} mm ({shares.mean():+.1%}), "
        f"off by 20 % or more in {np.count_nonzero(np.abs(shares) >= 0.2)}"
    )


def _cropped(case: weight_free.Case) -> weight_free.Case:
    """The lesion with 60 mm around it, which is what its place is told by."""
    start, stop = case.mask.box_with_margin(60.0, case.volume.spacing_mm)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return replace(case, volume=case.volume.crop(start, stop), mask=Mask.from_array(case.mask.array()[box]))


# ---------------------------------------------------------------- one person or two

_CT = {
    "elastix": "elastix_lung_pair/3DCT_lung_baseline.mha",
    "elastix later": "elastix_lung_pair/3DCT_lung_followup.mha",
    "lung1": "pyradiomics/lung1_image.nrrd",
    "4D-Lung": "fourd_lung_p4/ct",
    "IBSI": "ibsi_ct_phantom/dicom/image",
}
_MR = {
    "CMB-CRC": "cmb_crc_06489_mr_pair/SCAN_001/adc_image",
    "CMB-CRC later": "cmb_crc_06489_mr_pair/SCAN_002/adc_image",
    "brain1": "pyradiomics/brain1_image.nrrd",
}
_STS = ("STS_002", "STS_008", "STS_025")


def persons(folder: Path) -> None:
    """Print the similarity of pairs of images of one patient and of two."""
    groups: dict[str, dict[str, str]] = {"CT chest": _CT, "MR": _MR}
    for name in ("CT", "MR_T1", "PET"):
        groups[f"{name} thigh"] = {one: f"ibsi_sts/dicom/{one}/{name}/image" for one in _STS}
    for group, paths in groups.items():
        images = {name: read_image(folder / path) for name, path in paths.items()}
        pairs = [(one, other) for one in images for other in images if one != other]
        for one, other in pairs:
            is_same = one.removesuffix(" later") == other.removesuffix(" later")
            _print_pair(group, one, other, is_same, images[one], images[other])
        for number, (name, image) in enumerate(images.items()):
            visit = revisited(image, None, number, is_ct=group.startswith("CT"))
            _print_pair(group, name, f"{name} revisited", True, image, visit.volume)


def _print_pair(group: str, one: str, other: str, is_same: bool, prior: Volume, new: Volume) -> None:
    try:
        found = register(prior, new).identity
        said = f"{found.similarity:.2f} | {found.by} | {'in doubt' if found.is_in_doubt else 'one patient'}"
    except UnsuitableInputError:
        said = " | | refused: no common region"
    print(f"| {group} | {one} | {other} | {'one' if is_same else 'two'} | {said} |", flush=True)


def main() -> None:
    """Print the figures."""
    if len(sys.argv) > 2 and sys.argv[1] in ("stable", "persons"):
        (stable if sys.argv[1] == "stable" else persons)(Path(sys.argv[2]))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    errors = landmark_errors_mm()
    print(
        f"registration error at {len(errors)} landmarks: median {np.median(errors):.2f} mm, "
        f"95 % {np.percentile(errors, 95):.2f} mm, largest {errors.max():.2f} mm"
    )
    started = time.perf_counter()
    results = []
    for result in outcomes(islice(hundred_cases(seed=seed), first, first + count)):
        results.append(result)
        is_there = result.truth is not LesionState.DISAPPEARED
        if (is_there and not (result.is_found and result.is_sized)) or result.state is not result.truth:
            print(f"  {result}", flush=True)
    there = [one for one in results if one.truth is not LesionState.DISAPPEARED]
    gone = [one for one in results if one.truth is LesionState.DISAPPEARED]
    measurable = [one for one in there if one.truth is not LesionState.TOO_SMALL]
    sizes = np.array([one.diameter_error_mm for one in there if one.diameter_error_mm is not None])
    print(f"{count} cases, {len(there)} nodules, {time.perf_counter() - started:.0f} s")
    print(f"found to within 3 mm: {np.mean([one.is_found for one in there]):.1%} (goal 95 %)")
    print(f"diameter to within 2 mm: {np.mean([one.is_sized for one in there]):.1%} (goal 90 %)")
    print(
        f"of {len(measurable)} that can be measured (5 mm and more): found "
        f"{np.mean([one.is_found for one in measurable]):.1%}, diameter "
        f"{np.mean([one.is_sized for one in measurable]):.1%}"
    )
    print(f"diameter error: mean {sizes.mean():+.2f} mm, standard deviation {sizes.std():.2f} mm")
    print(f"vanished: {len(gone)}, said so: {sum(one.state is LesionState.DISAPPEARED for one in gone)}")
    for (truth, state), number in sorted(Counter((o.truth, o.state) for o in results).items()):
        print(f"  truth {truth.value}, said {state.value}: {number}")


if __name__ == "__main__":
    main()
