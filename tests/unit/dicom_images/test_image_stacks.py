"""Several phases, orientations or copies in one series: told apart, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from dicom_io.series import describe_study, scan_files
from dicom_io.volumes import read_volume
from workflow.domain.errors import UnsuitableInputError

from .support import AXIAL, ENHANCED_CT, ENHANCED_PET, image, random_array, save, uid, write_slices


def phases(folder: Path, marks: list[dict[str, object]], slices: int = 4) -> list[Path]:
    """One pass over the same places per mark; voxel values say which pass."""
    paths: list[Path] = []
    for number, mark in enumerate(marks):
        stored = np.full((slices, 3, 3), 100 * number, dtype="<i2")
        per_slice = [{"InstanceNumber": number * slices + k + 1} for k in range(slices)]
        paths += write_slices(folder / f"pass{number}", stored, per_slice=per_slice, **mark)
    return paths


@pytest.mark.parametrize(
    ("marks", "label"),
    [
        ([{"TemporalPositionIdentifier": t} for t in (1, 2, 3)], "temporal position 2"),
        ([{"AcquisitionNumber": a} for a in (4, 5, 6)], "acquisition 5"),
        ([{"EchoTime": t, "Modality": "MR"} for t in (2.3, 4.6, 6.9)], "echo 4.6"),
        ([{"TriggerTime": t} for t in (0, 350, 700)], "cardiac phase 350"),
        ([{"ConvolutionKernel": k} for k in ("B30f", "B50f", "B70f")], "kernel B50f"),
        ([{"ContentTime": t} for t in ("101000", "101100", "101200")], "content time 101100"),
        ([{}, {}, {}], "pass 2 by instance number"),
    ],
)
def test_phases_in_one_series_become_a_stack_each(tmp_path, marks, label):
    paths = phases(tmp_path, marks)
    stacks = describe_study(paths)
    assert [stack.stack for stack in stacks] == [0, 1, 2]
    assert label in stacks[1].stack_label
    for number, stack in enumerate(stacks):
        volume = read_volume(paths, stack).volume
        assert volume.shape == (4, 3, 3)
        assert set(np.unique(volume.array)) == {100 * number}


@pytest.mark.parametrize(
    ("marks", "label"),
    [
        ([{"DiffusionBValue": b, "Modality": "MR"} for b in (0.0, 50.0, 800.0)], "b-value 50.0"),
        ([{"InversionTime": t, "Modality": "MR"} for t in (150, 300, 450)], "inversion time 300"),
        ([{"FlipAngle": a, "Modality": "MR"} for a in (2, 10, 20)], "flip angle 10"),
        ([{"KVP": v} for v in (80, 100, 140)], "kVp 100"),
        ([{"ContrastBolusAgent": a} for a in (None, "Iomeron", "Ultravist")], "contrast agent Iomeron"),
        (
            [{"ImageType": ["ORIGINAL", "PRIMARY", c], "Modality": "MR"} for c in ("I", "M", "R")],
            "image type ORIGINAL\\PRIMARY\\M",
        ),
        (
            [{"ComplexImageComponent": c, "Modality": "MR"} for c in ("IMAGINARY", "MAGNITUDE", "REAL")],
            "complex component MAGNITUDE",
        ),
        ([{"SeriesDescription": d} for d in ("a native", "b venous", "c late")], "description b venous"),
    ],
)
def test_whatever_header_tells_images_at_one_place_apart_makes_stacks(tmp_path, marks, label):
    paths = phases(tmp_path, marks)
    stacks = describe_study(paths)
    assert len(stacks) == 3
    (found,) = [stack for stack in stacks if label in stack.stack_label]
    assert set(np.unique(read_volume(paths, found).volume.array)) <= {0, 100, 200}
    assert all(stack.shape == (4, 3, 3) for stack in stacks)


def test_b_values_in_a_makers_private_attribute_make_stacks(tmp_path):
    paths = phases(tmp_path, [{"Modality": "MR"}] * 2)
    for path in paths:
        dataset = dcmread(path)
        dataset.InstanceNumber = 1  # no help from numbers
        b_value = "50" if "pass0" in str(path) else "800"
        dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", b_value)
        save(dataset, path)
    assert [stack.stack_label for stack in describe_study(paths)] == ["b-value 50", "b-value 800"]


def test_two_frames_of_reference_in_one_series_are_two_stacks(tmp_path):
    lower = write_slices(tmp_path / "a", random_array((4, 3, 3)), FrameOfReferenceUID=uid("frame 1"))
    positions = [(0, 0, 8.0 + 2 * k) for k in range(3)]
    upper = write_slices(
        tmp_path / "b", random_array((3, 3, 3)), positions, FrameOfReferenceUID=uid("frame 2")
    )
    stacks = describe_study(lower + upper)
    assert [stack.frame_of_reference_uid for stack in stacks] == [uid("frame 1"), uid("frame 2")]
    assert [stack.shape[0] for stack in stacks if stack.shape] == [4, 3]
    assert [stack.stack_label for stack in stacks] == [f"frame of reference {n} of 2" for n in (1, 2)]


def test_images_that_name_no_frame_of_reference_belong_to_the_only_one_of_their_series(tmp_path):
    per_slice = [{"FrameOfReferenceUID": uid("frame") if k % 2 else None} for k in range(6)]
    (series,) = describe_study(write_slices(tmp_path, random_array((6, 3, 3)), per_slice=per_slice))
    assert series.shape == (6, 3, 3)
    assert series.frame_of_reference_uid == uid("frame")


def interleaved(folder: Path, **mark: object) -> list[Path]:
    """Two passes that take turns: 1, 2 at the first place, 3, 4 at the next; each slice has its own time."""
    paths: list[Path] = []
    for number, minute in enumerate((5, 12)):
        per_slice = [
            {
                "InstanceNumber": 2 * k + number + 1,
                "AcquisitionDate": "20240102",
                "AcquisitionTime": f"09{minute:02d}{k:02d}",
                **mark,
                **({"ContentTime": f"09{minute:02d}{k:02d}"} if "ContentTime" in mark else {}),
            }
            for k in range(4)
        ]
        stored = np.full((4, 3, 3), 100 * number, dtype="<i2")
        paths += write_slices(folder / f"pass{number}", stored, per_slice=per_slice)
    return paths


@pytest.mark.parametrize(
    ("mark", "labels"),
    [
        ({}, ("acquisition time from 09:05:00", "acquisition time from 09:12:00")),
        (
            {"AcquisitionDate": None, "ContentTime": ""},
            ("content time from 090500", "content time from 091200"),
        ),
    ],
)
def test_passes_that_only_their_times_tell_apart_are_a_stack_each(tmp_path, mark, labels):
    paths = interleaved(tmp_path, **mark)
    native, venous = describe_study(paths)
    assert (native.stack_label, venous.stack_label) == labels
    assert set(np.unique(read_volume(paths, native).volume.array)) == {0}
    assert set(np.unique(read_volume(paths, venous).volume.array)) == {100}
    assert native.doubts == venous.doubts == ()


def test_passes_that_only_take_turns_by_number_are_a_stack_each_and_in_doubt(tmp_path):
    paths = interleaved(tmp_path, AcquisitionDate=None, AcquisitionTime=None)
    stacks = describe_study(paths)
    assert [stack.stack_label for stack in stacks] == [
        "pass 1 by instance number",
        "pass 2 by instance number",
    ]
    assert set(np.unique(read_volume(paths, stacks[1]).volume.array)) == {100}
    assert all("only the order of instance numbers" in stack.doubts[0] for stack in stacks)


def test_passes_whose_times_take_turns_are_not_told_apart_by_time(tmp_path):
    paths = interleaved(tmp_path)
    for path in paths:
        dataset = dcmread(path)
        dataset.AcquisitionTime = f"0905{dataset.InstanceNumber:02d}"
        save(dataset, path)
    stacks = describe_study(paths)
    assert [stack.stack_label for stack in stacks] == [
        "pass 1 by instance number",
        "pass 2 by instance number",
    ]
    assert all(stack.doubts for stack in stacks)


def test_numbers_without_order_tell_nothing_apart(tmp_path):
    paths = interleaved(tmp_path, AcquisitionDate=None, AcquisitionTime=None)
    for path, number in zip(paths, (1, 3, 5, 8, 2, 4, 7, 6), strict=True):
        dataset = dcmread(path)
        dataset.InstanceNumber = number
        save(dataset, path)
    (series,) = describe_study(paths)
    assert series.refusal is not None
    assert "lie at one place and differ" in series.refusal
    with pytest.raises(UnsuitableInputError, match="lie at one place and differ"):
        read_volume(paths, series)


def test_b_values_within_phases_are_split_twice(tmp_path):
    marks = [
        {"Modality": "MR", "TemporalPositionIdentifier": t, "EchoTime": e} for t in (1, 2) for e in (2.0, 4.0)
    ]
    stacks = describe_study(phases(tmp_path, marks))
    assert [stack.stack_label for stack in stacks] == [
        "temporal position 1, echo 2.0",
        "temporal position 1, echo 4.0",
        "temporal position 2, echo 2.0",
        "temporal position 2, echo 4.0",
    ]


def test_two_acquisitions_that_overlap_by_a_slice_are_two_stacks(tmp_path):
    lower = write_slices(tmp_path / "a", random_array((4, 3, 3)), AcquisitionNumber=1)
    upper = write_slices(
        tmp_path / "b",
        random_array((4, 3, 3), 1),
        [(0, 0, 6.0 + 2 * k) for k in range(4)],
        AcquisitionNumber=2,
    )
    assert [(s.stack_label, s.shape[0]) for s in describe_study(lower + upper)] == [
        ("acquisition 1", 4),
        ("acquisition 2", 4),
    ]


def test_three_acquisitions_that_overlap_in_pairs_are_three_stacks(tmp_path):
    paths = []
    for number in range(3):
        positions = [(0, 0, 6.0 * number + 2 * k) for k in range(4)]
        stored = random_array((4, 3, 3), number)
        paths += write_slices(tmp_path / str(number), stored, positions, AcquisitionNumber=number)
    assert [s.stack_label for s in describe_study(paths)] == [f"acquisition {n}" for n in range(3)]


def test_times_that_differ_in_every_slice_do_not_split_a_stack(tmp_path):
    per_slice = [{"AcquisitionTime": f"1011{k:02d}", "AcquisitionNumber": k} for k in range(6)]
    (series,) = describe_study(write_slices(tmp_path, random_array((6, 3, 3)), per_slice=per_slice))
    assert series.shape == (6, 3, 3)


def test_a_stray_localizer_among_axial_slices_is_a_stack_of_its_own_and_refused(tmp_path):
    paths = write_slices(tmp_path / "axial", random_array((5, 3, 3)))
    paths += write_slices(
        tmp_path / "scout",
        random_array((1, 3, 3)),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        InstanceNumber=99,
    )
    axial, scout = describe_study(paths)
    assert axial.refusal is None
    assert axial.shape == (5, 3, 3)
    assert scout.refusal is not None
    assert "localizer" in scout.refusal


def test_three_orientations_in_one_series_are_three_stacks(tmp_path):
    paths = []
    for name, orientation in {"a": AXIAL, "c": (1, 0, 0, 0, 0, -1), "s": (0, 1, 0, 0, 0, -1)}.items():
        normal = np.cross(orientation[:3], orientation[3:])
        positions = [3.0 * k * normal for k in range(3)]
        paths += write_slices(
            tmp_path / name, random_array((3, 3, 3)), positions, ImageOrientationPatient=list(orientation)
        )
    assert sorted(s.stack_label for s in describe_study(paths)) == ["axial", "coronal", "sagittal"]


def test_planes_that_rotate_about_an_axis_are_refused(tmp_path):
    paths = []
    for k in range(30):
        turn = np.radians(6.0 * k)
        along = [round(float(x), 9) for x in (np.cos(turn), np.sin(turn), 0.0)]
        plane = random_array((1, 3, 3), k)
        paths += write_slices(tmp_path / str(k), plane, ImageOrientationPatient=[*along, 0.0, 0.0, -1.0])
    (series,) = describe_study(paths)
    assert series.refusal is not None
    assert "not parallel" in series.refusal


# ---------------------------------------------------------------- duplicates


def test_copies_of_files_are_dropped_and_said(tmp_path):
    paths = write_slices(tmp_path, random_array((3, 3, 3)))
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(paths[1].read_bytes())
    read = read_volume([*paths, copy])
    assert read.volume.shape == (3, 3, 3)
    assert "1 identical duplicate images dropped (copy.dcm)" in read.notes


def test_equal_images_under_other_uids_are_dropped_too(tmp_path):
    stored = random_array((3, 3, 3))
    paths = write_slices(tmp_path, stored)
    again = dcmread(paths[2])
    again.SOPInstanceUID = uid("again")
    paths.append(save(again, tmp_path / "again.dcm"))
    np.testing.assert_array_equal(read_volume(paths).volume.array, stored)


def test_different_images_at_one_place_are_refused_by_name(tmp_path):
    paths = write_slices(tmp_path, random_array((3, 3, 3)))
    other = image(
        SOPInstanceUID=uid("other"),
        ImagePositionPatient=[0, 0, 2.0],
        Rows=3,
        Columns=3,
        PixelData=b"\1\0" * 9,
        InstanceNumber=2,
    )
    paths.append(save(other, tmp_path / "other.dcm"))
    with pytest.raises(UnsuitableInputError, match=r"001\.dcm and other\.dcm lie at one place and differ"):
        read_volume(paths)


def test_equal_pixels_with_another_rescaling_are_a_conflict(tmp_path):
    paths = write_slices(tmp_path, random_array((3, 3, 3)))
    other = dcmread(paths[0])
    other.RescaleIntercept = -1
    other.SOPInstanceUID = uid("rescaled")
    paths.append(save(other, tmp_path / "rescaled.dcm"))
    with pytest.raises(UnsuitableInputError, match="lie at one place and differ"):
        read_volume(paths)


# ---------------------------------------------------------------- a study


def test_a_study_is_described_the_same_whatever_the_order_of_its_files(tmp_path):
    paths = phases(tmp_path / "p", [{"TemporalPositionIdentifier": t} for t in (1, 2)])
    paths += write_slices(
        tmp_path / "s", random_array((3, 3, 3)), SeriesInstanceUID=uid("two"), SeriesNumber=1
    )
    assert describe_study(paths) == describe_study(reversed(paths))
    assert [series.series_number for series in describe_study(paths)] == [1, 3, 3]


def test_reports_and_files_that_are_no_images_are_listed_with_the_reason(tmp_path):
    report = image(Modality="SR", Rows=None, Columns=None, PixelData=None, SeriesInstanceUID=uid("report"))
    paths = [*write_slices(tmp_path, random_array((3, 3, 3))), save(report, tmp_path / "report.dcm")]
    (tmp_path / "notes.txt").write_text("hello")
    scan = scan_files([*paths, tmp_path / "notes.txt"])
    refusals = {one.description.modality: one.description.refusal for one in scan.series}
    assert refusals == {"CT": None, "SR": "SR objects hold no images to measure on"}
    assert [(one.path.name, one.is_dicom) for one in scan.skipped] == [("notes.txt", False)]


def test_files_that_lack_an_instance_of_the_described_series_are_refused(tmp_path):
    paths = write_slices(tmp_path, random_array((4, 3, 3)))
    (series,) = describe_study(paths)
    with pytest.raises(UnsuitableInputError, match="don't hold the 4 instances of series"):
        read_volume(paths[:3], series)


# ---------------------------------------------------------------- enhanced multi-frame


PER_FRAME = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
)


def enhanced(stored: np.ndarray, order: list[int], phases: int = 1, **attributes: object) -> Dataset:
    """An enhanced CT whose frames lie in any order, each with its own rescaling in one phase or more."""

    def group(**values: object) -> Dataset:
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        return item

    shared = group(
        PixelMeasuresSequence=[group(PixelSpacing=[0.75, 0.5], SliceThickness=2.0)],
        PlaneOrientationSequence=[group(ImageOrientationPatient=list(AXIAL))],
        CTImageFrameTypeSequence=[group(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])],
        CTReconstructionSequence=[group(ConvolutionKernel="B30f")],
    )
    per_slice = len(stored) // phases
    frames = [
        group(
            PlanePositionSequence=[group(ImagePositionPatient=[0.0, 0.0, 2.0 * (k % per_slice)])],
            FrameContentSequence=[group(TemporalPositionIndex=k // per_slice + 1, StackID="1")],
            PixelValueTransformationSequence=[
                group(RescaleSlope=1, RescaleIntercept=-1024 - k, RescaleType="HU")
            ],
        )
        for k in order
    ]
    return image(
        SOPClassUID=ENHANCED_PET if attributes.get("Modality") == "PT" else ENHANCED_CT,
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        NumberOfFrames=len(stored),
        Rows=stored.shape[1],
        Columns=stored.shape[2],
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
        PixelData=np.ascontiguousarray(stored[order]).tobytes(),
        **dict.fromkeys(PER_FRAME),
        **attributes,
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_frames_of_an_enhanced_image_are_sorted_by_position_and_rescaled_one_by_one(tmp_path, compressed):
    stored = random_array((5, 40, 36))
    dataset = enhanced(stored, [3, 0, 4, 2, 1])
    path = save(dataset, tmp_path / "enhanced.dcm")
    if compressed:
        dataset.compress("1.2.840.10008.1.2.4.80", generate_instance_uid=False)
        path = save(dataset, tmp_path / "coded.dcm", "1.2.840.10008.1.2.4.80")
    read = read_volume([path])
    expected = stored.astype(int) - 1024 - np.arange(5)[:, None, None]
    np.testing.assert_array_equal(read.volume.array, expected)
    assert [source.frame_number for source in read.slices] == [2, 5, 4, 1, 3]
    assert read.series.kernel == "B30f"
    assert read.series.spacing_mm == (2.0, 0.75, 0.5)


def test_phases_of_an_enhanced_image_become_a_stack_each(tmp_path):
    stored = random_array((6, 3, 3))
    paths = [save(enhanced(stored, [0, 3, 1, 4, 2, 5], phases=2), tmp_path / "enhanced.dcm")]
    first, second = describe_study(paths)
    assert (first.stack_label, second.stack_label) == ("temporal position 1", "temporal position 2")
    read = read_volume(paths, second)
    np.testing.assert_array_equal(
        read.volume.array, stored[3:].astype(int) - 1024 - np.arange(3, 6)[:, None, None]
    )
    assert [source.frame_number for source in read.slices] == [2, 4, 6]


def test_magnitude_and_phase_frames_of_an_enhanced_image_are_two_stacks(tmp_path):
    dataset = enhanced(random_array((6, 3, 3)), list(range(6)), Modality="MR")
    for k, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        kind = Dataset()
        kind.FrameType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
        kind.ComplexImageComponent = "MAGNITUDE" if k < 3 else "PHASE"
        frame.MRImageFrameTypeSequence = [kind]
        frame.PlanePositionSequence[0].ImagePositionPatient = [0.0, 0.0, 2.0 * (k % 3)]
    magnitude, phase = describe_study([save(dataset, tmp_path / "enhanced.dcm")])
    assert (magnitude.stack_label, magnitude.refusal) == ("complex component MAGNITUDE", None)
    assert phase.refusal is not None
    assert "phase" in phase.refusal


@pytest.mark.parametrize(
    ("code", "suv"),
    [
        # 70 kg, and 350 MBq of F-18 of which half is left after a half-life: 2500 Bq/ml are an SUV of 1.
        ("Bq/ml", 1.0),
        ("{SUVbw}g/ml", 2.5),
    ],
)
def test_an_enhanced_pet_becomes_suv_by_its_real_world_values(tmp_path, code, suv):
    units, mapping, tracer = Dataset(), Dataset(), Dataset()
    units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = code, "UCUM", code
    mapping.MeasurementUnitsCodeSequence = [units]
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 5.0 if code == "Bq/ml" else 0.005, 0.0
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = 350e6, 6586.2
    tracer.RadiopharmaceuticalStartDateTime = "20240102100000"
    dataset = enhanced(
        np.full((4, 3, 3), 500, dtype="<i2"),
        [0, 1, 2, 3],
        Modality="PT",
        RadiopharmaceuticalInformationSequence=[tracer],
        PatientWeight=70.0,
        DecayCorrected="YES",
        AttenuationCorrected="YES",
        DecayCorrectionDateTime="20240102114946.2",
    )
    dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [mapping]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.PixelValueTransformationSequence
    array = read_volume([save(dataset, tmp_path / "pet.dcm")]).volume.array
    np.testing.assert_allclose(array, suv, rtol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"NumberOfFrames": 7}, "NumberOfFrames says 7, the functional groups describe 6"),
        ({"PerFrameFunctionalGroupsSequence": None}, "6 frames without a position each"),
        ({"NumberOfFrames": 2000000000}, "functional groups describe 6"),
    ],
)
def test_an_enhanced_image_that_contradicts_itself_is_refused(tmp_path, attributes, reason):
    dataset = enhanced(random_array((6, 3, 3)), list(range(6)))
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    with pytest.raises(UnsuitableInputError, match=reason):
        read_volume([save(dataset, tmp_path / "enhanced.dcm")])
