"""Tables of the shared real cases, for `tumorline evaluate --cases` and `tumorline train --backgrounds`.

    python -m benchmarks.real_cases CASES

CASES is the folder of unpacked real cases. Written there: `cases.csv`, the lesions with a mask, which are
for validation and choice only; `backgrounds.csv`, scans of other patients, without a lesion mask, that may
surround synthetic lesions (their licences: Apache-2.0 and CC BY 4.0); the DICOM SEG of one case as NRRD.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from workflow.domain.geometry import Volume, mask_on_grid
from workflow.use_cases.images import read_image, write_image

PATIENTS = {
    "lung1": ("CT", "lung"),
    "brain1": ("MR", "brain"),
    "breast1": ("MR", "breast"),
}
BACKGROUNDS = (
    ("CT", "elastix_lung_pair/3DCT_lung_baseline.mha"),
    ("CT", "elastix_lung_pair/3DCT_lung_followup.mha"),
    ("CT", "crlm_ct/CRLM-CT-1004"),
    ("MR", "cmb_crc_06489_mr_pair/SCAN_001"),
    ("MR", "cmb_crc_06489_mr_pair/SCAN_002"),
)


def rows(folder: Path) -> list[tuple[str, str, str, str, str, str]]:
    """(name, patient, modality, site, image, mask) of every case with a mask; paths are below the folder."""
    found = [
        (name, name, modality, site, f"pyradiomics/{name}_image.nrrd", f"pyradiomics/{name}_label.nrrd")
        for name, (modality, site) in PATIENTS.items()
    ]
    lung = "fourd_lung_p4"
    for name, site in (("Tumor", "lung"), ("LN", "lymph node")):
        mask = f"{lung}/derived_masks/{name}_c40.nii.gz"
        found.append((f"4D-Lung {name}", "4D-Lung", "CT", site, f"{lung}/ct", mask))
    phantom = "ibsi_ct_phantom"
    found.append(
        ("IBSI lung", "IBSI", "CT", "lung", f"{phantom}/dicom/image", f"{phantom}/nifti/mask/mask.nii.gz")
    )
    for patient in ("STS_002", "STS_008", "STS_025"):
        for series, modality in (("CT", "CT"), ("MR_T1", "MR"), ("PET", "PET")):
            image = f"ibsi_sts/dicom/{patient}/{series}/image"
            mask = f"ibsi_sts/nifti_masks/{patient}/{series}_mask.nii.gz"
            found.append((f"{patient} {series}", patient, modality, "soft tissue", image, mask))
    found.append(("QIN 0024", "QIN 0024", "PET", "head and neck", "qin_headneck/0024/pet", _segments(folder)))
    return found


def _segments(folder: Path) -> str:
    """The DICOM SEG of the head and neck case as a label map on its PET's grid."""
    import highdicom

    (file,) = (folder / "qin_headneck/0024/seg").glob("*.dcm")
    drawn = highdicom.seg.segread(file).get_volume(combine_segments=True)
    pet = read_image(folder / "qin_headneck/0024/pet")
    labels = pet.array.astype("uint16") * 0
    for label in range(1, int(drawn.array.max()) + 1):
        mask = mask_on_grid(Volume(array=drawn.array == label, affine=drawn.affine), pet)
        labels[mask.box][mask.voxels] = label
    write_image(folder / "qin_headneck/0024/lesions.nrrd", labels, pet)
    return "qin_headneck/0024/lesions.nrrd"


def main() -> None:
    """Write both tables."""
    folder = Path(sys.argv[1])
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("name", "patient", "modality", "site", "image", "mask"))
        writer.writerows(rows(folder))
    with (folder / "backgrounds.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("look", "image"))
        writer.writerows(BACKGROUNDS)


if __name__ == "__main__":
    main()
