"""Results on real scanners' headers, odd ones among them, pass the gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from phantoms import reported_lesion, time_point_report

from dicom_io.parsing import quiet
from dicom_io.results import ResultSettings, build_results, validate
from dicom_io.volumes import read_folder
from workflow.domain.geometry import Mask

FOLDERS = {
    "thorax CT": "fourd_lung_p4/ct",
    "abdomen CT without a birth date": "crlm_ct",
    "MR of a body part": "cmb_crc_06489_mr_pair/SCAN_001/adc_image",
    "PET": "qin_headneck/0024/pet",
    "Study ID that is too long": "ibsi_sts/dicom/STS_008/CT/image",
    "gantry tilt": "robustness/gantry_tilt_ge",
    "no frame of reference, no slice thickness": "robustness/dicom2nifti/generic/anatomical/001",
    "enhanced MR without shared groups": "robustness/dicom2nifti/siemens_multiframe/anatomical/001",
    "JPEG 2000": "robustness/dicom2nifti/generic/compressed_j2k/001",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_results_on_a_real_series_pass_the_gate(real_cases: Path, name: str):
    with quiet():
        source = read_folder(real_cases / FOLDERS[name])
    middle = np.array(source.volume.shape) // 2
    box = np.zeros(source.volume.shape, dtype=bool)
    box[tuple(slice(m - 1, m + 2) for m in middle)] = True
    report = time_point_report(source, [reported_lesion(source.volume, Mask.from_array(box))])
    results = build_results(report, [source], settings=ResultSettings(writes_key_images=True))
    checked = validate(results)
    assert checked.is_valid, str(checked)
    assert results.sr.SOPClassUID.name == "Comprehensive SR Storage"
    assert all("as in the source images" in said for said in checked.skipped)
