"""A follow-up arrives alone; its prior is fetched from a real Orthanc, and what comes back goes there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hospital import Hospital, Study, diameters
from servers import OrthancServer
from sqlalchemy import select
from studies import BASELINE, FOLLOW_UP

from db.tables import JobRow, StudyRow
from dicom_io.acceptor import Callers
from dicom_io.listener import serve_listener
from workflow.bootstrap import open_destination, open_prior_source
from workflow.domain.errors import UnsuitableInputError
from workflow.engine.reconciler import runner
from workflow.ingest import close_quiet_studies
from workflow.priors import priors_of_patient, seek_again
from workflow.settings import Node
from workflow.use_cases.demo import free_port

pytestmark = pytest.mark.xdist_group("orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
HEAD = Study(day=date(2024, 1, 4), description="CT Schädel", body_part="HEAD", key="head")


@pytest.fixture
def listener_port() -> int:
    return free_port()


@pytest.fixture
def orthanc(tmp_path, listener_port) -> Iterator[OrthancServer]:
    """Knows our listener, holds the baseline with its marks, and a study of the head."""
    plugins = [str(PLUGIN)] if PLUGIN.exists() else []
    server = OrthancServer(
        tmp_path / "orthanc",
        {"tumorline": ["TUMORLINE", "127.0.0.1", listener_port]},
        overrides={"Plugins": plugins},
    ).start()
    for study in (BASELINE, HEAD):
        folder = tmp_path / "pacs" / f"{study.day}"
        study.write(folder)
        server.node("CT1").store(sorted(folder.glob("*.dcm")))
    yield server
    server.stop()


def _hospital(tmp_path: Path, orthanc: OrthancServer, method: str, listener_port: int) -> Hospital:
    """The pipeline with Orthanc as its PACS, asked for priors in some way; results go there too."""
    dicomweb = {"url": f"{orthanc.url}/dicom-web", "stores_results": True} if method == "dicomweb" else None
    node = Node(ae_title="ORTHANC", port=orthanc.dicom_port)
    hospital = Hospital(
        tmp_path,
        writes_real_results=True,
        overrides={
            "pacs": node.model_dump(),
            "destination": None if dicomweb else node.model_dump(),
            "dicomweb": dicomweb,
            "priors": {"method": method},
            "listener": {"port": listener_port},
        },
    )
    context = replace(hospital.context, destination=open_destination(hospital.settings))
    hospital.context = replace(context, pacs_instance_count=None)  # readiness is another test's
    return hospital


@pytest.fixture
def listener(tmp_path, orthanc, listener_port, request) -> Iterator[Hospital]:
    hospital = _hospital(tmp_path, orthanc, request.param, listener_port)
    server = serve_listener(
        host="127.0.0.1",
        port=listener_port,
        folder=hospital.settings.home / "received",
        callers=Callers(called_ae_title="", calling_ae_titles=("ORTHANC",)),
        on_received=hospital.context.reception.receive_all,
        on_rejected=hospital.context.reception.reject,
        minimum_free_mb=1,
    )
    yield hospital
    server.shutdown()


@pytest.mark.parametrize("listener", ["c-move", "c-get", "dicomweb"], indirect=True)
def test_a_follow_up_that_arrives_alone_is_measured_against_its_fetched_prior(listener, orthanc):
    hospital = listener
    if hospital.settings.priors.method == "dicomweb" and not PLUGIN.exists():
        pytest.skip("the DICOMweb plugin of Orthanc is not installed; the Debian package is orthanc-dicomweb")
    hospital.process(FOLLOW_UP)
    baseline, follow_up = hospital.time_points()
    assert (baseline["study_date"], follow_up["study_date"]) == ("2024-03-04", "2024-05-06")
    assert follow_up["prior_study_instance_uid"] == baseline["study_instance_uid"]
    assert follow_up["report"]["assessment"]["overall"] == "PR"
    assert len(diameters(follow_up)) == 2
    (prior,) = priors_of_patient(hospital.context, "P-1")
    assert (prior["state"], prior["study_date"]) == ("FETCHED", "2024-03-04")
    # What was made of both is in the PACS.
    made = [o for point in (baseline, follow_up) for o in point["objects"]]
    assert made
    assert {o["state"] for o in made} == {"VERIFIED"}
    held = {one["MainDicomTags"]["SOPInstanceUID"] for one in orthanc.get("/instances?expand")}
    assert {o["sop_instance_uid"] for o in made} <= held


@pytest.mark.parametrize("listener", ["c-get"], indirect=True)
def test_priors_are_asked_for_once_and_again_on_request(listener):
    hospital = listener
    hospital.process(FOLLOW_UP)
    assert _searches(hospital) == 1
    with hospital.context.records.unit() as session:
        keys = list(session.scalars(select(StudyRow.id)))
    for key in keys:  # the fetched prior among them: nothing is looked for from there
        hospital.context.priors.ask(key)
    assert _searches(hospital) == 1
    assert seek_again(hospital.context, "P-1") == 1
    hospital.work()
    assert _searches(hospital) == 2
    assert len(priors_of_patient(hospital.context, "P-1")) == 1


def test_a_pacs_that_is_away_is_asked_again_later_and_holds_up_nothing(tmp_path, listener_port):
    away = Node(ae_title="ORTHANC", port=free_port()).model_dump()
    overrides = {"pacs": away, "priors": {"method": "c-move"}, "worker": {"retry_base_s": 3600}}
    hospital = Hospital(tmp_path, overrides=overrides)
    hospital.context = replace(
        hospital.context,
        pacs_instance_count=None,
        prior_source=open_prior_source(hospital.settings, hospital.context.reception, hospital.context.keep),
    )
    hospital.receive(FOLLOW_UP)
    _work_but_for_retries(hospital)
    (retrying,) = [job for job in hospital.status()["retrying"] if job["stage"] == "priors"]
    assert "is not there" in retrying["error"]
    assert hospital.time_points()  # the study itself went on


@pytest.mark.parametrize("listener", ["c-move"], indirect=True)
def test_a_pacs_that_does_not_know_our_listener_is_named_with_the_next_step(listener, orthanc):
    stranger = orthanc.node()
    with pytest.raises(UnsuitableInputError, match="does it know our listener"):
        stranger.move(str(stranger.studies("P-1")[0].study_instance_uid), "NOBODY")


def _searches(hospital: Hospital) -> int:
    with hospital.context.records.unit() as session:
        return len(list(session.scalars(select(JobRow).where(JobRow.stage == "priors"))))


def _work_but_for_retries(hospital: Hospital) -> None:
    for _ in range(20):
        close_quiet_studies(hospital.context)
        runner(hospital.context).run_next(())
