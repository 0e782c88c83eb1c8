"""The weight-free tracker on simulated follow-ups of a real lung, and where it has to give up."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulated_tracking import outcomes
from models.weight_free import open_tracker
from workflow.domain.geometry import Mask, Volume, dice
from workflow.domain.lesion import LesionState, PriorLesion
from workflow.domain.measurement import measure
from workflow.simulation.course import DEMO_PLAN, LesionAt, SimulatedCase, hundred_cases, lung_case


@pytest.fixture(scope="module")
def demo() -> SimulatedCase:
    return lung_case(seed=1, plan=DEMO_PLAN)


def at(case: SimulatedCase, label: str, time_point: int) -> LesionAt:
    found = next(lesion.at[time_point] for lesion in case.lesions if lesion.label == label)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def tracked(demo: SimulatedCase):
    priors = [PriorLesion(tracking_uid=label, mask=at(demo, label, 0).mask) for label in ("L3", "L1", "L2")]
    return open_tracker().track(demo.baseline, priors, demo.follow_up)


def test_results_come_in_the_priors_order_with_their_tracking_uids(tracked):
    assert [one.tracking_uid for one in tracked] == ["L3", "L1", "L2"]


@pytest.mark.parametrize("label", ["L1", "L2"])
def test_a_lesion_that_shrank_or_grew_is_found_and_measured(demo, tracked, label):
    found = next(one for one in tracked if one.tracking_uid == label)
    truth = at(demo, label, 1)
    assert found.state is LesionState.PRESENT
    assert dice(found.mask, truth.mask) > 0.75  # a vessel as thick as the lesion leaves from L1
    size = measure(demo.follow_up, found.mask)
    assert truth.truth is not None
    assert size.long_axis.length_mm == pytest.approx(truth.truth.long_axis.length_mm, abs=2.0)
    assert found.expected_lps == pytest.approx(truth.centre_lps, abs=5.0)
    assert found.confidence > 0.6


def test_a_lesion_that_vanished_is_said_to_be_gone_with_the_reason(tracked):
    gone = tracked[0]
    assert gone.state is LesionState.DISAPPEARED
    assert gone.mask.is_empty
    assert gone.expected_lps is not None
    assert "nothing like it at its place" in gone.reason


@pytest.mark.slow
def test_some_of_the_hundred_simulated_cases_meet_the_goals():
    results = list(outcomes(hundred_cases(seed=1, count=3)))
    there = [one for one in results if one.truth is not LesionState.DISAPPEARED]
    assert len(there) >= 6
    assert sum(one.is_found for one in there) >= 0.95 * len(there)
    assert sum(one.is_sized for one in there) >= 0.85 * len(there)


def noise(seed: int) -> Volume:
    array = np.random.default_rng(seed).normal(-400, 300, (30, 30, 30)).astype(np.float32)
    return Volume(array=array, affine=np.diag([4.0, 4.0, 4.0, 1.0]))


def test_a_pair_that_can_not_be_registered_fails_for_each_lesion_and_says_why():
    voxels = np.zeros((30, 30, 30), dtype=bool)
    voxels[10:13, 10:13, 10:13] = True
    prior = PriorLesion(tracking_uid="1.2.3", mask=Mask.from_array(voxels))
    (found,) = open_tracker().track(noise(1), [prior], noise(2))
    assert found.state is LesionState.TRACKING_FAILED
    assert found.mask.is_empty
    assert found.confidence == 0.0
    assert "no common region" in found.reason


def test_no_lesion_is_no_work():
    assert open_tracker().track(noise(1), [], noise(2)) == []


def test_a_lesion_outside_the_new_field_of_view_and_an_empty_prior_fail_with_their_reasons(demo):
    lesion = at(demo, "L1", 0)
    below = int(lesion.mask.stop_ijk[0]) + 12
    upper = demo.baseline.crop((below, 0, 0), demo.baseline.shape)
    if upper.shape[0] < 40:
        upper = demo.baseline.crop((0, 0, 0), (lesion.mask.start_ijk[0] - 12, *demo.baseline.shape[1:]))
    empty = Mask.from_array(np.zeros((1, 1, 1), dtype=bool), shape=demo.baseline.shape)
    outside, nothing = open_tracker().track(
        demo.baseline,
        [PriorLesion(tracking_uid="1", mask=lesion.mask), PriorLesion(tracking_uid="2", mask=empty)],
        upper,
    )
    assert outside.state is nothing.state is LesionState.TRACKING_FAILED
    assert "outside the new volume" in outside.reason
    assert "the prior's mask is empty" in nothing.reason
