"""MedSAM computes what upstream's script computed, and notices a weight that is off by 1 %."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from models import medsam
from models.windows import SOFT_TISSUE, to_uint8

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def case(fixtures, parity):
    return parity.load(fixtures / "medsam/open/slice.npz")


@pytest.fixture(scope="module")
def network(fixtures, recipe, case, tmp_path_factory):
    file = tmp_path_factory.mktemp("medsam") / "medsam_vit_b.pth"
    recipe.write_medsam_pth(file, fixtures / "medsam/spec_vit_b.json", seed=case["meta"]["seed"])
    yield medsam.load_network(file, "cpu")
    file.unlink()


@pytest.fixture(scope="module")
def embedding(network, case):
    """The slice's embedding, and what went into the encoder's last part, to repeat that part alone."""
    kept = {}
    hook = network._model.vision_encoder.neck.register_forward_pre_hook(
        lambda module, given: kept.update(given=given)
    )
    kept["embedding"] = network.embed(case["image_uint8"])
    hook.remove()
    return kept


@contextmanager
def one_percent_more(module, name):
    import torch

    tensor = module.get_parameter(name)
    before = tensor.detach().clone()
    with torch.no_grad():
        tensor.mul_(1.01)
    yield
    with torch.no_grad():
        tensor.copy_(before)


def logits_and_mask(network, case, embedding, which=""):
    shape = tuple(case["meta"]["shape"])
    logits, _ = network.low_res_logits(embedding, case["meta"][f"box{which}_xyxy"], shape)
    return logits.numpy(), network.mask(logits, shape)


def test_the_window_makes_the_8_bit_slice_that_upstream_makes(case):
    hu = case["image_hu"]
    assert np.array_equal(to_uint8(hu, SOFT_TISSUE, (float(hu.min()), float(hu.max()))), case["image_uint8"])


def test_the_network_sees_the_pixels_that_upstreams_sees(case):
    seen = medsam._network_input(case["image_uint8"])
    assert np.abs(seen[::8, ::8] - case["input_1024_sub"]).max() < 1e-6


def test_the_embedding_is_upstreams(case, embedding):
    got = embedding["embedding"][0].numpy()[::8, ::4, ::4]
    assert np.abs(got - case["embedding_sub"]).max() < 5e-5


@pytest.mark.parametrize("which", ["", "2"], ids=["first box", "second box"])
def test_logits_and_mask_of_a_box_are_upstreams(network, case, embedding, parity, which):
    report = parity.check_medsam(case, *logits_and_mask(network, case, embedding["embedding"], which), which)
    assert report["ok"], report


def test_the_networks_own_estimate_of_its_overlap_is_upstreams(network, case, embedding):
    shape = tuple(case["meta"]["shape"])
    _, estimate = network.low_res_logits(embedding["embedding"], case["meta"]["box_xyxy"], shape)
    assert estimate == pytest.approx(case["meta"]["iou"][0], abs=5e-4)


@pytest.mark.parametrize(
    "name",
    [
        "prompt_encoder.point_embed.2.weight",
        "prompt_encoder.no_mask_embed.weight",
        "mask_decoder.mask_tokens.weight",
        "mask_decoder.transformer.layers.0.self_attn.v_proj.weight",
        "mask_decoder.transformer.layers.1.mlp.lin2.weight",
        "mask_decoder.upscale_conv1.weight",
        "mask_decoder.output_hypernetworks_mlps.0.proj_out.weight",
    ],
)
def test_one_percent_more_on_a_decoder_weight_is_noticed(network, case, embedding, parity, name):
    with one_percent_more(network._model, name):
        changed = logits_and_mask(network, case, embedding["embedding"])
    assert not parity.check_medsam(case, *changed)["ok"]


@pytest.mark.parametrize("name", ["layer_norm1.weight", "layer_norm2.weight", "layer_norm2.bias"])
def test_one_percent_more_on_the_encoders_last_part_is_noticed(network, case, embedding, parity, name):
    import torch

    neck = network._model.vision_encoder.neck
    with one_percent_more(neck, name), torch.inference_mode():
        changed = logits_and_mask(network, case, neck(*embedding["given"]))
    assert not parity.check_medsam(case, *changed)["ok"]
