"""Operations: what an operator sees of an installation is so, and what they decide is done and audited."""

from __future__ import annotations

import json
import re
import sqlite3
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from browser import open_as, open_browser
from fastapi.testclient import TestClient
from hospital import LEFT, Hospital, Sphere, Study, rows
from sqlalchemy import select
from typer.testing import CliRunner

from db.tables import AuditRow, JobRow, PatientRow, StudyRow
from workflow import cli
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.users import UserRole
from workflow.engine.reconciler import runner
from workflow.ingest import close_quiet_studies
from workflow.operations import plan_study

BASELINE = Study(
    day=date(2024, 3, 4),
    spheres=(Sphere(centre_lps=LEFT, diameter_mm=16, is_prompted=True),),
    description="CT chest",
)
OTHER_PERSON = Study(day=date(2024, 5, 6), spheres=BASELINE.spheres, name="Else^Somebody")


@pytest.fixture
def hospital(tmp_path) -> Hospital:
    return Hospital(tmp_path)


@pytest.fixture
def operator(hospital) -> TestClient:
    return open_as(hospital.context, UserRole.OPERATOR, name="otto")


def audited(hospital: Hospital) -> list[tuple[str, str, str]]:
    with rows(hospital.context) as session:
        return [(row.actor, row.action, row.object) for row in session.scalars(select(AuditRow))]


def state_of(hospital: Hospital, study_instance_uid: str) -> tuple[str, str]:
    with rows(hospital.context) as session:
        row = session.scalars(select(StudyRow).where(StudyRow.study_instance_uid == study_instance_uid)).one()
        return row.state, row.reason


def add_jobs(hospital: Hospital, *jobs: dict[str, Any]) -> None:
    with rows(hospital.context) as session:
        now = hospital.context.clock()
        for number, job in enumerate(jobs):
            row = {
                "stage": "infer",
                "subject": f"x{number}",
                "lane": f"l{number}",
                "due_at": now,
                "created_at": now,
            }
            session.add(JobRow(**{**row, **job}))


def waiting_uid(hospital: Hospital) -> str:
    (one,) = hospital.context.operations.view(hospital.context.clock())["receiving"]
    return one["study_instance_uid"]


# ---------------------------------------------------------------- who sees it


def test_operators_alone_see_it_and_find_it_in_the_bar(hospital, operator):
    reader = open_as(hospital.context, UserRole.READER, name="rea")
    assert 'href="/operations"' in operator.get("/").text
    assert operator.get("/operations").status_code == 200
    assert 'href="/operations"' not in reader.get("/").text
    for path in ("/operations", "/operations/study?uid=1.2", "/api/operations", "/api/studies/1.2/plan"):
        assert reader.get(path).status_code == 403


def test_folders_of_the_server_are_seen_by_operators_alone(hospital, operator):
    hospital.process(BASELINE)
    secret = hospital.settings.home / "received" / "x.part"
    hospital.context.reception.reject("CT1", f"can't read {secret}", str(secret))
    add_jobs(hospital, {"state": "CANCELED", "outcome": "unsuitable", "error": f"no space for {secret}"})
    reader = open_as(hospital.context, UserRole.READER, name="rea")
    home = str(hospital.home)
    for path in ("/", "/patients/1", "/api/worklist", "/api/status", "/api/patients/1"):
        answered = reader.get(path)
        assert answered.status_code == 200
        assert home not in answered.text, path
    assert str(secret) in operator.get("/operations").text


# ---------------------------------------------------------------- what it shows


def test_queues_tell_due_from_later_and_running(hospital, operator):
    now = hospital.context.clock()
    add_jobs(
        hospital,
        {"due_at": now - timedelta(minutes=9)},
        {"due_at": now - timedelta(minutes=1)},
        {"due_at": now + timedelta(hours=1), "error": "the PACS is away", "attempts": 3},
        {"state": "IN PROGRESS", "progress": 0.25, "doing": "segmenting", "started_at": now, "worker": "w"},
        {"stage": "deliver", "due_at": now},
        {"state": "COMPLETED", "ended_at": now},
    )
    seen = operator.get("/api/operations").json()
    assert {q["stage"]: (q["due"], q["later"], q["running"]) for q in seen["queues"]} == {
        "infer": (2, 1, 1),
        "deliver": (1, 0, 0),
    }
    (since,) = [q["since"] for q in seen["queues"] if q["stage"] == "infer"]
    assert since == (now - timedelta(minutes=9)).isoformat()
    page = operator.get("/operations").text
    assert re.search(
        r'<progress max="1" value="0.25"[^>]*></progress> find lesions of visit x3: segmenting', page
    )
    assert "after 3 attempts: the PACS is away" in page


def test_throughput_is_counted_by_stage_and_hour_of_the_last_day(hospital):
    now = hospital.context.clock().replace(minute=30)
    done = [{"ended_at": now - timedelta(hours=h), "worker": f"w{h % 2}"} for h in (0, 0, 1, 23, 24, 48)]
    done.append({"ended_at": now - timedelta(hours=2), "stage": "report"})
    add_jobs(hospital, *({"state": "COMPLETED", "started_at": now, **job} for job in done))
    add_jobs(hospital, {"state": "CANCELED", "ended_at": now})
    seen = hospital.context.operations.view(now)
    assert len(seen["throughput"]["hours"]) == 24
    infer, report = (seen["throughput"]["stages"][stage] for stage in ("infer", "report"))
    assert (infer[-1], infer[-2], infer[0], sum(infer)) == (2, 1, 1, 4)
    assert (report[-3], sum(report)) == (1, 1)
    assert {w["worker"]: w["done"] for w in seen["workers"]} == {"w0": 3, "w1": 2}


def test_the_audit_is_shown_newest_first_and_escaped(hospital, operator):
    hospital.context.users.add(
        replace(hospital.context.users.accounts()[0].user, name="<script>x"), "long enough", by="<b>"
    )
    page = operator.get("/operations").text
    assert "&lt;script&gt;x" in page
    assert "<script>x" not in page
    assert page.index("account opened") < page.index("logged in")


# ---------------------------------------------------------------- what is decided


def test_a_stopped_job_is_replayed_under_the_operators_name(hospital, operator):
    add_jobs(hospital, {"state": "CANCELED", "outcome": "unsuitable", "error": "the weights are missing"})
    page = operator.get("/operations").text
    assert "the weights are missing" in page
    assert operator.get("/operations/jobs/1/replay").status_code == 405
    answered = operator.post("/operations/jobs/1/replay")
    assert "queued again" in operator.get(answered.headers["Location"]).text
    assert hospital.status()["stopped"] == []
    assert audited(hospital)[-1] == ("otto", "job replayed", "job 1")
    again = operator.post("/operations/jobs/2/replay")
    assert again.status_code == 422
    assert "only a cancelled one" in again.text


def test_a_job_is_ended_under_the_operators_name_and_its_visit_says_so(hospital, operator):
    hospital.receive(BASELINE)
    here = runner(hospital.context)
    while not (waiting := hospital.context.jobs.due(("infer",), limit=1)):
        close_quiet_studies(hospital.context)
        here.run_next(("ingest", "timeline"))
    (job,) = waiting
    assert operator.post(f"/operations/jobs/{job.id}/cancel", data={"reason": " "}).status_code == 422
    answered = operator.post(f"/operations/jobs/{job.id}/cancel", data={"reason": "the wrong patient"})
    assert "ended within seconds" in operator.get(answered.headers["Location"]).text
    assert audited(hospital)[-1] == ("otto", "job canceled", f"job {job.id}")
    hospital.work()
    (point,) = hospital.time_points()
    assert (point["state"], point["reason"]) == ("FAILED", "canceled: the wrong patient (otto)")
    assert operator.post(f"/operations/jobs/{job.id}/cancel", data={"reason": "again"}).status_code == 422


def test_a_kept_study_goes_on_when_it_is_tried_again_after_its_cause_is_gone(hospital, operator):
    hospital.process(BASELINE, OTHER_PERSON)
    (kept,) = hospital.status()["quarantine"]
    with rows(hospital.context) as session:  # the name was corrected
        session.scalars(select(PatientRow)).one().patient_name = "Else^Somebody"
    (job,) = re.findall(
        r"/operations/jobs/(\d+)/replay\">[^/]*<button>Try again", operator.get("/operations").text
    )
    operator.post(f"/operations/jobs/{job}/replay")
    hospital.work()
    assert hospital.status()["quarantine"] == []
    assert [p["study_date"] for p in hospital.time_points()] == ["2024-03-04", "2024-05-06"]
    assert state_of(hospital, kept["what"].removeprefix("study "))[0] == "INGESTED"


def test_a_kept_study_that_is_tried_again_for_nothing_is_kept_once(hospital, operator):
    hospital.process(BASELINE, OTHER_PERSON)
    (job,) = (one["job"] for one in hospital.context.operations.view(hospital.context.clock())["kept"])
    operator.post(f"/operations/jobs/{job}/replay")
    hospital.work()
    (kept,) = hospital.status()["quarantine"]
    assert state_of(hospital, kept["what"].removeprefix("study "))[0] == "QUARANTINED"


def test_what_is_left_out_is_off_the_list_with_the_reason_in_the_audit(hospital, operator):
    hospital.process(BASELINE, OTHER_PERSON)
    hospital.context.reception.reject("CT1", "it is no DICOM")
    assert operator.post("/operations/kept/1/dismiss", data={"reason": " "}).status_code == 422
    assert operator.post("/operations/kept/1/dismiss", data={"reason": "a phantom"}).status_code == 303
    assert operator.post("/operations/kept/1/dismiss", data={"reason": "a phantom"}).status_code == 422
    assert operator.post("/api/kept/2/dismiss", json={"reason": "a brochure"}).json()["done"]
    assert hospital.status()["quarantine"] == []
    with rows(hospital.context) as session:
        one, two = session.scalars(select(AuditRow).where(AuditRow.action == "kept entry dismissed"))
        assert (one.actor, one.detail["reason"]) == ("otto", "a phantom")
        assert (two.object, two.detail["reason"]) == ("quarantine 2", "a brochure")
    hospital.work()
    assert len(hospital.time_points()) == 1  # and it is still not used


def _in_reception(hospital: Hospital) -> str:
    """A study of which more might come for an hour."""
    readiness = hospital.settings.readiness.model_copy(update={"quiet_s": 3600.0})
    settings = hospital.settings.model_copy(update={"readiness": readiness})
    hospital.context = replace(hospital.context, settings=settings)
    hospital.receive(BASELINE)
    return waiting_uid(hospital)


def test_a_study_that_is_being_received_goes_on_at_once_and_is_marked_incomplete(hospital, operator):
    uid = _in_reception(hospital)
    assert "being received" in operator.get(f"/operations/study?uid={uid}").text
    without = operator.post("/operations/study/complete", data={"uid": uid, "reason": ""})
    assert without.status_code == 422
    operator.post("/operations/study/complete", data={"uid": uid, "reason": "the scan was broken off"})
    hospital.work()
    (point,) = hospital.time_points()
    assert not point["is_complete"]
    assert point["report"]
    assert ("otto", "study completed by hand", uid) in audited(hospital)
    again = operator.post("/operations/study/complete", data={"uid": uid, "reason": "x"})
    assert (again.status_code, "no more" in again.text) == (422, True)
    unknown = operator.post("/operations/study/complete", data={"uid": "1.2", "reason": "x"})
    assert (unknown.status_code, "nothing of study 1.2" in unknown.text) == (422, True)


# ---------------------------------------------------------------- what would be done


def dump(hospital: Hospital) -> str:
    with sqlite3.connect(hospital.settings.home / "tumorline.db") as connection:
        text = "\n".join(connection.iterdump())
    connection.close()
    return text


def test_the_plan_is_what_is_done_then_and_making_it_changes_nothing(hospital, operator):
    uid = _in_reception(hospital)
    operator.get("/operations")
    before = dump(hospital)
    plan = operator.get(f"/api/studies/{uid}/plan").json()
    assert dump(hospital) == before
    assert (plan["state"], plan["refusal"], plan["is_known_patient"]) == ("RECEIVING", "", False)
    operator.post(f"/api/studies/{uid}/complete", json={"reason": "x"})
    hospital.work()
    (point,) = hospital.time_points()
    assert plan["series"] == point["series_choice"]
    assert plan["choice"] in point["notes"]
    assert (plan["patient_id"], plan["study_date"]) == ("P-1", point["study_date"])
    assert plan_study(hospital.context, uid)["is_known_patient"]
    page = operator.get(f"/operations/study?uid={uid}").text
    assert all(reason in page for line in plan["series"] for reason in line["reasons"])


def test_the_plan_of_a_study_that_would_be_kept_has_the_reason(hospital):
    hospital.process(BASELINE, OTHER_PERSON)
    (kept,) = hospital.status()["quarantine"]
    plan = plan_study(hospital.context, kept["what"].removeprefix("study "))
    assert plan["refusal"] == kept["reason"]
    with pytest.raises(UnsuitableInputError, match=r"nothing of study 1\.2\.3 was received"):
        plan_study(hospital.context, "1.2.3")


# ---------------------------------------------------------------- commands


def test_the_same_is_done_by_commands(hospital, monkeypatch):
    monkeypatch.setenv("TUMORLINE_HOME", str(hospital.settings.home))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    uid = _in_reception(hospital)
    plan = json.loads(run("operate", "plan", uid, "--json"))
    assert plan == plan_study(hospital.context, uid)
    assert "CT chest" in run("operate", "plan", uid)
    run("operate", "complete", uid, "--reason", "enough", "--by", "otto")
    assert state_of(hospital, uid)[0] == "INGESTING_INCOMPLETE"
    hospital.context.reception.reject("CT1", "it is no DICOM")
    run("operate", "dismiss", "1", "--reason", "a brochure", "--by", "otto")
    add_jobs(hospital, *({"state": "CANCELED", "outcome": "dead", "error": "x"} for _ in range(2)))
    numbers = [job["id"] for job in hospital.status()["stopped"]]
    run("operate", "replay", str(numbers[0]), "--by", "otto")
    run("status", "--replay", str(numbers[1]))
    assert hospital.status()["stopped"] == []
    did = [(actor, action) for actor, action, _ in audited(hospital)]
    assert did[-4:-1] == [
        ("otto", "study completed by hand"),
        ("otto", "kept entry dismissed"),
        ("otto", "job replayed"),
    ]
    assert did[-1][1] == "job replayed"
    assert did[-1][0].endswith("(command line)")


def test_the_address_puts_no_words_on_the_page(hospital):
    assert "phishing" not in open_browser(hospital.context, login=False).get("/operations?done=phishing").text
