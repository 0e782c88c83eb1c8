"""What a reader stores comes in as that reader's, at once, and reaches the report with the name."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pydicom
import pytest
from hospital import RIGHT, Hospital, Sphere, Study, rows
from sqlalchemy import select

from db.tables import AuditRow, InstanceRow
from workflow.domain.states import StudyState
from workflow.domain.users import User, UserRole
from workflow.use_cases.marks import Taken, take_in

READER = User(name="dr.reader", full_name="Rita Reader", roles=frozenset({UserRole.READER}))
DAY = date(2026, 3, 2)


@pytest.fixture
def unmarked(hospital) -> Hospital:
    """A baseline that waits for marks, in a hospital that waits an hour for silence."""
    hospital.process(Study(day=DAY, spheres=(Sphere(centre_lps=RIGHT, diameter_mm=16),)))
    settings = hospital.settings
    slow = settings.readiness.model_copy(update={"quiet_s": 3600.0})
    hospital.context = replace(hospital.context, settings=settings.model_copy(update={"readiness": slow}))
    return hospital


def marks(folder: Path, **changed: str) -> bytes:
    """The measurements of a reader on that baseline."""
    Study(day=DAY, spheres=(Sphere(centre_lps=RIGHT, diameter_mm=16, is_prompted=True),)).write(folder)
    path = folder / "sr.dcm"
    if changed:
        dataset = pydicom.dcmread(path)
        for keyword, value in changed.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    return path.read_bytes()


def study_state(hospital: Hospital) -> str:
    (uid,) = {point["study_instance_uid"] for point in hospital.time_points()}
    return hospital.context.reception.known_study(uid).state


def test_marks_are_worked_on_at_once_and_reach_the_report_with_their_author(unmarked, tmp_path):
    assert unmarked.time_points()[0]["state"] == "AWAITING_PROMPTS"
    taken = take_in(unmarked.context, [marks(tmp_path / "drawn")], READER, "STOW-RS")
    assert [one.outcome for one in taken.objects] == [Taken.MARKS]
    unmarked.work()
    point = unmarked.time_points()[0]
    assert point["state"] == "DRAFT"
    (lesion,) = point["report"]["lesions"]
    assert lesion["marked_by"] == "dr.reader"
    assert "marked by dr.reader" in lesion["reason"]  # what page and PDF show


def test_what_a_machine_sends_still_waits_for_silence(unmarked, tmp_path):
    marks(tmp_path / "drawn")
    (tmp_path / "arrived").mkdir()
    (tmp_path / "drawn" / "sr.dcm").rename(tmp_path / "arrived" / "sr.dcm")
    unmarked.receive_folder(tmp_path / "arrived")
    assert study_state(unmarked) == StudyState.RECEIVING
    assert unmarked.context.jobs.due({"ingest"}, limit=9) == ()


def test_a_study_whose_images_still_come_is_not_closed_for_its_marks(unmarked, tmp_path):
    content = marks(tmp_path / "drawn")
    image = pydicom.dcmread(min((tmp_path / "drawn").glob("*.dcm")))
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    image.SeriesInstanceUID = "1.2.3"
    (tmp_path / "arrived").mkdir()
    image.save_as(tmp_path / "arrived" / "late.dcm")
    unmarked.receive_folder(tmp_path / "arrived")
    assert take_in(unmarked.context, [content], READER, "STOW-RS").is_whole
    assert study_state(unmarked) == StudyState.RECEIVING


def test_a_study_that_nobody_has_looked_at_yet_takes_no_marks(unmarked, tmp_path):
    Study(day=DAY, key="late", spheres=(Sphere(centre_lps=RIGHT, diameter_mm=16, is_prompted=True),)).write(
        tmp_path / "late"
    )
    content = (tmp_path / "late" / "sr.dcm").read_bytes()
    (tmp_path / "late" / "sr.dcm").unlink()
    unmarked.receive_folder(tmp_path / "late")
    (one,) = take_in(unmarked.context, [content], READER, "STOW-RS").objects
    assert one.outcome is Taken.NO_STUDY
    assert "waits" in one.said


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"PatientID": "P-2"}, Taken.OTHER_PATIENT),
        ({"PatientBirthDate": "19700101"}, Taken.OTHER_PATIENT),
        ({"StudyInstanceUID": "1.2.3.4"}, Taken.NO_STUDY),
    ],
)
def test_marks_of_another_patient_or_study_are_refused_and_put_nothing_in_doubt(
    unmarked, tmp_path, changed, outcome
):
    taken = take_in(unmarked.context, [marks(tmp_path / "drawn", **changed)], READER, "STOW-RS")
    assert [one.outcome for one in taken.objects] == [outcome]
    assert not taken.is_whole
    assert study_state(unmarked) == StudyState.INGESTED
    assert any("dr.reader" in kept["reason"] for kept in unmarked.status()["quarantine"])


def test_marks_that_leave_out_the_issuer_are_taken(unmarked, tmp_path):
    """Viewers copy patients by half; the reader had this very study open."""
    taken = take_in(
        unmarked.context, [marks(tmp_path / "drawn", PatientBirthDate="", PatientName="")], READER, "STOW-RS"
    )
    assert taken.is_whole
    unmarked.work()
    assert unmarked.time_points()[0]["state"] == "DRAFT"


def test_one_bad_object_stops_no_other_and_the_same_twice_changes_nothing(unmarked, tmp_path):
    content = marks(tmp_path / "drawn")
    taken = take_in(unmarked.context, [b"no DICOM", content, content], READER, "STOW-RS")
    assert [one.outcome for one in taken.objects] == [Taken.NOT_DICOM, Taken.MARKS, Taken.KNOWN]


def test_who_stored_what_is_audited_and_remembered(unmarked, tmp_path):
    (one,) = take_in(unmarked.context, [marks(tmp_path / "drawn")], READER, "CANVAS").objects
    with rows(unmarked.context) as session:
        entry = session.scalars(select(AuditRow).where(AuditRow.action == "stored")).one()
        stored = session.scalars(
            select(InstanceRow).where(InstanceRow.sop_instance_uid == one.sop_instance_uid)
        ).one()
        assert (entry.actor, entry.object, stored.stored_by) == (
            "dr.reader",
            one.sop_instance_uid,
            "dr.reader",
        )


def test_the_report_says_in_dicom_whose_mark_it_was(tmp_path):
    hospital = Hospital(tmp_path, writes_real_results=True)
    hospital.process(Study(day=DAY, spheres=(Sphere(centre_lps=RIGHT, diameter_mm=16),)))
    take_in(hospital.context, [marks(tmp_path / "drawn")], READER, "STOW-RS")
    hospital.work()
    (made,) = [o for o in hospital.time_points()[0]["objects"] if o["role"] == "sr"]
    sources = [
        item
        for item in _items(pydicom.dcmread(made["path"]))
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Source of Lesion Prompt"
    ]
    assert {str(item.ContentSequence[0].PersonName) for item in sources} == {"dr.reader"}


def _items(parent: pydicom.Dataset) -> list[pydicom.Dataset]:
    own = list(parent.get("ContentSequence", []))
    return [*own, *(below for item in own for below in _items(item))]
