"""With a real Orthanc: as the sender of studies, as the PACS that is asked, and as the home of results."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hospital import Hospital, Study, diameters, rows, states
from servers import OrthancServer, wait_until
from sqlalchemy import select
from studies import BASELINE, FOLLOW_UP

from db.tables import InstanceRow, StudyRow
from dicom_io.acceptor import Callers
from dicom_io.listener import serve_listener
from dicom_io.orthanc import OrthancClient
from workflow.bootstrap import build
from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.engine.orthanc_feed import CURSOR, compare_all, read_changes
from workflow.ingest import close_quiet_studies
from workflow.settings import Node
from workflow.use_cases.demo import free_port

pytestmark = pytest.mark.xdist_group("orthanc")


@pytest.fixture
def listener_port() -> int:
    return free_port()


@pytest.fixture
def orthanc(tmp_path, listener_port) -> Iterator[OrthancServer]:
    modality = {"tumorline": ["TUMORLINE", "127.0.0.1", listener_port]}
    server = OrthancServer(tmp_path / "orthanc", modality).start()
    yield server
    server.stop()


@pytest.fixture
def hospital(tmp_path, orthanc) -> Hospital:
    """The pipeline with Orthanc as its PACS: results go there."""
    hospital = Hospital(tmp_path, writes_real_results=True)
    hospital.context = replace(hospital.context, destination=orthanc.node())
    return hospital


@pytest.fixture
def listener(hospital, listener_port) -> Iterator[None]:
    server = serve_listener(
        host="127.0.0.1",
        port=listener_port,
        folder=hospital.settings.home / "received",
        callers=Callers(called_ae_title="", calling_ae_titles=("ORTHANC",)),
        on_received=hospital.context.reception.receive_all,
        on_rejected=hospital.context.reception.reject,
        minimum_free_mb=1,
    )
    yield
    server.shutdown()


def _upload(orthanc: OrthancServer, study: Study, folder: Path, start: int = 0, stop: int = 999) -> str:
    """Store files of a study at Orthanc, like a modality; give its Study Instance UID."""
    series = study.write(folder)
    orthanc.node("CT1").store(sorted(folder.glob("*.dcm"))[start:stop])
    return str(series.images[0].StudyInstanceUID)


def _rows(hospital: Hospital) -> list[InstanceRow]:
    with rows(hospital.context) as session:
        return list(session.scalars(select(InstanceRow)))


def _held_by(orthanc: OrthancServer) -> list[str]:
    return sorted(i["MainDicomTags"]["SOPInstanceUID"] for i in orthanc.get("/instances?expand"))


def test_orthanc_forwards_a_study_and_holds_its_seg_and_sr_afterwards(orthanc, hospital, listener, tmp_path):
    uids = [_upload(orthanc, study, tmp_path / str(study.day)) for study in (BASELINE, FOLLOW_UP)]
    for uid in uids:
        orthanc.send_study(uid, to="tumorline")
    hospital.work()
    assert [p["report"]["assessment"]["overall"] for p in hospital.time_points()] == ["baseline", "PR"]
    results = [o for p in hospital.time_points() for o in p["objects"]]
    assert Counter(o["role"] for o in results if o["role"] in ("seg", "sr")) == {"seg": 2, "sr": 2}
    assert {o["state"] for o in results} == {"VERIFIED"}
    for point in hospital.time_points():
        held = {
            uid
            for series in orthanc.get("/series?expand")
            for uid in orthanc.node().held(
                point["study_instance_uid"], series["MainDicomTags"]["SeriesInstanceUID"]
            )
        }
        assert {o["sop_instance_uid"] for o in point["objects"]} <= held


def test_results_that_orthanc_sends_back_start_nothing(orthanc, hospital, listener, tmp_path):
    uids = [_upload(orthanc, study, tmp_path / str(study.day)) for study in (BASELINE, FOLLOW_UP)]
    for uid in uids:
        orthanc.send_study(uid, to="tumorline")
    hospital.work()
    jobs, held = hospital.status()["jobs"], _held_by(orthanc)
    results = {o["sop_instance_uid"] for p in hospital.time_points() for o in p["objects"]}
    for _ in range(2):
        for uid in uids:
            orthanc.send_study(uid, to="tumorline")
        hospital.work()
    assert hospital.status()["jobs"] == jobs
    assert _held_by(orthanc) == held
    assert {row.sop_instance_uid for row in _rows(hospital) if row.is_own_result} == results


# ------------------------------------------------------------------ the change feed


@pytest.fixture
def client(orthanc, monkeypatch) -> OrthancClient:
    monkeypatch.setattr(OrthancClient, "_server", None)  # each test has an Orthanc of its own
    return OrthancClient(orthanc.url)


def _restarted(hospital: Hospital) -> Hospital:
    """The same installation in a new process: only what is stored is left."""
    context = build(hospital.settings, destination=hospital.context.destination)
    hospital.context = replace(
        hospital.context,
        reception=context.reception,
        records=context.records,
        outbox=context.outbox,
        jobs=context.jobs,
        cursors=context.cursors,
        overview=context.overview,
    )
    return hospital


def _follow(hospital: Hospital, client: OrthancClient) -> int:
    return read_changes(client, hospital.context)


def test_the_change_feed_takes_each_instance_once_over_restarts_of_both_sides(
    orthanc, hospital, client, tmp_path
):
    _upload(orthanc, BASELINE, tmp_path / "a", stop=5)
    assert _follow(hospital, client) == 5
    _upload(orthanc, BASELINE, tmp_path / "a", start=5)
    orthanc.stop()
    orthanc.start()
    hospital = _restarted(hospital)
    assert _follow(hospital, client) == len(list((tmp_path / "a").glob("*.dcm"))) - 5
    assert _follow(hospital, client) == 0
    hospital.work()
    assert diameters(hospital.time_points()[0]) == pytest.approx({"T01": 16, "T02": 12}, abs=1.5)
    assert _follow(hospital, client) == 0  # our SEG and SR are in the feed, and known
    hospital.work()
    assert hospital.time_points()[0]["report_version"] == 1


def test_a_crash_in_the_middle_of_a_page_loses_and_doubles_nothing(orthanc, hospital, client, tmp_path):
    _upload(orthanc, BASELINE, tmp_path / "a")
    kept = []

    def keep_seven(content, source):
        if len(kept) == 7:
            raise KeyboardInterrupt
        kept.append(1)
        return hospital.context.keep(content, source)

    with pytest.raises(KeyboardInterrupt):
        read_changes(client, replace(hospital.context, keep=keep_seven))
    hospital = _restarted(hospital)
    _follow(hospital, client)
    assert sorted(row.sop_instance_uid for row in _rows(hospital)) == _held_by(orthanc)


def test_what_the_change_log_does_not_tell_is_found_by_comparing_everything(
    orthanc, hospital, client, tmp_path
):
    _upload(orthanc, BASELINE, tmp_path / "a")
    # An Orthanc that was replaced by one with more changes looks as if all of them had been read.
    hospital.context.cursors.move(CURSOR, orthanc.get("/changes?last")["Last"])
    assert _follow(hospital, client) == 0
    count = len(list((tmp_path / "a").glob("*.dcm")))
    assert compare_all(client, hospital.context) == count
    assert compare_all(client, hospital.context) == 0
    assert sorted(row.sop_instance_uid for row in _rows(hospital)) == _held_by(orthanc)
    hospital.work()
    jobs = hospital.status()["jobs"]
    assert compare_all(client, hospital.context) == 0  # our SEG and SR lie there too, and are known
    _follow(hospital, client)
    hospital.work()
    assert hospital.status()["jobs"] == jobs


def test_what_was_refused_is_not_asked_for_again(orthanc, hospital, client, tmp_path):
    _upload(orthanc, BASELINE, tmp_path / "a", stop=2)

    def refuse(content: bytes, source: str) -> None:
        raise UnsuitableInputError("no DICOM instance")

    context = replace(hospital.context, keep=refuse)
    assert read_changes(client, context) == 0
    hospital.context.cursors.move(CURSOR, 0)
    assert read_changes(client, context) == 0
    assert compare_all(client, context) == 0
    assert [k["reason"] for k in hospital.status()["quarantine"]] == ["no DICOM instance"] * 2


def test_an_orthanc_that_is_away_is_waited_for(orthanc, hospital, client, tmp_path):
    _upload(orthanc, BASELINE, tmp_path / "a")
    orthanc.stop()
    with pytest.raises(TransientError, match="is not there"):
        _follow(hospital, client)
    orthanc.start()
    assert _follow(hospital, client) == len(list((tmp_path / "a").glob("*.dcm")))


def test_a_new_orthanc_behind_the_same_address_is_read_from_its_beginning(
    orthanc, hospital, client, tmp_path
):
    _upload(orthanc, BASELINE, tmp_path / "a")
    _follow(hospital, client)
    orthanc.stop()
    orthanc.forget_everything()
    orthanc.start()
    _upload(orthanc, FOLLOW_UP, tmp_path / "b", stop=4)
    assert _follow(hospital, client) == 4


def test_an_instance_that_orthanc_deleted_meanwhile_is_left_out(orthanc, hospital, client, tmp_path):
    _upload(orthanc, BASELINE, tmp_path / "a", stop=3)
    import urllib.request

    instance = orthanc.get("/instances")[0]
    urllib.request.urlopen(
        urllib.request.Request(f"{orthanc.url}/instances/{instance}", method="DELETE"), timeout=10
    )
    assert _follow(hospital, client) == 2


# ------------------------------------------------------------------ readiness


@pytest.fixture
def asking(hospital, orthanc) -> Hospital:
    """The pipeline that asks Orthanc how many instances a study has."""
    node = orthanc.node()
    settings = hospital.settings.model_copy(
        update={"pacs": Node(ae_title=node.ae_title, port=node.port)}, deep=True
    )
    hospital.context = replace(
        hospital.context, settings=settings, pacs_instance_count=node.study_instance_count
    )
    return hospital


def _look(hospital: Hospital, times: int = 3) -> str:
    """Look at the received studies some times, a quiet period apart; give the state of the only one."""
    for _ in range(times):
        threading.Event().wait(0.02)
        close_quiet_studies(hospital.context)
    with rows(hospital.context) as session:
        return session.scalars(select(StudyRow.state)).one()


def test_a_study_waits_until_the_pacs_counts_no_more_than_came(asking, orthanc, tmp_path):
    _upload(orthanc, BASELINE, tmp_path / "a")
    files = sorted((tmp_path / "a").glob("*.dcm"))
    for file in files[:6]:
        asking.receive_folder(file)
    assert _look(asking) == "RECEIVING"
    for file in files[6:]:
        asking.receive_folder(file)
    assert _look(asking, 1) == "RECEIVING"  # one poll that agrees proves nothing
    assert _look(asking) == "INGESTING"
    asking.work()
    assert asking.time_points()[0]["is_complete"]


def test_after_the_longest_wait_half_a_study_goes_on_and_says_so(asking, orthanc, tmp_path):
    _upload(orthanc, BASELINE, tmp_path / "a")
    asking.receive_folder(tmp_path / "a")
    missing = replace(FOLLOW_UP, key="half")
    _upload(orthanc, missing, tmp_path / "b")
    asking.work()
    for file in sorted((tmp_path / "b").glob("*.dcm"))[:8]:
        asking.receive_folder(file)
    now = asking.context.clock
    asking.context = replace(
        asking.context,
        clock=lambda: now() + timedelta(seconds=asking.settings.readiness.max_wait_s + 60),
    )
    asking.work()
    half = asking.time_points()[1]
    assert not half["is_complete"]
    assert "the study was incomplete when it was processed" in half["notes"]


def test_our_results_in_the_pacs_do_not_keep_a_late_instance_waiting(asking, orthanc, tmp_path):
    _upload(orthanc, BASELINE, tmp_path / "a")
    files = sorted((tmp_path / "a").glob("*.dcm"))
    asking.receive_folder(tmp_path / "a")
    asking.work()
    assert states(asking.time_points()) == ["DRAFT"]
    later = replace(BASELINE, description="localizer", key="late")
    late_files = later.write(tmp_path / "c").paths
    import pydicom

    late = pydicom.dcmread(late_files[0])
    late.StudyInstanceUID = pydicom.dcmread(files[0]).StudyInstanceUID
    late.save_as(tmp_path / "late.dcm")
    orthanc.node("CT1").store([tmp_path / "late.dcm"])
    asking.receive_folder(tmp_path / "late.dcm")
    assert _look(asking) == "INGESTING"


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")
def test_a_pacs_that_is_away_stops_only_the_wait_for_its_count(asking, orthanc, tmp_path):
    _upload(orthanc, BASELINE, tmp_path / "a")
    asking.receive_folder(tmp_path / "a")
    orthanc.stop()
    assert _look(asking) == "RECEIVING"
    orthanc.start()
    wait_until(lambda: _look(asking, 1) == "INGESTING", "the study to be ready")
    gc.collect()  # the refused connections' sockets, in this test and not in the next
