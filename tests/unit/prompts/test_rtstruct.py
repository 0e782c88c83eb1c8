"""RTSTRUCT prompts against the masks that others made of the same contours."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from dicom_io.prompts import ProblemKind, read_prompts
from tests.unit.prompts.support import Images, load_series, on_grid


def nifti_on_grid(path: Path, images: Images) -> np.ndarray:
    """A NIfTI mask's voxels (RAS) on a series' grid."""
    image = nibabel.load(path)
    index = np.argwhere(np.asarray(image.dataobj) > 0)
    ras = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    ijk = np.round(images.volume.ijk(ras * [-1, -1, 1])).astype(int)
    whole = np.zeros(images.volume.shape, dtype=bool)
    whole[tuple(ijk.T)] = True
    return whole


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


@pytest.fixture(scope="module")
def lung_ct(real_cases):
    return load_series(real_cases / "fourd_lung_p4" / "ct")


def test_tumour_and_node_are_taken_and_landmarks_are_left_with_the_reason(real_cases, lung_ct):
    reading = read_prompts(real_cases / "fourd_lung_p4" / "rtstruct" / "1-1.dcm", [lung_ct])
    assert [(p.label, p.is_nodal, p.organ) for p in reading.prompts] == [
        ("Tumor_c40", False, ""),
        ("LN_c40", True, "lymph node"),
    ]
    assert [(p.item, p.kind) for p in reading.problems] == [
        ("ROI 19 Carina_c40", ProblemKind.NOT_A_LESION),
        ("ROI 20 Vertebra_c40", ProblemKind.NOT_A_LESION),
    ]
    assert reading.prompts[0].created_by == "ADAC Pinnacle3"
    assert str(reading.prompts[0].created_at) == "1999-11-26 22:16:04"
    assert [placement.by for placement in reading.placements] == ["SOP Instance UID"] * 2


def test_contours_become_the_voxels_of_the_derived_masks(real_cases, lung_ct):
    case = real_cases / "fourd_lung_p4"
    for prompt in read_prompts(case / "rtstruct" / "1-1.dcm", [lung_ct]).prompts:
        mine = on_grid(prompt.shapes[0].volume, lung_ct.volume)
        theirs = nifti_on_grid(case / "derived_masks" / f"{prompt.label}.nii.gz", lung_ct)
        assert overlap(mine, theirs) > 0.99


@pytest.mark.parametrize("patient", ["STS_002", "STS_008", "STS_025"])
@pytest.mark.parametrize("modality", ["CT", "MR_T1", "PET"])
def test_dangling_references_are_matched_by_frame_of_reference_and_geometry(real_cases, patient, modality):
    case = real_cases / "ibsi_sts"
    images = load_series(case / "dicom" / patient / modality / "image")
    reading = read_prompts(case / "dicom" / patient / modality / "mask" / "RS.dcm", [images])
    assert [placement.by for placement in reading.placements] == ["frame of reference and geometry"]
    mine = on_grid(reading.prompts[0].shapes[0].volume, images.volume)
    theirs = nifti_on_grid(case / "nifti_masks" / patient / f"{modality}_mask.nii.gz", images)
    assert overlap(mine, theirs) > 0.99


def test_the_phantom_patients_tumour_is_the_published_mask(real_cases):
    case = real_cases / "ibsi_ct_phantom"
    images = load_series(case / "dicom" / "image")
    (prompt,) = read_prompts(case / "dicom" / "mask" / "DCM_RS_00060.dcm", [images]).prompts
    mine = on_grid(prompt.shapes[0].volume, images.volume)
    theirs = nifti_on_grid(case / "nifti" / "mask" / "mask.nii.gz", images)
    assert overlap(mine, theirs) > 0.999


def test_a_structure_set_of_another_frame_of_reference_says_why_it_is_not_placed(real_cases, lung_ct):
    path = real_cases / "ibsi_sts" / "dicom" / "STS_002" / "CT" / "mask" / "RS.dcm"
    reading = read_prompts(path, [lung_ct])
    (problem,) = reading.problems
    assert (problem.item, problem.kind) == ("ROI 1 GTV_Mass_CT", ProblemKind.NOT_PLACED)
    assert "1.3.6.1.4.1.14519.5.2.1.5168.1900.114679355310645018817373178374" in problem.reason
