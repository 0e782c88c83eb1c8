"""Weights are read from the released layout, without running anything from it, and converted once."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch

from models.lesionlocator.checkpoints import PICKLE, SAFETENSORS, Part, convert, load_fold, open_checkpoint
from models.lesionlocator.networks import ResidualEncoderUNet
from models.lesionlocator.plans import Resampling, read_plan
from workflow.domain.errors import ConfigurationError


@pytest.fixture
def release(fixtures, recipe, tmp_path):
    """Both segmentation networks with folds 0 and 2, as the released archive is laid out."""
    return recipe.write_lesionlocator_checkpoint(
        tmp_path, fixtures / "lesionlocator", seed=1, folds=(0, 2), parts=("seg_box", "seg_point")
    )


def rewrite(path, change):
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


def test_a_release_opens_from_its_folder_or_the_one_above(release):
    for folder in (release, release.parent):
        checkpoint = open_checkpoint(folder, Part.BOX)
        assert [fold.number for fold in checkpoint.folds] == [0, 2]
        assert checkpoint.folds[0].mirroring_axes == (0, 1, 2)


def test_the_plan_of_a_derived_configuration_is_inherited(release):
    plan = open_checkpoint(release, Part.POINT).plan
    assert plan.configuration == "3d_fullres_bs3"
    assert (plan.patch, plan.spacing) == ((32, 64, 64), (2.0, 1.25, 1.25))
    assert plan.normalisation.mean == -63.00682013436269
    assert plan.resampling.family is Resampling.SPLINE


def test_opening_converts_once_and_later_reads_only_the_conversion(release):
    first = open_checkpoint(release, Part.BOX, [0])
    converted = release / Part.BOX / "fold_0" / SAFETENSORS
    written = converted.stat().st_mtime_ns
    (release / Part.BOX / "fold_0" / PICKLE).unlink()
    again = open_checkpoint(release, Part.BOX, [0])
    assert converted.stat().st_mtime_ns == written
    assert again.sha256 == first.sha256


def test_a_replaced_weight_file_is_converted_again(release):
    before = open_checkpoint(release, Part.BOX, [0])

    def scale(checkpoint):
        checkpoint["network_weights"]["decoder.seg_layers.4.bias"] *= 2

    rewrite(release / Part.BOX / "fold_0" / PICKLE, scale)
    after = open_checkpoint(release, Part.BOX, [0])
    assert after.sha256 != before.sha256
    network = ResidualEncoderUNet(after.plan.architecture)
    load_fold(network, after.folds[0])
    expected = torch.load(release / Part.BOX / "fold_0" / PICKLE, weights_only=True)["network_weights"]
    assert torch.equal(network.decoder.seg_layers[4].bias, expected["decoder.seg_layers.4.bias"])


def test_weights_in_a_read_only_folder_are_read_from_the_pickle(release, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    checkpoint = open_checkpoint(release, Part.BOX, [0])
    assert checkpoint.folds[0].path.name == PICKLE
    load_fold(ResidualEncoderUNet(checkpoint.plan.architecture), checkpoint.folds[0])
    assert not (release / Part.BOX / "fold_0" / SAFETENSORS).exists()


def test_a_conversion_has_each_tensor_once_and_opens_without_the_original(release, tmp_path):
    target = tmp_path / "converted"
    convert(release.parent, target)
    original, converted = (open_checkpoint(folder, Part.BOX) for folder in (release, target))
    assert converted.sha256 == original.sha256
    assert not list(target.rglob("*.pth"))


def test_a_weight_file_that_would_run_code_is_refused(release):
    class Harmful:
        def __reduce__(self):
            return os.system, ("true",)

    path = release / Part.BOX / "fold_0" / PICKLE
    rewrite(path, lambda checkpoint: checkpoint.update(logging=Harmful()))
    with pytest.raises(ConfigurationError, match="refused: it is damaged or holds more than weights"):
        open_checkpoint(release, Part.BOX, [0])


def test_the_numbers_of_a_training_log_are_no_reason_to_refuse(release):
    log = {"ema": [np.float64(0.5), np.float32(1)], "epochs": np.arange(3), "best": np.int64(7)}
    path = release / Part.BOX / "fold_0" / PICKLE
    rewrite(path, lambda checkpoint: checkpoint.update(logging=log, _best_ema=np.float64(0.9)))
    assert open_checkpoint(release, Part.BOX, [0]).folds


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "fold_0" / PICKLE).write_bytes(b"half a file"), "damaged"),
        (lambda d: torch.save({"model": {}}, d / "fold_0" / PICKLE), "no network_weights"),
        (lambda d: (d / "plans.json").unlink(), "plans.json is missing"),
        (lambda d: (d / "plans.json").write_text("{"), "is not JSON"),
        (
            lambda d: (d / "plans.json").write_text('{"configurations": {}}'),
            "no configuration '3d_fullres_bs3'",
        ),
    ],
)
def test_a_damaged_release_is_refused_with_its_reason(damage, message, release):
    damage(release / Part.BOX)
    with pytest.raises(ConfigurationError, match=message):
        open_checkpoint(release, Part.BOX, [0])


def test_missing_folds_and_parts_are_named(release, tmp_path):
    with pytest.raises(ConfigurationError, match=r"has folds \[0, 2\], wanted \[1\]"):
        open_checkpoint(release, Part.BOX, [1])
    with pytest.raises(ConfigurationError, match="LesionLocatorTrack is missing"):
        open_checkpoint(release, Part.TRACK)
    with pytest.raises(ConfigurationError, match="holds no LesionLocator weights"):
        open_checkpoint(tmp_path / "elsewhere", Part.BOX)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("resampling_fn_data", "resample_by_magic", "resampling_fn_"),
        ("normalization_schemes", ["ZScoreNormalization"], "normalization_schemes"),
        ("inherits_from", "3d_fullres_bs3", "round in a circle"),
    ],
)
def test_a_plan_that_asks_for_what_is_not_there_is_refused(key, value, message, fixtures, tmp_path):
    plans = json.loads((fixtures / "lesionlocator" / "plans_seg_tiny_default.json").read_text())
    plans["configurations"]["3d_fullres"][key] = value
    path = tmp_path / "plans.json"
    path.write_text(json.dumps(plans))
    with pytest.raises(ConfigurationError, match=message):
        read_plan(path, "3d_fullres_bs3")
