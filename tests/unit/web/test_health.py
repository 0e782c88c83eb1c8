"""What a machine asks: health, readiness, metrics; without a login and without a word about a patient."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

import pytest
from fastapi.testclient import TestClient
from hospital import LEFT, Hospital, Sphere, Study, rows

from db.jobs import enqueue
from workflow.domain.errors import TransientError
from workflow.engine.context import Context
from workflow.web import make_app

NAME, PATIENT_ID = "Metrics^Nobody", "P-SECRET-7"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Hospital:
    hospital = Hospital(tmp_path_factory.mktemp("metrics"))
    sphere = Sphere(centre_lps=LEFT, diameter_mm=16, is_prompted=True)
    hospital.process(Study(day=date(2024, 3, 4), patient_id=PATIENT_ID, name=NAME, spheres=(sphere,)))
    with rows(hospital.context) as session:
        enqueue(session, stage="infer", subject="77", lane="patient:77", delay_s=-3600)
    return hospital


@pytest.fixture(scope="module")
def machine(hospital) -> TestClient:
    """Somebody without a login, where others need one."""
    settings = hospital.settings.model_copy(
        update={"web": hospital.settings.web.model_copy(update={"login": True})}
    )
    return TestClient(make_app(hospital.context, settings), base_url="http://127.0.0.1")


def _metrics(machine: TestClient) -> dict[str, float]:
    answer = machine.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert all(
        re.fullmatch(r'tumorline_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+]+', s)
        for s in samples
    )
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in samples}


def test_metrics_count_what_is_there(machine, hospital):
    metrics = _metrics(machine)
    status = hospital.status()
    assert metrics["tumorline_instances"] == status["instances"] > 0
    assert metrics['tumorline_studies{state="INGESTED"}'] == 1
    assert metrics['tumorline_visits{state="DRAFT"}'] == 1
    assert metrics['tumorline_result_objects{state="VERIFIED"}'] == status["outbox"]["VERIFIED"]
    assert metrics['tumorline_jobs{stage="infer",state="SCHEDULED",outcome=""}'] == 1
    assert 3600 <= metrics['tumorline_oldest_due_job_seconds{stage="infer"}'] < 3700
    assert metrics["tumorline_silent_jobs"] == 0
    assert metrics["tumorline_home_free_bytes"] > 0


def test_metrics_say_nothing_of_anybody(machine):
    told = machine.get("/metrics").text
    assert not re.search("P-SECRET|Metrics|Nobody", told)


def test_a_service_is_alive_without_its_database_and_ready_only_with_it(hospital):
    class Away:
        def check(self) -> None:
            raise TransientError("the database did not answer")

    assert _answers(hospital.context) == {"/healthz": 200, "/readyz": 200}
    assert _answers(replace(hospital.context, overview=Away())) == {"/healthz": 200, "/readyz": 503}


def _answers(context: Context) -> dict[str, int]:
    app = make_app(context, context.settings.model_copy(deep=True))
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    return {path: client.get(path).status_code for path in ("/healthz", "/readyz")}
