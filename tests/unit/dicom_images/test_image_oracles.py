"""Voxels and geometry agree with SimpleITK (GDCM), which knows nothing of this code, on real series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from dicom_io.volumes import SeriesVolume, read_volume

REGULAR = (
    "fourd_lung_p4/ct",
    "crlm_ct/CRLM-CT-1004/ct",
    "ibsi_ct_phantom/dicom/image",
    "ibsi_sts/dicom/STS_002/CT/image",
    "ibsi_sts/dicom/STS_002/PET/image",
    "ibsi_sts/dicom/STS_002/MR_T1/image",
    "cmb_crc_06489_mr_pair/SCAN_001/adc_image",
    "ref_objects/dcmqi/ct-3slice",
    "ref_objects/dcmqi/24x38x3/image",
    "ref_objects/dcmqi/24x38x3/multiframe",
    "robustness/dicom2nifti/generic/anatomical/001",
    "robustness/dicom2nifti/generic/anatomical/001_implicit",
    "robustness/dicom2nifti/generic/anatomical/002_non_isotropic",
    "robustness/dicom2nifti/generic/compressed_j2k/001",
    "robustness/dicom2nifti/generic/compressed_jpeg/001",
    "robustness/dicom2nifti/generic/compressed_jpegls/001",
    "robustness/dicom2nifti/generic/compressed_rle/001",
    "robustness/dicom2nifti/siemens_multiframe/anatomical/001",
    "robustness/pydicom_test_files/test_files/dicomdirtests/98892001/CT5N",
)
SINGLE = (
    "dicomparser_ect/CT1_UNC.explicit_big_endian.dcm",
    "dicomparser_ect/encapsulated/single-frame/CT1_UNC.fragmented_no_bot_jpeg_ls.80.dcm",
    "pydicom_test_files/test_files/693_J2KI.dcm",
    "pydicom_test_files/test_files/J2K_pixelrep_mismatch.dcm",
    "pydicom_test_files/test_files/MR_small_RLE.dcm",
    "pydicom_test_files/test_files/MR_small_expb.dcm",
    "pydicom_test_files/test_files/examples_overlay.dcm",
)


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix in (".dcm", "")]


def oracle(read: SeriesVolume) -> SimpleITK.Image:
    """The same files, in the order in which the volume has them, read by GDCM."""
    if len(read.slices) == 1 or read.slices[0].frame_number is not None:
        return SimpleITK.ReadImage(str(read.slices[0].path))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(source.path) for source in read.slices])
    return reader.Execute()


def measured(read: SeriesVolume) -> np.ndarray:
    """Voxels that are no padding, which GDCM leaves as it is and we set to air."""
    return read.volume.array != -1024


@pytest.mark.parametrize("folder", REGULAR)
def test_a_series_has_the_voxels_and_the_affine_that_simpleitk_reads(real_cases, folder):
    read = read_volume(files_of(real_cases / folder))
    image = oracle(read)
    expected = SimpleITK.GetArrayFromImage(image)
    np.testing.assert_allclose(
        read.volume.array[measured(read)], expected[measured(read)], rtol=1e-6, atol=1e-6
    )
    corners = np.array([(0, 0, 0), [n - 1 for n in read.volume.shape]])
    physical = [image.TransformIndexToPhysicalPoint([int(n) for n in corner[::-1]]) for corner in corners]
    np.testing.assert_allclose(read.volume.lps(corners), physical, atol=0.01)


@pytest.mark.parametrize("file", SINGLE)
def test_a_single_image_has_the_voxels_that_simpleitk_reads(real_cases, file):
    read = read_volume([real_cases / "robustness" / file])
    expected = SimpleITK.GetArrayFromImage(oracle(read))
    np.testing.assert_array_equal(read.volume.array[measured(read)], expected[measured(read)])


@pytest.mark.parametrize("size", ["23x38x3", "24x38x3"])
def test_the_enhanced_form_of_a_series_is_the_same_volume_as_its_classic_form(real_cases, size):
    folder = real_cases / "ref_objects" / "dcmqi" / size
    classic, enhanced = (read_volume(files_of(folder / form)) for form in ("image", "multiframe"))
    np.testing.assert_array_equal(enhanced.volume.array, classic.volume.array)
    assert enhanced.volume.has_grid_of(classic.volume)
    assert [source.frame_number for source in enhanced.slices] == [1, 2, 3]
    assert {source.frame_number for source in classic.slices} == {None}


def test_every_encoding_of_one_image_gives_the_same_voxels(real_cases):
    folder = real_cases / "robustness" / "dicomparser_ect"
    files = [*folder.glob("*.dcm"), *(folder / "encapsulated" / "single-frame").glob("*.dcm")]
    assert len(files) == 8
    first, *others = (read_volume([file]).volume.array for file in files)
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("coding", ["compressed_jpeg", "compressed_jpegls", "compressed_rle"])
def test_one_series_in_several_compressions_gives_the_same_voxels(real_cases, coding):
    folder = real_cases / "robustness" / "dicom2nifti" / "generic"
    one, other = (read_volume(files_of(folder / name / "001")) for name in ("compressed_j2k", coding))
    np.testing.assert_array_equal(other.volume.array, one.volume.array)


def test_activity_of_a_real_pet_becomes_suv_by_the_arithmetic_on_its_header(real_cases):
    # 66.2 kg; 381.47 MBq at 11:39:00; decay corrected to the series time 13:02:44.678; half-life 6586.2 s.
    read = read_volume(files_of(real_cases / "qin_headneck/0024/pet"))
    activity = SimpleITK.GetArrayFromImage(oracle(read))
    decayed_bq = 381.47e6 * 0.5 ** (5024.678 / 6586.2)
    np.testing.assert_allclose(read.volume.array, activity * 66200 / decayed_bq, rtol=1e-5)


@pytest.mark.parametrize("zone", [0, 1])
def test_a_tilted_head_lies_where_simpleitk_puts_its_slices(real_cases, zone):
    """Each slice on its own has its true place in SimpleITK; the resampled volume agrees at those places."""
    from dicom_io.series import describe_study

    files = files_of(real_cases / "robustness" / "gantry_tilt_ge")
    read = read_volume(files, describe_study(files)[zone])
    rng = np.random.default_rng(1)
    for k in (0, 7, 13):
        image = SimpleITK.ReadImage(str(read.slices[k].path))
        plane = SimpleITK.GetArrayFromImage(image)[0]
        index = rng.integers(150, 362, (400, 2))
        places = np.array([image.TransformIndexToPhysicalPoint((int(c), int(r), 0)) for r, c in index])
        ijk = read.volume.ijk(places)
        np.testing.assert_allclose(ijk[:, 0], k, atol=0.02)
        low = np.floor(ijk[:, 1]).astype(int)
        part = ijk[:, 1] - low
        columns = np.rint(ijk[:, 2]).astype(int)
        voxels = read.volume.array[k].astype(float)
        # Between two interpolated rows: within what the three rows of the source around the place span.
        values = (1 - part) * voxels[low, columns] + part * voxels[low + 1, columns]
        around = np.stack([plane[index[:, 0] + d, index[:, 1]] for d in (-1, 0, 1)])
        assert np.all(values >= around.min(axis=0) - 1)
        assert np.all(values <= around.max(axis=0) + 1)
