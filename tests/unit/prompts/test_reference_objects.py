"""Every object of others that is at hand, with what it gives: so many prompts, or these problems."""

from __future__ import annotations

import pydicom
import pytest
from pydicom.errors import InvalidDicomError

from dicom_io.prompts import LesionRules, ProblemKind, read_prompts
from tests.unit.prompts.support import load_series
from workflow.domain.errors import UnsuitableInputError

ORGAN, PLACE, NEEDS, SHOWS_NONE, NAMED_ORGAN = (
    ProblemKind.NOT_A_LESION, ProblemKind.NOT_PLACED, ProblemKind.MISSING_OBJECT, ProblemKind.UNSUPPORTED,
    ProblemKind.DOUBTFUL_LESION,
)  # fmt: skip
SERIES = {
    "liver": ("ref_objects/dcmqi/ct-3slice", "*"),
    "small": ("ref_objects/dcmqi/24x38x3/image", "*"),
    "odd": ("ref_objects/dcmqi/23x38x3/image", "*"),
    "bits": ("ref_objects/dicom4qi_bitpack/image", "*"),
    "rt": ("ref_objects/rt_utils/mock_data", "ct_*"),
    "highdicom": ("ref_objects/highdicom", "ct_image.dcm"),
}
# file, series at hand, prompts, kinds of problems with how many of each
TABLE = [
    ("dcmjs/sample-sr.dcm", "highdicom", 0, {PLACE: 2}),
    ("dcmjs/structured_report.dcm", "highdicom", 0, {PLACE: 7}),
    ("dcmqi/23x38x3/seg/label.seg", "odd", 0, {ORGAN: 1}),
    ("dcmqi/24x38x3/seg/label.seg", "small", 0, {ORGAN: 1}),
    ("dcmqi/liver.dcm", "liver", 0, {ORGAN: 1}),
    ("dcmqi/partial_overlaps.dcm", "liver", 0, {ORGAN: 5}),
    ("dcmqi/sparse-labelmap-noppv.dcm", "small", 0, {ORGAN: 2}),
    ("dcmqi/sparse-labelmap-ppv5.dcm", "small", 0, {ORGAN: 2}),
    ("dicom4qi_bitpack/mask/mask.dcm", "bits", 0, {ORGAN: 1}),
    ("highdicom/seg_image_cr_binary.dcm", "highdicom", 0, {ORGAN: 1}),
    ("highdicom/seg_image_ct_binary.dcm", "highdicom", 0, {ORGAN: 1}),
    ("highdicom/seg_image_ct_binary_fractional.dcm", "highdicom", 0, {ORGAN: 1}),
    ("highdicom/seg_image_ct_binary_overlap.dcm", "highdicom", 0, {ORGAN: 2}),
    ("highdicom/seg_image_ct_binary_single_frame.dcm", "highdicom", 0, {ORGAN: 1}),
    ("highdicom/seg_image_ct_true_fractional.dcm", "highdicom", 0, {ORGAN: 1}),
    ("highdicom/seg_image_sm_control.dcm", "highdicom", 0, {SHOWS_NONE: 1}),
    ("highdicom/seg_image_sm_control_labelmap.dcm", "highdicom", 0, {SHOWS_NONE: 1}),
    ("highdicom/seg_image_sm_control_labelmap_palette_color.dcm", "highdicom", 0, {SHOWS_NONE: 1}),
    ("highdicom/seg_image_sm_dots.dcm", "highdicom", 0, {SHOWS_NONE: 1}),
    ("highdicom/seg_image_sm_dots_tiled_full.dcm", "highdicom", 0, {SHOWS_NONE: 1}),
    ("highdicom/seg_image_sm_numbers.dcm", "highdicom", 0, {SHOWS_NONE: 1}),
    ("highdicom/sr_document.dcm", "highdicom", 0, {ORGAN: 1}),
    ("highdicom/sr_document_with_multiple_groups.dcm", "highdicom", 1, {SHOWS_NONE: 1, ORGAN: 2}),
    ("iowa2dicom/SEG/tumor.dcm", "highdicom", 0, {PLACE: 2}),
    ("iowa2dicom/SR/measurements.dcm", "highdicom", 0, {NEEDS: 2, NAMED_ORGAN: 2}),
    ("pydicom_data_seg/liver.dcm", "liver", 0, {ORGAN: 1}),
    ("pydicom_data_seg/liver_deflate.dcm", "liver", 0, {ORGAN: 1}),
    ("pydicom_data_seg/liver_expb.dcm", "liver", 0, {ORGAN: 1}),
    ("pydicom_data_seg/liver_j2k.dcm", "liver", 0, {ORGAN: 1}),
    ("pydicom_data_seg/liver_nonbyte_aligned.dcm", "liver", 0, {ORGAN: 1}),
    ("pydicom_data_seg/liver_nonbyte_aligned_deflate.dcm", "liver", 0, {ORGAN: 1}),
    ("pydicom_data_seg/liver_nonbyte_aligned_j2k.dcm", "liver", 0, {ORGAN: 1}),
    ("pydicom_data_seg/liver_nonbyte_aligned_rle.dcm", "liver", 0, {ORGAN: 1}),
    ("pydicom_data_seg/liver_rle.dcm", "liver", 0, {ORGAN: 1}),
    ("qin_0003_sr_example/seg.dcm", "highdicom", 0, {PLACE: 1}),
    ("qin_0003_sr_example/sr.dcm", "highdicom", 0, {NEEDS: 1}),
    ("rt_utils/empty/dummy_rt.dcm", "rt", 0, {ORGAN: 4}),
    ("rt_utils/mock_data/invalid_reference_rt.dcm", "rt", 0, {ORGAN: 4}),
    ("rt_utils/mock_data/non_existent_reference_rt.dcm", "rt", 0, {ORGAN: 4}),
    ("rt_utils/mock_data/rt.dcm", "rt", 0, {ORGAN: 1}),
]  # fmt: skip

# The same objects where a site's rules take every name: the reader, not the choice, is tried.
NAMES = {"Liver", "first segment", "GREEN", "ORANGE", "PURPLE", "LIGHT_BLUE", "DARK_BLUE"}  # fmt: skip
TAKEN = [
    ("dcmqi/24x38x3/seg/label.seg", "small", [315]),
    ("dcmqi/partial_overlaps.dcm", "liver", [9602, 11888, 10743, 6693, 4713]),
    ("dcmqi/sparse-labelmap-noppv.dcm", "small", [945]),  # 315 on a slice, the empty one in between filled
    ("highdicom/seg_image_ct_binary_single_frame.dcm", "highdicom", [1832]),
]


@pytest.fixture(scope="module")
def series(real_cases):
    return {name: load_series(real_cases / folder, pattern) for name, (folder, pattern) in SERIES.items()}


@pytest.mark.parametrize(("file", "at_hand", "prompts", "problems"), TABLE, ids=[row[0] for row in TABLE])
def test_each_object_gives_its_prompts_or_says_why_not(real_cases, series, file, at_hand, prompts, problems):
    reading = read_prompts(real_cases / "ref_objects" / file, [series[at_hand]])
    kinds = [problem.kind for problem in reading.problems]
    assert (len(reading.prompts), {kind: kinds.count(kind) for kind in kinds}) == (prompts, problems)
    assert all(problem.reason and problem.sop_instance_uid for problem in reading.problems)


@pytest.mark.parametrize(("file", "at_hand", "voxels"), TAKEN, ids=[row[0] for row in TAKEN])
def test_what_the_rules_take_is_read(real_cases, series, file, at_hand, voxels):
    rules = LesionRules(always=frozenset(NAMES))
    reading = read_prompts(real_cases / "ref_objects" / file, [series[at_hand]], rules=rules)
    assert [int(prompt.shapes[0].volume.array.sum()) for prompt in reading.prompts] == voxels


def test_the_table_holds_every_object_that_could_hold_prompts(real_cases):
    root, found = real_cases / "ref_objects", set()
    for path in sorted(root.rglob("*")):
        if path.is_file() and "image" not in path.parts:
            try:
                modality = pydicom.dcmread(path, specific_tags=["Modality"]).get("Modality")
            except InvalidDicomError:
                continue
            if modality in ("SR", "SEG", "RTSTRUCT", "PR", "KO"):
                found.add(str(path.relative_to(root)))
    assert found == {row[0] for row in TABLE}


@pytest.mark.parametrize("file", ["highdicom/ct_image.dcm", "pydicom_data_seg/parametric_map_float.dcm"])
def test_an_object_that_holds_no_prompts_is_refused(real_cases, file):
    with pytest.raises(UnsuitableInputError, match="holds no prompts"):
        read_prompts(real_cases / "ref_objects" / file, [])
