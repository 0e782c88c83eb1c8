"""The first content of a SOP Instance UID wins; what contradicts it waits for a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from hospital import Hospital, rows, states
from pydicom.uid import ImplicitVRLittleEndian, JPEGLSLossless
from sqlalchemy import select
from test_course_of_a_patient import BASELINE, FOLLOW_UP
from typer.testing import CliRunner

from db.tables import AuditRow, InstanceRow, StudyRow
from workflow.cli import app
from workflow.domain.errors import UnsuitableInputError

ONE_LESION = replace(BASELINE, spheres=BASELINE.spheres[:1])


@pytest.fixture
def received(hospital) -> Hospital:
    """One study is here; nothing has been worked on."""
    hospital.receive(ONE_LESION)
    return hospital


def _slice(hospital: Hospital, number: int = 3) -> pydicom.Dataset:
    return pydicom.dcmread(next((hospital.home / "sent").glob(f"P-1-2024-03-04*/ct_{number:04d}.dcm")))


def _send(hospital: Hospital, image: pydicom.Dataset, folder: Path) -> None:
    image.save_as(folder / "sent.dcm")
    hospital.receive_folder(folder / "sent.dcm")


def _rows(hospital: Hospital) -> dict[str, str]:
    with rows(hospital.context) as session:
        return {row.path: row.sha256 for row in session.scalars(select(InstanceRow))}


def _other_pixels(image) -> None:
    image.PixelData = bytes(len(image.PixelData))


def _other_patient(image) -> None:
    image.PatientID, image.PatientName = "P-7", "Other^Body"


@pytest.mark.parametrize(
    ("change", "difference", "keyword"),
    [
        (_other_pixels, "other pixels", None),
        (_other_patient, "another patient", "PatientID"),
        (lambda i: setattr(i, "StudyInstanceUID", "1.2.3"), "another study", "StudyInstanceUID"),
        (lambda i: setattr(i, "SeriesInstanceUID", "1.2.3"), "another series", "SeriesInstanceUID"),
        (lambda i: setattr(i, "StudyDate", "20240606"), "another header, the same pixels", "StudyDate"),
    ],
    ids=["pixels", "patient", "study", "series", "header"],
)
def test_other_content_for_a_uid_is_kept_with_what_differs_and_replaces_nothing(
    received, tmp_path, change: Callable[[pydicom.Dataset], None], difference, keyword
):
    before = _rows(received)
    image = _slice(received)
    change(image)
    _send(received, image, tmp_path)
    assert _rows(received) == before
    assert all(Path(path).exists() for path in before)
    (kept,) = received.context.reception.conflicts()
    assert kept.difference == difference
    assert keyword is None or keyword in kept.keywords
    assert pydicom.dcmread(kept.files[0]) == image
    (line,) = received.status()["quarantine"]
    assert difference in line["reason"]
    assert "Other" not in line["reason"] + line["what"]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, JPEGLSLossless])
def test_an_equal_copy_in_another_encoding_is_no_conflict_and_leaves_no_file(received, tmp_path, syntax):
    before, files = _rows(received), set((received.settings.home / "received").rglob("*.dcm"))
    image = _slice(received)
    if syntax == JPEGLSLossless:
        image.compress(syntax, generate_instance_uid=False)
    else:
        image.file_meta.TransferSyntaxUID = syntax
    _send(received, image, tmp_path)
    assert received.context.reception.conflicts() == []
    assert _rows(received) == before
    assert set((received.settings.home / "received").rglob("*.dcm")) == files


def test_a_sender_who_sends_a_conflict_again_and_again_makes_one(received, tmp_path):
    for _ in range(3):
        image = _slice(received)
        _other_pixels(image)
        _send(received, image, tmp_path)
    (kept,) = received.context.reception.conflicts()
    assert len(kept.files) == 1


def test_no_sender_can_empty_another_patients_baseline(hospital, tmp_path):
    hospital.process(ONE_LESION, replace(FOLLOW_UP, spheres=FOLLOW_UP.spheres[:1]))
    before = hospital.time_points()
    stolen, foreign = _slice(hospital), _slice(hospital, 4)
    _other_patient(stolen)
    _send(hospital, stolen, tmp_path)
    _other_patient(foreign)  # a new instance that claims to belong to the study
    foreign.SOPInstanceUID = foreign.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    _send(hospital, foreign, tmp_path)
    hospital.work()
    assert hospital.time_points() == before
    assert states(before) == ["DRAFT", "DRAFT"]
    (kept,) = hospital.context.reception.conflicts()
    assert (kept.difference, len(kept.files)) == ("another patient", 2)


def test_a_study_that_a_former_version_received_is_its_patients(hospital, tmp_path):
    hospital.process(ONE_LESION)
    with rows(hospital.context) as session:
        for study in session.scalars(select(StudyRow)):
            study.identity = None
    foreign = _slice(hospital)
    _other_patient(foreign)
    foreign.SOPInstanceUID = foreign.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    _send(hospital, foreign, tmp_path)
    (kept,) = hospital.context.reception.conflicts()
    assert kept.difference == "another patient"


def test_a_corrected_name_is_taken_by_a_person_audited_and_asked_about_once(received, tmp_path):
    first, corrected = _slice(received), _slice(received)
    corrected.PatientName = "Married^Person"
    _send(received, corrected, tmp_path)
    (kept,) = received.context.reception.conflicts()
    reception = received.context.reception
    assert reception.decide_conflict(kept.key, take=True, by="Roe", reason="marriage") == 1
    assert str(kept.files[0]) in _rows(received)
    with rows(received.context) as session:
        (entry,) = session.scalars(select(AuditRow).where(AuditRow.action == "other content taken"))
        assert (entry.actor, entry.object) == ("Roe", first.SOPInstanceUID)
        assert entry.detail["why"] == "marriage"
    _send(received, first, tmp_path)  # an old system sends the former content once more
    _send(received, corrected, tmp_path)
    assert reception.conflicts() == []
    assert str(kept.files[0]) in _rows(received)
    with pytest.raises(UnsuitableInputError, match="no open conflict"):
        reception.decide_conflict(kept.key, take=False, by="Roe", reason="again")


def test_what_is_left_is_not_asked_about_again(received, tmp_path, monkeypatch):
    image, before = _slice(received), _rows(received)
    _other_pixels(image)
    _send(received, image, tmp_path)
    monkeypatch.setenv("TUMORLINE_HOME", str(received.settings.home))
    run = CliRunner().invoke
    assert run(app, ["conflicts", "--json"]).exit_code == 1
    (kept,) = received.context.reception.conflicts()
    assert run(app, ["conflicts", "--leave", str(kept.key)]).exit_code == 2  # by whom, and why?
    left = run(app, ["conflicts", "--leave", str(kept.key), "--by", "Roe", "--reason", "a phantom"])
    assert left.exit_code == 0
    _send(received, image, tmp_path)
    assert run(app, ["conflicts"]).exit_code == 0
    assert _rows(received) == before
    assert received.status()["quarantine"] == []


def test_a_study_that_misses_what_was_kept_says_so(received, tmp_path):
    image = _slice(received)
    _other_patient(image)
    _send(received, image, tmp_path)
    received.work()
    assert any("another patient" in text for text in received.time_points()[0]["attention"])
