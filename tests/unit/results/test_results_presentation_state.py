"""Axes and labels over the images, as a presentation state: what it says, and what is read out of it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantoms import Phantom, three_lesions, time_point_report
from pydicom import Dataset, dcmread
from result_cases import CASES, PLAIN, SPHERES, program
from skimage.color import lab2rgb

from dicom_io.prompts import read_prompts
from dicom_io.results import ResultObjects, build_results, to_bytes, validate
from dicom_io.results.sr_lesions import has_axes
from workflow.domain.lesion import LinePrompt
from workflow.domain.palette import colour_of

DRAWN = [
    "axial", "signed", "multi-frame", "overlapping lesions", "sagittal MR", "anisotropic oblique",
    "gantry tilt",
]  # fmt: skip


def made_of(name: str, folder: Path) -> tuple[ResultObjects, object, list[Path]]:
    """The results of a case with its presentation states as files."""
    source, report, settings = CASES[name](folder / "images")
    results = build_results(report, [source], settings=replace(settings, writes_presentation_state=True))
    paths = []
    for number, state in enumerate(results.presentation_states[0]):
        paths.append(folder / f"state{number}.dcm")
        paths[-1].write_bytes(to_bytes(state))
    return results, source, paths


@pytest.mark.reads("Tumorline's prompts", "presentation state")
@pytest.mark.parametrize("name", DRAWN)
def test_our_reader_finds_every_lesion_with_its_end_points_and_label(name: str, tmp_path: Path):
    results, source, (path,) = made_of(name, tmp_path)
    read = read_prompts(path, [source])
    assert read.problems == ()
    measured = {lesion.tracking_uid: lesion for lesion in results.report.lesions if has_axes(lesion)}
    assert {prompt.tracking_uid for prompt in read.prompts} == set(measured)
    for prompt in read.prompts:
        lesion = measured[prompt.tracking_uid]
        (line,), axes = [s for s in prompt.shapes if isinstance(s, LinePrompt)], lesion.measurement
        assert np.abs(np.subtract(line.start_lps, axes.long_axis.start_lps)).max() < 0.01
        assert np.abs(np.subtract(line.end_lps, axes.long_axis.end_lps)).max() < 0.01
        short_axis = [axes.short_axis.start_lps, axes.short_axis.end_lps]
        assert np.abs(np.subtract(line.short_axis_lps, short_axis)).max() < 0.01
        assert prompt.label == lesion.label


@pytest.mark.reads("dcmtk", "presentation state")
@pytest.mark.parametrize("name", ["axial", "sagittal MR", "anisotropic oblique", "gantry tilt"])
def test_dcmtk_applies_it_to_the_measured_image_and_lists_axes_and_label(name: str, tmp_path: Path):
    results, source, (path,) = made_of(name, tmp_path)
    checked = subprocess.run([program("dcmpschk"), str(path)], capture_output=True, text=True, check=False)
    assert [line for line in checked.stderr.splitlines() if "W:" in line] == [
        f"W: Testing: {path}", "W: Test passed.",
    ]  # fmt: skip
    for lesion in (one for one in results.report.lesions if has_axes(one)):
        image = source.slices[lesion.measurement.slice_index].path
        command = [program("dcmp2pgm"), "-v", "-p", path, image, tmp_path / "rendered.pgm"]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True)
        assert f'"{lesion.label}"' in done.stdout + done.stderr
        lines = re.findall(r"coordinates: (.*), $", done.stdout + done.stderr, re.MULTILINE)
        drawn = [[[float(v) for v in end.split("\\")] for end in line.split(", ")] for line in lines]
        for axis in (lesion.measurement.long_axis, lesion.measurement.short_axis):
            wanted = column_row(dcmread(image), [axis.start_lps, axis.end_lps])
            assert any(np.abs(np.array(line) - wanted).max() < 0.01 for line in drawn)


def column_row(image: Dataset, points_lps: list) -> np.ndarray:
    """(column, row) of points in an image's plane, with the first pixel's centre at (0.5, 0.5)."""
    cosines = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = map(float, image.PixelSpacing)
    aside = np.array(points_lps) - np.array(image.ImagePositionPatient, float)
    return aside @ cosines.T / (column_mm, row_mm) + 0.5


@pytest.mark.reads("dciodvfy", "presentation state")
@pytest.mark.parametrize("name", DRAWN)
def test_dciodvfy_finds_no_error_and_the_gate_lets_it_pass(name: str, tmp_path: Path):
    results, _, (path,) = made_of(name, tmp_path)
    done = subprocess.run([program("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert "GrayscaleSoftcopyPresentationState" in said
    assert "Error" not in said
    assert validate(results).is_valid


def test_it_shows_the_images_as_they_show_themselves_in_the_lesions_colours(tmp_path: Path):
    results, source, (path,) = made_of("axial", tmp_path)
    state, image = dcmread(path), dcmread(source.slices[0].path, stop_before_pixels=True)
    assert (state.Modality, state.StudyInstanceUID) == ("PR", image.StudyInstanceUID)
    assert (state.RescaleSlope, state.RescaleIntercept) == (image.RescaleSlope, image.RescaleIntercept)
    (area,) = state.DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaBottomRightHandCorner) == [image.Columns, image.Rows]
    layers = {layer.GraphicLayer: layer for layer in state.GraphicLayerSequence}
    measured = [lesion for lesion in results.report.lesions if has_axes(lesion)]
    for annotation, lesion in zip(state.GraphicAnnotationSequence, measured, strict=True):
        assert (
            np.abs(rgb_of(layers[annotation.GraphicLayer]) - colour_of(lesion.role, lesion.label)).max() <= 2
        )


def rgb_of(layer: Dataset) -> np.ndarray:
    """The layer's colour as sRGB, 0 to 255 (PS3.3 C.10.7.1.1)."""
    l, a, b = layer.GraphicLayerRecommendedDisplayCIELabValue  # noqa: E741
    return np.round(lab2rgb([l * 100 / 65535, a * 255 / 65535 - 128, b * 255 / 65535 - 128]) * 255)


def test_images_of_different_scales_have_a_state_each(tmp_path: Path):
    """A PET's slices often have a slope each, and a presentation state has one Modality LUT."""
    source = Phantom(spheres=SPHERES).write(tmp_path / "images")
    report = time_point_report(source, three_lesions(source.volume))
    first, *_ = (lesion.measurement.slice_index for lesion in report.lesions if has_axes(lesion))
    image = dcmread(source.slices[first].path)
    image.RescaleSlope = "2"
    image.save_as(source.slices[first].path)
    results = build_results(report, [source], settings=replace(PLAIN, writes_presentation_state=True))
    one, other = results.presentation_states[0]
    assert {float(one.RescaleSlope), float(other.RescaleSlope)} == {1.0, 2.0}
    assert len({one.SeriesInstanceUID, other.SeriesInstanceUID}) == 2
    assert {"presentation", "presentation-2"} <= set(results.by_role)


def test_without_a_lesion_that_has_axes_there_is_none(tmp_path: Path):
    results, _, paths = made_of("nothing left", tmp_path)
    assert paths == []
    assert not [role for role in results.by_role if role.startswith("presentation")]


def test_a_lesion_on_no_image_is_not_drawn(tmp_path: Path):
    results, _, _ = made_of("slice filled in", tmp_path)
    drawn = results.presentation_states[0][0].GraphicAnnotationSequence
    assert [one.TextObjectSequence[0].UnformattedTextValue for one in drawn] == ["T01", "T03"]


def test_it_is_written_where_a_site_asks_for_it_only(tmp_path: Path):
    source, report, settings = CASES["axial"](tmp_path)
    assert "presentation" not in build_results(report, [source], settings=settings).by_role
