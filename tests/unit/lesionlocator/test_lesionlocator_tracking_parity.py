"""Each stage of tracking gives the numbers that the original program gave, from two scans to the mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from models.lesionlocator.preprocessing import NetworkImage
from models.lesionlocator.prompts import masks_to_network
from models.lesionlocator.tracing import BACKGROUND, trace_lesions
from models.lesionlocator.tracker import LesionLocatorTracker, open_tracker
from workflow.domain.geometry import Mask

CASES = [
    "trk_aniso",
    "trk_aniso_torch",
    "trk_chain",
    "trk_narrow",
    "trk_pair",
    "trk_pair_2fold_torch",
    "trk_pair_tta",
    "trk_shallow",
    "trk_zshift",
]


@pytest.fixture(scope="module")
def weights(fixtures, recipe, tmp_path_factory):
    """Released folder layout with the tracking network, two folds, per kind of resampling."""
    made = {}

    def write(resampling):
        if resampling not in made:
            made[resampling] = recipe.write_lesionlocator_checkpoint(
                tmp_path_factory.mktemp(resampling),
                fixtures / "lesionlocator",
                seed=1,
                folds=(0, 1) if resampling == "torch" else (0,),
                resampling=resampling,
                parts=("track",),
            )
        return made[resampling]

    return write


@dataclass
class Pair:
    """One pair of a case: which scans, and the lesions on the earlier one."""

    number: int
    prior: NetworkImage
    new: NetworkImage
    masks: dict[int, Mask]


def pairs_of(case, tracker, parity, folder):
    """The pairs; a later one starts from the *expected* mask of the one before."""
    for number, meta in enumerate(case["meta"]["pairs"]):
        scans = [parity.load(folder / meta[which]) for which in ("bl_volume", "fu_volume")]
        prior, new = (
            NetworkImage.of(scan["image"], tuple(scan["spacing_zyx"]), tracker._ensemble.checkpoint.plan)
            for scan in scans
        )
        ids = [lesion["id"] for lesion in case["meta"]["lesions"] if lesion["pair"] == number]
        if number == 0:
            given = parity.prompt_masks(case)
        else:
            shape = scans[0]["image"].shape
            given = {i: parity.unpack(case[f"P{number - 1}_L{i}_mask_bits"], shape) for i in ids}
        masks = masks_to_network([Mask.from_array(given[i]) for i in ids], prior)
        yield Pair(number, prior, new, dict(zip(ids, masks, strict=True)))


@pytest.mark.parametrize("name", CASES)
def test_tracking_agrees_with_upstream_at_every_stage(name, fixtures, parity, weights):
    folder = fixtures / "lesionlocator" / "open"
    case = parity.load(folder / f"{name}.npz")
    meta = case["meta"]
    tracker = open_tracker(
        weights("torch" if meta["plans"].endswith("torch.json") else "default"),
        folds=meta["folds"],
        mirror=meta["tta"],
        device="cpu",
        registration_grid=meta["registration_grid"],
    )
    assert isinstance(tracker, LesionLocatorTracker)
    results = {"phi": {}}
    for pair in pairs_of(case, tracker, parity, folder):
        scans = tracker.prepare(pair.prior), tracker.prepare(pair.new)
        for which, scan in zip(("bl", "fu"), scans, strict=True):
            assert list(scan.shape) == meta["pairs"][pair.number][f"{which}_shape"]
            expected = case[f"P{pair.number}_{which}_pre_sub"]
            assert np.abs(scan[::3, ::3, ::3] - expected).max() <= 1e-3
        for lesion, mask in pair.masks.items():
            expected = parity.unpack(case[f"P{pair.number}_L{lesion}_prompt_bits"], pair.prior.shape)
            tolerated = parity.TOL["mask_prompt_fraction"] * expected.sum()
            assert (mask.array() != expected).sum() <= tolerated
        traced = trace_lesions(
            scans[0],
            list(pair.masks.values()),
            scans[1],
            tracker._ensemble,
            mirror=meta["tta"],
            grid=meta["registration_grid"],
        )
        for fold, field in traced.fields.items():
            results["phi"][pair.number, fold] = field.phi[0].numpy()
            assert list(field.prior_slices) == meta["pairs"][pair.number]["bl_z_window"]
            assert list(field.slices) == meta["pairs"][pair.number]["fu_z_window"]
        for lesion, trace in zip(pair.masks, traced.lesions, strict=True):
            logits = np.empty((2, *pair.new.shape), dtype=np.float32)
            logits[0], logits[1] = BACKGROUND
            mean = trace.mean()
            box = tuple(slice(s, s + n) for s, n in zip(trace.start, mean.shape[1:], strict=True))
            logits[(slice(None), *box)] = mean
            results[pair.number, lesion] = {
                "logits": logits,
                "mask": pair.new.restore(mean, trace.start, outside=BACKGROUND).array(),
                "warped": {fold: mask.array() for fold, mask in trace.warped.items()},
            }
            described = next(
                one for one in meta["lesions"] if (one["pair"], one["id"]) == (pair.number, lesion)
            )
            for fold in described["folds"]:
                start, stop = trace.patches[fold["fold"]]
                assert fold["patch_in_window"] == np.stack((start, stop), axis=1).ravel().tolist()
    report = parity.check_tracking(case, results)
    assert report["ok"], report
