"""Localizers, projections, captures, maps and reformats are told from slices of a patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicom_io.series import describe_study
from workflow.domain.series import SeriesDescription
from workflow.domain.series_choice import choose_series

from .support import image, random_array, save, uid, write_slices

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def described(folder: Path, slices: int = 6, step_mm: float = 2.0, **attributes: Any) -> SeriesDescription:
    paths = write_slices(folder, random_array((slices, 3, 3)), step_mm=step_mm, **attributes)
    return describe_study(paths)[0]


@pytest.mark.parametrize(
    ("modality", "values", "kind"),
    [
        ("CT", ["ORIGINAL", "PRIMARY", "LOCALIZER"], "a localizer"),
        ("CT", ["DERIVED", "SECONDARY", "MIP"], "a projection"),
        ("CT", ["DERIVED", "SECONDARY", "AXIAL", "MIP THICK"], "a projection"),
        ("CT", ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 MIP"], "a projection"),
        ("CT", ["DERIVED", "PRIMARY", "VOLUME", "MIN_IP"], "a projection"),
        ("MR", ["DERIVED", "SECONDARY", "PROJECTION IMAGE", "MIP"], "a projection"),
        ("CT", ["DERIVED", "SECONDARY", "VRT"], "a projection"),
        ("CT", ["DERIVED", "SECONDARY", "OTHER", "CPR"], "a curved reformat"),
        ("CT", ["DERIVED", "SECONDARY", "SCREEN SAVE"], "a screen capture"),
        ("CT", ["DERIVED", "SECONDARY", "DOSE_INFO"], "a screen capture"),
        ("MR", ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], "a mosaic"),
        ("MR", ["ORIGINAL", "PRIMARY", "P", "PCA"], "phase, imaginary or velocity"),
        ("MR", ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"], "phase, imaginary or velocity"),
        ("MR", ["ORIGINAL", "PRIMARY", "VELOCITY MAP", "P", "PCA"], "phase, imaginary or velocity"),
        ("MR", ["ORIGINAL", "PRIMARY", "I", "SE"], "phase, imaginary or velocity"),
        ("CT", ["DERIVED", "PRIMARY", "AXIAL", "Z_EFF"], "a material map"),
        ("CT", ["DERIVED", "PRIMARY", "VOLUME", "EFF_ATOMIC_NUM"], "a material map"),
        ("CT", ["DERIVED", "SECONDARY", "AXIAL", "IODINE"], "a material map"),
        ("CT", ["DERIVED", "SECONDARY", "AXIAL", "FAT"], "a material map"),
        ("CT", ["DERIVED", "PRIMARY", "VOLUME", "MAT_SPECIFIC"], "a material map"),
    ],
)
def test_an_image_type_that_shows_no_lesion_in_its_size_is_refused(tmp_path, modality, values, kind):
    series = described(tmp_path, Modality=modality, ImageType=values)
    assert series.refusal is not None
    assert series.refusal.startswith(kind)
    assert "ImageType" in series.refusal
    assert series.value_unit == ""


@pytest.mark.parametrize(
    ("modality", "values", "kind"),
    [
        ("CT", ["DERIVED", "SECONDARY", "MPR"], "a reformat"),
        ("MR", ["DERIVED", "SECONDARY", "CSA MPR"], "a reformat"),
        ("MR", ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], "a parameter map"),
        ("MR", ["DERIVED", "PRIMARY", "DIFFUSION", "FA"], "a parameter map"),
        ("MR", ["DERIVED", "SECONDARY", "PERFUSION", "TTP"], "a parameter map"),
        ("CT", ["DERIVED", "PRIMARY", "VOLUME", "RCBF"], "a parameter map"),
        ("MR", ["DERIVED", "PRIMARY", "T2 MAP"], "a parameter map"),
        ("MR", ["DERIVED", "SECONDARY", "SUB"], "a subtraction"),
        ("MR", ["ORIGINAL", "PRIMARY", "R", "IR"], "real parts"),
        ("MR", ["ORIGINAL", "PRIMARY", "FAT"], "fat images"),
        ("CT", ["DERIVED", "SECONDARY", "AXIAL"], "derived from other images"),
    ],
)
def test_an_image_type_that_is_computed_is_left_out_while_an_original_is_there(
    tmp_path, modality, values, kind
):
    series = described(tmp_path, Modality=modality, ImageType=values)
    assert series.refusal is None
    assert series.left_out is not None
    assert series.left_out.startswith(kind)


@pytest.mark.parametrize(
    ("modality", "values"),
    [
        ("CT", ["ORIGINAL", "PRIMARY", "AXIAL"]),
        ("CT", ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]),
        ("CT", ["ORIGINAL", "PRIMARY", "AXIAL", "VIRTUAL_MONO"]),
        ("CT", ["ORIGINAL", "PRIMARY", "AXIAL", "IODINE_REMOVED"]),
        ("MR", ["ORIGINAL", "PRIMARY", "M", "SE"]),
        ("MR", ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]),
        ("MR", ["ORIGINAL", "PRIMARY", "OPP_PHASE"]),
        ("MR", ["ORIGINAL", "PRIMARY", "IN_PHASE"]),
        ("MR", ["ORIGINAL", "PRIMARY", "W"]),
        ("MR", ["ORIGINAL", "PRIMARY", "M", "ND", "NORM", "DIS2D"]),
    ],
)
def test_slices_of_a_patient_are_neither_refused_nor_left_out(tmp_path, modality, values):
    series = described(tmp_path, Modality=modality, ImageType=values)
    assert (series.refusal, series.left_out) == (None, None)


@pytest.mark.parametrize(
    ("modality", "words", "kind"),
    [
        ("CT", "Axial MIP 8x2", "a projection"),
        ("CT", "Lung MinIP", "a projection"),
        ("CT", "VRT_Thorax", "a projection"),
        ("CT", "max. intensity 10 mm", "a projection"),
        ("CT", "Cor MPR 3.0", "a reformat"),
        ("CT", "GSI Iodine(Water)", "a material map"),
        ("CT", "Electron Density", "a material map"),
        ("CT", "Spectral Z Effective", "a material map"),
        ("MR", "ep2d_diff_b50_800_ADC", "a parameter map"),
        ("MR", "rCBV", "a parameter map"),
        ("MR", "T2 map", "a parameter map"),
        ("MR", "t1_vibe_SUB", "a subtraction"),
        ("MR", "phase map", "phase"),
    ],
)
def test_a_description_alone_sets_a_series_aside_and_an_image_type_beside_it_refuses(
    tmp_path, modality, words, kind
):
    alone = described(tmp_path / "a", Modality=modality, SeriesDescription=words)
    assert alone.refusal is None
    assert alone.left_out is not None
    assert alone.left_out.startswith(kind)
    derived = described(
        tmp_path / "b",
        Modality=modality,
        SeriesDescription=words,
        ImageType=["DERIVED", "SECONDARY", "OTHER"],
    )
    assert (derived.refusal or derived.left_out or "").startswith(kind)


def test_a_projection_by_its_words_and_its_overlapping_slabs_is_refused(tmp_path):
    series = described(tmp_path, SeriesDescription="MIP 10/2", SliceThickness=10.0)
    assert series.refusal == "a projection (SeriesDescription), not for measuring"


@pytest.mark.parametrize(
    "words",
    [
        "Thorax 1.0 for MIP",
        "Thorax 1.0 MIP source",
        "fuer VRT 0.6",
        "t1_vibe_fa15",
        "T1 FA 20",
        "Abdomen portal phase",
        "arterial phase images",
        "sub-carinal nodes",
        "Thin slices",
        "Recon 2: 1.25mm",
        "",
    ],
)
def test_words_that_only_hold_such_a_name_set_nothing_aside(tmp_path, words):
    series = described(tmp_path, Modality="MR", SeriesDescription=words)
    assert (series.refusal, series.left_out) == (None, None)


def test_the_protocol_counts_only_where_there_is_no_description(tmp_path):
    assert described(tmp_path / "a", SeriesDescription="Axial 2.0", ProtocolName="Chest MIP").left_out is None
    assert described(tmp_path / "b", SeriesDescription=None, ProtocolName="Chest MIP").left_out is not None


# ---------------------------------------------------------------- localizers


@pytest.mark.parametrize(
    "words", ["Scout", "Topogram 0.6", "Surview", "LOCALIZER", "3-plane loc", "Übersicht"]
)
def test_a_description_of_few_planes_is_believed_to_be_a_localizers(tmp_path, words):
    series = described(tmp_path, SeriesDescription=words)
    assert series.refusal == "a localizer (SeriesDescription), not for measuring"


def test_a_skeletal_survey_is_no_localizer_to_be_refused(tmp_path):
    series = described(tmp_path, slices=60, SeriesDescription="CT skeletal survey")
    assert series.refusal is None
    assert series.left_out == "a localizer (SeriesDescription)"


def test_a_ct_of_one_coronal_plane_is_a_localizer_whatever_it_says(tmp_path):
    series = described(tmp_path, slices=1, ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, 0.0, -1.0])
    assert series.refusal == "a localizer (one plane along the body), not for measuring"


def test_a_few_planes_in_three_directions_are_a_localizer_by_geometry(tmp_path):
    paths = []
    for name, orientation in {
        "a": (1, 0, 0, 0, 1, 0),
        "c": (1, 0, 0, 0, 0, -1),
        "s": (0, 1, 0, 0, 0, -1),
    }.items():
        axis = {"a": 2, "c": 1, "s": 0}[name]
        positions = [[10.0 * k if i == axis else 0.0 for i in range(3)] for k in range(3)]
        paths += write_slices(
            tmp_path / name,
            random_array((3, 3, 3)),
            positions,
            Modality="MR",
            ImageOrientationPatient=[float(x) for x in orientation],
        )
    assert all("three directions" in (one.left_out or "") for one in describe_study(paths))


def test_thick_slabs_that_overlap_are_left_out(tmp_path):
    assert "thick slabs that overlap" in (described(tmp_path / "a", SliceThickness=10.0).left_out or "")
    assert described(tmp_path / "b", SliceThickness=5.0).left_out is None  # 5 mm every 2 mm is a usual scan


# ---------------------------------------------------------------- captures, GE, PET


def test_a_secondary_capture_is_refused_whatever_it_says_of_itself(tmp_path):
    series = described(tmp_path, SOPClassUID=SECONDARY_CAPTURE, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    assert series.refusal == "a secondary capture (SOP class), not for measuring"


def test_a_dose_report_in_a_ct_series_is_refused(tmp_path):
    series = described(tmp_path, slices=2, SeriesDescription="Dose Report")
    assert series.refusal is not None
    assert series.refusal.startswith("a screen capture or report")


@pytest.mark.parametrize(("number", "is_refused"), [(0, False), (1, True), (3, True)])
def test_phase_images_of_ge_are_told_by_their_private_number(tmp_path, number, is_refused):
    paths = []
    for k in range(4):
        dataset = image(
            Modality="MR",
            ImageType=["ORIGINAL", "PRIMARY", "OTHER"],
            ImagePositionPatient=[0.0, 0.0, 2.0 * k],
            SOPInstanceUID=uid(k),
        )
        dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", number)
        paths.append(save(dataset, tmp_path / f"{k}.dcm"))
    (series,) = describe_study(paths)
    assert (series.refusal is not None) is is_refused


def test_a_pet_reprojection_is_a_projection(tmp_path):
    series = described(
        tmp_path, Modality="PT", ImageType=["DERIVED", "PRIMARY"], SeriesType=["WHOLE BODY", "REPROJECTION"]
    )
    assert series.refusal is not None
    assert series.refusal.startswith("a projection")


# ---------------------------------------------------------------- the choice


def test_slices_are_chosen_before_a_projection_that_only_its_description_betrays(tmp_path):
    paths = write_slices(tmp_path / "slices", random_array((6, 3, 3)), ConvolutionKernel="B70f")
    paths += write_slices(
        tmp_path / "mip",
        random_array((9, 3, 3)),
        SeriesInstanceUID=uid("mip"),
        SeriesDescription="Axial MIP 8x2",
        ConvolutionKernel="B30f",
    )
    choice = choose_series(describe_study(paths))
    assert choice.chosen is not None
    assert choice.chosen.series_instance_uid == uid("series")
    assert choice.chosen.doubts == ()


def test_a_series_that_calls_itself_a_projection_is_taken_with_a_doubt_where_it_is_all_there_is(tmp_path):
    choice = choose_series([described(tmp_path, SeriesDescription="Axial MIP 8x2")])
    assert choice.chosen is not None
    assert "one is taken that is a projection (SeriesDescription)" in choice.chosen.doubts[0]
