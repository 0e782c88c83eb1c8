"""A header is read or the file refused; nothing else, whatever the bytes are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_io.headers import read_header
from dicom_io.series import describe_study
from dicom_io.volumes import read_volume
from workflow.domain.errors import UnsuitableInputError

from .support import CT, image, save, uid


def test_a_header_says_whose_image_it_is_and_where_it_belongs(tmp_path):
    dataset = image(
        IssuerOfPatientID="HOSPITAL",
        PatientBirthDate="19601231",
        PatientSex="F",
        AccessionNumber="A7",
        BodyPartExamined="CHEST",
        ProtocolName="Thorax venous",
    )
    header = read_header(save(dataset, tmp_path / "one.dcm"))
    assert header.patient_key == ("P1", "HOSPITAL")
    assert (header.patient_name, header.patient_sex) == ("Phantom^One", "F")
    assert header.patient_birth_date == date(1960, 12, 31)
    assert header.study_at == datetime(2024, 1, 2, 10, 11, 12)
    assert header.sop_class_uid == CT
    assert header.study_instance_uid == uid("study")
    assert header.transfer_syntax_uid == ExplicitVRLittleEndian
    assert (header.accession_number, header.body_part_examined) == ("A7", "CHEST")
    assert (header.series_number, header.instance_number) == (3, 1)


def test_pixels_are_not_needed_for_a_header(tmp_path):
    path = save(image(), tmp_path / "one.dcm")
    path.write_bytes(path.read_bytes()[:-40])
    assert read_header(path).patient_id == "P1"


@pytest.mark.parametrize(
    ("birth_date", "expected"),
    [("1960.12.31", date(1960, 12, 31)), ("", None), ("19601341", None), ("unknown", None)],
)
def test_a_birth_date_that_is_none_is_unknown_and_not_an_error(tmp_path, birth_date, expected):
    dataset = image()
    dataset.add_new("PatientBirthDate", "LO", birth_date)
    dataset["PatientBirthDate"].VR = "LO"
    assert read_header(save(dataset, tmp_path / "one.dcm")).patient_birth_date == expected


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("chrArab.dcm", "قباني^لنزار"),
        ("chrFren.dcm", "Buc^Jérôme"),
        ("chrFrenMulti.dcm", "Buc^Jérôme"),
        ("chrGerm.dcm", "Äneas^Rüdiger"),
        ("chrGreek.dcm", "Διονυσιος"),
        ("chrH31.dcm", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("chrH32.dcm", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("chrHbrw.dcm", "שרון^דבורה"),
        ("chrI2.dcm", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("chrJapMulti.dcm", "やまだ^たろう"),
        ("chrJapMultiExplicitIR6.dcm", "やまだ^たろう"),
        ("chrKoreanMulti.dcm", "김희중"),
        ("chrRuss.dcm", "Люкceмбypг"),
        ("chrX1.dcm", "Wang^XiaoDong=王^小東"),
        ("chrX2.dcm", "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_are_decoded_from_their_character_sets(real_cases, file, name):
    folder = real_cases / "robustness" / "pydicom_test_files" / "charset_files"
    assert read_header(folder / file).patient_name == name


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a DICOM file"),
        (b"hello", "not a DICOM file"),
        (b"\0" * 128 + b"DICM", "TransferSyntaxUID|SOPClassUID|damaged"),
        (b"\0" * 128 + b"DICM" + b"\xff" * 400, "damaged|SOPClassUID"),
    ],
)
def test_what_is_no_dicom_file_is_refused_by_name(tmp_path, content, reason):
    path = tmp_path / "thing.dcm"
    path.write_bytes(content)
    with pytest.raises(UnsuitableInputError, match=reason) as refusal:
        read_header(path)
    assert str(path) in str(refusal.value)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    for path in (tmp_path / "none.dcm", tmp_path):
        with pytest.raises(UnsuitableInputError, match=f"{path}: can't be opened"):
            read_header(path)


def test_a_dicomdir_is_refused_as_what_it_is(tmp_path):
    path = save(image(SOPClassUID="1.2.840.10008.1.3.10"), tmp_path / "DICOMDIR")
    with pytest.raises(UnsuitableInputError, match="a DICOMDIR lists images and holds none"):
        read_header(path)


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_an_instance_without_its_identity_is_refused(tmp_path, keyword):
    dataset = image()
    path = save(dataset, tmp_path / "one.dcm")
    delattr(dataset, keyword)
    path = save(dataset, tmp_path / "two.dcm") if keyword != "SOPClassUID" else _without(path, tmp_path)
    with pytest.raises(UnsuitableInputError, match=f"{keyword} is missing"):
        read_header(path)


def _without(path: Path, folder: Path) -> Path:
    """The file with its SOP Class UID's value blanked, which the writer would not do."""
    whole = path.read_bytes()
    place = whole.rindex(CT.encode())
    (folder / "blank.dcm").write_bytes(whole[:place] + b"\0" * len(CT) + whole[place + len(CT) :])
    return folder / "blank.dcm"


@pytest.mark.parametrize("value", ["../../etc/passwd", "1.2.3/4", "1..2", "1." * 40 + "1"])
def test_a_uid_that_could_leave_its_folder_is_refused(tmp_path, value):
    dataset = image()
    dataset["SeriesInstanceUID"]._value = value
    with pytest.raises(UnsuitableInputError, match="SeriesInstanceUID is not a UID"):
        read_header(save(dataset, tmp_path / "one.dcm"))


def test_no_refusal_names_the_patient(tmp_path):
    dataset = image(PatientName="Secret^Name", PatientID="SECRET-77", Rows=0)
    with pytest.raises(UnsuitableInputError) as refusal:
        read_volume([save(dataset, tmp_path / "one.dcm")])
    assert "secret" not in str(refusal.value).lower()


# ---------------------------------------------------------------- fuzz

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("originals")
    files = [
        save(
            image(PatientName="Äneas^Rüdiger", SpecificCharacterSet="ISO_IR 100"), folder / f"{i}.dcm", syntax
        )
        for i, syntax in enumerate(SYNTAXES)
    ]
    return [file.read_bytes() for file in files]


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused_and_nothing_else(originals, data):
    content = bytearray(data.draw(st.sampled_from(originals)))
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(128, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzzed.dcm"
        path.write_bytes(content)
        describe_study([path])  # reports what it can't read, never raises
        for read in (read_header, lambda file: read_volume([file])):
            assert _refusal(read, path) is None or "fuzzed.dcm" in str(_refusal(read, path))


def _refusal(read: Callable[[Path], object], path: Path) -> UnsuitableInputError | None:
    try:
        read(path)
    except UnsuitableInputError as refusal:
        return refusal
    return None


@settings(max_examples=60, deadline=None)
@given(tail=st.binary(max_size=300))
def test_any_bytes_behind_the_prefix_are_read_or_refused_and_nothing_else(tail):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.dcm"
        path.write_bytes(b"\0" * 128 + b"DICM" + tail)
        with pytest.raises(UnsuitableInputError):
            read_header(path)
