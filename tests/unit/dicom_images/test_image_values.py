"""Stored numbers become HU, whatever their sign, width, rescaling and transfer syntax."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_io.headers import read_header
from dicom_io.series import describe_study
from dicom_io.volumes import read_volume
from workflow.domain.errors import UnsuitableInputError

from .support import image, random_array, save, write_slices


def read_one(folder: Path, **attributes: object) -> np.ndarray:
    return read_volume([save(image(**attributes), folder / "one.dcm")]).volume.array[0]


# ---------------------------------------------------------------- HU


def test_unsigned_numbers_with_an_intercept_become_int16_hounsfield_units(tmp_path):
    stored = np.array([[0, 24, 1024, 4095, 33791]], dtype="<u2")
    values = read_one(
        tmp_path, Rows=1, PixelData=stored.tobytes(), PixelRepresentation=0, RescaleIntercept=-1024
    )
    assert values.dtype == np.int16
    assert values.tolist() == [[-1024, -1000, 0, 3071, 32767]]


def test_values_beyond_int16_widen_the_volume_instead_of_wrapping(tmp_path):
    stored = np.array([[[0, 1024]], [[33791, 33792]]], dtype="<u2")
    paths = write_slices(tmp_path, stored, RescaleIntercept=-1024)
    array = read_volume(paths).volume.array
    assert array.dtype == np.float32
    assert array.tolist() == [[[-1024, 0]], [[32767, 32768]]]


def test_each_slice_has_its_own_rescaling(tmp_path):
    stored = np.full((3, 2, 2), 100, dtype="<i2")
    scales = [{"RescaleSlope": s, "RescaleIntercept": i} for s, i in ((1, 0), (2, -50), (0.5, 1.25))]
    array = read_volume(write_slices(tmp_path, stored, per_slice=scales)).volume.array
    assert array[:, 0, 0].tolist() == [100.0, 150.0, 51.25]


def test_whole_numbered_slopes_keep_whole_numbers(tmp_path):
    values = read_one(tmp_path, RescaleSlope=-3, RescaleIntercept=7)
    assert values.dtype == np.int16
    assert values.ravel().tolist() == [7 - 3 * i for i in range(20)]


def test_padding_outside_the_scanned_circle_becomes_air(tmp_path):
    stored = np.array([[-2000, 0, 100, -2000, -1000]], dtype="<i2")
    read = read_volume(
        [
            save(
                image(Rows=1, PixelData=stored.tobytes(), RescaleIntercept=-24, PixelPaddingValue=-2000),
                tmp_path / "one.dcm",
            )
        ]
    )
    assert read.volume.array.ravel().tolist() == [-1024, -24, 76, -1024, -1024]
    assert "2 padded pixels (PixelPaddingValue) set to -1024" in read.notes


def test_padding_written_with_the_wrong_sign_is_understood(tmp_path):
    dataset = image(Rows=1, PixelData=np.array([[-2000, 1, 2, 3, 4]], dtype="<i2").tobytes())
    dataset.add_new("PixelPaddingValue", "US", 63536)
    array = read_volume([save(dataset, tmp_path / "one.dcm")]).volume.array
    assert array.ravel().tolist() == [-1024, 1, 2, 3, 4]


def test_a_padding_range_is_padding_from_end_to_end(tmp_path):
    stored = np.array([[-2000, -1999, -1990, -1989, 5]], dtype="<i2")
    values = read_one(
        tmp_path, Rows=1, PixelData=stored.tobytes(), PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990
    )
    assert values.ravel().tolist() == [-1024, -1024, -1024, -1989, 5]


def test_a_padding_value_within_tissue_is_not_believed(tmp_path):
    read = read_volume([save(image(PixelPaddingValue=0), tmp_path / "one.dcm")])
    assert read.volume.array[0, 0, 0] == 0
    assert "PixelPaddingValue is a measurable value here and was not taken as padding" in read.notes


def test_a_padding_below_int16_does_not_widen_the_volume(tmp_path):
    stored = np.array([[-32768, 0, 1, 2, 3]], dtype="<i2")
    values = read_one(
        tmp_path, Rows=1, PixelData=stored.tobytes(), PixelPaddingValue=-32768, RescaleIntercept=-1024
    )
    assert values.dtype == np.int16
    assert values.ravel().tolist() == [-1024, -1024, -1023, -1022, -1021]


def test_monochrome1_changes_the_display_and_not_the_values(tmp_path):
    plain = read_one(tmp_path / "2")
    inverted = read_volume([save(image(PhotometricInterpretation="MONOCHROME1"), tmp_path / "1" / "one.dcm")])
    np.testing.assert_array_equal(inverted.volume.array[0], plain)
    assert any("MONOCHROME1" in note for note in inverted.notes)


def test_overlay_bits_above_the_stored_ones_are_removed(tmp_path):
    stored = np.array([[0x1005, 0xF00A, 0x0FFF, 0, 1]], dtype="<u2")
    values = read_one(
        tmp_path, Rows=1, PixelData=stored.tobytes(), BitsStored=12, HighBit=11, PixelRepresentation=0
    )
    assert values.ravel().tolist() == [5, 10, 4095, 0, 1]


def test_signed_numbers_of_twelve_bits_are_sign_extended(tmp_path):
    stored = np.array([[0x0FFF, 0x0800, 0x07FF, 0, 1]], dtype="<u2")
    values = read_one(tmp_path, Rows=1, PixelData=stored.tobytes(), BitsStored=12, HighBit=11)
    assert values.ravel().tolist() == [-1, -2048, 2047, 0, 1]


@pytest.mark.parametrize(("bits", "kind"), [(8, "u1"), (8, "i1"), (32, "<i4"), (32, "<u4")])
def test_eight_and_thirty_two_bits_are_read(tmp_path, bits, kind):
    stored = np.arange(20, dtype=kind).reshape(4, 5)
    values = read_one(
        tmp_path,
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=int("i" in kind),
        PixelData=stored.tobytes(),
    )
    np.testing.assert_array_equal(values, stored)


# ---------------------------------------------------------------- which CT values are HU


@pytest.mark.parametrize("written", ["HU", "hu", " Hu", "US", "us", "Hounsfield Units", None])
def test_hounsfield_units_are_known_however_they_are_written(tmp_path, written):
    (series,) = describe_study([save(image(RescaleType=written), tmp_path / "one.dcm")])
    assert (series.refusal, series.value_unit, series.doubts) == (None, "HU", ())


@pytest.mark.parametrize(
    "written",
    [
        "Z_EFF",
        "z_eff",
        "MGML",
        "mg/ml",
        "%",
        "PCT",
        "RHO",
        "ED",
        "EDW",
        "OD",
        "HU_MOD",
        "UG/CM3",
        "HU*",
        "SUV",
    ],
)
def test_ct_values_of_any_other_unit_are_refused_by_name(tmp_path, written):
    (series,) = describe_study([save(image(RescaleType=written), tmp_path / "one.dcm")])
    assert series.refusal == f"RescaleType is {written}, not HU: the values are no attenuation"
    assert series.value_unit == ""


@pytest.mark.parametrize(
    ("attributes", "unit", "doubt"),
    [
        ({"RescaleType": "US", "ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, "", "unspecified"),
        ({"RescaleType": "HU", "ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, "HU", None),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "VIRTUAL_MONO"]}, "HU", None),
        ({"MultienergyCTAcquisition": "YES"}, "", "multi-energy CT without RescaleType"),
        ({"MultienergyCTAcquisition": "YES", "RescaleType": "HU"}, "HU", None),
        ({"RescaleSlope": None, "RescaleIntercept": None}, "HU", "no RescaleSlope"),
    ],
)
def test_ct_values_that_may_be_no_hu_are_in_doubt(tmp_path, attributes, unit, doubt):
    (series,) = describe_study([save(image(**attributes), tmp_path / "one.dcm")])
    assert series.refusal is None
    assert series.value_unit == unit
    assert [doubt in one for one in series.doubts] == ([True] if doubt else [])


def test_real_world_values_of_another_unit_are_no_hu_in_a_classic_image_either(tmp_path):
    units, mapping = Dataset(), Dataset()
    units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = "mg/cm3", "UCUM", "mg/cm3"
    mapping.MeasurementUnitsCodeSequence = [units]
    (series,) = describe_study([save(image(RealWorldValueMappingSequence=[mapping]), tmp_path / "one.dcm")])
    assert series.refusal == "values are mg/cm3, not HU (RealWorldValueMappingSequence)"


def body(tissue: int, air: int) -> np.ndarray:
    """A slice of tissue in air, as it would be stored."""
    stored = np.full((3, 20, 20), air, dtype="<i2")
    stored[:, 5:15, 5:15] = tissue
    return stored


@pytest.mark.parametrize(
    ("stored", "unit", "doubt"),
    [
        (body(40, -1000), "HU", None),
        (body(40, -100), "HU", None),  # a field of view without air
        (body(1064, 24), "", "RescaleIntercept looks lost"),
        (body(1040, 0), "", "RescaleIntercept looks lost"),
        (body(-984, -2024), "", "only 0.0 % of the values are those of soft tissue"),
    ],
    ids=["body", "no air", "shifted by 1024", "shifted by 1000", "shifted twice"],
)
def test_ct_values_that_cannot_be_hu_are_read_and_said_to_have_no_unit(tmp_path, stored, unit, doubt):
    read = read_volume(write_slices(tmp_path, stored, RescaleType="HU"))
    np.testing.assert_array_equal(read.volume.array, stored)
    assert read.series.value_unit == unit
    assert [doubt in one for one in read.series.doubts] == ([True] if doubt else [])


# ---------------------------------------------------------------- transfer syntaxes


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.name,
)
@pytest.mark.parametrize("kind", ["i2", "u2"])
def test_every_lossless_transfer_syntax_gives_the_same_voxels(tmp_path, syntax, kind):
    stored = random_array((3, 40, 36), seed=3)
    stored = stored.astype("i2") if kind == "i2" else np.abs(stored).astype("u2")
    paths = []
    for k, plane in enumerate(stored):
        dataset = image(
            ImagePositionPatient=[0.0, 0.0, 2.0 * k],
            Rows=40,
            Columns=36,
            PixelRepresentation=int(kind == "i2"),
            PixelData=plane.astype(f">{kind}" if syntax == ExplicitVRBigEndian else f"<{kind}").tobytes(),
        )
        if syntax.is_encapsulated:
            save(dataset, tmp_path / "plain.dcm")
            dataset.compress(syntax, generate_instance_uid=False)
        paths.append(save(dataset, tmp_path / "coded" / f"{k}.dcm", syntax))
    np.testing.assert_array_equal(read_volume(paths).volume.array, stored)


@pytest.mark.parametrize("columns", [5, 6])
def test_bytes_in_big_endian_words_are_swapped_back(tmp_path, columns):
    stored = np.arange(3 * columns, dtype=np.uint8).reshape(3, columns)
    padded = np.append(stored.ravel(), [0] * (stored.size % 2)).astype(np.uint8)
    dataset = image(
        Rows=3,
        Columns=columns,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=padded.reshape(-1, 2)[:, ::-1].tobytes(),
    )
    array = read_volume([save(dataset, tmp_path / "one.dcm", ExplicitVRBigEndian)]).volume.array
    np.testing.assert_array_equal(array[0], stored)


# ---------------------------------------------------------------- what can't be read


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (
            {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
            r"colour images \(RGB\)",
        ),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour images"),
        ({"RescaleType": "Z_EFF"}, "RescaleType is Z_EFF, not HU"),
        ({"RescaleSlope": 0}, "RescaleSlope is 0"),
        ({"PixelData": b"\0" * 30}, "truncated: 40 bytes of pixels claimed, 30 present"),
        ({"PixelData": None}, "truncated: 40 bytes of pixels claimed, 0 present"),
        ({"BitsAllocated": 12}, "bits per pixel are not supported"),
        ({"BitsStored": 17}, "bits per pixel are not supported"),
        ({"HighBit": 3}, "HighBit 3 is impossible"),
        ({"Rows": 60000, "Columns": 60000}, "more than is read"),
        ({"Modality": "US"}, "US images are not measured on"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer"),
        ({"SeriesDescription": "Topogram 1.0"}, "a localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, r"a projection \(ImageType MIP\)"),
    ],
)
def test_images_without_measurable_values_are_refused_with_the_reason(tmp_path, attributes, reason):
    with pytest.raises(UnsuitableInputError, match=reason):
        read_volume([save(image(**attributes), tmp_path / "one.dcm")])


def test_a_small_compressed_file_that_claims_a_huge_image_is_refused_before_decoding(tmp_path):
    dataset = image(Rows=8000, Columns=8000, PixelData=encapsulate([b"\xff\x4f" + b"\0" * 200]))
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    with pytest.raises(UnsuitableInputError, match="more than any compression reaches"):
        read_volume([save(dataset, tmp_path / "bomb.dcm", JPEG2000Lossless)])


def test_a_codestream_larger_than_its_header_says_is_refused_before_decoding(tmp_path):
    dataset = image(Rows=40, Columns=40, PixelData=np.zeros((40, 40), dtype="<i2").tobytes())
    save(dataset, tmp_path / "plain.dcm")
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    size = dataset.PixelData.index(b"\xff\x51")
    lying = bytearray(dataset.PixelData)
    lying[size + 6 : size + 14] = struct.pack(">II", 60000, 60000)
    dataset.PixelData = bytes(lying)
    with pytest.raises(UnsuitableInputError, match="codestream holds 60000 x 60000 pixels"):
        read_volume([save(dataset, tmp_path / "bomb.dcm", JPEG2000Lossless)])


def test_a_deflated_file_that_inflates_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dicom_io.parsing._MOST_INFLATED_BYTES", 2 << 20)
    path = save(image(), tmp_path / "bomb.dcm", DeflatedExplicitVRLittleEndian)
    whole = path.read_bytes()
    head = whole[: 144 + struct.unpack("<I", whole[140:144])[0]]
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(head + compressor.compress(b"\0" * (4 << 20)) + compressor.flush())
    with pytest.raises(UnsuitableInputError, match="inflate to more than 2 MiB"):
        read_header(path)


def test_a_truncated_codestream_is_refused(tmp_path):
    dataset = image(Rows=40, Columns=40, PixelData=random_array((1, 40, 40)).tobytes())
    save(dataset, tmp_path / "plain.dcm")
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    (codestream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([codestream[:120]])
    with pytest.raises(UnsuitableInputError, match=r"coded.dcm: truncated: a JPEG codestream without end"):
        read_volume([save(dataset, tmp_path / "coded.dcm", JPEGLSLossless)])
