"""Every file under robustness/ and every ordinary series has its row: read as this, or refused as this.

The last test makes sure that no file is without a row. Rows were settled from what SOURCE.txt says of the
files and from their headers; voxels and geometry are compared with SimpleITK in test_image_oracles.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from dicom_io.series import describe_study
from dicom_io.volumes import read_volume
from workflow.domain.errors import UnsuitableInputError

TILT = "gantry tilt of {}°: slices resampled in their plane"
THICKNESS = "its thickness is taken as the slice spacing"


@dataclass(frozen=True)
class Read:
    """A stack that becomes a volume: shape, spacing (mm), orientation, and a part of each note wanted."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    orientation: str = "axial"
    notes: tuple[str, ...] = ()
    left_out: str = ""


@dataclass(frozen=True)
class Refused:
    """A stack (or a single file) that is refused with this reason in its words."""

    reason: str


Outcome = Read | Refused

FOUR_SAGITTAL = Read((4, 256, 256), (1.0, 1.0, 1.0), "sagittal")
MR_SMALL = Read((1, 64, 64), (0.8, 0.3125, 0.3125), "axial", (THICKNESS,))
CT1_UNC = Read((1, 512, 512), (5.0, 0.661468, 0.661468), "axial", (THICKNESS, "55772 padded pixels"))
PERFUSION = Refused("values are ml/100ml/s, not HU")
NO_PART_10 = Refused("not a DICOM file")
NO_UID = Refused("UID is missing")
DICOMDIR = Refused("a DICOMDIR lists images and holds none")
PROJECTION = Refused("a projection (ImageType PROJECTION IMAGE)")
ENCAPSULATED = "dicomparser_ect/encapsulated"
PYDICOM = "pydicom_test_files/test_files"


def not_measured(kind: str) -> Refused:
    return Refused(f"{kind} images are not measured on")


def no_image(kind: str) -> Refused:
    return Refused(f"{kind} objects hold no images to measure on")


# ---------------------------------------------------------------- folders, each one study, stack by stack

FOLDERS: dict[str, tuple[Outcome, ...]] = {
    # Two zones of one tilted head CT: thin at the base of the skull, thick above.
    "robustness/gantry_tilt_ge": (
        Read(
            (14, 548, 512), (4.002, 0.4883, 0.4883), "axial", (TILT.format("18.5"), "every 4.00 mm, part 1")
        ),
        Read(
            (14, 575, 512), (6.999, 0.4883, 0.4883), "axial", (TILT.format("18.5"), "every 7.00 mm, part 2")
        ),
    ),
    "robustness/prostatex0001_localizer": (Refused("a localizer (SeriesDescription)"),) * 3,
    "robustness/dicom_numpy_dupe_positions": (Refused("slices are unevenly spaced, 7.50 to 115.00 mm"),),
    "robustness/dicom2nifti/failing/gantrytilting/001": (
        Read((4, 521, 512), (4.851, 0.41797, 0.41797), "axial", (TILT.format("14.0"),)),
    ),
    "robustness/dicom2nifti/failing/notavolume/001": (Refused("all 4 images lie at one place"),),
    # Too few for most converters, but two slices do have a spacing.
    "robustness/dicom2nifti/failing/slicecount/001": (Read((2, 256, 256), (1.0, 1.0, 1.0), "sagittal"),),
    "robustness/dicom2nifti/failing/sliceincrement/001": (Refused("1 slice is missing (spacing 5.00 mm)"),),
    "robustness/dicom2nifti/failing/sliceincrement/002": (Refused("1 slice is missing (spacing 0.75 mm)"),),
    "robustness/dicom2nifti/failing/sliceorientation/001": (
        Read((2, 288, 288), (3.3, 0.32, 0.32), "sagittal", ("one of 2 stacks in this series: sagittal",)),
        Read((2, 288, 288), (4.4, 0.5556, 0.5556), "axial", ("one of 2 stacks in this series: axial",)),
    ),
    "robustness/dicom2nifti/generic/anatomical/001": (FOUR_SAGITTAL,),
    "robustness/dicom2nifti/generic/anatomical/001_implicit": (FOUR_SAGITTAL,),
    "robustness/dicom2nifti/generic/anatomical/002_non_isotropic": (
        Read((4, 28, 64), (0.5, 4.0, 6.39996), "axial", (), "a reformat (ImageType MPR)"),
    ),
    "robustness/dicom2nifti/generic/compressed/001": (FOUR_SAGITTAL,),
    "robustness/dicom2nifti/generic/compressed_j2k/001": (FOUR_SAGITTAL,),
    "robustness/dicom2nifti/generic/compressed_jpeg/001": (FOUR_SAGITTAL,),
    "robustness/dicom2nifti/generic/compressed_jpegls/001": (FOUR_SAGITTAL,),
    "robustness/dicom2nifti/generic/compressed_rle/001": (FOUR_SAGITTAL,),
    "robustness/dicom2nifti/generic/rgb/001": (Refused("a secondary capture (SOP class)"),),
    "robustness/dicom2nifti/siemens_multiframe/anatomical/001": (
        Read((8, 256, 256), (0.9, 0.9375, 0.9375), "axial"),
    ),
    # One image in three and five encodings, under one SOP Instance UID: copies of each other.
    "robustness/dicomparser_ect": (
        Read(CT1_UNC.shape, CT1_UNC.spacing, "axial", ("2 identical duplicate images dropped",)),
    ),
    f"robustness/{ENCAPSULATED}/single-frame": (
        Read(CT1_UNC.shape, CT1_UNC.spacing, "axial", ("4 identical duplicate images dropped",)),
    ),
    f"robustness/{PYDICOM}/dicomdirtests/98892001/CT2N": (Refused("a localizer (ImageType LOCALIZER)"),) * 2,
    f"robustness/{PYDICOM}/dicomdirtests/98892001/CT5N": (Read((5, 16, 16), (2.5, 0.488281, 0.488281)),),
    f"robustness/{PYDICOM}/dicomdirtests/77654033/CT2": (
        Refused("161 slices are missing (spacing 1.25 mm)"),
    ),
    f"robustness/{PYDICOM}/dicomdirtests/98892003/MR1": (Refused("a localizer (SeriesDescription)"),) * 3,
    f"robustness/{PYDICOM}/dicomdirtests/98892003/MR2": (
        *(
            Read(
                (1, 16, 16),
                (10.0, 1.171875, 1.171875),
                orientation,
                (THICKNESS,),
                "a localizer by its geometry",
            )
            for orientation in ("coronal", "sagittal", "axial") * 2
        ),
        Refused("a localizer (SeriesDescription)"),
    ),
    f"robustness/{PYDICOM}/dicomdirtests/98892003/MR700": (PROJECTION,) * 7,
    f"robustness/{PYDICOM}/dicomdirtests/TINY_ALPHA/PT000000/ST000000/SE000000": (
        Refused("without Rows and Columns"),
    ),
    # ------------------------------------------------ the ordinary series
    "fourd_lung_p4/ct": (Read((99, 512, 512), (3.0, 0.9766, 0.9766)),),
    "fourd_lung_p4/rtstruct": (no_image("RTSTRUCT"),),
    "crlm_ct/CRLM-CT-1004/ct": (
        Read((41, 512, 512), (5.0, 0.796875, 0.796875), "axial", ("2286652 padded pixels",)),
    ),
    "ibsi_ct_phantom/dicom/image": (Read((60, 201, 204), (3.0, 0.977, 0.977)),),
    "ibsi_sts/dicom/STS_002/CT/image": (Read((48, 143, 161), (3.27, 0.976562, 0.976562)),),
    "ibsi_sts/dicom/STS_002/PET/image": (Read((48, 27, 30), (3.27, 5.46875, 5.46875)),),
    "ibsi_sts/dicom/STS_002/MR_T1/image": (
        Read((35, 90, 115), (3.27, 0.976562, 0.976562), "axial", (), "derived from other images"),
    ),
    "ibsi_sts/dicom/STS_008/CT/image": (Read((51, 137, 141), (3.27, 0.976562, 0.976562)),),
    "ibsi_sts/dicom/STS_008/PET/image": (Read((51, 29, 30), (3.27, 4.6875, 4.6875)),),
    "ibsi_sts/dicom/STS_008/MR_T1/image": (
        Read((28, 79, 77), (3.27, 0.976562, 0.976562), "axial", (), "derived from other images"),
    ),
    "ibsi_sts/dicom/STS_025/CT/image": (Read((47, 138, 149), (3.27, 0.976562, 0.976562)),),
    "ibsi_sts/dicom/STS_025/PET/image": (Read((47, 34, 37), (3.27, 3.90625, 3.90625)),),
    "ibsi_sts/dicom/STS_025/MR_T1/image": (
        Read((25, 55, 75), (3.27, 0.976562, 0.976562), "axial", (), "derived from other images"),
    ),
    "cmb_crc_06489_mr_pair/SCAN_001/adc_image": (
        Read((36, 288, 256), (7.0, 1.5625, 1.5625), "axial", ("6 mm thick every 7.00 mm",), "ADC"),
    ),
    "cmb_crc_06489_mr_pair/SCAN_002/adc_image": (
        Read((45, 288, 256), (6.0, 1.5625, 1.5625), "axial", ("5 mm thick every 6.00 mm",), "ADC"),
    ),
    "qin_headneck/0024/pet": (Read((299, 128, 128), (3.375, 3.53782, 3.53782)),),
    "qin_headneck/0024/seg": (not_measured("SEG"),),
    "ref_objects/dcmqi/23x38x3/image": (Read((3, 38, 23), (2.5, 0.7, 0.7)),),
    "ref_objects/dcmqi/23x38x3/multiframe": (Read((3, 38, 23), (2.5, 0.7, 0.7)),),
    "ref_objects/dcmqi/24x38x3/image": (Read((3, 38, 24), (2.5, 0.7, 0.7)),),
    "ref_objects/dcmqi/24x38x3/multiframe": (Read((3, 38, 24), (2.5, 0.7, 0.7)),),
    "ref_objects/dcmqi/ct-3slice": (
        Read((3, 512, 512), (1.0, 0.810547, 0.810547), "axial", ("1.25 mm thick every 1.00 mm",)),
    ),
    # Written by SimpleITK without SliceThickness, each file a series of its own.
    "ref_objects/rt_utils/oriented_data": (Refused("single slice without SliceThickness"),) * 3,
}

# ---------------------------------------------------------------- files, each on its own

FILES: dict[str, Outcome] = {
    "SOURCE.txt": NO_PART_10,
    "gantry_tilt_ge/LICENSE": NO_PART_10,
    "dicom_numpy_dupe_positions/data-citation.txt": NO_PART_10,
    "dicomparser_ect/README.md": NO_PART_10,
    "dicomparser_ect/deflate/image_dfl": not_measured("OT"),
    "dicomparser_ect/deflate/report_dfl": no_image("SR"),
    "dicomparser_ect/deflate/wave_dfl": no_image("ECG"),
    "dicomparser_ect/CT1_UNC.explicit_big_endian.dcm": CT1_UNC,
    "dicomparser_ect/CT1_UNC.explicit_little_endian.dcm": CT1_UNC,
    "dicomparser_ect/CT1_UNC.implicit_little_endian.dcm": CT1_UNC,
    **{
        f"{ENCAPSULATED}/single-frame/CT1_UNC.{encoding}.dcm": CT1_UNC
        for encoding in (
            "explicit_little_endian",
            "fragmented_bot_jpeg_ls.80",
            "fragmented_no_bot_jpeg_ls.80",
            "not_fragmented_bot_jpeg_ls.80",
            "not_fragmented_no_bot_jpeg_ls.80",
        )
    },
    # A blood flow map: an enhanced CT whose values are no attenuation.
    **{
        f"{ENCAPSULATED}/multi-frame/CT0012.{encoding}.dcm": PERFUSION
        for encoding in (
            "explicit_little_endian",
            "fragmented_no_bot_jpeg_baseline.51",
            "fragmented_no_bot_jpeg_lossless.57",
            "fragmented_no_bot_jpeg_lossless.70",
            "fragmented_no_bot_jpeg_ls.80",
            "fragmented_no_bot_jpeg_ls.81",
            "not_fragmented_bot_jpeg_ls.80",
            "not_fragmented_bot_rle",
            "not_fragmented_no_bot_jpeg_ls.80",
            "not_fragmented_no_bot_rle",
        )
    },
    f"{ENCAPSULATED}/multi-frame/IM00001.fragmented_no_bot_jpeg_baseline.50.dcm": not_measured("US"),
    f"{ENCAPSULATED}/multi-frame/IM00001.implicit_little_endian.dcm": not_measured("US"),
    # Names in their character sets are in test_image_headers; the images are no CT, MR or PET.
    **{
        f"pydicom_test_files/charset_files/chr{name}.dcm": not_measured("OT")
        for name in (
            "Arab",
            "Fren",
            "FrenMulti",
            "Germ",
            "Greek",
            "H31",
            "H32",
            "Hbrw",
            "I2",
            "Russ",
            "X1",
            "X2",
        )
    },
    **{
        f"pydicom_test_files/charset_files/chr{name}.dcm": not_measured("CR")
        for name in ("JapMulti", "JapMultiExplicitIR6", "KoreanMulti")
    },
    "pydicom_test_files/charset_files/chrSQEncoding.dcm": NO_UID,
    "pydicom_test_files/charset_files/chrSQEncoding1.dcm": NO_UID,
    f"{PYDICOM}/693_J2KI.dcm": Read(
        (1, 512, 512), (5.0, 0.478516, 0.478516), "axial", (THICKNESS, "compressed with loss"), "derived"
    ),
    f"{PYDICOM}/CT_small.dcm": Read((1, 128, 128), (5.0, 0.661468, 0.661468), "axial", (THICKNESS,)),
    # The codestream is unsigned, the header says signed: pydicom follows the header, as GDCM does.
    f"{PYDICOM}/J2K_pixelrep_mismatch.dcm": Read(
        (1, 512, 512), (5.0, 0.43125, 0.43125), "axial", (THICKNESS,)
    ),
    f"{PYDICOM}/examples_overlay.dcm": Read(
        (1, 300, 484), (4.0, 0.72314, 0.72314), "axial", (THICKNESS,), "a reformat (ImageType MPR)"
    ),
    **{
        f"{PYDICOM}/MR_small{variant}.dcm": MR_SMALL
        for variant in (
            "",
            "_RLE",
            "_bigendian",
            "_expb",
            "_implicit",
            "_jp2klossless",
            "_jpeg_ls_lossless",
            "_padded",
        )
    },
    f"{PYDICOM}/MR_truncated.dcm": Refused("truncated: 8192 bytes of pixels claimed, 8130 present"),
    f"{PYDICOM}/ExplVR_BigEndNoMeta.dcm": NO_PART_10,
    f"{PYDICOM}/ExplVR_LitEndNoMeta.dcm": NO_PART_10,
    f"{PYDICOM}/no_meta.dcm": NO_PART_10,
    f"{PYDICOM}/rtstruct.dcm": NO_PART_10,
    **{
        f"{PYDICOM}/{name}.dcm": NO_UID
        for name in (
            "JPEGLSNearLossless_08",
            "JPEGLSNearLossless_16",
            "SC_rgb_jls_lossy_line",
            "SC_rgb_jls_lossy_sample",
            "UN_sequence",
            "empty_charset_LEI",
            "meta_missing_tsyntax",
            "nested_priv_SQ",
            "no_meta_group_length",
            "priv_SQ",
        )
    },
    **{
        f"{PYDICOM}/{name}.dcm": not_measured("US")
        for name in (
            "ExplVR_BigEnd",
            "examples_jpeg2k",
            "examples_palette",
            "examples_rgb_color",
            "examples_ybr_color",
        )
    },
    **{
        f"{PYDICOM}/{name}.dcm": not_measured("NM")
        for name in ("JPEG-lossy", "JPEG2000-embedded-sequence-delimiter", "JPEG2000", "JPGExtended")
    },
    **{
        f"{PYDICOM}/{name}.dcm": not_measured("(no modality)")
        for name in (
            "GDCMJ2K_TextGBR",
            "SC_jpeg_no_color_transform",
            "SC_jpeg_no_color_transform_2",
            "SC_rgb_jpeg_app14_dcmd",
        )
    },
    **{
        f"{PYDICOM}/SC_{name}.dcm": not_measured("OT")
        for name in (
            "rgb_dcmtk_+eb+cr",
            "rgb_dcmtk_+eb+cy+n1",
            "rgb_dcmtk_+eb+cy+n2",
            "rgb_dcmtk_+eb+cy+np",
            "rgb_dcmtk_+eb+cy+s2",
            "rgb_dcmtk_+eb+cy+s4",
            "rgb_gdcm_KY",
            "rgb_jpeg",
            "rgb_jpeg_dcmd",
            "rgb_jpeg_dcmtk",
            "rgb_jpeg_gdcm",
            "rgb_jpeg_lossy_gdcm",
            "rgb_rle",
            "rgb_rle_16bit",
            "rgb_rle_16bit_2frame",
            "rgb_rle_2frame",
            "rgb_rle_32bit",
            "rgb_rle_32bit_2frame",
            "rgb_small_odd",
            "rgb_small_odd_big_endian",
            "rgb_small_odd_jpeg",
            "ybr_full_422_uncompressed",
        )
    },
    f"{PYDICOM}/image_dfl.dcm": not_measured("OT"),
    **{f"{PYDICOM}/{name}.dcm": not_measured("SEG") for name in ("liver_1frame", "liver_expb_1frame")},
    **{
        f"{PYDICOM}/{name}.dcm": not_measured("RTDOSE")
        for name in (
            "badVR",
            "rtdose",
            "rtdose_1frame",
            "rtdose_expb",
            "rtdose_expb_1frame",
            "rtdose_rle",
            "rtdose_rle_1frame",
        )
    },
    **{f"{PYDICOM}/{name}.dcm": no_image("RTPLAN") for name in ("rtplan", "rtplan_truncated")},
    **{
        f"{PYDICOM}/{name}.dcm": no_image("SR")
        for name in ("reportsi", "reportsi_with_empty_number_tags", "test-SR")
    },
    f"{PYDICOM}/waveform_ecg.dcm": no_image("ECG"),
    **{
        f"{PYDICOM}/dicomdirtests/DICOMDIR{variant}": DICOMDIR
        for variant in (
            "",
            "-bigEnd",
            "-empty.dcm",
            "-implicit",
            "-nooffset",
            "-nopatient",
            "-reordered",
        )
    },
    f"{PYDICOM}/dicomdirtests/TINY_ALPHA/DICOMDIR": DICOMDIR,
    **{
        f"{PYDICOM}/dicomdirtests/77654033/{name}": not_measured("CR")
        for name in ("CR1/6154", "CR2/6247", "CR3/6278")
    },
}


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_is_read_or_refused_as_its_row_says(real_cases, folder):
    paths = files_of(real_cases / folder)
    stacks = describe_study(paths)
    assert len(stacks) == len(FOLDERS[folder]), [stack.name for stack in stacks]
    for stack, expected in zip(stacks, FOLDERS[folder], strict=True):
        if isinstance(expected, Refused):
            assert expected.reason in (stack.refusal or "")
            with pytest.raises(UnsuitableInputError) as refusal:
                read_volume(paths, stack)
            assert expected.reason in str(refusal.value)
            continue
        assert stack.refusal is None
        read = read_volume(paths, stack)
        assert (read.volume.shape, read.series.orientation) == (expected.shape, expected.orientation)
        assert read.volume.spacing_mm == pytest.approx(expected.spacing, rel=1e-3)
        assert len(read.slices) == expected.shape[0]
        assert expected.left_out in (stack.left_out or "")
        assert bool(expected.left_out) == bool(stack.left_out)
        for note in expected.notes:
            assert any(note in found for found in read.notes), read.notes


@pytest.mark.parametrize("file", FILES)
def test_each_file_is_read_or_refused_as_its_row_says(real_cases, file):
    path, expected = real_cases / "robustness" / file, FILES[file]
    if isinstance(expected, Refused):
        with pytest.raises(UnsuitableInputError) as refusal:
            read_volume([path])
        assert expected.reason in str(refusal.value)
        assert path.name in str(refusal.value)
        return
    read = read_volume([path])
    assert (read.volume.shape, read.series.orientation) == (expected.shape, expected.orientation)
    assert read.volume.spacing_mm == pytest.approx(expected.spacing, rel=1e-3)
    assert expected.left_out in (read.series.left_out or "")
    for note in expected.notes:
        assert any(note in found for found in read.notes), read.notes


def test_no_file_under_robustness_is_without_a_row(real_cases):
    root = real_cases / "robustness"
    rows = {root / file for file in FILES}
    rows |= {path for folder in FOLDERS for path in files_of(real_cases / folder)}
    assert sorted(path for path in root.rglob("*") if path.is_file() and path not in rows) == []
