"""`tumorline segment` and `tumorline track` as a script uses them: files in, JSON on stdout, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

SPACING_MM = (2.0, 1.5, 1.25)  # (slice, row, column)
ORIGIN_LPS = (-60.0, -72.0, 300.0)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from workflow.cli import main; main()", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def positions(shape: tuple[int, int, int]) -> np.ndarray:
    """LPS mm of each voxel, shape (slices, rows, columns, 3)."""
    z, y, x = np.indices(shape) * np.reshape(SPACING_MM, (3, 1, 1, 1))
    return np.stack([x, y, z], axis=-1) + ORIGIN_LPS


def chest(
    nodules: dict[tuple[float, float, float], float], shift_mm: float = 0.0, seed: int = 0
) -> np.ndarray:
    """A body with a lung, vessels and round nodules (centre LPS to radius, mm), HU."""
    where = positions((48, 72, 80)) - (0, 0, shift_mm)
    x, y, z = np.moveaxis(where, -1, 0)
    image = np.where((x / 46) ** 2 + ((y + 20) / 48) ** 2 < 1, 40.0, -1000.0)
    lung = (x / 34) ** 2 + ((y + 20) / 36) ** 2 + ((z - 345) / 42) ** 2 < 1
    image[lung] = -850
    for angle in np.linspace(0, 2 * np.pi, 9)[:-1]:
        tube = np.hypot(x - 20 * np.cos(angle) - 0.15 * (z - 345), y + 20 - 22 * np.sin(2 * angle)) < 2.2
        image[tube & lung] = 20
    for centre, radius in nodules.items():
        image[np.linalg.norm(where - centre, axis=-1) < radius] = 30
    smooth = sitk.GetArrayFromImage(
        sitk.DiscreteGaussian(sitk.GetImageFromArray(image.astype(np.float32)), 0.5)
    )
    return smooth + np.random.default_rng(seed).normal(0, 15, image.shape)


def write(path: Path, array: np.ndarray) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING_MM[::-1])
    image.SetOrigin(ORIGIN_LPS)
    sitk.WriteImage(image, str(path))
    return path


GROWING, VANISHING = (6.0, -30.0, 350.0), (-12.0, -4.0, 338.0)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("baseline")
    return write(folder / "ct.nii.gz", chest({GROWING: 6.0, VANISHING: 5.0}).astype(np.int16))


@pytest.fixture(scope="module")
def lesions(baseline: Path) -> Path:
    where = positions((48, 72, 80))
    labels = np.zeros(where.shape[:3], dtype=np.uint8)
    labels[np.linalg.norm(where - GROWING, axis=-1) < 6.0] = 3
    labels[np.linalg.norm(where - VANISHING, axis=-1) < 5.0] = 7
    return write(baseline.parent / "lesions.nrrd", labels)


def test_two_prompts_are_two_labels_with_their_measurements(baseline: Path, tmp_path: Path):
    out = tmp_path / "made" / "mask.nii.gz"
    x, y, z = GROWING
    line = f"line:{x - 6},{y},{z},{x + 6},{y},{z}"
    done = run("segment", baseline, "--prompt", line, "--prompt", "point:-12,-4,338", "--out", out)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    by_label = {lesion["label"]: lesion for lesion in result["lesions"]}
    assert by_label[1]["measurement"]["long_axis_mm"] == pytest.approx(12, abs=1.9)
    assert by_label[2]["measurement"]["long_axis_mm"] == pytest.approx(10, abs=3)  # a vessel touches it
    assert by_label[1]["measurement"]["centroid_lps"] == pytest.approx(GROWING, abs=1)
    assert by_label[1]["measurement"]["volume_ml"] == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.2)

    mask = sitk.ReadImage(str(out))
    image = sitk.ReadImage(str(baseline))
    assert mask.GetOrigin() == pytest.approx(image.GetOrigin())
    assert mask.GetSpacing() == pytest.approx(image.GetSpacing())
    assert set(np.unique(sitk.GetArrayFromImage(mask))) == {0, 1, 2}
    assert mask[mask.TransformPhysicalPointToIndex(VANISHING)] == 2


def test_a_mask_prompt_is_measured_as_it_was_drawn(baseline: Path, lesions: Path, tmp_path: Path):
    done = run("segment", baseline, "--prompt", f"mask:{lesions}", "--out", tmp_path / "mask.mha")
    assert done.returncode == 0, done.stderr
    drawn = sitk.GetArrayFromImage(sitk.ReadImage(str(lesions)))
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "mask.mha")))
    np.testing.assert_array_equal(written, np.select([drawn == 3, drawn == 7], [1, 2]))


def test_lesions_are_found_again_with_their_labels_states_and_sizes(
    baseline: Path, lesions: Path, tmp_path: Path
):
    later = chest({GROWING: 8.5}, shift_mm=7.0, seed=1)
    follow_up = write(tmp_path / "later.mha", later.astype(np.int16))
    out = tmp_path / "out"
    done = run(
        "track", "--baseline", baseline, "--lesions", lesions, "--follow-up", follow_up, "--out", out
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert json.loads((out / "result.json").read_text()) == result
    by_label = {lesion["label"]: lesion for lesion in result["lesions"]}
    assert by_label[3]["state"] == "present"
    assert by_label[3]["baseline_measurement"]["long_axis_mm"] == pytest.approx(12, abs=1.9)
    assert by_label[3]["measurement"]["long_axis_mm"] == pytest.approx(17, abs=2)
    x, y, z = GROWING
    assert by_label[3]["measurement"]["centroid_lps"] == pytest.approx((x, y, z + 7), abs=1.5)
    assert by_label[7]["state"] == "disappeared"
    assert by_label[7]["measurement"] is None
    mask = sitk.ReadImage(str(out / "lesions.nii.gz"))
    assert set(np.unique(sitk.GetArrayFromImage(mask))) == {0, 3}


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("point:1,2", "needs 3 numbers"),
        ("circle:1,2,3", "is none of point:"),
        ("point:900,900,900", "outside the volume"),
        ("mask:nowhere.nii.gz", "no such file"),
    ],
)
def test_a_prompt_that_can_not_be_used_is_one_line_and_exit_code_2(baseline, tmp_path, prompt, words):
    done = run("segment", baseline, "--prompt", prompt, "--out", tmp_path / "mask.nii.gz")
    assert done.returncode == 2
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("tumorline:")]
    assert len(errors) == 1
    assert words in errors[0]


def test_a_file_that_is_no_image_is_named(tmp_path: Path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no image")
    done = run("segment", broken, "--prompt", "point:1,2,3", "--out", tmp_path / "mask.nii.gz")
    assert done.returncode == 2
    assert str(broken) in done.stderr


def test_an_output_that_can_not_be_written_is_refused_before_the_work(baseline: Path, tmp_path: Path):
    done = run("segment", baseline, "--prompt", "point:1,2,3", "--out", tmp_path / "mask.png")
    assert done.returncode == 2
    assert ".nii.gz" in done.stderr
