"""Where an object lies: on the series as they are read, and on images whose volume was resampled."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from dicom_io.prompts import images_at_hand, read_prompts, read_study_prompts
from dicom_io.prompts.placement import ImageIndex
from dicom_io.volumes import read_folder
from tests.phantoms import Phantom
from tests.unit.prompts.sr_builder import group, image, num, report, scoord


def test_contours_lie_on_a_series_as_the_volume_reader_gives_it(real_cases):
    case = real_cases / "fourd_lung_p4"
    series = read_folder(case / "ct")
    tumour, _ = read_prompts(case / "rtstruct" / "1-1.dcm", [series]).prompts
    mask = tumour.shapes[0].volume
    assert np.count_nonzero(mask.array) == 23611
    index = series.volume.ijk(mask.lps(np.argwhere(mask.array)))
    assert np.abs(index - np.round(index)).max() < 1e-3
    # The tumour is denser than the lung around it.
    assert series.volume.array[tuple(np.round(index).astype(int).T)].mean() > -300


def test_coordinates_lie_on_the_image_and_not_on_the_resampled_slice(real_cases):
    series = read_folder(real_cases / "robustness" / "gantry_tilt_ge")
    source = series.slices[len(series.slices) // 2]
    header = pydicom.dcmread(source.path)
    origin = np.array(header.ImagePositionPatient, dtype=float)
    row_mm, column_mm = (float(value) for value in header.PixelSpacing)
    along_row, along_column = np.reshape(np.array(header.ImageOrientationPatient, dtype=float), (2, 3))
    column, row = 120.5, 200.5
    document = report(group(num("length", scoord("POINT", [column, row], image(source.sop_instance_uid)))))

    (prompt,) = read_prompts(document, [series]).prompts

    expected = origin + along_row * column_mm * (column - 0.5) + along_column * row_mm * (row - 0.5)
    np.testing.assert_allclose(prompt.shapes[0].position_lps, expected, atol=1e-3)


@pytest.mark.parametrize("frame", [1, 5, 24])
def test_frames_of_an_enhanced_image_lie_where_their_functional_groups_say(tmp_path, frame):
    phantom = Phantom()
    source = phantom.write_multi_frame(tmp_path)  # frames in the reverse order of the slices
    plane = ImageIndex(images=(source,)).plane_of(source.slices[0].sop_instance_uid, frame)
    expected = phantom.volume().lps(np.array([24 - frame, 0, 0]))
    np.testing.assert_allclose(plane.lps(np.array([[0.5, 0.5]]))[0], expected, atol=1e-6)


def test_what_was_drawn_on_a_series_belongs_to_it_whatever_else_is_at_hand(real_cases):
    patient = real_cases / "ibsi_sts" / "dicom" / "STS_002"
    files = [
        path for series in ("CT", "MR_T1", "PET") for path in sorted((patient / series / "image").iterdir())
    ]
    at_hand = images_at_hand(files)
    assert sorted(images.series.modality for images in at_hand.images) == ["CT", "MR", "PT"]

    pet = pydicom.dcmread(sorted((patient / "PET" / "image").iterdir())[20], stop_before_pixels=True)
    document = report(
        group(num("length", scoord("POLYLINE", [10.5, 12.5, 14.5, 12.5], image(pet.SOPInstanceUID))))
    )
    reading = read_study_prompts([document], at_hand)

    (line,) = reading.prompts[0].shapes
    spacing = float(pet.PixelSpacing[1])
    offset = np.array([10 * spacing, 12 * float(pet.PixelSpacing[0]), 0])
    start = np.array(pet.ImagePositionPatient, dtype=float) + offset
    np.testing.assert_allclose(line.start_lps, start, atol=1e-3)
    assert reading.placements[0].drawn_on.series_instance_uid == pet.SeriesInstanceUID
