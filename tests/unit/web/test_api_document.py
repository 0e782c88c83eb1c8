"""Every JSON answer has the shape that the OpenAPI document says, and holds no NaN and no infinity."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import pydicom
import pytest
from browser import open_browser
from courses import wide_course
from fastapi.testclient import TestClient
from hospital import LEFT, Hospital, Series, Sphere, Study, rows
from sqlalchemy import text

from workflow.listener import ImportResult
from workflow.use_cases.run import export
from workflow.web.shapes import Course, Status, WorklistPage

BASELINE = Study(
    day=date(2026, 1, 5),
    spheres=[Sphere(centre_lps=LEFT, diameter_mm=12, is_prompted=True)],
    more=[Series(key="flat", description="CT without a place")],
)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Hospital:
    hospital = Hospital(tmp_path_factory.mktemp("api"))
    folder = hospital.home / "baseline"
    BASELINE.write(folder)
    for path in (folder / "flat").glob("*.dcm"):
        image = pydicom.dcmread(path)
        del image.ImageOrientationPatient
        image.save_as(path)
    hospital.receive_folder(folder)
    hospital.work()
    hospital.process(Study(day=date(2026, 3, 5), spheres=[Sphere(centre_lps=LEFT, diameter_mm=8)]))
    hospital.receive(Study(day=date(2026, 3, 6), patient_id="P-2"))
    hospital.context.events.add(1, _event(), "Dr. Grey")
    return hospital


def _event() -> Any:
    from workflow.domain.events import EventKind, PatientEvent

    return PatientEvent(day=date(2026, 2, 1), kind=EventKind.SURGERY, text="resection")


@pytest.fixture
def page(hospital, open_pages) -> TestClient:
    return open_pages(hospital.context)


def test_a_refused_series_has_a_reason_and_no_score(page):
    lines = page.get("/api/patients/1").json()["time_points"][0]["series_choice"]
    refused = [line for line in lines if line["refusal"]]
    assert [line["score"] for line in refused] == [None]


def _strict(content: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(content, parse_constant=refuse)


@pytest.mark.parametrize(
    ("path", "shape"),
    [("/api/worklist", WorklistPage), ("/api/status", Status), ("/api/patients/1", Course)],
)
def test_an_answer_has_exactly_the_documented_shape(page, path, shape):
    answer = page.get(path)
    assert answer.status_code == 200
    shape.model_validate(_strict(answer.text))


def _json_routes(page: TestClient) -> list[str]:
    document = page.get("/api/openapi.json").json()
    return [
        path
        for path, item in document["paths"].items()
        if "application/json" in item.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
    ]


def test_no_json_holds_a_number_that_is_none_though_an_older_version_wrote_such(hospital, page, tmp_path):
    paths = _json_routes(page)
    assert {"/api/worklist", "/api/status", "/api/patients/{key}"} <= set(paths)
    with rows(hospital.context) as session:
        former = text("UPDATE study_revision SET series_choice = replace(series_choice, :score, :number)")
        for score, number in (("null", "-Infinity"), ("1", 'NaN, "was": 1')):
            found = session.execute(former, {"score": f'"score": {score}', "number": f'"score": {number}'})
            assert found.rowcount
        kept = session.scalars(text("SELECT series_choice FROM study_revision")).all()
        assert "-Infinity" in str(kept)
        assert "NaN" in str(kept)
    for path in paths:
        answer = page.get(re.sub(r"\{\w+\}", "1", path))
        assert answer.status_code == 200 or not path.startswith("/api/"), path
        if answer.headers["Content-Type"] == "application/json":
            _strict(answer.text)
    export(hospital.context, tmp_path, ImportResult(new=0, known=0, rejected=()))
    written = list(tmp_path.glob("**/*.json"))
    assert {path.name for path in written} == {"timeline.json", "report.json"}
    for path in written:
        _strict(path.read_text())


def test_a_number_that_is_none_is_not_even_stored(hospital):
    from sqlalchemy.exc import StatementError

    from db.tables import RevisionRow

    with rows(hospital.context) as session:
        session.query(RevisionRow).first().notes = [float("inf")]
        with pytest.raises(StatementError, match="not JSON compliant"):
            session.flush()
        session.rollback()


def test_the_document_is_served_behind_the_login_only(hospital):
    stranger = open_browser(hospital.context)
    assert stranger.get("/api").headers["Location"].startswith("/login")
    for path, status_code in (("/api/openapi.json", 401), ("/openapi.json", 404), ("/docs", 404)):
        assert stranger.get(path).status_code == status_code


def test_every_operation_has_words_and_every_json_answer_a_shape(page):
    document = page.get("/api/openapi.json").json()
    documented = {(m, path): said for path, item in document["paths"].items() for m, said in item.items()}
    assert ("get", "/") not in documented  # a page
    for (method, path), said in documented.items():
        if said.get("tags"):
            assert said.get("description"), f"{method} {path} says nothing"
            for answer in said["responses"].values():
                schema = answer.get("content", {}).get("application/json", {}).get("schema")
                assert schema is None or schema, f"{method} {path} answers anything"


def test_the_readable_page_names_every_operation_and_every_field(page):
    document = page.get("/api/openapi.json").json()
    shown = page.get("/api").text
    for path, item in document["paths"].items():
        for method in item:
            assert f"{method.upper()} {path}" in shown
    for name, shape in document["components"]["schemas"].items():
        for field in shape.get("properties", {}):
            assert f"<code>{field}</code>" in shown, f"{name}.{field}"
    assert not re.search(r'src="(?!/static/)', shown)


def test_results_have_an_address_and_no_path_of_the_server(hospital, page):
    answer = page.get("/api/patients/1")
    made = answer.json()["time_points"][0]["objects"][0]
    assert page.get(made["href"]).status_code == 200
    assert str(hospital.home) not in answer.text


def test_a_course_that_the_tests_make_has_the_documented_shape(pages_of):
    Course.model_validate(pages_of(wide_course(2, 3)).get("/api/patients/1").json())
