"""The weight-free tracker on simulated follow-ups of a real lung, against their truth.

    python -m benchmarks.simulated_tracking [COUNT] [FIRST] [SEED]

Each case is a real pair of chest CTs with nodules of known size at corresponding points (grown, shrunk,
stable, vanished, too small); every second follow-up is deformed by another breath. The goals: nodules
found to within 3 mm in 95 %, and their diameter to within 2 mm in 90 %. Also printed: the registration's
error at the landmarks, which it never sees.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from models.weight_free import open_tracker
from models.weight_free.registration import register
from workflow.domain.lesion import LesionState, PriorLesion, TrackedLesion
from workflow.domain.measurement import measure
from workflow.simulation.course import LesionAt, SimulatedCase, hundred_cases
from workflow.simulation.sources import load_lung_pair

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


def main() -> None:
    """Print the figures."""
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
