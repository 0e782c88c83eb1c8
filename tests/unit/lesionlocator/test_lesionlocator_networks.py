"""The networks give upstream's numbers on upstream's weights, and no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.lesionlocator.checkpoints import canonical, load_weights
from models.lesionlocator.networks import ResidualEncoderUNet
from models.lesionlocator.plans import read_plan
from models.lesionlocator.registration import RegistrationNet
from models.lesionlocator.tracknet import TrackNet
from workflow.domain.errors import ConfigurationError


@pytest.fixture
def case(fixtures, parity, recipe):
    """A network case and its state dict."""

    def load(name):
        folder = fixtures / "lesionlocator"
        loaded = parity.load(folder / "open" / f"{name}.npz")
        weights = recipe.make_state_dict(folder / loaded["meta"]["spec"], loaded["meta"]["weight_seed"])
        configuration = "3d_fullres_bs3" if loaded["meta"]["kind"] == "network_seg" else "3d_fullres"
        return loaded, weights, read_plan(folder / loaded["meta"]["plans"], configuration)

    return load


@pytest.fixture(scope="module")
def tracking_case(fixtures, parity, recipe):
    """The tiny tracking network; its registration has its true size, 285 MB."""
    folder = fixtures / "lesionlocator"
    loaded = parity.load(folder / "open" / "net_track_tiny.npz")
    weights = recipe.make_state_dict(folder / loaded["meta"]["spec"], loaded["meta"]["weight_seed"])
    return loaded, canonical(weights), read_plan(folder / loaded["meta"]["plans"], "3d_fullres")


def segment(weights, plan, case, recipe):
    network = ResidualEncoderUNet(plan.architecture).eval()
    load_weights(network, weights)
    with torch.inference_mode():
        return network(recipe.network_input(case["control"], case["meta"]["input_shape"]))[0].numpy()


def track(weights, plan, case, recipe):
    network = TrackNet(plan.architecture).eval()
    load_weights(network, weights)
    grid = (case["meta"]["registration_grid"],) * 3
    with torch.inference_mode():
        moving, fixed = (recipe.upsample_grid(case[f"control_{k}"], grid) for k in ("moving", "fixed"))
        field = network.reg_net(moving, fixed)[0].numpy()
        patch = recipe.network_input(case["control_unet"], case["meta"]["unet_input_shape"])
        return {"phi": field, "unet_output": network.unet(patch)[0].numpy()}


@pytest.mark.parametrize("name", ["net_seg_tiny", "net_seg_full"])
def test_segmentation_network_agrees_with_upstream(name, case, parity, recipe):
    loaded, weights, plan = case(name)
    report = parity.check_network(loaded, {"output": segment(weights, plan, loaded, recipe)})
    assert report["ok"], report


@pytest.mark.parametrize("name", ["net_track_tiny", pytest.param("net_track_full", marks=pytest.mark.slow)])
def test_tracking_network_agrees_with_upstream(name, case, parity, recipe):
    loaded, weights, plan = case(name)
    found = track(weights, plan, loaded, recipe)
    report = parity.check_network(loaded, found)
    if not report["ok"]:
        # The deep network enlarges rounding, and other processors round in another order: how much that
        # makes is seen against double precision, from which the fixture itself is as far away.
        assert parity.check_network(loaded, {"phi": found["phi"]})["ok"], report
        exact = unet_in_double_precision(weights, plan, loaded, recipe)
        assert report["unet_output"] <= 4 * np.abs(found["unet_output"] - exact).max(), report


def unet_in_double_precision(weights, plan, case, recipe):
    network = TrackNet(plan.architecture).eval()
    load_weights(network, weights)
    with torch.inference_mode():
        patch = recipe.network_input(case["control_unet"], case["meta"]["unet_input_shape"])
        return network.unet.double()(patch.double())[0].numpy()


@pytest.mark.parametrize(
    "tensor",
    [
        "encoder.stem.convs.0.conv.weight",
        "encoder.stages.1.blocks.0.skip.1.norm.bias",
        "encoder.stages.3.blocks.0.conv2.norm.weight",
        "decoder.transpconvs.2.weight",
        "decoder.seg_layers.4.bias",
    ],
)
def test_one_weight_changed_by_a_percent_is_seen(tensor, case, parity, recipe):
    loaded, weights, plan = case("net_seg_tiny")
    changed = canonical(weights)
    changed[tensor] = changed[tensor].clone()
    # Of a convolution in front of a norm one element: the norm takes a common factor out again.
    part = changed[tensor].view(-1)[:1] if ".conv." in tensor else changed[tensor]
    part *= 1.01
    report = parity.check_network(loaded, {"output": segment(changed, plan, loaded, recipe)})
    assert not report["ok"]


@pytest.mark.parametrize(
    "tensor",
    [
        "reg_net.regis_net.netPsi.net.lastConv.bias",
        "reg_net.regis_net.netPhi.netPhi.net.netPsi.net.upConvs.1.weight",
        "reg_net.regis_net.netPhi.netPhi.net.netPhi.net.net.batchNorms.0.running_var",
        "unet.decoder.transpconvs.3.weight",
    ],
)
def test_one_weight_of_the_tracking_network_changed_by_a_percent_is_seen(
    tensor, tracking_case, parity, recipe
):
    loaded, weights, plan = tracking_case
    report = parity.check_network(
        loaded, track({**weights, tensor: weights[tensor] * 1.01}, plan, loaded, recipe)
    )
    assert not report["ok"]


def test_full_networks_have_the_published_number_of_parameters(fixtures):
    folder = fixtures / "lesionlocator"
    seg = read_plan(folder / "plans_seg_full_default.json", "3d_fullres_bs3")
    tracked = read_plan(folder / "plans_track_full_default.json", "3d_fullres")
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in network.parameters())
            for network in (
                ResidualEncoderUNet(seg.architecture),
                ResidualEncoderUNet(tracked.architecture),
                RegistrationNet(),
            )
        ]
    assert counts == [102_350_634, 141_397_804, 70_680_916]


def test_weights_of_another_topology_are_refused_by_name(case, fixtures):
    _, weights, plan = case("net_seg_tiny")
    del weights["decoder.seg_layers.0.bias"]
    with pytest.raises(ConfigurationError, match=r"does not fit.*decoder.seg_layers.0.bias"):
        load_weights(ResidualEncoderUNet(plan.architecture), weights)


def test_two_names_of_one_tensor_must_agree(case):
    _, weights, plan = case("net_seg_tiny")
    alias = "decoder.encoder.stem.convs.0.all_modules.0.weight"
    weights[alias] = weights[alias] + 1
    with pytest.raises(
        ConfigurationError, match=r"two different tensors for encoder\.stem\.convs\.0\.conv\.weight"
    ):
        load_weights(ResidualEncoderUNet(plan.architecture), weights)


def test_a_registration_grid_too_small_for_the_network_is_refused():
    grid = torch.zeros(1, 1, 64, 80, 80)
    with pytest.raises(ValueError, match="65 samples"):
        RegistrationNet()(grid, grid)
