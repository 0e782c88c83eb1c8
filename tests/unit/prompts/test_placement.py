"""Where an object lies: on the series as they are read, and on images whose volume was resampled."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from dicom_io.prompts import (
    ProblemKind,
    images_at_hand,
    read_prompts,
    read_study_prompts,
    read_visit_prompts,
)
from dicom_io.prompts.placement import ImageIndex, NotPlacedError
from dicom_io.volumes import read_folder
from tests.phantoms import Phantom
from tests.unit.prompts.sr_builder import group, image, num, report, scoord
from tests.unit.prompts.support import Images, phantom_images
from tests.unit.prompts.test_rtstruct import square, structure_set


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


# ---------------------------------------------------------------- one rule: frame, geometry, listed UIDs

# 10 axial slices of 3 mm from z -300 on, columns of 0.5 and rows of 0.8 mm from x -100, y 40 on.
CT = phantom_images()
PLACE = np.array([[-90.0, 60.0, -294.0], [-80.0, 60.0, -294.0], [-80.0, 70.0, -294.0]])


def home(*images, frame="1.2.3.4", drawn=(PLACE,), listed=()):
    return ImageIndex(images=images).home(frame, drawn, listed)


def key(images) -> str:
    return images.series.series_instance_uid


def test_another_frame_of_reference_is_never_a_home_whatever_is_listed():
    other = phantom_images(frame_of_reference_uid="9.9", series_instance_uid="1.2.3.6")
    assert home(CT, other, frame="9.9", listed=(CT.slices[2].sop_instance_uid,)).images is other
    with pytest.raises(NotPlacedError, match=r"frame of reference 8\.8.*although it lists images"):
        home(CT, other, frame="8.8", listed=(CT.slices[2].sop_instance_uid,))


def test_geometry_goes_before_listed_uids():
    abdomen = phantom_images(origin=(-100.0, 40.0, -500.0), series_instance_uid="1.2.3.6")
    found = home(CT, abdomen, listed=(abdomen.slices[2].sop_instance_uid,))
    assert found.images is CT
    assert "it lists images of series" in found.note


def test_listed_uids_settle_between_stacks_that_both_fit():
    thin = phantom_images(shape=(30, 128, 128), spacing=(1.0, 0.4, 0.25), series_instance_uid="1.2.3.6")
    for drawn_on in (CT, thin):
        found = home(CT, thin, listed=(drawn_on.slices[2].sop_instance_uid,))
        assert (found.images, found.doubt) == (drawn_on, "")


def test_a_choice_between_stacks_that_fit_alike_is_a_guess_and_a_doubt():
    again = phantom_images(series_instance_uid="1.2.3.6")
    found = home(CT, again)
    assert found.images is CT
    assert "as well" in found.doubt
    assert home(CT, again, listed=(key(again),)).doubt == ""


def test_a_reformat_is_a_home_only_where_it_was_drawn_on():
    reformat = phantom_images(series_instance_uid="1.2.3.0", left_out="a reformat (MPR)")
    found = home(reformat, CT)
    assert (found.images, found.doubt) == (CT, "")
    assert home(reformat, CT, listed=(reformat.slices[2].sop_instance_uid,)).images is reformat


def test_what_runs_along_the_slices_of_a_stack_was_drawn_on_it():
    coronal = phantom_images(
        axes=(1, 2, 0), shape=(20, 64, 64), series_instance_uid="1.2.3.0", origin=(-100.0, 40.0, -310.0)
    )
    sagittal = phantom_images(
        axes=(0, 2, 1), shape=(20, 64, 64), series_instance_uid="1.2.3.1", origin=(-110.0, 40.0, -310.0)
    )
    assert home(coronal, sagittal, CT).images is CT
    assert home(coronal, CT, listed=(coronal.slices[9].sop_instance_uid,)).images is CT
    across = np.array([[-90.0, 61.0, -296.0], [-80.0, 61.0, -296.0], [-80.0, 61.0, -290.0]])
    assert home(sagittal, CT, coronal, drawn=(across,)).images is coronal


def test_a_stack_that_must_not_be_measured_on_is_no_home():
    mip = phantom_images(series_instance_uid="1.2.3.0", refusal="a projection (MIP)")
    listed = (mip.slices[2].sop_instance_uid,)
    assert home(mip, CT, listed=listed).images is CT
    with pytest.raises(NotPlacedError, match="can't be measured on: a projection"):
        home(mip, listed=listed)


@pytest.mark.parametrize(("z", "fits"), [(-301.4, True), (-301.6, False), (-271.6, True), (-271.4, False)])
def test_a_stack_reaches_half_a_slice_beyond_its_first_and_last_images(z, fits):
    drawn = (PLACE * [1, 1, 0] + [0, 0, z],)
    if fits:
        assert home(CT, drawn=drawn).images is CT
    else:
        with pytest.raises(NotPlacedError, match="lies outside all series"):
            home(CT, drawn=drawn)


def test_without_a_frame_of_reference_the_listed_images_say_which_it_is():
    other = phantom_images(frame_of_reference_uid="9.9", series_instance_uid="1.2.3.6")
    assert home(CT, other, frame="", listed=(other.slices[2].sop_instance_uid,)).images is other
    with pytest.raises(NotPlacedError, match="none named"):
        home(CT, other, frame="")
    assert home(CT, frame="").images is CT


def test_images_without_a_frame_of_reference_are_each_a_frame_of_their_own():
    bare = [phantom_images(frame_of_reference_uid=None, series_instance_uid=f"1.2.3.{n}") for n in (6, 7)]
    assert home(*bare, frame=None, listed=(bare[1].slices[0].sop_instance_uid,)).images is bare[1]
    with pytest.raises(NotPlacedError):
        home(*bare, frame=None)


def test_an_image_in_two_series_counts_where_it_can_be_measured():
    keys = phantom_images(series_instance_uid="1.2.3.0", refusal="a key image")
    copied = Images(keys.volume, CT.slices, keys.series)
    plane = ImageIndex(images=(copied, CT)).plane_of(CT.slices[2].sop_instance_uid, None)
    assert plane.series is CT.series


def line_on(images, index: int = 2, tracking_uid: str = "2.25.1"):
    ends = [20.5, 25.5, 40.5, 25.5]
    source = image(images.slices[index].sop_instance_uid)
    return report(group(num("length", scoord("POLYLINE", ends, source)), tracking_uid=tracking_uid))


def test_a_line_on_a_thick_projection_is_placed_on_the_slices_there_and_a_person_asked():
    mip = phantom_images(series_instance_uid="1.2.3.0", refusal="a projection (MIP)")
    reading = read_prompts(line_on(mip), [mip, CT])
    assert [p.drawn_on for p in reading.placements] == [CT.series.key]
    assert any("look whether that shows it" in doubt for doubt in reading.doubts)


def test_a_line_on_a_scout_tells_no_depth():
    scout = phantom_images(
        axes=(1, 2, 0), shape=(1, 64, 64), spacing=(20.0, 0.8, 0.5), origin=(-100.0, 60.0, -320.0),
        series_instance_uid="1.2.3.0", refusal="a localizer (ImageType)",
    )  # fmt: skip
    document = report(
        group(
            num(
                "length",
                scoord("POLYLINE", [20.5, 30.5, 40.5, 30.5], image(scout.slices[0].sop_instance_uid)),
            )
        )
    )
    (problem,) = read_prompts(document, [scout, CT]).problems
    assert problem.kind is ProblemKind.NOT_PLACED
    assert "how deep" in problem.reason


def test_one_report_over_two_series_gives_each_lesion_to_its_own():
    abdomen = phantom_images(origin=(-100.0, 40.0, -500.0), series_instance_uid="1.2.3.6")
    groups = [
        group(
            *line_on(images).ContentSequence[0].ContentSequence[0].ContentSequence[1:],
            tracking_uid=f"2.25.{n}",
        )
        for n, images in enumerate((CT, abdomen), start=1)
    ]
    reading = read_prompts(report(*groups), [CT, abdomen])
    assert [p.drawn_on for p in reading.placements] == [CT.series.key, abdomen.series.key]
    assert [p.shapes[0].start_lps[2] for p in reading.prompts] == [-294, -494]
    assert reading.doubts == ()


def test_a_lesion_measured_on_two_series_is_taken_once_and_a_person_asked():
    venous = phantom_images(series_instance_uid="1.2.3.6")
    lines = [
        num("length", scoord("POLYLINE", [20.5, 25.5, 40.5, 25.5], image(images.slices[2].sop_instance_uid)))
        for images in (CT, venous)
    ]
    reading = read_prompts(report(group(*lines)), [CT, venous])
    assert [len(prompt.shapes) for prompt in reading.prompts] == [1]
    assert reading.placements[0].drawn_on == CT.series.key
    assert any("was measured on" in doubt for doubt in reading.doubts)


def test_a_region_over_two_stacks_that_lie_apart_is_a_lesion_on_each():
    abdomen = phantom_images(origin=(-100.0, 40.0, -500.0), series_instance_uid="1.2.3.6")
    drawn = [square(z, 6.0) for z in (-294, -291, -288, -494, -491)]
    reading = read_prompts(structure_set(*drawn), [CT, abdomen])
    assert [p.drawn_on for p in reading.placements] == [CT.series.key, abdomen.series.key]
    assert [int(p.shapes[0].volume.array.any(axis=(1, 2)).sum()) for p in reading.prompts] == [3, 2]
    assert any("several stacks" in doubt for doubt in reading.doubts)


def test_lesions_at_one_place_of_two_frames_of_reference_are_two():
    other = phantom_images(frame_of_reference_uid="9.9", series_instance_uid="1.2.3.6")
    first, second = structure_set(square(-294, 6.0)), structure_set(square(-294, 6.0))
    second.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "9.9"
    second.SOPInstanceUID = "1.2.3.67"
    reading = read_study_prompts([first, second], [CT, other])
    assert [p.drawn_on for p in reading.placements] == [CT.series.key, other.series.key]


# ---------------------------------------------------------------- from files


def test_a_visit_is_read_from_its_files_with_the_images_of_every_frame(tmp_path):
    chest, abdomen = Phantom(), Phantom(study="2")
    sources = [phantom.write(tmp_path / name) for name, phantom in (("a", chest), ("b", abdomen))]
    documents = []
    for number, source in enumerate(sources):
        document = line_on(source, 10, f"2.25.{number}")
        document.SOPInstanceUID = f"1.2.3.70{number}"
        documents.append(write_object(document, tmp_path / f"{number}.dcm"))
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM")
    images = [path for name in ("a", "b") for path in sorted((tmp_path / name).iterdir())]

    read = read_visit_prompts([*documents, tmp_path / "broken.dcm"], images)

    assert {p.drawn_on for p in read.prompts} == {source.series.key for source in sources}
    (doubt,) = read.doubts
    assert "broken.dcm" in doubt
    assert "export" in doubt


def test_nothing_to_read_reads_no_images(tmp_path):
    read = read_visit_prompts([], [tmp_path / "absent.dcm"])
    assert (read.prompts, read.doubts, read.notes) == ((), (), ())


def test_images_that_make_no_volume_are_known_by_their_reason(tmp_path):
    source = Phantom().write(tmp_path / "a")
    files = sorted((tmp_path / "a").iterdir())
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    order = np.argsort([float(header.ImagePositionPatient[2]) for header in headers])
    kept = [files[i] for n, i in enumerate(order) if n not in (3, 4, 5)]  # a gap: no volume
    document = write_object(line_on(source, 12), tmp_path / "sr.dcm")
    read = read_visit_prompts([document], kept)
    assert read.prompts == ()
    (doubt,) = read.doubts
    assert "can't be measured on" in doubt
    assert "missing" in doubt


def write_object(dataset, path):
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path
