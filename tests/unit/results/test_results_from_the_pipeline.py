"""What the report stage calls: files of a visit in, result files and what validation says out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from phantoms import LESION_CENTRES, Phantom, reported_lesion, sphere, time_point_report
from pydicom import dcmread
from result_cases import SPHERES, program

from dicom_io.adapters import DicomImages, DicomResults
from dicom_io.parsing import quiet
from workflow.domain.report import MeasuredVolume, TimePointReport
from workflow.ports import ImageStack
from workflow.settings import load_settings


@pytest.fixture
def writer(tmp_path: Path) -> DicomResults:
    return DicomResults(load_settings(None, home=tmp_path / "home"))


def image_of(phantom: Phantom, folder: Path) -> ImageStack:
    phantom.write(folder)
    paths = sorted(folder.iterdir())
    (series,) = DicomImages().describe_study(paths)
    return DicomImages().read_volume(paths, series)


def report_on(images: Sequence[ImageStack], **said) -> TimePointReport:
    """One target on each image."""
    lesions = [
        reported_lesion(
            image.volume, sphere(image.volume, LESION_CENTRES[0], 7.0), f"T0{number}",
            measured_on=image.series.key,
        )
        for number, image in enumerate(images, start=1)
    ]  # fmt: skip
    volumes = tuple(
        MeasuredVolume(
            study_instance_uid=image.series.study_instance_uid,
            study_date=date(2026, 3, 2),
            series=image.series,
        )
        for image in images
    )
    first = images[0].series
    named = {"study_instance_uid": first.study_instance_uid, "series_instance_uid": first.series_instance_uid}
    return time_point_report(images[0], lesions, volumes=volumes, **(named | said))


def test_a_visit_of_two_studies_is_written_study_by_study(writer: DicomResults, tmp_path: Path):
    images = [image_of(Phantom(spheres=SPHERES, study=study), tmp_path / study) for study in ("1", "5")]
    folder = tmp_path / "results"
    folder.mkdir()
    report = report_on(images)
    written = writer.write(report, images, [report], folder)
    assert written.errors == ()
    assert [made.role for made in written.objects] == ["seg", "seg-2", "sr", "sr-2", "pdf"]
    assert [made.kind for made in written.objects] == ["seg", "seg", "sr", "sr", "pdf"]
    studies = [image.series.study_instance_uid for image in images]
    assert [made.study_instance_uid for made in written.objects] == [*studies, *studies, studies[0]]
    for made in written.objects:
        assert dcmread(made.path).SOPInstanceUID == made.sop_instance_uid
    pictures = {path.stem for path in folder.glob("*.png")}
    assert pictures == {"overview", "overview-2", *(lesion.tracking_uid for lesion in report.lesions)}


def test_a_follow_ups_sr_names_the_priors_report_seg_and_images(writer: DicomResults, tmp_path: Path):
    then, now = (image_of(Phantom(spheres=SPHERES, study=study), tmp_path / study) for study in ("1", "5"))
    (tmp_path / "then").mkdir()
    (tmp_path / "now").mkdir()
    baseline = report_on([then], identity="baseline", order=1, is_baseline=True)
    before = writer.write(baseline, [then], [baseline], tmp_path / "then")
    prior = [made for made in before.objects if made.kind == "sr"]
    report = report_on([now])
    written = writer.write(report, [now], [baseline, report], tmp_path / "now", prior)
    assert written.errors == ()
    (sr,) = (dcmread(made.path) for made in written.objects if made.kind == "sr")
    (study,) = sr.PertinentOtherEvidenceSequence
    assert study.StudyInstanceUID == then.series.study_instance_uid
    named = {
        i.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for i in s.ReferencedSOPSequence
    }
    objects = {made.sop_instance_uid for made in before.objects if made.kind in ("seg", "sr")}
    assert baseline.lesions[0].measurement is not None
    image = dcmread(tmp_path / "1" / f"{baseline.lesions[0].measurement.slice_index:04d}.dcm").SOPInstanceUID
    assert named == {*objects, image}


def test_the_course_takes_every_sr_of_a_visit(writer: DicomResults, tmp_path: Path):
    images = [image_of(Phantom(spheres=SPHERES, study=study), tmp_path / study) for study in ("1", "5")]
    folder = tmp_path / "results"
    folder.mkdir()
    baseline = replace(report_on(images[:1]), identity="baseline", order=1)
    report = report_on(images)
    written = writer.write(report, images, [baseline, report], folder)
    srs = [made for made in written.objects if made.kind == "sr"]
    course = writer.write_course([baseline, report], {report.identity: srs}, images, folder)
    assert course.errors == ()
    (made,) = course.objects
    assert (made.role, made.study_instance_uid) == ("course", images[0].series.study_instance_uid)


ODD_VALUES = {
    "PatientName": f"{'Lang' * 18}^Ada",
    "StudyID": "S" * 20,
    "AccessionNumber": "A" * 18,
    "PatientBirthDate": "1960",
    "StudyTime": "25:61",
}


@pytest.fixture
def odd_image(tmp_path: Path) -> ImageStack:
    """An image whose header has values that DICOM does not allow, as archives are full of them."""
    with quiet():
        return image_of(Phantom(spheres=SPHERES, attributes=ODD_VALUES), tmp_path / "odd")


def test_odd_values_of_the_source_are_one_remark_without_any_value(
    writer: DicomResults, odd_image: ImageStack, tmp_path: Path
):
    program("dciodvfy")
    folder = tmp_path / "results"
    folder.mkdir()
    written = writer.write(report_on([odd_image]), [odd_image], [], folder)
    assert written.errors == ()
    (remark,) = written.warnings
    assert remark == (
        "as in the source images, dciodvfy objects to: Accession Number, Patient's Name, Study ID"
    )


def test_the_library_logs_none_of_the_sources_values(
    writer: DicomResults, odd_image: ImageStack, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = tmp_path / "results"
    folder.mkdir()
    writer.write(report_on([odd_image]), [odd_image], [], folder)
    assert [record.message for record in caplog.records if record.name == "pydicom"] == []
    logging.getLogger("pydicom").warning("heard again afterwards")
    assert "heard again afterwards" in caplog.text


def test_a_date_that_is_none_is_left_out(writer: DicomResults, odd_image: ImageStack, tmp_path: Path):
    folder = tmp_path / "results"
    folder.mkdir()
    for made in writer.write(report_on([odd_image]), [odd_image], [], folder).objects:
        assert not dcmread(made.path).PatientBirthDate
