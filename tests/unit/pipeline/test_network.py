"""The listener and the archive over real associations on the loopback address."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from hospital import Hospital, rows
from pydicom.uid import JPEGLSLossless
from pynetdicom import AE
from sqlalchemy import select
from test_course_of_a_patient import BASELINE

from db.tables import InstanceRow
from dicom_io.acceptor import Callers
from dicom_io.keeping import discard_unfinished, file_digest
from dicom_io.listener import CANNOT_UNDERSTAND, serve_listener
from dicom_io.parsing import quiet
from dicom_io.scp import FolderArchive, serve_archive
from dicom_io.scu import RemoteNode
from workflow.domain.errors import TransientError
from workflow.use_cases.demo import free_port

# pynetdicom leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def hospital(tmp_path) -> Hospital:
    return Hospital(tmp_path)


@pytest.fixture
def listener(hospital, request):
    callers = Callers(called_ae_title="TUMORLINE", calling_ae_titles=("CT1",))
    options = {"callers": callers, "minimum_free_mb": 1} | getattr(request, "param", {})
    port = free_port()
    server = serve_listener(
        host="127.0.0.1",
        port=port,
        folder=hospital.home / "received",
        on_received=hospital.context.reception.receive_all,
        on_rejected=hospital.context.reception.reject,
        **options,
    )
    yield RemoteNode(ae_title="TUMORLINE", host="127.0.0.1", port=port, calling_ae_title="CT1")
    server.shutdown()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"))


def _received(hospital: Hospital) -> list[InstanceRow]:
    with rows(hospital.context) as session:
        return list(session.scalars(select(InstanceRow)))


def test_echo_is_answered(listener):
    listener.echo()


def test_a_sent_study_is_on_disk_byte_for_byte_with_a_row_each(listener, hospital, tmp_path):
    BASELINE.write(tmp_path / "study")
    files = _files(tmp_path / "study")
    listener.store(files)
    rows = _received(hospital)
    assert len(rows) == len(files)
    assert {row.sha256 for row in rows} == {file_digest(path) for path in files}
    assert {row.sha256 for row in rows} == {file_digest(Path(row.path)) for row in rows}


def test_compressed_instances_stay_compressed(listener, hospital, tmp_path):
    series = BASELINE.write(tmp_path / "study")
    image = pydicom.dcmread(series.paths[0])
    image.compress(JPEGLSLossless)
    image.save_as(tmp_path / "compressed.dcm")
    listener.store([tmp_path / "compressed.dcm"])
    (row,) = _received(hospital)
    assert row.transfer_syntax_uid == JPEGLSLossless
    assert pydicom.dcmread(row.path).PixelData == image.PixelData


@pytest.mark.parametrize("sop_class_uid", ["1.2.840.10008.5.1.4.1.1.66.7", "1.2.826.0.1.3680043.9.9999.1"])
def test_storage_classes_that_nobody_knows_yet_are_taken(listener, hospital, tmp_path, sop_class_uid):
    image = pydicom.dcmread(BASELINE.write(tmp_path / "study").paths[0])
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class_uid
    image.save_as(tmp_path / "other.dcm")
    listener.store([tmp_path / "other.dcm"])
    assert [row.sop_class_uid for row in _received(hospital)] == [sop_class_uid]


def test_an_unknown_sender_is_refused(listener, hospital, tmp_path):
    BASELINE.write(tmp_path / "study")
    stranger = replace(listener, calling_ae_title="STRANGER")
    with pytest.raises(TransientError, match="refuses the calling AE title STRANGER"):
        stranger.store(_files(tmp_path / "study")[:1])
    assert _received(hospital) == []


@pytest.mark.parametrize(
    "listener", [{"callers": Callers(called_ae_title="", calling_ae_titles=())}], indirect=True
)
def test_with_nobody_allowed_nobody_may_send(listener):
    with pytest.raises(TransientError, match="refuses"):
        listener.echo()


@pytest.mark.parametrize("listener", [{"minimum_free_mb": 1 << 40}], indirect=True)
def test_a_full_disk_asks_the_sender_to_try_later(listener, tmp_path):
    BASELINE.write(tmp_path / "study")
    with pytest.raises(TransientError, match="0xA700"):
        listener.store(_files(tmp_path / "study")[:1])


def test_an_object_without_identity_is_kept_for_a_person_and_stops_nothing(listener, hospital, tmp_path):
    series = BASELINE.write(tmp_path / "study")
    image = pydicom.dcmread(series.paths[0])
    image.StudyInstanceUID = ""
    ae = AE(ae_title="CT1")
    ae.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", listener.port, ae_title="TUMORLINE")
    status = association.send_c_store(image)
    association.release()
    assert status.Status == CANNOT_UNDERSTAND
    listener.store(series.paths[1:2])
    assert len(_received(hospital)) == 1
    kept = hospital.status()["quarantine"]
    assert len(kept) == 1
    assert "StudyInstanceUID is missing" in kept[0]["reason"]
    assert len(list((hospital.home / "received" / "rejected").iterdir())) == 1


def test_a_database_that_is_not_there_asks_the_sender_to_try_later(hospital, tmp_path):
    def broken(received):
        raise TransientError("the database did not answer")

    port = free_port()
    server = serve_listener(
        host="127.0.0.1", port=port, folder=tmp_path / "in", on_received=broken,
        callers=Callers(called_ae_title="T", calling_ae_titles=("CT1",)),
        on_rejected=lambda *_: None, minimum_free_mb=1,
    )  # fmt: skip
    BASELINE.write(tmp_path / "study")
    try:
        with pytest.raises(TransientError, match="0xA700"):
            RemoteNode(ae_title="T", host="127.0.0.1", port=port, calling_ae_title="CT1").store(
                _files(tmp_path / "study")[:1]
            )
    finally:
        server.shutdown()


def test_what_a_killed_listener_left_half_written_is_removed_when_it_is_old(tmp_path):
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "1.part").write_bytes(b"half")
    assert discard_unfinished(tmp_path) == 0
    assert discard_unfinished(tmp_path, older_than_s=-1) == 1
    assert list((tmp_path / "incoming").iterdir()) == []


def test_the_archive_lists_what_it_holds(tmp_path):
    series = BASELINE.write(tmp_path / "study")
    port = free_port()
    server = serve_archive(ae_title="ARCHIVE", host="127.0.0.1", port=port, folder=tmp_path / "archive")
    node = RemoteNode(ae_title="ARCHIVE", host="127.0.0.1", port=port)
    try:
        node.store(list(series.paths))
        node.store(list(series.paths))
        study_uid = str(series.images[0].StudyInstanceUID)
        held = node.held(study_uid, series.series_instance_uid)
        assert held == {str(image.SOPInstanceUID) for image in series.images}
        assert node.study_instance_count(study_uid) == len(series.images)
        assert node.held("1.2.3", "4.5.6") == frozenset()
    finally:
        server.shutdown()


def test_nothing_outside_the_archive_can_be_asked_for(tmp_path):
    (tmp_path / "secret" / "x").mkdir(parents=True)
    (tmp_path / "secret" / "x" / "1.dcm").touch()
    query = pydicom.Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    with quiet():
        query.StudyInstanceUID, query.SeriesInstanceUID = "../secret", "x"
    assert FolderArchive(tmp_path / "archive").find(query) == []


def test_a_port_that_is_taken_says_so(hospital, tmp_path):
    port = free_port()
    server = serve_archive(ae_title="ONE", host="127.0.0.1", port=port, folder=tmp_path / "a")
    try:
        with pytest.raises(TransientError, match="is another one running"):
            serve_archive(ae_title="TWO", host="127.0.0.1", port=port, folder=tmp_path / "b")
    finally:
        server.shutdown()


def test_a_node_that_is_not_there_says_so():
    with pytest.raises(TransientError, match="is not there"):
        RemoteNode(ae_title="NOBODY", host="127.0.0.1", port=free_port(), timeout_s=2).echo()


def test_a_sender_that_offers_only_one_class_gets_its_association(listener):
    ae = AE(ae_title="CT1")
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.2")
    association = ae.associate("127.0.0.1", listener.port, ae_title="TUMORLINE")
    assert association.is_established
    association.release()
