"""Our DICOMweb server, asked by dicomweb-client over a socket, and byte by byte where that hides things."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import date
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
import uvicorn
from browser import PASSWORD, open_browser
from dicomweb_client import DICOMwebClient
from fastapi.testclient import TestClient
from hospital import RIGHT, Hospital, Sphere, Study
from phantoms import Phantom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless, RLELossless

from dicom_io.web.frames import NoPixelsError, decoded_array, open_frames
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.users import User, UserRole
from workflow.web import make_app

DAY, LATER = date(2026, 3, 2), date(2026, 6, 1)
SPHERE = Sphere(centre_lps=RIGHT, diameter_mm=16, is_prompted=True)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Hospital:
    """Two visits of one patient with results, and one study of another."""
    hospital = Hospital(tmp_path_factory.mktemp("dicomweb"), writes_real_results=True)
    hospital.process(
        Study(day=DAY, spheres=(SPHERE,)),
        Study(day=LATER, spheres=(Sphere(centre_lps=RIGHT, diameter_mm=10),)),
        Study(day=DAY, patient_id="P-2", name="Other^Person", spheres=()),
    )
    return hospital


@pytest.fixture(scope="module")
def root(hospital) -> Iterator[str]:
    """The server's address."""
    settings = hospital.settings
    web = settings.web.model_copy(update={"login": False})
    app = make_app(hospital.context, settings.model_copy(update={"web": web}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}/dicom-web"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def client(root) -> DICOMwebClient:
    # As a browser of ours would; its Host header has no port.
    return DICOMwebClient(root, headers={"Origin": "http://127.0.0.1"})


@pytest.fixture(scope="module")
def sent(hospital) -> list[pydicom.Dataset]:
    """The baseline's images as they were sent, in slice order."""
    folder = hospital.home / "sent" / f"P-1-{DAY}-0900-"
    images = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    return sorted((i for i in images if i.Modality == "CT"), key=lambda i: int(i.InstanceNumber))


def uids(image: pydicom.Dataset) -> tuple[str, str, str]:
    return image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID


def value(found: dict, keyword: str):
    return pydicom.Dataset.from_json(found)[keyword].value


# ---------------------------------------------------------------- QIDO-RS


def test_studies_are_found_the_latest_first_with_what_the_standard_lists(client, sent):
    (
        first,
        *_,
    ) = client.search_for_studies(search_filters={"PatientID": "P-1"})
    baseline = client.search_for_studies(search_filters={"StudyInstanceUID": sent[0].StudyInstanceUID})[0]
    assert value(first, "StudyDate") == "20260601"
    assert value(baseline, "PatientName") == "Test^Person"
    assert value(baseline, "ModalitiesInStudy") == ["CT", "SEG", "SR"]
    # 16 images and a reader's SR were sent; SEG and SR are ours, and the course is in the latest study.
    assert value(baseline, "NumberOfStudyRelatedInstances") == len(sent) + 3
    assert value(baseline, "RetrieveURL").endswith(f"/dicom-web/studies/{sent[0].StudyInstanceUID}")


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"PatientID": "P-1"}, 2),
        ({"PatientID": "P-*"}, 3),
        ({"PatientID": "P_1"}, 0),
        ({"PatientName": "other*"}, 1),
        ({"PatientName": "Other"}, 0),
        ({"00100010": "Other^Person"}, 1),
        ({"StudyDate": "20260302"}, 2),
        ({"StudyDate": "20260303-"}, 1),
        ({"StudyDate": "-20260302"}, 2),
        ({"ModalitiesInStudy": "SR"}, 2),
        ({"ModalitiesInStudy": "MR"}, 0),
        ({"StudyDescription": "CT*"}, 3),
        ({"StudyInstanceUID": "1.2.3"}, 0),
        ({"PatientSex": "X"}, 0),
        ({"PatientSex": "O"}, 3),
        ({"ModalitiesInStudy": "SEG"}, 2),
    ],
)
def test_a_study_is_found_by_its_keys(client, filters, count):
    assert len(client.search_for_studies(search_filters=filters)) == count


def test_pages_hold_every_study_once_and_say_that_there_are_more(root):
    pages = [httpx.get(f"{root}/studies", params={"limit": 2, "offset": offset}) for offset in (0, 2)]
    found = [study["0020000D"]["Value"][0] for page in pages for study in page.json()]
    assert (len(found), len(set(found))) == (3, 3)
    assert ["more results" in page.headers.get("warning", "") for page in pages] == [True, False]


def test_series_and_instances_are_found_below_their_study(client, sent):
    study, series, _ = uids(sent[0])
    found = client.search_for_series(study)
    assert sorted(value(one, "Modality") for one in found) == ["CT", "SEG", "SR", "SR"]
    ct = next(one for one in found if value(one, "Modality") == "CT")
    assert (value(ct, "SeriesInstanceUID"), value(ct, "NumberOfSeriesRelatedInstances")) == (
        series,
        len(sent),
    )
    instances = client.search_for_instances(study, series)
    assert {value(one, "SOPInstanceUID") for one in instances} == {image.SOPInstanceUID for image in sent}
    (one,) = client.search_for_instances(study, series, search_filters={"InstanceNumber": "3"})
    assert value(one, "SOPInstanceUID") == sent[2].SOPInstanceUID
    assert len(client.search_for_series(search_filters={"Modality": "SEG"})) == 2


def test_what_is_asked_for_beside_the_standard_is_added(client, sent):
    study, series, instance = uids(sent[0])
    (plain,) = client.search_for_instances(study, series, search_filters={"SOPInstanceUID": instance})
    (more,) = client.search_for_instances(
        study, series, search_filters={"SOPInstanceUID": instance}, fields=["SliceThickness"]
    )
    assert ("00180050" in plain, value(more, "SliceThickness")) == (False, sent[0].SliceThickness)


def test_fuzzy_matching_is_answered_as_literal_and_says_so(root):
    answer = httpx.get(f"{root}/studies", params={"PatientName": "Othr^Person", "fuzzymatching": "true"})
    assert answer.json() == []
    assert "Only literal matching has been performed" in answer.headers["warning"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/studies?limit=-1", 400),
        ("/studies?StudyDate=yesterday", 400),
        ("/studies?Colour=red", 400),
        ("/studies?includefield=Colour", 400),
        ("/studies?StudyInstanceUID=../../etc", 400),
        ("/studies/1.2.3/series", 404),
        ("/studies/1.2.3/metadata", 404),
        ("/studies/1.2.3/series/4/instances/5/frames/1", 404),
        ("/studies/..%2f..%2fetc%2fpasswd/metadata", 404),
    ],
)
def test_what_is_wrong_is_said_with_the_standards_status(root, path, status):
    answer = httpx.get(f"{root}{path}")
    assert answer.status_code == status
    assert str(Path.cwd()) not in answer.text


# ---------------------------------------------------------------- WADO-RS


def test_an_instance_comes_back_byte_by_byte(root, sent, hospital):
    study, series, instance = uids(sent[0])
    answer = httpx.get(
        f"{root}/studies/{study}/series/{series}/instances/{instance}",
        headers={"Accept": "application/dicom"},
    )
    (held,) = hospital.context.holdings.instances(study, series, instance)
    assert answer.content == held.path.read_bytes()


def test_a_study_comes_back_whole(client, sent):
    got = client.retrieve_study(sent[0].StudyInstanceUID)
    images = {one.SOPInstanceUID: one for one in got if one.Modality == "CT"}
    assert sorted(one.Modality for one in got) == [*["CT"] * len(sent), "SEG", "SR", "SR"]
    for image in sent:
        assert images[image.SOPInstanceUID].PixelData == image.PixelData


def test_metadata_say_everything_but_the_pixels(client, sent):
    study, series, _ = uids(sent[0])
    told = {one["00080018"]["Value"][0]: one for one in client.retrieve_series_metadata(study, series)}
    for image in sent:
        mine = told[image.SOPInstanceUID]
        assert "BulkDataURI" in mine.pop("7FE00010")
        expected = deepcopy(image)
        del expected.PixelData
        assert mine == expected.to_json_dict()


def test_large_values_are_named_in_the_metadata_and_fetched_on_their_own(root, sent):
    study, series, instance = uids(sent[0])
    base = f"{root}/studies/{study}/series/{series}/instances/{instance}"
    told = httpx.get(f"{base}/metadata").json()[0]
    address = told["7FE00010"]["BulkDataURI"]
    assert address == f"{base}/bulkdata/7FE00010"
    got = httpx.get(address, headers={"Accept": "application/octet-stream"})
    assert got.content == sent[0].PixelData
    assert httpx.get(f"{base}/bulkdata/00100010").status_code == 404


def test_frames_are_the_stored_pixels(client, sent):
    study, series, instance = uids(sent[4])
    (frame,) = client.retrieve_instance_frames(study, series, instance, [1])
    assert frame == sent[4].PixelData


@pytest.fixture(scope="module")
def multi_frame(hospital) -> dict[str, pydicom.Dataset]:
    """Three frames in RLE and in JPEG-LS, and packed bits whose frames begin within bytes."""
    made = {}
    rng = np.random.default_rng(7)
    folder = hospital.home / "more"
    folder.mkdir()
    source = next((hospital.home / "sent" / f"P-2-{DAY}-0900-").glob("*.dcm"))
    for number, (name, syntax) in enumerate((("rle", RLELossless), ("jls", JPEGLSLossless), ("bits", None))):
        image = pydicom.dcmread(source)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        image.SeriesInstanceUID, image.NumberOfFrames = f"1.2.{number + 1}", 3
        image.Rows, image.Columns = 7, 9
        if syntax is None:
            image.Modality, image.BitsAllocated, image.BitsStored, image.HighBit = "SEG", 1, 1, 0
            image.PixelRepresentation = 0
            frames = rng.integers(0, 2, (3, 7, 9), dtype=np.uint8)
            packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
            image.PixelData = packed + b"\0" * (len(packed) % 2)
        else:
            frames = rng.integers(-900, 900, (3, 7, 9), dtype=np.int16)
            image.PixelData, image.PixelRepresentation = frames.tobytes(), 1
            image.compress(syntax, generate_instance_uid=False)
        image.save_as(folder / f"{name}.dcm")
        image.frames = frames
        made[name] = image
    hospital.receive_folder(folder)
    return made


def parts_of(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """Parts of a multipart answer, taken apart by hand."""
    assert answer.status_code == 200, answer.text
    boundary = answer.headers["content-type"].split("boundary=")[1].strip('"').encode()
    pieces = answer.content.split(b"--" + boundary)[1:-1]
    heads = [piece.partition(b"\r\n\r\n") for piece in pieces]
    return [(head.decode().strip(), content[:-2]) for head, _, content in heads]


@pytest.mark.parametrize("name", ["rle", "jls", "bits"])
def test_frames_are_decoded_to_little_endian_unless_something_else_is_asked_for(root, multi_frame, name):
    image = multi_frame[name]
    study, series, instance = uids(image)
    base = f"{root}/studies/{study}/series/{series}/instances/{instance}"
    answer = httpx.get(
        f"{base}/frames/3,1", headers={"Accept": 'multipart/related; type="application/octet-stream"'}
    )
    expected = [image.frames[2], image.frames[0]]
    if name == "bits":
        wanted = [np.packbits(frame.ravel(), bitorder="little").tobytes() for frame in expected]
    else:
        wanted = [frame.astype("<i2").tobytes() for frame in expected]
    parts = parts_of(answer)
    assert [content for _, content in parts] == wanted
    assert all("transfer-syntax=1.2.840.10008.1.2.1" in head for head, _ in parts)


@pytest.mark.parametrize(
    ("name", "accept", "said"),
    [
        (
            "rle",
            'multipart/related; type="application/octet-stream"; transfer-syntax=*',
            "1.2.840.10008.1.2.5",
        ),
        ("jls", 'multipart/related; type="image/jls"', "image/jls"),
        (
            "jls",
            'multipart/related; type="application/octet-stream"; transfer-syntax=*',
            "1.2.840.10008.1.2.4.80",
        ),
    ],
)
def test_frames_are_given_as_they_are_stored_when_asked(root, multi_frame, name, accept, said):
    image = multi_frame[name]
    study, series, instance = uids(image)
    base = f"{root}/studies/{study}/series/{series}/instances/{instance}"
    parts = parts_of(httpx.get(f"{base}/frames/1,2,3", headers={"Accept": accept}))
    assert all(said in head for head, _ in parts)
    assert encapsulate([content for _, content in parts]) == image.PixelData


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("frames/4", "*/*", 404),
        ("frames/0", "*/*", 400),
        ("frames/1", 'multipart/related; type="image/jp2"', 406),
        (
            "frames/1",
            'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.4.90',
            406,
        ),
        ("metadata", "application/dicom+xml", 406),
        ("rendered", "video/mp4", 406),
        ("rendered?window=1", "image/png", 400),
        ("rendered?viewport=0,5", "image/png", 400),
    ],
)
def test_what_can_not_be_given_is_refused(root, multi_frame, path, accept, status):
    study, series, instance = uids(multi_frame["jls"])
    base = f"{root}/studies/{study}/series/{series}/instances/{instance}"
    assert httpx.get(f"{base}/{path}", headers={"Accept": accept}).status_code == status


def test_a_compressed_instance_is_written_anew_for_who_names_no_transfer_syntax(root, multi_frame):
    study, series, instance = uids(multi_frame["jls"])
    base = f"{root}/studies/{study}/series/{series}/instances/{instance}"
    plain = pydicom.dcmread(BytesIO(httpx.get(base, headers={"Accept": "application/dicom"}).content))
    as_stored = pydicom.dcmread(
        BytesIO(httpx.get(base, headers={"Accept": "application/dicom; transfer-syntax=*"}).content)
    )
    assert plain.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    np.testing.assert_array_equal(plain.pixel_array, multi_frame["jls"].frames)
    assert as_stored.file_meta.TransferSyntaxUID == JPEGLSLossless


def test_a_picture_shows_the_window_that_is_asked_for(root, sent):
    study, series, instance = uids(sent[11])
    base = f"{root}/studies/{study}/series/{series}/instances/{instance}"
    answer = httpx.get(f"{base}/rendered?window=-400,1000,linear", headers={"Accept": "image/png"})
    drawn = np.asarray(Image.open(BytesIO(answer.content)))
    hu = sent[11].pixel_array * float(sent[11].RescaleSlope) + float(sent[11].RescaleIntercept)
    # PS3.3 C.11.2.1.2.1, equation C.11-1
    expected = np.clip(((hu + 400.5) / 999 + 0.5) * 255, 0, 255)
    np.testing.assert_allclose(drawn, expected, atol=1)


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_a_thumbnail_is_a_small_jpeg(root, sent, level):
    study, series, instance = uids(sent[0])
    path = {"study": "", "series": f"/series/{series}", "instance": f"/series/{series}/instances/{instance}"}
    answer = httpx.get(f"{root}/studies/{study}{path[level]}/thumbnail", headers={"Accept": "image/*"})
    picture = Image.open(BytesIO(answer.content))
    assert (picture.format, max(picture.size)) == ("JPEG", 160)


# ---------------------------------------------------------------- STOW-RS


def drawn_marks(tmp_path: Path) -> pydicom.Dataset:
    """Another reader's measurement on the baseline."""
    other = Sphere(centre_lps=RIGHT, diameter_mm=15, is_prompted=True, label="again")
    Study(day=DAY, spheres=(other,)).write(tmp_path / "drawn")
    marks = pydicom.dcmread(tmp_path / "drawn" / "sr.dcm")
    marks.SOPInstanceUID = marks.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{time.monotonic_ns()}"
    return marks


def test_marks_are_stored_and_say_where_they_are(client, root, tmp_path):
    marks = drawn_marks(tmp_path)
    answer = client.store_instances([marks])
    (stored,) = answer.ReferencedSOPSequence
    assert stored.ReferencedSOPInstanceUID == marks.SOPInstanceUID
    # What the client is told has the port of its Host header: none.
    path = stored.RetrieveURL.partition("/dicom-web")[2]
    assert httpx.get(f"{root}{path}/metadata").status_code == 200
    assert "FailedSOPSequence" not in answer


def body_of(*contents: bytes, kind: str = "application/dicom") -> bytes:
    head = f"\r\n--cut\r\nContent-Type: {kind}\r\n\r\n".encode()
    return b"".join(head + content for content in contents) + b"\r\n--cut--\r\n"


def post(root: str, body: bytes, path: str = "/studies", **headers: str) -> httpx.Response:
    kind = 'multipart/related; type="application/dicom"; boundary=cut'
    origin = root.removesuffix("/dicom-web")
    return httpx.post(
        f"{root}{path}", content=body, headers={"Content-Type": kind, "Origin": origin, **headers}
    )


def as_bytes(dataset: pydicom.Dataset) -> bytes:
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def test_each_instance_has_its_own_answer(root, tmp_path):
    good, stranger = drawn_marks(tmp_path), drawn_marks(tmp_path)
    stranger.PatientID = "P-2"
    answer = post(root, body_of(as_bytes(good), as_bytes(stranger), b"no DICOM"))
    said = pydicom.Dataset.from_json(answer.json())
    assert answer.status_code == 202
    assert [one.ReferencedSOPInstanceUID for one in said.ReferencedSOPSequence] == [good.SOPInstanceUID]
    (failed,) = said.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (stranger.SOPInstanceUID, 0x0110)
    assert [one.FailureReason for one in said.OtherFailuresSequence] == [0xC000]
    assert "another patient" in answer.headers["warning"]


@pytest.mark.parametrize(
    ("body", "path", "headers", "status"),
    [
        (body_of(b"no DICOM"), "/studies", {}, 409),
        (b"nothing", "/studies", {}, 400),
        (body_of(b"x", kind="image/png"), "/studies", {}, 409),
        (b"\r\n--cut\r\nContent-Type: application/dicom\r\n\r\ncut short", "/studies", {}, 400),
        (b"", "/studies", {"Content-Type": "application/dicom"}, 415),
        (b"", "/studies", {"Content-Type": "multipart/related"}, 400),
        (body_of(b"x"), "/studies", {"Origin": "http://elsewhere.example"}, 403),
    ],
)
def test_a_body_that_is_none_is_refused(root, body, path, headers, status):
    assert post(root, body, path, **headers).status_code == status


def test_marks_of_another_study_than_the_address_names_are_refused(root, tmp_path):
    answer = post(root, body_of(as_bytes(drawn_marks(tmp_path))), "/studies/1.2.3")
    assert answer.status_code == 409


def test_a_boundary_may_fall_anywhere_between_pieces(root, tmp_path):
    marks = drawn_marks(tmp_path)
    body = body_of(as_bytes(marks))

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 11):
            yield body[start : start + 11]

    assert post(root, pieces()).status_code == 200


def test_an_instance_beyond_the_limit_is_refused(hospital):
    settings = hospital.settings
    web = settings.web.model_copy(update={"login": False, "largest_upload_mb": 1})
    settings = settings.model_copy(update={"web": web})
    app = make_app(replace(hospital.context, settings=settings), settings)
    client = TestClient(app, base_url="http://localhost")
    kind = 'multipart/related; type="application/dicom"; boundary=cut'
    headers = {"Content-Type": kind, "Origin": "http://localhost"}
    answer = client.post("/dicom-web/studies", content=body_of(b"x" * (2 << 20)), headers=headers)
    assert answer.status_code == 413


def test_who_may_only_look_can_not_store(hospital, tmp_path):
    browser = open_browser(hospital.context)
    for name, role in (("roe", UserRole.READER), ("ops", UserRole.OPERATOR)):
        hospital.context.users.add(User(name=name, roles=frozenset({role})), PASSWORD, by="test")
    kind = 'multipart/related; type="application/dicom"; boundary=cut'
    for name, may_store in (("ops", 403), ("roe", 200)):
        who = {"auth": (name, PASSWORD), "headers": {"Content-Type": kind}}
        assert browser.get("/dicom-web/studies", auth=who["auth"]).status_code == 200
        content = body_of(as_bytes(drawn_marks(tmp_path / name)))
        assert browser.post("/dicom-web/studies", content=content, **who).status_code == may_store
    assert browser.get("/dicom-web/studies").status_code == 401


class Panic(BaseException):
    """What a decoder written in Rust raises: no Exception."""


def test_a_decoder_that_panics_costs_the_frame_and_names_the_file(tmp_path, monkeypatch):
    def panic(*_: object, **__: object) -> None:
        raise Panic("index out of bounds")

    Phantom(shape=(2, 8, 8)).write(tmp_path)
    source = open_frames(tmp_path / "0000.dcm")
    monkeypatch.setattr("pydicom.pixels.pixel_array", panic)
    with pytest.raises(UnsuitableInputError, match=r"0000\.dcm.*Panic"):
        decoded_array(source, 1)
    with pytest.raises(NoPixelsError):
        decoded_array(source, 2)
