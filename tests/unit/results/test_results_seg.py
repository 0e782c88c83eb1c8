"""The SEG: masks in, the same masks out, on the images' own geometry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from highdicom.seg import segread
from phantoms import Phantom, reported_lesion, sphere, time_point_report
from pydicom import dcmread
from result_cases import PLAIN, Case
from scipy.spatial import cKDTree

from dicom_io import codes, uids
from dicom_io.results import build_results, to_bytes, validate
from dicom_io.results.content import children, measurement_groups
from dicom_io.results.equipment import application
from dicom_io.results.seg_frames import labels_of, overlap, with_even_bytes
from workflow.domain.geometry import Mask
from workflow.domain.lesion import ModelIdentity


def test_a_report_without_any_voxel_has_no_seg(make_case: Callable[[str], Case]):
    assert make_case("nothing left").results.seg is None


def test_frames_carry_the_images_own_positions_and_names(axial: Case):
    seg = axial.results.seg
    images = {image.SOPInstanceUID: image for image in Phantom().datasets()}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert list(position) == list(images[uid].ImagePositionPatient)
    orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    assert list(orientation.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]


def test_frames_of_a_multi_frame_source_name_their_frame(make_case: Callable[[str], Case]):
    case = make_case("multi-frame")
    zs = dict(zip(range(24, 0, -1), 100 + 2.5 * np.arange(24), strict=True))
    for frame in case.results.seg.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert float(position[2]) == pytest.approx(zs[int(source.ReferencedFrameNumber)])


def test_a_tilted_gantrys_masks_lie_on_the_tilted_images_within_half_a_pixel(
    make_case: Callable[[str], Case],
):
    case = make_case("gantry tilt")
    seg, images = case.results.seg, {str(i.SOPInstanceUID): i for i in map(dcmread, case.image_paths)}
    found: dict[int, list[np.ndarray]] = {}
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        image = images[source.ReferencedSOPInstanceUID]
        assert frame.PlanePositionSequence[0].ImagePositionPatient == image.ImagePositionPatient
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        along, down = np.reshape(np.array(image.ImageOrientationPatient, float), (2, 3)) * 0.8
        row, column = np.argwhere(pixels).T[:, :, None]
        origin = np.array(image.ImagePositionPatient, float)
        found.setdefault(number, []).append(origin + row * down + column * along)
    for number, lesion in enumerate(case.report.lesions, start=1):
        at = np.concatenate(found[number])
        wanted = case.source.volume.lps(lesion.mask.indices())
        assert at.shape == wanted.shape
        aside, partner = cKDTree(at).query(wanted)
        assert len(set(partner)) == len(wanted)
        assert 0.1 < aside.max() <= 0.4 + 1e-3


def test_a_slice_that_was_filled_in_has_a_frame_between_its_neighbours_and_names_none(
    make_case: Callable[[str], Case],
):
    frames = make_case("slice filled in").results.seg.PerFrameFunctionalGroupsSequence
    between = [f for f in frames if float(f.PlanePositionSequence[0].ImagePositionPatient[2]) == 130.0]
    assert between
    assert not any(f.DerivationImageSequence for f in between)
    assert all(f.DerivationImageSequence for f in frames if f not in between)


def test_slice_spacing_is_the_volumes_even_where_slices_are_left_out(tmp_path):
    source = Phantom().write(tmp_path)
    lesions = [
        reported_lesion(source.volume, sphere(source.volume, (0.0, 0.0, z), 2.0), f"T0{n}")
        for n, z in enumerate((105.0, 135.0), start=1)
    ]
    seg = build_results(time_point_report(source, lesions), [source], settings=PLAIN).seg
    assert float(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices) == 2.5
    assert seg.get("DimensionOrganizationType") is None


def test_labels_are_drawn_on_touched_slices_only():
    one = np.zeros((20, 6, 6), dtype=bool)
    one[3, 1:3, 1:3] = one[9, 1:3, 1:3] = True
    other = np.zeros((20, 6, 6), dtype=bool)
    other[9, 4, 4] = True
    masks = [Mask.from_array(one), Mask.from_array(other)]
    indices, labels = labels_of(masks, (20, 6, 6), lambda _: (0, 0))
    assert indices == [3, 9]
    assert [int((labels == n).sum()) for n in (1, 2)] == [8, 1]
    assert labels[1, 4, 4] == 2


def test_masks_overlap_only_where_they_share_a_voxel():
    one, other, third = np.zeros((3, 4, 5, 5), dtype=bool)
    one[1, 1:4, 1:4] = other[1, 3, 3:5] = third[1, 2:4, 4] = True
    one_, other_, third_ = map(Mask.from_array, (one, other, third))
    assert overlap([one_, other_])
    assert overlap([one_, third_, other_])
    assert not overlap([one_, third_])  # their boxes touch, their voxels do not


def bytes_of(frames: int, shape: tuple[int, int, int]) -> int:
    return -(-frames * shape[1] * shape[2] // 8)


@pytest.mark.parametrize(
    ("frames", "shape", "added"),
    [
        pytest.param([(1, 2)], (9, 4, 4), [], id="2 bytes: nothing to add"),
        pytest.param([(1, 2)], (9, 4, 2), [(1, 3)], id="1 byte: the next slice"),
        pytest.param([(1, 8)], (9, 4, 2), [(1, 7)], id="1 byte on the last slice: the one before"),
        pytest.param([(1, 2), (1, 3), (2, 3)], (9, 4, 2), [(2, 2)], id="a slice that is there already"),
        pytest.param(
            [(1, n) for n in range(8)], (20, 3, 5), [(1, n) for n in range(8, 16)],
            id="120 bits: 15 bytes, and the next even number is 30",
        ),
        pytest.param([(1, 0)], (1, 4, 2), [], id="no slice left: as it is"),
    ],
)  # fmt: skip
def test_empty_frames_make_the_bytes_even(frames, shape, added):
    filled = with_even_bytes(frames, shape)
    assert filled == [*frames, *added]
    assert bytes_of(len(filled), shape) % 2 == 0 or shape[0] == 1


@pytest.mark.parametrize("shape", [(20, 5, 5), (20, 3, 8), (20, 7, 9), (20, 64, 72)])
def test_the_packed_pixels_of_any_image_size_are_even_and_hold_the_masks(tmp_path, shape):
    """OHIF refuses a SEG with an odd number of bytes; what is added for it holds no voxel."""
    source = Phantom(shape=shape).write(tmp_path)
    arrays = np.zeros((2, *shape), dtype=bool)
    arrays[0, 3:6, 1:3, 1:4] = arrays[1, 5, 2, 2:5] = True
    masks = [Mask.from_array(array) for array in arrays]
    lesions = [reported_lesion(source.volume, m, f"T0{n}") for n, m in enumerate(masks, start=1)]
    results = build_results(time_point_report(source, lesions), [source], settings=PLAIN)
    assert validate(results).is_valid
    assert bytes_of(results.seg.NumberOfFrames, shape) % 2 == 0
    back = segread(BytesIO(to_bytes(results.seg)))
    read = back.get_pixels_by_source_instance(
        [s.sop_instance_uid for s in source.slices], assert_missing_frames_are_empty=True
    )
    assert np.array_equal(read.transpose(3, 0, 1, 2), arrays)


def test_overlap_is_said_and_keeps_every_voxel(make_case: Callable[[str], Case]):
    seg = make_case("overlapping lesions").results.seg
    assert seg.SegmentsOverlap == "YES"
    assert seg.SegmentationType == "BINARY"


def test_lesions_that_touch_do_not_overlap(axial: Case):
    assert axial.results.seg.SegmentsOverlap == "NO"


def test_a_mask_on_another_grid_is_refused_by_name(axial: Case):
    wrong = replace(axial.report.lesions[0], mask=Mask.from_array(np.ones((2, 2, 2), dtype=bool)))
    with pytest.raises(ValueError, match=r"lesion T01.*\(2, 2, 2\)"):
        build_results(replace(axial.report, lesions=(wrong,)), [axial.source], settings=PLAIN)


def test_segments_say_which_model_made_them_and_how(axial: Case):
    tracked, _, shown = axial.results.seg.SegmentSequence
    assert (tracked.SegmentAlgorithmType, shown.SegmentAlgorithmType) == ("AUTOMATIC", "SEMIAUTOMATIC")
    algorithm = tracked.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("Phantom segmenter", "2.1")
    assert uids.device_uid(axial.report.models[0]) in algorithm.AlgorithmParameters


def test_a_mask_drawn_by_a_reader_is_manual(axial: Case):
    drawn = replace(axial.report.lesions[0], model=None)
    report = replace(axial.report, lesions=(drawn,), models=())
    results = build_results(report, [axial.source], settings=PLAIN)
    (segment,) = results.seg.SegmentSequence
    assert segment.SegmentAlgorithmType == "MANUAL"
    assert "SegmentAlgorithmName" not in segment
    assert "SegmentationAlgorithmIdentificationSequence" not in segment
    for made in results.all:
        devices = [i.DeviceUID for i in made.ContributingEquipmentSequence if "DeviceUID" in i]
        assert devices == [uids.device_uid(application(PLAIN))]
    for name in (codes.ALGORITHM_NAME, codes.CONFIDENCE):
        assert not any(children(group, name) for group in measurement_groups(results.sr))


def test_a_seg_names_the_models_of_its_own_segments_only(axial: Case):
    other = ModelIdentity(name="another", version="1")
    lesions = (replace(axial.report.lesions[0], model=None), *axial.report.lesions[1:])
    report = replace(axial.report, lesions=lesions, models=(*axial.report.models, other))
    seg = build_results(report, [axial.source], settings=PLAIN).seg
    names = [i.ManufacturerModelName for i in seg.ContributingEquipmentSequence if "DeviceUID" in i]
    assert names == ["Tumorline", "Phantom segmenter"]


def test_what_kind_of_lesion_it_is_stays_as_its_prompt_said(axial: Case):
    primary = replace(axial.report.lesions[0], finding="372087000", finding_meaning="Neoplasm, Primary")
    results = build_results(replace(axial.report, lesions=(primary,)), [axial.source], settings=PLAIN)
    kind = results.seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]
    (finding,) = children(measurement_groups(results.sr)[0], codes.FINDING)
    for code in (kind, finding.ConceptCodeSequence[0]):
        assert (code.CodeValue, code.CodeMeaning) == ("372087000", "Neoplasm, Primary")


def test_the_content_creator_is_who_signed(axial: Case, make_case):
    assert axial.results.seg["ContentCreatorName"].value in ("", None)
    assert make_case("signed").results.seg.ContentCreatorName == "Reader^Rosa"


def test_the_items_of_a_label_map_stand_at_their_numbers_for_viewers_that_count_them(make_case):
    """OHIF 3.13 takes the n-th item for segment n; the background, segment 0, comes last."""
    segments = make_case("labelmap").results.seg.SegmentSequence
    assert [int(segment.SegmentNumber) for segment in segments] == [1, 2, 3, 0]
