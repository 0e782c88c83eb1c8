"""Simulated studies on disk: standard-conformant, readable by others, the same bytes from the same seed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from workflow.domain.geometry import Mask, Volume
from workflow.domain.measurement import measure
from workflow.simulation.course import DEMO_PLAN, QUIET_HEALED_HU, QUIET_RIM_HU, lung_case
from workflow.simulation.studies import PromptKind, SimulatedPatientFolder, write_breathing, write_lung_pair


@pytest.fixture(scope="module")
def lung_pair(tmp_path_factory: pytest.TempPathFactory) -> SimulatedPatientFolder:
    return write_lung_pair(tmp_path_factory.mktemp("simulated"), seed=1, prompts=PromptKind.BOTH)


@pytest.fixture(scope="module")
def breathing(tmp_path_factory: pytest.TempPathFactory) -> SimulatedPatientFolder:
    return write_breathing(tmp_path_factory.mktemp("simulated"), seed=1)


def headers(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob("*.dcm"))]


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_writes_the_same_bytes(lung_pair: SimulatedPatientFolder, tmp_path: Path) -> None:
    again = write_lung_pair(tmp_path, seed=1, prompts=PromptKind.BOTH)
    assert digest(again.folder) == digest(lung_pair.folder)


def test_another_seed_is_another_patient(lung_pair: SimulatedPatientFolder, tmp_path: Path) -> None:
    other = write_lung_pair(tmp_path, seed=2, prompts=PromptKind.NONE)
    assert other.patient_id != lung_pair.patient_id
    assert not set(other.study_instance_uids) & set(lung_pair.study_instance_uids)
    assert not (other.baseline / "sr.dcm").exists()


def test_no_standard_check_finds_an_error(
    lung_pair: SimulatedPatientFolder, breathing: SimulatedPatientFolder
) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed; .ci/run lists the Debian package")
    for path in (
        lung_pair.baseline / "ct_0050.dcm",
        lung_pair.baseline / "sr.dcm",
        lung_pair.baseline / "rtstruct.dcm",
        lung_pair.follow_up / "ct_0050.dcm",
        lung_pair.follow_up / "sr.dcm",
        breathing.baseline / "ct_0050.dcm",
        breathing.baseline / "rtstruct.dcm",
        breathing.follow_up / "ct_0050.dcm",
    ):
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in said.stderr + said.stdout, f"{path.name}: {said.stderr}"


def test_others_read_the_same_image_at_the_same_place(lung_pair: SimulatedPatientFolder) -> None:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(lung_pair.baseline)))
    image = reader.Execute()
    made = lung_case(
        1, plan=DEMO_PLAN, largest_rim_hu=QUIET_RIM_HU, largest_healed_hu=QUIET_HEALED_HU
    ).baseline
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), made.array[:, :, :114])
    assert np.allclose(image.GetSpacing(), made.spacing_mm[::-1], atol=1e-5)
    assert np.allclose(image.GetOrigin(), made.lps(np.zeros(3)), atol=1e-4)
    assert np.allclose(np.reshape(image.GetDirection(), (3, 3)), np.eye(3))


def test_images_have_an_even_width_and_the_masks_of_the_truth_have_their_size(
    lung_pair: SimulatedPatientFolder,
) -> None:
    """The real images are 115 columns wide, on which OHIF draws masks shredded."""
    for folder, day in ((lung_pair.baseline, "baseline"), (lung_pair.follow_up, "follow-up")):
        images = [header for header in headers(folder) if header.Modality == "CT"]
        assert {header.Columns for header in images} == {114}
        masks = np.load(lung_pair.folder / f"truth_{day}.npz")
        assert {masks[label].shape for label in masks} == {(len(images), images[0].Rows, 114)}


def test_headers_tell_one_patient_two_studies_and_what_is_simulated(
    lung_pair: SimulatedPatientFolder, breathing: SimulatedPatientFolder
) -> None:
    for patient in (lung_pair, breathing):
        studies = [headers(folder) for folder in patient.time_points]
        everything = [header for study in studies for header in study]
        assert {h.PatientID for h in everything} == {patient.patient_id}
        assert len({(str(h.PatientName), h.PatientBirthDate, h.PatientSex) for h in everything}) == 1
        assert len({h.SOPInstanceUID for h in everything}) == len(everything)
        for study, uid in zip(studies, patient.study_instance_uids, strict=True):
            assert {h.StudyInstanceUID for h in study} == {uid}
            assert (
                len({(h.StudyDate, h.StudyTime, h.AccessionNumber, h.StudyDescription) for h in study}) == 1
            )
        dates = [study[0].StudyDate for study in studies]
        assert dates == sorted(set(dates))
    assert all("implanted nodules" in h.StudyDescription for h in headers(lung_pair.baseline))
    assert all(
        "IMPLANTED NODULES" in h.DerivationDescription
        for h in headers(lung_pair.follow_up)
        if h.Modality == "CT"
    )
    assert "SIMULATED" in headers(breathing.follow_up)[0].StudyDescription
    assert headers(breathing.baseline)[0].ImageType[0] == "ORIGINAL"
    assert headers(breathing.follow_up)[0].ImageType[0] == "DERIVED"


def test_the_reported_lines_are_the_lesions_of_the_truth(lung_pair: SimulatedPatientFolder) -> None:
    truth = json.loads(lung_pair.truth.read_text())
    report = pydicom.dcmread(lung_pair.baseline / "sr.dcm")
    groups = [
        item
        for item in report.ContentSequence[-1].ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "125007"
    ]
    shown = [lesion for lesion in truth["lesions"] if lesion["at"][0] is not None]
    assert len(groups) == len(shown) == 3
    for group, lesion in zip(groups, shown, strict=True):
        values = {
            item.ConceptNameCodeSequence[0].CodeMeaning: item
            for item in group.ContentSequence
            if item.ValueType in ("NUM", "UIDREF")
        }
        assert lesion["tracking_uid"] == values["Tracking Unique Identifier"].UID
        long_axis = values["Long axis"]
        said = float(long_axis.MeasuredValueSequence[0].NumericValue)
        assert said == pytest.approx(lesion["at"][0]["long_axis_mm"], abs=0.01)
        points = np.reshape(long_axis.ContentSequence[0].GraphicData, (2, 2)) * 1.366
        assert np.linalg.norm(points[1] - points[0]) == pytest.approx(said, abs=0.01)


def test_the_contours_enclose_the_lesions_of_the_truth(lung_pair: SimulatedPatientFolder) -> None:
    truth = json.loads(lung_pair.truth.read_text())
    structures = pydicom.dcmread(lung_pair.baseline / "rtstruct.dcm")
    for roi, lesion in zip(
        structures.ROIContourSequence, (x for x in truth["lesions"] if x["at"][0]), strict=True
    ):
        area = 0.0
        for contour in roi.ContourSequence:
            x, y, _ = np.reshape(np.array(contour.ContourData, dtype=float), (-1, 3)).T
            area += 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
        assert area * 2.5 == pytest.approx(lesion["at"][0]["volume_mm3"], rel=0.08)


def test_the_shrunk_tumour_has_the_size_that_the_factor_says(breathing: SimulatedPatientFolder) -> None:
    truth = json.loads(breathing.truth.read_text())
    tumour = truth["lesions"][0]
    before, after = tumour["at"]
    assert after["long_axis_mm"] == pytest.approx(0.6 * before["long_axis_mm"], rel=0.06)
    assert after["volume_mm3"] == pytest.approx(0.6**3 * before["volume_mm3"], rel=0.12)
    assert truth["responses"][1]["overall"] == "PR"


def test_the_baseline_is_the_real_image_with_the_real_contours(breathing: SimulatedPatientFolder) -> None:
    from dicom_io.simulated.ct import read_ct
    from dicom_io.simulated.prompts import read_contours
    from workflow.simulation.sources import EXAMPLES

    real, _ = read_ct(EXAMPLES / "fourd_lung" / "ct")
    drawn = read_contours(EXAMPLES / "fourd_lung" / "rtstruct.dcm")
    for path, array in zip(sorted(breathing.baseline.glob("ct_*.dcm"))[::20], real.array[::20], strict=True):
        image = pydicom.dcmread(path)
        assert np.array_equal(image.pixel_array.astype(int) + int(image.RescaleIntercept), array)
    written = read_contours(breathing.baseline / "rtstruct.dcm")
    assert len(written["Tumor_c40"]) == len(drawn["Tumor_c40"])
    nodes = [
        points for label, contours in written.items() if label.startswith("LN_c40") for points in contours
    ]
    assert len(nodes) == len(drawn["LN_c40"])
    assert all(
        np.allclose(a, b, atol=1e-3) for a, b in zip(written["Tumor_c40"], drawn["Tumor_c40"], strict=True)
    )


def test_the_follow_up_shows_the_tumour_where_the_truth_has_it(breathing: SimulatedPatientFolder) -> None:
    masks = np.load(breathing.folder / "truth_follow-up.npz")
    mask = masks["Tumor_c40"]
    truth = json.loads(breathing.truth.read_text())["lesions"][0]["at"][1]
    image = pydicom.dcmread(breathing.follow_up / f"ct_{truth['slice_index'] + 1:04d}.dcm")
    hu = image.pixel_array.astype(int) + int(image.RescaleIntercept)
    inside = mask[truth["slice_index"]]
    assert hu[inside].mean() > -200
    grid = Volume(array=mask, affine=np.diag([3.0, 0.9766, 0.9766, 1.0]))
    assert measure(grid, Mask.from_array(mask)).long_axis.length_mm == pytest.approx(
        truth["long_axis_mm"], abs=0.01
    )
