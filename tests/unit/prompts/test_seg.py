"""SEG prompts: what dcmqi reads out of the same object, and phantoms for what no object at hand has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_io.prompts import LesionRules, ProblemKind, read_prompts
from tests.unit.prompts.support import load_series, on_grid, phantom_images

EVERY_LIVER = LesionRules(always=frozenset({"Liver", "GREEN", "ORANGE", "PURPLE", "LIGHT_BLUE", "DARK_BLUE"}))


def dcmqi_masks(path: Path, folder: Path, images) -> dict[int, np.ndarray]:
    """Each segment on the series' grid, as dcmqi's segimage2itkimage writes it."""
    command = [
        Path(sys.executable).with_name("segimage2itkimage"),
        "--inputDICOM",
        path,
        "--outputDirectory",
        folder,
        "-t",
        "nrrd",
    ]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    masks = {}
    for file in folder.glob("*.nrrd"):
        image = sitk.ReadImage(str(file))
        array = sitk.GetArrayFromImage(image)
        for value in np.unique(array[array > 0]):
            points = [image.TransformIndexToPhysicalPoint(tuple(int(i) for i in index[::-1]))
                      for index in np.argwhere(array == value)]  # fmt: skip
            whole = np.zeros(images.volume.shape, dtype=bool)
            whole[tuple(np.round(images.volume.ijk(np.array(points))).astype(int).T)] = True
            masks[int(value)] = whole
    return masks


@pytest.mark.parametrize(
    ("segmentation", "series", "segments"),
    [
        ("qin_headneck/0024/seg/tumor_User1_Manual_Trial1.dcm", "qin_headneck/0024/pet", [1, 2]),
        ("ref_objects/dcmqi/partial_overlaps.dcm", "ref_objects/dcmqi/ct-3slice", [1, 2, 3, 4, 5]),
        ("ref_objects/dcmqi/24x38x3/seg/label.seg", "ref_objects/dcmqi/24x38x3/image", [1]),
        ("ref_objects/dcmqi/23x38x3/seg/label.seg", "ref_objects/dcmqi/23x38x3/image", [1]),
        ("ref_objects/dicom4qi_bitpack/mask/mask.dcm", "ref_objects/dicom4qi_bitpack/image", [1]),
    ],
)
def test_segments_are_the_voxels_that_dcmqi_reads(real_cases, tmp_path, segmentation, series, segments):
    images = load_series(real_cases / series)
    reading = read_prompts(real_cases / segmentation, [images], rules=EVERY_LIVER)
    theirs = dcmqi_masks(real_cases / segmentation, tmp_path, images)
    assert [prompt.item for prompt in reading.prompts] == [f"segment {number}" for number in segments]
    for number, prompt in zip(segments, reading.prompts, strict=True):
        np.testing.assert_array_equal(on_grid(prompt.shapes[0].volume, images.volume), theirs[number])


@pytest.mark.parametrize("name", ["sparse-labelmap-noppv", "sparse-labelmap-ppv5"])
def test_labelmaps_are_the_voxels_of_their_pixels(real_cases, name):
    folder = real_cases / "ref_objects" / "dcmqi"
    images = load_series(folder / "24x38x3" / "image")
    dataset = pydicom.dcmread(folder / f"{name}.dcm")
    (prompt,) = read_prompts(dataset, [images], rules=EVERY_LIVER).prompts
    assert (prompt.tracking_uid, prompt.tracking_id, prompt.organ) == ("1.2.3", "Liver", "liver")
    mine = on_grid(prompt.shapes[0].volume, images.volume)
    positions = [
        f.PlanePositionSequence[0].ImagePositionPatient for f in dataset.PerFrameFunctionalGroupsSequence
    ]
    slices = np.round(images.volume.ijk(np.array(positions, dtype=float))[:, 0]).astype(int)
    for k, pixels in zip(slices, dataset.pixel_array, strict=True):
        np.testing.assert_array_equal(mine[k], pixels == 1)
    # Of the segment's 315 pixels on each of two slices, the slice in between that has no frame is filled.
    drawn = np.isin(np.arange(len(mine)), slices)
    assert np.count_nonzero(mine[drawn]) == 630


@pytest.mark.parametrize(
    "name",
    ["liver_rle", "liver_j2k", "liver_deflate", "liver_expb", "liver_nonbyte_aligned",
     "liver_nonbyte_aligned_rle", "liver_nonbyte_aligned_deflate", "liver_nonbyte_aligned_j2k"],
)  # fmt: skip
def test_every_encoding_of_one_segmentation_gives_the_same_voxels(real_cases, name):
    images = load_series(real_cases / "ref_objects" / "dcmqi" / "ct-3slice")
    folder = real_cases / "ref_objects" / "pydicom_data_seg"
    plain, other = (
        read_prompts(folder / f"{file}.dcm", [images], rules=EVERY_LIVER).prompts[0].shapes[0].volume
        for file in ("liver", name)
    )
    # The non-byte-aligned ones are cropped at the right and the bottom, where there is no liver.
    np.testing.assert_array_equal(on_grid(plain, images.volume), on_grid(other, images.volume))


def test_a_liver_is_not_a_lesion_unless_the_site_says_so(real_cases):
    images = load_series(real_cases / "ref_objects" / "dcmqi" / "ct-3slice")
    reading = read_prompts(real_cases / "ref_objects" / "dcmqi" / "liver.dcm", [images])
    (problem,) = reading.problems
    assert (problem.kind, problem.reason) == (ProblemKind.NOT_A_LESION, "it is coded as Tissue: Liver")


def test_tumours_and_nodes_keep_their_site_and_their_author(real_cases):
    images = load_series(real_cases / "qin_headneck" / "0024" / "pet")
    path = real_cases / "qin_headneck" / "0024" / "seg" / "tumor_User1_Manual_Trial1.dcm"
    primary, secondary = read_prompts(path, [images]).prompts
    assert (primary.organ, primary.is_nodal, primary.created_by) == ("oral cavity", False, "User1")
    assert (secondary.organ, secondary.is_nodal) == ("lymph node", True)
    assert str(primary.created_at) == "2015-07-13 13:13:09"


# ---------------------------------------------------------------- phantoms


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def segmentation(
    frames: list[tuple[int, tuple[float, float, float], np.ndarray]],
    *,
    kind: str = "BINARY",
    maximum: int = 255,
    spacing: tuple[float, float] = (0.8, 0.5),
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    frame_of_reference_uid: str = "1.2.3.4",
) -> Dataset:
    """A SEG of (segment, ImagePositionPatient, pixels) frames without references to images."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3.99"
    dataset.Modality, dataset.SegmentationType = "SEG", kind
    dataset.FrameOfReferenceUID = frame_of_reference_uid
    dataset.NumberOfFrames = len(frames)
    dataset.Rows, dataset.Columns = frames[0][2].shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 1 if kind == "BINARY" else 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    if kind == "FRACTIONAL":
        dataset.SegmentationFractionalType, dataset.MaximumFractionalValue = "PROBABILITY", maximum
    dataset.SegmentSequence = []
    for number in sorted({segment for segment, _, _ in frames}):
        segment = Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, f"Lesion {number}"
        segment.SegmentedPropertyCategoryCodeSequence = [
            code("49755003", "SCT", "Morphologically Abnormal Structure")
        ]
        segment.SegmentedPropertyTypeCodeSequence = [code("52988006", "SCT", "Lesion")]
        dataset.SegmentSequence.append(segment)
    measures, plane, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(spacing), 3.0
    plane.ImageOrientationPatient = list(orientation)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for number, position, _ in frames:
        frame, at, segment = Dataset(), Dataset(), Dataset()
        at.ImagePositionPatient, segment.ReferencedSegmentNumber = list(position), number
        frame.PlanePositionSequence, frame.SegmentIdentificationSequence = [at], [segment]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    pixels = np.stack([pixels for _, _, pixels in frames]).astype(np.uint8)
    dataset.PixelData = (
        np.packbits(pixels, axis=None, bitorder="little").tobytes() if bits == 1 else pixels.tobytes()
    )
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    return dataset


def block(rows: slice, columns: slice, shape=(64, 64), value: int = 1) -> np.ndarray:
    pixels = np.zeros(shape, dtype=np.uint8)
    pixels[rows, columns] = value
    return pixels


def test_overlapping_segments_keep_their_shared_voxels():
    images = phantom_images()
    at = (-100.0, 40.0, -294.0)
    dataset = segmentation(
        [(1, at, block(slice(5, 15), slice(5, 15))), (2, at, block(slice(10, 20), slice(10, 20)))]
    )
    one, two = read_prompts(dataset, [images]).prompts
    both = on_grid(one.shapes[0].volume, images.volume) & on_grid(two.shapes[0].volume, images.volume)
    assert np.count_nonzero(both) == 25
    assert np.flatnonzero(both.any(axis=(1, 2))).tolist() == [2]


@pytest.mark.parametrize(
    ("fraction", "maximum", "voxels"),
    [(0.5, 255, 1), (0.5, 200, 2), (0.25, 200, 3), (0.5, 100, 3)],
)
def test_fractions_count_from_the_threshold_on(fraction, maximum, voxels):
    pixels = np.zeros((64, 64), dtype=np.uint8)
    pixels[10, 10:14] = [200, 100, 50, 0]  # of maximum 200: 1, exactly 0.5, exactly 0.25, 0
    dataset = segmentation([(1, (-100.0, 40.0, -300.0), pixels)], kind="FRACTIONAL", maximum=maximum)
    (prompt,) = read_prompts(dataset, [phantom_images()], rules=LesionRules(fraction=fraction)).prompts
    assert np.count_nonzero(prompt.shapes[0].volume.array) == voxels


def box_mm(volume) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the box around a mask's voxels, their faces included, LPS mm."""
    index = np.argwhere(volume.array)
    corners = volume.lps(np.array([index.min(axis=0) - 0.5, index.max(axis=0) + 0.5]))
    return corners.min(axis=0), corners.max(axis=0)


@pytest.mark.parametrize(
    ("spacing", "thickness", "heights"),
    [
        ((2.0, 2.0), 4.0, (-291.0, -287.0, -283.0)),
        ((0.4, 0.25), 1.0, tuple(np.arange(-292.5, -281, 1.0))),
    ],
    ids=["coarser", "finer"],
)
def test_a_segmentation_on_another_grid_fills_the_same_place_on_the_images(spacing, thickness, heights):
    images = phantom_images()
    rows, columns = (
        slice(round(a / s), round(b / s)) for (a, b), s in zip(((4, 16), (6, 18)), spacing, strict=True)
    )
    pixels = block(rows, columns, shape=(96, 96))
    # The outer edges of the first pixel are at x -97 and y 42.
    frames = [(1, (-97 + spacing[1] / 2, 42 + spacing[0] / 2, z), pixels) for z in heights]
    dataset = segmentation(frames, spacing=spacing)
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness = thickness
    (prompt,) = read_prompts(dataset, [images]).prompts
    volume = prompt.shapes[0].volume
    assert volume.spacing_mm == pytest.approx(images.volume.spacing_mm)
    lowest, highest = box_mm(volume)
    np.testing.assert_allclose(lowest, (-91, 46, -293), atol=1.6)
    np.testing.assert_allclose(highest, (-79, 58, -281), atol=1.6)
    assert np.count_nonzero(volume.array) * volume.voxel_volume_mm3 == pytest.approx(12.0**3, rel=0.1)


def test_rows_and_columns_that_run_backwards_are_the_same_voxels():
    images = phantom_images()
    frames = [(1, (-100.0, 40.0, z), block(slice(5, 15), slice(20, 24))) for z in (-297.0, -294.0)]
    turned = [
        (1, (-100 + 63 * 0.5, 40 + 63 * 0.8, z), pixels[::-1, ::-1]) for _, (_, _, z), pixels in frames[::-1]
    ]
    forwards, backwards = (
        on_grid(read_prompts(dataset, [images]).prompts[0].shapes[0].volume, images.volume)
        for dataset in (segmentation(frames), segmentation(turned, orientation=(-1, 0, 0, 0, -1, 0)))
    )
    np.testing.assert_array_equal(backwards, forwards)


def test_frames_that_name_no_segment_show_the_only_one_there_is():
    dataset = segmentation([(1, (-100.0, 40.0, -294.0), block(slice(5, 9), slice(5, 9)))])
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.SegmentIdentificationSequence
    assert np.count_nonzero(read_prompts(dataset, [phantom_images()]).prompts[0].shapes[0].volume.array) == 16


def test_frames_that_name_no_segment_of_several_are_not_guessed():
    at = (-100.0, 40.0, -294.0)
    dataset = segmentation(
        [(1, at, block(slice(5, 9), slice(5, 9))), (2, at, block(slice(5, 9), slice(5, 9)))]
    )
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.SegmentIdentificationSequence
    reading = read_prompts(dataset, [phantom_images()])
    assert reading.prompts == ()
    assert "which segment" in reading.problems[0].reason


def test_an_empty_slice_within_a_segment_is_filled_and_a_person_asked():
    pixels = block(slice(5, 15), slice(20, 40))
    frames = [(1, (-100.0, 40.0, z), pixels) for z in (-297.0, -291.0, -288.0)]
    reading = read_prompts(segmentation(frames), [phantom_images()])
    assert np.count_nonzero(reading.prompts[0].shapes[0].volume.array) == 4 * 200
    assert any("1 empty slices" in doubt and "1.2.3.99" in doubt for doubt in reading.doubts)


def test_frames_beyond_the_images_are_left_out_and_said():
    pixels = block(slice(5, 15), slice(20, 40))
    frames = [(1, (-100.0, 40.0, z), pixels) for z in (-306.0, -303.0, -300.0, -297.0, -294.0, -291.0)]
    reading = read_prompts(segmentation(frames), [phantom_images()])
    assert np.count_nonzero(reading.prompts[0].shapes[0].volume.array) == 4 * 200
    assert any("2 of its 6 frames lie beyond" in doubt for doubt in reading.doubts)


def test_a_label_that_names_a_vessel_is_a_doubt_though_the_codes_say_lesion():
    dataset = segmentation([(1, (-100.0, 40.0, -294.0), block(slice(5, 9), slice(5, 9)))])
    dataset.SegmentSequence[0].SegmentLabel = "Aorta"
    reading = read_prompts(dataset, [phantom_images()])
    assert len(reading.prompts) == 1
    assert any("names aorta" in doubt for doubt in reading.doubts)


def test_frames_whose_positions_scatter_a_little_belong_to_their_slices():
    images, pixels = phantom_images(), block(slice(5, 9), slice(5, 9))
    frames = [(1, (-100.0, 40.0, z), pixels) for z in (-297.1, -294.0, -290.9)]
    (prompt,) = read_prompts(segmentation(frames), [images]).prompts
    mine = prompt.shapes[0].volume
    assert np.round(images.volume.ijk(mine.lps(np.zeros(3))), 6).tolist() == [1, 5, 5]
    assert mine.array.shape == (3, 4, 4)


def test_a_sagittal_segmentation_lies_where_its_frames_say():
    pixels = block(slice(10, 12), slice(20, 24), shape=(40, 40))
    frames = [(1, (x, 45.0, -275.0), pixels) for x in (-80.0, -79.0)]
    dataset = segmentation(frames, spacing=(1.0, 1.0), orientation=(0, 1, 0, 0, 0, -1))
    (prompt,) = read_prompts(dataset, [phantom_images()]).prompts
    volume = prompt.shapes[0].volume
    corners = volume.lps(np.argwhere(volume.array))
    # x from -80.5 to -78.5, y from 64.5 to 68.5, z from -286.5 to -284.5, on voxels of 0.5 x 0.8 x 3 mm.
    np.testing.assert_allclose(corners.min(axis=0), (-80, 64.8, -285))
    np.testing.assert_allclose(corners.max(axis=0), (-78.5, 68, -285))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"FrameOfReferenceUID": "9.9"}, ProblemKind.NOT_PLACED, "frame of reference 9.9"),
        ({"PixelData": b"\1"}, ProblemKind.MALFORMED, "too few for 1 frames"),
        ({"NumberOfFrames": 7}, ProblemKind.MALFORMED, "NumberOfFrames 7"),
        ({"NumberOfFrames": -1}, ProblemKind.MALFORMED, "NumberOfFrames -1"),
        ({"Rows": 0}, ProblemKind.MALFORMED, "0 rows"),
        ({"PerFrameFunctionalGroupsSequence": []}, ProblemKind.MALFORMED, "PerFrameFunctionalGroupsSequence"),
        ({"ImageOrientationSlide": [1, 0, 0, 0, 1, 0]}, ProblemKind.UNSUPPORTED, "microscopy slide"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.5"}, ProblemKind.UNREAD, "surface"),
    ],
)
def test_what_is_wrong_with_a_segmentation_is_said(change, kind, words):
    dataset = segmentation([(1, (-100.0, 40.0, -294.0), block(slice(5, 9), slice(5, 9)))])
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    reading = read_prompts(dataset, [phantom_images()])
    assert reading.prompts == ()
    assert [problem.kind for problem in reading.problems] == [kind]
    assert words in reading.problems[0].reason


def test_an_empty_segment_is_a_problem_and_the_others_still_count():
    at = (-100.0, 40.0, -294.0)
    dataset = segmentation([(1, at, np.zeros((64, 64))), (2, at, block(slice(5, 9), slice(5, 9)))])
    reading = read_prompts(dataset, [phantom_images()])
    assert [prompt.item for prompt in reading.prompts] == ["segment 2"]
    assert [(p.item, p.reason) for p in reading.problems] == [("segment 1", "it has no voxel set")]


def test_unevenly_spaced_frames_are_cut_at_the_slices():
    pixels = block(slice(5, 9), slice(5, 9))
    frames = [(1, (-100.0, 40.0, z), pixels) for z in (-299.0, -295.5, -293.1)]
    (prompt,) = read_prompts(segmentation(frames), [phantom_images()]).prompts
    mask = prompt.shapes[0].volume
    heights = [float(mask.lps(np.array([k, 0, 0]))[2]) for k in range(len(mask.array))]
    assert heights == pytest.approx([-300.0, -297.0, -294.0])
    assert np.count_nonzero(mask.array) == 3 * 16


def test_unevenly_spaced_frames_across_the_slices_make_no_grid():
    pixels = block(slice(10, 12), slice(20, 24), shape=(40, 40))
    frames = [(1, (x, 45.0, -275.0), pixels) for x in (-80.0, -79.0, -77.4)]
    dataset = segmentation(frames, spacing=(1.0, 1.0), orientation=(0, 1, 0, 0, 0, -1))
    (problem,) = read_prompts(dataset, [phantom_images()]).problems
    assert "not evenly spaced" in problem.reason


def test_a_segment_of_thousands_of_specks_keeps_every_voxel():
    specks = np.zeros((10, 64, 64), dtype=np.uint8)
    specks[:, ::2, ::2] = 1  # 1024 a frame, none touching another
    images = phantom_images()
    frames = [(1, (-100.0, 40.0, -300.0 + 3 * k), plane) for k, plane in enumerate(specks)]
    (prompt,) = read_prompts(segmentation(frames), [images]).prompts
    np.testing.assert_array_equal(on_grid(prompt.shapes[0].volume, images.volume), specks)
