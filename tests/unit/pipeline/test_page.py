"""The page says what the database says, to those who may see it."""

from __future__ import annotations

import re
import traceback
from datetime import date, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hospital import Hospital, rows
from pydantic import SecretStr
from sqlalchemy import event
from test_course_of_a_patient import BASELINE, FOLLOW_UP, PROGRESS

from db.tables import JobRow, ReportRow, TimePointRow
from models.registry import limits_of
from workflow.bootstrap import build
from workflow.commands.up import addresses
from workflow.domain.errors import ConfigurationError
from workflow.domain.lesion_life import Decision
from workflow.domain.palette import colour_of, css
from workflow.domain.report import LesionRole
from workflow.domain.response import Response
from workflow.engine.first_account import first_password
from workflow.engine.services import check_exposure
from workflow.review import decide
from workflow.settings import load_settings
from workflow.web import make_app
from workflow.web.plot import plots, sum_plot
from workflow.web.view import course_table


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Hospital:
    hospital = Hospital(tmp_path_factory.mktemp("page"), writes_real_results=True)
    hospital.process(BASELINE, FOLLOW_UP, PROGRESS)
    return hospital


def _client(hospital, *, login: bool, host: str = "localhost:8080") -> TestClient:
    web = hospital.settings.web.model_copy(update={"login": login})
    app = make_app(hospital.context, hospital.settings.model_copy(update={"web": web}))
    return TestClient(app, base_url=f"http://{host}")


@pytest.fixture
def page(hospital) -> TestClient:
    return _client(hospital, login=False)


def test_the_worklist_has_the_patient_with_the_latest_response(page):
    text = page.get("/").text
    assert "Test, Person" in text
    assert re.search(r'class="response r-pd">PD<', text)


@pytest.mark.parametrize(("path", "most"), [("/api/worklist", 5), ("/patients/1", 13)])
def test_pages_ask_a_few_statements_and_load_no_mask(page, hospital, path, most):
    statements: list[str] = []

    def note(connection, cursor, statement, *_):
        statements.append(statement)

    with rows(hospital.context) as session:
        engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert page.get(path).status_code == 200
    finally:
        event.remove(engine, "before_cursor_execute", note)
    asked = [statement for statement in statements if statement.startswith("SELECT")]
    assert 0 < len(asked) <= most
    assert not [statement for statement in asked if "observation" in statement]


def test_the_patient_page_has_every_diameter_sum_and_reason_of_the_reports(page, hospital):
    text = page.get("/patients/1").text
    for point in hospital.time_points():
        assessment = point["report"]["assessment"]
        assert assessment["reason"] in text.replace("&gt;", ">")
        assert f"{assessment['sum_mm']:.1f} mm" in text
        for lesion in point["report"]["lesions"]:
            assert f"{lesion['diameter_mm']:.1f} mm" in text


def _course_with(*models: str) -> dict[str, Any]:
    made = [{"name": name, "version": "1", "licence": "n/a"} for name in models]
    assessment = {"sum_mm": None, "baseline_sum_mm": None, "change_from_nadir_percent": None}
    report = {"lesions": [], "models": made, "assessment": assessment, "is_baseline": False}
    return {"time_points": [{"id": "TP1", "report": report}]}


def test_the_limits_of_each_model_stand_beside_its_results(page):
    (shown,) = course_table(_course_with("weight-free tracker"), limits_of)["models"]
    assert shown["limits"] == limits_of("weight-free")
    assert any("check every outline" in limit for limit in shown["limits"])
    (gone,) = course_table(_course_with("a model that was uninstalled"), limits_of)["models"]
    assert "not known" in gone["limits"][0]
    assert "Its limits are not known" in page.get("/patients/1").text.replace("&#39;", "'")


def test_a_reader_who_drew_is_not_shown_as_a_model():
    assert course_table(_course_with("as drawn by the reader"), limits_of)["models"] == []


def test_a_label_has_the_colour_that_its_pictures_draw_the_lesion_in(page, hospital):
    text, sheet = page.get("/patients/1").text, page.get("/palette.css").text
    for lesion in hospital.time_points()[-1]["report"]["lesions"]:
        (chosen,) = set(re.findall(rf'class="label ([\w-]+)">{lesion["label"]}<', text))
        (colour,) = re.findall(rf"\.label\.{chosen} .*color: (#\w+);", sheet)
        assert colour == css(colour_of(LesionRole(lesion["role"]), lesion["label"]))


def test_every_key_image_is_a_picture(page):
    images = re.findall(r'src="(/key-images/[^"]+)"', page.get("/patients/1").text)
    assert len(images) == 6
    for image in images:
        assert page.get(image).content.startswith(b"\x89PNG")


def test_key_images_are_those_of_the_current_report_though_a_newer_one_exists(page, hospital, tmp_path):
    image = re.findall(r'src="(/key-images/[^"]+)"', page.get("/patients/1").text)[0]
    shown = page.get(image).content
    with rows(hospital.context) as session:
        now = session.get_one(ReportRow, session.get_one(TimePointRow, int(image.split("/")[2])).report_id)
        copied = {c.key: getattr(now, c.key) for c in ReportRow.__table__.columns if c.key != "id"}
        session.add(newer := ReportRow(**copied | {"identity": "withdrawn", "folder": str(tmp_path)}))
        session.flush()
        newer_id = newer.id
    assert page.get(image).content == shown
    with rows(hospital.context) as session:
        session.delete(session.get_one(ReportRow, newer_id))


def test_result_objects_can_be_fetched(page, hospital):
    uid = hospital.time_points()[0]["objects"][0]["sop_instance_uid"]
    assert page.get(f"/objects/{uid}.dcm").content[128:132] == b"DICM"


def test_the_plot_has_a_dot_per_sum_and_the_lines_that_decide(hospital):
    svg = plots(hospital.course())[0].svg
    assert svg.count("<circle") == 3
    assert "30 % below baseline" in svg
    assert "progression" in svg


def _sums(*points: tuple[int, float, str]) -> dict[str, Any]:
    """A course of (day, sum in mm, response)."""
    return {
        "time_points": [
            {
                "study_date": (date(2024, 3, 5) + timedelta(day)).isoformat(),
                "report": {"assessment": {"sum_mm": mm, "overall": response}},
            }
            for day, mm, response in points
        ]
    }


NEAR_DATES = _sums(
    (0, 82.1, "baseline"), (10, 60, "SD"), (80, 30, "PR"), (140, 20, "PR"), (144, 44, "PD"), (146, 60, "PD")
)


def test_labels_of_near_dates_are_not_written_over_each_other():
    svg = sum_plot(NEAR_DATES).svg
    for kind, character in (("tick", 6.5), ("value", 7.0)):
        boxes = [
            (
                float(y),
                float(x) - {"start": 0, "end": 1}.get(anchor, 0.5) * len(text) * character,
                len(text) * character,
            )
            for anchor, x, y, text in re.findall(
                rf'<text class="{kind} ?(start|end|)" x="([\d.]+)" y="([\d.]+)">([^<]+)<', svg
            )
        ]
        assert len(boxes) >= 4
        for (y, left, width), (other_y, other_left, other_width) in combinations(boxes, 2):
            apart = left + width <= other_left or other_left + other_width <= left
            assert apart or abs(y - other_y) >= 13
    assert all(f"<title>{p['study_date']}:" in svg for p in NEAR_DATES["time_points"])


def test_the_nadir_is_the_lowest_sum_that_is_shown_and_changes_say_from_which(hospital):
    columns = course_table(hospital.course(), limits_of)["columns"]
    assert [column["tags"] for column in columns] == [["TP1", "baseline"], ["TP2", "nadir"], ["TP3"]]
    assert columns[0]["sum"]["changes"] == []
    assert len(columns[1]["sum"]["changes"]) == 1
    from_baseline, from_nadir = columns[2]["sum"]["changes"]
    assert from_baseline.startswith("\u2212")
    assert from_nadir.endswith("from the nadir of 2024-05-06")


@pytest.mark.parametrize(
    "wrong", [{"password": ""}, {"password": "short"}, {"username": ""}, {"username": "a:b"}]
)
def test_a_login_that_is_none_is_refused_in_the_settings(wrong):
    with pytest.raises(ConfigurationError, match=f"web.{next(iter(wrong))}"):
        load_settings(None, web=wrong)


@pytest.mark.parametrize("empty", [{"username": ""}, {"password": SecretStr("")}])
def test_no_page_is_served_behind_an_empty_login(hospital, empty):
    web = hospital.settings.web.model_copy(update=empty)
    with pytest.raises(ConfigurationError, match="must not be empty"):
        make_app(hospital.context, hospital.settings.model_copy(update={"web": web}))


def test_the_password_is_made_once_for_its_owners_eyes(tmp_path):
    settings = load_settings(None, home=tmp_path / "home")
    password = first_password(settings)
    assert len(password) >= 16
    assert first_password(settings) == password
    (kept,) = (tmp_path / "home").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_up_says_where_the_password_is_and_never_the_password(tmp_path):
    def said(home: Path, **web: Any) -> str | None:
        settings = load_settings(None, home=home, web=web)
        context = build(settings)
        make_app(context, settings)
        return dict(addresses(settings, context.users)).get("login")

    assert said(tmp_path / "a") == f"reader, password in {tmp_path / 'a' / 'web-password'}"
    assert said(tmp_path / "b", password="known only to us") == "reader, password as set"
    assert said(tmp_path / "c", login=False) is None


def test_a_password_file_that_a_crash_left_empty_is_made_anew(tmp_path):
    (tmp_path / "web-password").touch()
    assert len(first_password(load_settings(None, home=tmp_path))) >= 16


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:8080"])
def test_without_a_login_this_machine_sees_the_page(hospital, host):
    assert _client(hospital, login=False, host=host).get("/").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8080", "localhost.evil.example"])
def test_without_a_login_a_name_that_was_pointed_at_this_machine_is_refused(hospital, host):
    for path in ("/", "/api/worklist", "/health"):
        assert _client(hospital, login=False, host=host).get(path).status_code == 400


def _stop(hospital, error: str, outcome: str = "dead") -> None:
    with rows(hospital.context) as session:
        now = hospital.context.clock()
        session.add(
            JobRow(stage="infer", subject="7", lane="p", state="CANCELED", outcome=outcome, error=error,
                   due_at=now, created_at=now)
        )  # fmt: skip


def _traceback(error: Exception) -> str:
    try:
        try:
            raise KeyError("PatientID 4711")
        except KeyError as cause:
            raise error from cause
    except type(error):
        return traceback.format_exc()


def test_the_words_of_an_unforeseen_error_are_not_on_the_pages(tmp_path):
    hospital = Hospital(tmp_path)
    _stop(hospital, _traceback(ValueError("invalid name: 'Doe^Jane'\nDoe: born 1950")))
    _stop(hospital, "the study has no axial series", outcome="unsuitable")
    page = _client(hospital, login=False)
    for text in (page.get("/").text, page.get("/api/status").text):
        assert "ValueError in infer" in text
        assert "tumorline status" in text
        assert "the study has no axial series" in text
        assert not re.search("Jane|Doe|4711|Traceback|File ", text)
    assert "Doe^Jane" in hospital.status()["stopped"][0]["error"]  # what the command line shows


@pytest.mark.parametrize("path", ["/patients/99", "/key-images/1/2.25.1.png", "/objects/1.2.3.dcm"])
def test_what_is_not_there_is_not_found(page, path):
    assert page.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/patients/1"])
def test_scripts_are_files_of_ours_and_no_other_host_is_needed(page, path):
    response = page.get(path)
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", response.text, re.DOTALL)
    for attributes, content in scripts:
        (source,) = re.findall(r'src="(/static/[\w./-]+)"', attributes)
        assert page.get(source).status_code == 200
        assert content == ""
    assert not re.search(r"\sstyle=|\son\w+=|<style", response.text)
    assert "http" not in response.text


def test_pages_without_login_stay_on_this_machine(hospital):
    web = hospital.settings.web.model_copy(update={"login": False, "host": "0.0.0.0"})
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1 only"):
        check_exposure(hospital.settings.model_copy(update={"web": web}))


def test_what_readers_decided_stands_beside_the_lesion_and_the_response(page, hospital):
    def said(decision: Decision, **values: Any) -> None:
        decide(hospital.context, patient_id="P-1", decision=decision, by="Roe^Jane", **values)
        hospital.work()

    last = date.fromisoformat(hospital.time_points()[-1]["study_date"])
    said(Decision.NOT_A_LESION, lesion="T02", reason="a vessel")
    said(Decision.SET_DIAMETER, lesion="T01", day=last, diameter_mm=18.0, reason="vessel included")
    said(Decision.SET_OVERALL, overall=Response.SD, day=last, reason="measured on another phase")
    text = page.get("/patients/1").text
    assert "<s>" in text
    assert "not a lesion (Roe^Jane" in text
    assert "→ 18.0 mm (Roe^Jane" in text
    assert "measured on another phase" in text
    computed = hospital.time_points()[-1]["report"]["assessment"]["computed_overall"]
    assert f"by the rules {computed}" in text
