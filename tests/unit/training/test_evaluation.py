"""Judging segmenters: measures with known answers, baselines, intervals, and the tables."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK

from models.training.baselines import PromptShapeSegmenter, ThresholdSegmenter
from models.training.config import SynthesisConfig
from models.training.evaluation import (
    Case,
    calibration,
    difference,
    evaluate,
    mean_by_patient,
    read_cases,
    surface_distances,
    synthetic_cases,
)
from models.training.prompting import PromptKind, prompt_of
from models.training.tables import markdown, write
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Mask, Volume, affine_from_axes, dice
from workflow.use_cases.images import read_image

AFFINE = affine_from_axes(
    origin_lps=(-30.0, -30.0, 0.0),
    slice_step=(0.0, 0.0, 2.0),
    row_step=(0.0, 1.0, 0.0),
    column_step=(1.0, 0.0, 0.0),
)
RADII = np.array([14.0, 10.0, 12.0])  # mm along slices, rows, columns


@pytest.fixture(scope="module")
def case():
    """An ellipsoid of 100 in noise about 20."""
    shape = (30, 60, 60)
    offsets = (np.moveaxis(np.indices(shape), 0, -1) * [2, 1, 1] - [29, 29.5, 29.5]) / RADII
    mask = (offsets**2).sum(axis=-1) <= 1
    image = np.where(mask, 100, 20) + np.random.default_rng(0).normal(0, 8, shape)
    return Case(
        name="ellipsoid",
        patient="A",
        modality="CT",
        volume=Volume(array=image.astype(np.float32), affine=AFFINE),
        mask=Mask.from_array(mask),
    )


def box_mask(start, stop, shape=(20, 20, 20)):
    array = np.zeros(shape, dtype=bool)
    array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return Mask.from_array(array)


def test_surfaces_of_equal_masks_touch_and_a_shifted_plate_is_its_shift_away():
    plate = box_mask((5, 2, 2), (6, 18, 18))
    assert surface_distances(plate, plate, (3, 1, 1)) == (0, 0)
    lower = box_mask((7, 2, 2), (8, 18, 18))
    assert surface_distances(plate, lower, (3, 1, 1)) == pytest.approx((6, 6))
    assert np.isnan(surface_distances(plate, Mask.empty((20, 20, 20)), (1, 1, 1))).all()


def test_the_inscribed_ellipsoid_of_an_ellipsoid_is_the_ellipsoid(case):
    prompt = prompt_of(PromptKind.BOX, case.volume, case.mask)
    (found,) = PromptShapeSegmenter().segment(case.volume, [prompt])
    assert dice(found.mask, case.mask) > 0.95


def test_a_threshold_finds_what_differs_from_its_surroundings(case):
    for kind in (PromptKind.BOX, PromptKind.PRIOR):
        (found,) = ThresholdSegmenter().segment(case.volume, [prompt_of(kind, case.volume, case.mask)])
        assert dice(found.mask, case.mask) > 0.9, kind


@pytest.mark.parametrize("kind", list(PromptKind))
def test_a_prompt_is_on_the_lesion_and_a_jittered_one_a_little_off(case, kind):
    exact = prompt_of(kind, case.volume, case.mask)
    off = prompt_of(kind, case.volume, case.mask, 0.1)
    (one,) = PromptShapeSegmenter().segment(case.volume, [exact])
    (other,) = PromptShapeSegmenter().segment(case.volume, [off])
    assert dice(one.mask, case.mask) > 0.6
    assert dice(other.mask, case.mask) > 0.5
    assert not np.array_equal(one.mask.array(), other.mask.array())


def test_a_jittered_click_stays_in_the_lesion(case):
    for seed in range(20):
        prompt = prompt_of(PromptKind.CLICK, case.volume, case.mask, 0.5, np.random.default_rng(seed))
        index = np.rint(case.volume.ijk(np.array(prompt.shapes[0].position_lps))).astype(int)
        assert case.mask.array()[tuple(index)]


def test_an_interval_knows_that_lesions_of_one_patient_are_alike():
    values = np.repeat([0.2, 0.4, 0.6, 0.8], 25)
    alike = mean_by_patient(values, np.repeat(["a", "b", "c", "d"], 25).tolist())
    apart = mean_by_patient(values, [str(n) for n in range(100)])
    assert alike.mean == apart.mean == pytest.approx(0.5)
    assert alike.high - alike.low > 3 * (apart.high - apart.low)
    assert (alike.patients, apart.patients) == (4, 100)


@pytest.fixture(scope="module")
def rows(case):
    smaller = replace(case, name="second", patient="B", modality="MR")
    segmenters = {"threshold": ThresholdSegmenter(), "ellipsoid": PromptShapeSegmenter()}
    return evaluate(segmenters, [case, smaller], (PromptKind.BOX, PromptKind.CLICK), (0.0, 0.05))


def test_a_row_says_what_was_found(rows, case):
    row = next(r for r in rows if r.model == "threshold" and r.prompt == "box" and r.jitter == 0)
    assert row.dice > 0.93
    assert row.long_axis_mm == pytest.approx(2 * 12, abs=1.1)
    assert abs(row.long_axis_error_mm) < 2
    assert row.volume_ratio == pytest.approx(1, abs=0.12)
    assert row.surface_mm < 1
    assert row.is_measurable_agreed
    assert (row.size, row.thickness) == ("20 to 50 mm", "2 to 4 mm")


def test_models_are_compared_on_the_same_prompts(rows):
    clicks = [row for row in rows if row.prompt == "click"]
    apart = difference(clicks, "threshold", "ellipsoid")
    means = {
        name: np.mean([row.dice for row in clicks if row.model == name])
        for name in ("threshold", "ellipsoid")
    }
    assert apart.mean == pytest.approx(means["threshold"] - means["ellipsoid"])
    assert (apart.lesions, apart.patients) == (4, 2)


def test_calibration_counts_poor_results_that_are_flagged_and_good_ones_that_are(rows):
    told = [
        replace(rows[0], dice=reached, confidence=said, is_flagged=flagged)
        for reached, said, flagged in (
            (0.9, 0.9, False),
            (0.8, 0.8, True),
            (0.5, 0.5, True),
            (0.3, 0.7, False),
        )
    ]
    found = calibration(told)
    assert (found.poor, found.good) == (2, 2)
    assert (found.poor_flagged, found.good_flagged) == (0.5, 0.5)
    assert found.error == pytest.approx(0.4 / 4)
    assert found.correlation == pytest.approx(0.8)


def test_the_tables_hold_every_model_and_the_better_one_in_bold(rows, tmp_path):
    summed = write(rows, ["threshold", "ellipsoid"], tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text())["patients"] == 2
    with (tmp_path / "rows.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(rows)
    by_modality = summed["breakdowns"]["prompt by modality"]
    assert set(by_modality) == {"box, CT", "box, MR", "click, CT", "click, MR"}
    line = next(one for one in markdown(summed).splitlines() if one.startswith("| click | 4"))
    assert line.count("**") == 2
    assert (tmp_path / "dice.png").stat().st_size > 1000
    assert (tmp_path / "calibration.png").stat().st_size > 1000


def test_synthetic_lesions_are_cases_like_real_ones():
    made = list(synthetic_cases(SynthesisConfig(), [], 99, 3))
    assert [one.volume.shape for one in made] == [(32, 32, 32)] * 3
    assert all(not one.mask.is_empty for one in made)
    (row, *_) = evaluate({"ellipsoid": PromptShapeSegmenter()}, made[:1], (PromptKind.BOX,))
    assert 0.2 < row.dice < 1


def written(path, array, spacing=(1.0, 1.0, 2.0)):
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing)
    SimpleITK.WriteImage(image, str(path))


def test_cases_are_read_from_a_table_one_for_each_connected_part(tmp_path):
    label = np.zeros((10, 20, 20), dtype=np.uint8)
    label[2:6, 2:7, 2:7] = 1
    label[2:6, 12:17, 12:17] = 1
    label[8, 1:3, 1:3] = 1  # a crumb
    written(tmp_path / "image.nii.gz", np.zeros(label.shape, dtype=np.int16))
    written(tmp_path / "mask.nii.gz", label)
    table = tmp_path / "cases.csv"
    table.write_text("name,patient,modality,image,mask\nchest,P1,CT,image.nii.gz,mask.nii.gz\n")
    found = list(read_cases(table, read_image))
    assert [(one.name, one.patient, one.mask.voxel_count) for one in found] == [
        ("chest 1", "P1", 100),
        ("chest 2", "P1", 100),
    ]
    table.write_text("name,patient,modality,image\nchest,P1,CT,image.nii.gz\n")
    with pytest.raises(UnsuitableInputError, match="mask"):
        list(read_cases(table, read_image))
