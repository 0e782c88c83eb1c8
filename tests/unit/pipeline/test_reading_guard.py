"""One guard around all reading: whatever a decoder raises names the object and costs nothing else."""

from __future__ import annotations

import struct
import warnings
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from hospital import Hospital, rows
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless
from sqlalchemy import select
from test_course_of_a_patient import BASELINE

from db.tables import PatientRow, StudyRow
from dicom_io.parsing import quiet, reading
from dicom_io.references import referenced_uids
from dicom_io.structure import DEEPEST, MOST_ELEMENTS, limit_structure
from workflow.domain.errors import ConflictError, TransientError, UnsuitableInputError


class PanicError(BaseException):
    """As Rust's PanicException: no Exception."""


@pytest.mark.parametrize(
    "raised",
    [MemoryError(), OSError("a decoder's"), NotImplementedError(), RecursionError(), PanicError("Doe^Jane")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_decoder_raises_becomes_a_reason_that_names_the_object_and_nobody(raised):
    with (
        pytest.raises(UnsuitableInputError, match=f"slice.dcm.*{type(raised).__name__}") as caught,
        reading("slice.dcm"),
    ):
        raise raised
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(0), TransientError("no disk")])
def test_a_request_to_end_and_what_is_named_already_pass(raised):
    with pytest.raises(type(raised)), reading("slice.dcm"):
        raise raised


def test_one_thread_that_is_done_does_not_make_another_one_loud():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        first, second = quiet(), quiet()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        warnings.warn("Doe^Jane", stacklevel=1)
        second.__exit__(None, None, None)
        warnings.warn("said", stacklevel=1)
    assert [str(one.message) for one in heard] == ["said"]


def _sequence(depth: int) -> bytes:
    opened = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return opened * depth


def test_sequences_without_a_bottom_and_elements_without_end_are_refused():
    limit_structure(_sequence(DEEPEST), is_implicit=False)
    with pytest.raises(UnsuitableInputError, match="deep"):
        limit_structure(_sequence(DEEPEST + 1), is_implicit=False)
    few = struct.pack("<HHI", 8, 0x60, 0) * (MOST_ELEMENTS + 1)
    with pytest.raises(UnsuitableInputError, match="elements"):
        limit_structure(few, is_implicit=True)
    limit_structure(few[:-8], is_implicit=True)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_as_many_elements_are_counted_as_the_parser_makes(tmp_path, syntax, monkeypatch):
    BASELINE.write(tmp_path / "study")
    report = pydicom.dcmread(tmp_path / "study" / "sr.dcm")
    report.file_meta.TransferSyntaxUID = syntax
    report.save_as(tmp_path / "sr.dcm")
    again = pydicom.dcmread(tmp_path / "sr.dcm")
    content = (tmp_path / "sr.dcm").read_bytes()
    start = 144 + struct.unpack("<I", content[140:144])[0]
    elements = list(again.iterall())
    items = sum(len(element.value) for element in elements if element.VR == "SQ")
    monkeypatch.setattr("dicom_io.structure.MOST_ELEMENTS", len(elements) + items)
    limit_structure(content[start:], is_implicit=syntax == ImplicitVRLittleEndian)
    monkeypatch.setattr("dicom_io.structure.MOST_ELEMENTS", len(elements) - 1)
    with pytest.raises(UnsuitableInputError):
        limit_structure(content[start:], is_implicit=syntax == ImplicitVRLittleEndian)


def _broken_sr(path: Path) -> None:
    """An SR whose content items can't be walked."""
    report = pydicom.dcmread(path)
    content = path.read_bytes()
    assert content.count(b"CONTAINER")
    path.write_bytes(content.replace(b"CONTAINER ", b"CONT\0\xff\xff\xff\xff ")[: len(content) - 300])
    assert report.Modality == "SR"


def test_one_damaged_report_costs_itself_and_says_so(hospital, tmp_path):
    study = replace(BASELINE, spheres=BASELINE.spheres[:1])
    study.write(tmp_path / "study")
    bad = pydicom.dcmread(tmp_path / "study" / "sr.dcm")
    bad.SOPInstanceUID = bad.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    bad.save_as(tmp_path / "study" / "bad.dcm")
    _broken_sr(tmp_path / "study" / "bad.dcm")
    hospital.receive_folder(tmp_path / "study")
    hospital.work()
    (point,) = hospital.time_points()
    assert point["state"] == "DRAFT"
    assert [lesion["label"] for lesion in point["report"]["lesions"]] == ["T01"]
    assert any("1.2.3.4.5" in text for text in point["attention"])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless])
def test_one_damaged_slice_costs_itself_and_says_so(hospital, tmp_path, syntax):
    series = replace(BASELINE, spheres=BASELINE.spheres[:1]).write(tmp_path / "study")
    if syntax == JPEGLSLossless:
        for path in series.paths:
            image = pydicom.dcmread(path)
            image.compress(syntax, generate_instance_uid=False)
            image.save_as(path)
    damaged = series.paths[-1]
    damaged.write_bytes(damaged.read_bytes()[:-40])
    hospital.receive_folder(tmp_path / "study")
    hospital.work()
    (point,) = hospital.time_points()
    assert point["state"] == "DRAFT"
    uid = str(series.images[-1].SOPInstanceUID)
    assert any("1 image is damaged" in text and uid in text for text in point["attention"])
    assert hospital.status()["quarantine"] == []


def test_a_panic_while_references_are_read_is_no_reference(tmp_path, monkeypatch):
    BASELINE.write(tmp_path / "study")

    def panic(*_) -> None:
        raise PanicError

    monkeypatch.setattr("dicom_io.references._uids", panic)
    assert referenced_uids(tmp_path / "study" / "sr.dcm") == frozenset()


def test_long_values_are_kept_whole_or_cut_with_a_word_and_an_identifier_is_never_cut(hospital, tmp_path):
    series = replace(BASELINE, spheres=()).write(tmp_path / "study")
    for path in series.paths:
        image = pydicom.dcmread(path)
        with quiet():
            image.AccessionNumber, image.PatientID = "A" * 200, "P" * 500
            image.PatientName, image.StudyDescription = "N" * 300, "d" * 1500
            image.save_as(path)
    hospital.receive_folder(tmp_path / "study")
    hospital.work()
    with rows(hospital.context) as session:
        (patient,) = session.scalars(select(PatientRow))
        (study,) = session.scalars(select(StudyRow))
        assert (patient.patient_id, patient.patient_name) == ("P" * 500, "N" * 300)
        assert (study.accession_number, study.description) == ("A" * 200, "d" * 1000)
        assert any("StudyDescription" in doubt for doubt in study.revisions[-1].doubts)
    image = pydicom.dcmread(series.paths[0])
    with quiet():
        image.PatientID, image.StudyInstanceUID = "P" * 2000, "1.2.3"
        image.save_as(tmp_path / "longer.dcm")
    (rejected,) = hospital.receive_folder(tmp_path / "longer.dcm").rejected
    assert "PatientID has 2000 characters" in rejected[1]
    assert "PPPP" not in rejected[1]


def test_errors_of_the_database_quote_no_values(tmp_path):
    hospital = Hospital(tmp_path)
    with rows(hospital.context) as session:
        session.add(PatientRow(id=1, patient_id="Doe^Jane"))
    with pytest.raises(ConflictError) as caught, rows(hospital.context) as session:  # noqa: PT012
        session.add(PatientRow(id=1, patient_id="Doe^Jane"))
        session.flush()
    told = f"{caught.value} {caught.value.__cause__}"
    assert "hidden" in told
    assert "Doe^Jane" not in told
