"""Dates, identities and content digests out of files."""

from __future__ import annotations

from datetime import date, time

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless

from dicom_io.adapters import DicomImages
from dicom_io.parsing import quiet

from .support import image, random_array, save, uid, write_slices

NO_DATES = {"StudyDate": None, "StudyTime": None}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, (date(2024, 1, 2), time(10, 11, 12), "StudyDate")),
        ({"StudyTime": None}, (date(2024, 1, 2), None, "StudyDate")),
        (
            {**NO_DATES, "SeriesDate": "20240103", "SeriesTime": "0900"},
            (date(2024, 1, 3), time(9), "SeriesDate"),
        ),
        (
            {**NO_DATES, "StudyDate": "00000000", "SeriesDate": "20240103"},
            (date(2024, 1, 3), None, "SeriesDate"),
        ),
        (
            {**NO_DATES, "StudyDate": "202401", "SeriesDate": "20240103"},
            (date(2024, 1, 3), None, "SeriesDate"),
        ),
        (
            {**NO_DATES, "StudyDate": "20240231", "SeriesDate": "20240103"},
            (date(2024, 1, 3), None, "SeriesDate"),
        ),
        (
            {**NO_DATES, "StudyDate": "99991231", "SeriesDate": "20240103"},
            (date(2024, 1, 3), None, "SeriesDate"),
        ),
        (
            {**NO_DATES, "AcquisitionDateTime": "20240104101500.5+0100"},
            (date(2024, 1, 4), time(10, 15, 0, 500000), "AcquisitionDate"),
        ),
        (
            {**NO_DATES, "AcquisitionDateTime": "2024", "ContentDate": "20240105"},
            (date(2024, 1, 5), None, "ContentDate"),
        ),
        (NO_DATES, (None, None, "")),
    ],
)
def test_the_date_comes_from_what_the_files_bear(tmp_path, attributes, expected):
    with quiet():  # pydicom warns of dates that are none
        path = save(image(**attributes), tmp_path / "one.dcm")
    facts = DicomImages().study_facts([path])
    assert (facts.study_date, facts.study_time, facts.dated_by) == expected
    assert [identity.patient_id for identity in facts.identities] == ["P1"]


def test_a_damaged_file_is_a_doubt_and_the_rest_counts(tmp_path):
    paths = write_slices(tmp_path, random_array((2, 3, 3)))
    paths[1].write_bytes(b"no DICOM")
    facts = DicomImages().study_facts(paths)
    assert facts.dated_by == "StudyDate"
    assert "one instance is left out" in facts.doubts[0]


def digests(paths):
    return list(DicomImages().pixel_digests(paths).values())


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_a_copy_under_other_uids_has_the_same_digests(tmp_path, syntax):
    paths = write_slices(tmp_path / "a", random_array((4, 5, 6)))
    copies = []
    for k, path in enumerate(paths):
        dataset = dcmread(path)
        dataset.SOPInstanceUID, dataset.SeriesInstanceUID = uid("copy", k), uid("copied series")
        dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = uid("copied study"), uid("copied frame")
        dataset.SeriesDescription, dataset.InstanceNumber = "from elsewhere", 100 - k
        dataset.ImagePositionPatient = [f"{float(x):.2f}" for x in dataset.ImagePositionPatient]
        copies.append(
            save(dataset, tmp_path / "b" / path.name, syntax or dataset.file_meta.TransferSyntaxUID)
        )
    assert digests(paths) == digests(copies)
    assert len(set(digests(paths))) == 4


def test_a_compressed_copy_with_another_offset_table_has_the_same_digest(tmp_path):
    dataset = image(Rows=40, Columns=40, PixelData=random_array((1, 40, 40)).tobytes())
    save(dataset, tmp_path / "plain.dcm")
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    path = save(dataset, tmp_path / "a.dcm", JPEG2000Lossless)
    before = dataset.PixelData
    # An empty basic offset table in place of one with the first fragment's offset (PS3.5 A.4).
    assert before[4:8] == b"\4\0\0\0"
    dataset.PixelData = b"\xfe\xff\0\xe0\0\0\0\0" + before[12:]
    dataset["PixelData"].is_undefined_length = True
    other = save(dataset, tmp_path / "b.dcm", JPEG2000Lossless)
    assert digests([path]) == digests([other])


@pytest.mark.parametrize(
    "change",
    [
        {"PixelData": b"\1" * 40},
        {"ImagePositionPatient": [0.0, 0.0, 2.0]},
        {"StudyDate": "20240402"},
        {"AcquisitionDate": "20240102", "AcquisitionTime": "101112"},
        {"RescaleIntercept": -1024},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_picture_place_or_time_has_another_digest(tmp_path, change):
    one = save(image(), tmp_path / "one.dcm")
    other = save(image(**change), tmp_path / "other.dcm")
    assert digests([one]) != digests([other])


def test_what_is_no_image_has_no_digest(tmp_path):
    report = image(Modality="SR", Rows=None, Columns=None, PixelData=None)
    assert digests([save(report, tmp_path / "report.dcm")]) == []
