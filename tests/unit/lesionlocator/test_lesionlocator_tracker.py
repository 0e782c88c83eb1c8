"""The tracker as a stage of the pipeline uses it: identities kept, failures said, costs bounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.lesionlocator import open_tracker
from models.lesionlocator.networks import ResidualEncoderUNet
from models.lesionlocator.orientation import Orientation
from models.lesionlocator.registration import RegistrationNet, identity_map
from workflow.domain.geometry import Mask, Volume
from workflow.domain.lesion import LesionState, PriorLesion
from workflow.ports import Tracker


@pytest.fixture(scope="module")
def weights(fixtures, recipe, tmp_path_factory):
    return recipe.write_lesionlocator_checkpoint(
        tmp_path_factory.mktemp("track"), fixtures / "lesionlocator", seed=1, folds=(0,), parts=("track",)
    )


@pytest.fixture(scope="module")
def tracker(weights):
    return open_tracker(weights, device="cpu", registration_grid=75, clean_up=False)


@pytest.fixture(scope="module")
def scan(fixtures, parity):
    return lambda name: volume_of(parity.load(fixtures / "lesionlocator" / "open" / name))


def volume_of(loaded, origin=(-63.7, 20.1, 411.3)) -> Volume:
    affine = np.zeros((4, 4))
    for k, (axis, mm) in enumerate(zip((2, 1, 0), loaded["spacing_zyx"], strict=True)):
        affine[axis, k] = mm
    affine[:, 3] = (*origin, 1)
    return Volume(array=loaded["image"], affine=affine)


def prior_lesion(mask, uid="2.25.1") -> PriorLesion:
    return PriorLesion(tracking_uid=uid, mask=Mask.from_array(mask))


def ball(shape, centre, radius=4):
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2


@pytest.mark.parametrize("flips", [(False, False, False), (True, True, False)])
def test_tracking_through_the_port_gives_upstreams_masks(flips, tracker, fixtures, parity, scan):
    case = parity.load(fixtures / "lesionlocator" / "open" / "trk_shallow.npz")
    prior, new = scan(case["meta"]["baseline_volume"]), scan(case["meta"]["followups"][0])
    lesion = prior_lesion(parity.prompt_masks(case)[1], "2.25.77")
    stored = Orientation(order=(0, 1, 2), reverse=flips, shape=new.shape)
    assert isinstance(tracker, Tracker)
    (found,) = tracker.track(prior, [lesion], stored.view(new))
    assert found.tracking_uid == "2.25.77"
    assert found.state is LesionState.PRESENT
    expected = parity.unpack(case["P0_L1_mask_bits"], new.shape)
    mask = stored.mask_from_view(found.mask).array()
    assert (mask != expected).sum() <= parity.TOL["track_mask_fraction"] * expected.sum()


def test_a_lesion_is_expected_where_the_registration_puts_it(tracker, scan):
    prior, new = scan("vol_shallowbl.npz"), scan("vol_shallowfu.npz")
    centre = (11, 55, 50)
    (found,) = tracker.track(prior, [prior_lesion(ball(prior.shape, centre))], new)
    # The random map moves by 1 to 2 % of the view, which is 110 mm wide.
    distance = np.linalg.norm(np.subtract(found.expected_lps, prior.lps(np.array(centre))))
    assert distance < 8
    assert found.registration.warped_voxel_count == pytest.approx(257, rel=0.5)
    assert 0 <= found.registration.folding_fraction < 0.5
    assert -1 <= found.registration.similarity <= 1


@pytest.fixture
def still(monkeypatch):
    """A registration that moves nothing; counts its calls."""
    calls = []

    def identity(self, moving, fixed):
        calls.append(1)
        return identity_map(tuple(fixed.shape[2:]))

    monkeypatch.setattr(RegistrationNet, "forward", identity)
    return calls


def always(monkeypatch, background, lesion):
    """A U-Net of one opinion; counts its windows."""
    calls = []

    def forward(self, x):
        calls.extend(x)
        logits = torch.empty_like(x)
        logits[:, 0], logits[:, 1] = background, lesion
        return logits

    monkeypatch.setattr(ResidualEncoderUNet, "forward", forward)
    return calls


def test_a_pair_is_registered_once_and_each_lesion_costs_one_pass(tracker, scan, still, monkeypatch):
    looked = always(monkeypatch, 0, 1)
    prior, new = scan("vol_shallowbl.npz"), scan("vol_shallowfu.npz")
    lesions = [
        prior_lesion(ball(prior.shape, centre), f"2.25.{i}")
        for i, centre in enumerate([(6, 40, 40), (11, 60, 60), (15, 70, 40)])
    ]
    found = tracker.track(prior, lesions, new)
    assert len(still) == 1
    assert len(looked) == 3
    assert [lesion.tracking_uid for lesion in found] == ["2.25.0", "2.25.1", "2.25.2"]


def test_lesions_that_cant_be_followed_are_said_and_the_others_keep_their_names(
    tracker, scan, still, monkeypatch
):
    always(monkeypatch, 0, 1)
    prior, new = scan("vol_fulong.npz"), scan("vol_std.npz")
    lesions = [
        prior_lesion(ball(prior.shape, (3, 64, 64)), "2.25.below"),
        prior_lesion(np.zeros(prior.shape, dtype=bool), "2.25.empty"),
        prior_lesion(ball(prior.shape, (36, 64, 64)), "2.25.here"),
    ]
    below, empty, here = tracker.track(prior, lesions, new)
    assert (below.tracking_uid, empty.tracking_uid, here.tracking_uid) == (
        "2.25.below",
        "2.25.empty",
        "2.25.here",
    )
    assert below.state is empty.state is LesionState.TRACKING_FAILED
    assert "the new scan does not show" in below.reason
    assert "empty" in empty.reason
    assert below.mask.is_empty
    assert below.mask.shape == new.shape
    assert here.state is LesionState.PRESENT


def test_a_pair_that_cant_be_registered_fails_with_its_reason_and_no_exception(tracker, scan):
    prior = scan("vol_shallowbl.npz")
    blank = prior.with_array(np.zeros(prior.shape, dtype=np.int16))
    (found,) = tracker.track(prior, [prior_lesion(ball(prior.shape, (11, 55, 50)))], blank)
    assert found.state is LesionState.TRACKING_FAILED
    assert "every voxel of the volume is 0 HU" in found.reason


def test_nothing_found_counts_as_gone_only_where_the_scans_match(tracker, scan, still, monkeypatch):
    always(monkeypatch, 5, 0)
    prior = scan("vol_shallowbl.npz")
    noise = prior.with_array(np.random.default_rng(0).integers(-900, 700, prior.shape).astype(np.int16))
    lesion = prior_lesion(ball(prior.shape, (11, 55, 50)))
    (same,), (other,) = (tracker.track(prior, [lesion], new) for new in (prior, noise))
    assert same.mask.is_empty
    assert same.state is LesionState.DISAPPEARED
    assert other.state is LesionState.TRACKING_FAILED
    assert "look for it by eye" in other.reason


def test_a_mask_of_another_grid_is_a_callers_mistake(tracker, scan):
    prior = scan("vol_shallowbl.npz")
    with pytest.raises(ValueError, match=r"lesion 2\.25\.9 is on a grid \(5, 5, 5\)"):
        tracker.track(prior, [prior_lesion(np.ones((5, 5, 5), dtype=bool), "2.25.9")], prior)
    assert tracker.track(prior, [], prior) == []


def test_a_registration_grid_too_small_is_refused_before_anything_runs(weights):
    with pytest.raises(ValueError, match="65"):
        open_tracker(weights, registration_grid=50, device="cpu")


def test_the_identity_says_how_it_was_tracked(tracker):
    assert tracker.identity.parameters["registration_grid"] == "75"
    assert tracker.identity.parameters["inputs"] == "float16"
    assert tracker.identity.weights_sha256
