"""The files of docker/: they are read by the programs that they are for, and the forwarding does not loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import servers
import yaml
from hospital import Hospital
from studies import BASELINE

from dicom_io.acceptor import Callers
from dicom_io.listener import serve_listener
from workflow.domain.conflict import Receipt
from workflow.engine.services import SERVICES
from workflow.settings import load_settings
from workflow.use_cases.demo import free_port

DOCKER = Path(__file__).resolve().parents[2] / "docker"


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def test_every_container_of_ours_runs_a_service_that_exists(compose):
    ours = {name: s for name, s in compose["services"].items() if s["image"].startswith("tumorline")}
    commands = {name: service["command"] for name, service in ours.items()}
    assert {command[-1] for command in commands.values()} <= set(SERVICES)
    assert {"listener", "reconciler", "worker", "worker-gpu", "web"} == set(commands)


def test_the_settings_of_the_site_are_settings(compose, monkeypatch):
    for name, value in compose["services"]["worker-gpu"]["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TUMORLINE_CONFIG")
    settings = load_settings(DOCKER / "site.toml")
    assert settings.worker.queues == ("inference",)
    assert settings.resolved_destination == settings.pacs
    assert not settings.uses_local_archive
    mounted = compose["services"]["worker"]["volumes"][0].split(":")[1]
    assert str(settings.home) == mounted


@pytest.mark.xdist_group("orthanc")
def test_the_sites_orthanc_forwards_each_series_once_and_results_start_no_loop(tmp_path):
    port = free_port()
    configuration = json.loads((DOCKER / "orthanc.json").read_text())
    modality = configuration["DicomModalities"]["tumorline"] | {"Host": "127.0.0.1", "Port": port}
    orthanc = servers.OrthancServer(tmp_path / "orthanc", {"tumorline": modality})
    orthanc.overrides = {
        "UnknownSopClassAccepted": configuration["UnknownSopClassAccepted"],
        "LuaScripts": [str(DOCKER / Path(name).name) for name in configuration["LuaScripts"]],
    }
    orthanc.start()
    hospital = Hospital(tmp_path, writes_real_results=True)
    came: list[str] = []

    def on_received(batch) -> list[Receipt]:
        came.extend(received.header.sop_instance_uid for received in batch)
        return hospital.context.reception.receive_all(batch)

    server = serve_listener(
        host="127.0.0.1",
        port=port,
        folder=hospital.settings.home / "received",
        callers=Callers(called_ae_title="", calling_ae_titles=(configuration["DicomAet"],)),
        on_received=on_received,
        on_rejected=hospital.context.reception.reject,
        minimum_free_mb=1,
    )
    try:
        files = sorted(BASELINE.write(tmp_path / "a").paths[0].parent.glob("*.dcm"))
        orthanc.node("CT1").store(files)
        servers.wait_until(lambda: len(came) == len(files), "Orthanc to forward the study")
        hospital.work()
        (point,) = hospital.time_points()
        results = [Path(o["path"]) for o in point["objects"]]
        orthanc.node().store(results)
        servers.wait_until(lambda: len(came) >= len(files) + len(results), "the results to come back")
        orthanc.wait_until_stable()
    finally:
        server.shutdown()
        orthanc.stop()
    assert len(came) == len(set(came)) == len(files) + len(results)
    hospital.work()
    assert hospital.time_points()[0]["report_version"] == 1
