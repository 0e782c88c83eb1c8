"""Courses of disease on the real lung pair: what is said of a lesion is what was put there."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from workflow.domain.errors import UnsuitableInputError
from workflow.domain.lesion import LesionState
from workflow.simulation.course import DEMO_PLAN, Fate, LesionPlan, hundred_cases, lung_case
from workflow.simulation.sources import load_lung_pair


def test_landmarks_lie_in_the_lung_on_both_dates() -> None:
    pair = load_lung_pair()
    for volume, lung, points in (
        (pair.baseline, pair.baseline_lung, pair.baseline_points_lps),
        (pair.follow_up, pair.follow_up_lung, pair.follow_up_points_lps),
    ):
        assert len(points) == 51
        assert lung[tuple(np.rint(volume.ijk(points)).astype(int).T)].all()


def test_the_demo_course_grows_shrinks_vanishes_and_brings_one_new_lesion() -> None:
    case = lung_case(seed=1, plan=DEMO_PLAN)
    state = {lesion.fate: [at.state if at else None for at in lesion.at] for lesion in case.lesions}
    assert state == {
        Fate.GROWN: [LesionState.PRESENT, LesionState.PRESENT],
        Fate.SHRUNK: [LesionState.PRESENT, LesionState.PRESENT],
        Fate.VANISHED: [LesionState.PRESENT, LesionState.DISAPPEARED],
        Fate.NEW: [None, LesionState.PRESENT],
    }


def test_every_lesion_is_dense_where_it_is_and_lung_where_it_is_not() -> None:
    case = lung_case(seed=3, plan=DEMO_PLAN, time_points=3)
    for lesion in case.lesions:
        for volume, at in zip(case.volumes, lesion.at, strict=True):
            if at is None:
                continue
            if at.state is LesionState.DISAPPEARED:
                assert at.mask.is_empty
                index = tuple(np.rint(volume.ijk(np.asarray(at.centre_lps))).astype(int))
                assert volume.array[index] < -200
            else:
                assert volume.array[at.mask.array()].mean() > -250
                centre = volume.lps(at.mask.centroid_ijk())
                assert np.linalg.norm(centre - at.centre_lps) < 1.5


@pytest.mark.parametrize("seed", range(3))
def test_lesions_keep_clear_of_the_wall_and_of_each_other(seed: int) -> None:
    case, pair = lung_case(seed=seed), load_lung_pair()
    present = [lesion.at[0] for lesion in case.lesions if lesion.at[0] is not None]
    for at in present:
        assert pair.baseline_lung[at.mask.array()].all()
    centres = np.array([at.centre_lps for at in present])
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=2) + 1e9 * np.eye(len(centres))
    assert distance.min() > 15


def test_a_lesion_under_5_mm_is_too_small_and_counts_5_mm() -> None:
    plan = [LesionPlan(label="A", fate=Fate.TOO_SMALL, long_axes_mm=(15.0, 4.0), lobulation=0.0)]
    at = lung_case(seed=2, plan=plan).lesions[0].at[1]
    assert at is not None
    assert at.state is LesionState.TOO_SMALL
    assert at.diameter_mm == 5.0


def test_the_same_seed_makes_the_same_case_and_another_seed_another() -> None:
    one, again, other = (lung_case(seed=s, plan=DEMO_PLAN[:2]) for s in (5, 5, 6))
    for a, b in zip(one.volumes, again.volumes, strict=True):
        assert np.array_equal(a.array, b.array)
    assert not np.array_equal(one.baseline.array, other.baseline.array)


def test_a_plan_that_does_not_fit_says_which_lesion() -> None:
    plan = [LesionPlan(label="giant", fate=Fate.STABLE, long_axes_mm=(140.0, 140.0))]
    with pytest.raises(UnsuitableInputError, match="giant"):
        lung_case(seed=1, plan=plan)


def test_cases_for_benchmarks_differ_and_deform_every_second_follow_up() -> None:
    cases = list(hundred_cases(seed=1, count=2))
    assert [len(case.volumes) for case in cases] == [2, 2]
    for one, other in pairwise(cases):
        assert not np.array_equal(one.baseline.array, other.baseline.array)
    pair = load_lung_pair()
    changed = [(np.abs(c.follow_up.array - pair.follow_up.array) > 60).mean() for c in cases]
    assert changed[0] < 0.05 < changed[1]
