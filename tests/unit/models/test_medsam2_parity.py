"""MedSAM2 computes what upstream's script computed, both ways, and notices a weight that is off by 1 %."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models import medsam2
from models.windows import SOFT_TISSUE
from workflow.use_cases.segment import segment_image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def case(fixtures, parity):
    return parity.load(fixtures / "medsam2/open/volume.npz")


@pytest.fixture(scope="module")
def weights(fixtures, recipe, case, tmp_path_factory):
    file = tmp_path_factory.mktemp("medsam2") / "MedSAM2_latest.pt"
    recipe.write_medsam2_pt(file, fixtures / "medsam2/spec_hiera_t512.json", seed=case["meta"]["seed"])
    yield file
    file.unlink()


@pytest.fixture(scope="module")
def segmenter(weights):
    return medsam2.open_segmenter(weights, device="cpu", clean_up=False)


@pytest.fixture(scope="module")
def session(segmenter, case):
    """One session: the slices' embeddings are computed once for all tests that keep the encoder."""
    return segmenter.network.session(case["volume_hu"], SOFT_TISSUE)


def propagated(segmenter, session, case, last):
    key = case["meta"]["key_slice"]
    hints = {key: medsam2.SliceHint(box=tuple(case["meta"]["box_xyxy"]))}
    ways = segmenter.network.propagate(session, hints, key, last)
    return {slice_: logits.numpy() for slice_, logits, _ in ways}


def test_the_network_sees_the_pixels_that_upstreams_sees(case):
    frames = medsam2.Frames(case["volume_hu"], SOFT_TISSUE)
    seen = np.stack([frames[slice_].numpy()[:, ::16, ::16] for slice_ in range(len(frames))])
    assert np.abs(seen - case["input_512_sub"]).max() < 1e-6


def test_both_directions_and_their_union_are_upstreams(segmenter, session, case, parity, one_thread):
    forward = propagated(segmenter, session, case, max(case["meta"]["forward_slices"]))
    reverse = propagated(segmenter, session, case, min(case["meta"]["reverse_slices"]))
    union = np.zeros(case["meta"]["shape"], dtype=bool)
    for way in (forward, reverse):
        for slice_, logits in way.items():
            union[slice_] |= logits > 0
    report = parity.check_medsam2(case, forward, reverse, union)
    assert report["ok"], report


def test_the_products_own_command_gives_that_union_for_a_box_in_the_patient(weights, case, parity, tmp_path):
    import SimpleITK

    x0, y0, x1, y1 = case["meta"]["box_xyxy"]
    image = SimpleITK.GetImageFromArray(case["volume_hu"])
    image.SetSpacing((0.8, 0.8, 5.0))
    image.SetOrigin((-50.0, -60.0, 300.0))
    SimpleITK.WriteImage(image, str(tmp_path / "ct.nii.gz"))
    corners = [
        image.TransformIndexToPhysicalPoint((x, y, case["meta"]["key_slice"]))
        for x, y in ((x0, y0), (x1, y1))
    ]
    box = ",".join(str(value) for corner in corners for value in corner)
    result = segment_image(
        tmp_path / "ct.nii.gz",
        [f"box:{box}"],
        tmp_path / "mask.nii.gz",
        model="medsam2",
        weights=weights,
        device="cpu",
        parameters=["clean_up=false"],
    )
    assert result["model"]["name"] == "medsam2"
    assert len(result["model"]["weights_sha256"]) == 64
    got = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "mask.nii.gz"))) > 0
    want = parity.unpack(case["union_bits"], case["meta"]["shape"])
    assert np.count_nonzero(got ^ want) <= parity.TOL["sam_mask_fraction"] * want.sum()


@pytest.mark.parametrize(
    "name",
    [
        "prompt_encoder.point_embed.weight",
        "mask_decoder.transformer.layers.0.cross_attn_token_to_image.v_proj.weight",
        "memory_encoder.projection.weight",
        "memory_attention.layers.1.cross_attn_image.v_proj.weight",
        "mask_decoder.conv_s0.weight",
        "vision_encoder.backbone.blocks.3.mlp.proj_out.weight",
    ],
)
def test_one_percent_more_on_a_weight_is_noticed(segmenter, session, case, parity, name, one_thread):
    key = case["meta"]["key_slice"]
    tensor = segmenter.network._model.get_parameter(name)
    before = tensor.detach().clone()
    is_in_encoder = name.startswith(("vision_encoder", "mask_decoder.conv_s"))
    if is_in_encoder:
        session.cache.clear_all()
    with torch.no_grad():
        tensor.mul_(1.01)
    # The memory's own terms are small and need a few slices to add up.
    last = key + 1 if is_in_encoder else max(case["meta"]["forward_slices"])
    changed = propagated(segmenter, session, case, last)
    with torch.no_grad():
        tensor.copy_(before)
    if is_in_encoder:
        session.cache.clear_all()
    off = max(
        np.abs(logits - case["forward_logits"][slice_ - key]).max() for slice_, logits in changed.items()
    )
    assert off > parity.TOL["medsam2_logit_abs"]
