"""Each stage of segmentation gives the numbers that the original program gave, from scan to mask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.lesionlocator.checkpoints import Part, open_checkpoint
from models.lesionlocator.inference import Compute
from models.lesionlocator.prediction import open_ensemble, predict
from models.lesionlocator.preprocessing import NetworkImage
from models.lesionlocator.prompts import (
    Drawing,
    box_to_network,
    components,
    draw_box,
    draw_mask,
    draw_point,
    mask_to_network,
    masks_to_network,
    point_to_network,
)
from models.lesionlocator.windows import windows_for
from workflow.domain.geometry import Mask

OPEN = Path("lesionlocator/open")
CASES = [
    "seg_aniso_binary_box_torch",
    "seg_aniso_box",
    "seg_aniso_box_torch",
    "seg_aniso_instances_point",
    "seg_aniso_point",
    "seg_corner_point",
    "seg_crop_box",
    "seg_crop_point",
    "seg_gap_box",
    "seg_small_box",
    "seg_small_point_torch",
    "seg_std_box",
    "seg_std_box_2fold_tta",
    "seg_std_box_large_torch",
    "seg_std_instances_box",
    "seg_std_point",
    "seg_std_point_2fold_torch",
    "seg_std_point_tta_torch",
]


@pytest.fixture(scope="module")
def case(fixtures, parity):
    return lambda name: parity.load(fixtures / OPEN / f"{name}.npz")


@pytest.fixture(scope="module")
def weights(fixtures, recipe, tmp_path_factory):
    """Released folder layout with both kinds of prompt, two folds, per kind of resampling."""
    made = {}

    def write(resampling):
        if resampling not in made:
            folder = tmp_path_factory.mktemp(resampling)
            made[resampling] = recipe.write_lesionlocator_checkpoint(
                folder,
                fixtures / "lesionlocator",
                seed=1,
                folds=(0, 1),
                resampling=resampling,
                parts=("seg_box", "seg_point"),
            )
        return made[resampling]

    return write


def resampling_of(case) -> str:
    return "torch" if case["meta"]["plans"].endswith("torch.json") else "default"


def image_of(case, weights) -> NetworkImage:
    part = Part.BOX if case["meta"]["prompt_type"] == "box" else Part.POINT
    plan = open_checkpoint(weights(resampling_of(case)), part, [0]).plan
    return NetworkImage.of(case["volume"]["image"], tuple(case["meta"]["spacing_zyx"]), plan)


def drawn(case, image, parity) -> dict[int, Mask]:
    """What a user gave, on the network's grid, by lesion id."""
    meta = case["meta"]
    if meta["prompts"]:
        return {int(i): _drawn(prompt, image) for i, prompt in meta["prompts"].items()}
    masks = {i: Mask.from_array(mask) for i, mask in parity.prompt_masks(case).items()}
    drawing = Drawing(meta["prompt_type"])
    if len(masks) > 1:
        moved = masks_to_network(list(masks.values()), image)
    else:
        whole = mask_to_network(masks[1], image)
        moved = [Mask.from_array(part) for part in components(whole.array())]
    return {i: draw_mask(mask, drawing) for i, mask in enumerate(moved, 1)}


def _drawn(prompt, image):
    if "point" in prompt:
        return draw_point(point_to_network(np.array(prompt["point"], dtype=float), image), image.shape)
    box = np.array(prompt["box"], dtype=int).reshape(3, 2)
    return draw_box(*box_to_network(box[:, 0], box[:, 1], image), image.shape)


@pytest.mark.parametrize("name", CASES)
def test_the_image_on_the_networks_grid_is_upstreams(name, case, weights, parity):
    loaded = case(name)
    image = image_of(loaded, weights)
    offset = loaded["meta"]["crop_offset"]
    limit = parity.TOL["preprocess_abs"]
    window = image.window(tuple(offset), tuple(np.add(offset, loaded["pre_image_crop"].shape)))
    assert list(image.shape) == loaded["meta"]["preprocessed_shape"]
    assert np.abs(image.whole()[::3, ::3, ::3] - loaded["pre_image_sub"]).max() <= limit
    assert np.abs(window - loaded["pre_image_crop"]).max() <= limit


@pytest.mark.parametrize("name", CASES)
def test_prompts_and_windows_are_upstreams(name, case, weights, parity):
    loaded = case(name)
    image = image_of(loaded, weights)
    prompts = drawn(loaded, image, parity)
    assert sorted(prompts) == [lesion["id"] for lesion in loaded["meta"]["lesions"]]
    for lesion, prompt in prompts.items():
        expected = parity.unpack(loaded[f"L{lesion}_prompt_bits"], image.shape)
        assert np.array_equal(prompt.array(), expected)
        windows = {tuple(zip(w.start, w.stop, strict=True)) for w in windows_for(prompt, image.plan.patch)}
        assert windows == {tuple(map(tuple, w)) for w in loaded[f"L{lesion}_windows"].tolist()}


@pytest.mark.parametrize("name", CASES)
def test_logits_and_masks_are_upstreams(name, case, weights, parity):
    loaded = case(name)
    meta = loaded["meta"]
    image = image_of(loaded, weights)
    prompts = drawn(loaded, image, parity)
    ensemble = open_ensemble(
        weights(resampling_of(loaded)),
        Drawing(meta["prompt_type"]),
        folds=meta["folds"],
        compute=Compute.choose("cpu"),
    )
    regions = predict(image, list(prompts.values()), ensemble, mirror=meta["tta"])
    results = {}
    for lesion, region in zip(prompts, regions, strict=True):
        logits = np.full((2, *image.shape), np.nan, dtype=np.float32)
        box = tuple(slice(s, s + n) for s, n in zip(region.start, region.logits.shape[1:], strict=True))
        logits[(slice(None), *box)] = region.logits
        assert np.isfinite(logits[0]).sum() == meta_of(meta, lesion)["valid_voxels"]
        results[lesion] = {"logits": logits, "mask": image.restore(region.logits, region.start).array()}
    report = parity.check_segmentation(loaded, results)
    assert report["ok"], json.dumps(report)


def meta_of(meta, lesion):
    return next(found for found in meta["lesions"] if found["id"] == lesion)
