"""`tumorline train` and `tumorline evaluate`, as they are typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK
from typer.testing import CliRunner

from workflow.cli import app


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    (folder / "tiny.toml").write_text("widths = [4, 8]\nsamples = 8\nbfloat16 = false\n")
    ran = run("train", folder / "out", "--config", folder / "tiny.toml", "--device", "cpu")
    assert ran.exit_code == 0, ran.output
    return folder / "out"


def test_training_leaves_a_network_that_is_evaluated_beside_the_others(trained, tmp_path):
    weights = trained / "network.safetensors"
    arguments = ("--weights", weights, "--synthetic", 2, "--prompt", "box", "--device", "cpu")
    ran = run("evaluate", tmp_path / "judged", *arguments)
    assert ran.exit_code == 0, ran.output
    summary = json.loads((tmp_path / "judged/summary.json").read_text())
    others = ["prompt's ellipsoid", "threshold in the prompt", "weight-free"]
    assert summary["models"] == ["open-lesion", *others]
    assert summary["lesions"] == 2
    assert "| box | 2 |" in ran.output


def test_a_training_that_is_run_again_with_more_samples_goes_on(trained):
    ran = run("train", trained, "--samples", 12, "--device", "cpu")
    assert ran.exit_code == 0, ran.output
    rows = (trained / "curve.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["samples", "8", "12"]


def test_scans_for_surroundings_come_from_a_table(trained, tmp_path):
    image = np.full((10, 40, 40), -1000, dtype=np.int16)
    image[:, 5:35, 5:35] = 50
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(image), str(tmp_path / "scan.nii.gz"))
    (tmp_path / "scans.csv").write_text("look,image\nCT,scan.nii.gz\n")
    (tmp_path / "tiny.toml").write_text("widths = [4, 8]\nsamples = 4\nbfloat16 = false\n")
    files = ("--config", tmp_path / "tiny.toml", "--backgrounds", tmp_path / "scans.csv")
    arguments = (*files, "--device", "cpu")
    assert run("train", tmp_path / "out", *arguments).exit_code == 0
    (tmp_path / "scans.csv").write_text("look,image\nXR,scan.nii.gz\n")
    ran = run("train", tmp_path / "other", *arguments)
    assert "CT, MR or PET" in str(ran.exception)


def test_nothing_to_judge_on_and_unknown_prompts_are_said(tmp_path, trained):
    assert "nothing to judge on" in str(run("evaluate", tmp_path).exception)
    asked = ("evaluate", tmp_path, "--synthetic", 1, "--prompt", "arrow")
    assert "no prompt 'arrow'" in str(run(*asked).exception)
