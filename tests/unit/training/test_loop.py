"""Training learns, and goes on exactly where it stopped."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from models.open_lesion.network import LesionNet
from models.open_lesion.weights import load_network, save_network
from models.training.config import SynthesisConfig, TrainingConfig, from_dict, read_config
from models.training.loop import CHECKPOINT, CURVE, Training, dice_of
from workflow.domain.errors import ConfigurationError

TINY = TrainingConfig(widths=(4, 8), samples=48, batch=4, bfloat16=False, easy_samples=20)


def run(training, folder, **settings):
    training.run(folder, row_every=8, save_every=16, **settings)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    training = Training(TINY)
    run(training, folder)
    return folder, training


def test_the_loss_falls_on_lesions_that_it_sees_again(monkeypatch):
    training = Training(
        TrainingConfig(widths=(4, 8), samples=140, batch=4, bfloat16=False, learning_rate=0.02)
    )
    monkeypatch.setattr(training, "sample", lambda number, own=training.sample: own(number % 4))
    losses = [training.step()["mask_loss"] for _ in range(35)]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_a_training_that_was_stopped_and_continued_has_the_curve_of_an_unbroken_one(unbroken, tmp_path):
    folder, training = unbroken
    first = Training(TINY)
    run(first, tmp_path, stopped=lambda: first.done >= 24)
    assert first.done == 24
    second = Training.resumed(tmp_path / CHECKPOINT)
    run(second, tmp_path)
    assert (tmp_path / CURVE).read_bytes() == (folder / CURVE).read_bytes()
    for name, tensor in training.averaged.state_dict().items():
        assert torch.equal(tensor, second.averaged.state_dict()[name]), name


def test_what_was_computed_after_the_last_checkpoint_is_computed_again(unbroken, tmp_path):
    folder, _ = unbroken
    first = Training(TINY)
    run(first, tmp_path, stopped=lambda: first.done >= 16)
    # Killed later, between two checkpoints: the curve is ahead of the checkpoint.
    curve = (folder / CURVE).read_text().splitlines(keepends=True)
    (tmp_path / CURVE).write_text("".join(curve[:5]))
    run(Training.resumed(tmp_path / CHECKPOINT), tmp_path)
    assert (tmp_path / CURVE).read_text() == "".join(curve)


def test_another_seed_has_another_curve(unbroken, tmp_path):
    folder, _ = unbroken
    run(Training(from_dict({**TINY.as_dict(), "seed": 2})), tmp_path)
    assert (tmp_path / CURVE).read_text() != (folder / CURVE).read_text()


def test_the_curve_has_a_row_per_step_with_the_priors_dice_beside_the_networks(unbroken):
    folder, _ = unbroken
    rows = list(csv.DictReader((folder / CURVE).read_text().splitlines()))
    assert [int(row["samples"]) for row in rows] == [8, 16, 24, 32, 40, 48]
    assert all(0 < float(row["prior_dice"]) < 1 for row in rows)
    # The cooldown: nothing is learnt any more at the end.
    assert float(rows[-1]["learning_rate"]) == 0


def test_more_samples_can_be_asked_for_later(unbroken):
    folder, _ = unbroken
    longer = Training.resumed(folder / CHECKPOINT, samples=56)
    assert (longer.done, longer.config.samples) == (48, 56)
    longer.step()
    assert longer.done == 52


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(ConfigurationError, match=CHECKPOINT):
        Training.resumed(tmp_path / CHECKPOINT)


def test_the_file_gives_the_network_back_to_half_precision(tmp_path, unbroken):
    _, training = unbroken
    file = tmp_path / "network.safetensors"
    save_network(training.averaged, file, origin=training.origin())
    again = load_network(file)
    sample = training.sample(1000)
    patch, code = torch.from_numpy(sample.patch[None]), torch.tensor([int(sample.code)])
    with torch.inference_mode():
        (one, quality, _), (other, other_quality, _) = (
            network.eval()(patch, code) for network in (training.averaged, again)
        )
    assert (one - other).abs().max() < 0.05
    assert float(quality) == pytest.approx(float(other_quality), abs=0.02)


@pytest.mark.parametrize("content", ["nothing", "another network"])
def test_a_file_of_something_else_is_no_network(tmp_path, content):
    file = tmp_path / "network.safetensors"
    if content == "nothing":
        file.write_bytes(b"")
    else:
        save_network(LesionNet((4, 8)), file, origin={})
        other = LesionNet((4, 6))
        other.widths = (4, 8)
        save_network(other, file, origin={})
    with pytest.raises(ConfigurationError, match="no open-lesion network"):
        load_network(file)


def test_dice_counts_the_part_of_a_lesion_that_the_patch_does_not_show():
    mask = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    mask[0, :2] = True
    label = mask.float()
    assert float(dice_of(mask, label, torch.tensor([32.0]))) == pytest.approx(1.0)
    assert float(dice_of(mask, label, torch.tensor([96.0]))) == pytest.approx(2 * 32 / (32 + 96))


def test_a_configuration_file_is_read_and_its_mistakes_are_named(tmp_path):
    file = tmp_path / "training.toml"
    file.write_text("seed = 5\nwidths = [8, 16]\n[synthesis]\nshare_real = 0.25\n")
    config = read_config(file)
    assert (config.seed, config.widths, config.synthesis.share_real) == (5, (8, 16), 0.25)
    assert from_dict(config.as_dict()) == config
    file.write_text("speed = 5\n")
    with pytest.raises(ConfigurationError, match="speed"):
        read_config(file)
    with pytest.raises(ConfigurationError, match="add up to 1"):
        SynthesisConfig(prompt_shares=(1, 1, 0, 0, 0, 0))
