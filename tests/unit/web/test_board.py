"""The board's pages: a list is made, ordered and frozen into packets; the cohort is shown."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import pydicom
import pytest
from browser import open_as
from fastapi.testclient import TestClient
from hospital import LEFT, RIGHT, Hospital, Sphere, Study, rows

from db.tables import AuditRow
from workflow.domain.lesion_life import Decision
from workflow.domain.users import UserRole
from workflow.review import decide, sign
from workflow.use_cases.board import make_packets

DAY = date(2026, 12, 1)
BASELINE, FOLLOW_UP = date(2024, 3, 4), date(2024, 5, 6)


def study(day: date, left_mm: float, right_mm: float, *, patient_id: str, name: str) -> Study:
    is_prompted = day == BASELINE
    return Study(
        day=day,
        patient_id=patient_id,
        name=name,
        spheres=(
            Sphere(centre_lps=LEFT, diameter_mm=left_mm, is_prompted=is_prompted, label="left lung"),
            Sphere(centre_lps=RIGHT, diameter_mm=right_mm, is_prompted=is_prompted, label="right lung"),
        ),
    )


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Hospital:
    hospital = Hospital(tmp_path_factory.mktemp("board"), writes_real_results=True)
    hospital.process(
        study(BASELINE, 16, 12, patient_id="P-1", name="Test^Person"),
        study(FOLLOW_UP, 8, 8, patient_id="P-1", name="Test^Person"),
        study(BASELINE, 14, 12, patient_id="P-2", name="Other^Person"),
    )
    return hospital


@pytest.fixture(scope="module")
def page(hospital) -> TestClient:
    browser = open_as(hospital.context, UserRole.READER, name="roe")
    browser.follow_redirects = True
    return browser


def key(hospital: Hospital, patient_id: str) -> int:
    return hospital.course(patient_id)["patient_key"]


def board(page: TestClient, day: date = DAY) -> dict[str, Any]:
    return page.get(f"/api/board/{day}").json()


def ids(page: TestClient, day: date = DAY) -> list[str]:
    return [entry["patient_id"] for entry in board(page, day)["entries"]]


def add(page: TestClient, hospital: Hospital, patient_id: str, day: date, **said: str) -> None:
    answer = page.post(f"/board/{day}/add", data={"patient_key": key(hospital, patient_id), **said})
    assert answer.status_code == 200  # after the way back to the list
    assert answer.url.path == f"/board/{day}"


def test_a_patient_is_found_by_name_or_number_and_added(page, hospital):
    day = date(2026, 12, 8)
    for words in ("other", "P-2", "Other, Person"):
        text = page.get(f"/board/{day}", params={"find": words}).text
        assert 'class="fields found"' in text
        assert "P-2" in text
    assert "No patient" in page.get(f"/board/{day}", params={"find": "100%_"}).text
    add(page, hospital, "P-2", day, question="Biopsy?", priority="urgent")
    text = page.get(f"/board/{day}").text
    assert "Biopsy?" in text
    assert "urgent" in text
    # Who is on the list is not offered again.
    assert "fields found" not in page.get(f"/board/{day}", params={"find": "P-2"}).text


def test_the_next_board_is_shown_first_and_past_ones_apart(page, hospital):
    for day in (date(2099, 2, 1), date(2099, 1, 1), date(2020, 1, 1)):
        add(page, hospital, "P-1", day)
    text = page.get("/board").text
    coming, past = text.split("<h2>Past</h2>")
    shown = re.findall(r'href="/board/(\d{4}-\d\d-\d\d)"', coming)
    assert shown == sorted(shown)
    assert "2099-01-01" in shown
    assert "2020-01-01" in past


def test_urgent_patients_come_first_and_a_person_may_order_them_otherwise(page, hospital):
    day = date(2026, 12, 15)
    add(page, hospital, "P-1", day)
    add(page, hospital, "P-2", day, priority="urgent")
    assert ids(page, day) == ["P-2", "P-1"]
    page.post(f"/board/{day}/{key(hospital, 'P-2')}/move", data={"steps": 1})
    assert ids(page, day) == ["P-1", "P-2"]
    page.post(f"/board/{day}/{key(hospital, 'P-1')}/ask", data={"priority": "if time", "question": "Wait?"})
    first = board(page, day)["entries"][0]
    assert (first["priority"], first["question"], first["place"]) == ("if time", "Wait?", 1)
    page.post(f"/board/{day}/{key(hospital, 'P-1')}/remove")
    assert ids(page, day) == ["P-2"]


def test_a_patient_is_on_a_list_once_and_the_refusal_says_what_to_do(page, hospital):
    day = date(2026, 12, 22)
    add(page, hospital, "P-1", day)
    again = page.post(f"/api/board/{day}", json={"patient_key": key(hospital, "P-1")})
    assert again.status_code == 422
    assert "already" in again.json()["detail"]
    stranger = page.post(f"/api/board/{day}", json={"patient_key": 999})
    assert stranger.status_code == 422
    assert "no patient 999" in stranger.json()["detail"]
    assert page.patch(f"/api/board/{day}/999", json={"steps": 1}).status_code == 422
    assert page.post(f"/api/board/{day}/packets").status_code == 202
    assert page.delete(f"/api/board/{day}/{key(hospital, 'P-1')}").json()["entries"] == []
    empty = page.post(f"/api/board/{day}/packets")
    assert (empty.status_code, "nobody" in empty.json()["detail"]) == (422, True)
    assert page.get("/board/2026-13-01").status_code == 404


def test_every_change_of_a_list_is_audited_with_who_made_it(page, hospital):
    day = date(2027, 1, 5)
    add(page, hospital, "P-1", day)
    with rows(hospital.context) as session:
        told = [(r.actor, r.action) for r in session.query(AuditRow).filter_by(object=day.isoformat())]
    assert told == [("roe", "board: added")]


def test_who_reads_no_reports_changes_no_list(hospital):
    operator = open_as(hospital.context, UserRole.OPERATOR, name="olga")
    data = {"patient_key": key(hospital, "P-1")}
    assert operator.get("/board").status_code == 200
    for path in (f"/board/{DAY}/add", f"/board/{DAY}/packets", "/board/packets/1/store", "/board/add"):
        assert operator.post(path, data={**data, "day": str(DAY)}).status_code == 403
    assert operator.post(f"/api/board/{DAY}", json=data).status_code == 403


def test_a_patient_is_added_from_the_patients_own_page(page, hospital):
    patient, day = key(hospital, "P-2"), date(2027, 1, 19)
    assert f'href="/board/add?patient_key={patient}"' in page.get(f"/patients/{patient}").text
    text = page.get("/board/add", params={"patient_key": patient}).text
    assert "Other, Person" in text
    page.post("/board/add", data={"patient_key": patient, "day": str(day), "question": "Biopsy?"})
    assert ids(page, day) == ["P-2"]
    assert f'href="/board/{day}"' in page.get("/board/add", params={"patient_key": patient}).text
    assert page.get("/board/add", params={"patient_key": 999}).status_code == 404


def test_what_is_missing_is_said_of_each_patient(page, hospital):
    day = date(2027, 1, 12)
    add(page, hospital, "P-1", day)
    add(page, hospital, "P-2", day)
    first, second = (entry["missing"] for entry in board(page, day)["entries"])
    assert f"not signed: {BASELINE}, {FOLLOW_UP}" in first
    assert "no follow-up, only a baseline" in second


@pytest.fixture(scope="module")
def packets(page, hospital) -> dict[str, Any]:
    """The board of a day with both patients, its packets made by the workers."""
    add(page, hospital, "P-1", DAY, question="Second line?")
    add(page, hospital, "P-2", DAY)
    answer = page.post(f"/board/{DAY}/packets")
    assert "The files are being made" in answer.text
    assert f'data-waiting="/api/board/{DAY}"' in answer.text
    hospital.work()
    return board(page)


def test_one_click_makes_a_packet_of_each_patient_and_one_of_the_list(packets, page):
    every = [packets["packet"], *(entry["packet"] for entry in packets["entries"])]
    assert [(p["state"], p["version"], p["made_by"]) for p in every] == [("READY", 1, "roe")] * 3
    for packet in every:
        assert [file["kind"] for file in packet["files"]] == [
            "pdf",
            "pptx",
            "xlsx",
            "csv",
            "fhir.json",
            "json",
        ]
        for file in packet["files"]:
            answer = page.get(f"/board/packets/{packet['id']}/{file['name']}")
            assert answer.status_code == 200
            assert len(answer.content) == file["size"]
            assert answer.headers["content-disposition"] == f'attachment; filename="{file["name"]}"'
            assert not re.search(r"P-\d|Test|Other", file["name"])
    text = page.get(f"/board/{DAY}").text
    assert "being made" not in text
    assert "data-waiting" not in text
    assert not packets["is_changed"]


def test_a_packet_holds_the_timeline_and_the_pictures_as_they_were(packets, page, hospital):
    packet = packets["entries"][0]["packet"]
    files = {file["kind"]: file["name"] for file in packet["files"]}
    told = page.get(f"/board/packets/{packet['id']}/{files['json']}").json()
    reports = [point["report"] for point in told["time_points"]]
    assert [r["identity"] for r in reports] == [r["identity"] for r in packet["reports"]]
    assert told["patient_id"] == "P-1"
    deck = page.get(f"/board/packets/{packet['id']}/{files['pptx']}").content
    assert deck.count(b".png") >= 2 * len(reports[1]["lesions"])


def test_a_file_that_is_not_of_the_packet_is_not_given(packets, page):
    packet = packets["packet"]
    for name in ("other.pdf", "..%2F..%2Ftumorline.db", packets["entries"][0]["packet"]["files"][0]["name"]):
        assert page.get(f"/board/packets/{packet['id']}/{name}").status_code == 404
    assert page.get("/board/packets/999/packet.pdf").status_code == 404


def test_what_says_the_same_is_not_made_again_and_what_changed_is_said(packets, page, hospital):
    again = page.post(f"/api/board/{DAY}/packets").json()
    assert [p["id"] for p in again] == [
        packets["packet"]["id"],
        *(e["packet"]["id"] for e in packets["entries"]),
    ]
    before = [page.get(f"/board/packets/{p['id']}/{p['files'][0]['name']}").content for p in again]
    sign(hospital.context, patient_id="P-1", day=BASELINE, by="Roe^Jane")
    hospital.work()
    now = board(page)
    assert now["is_changed"]
    assert now["entries"][0]["changed_since"] == [f"{BASELINE}: signed by Jane Roe"]
    assert now["entries"][1]["changed_since"] == []
    assert "Changed since" in page.get(f"/board/{DAY}").text
    made = make_packets(hospital.context, day=DAY, by="roe")
    assert [packet.version for packet in made] == [2, 2, 1]
    after = board(page)
    assert not after["is_changed"]
    assert after["entries"][0]["changed_since"] == []
    # The first versions are still there, byte for byte.
    assert [p["version"] for p in after["earlier"]] == [1, 1]
    kept = [page.get(f"/board/packets/{p['id']}/{p['files'][0]['name']}").content for p in again]
    assert kept == before


def test_the_pdf_is_stored_in_the_pacs_as_an_object_of_the_latest_study(packets, page, hospital):
    packet = board(page)["entries"][1]["packet"]
    before = hospital.archived()
    assert page.post(f"/board/packets/{packet['id']}/store").status_code == 200
    assert page.post(f"/board/packets/{packet['id']}/store").status_code == 200  # twice does no harm
    hospital.work()
    (new,) = hospital.archived() - before
    (path,) = (hospital.home / "archive").glob(f"*/*/{new}.dcm")
    stored = pydicom.dcmread(path)
    assert stored.SOPClassUID.name == "Encapsulated PDF Storage"
    assert stored.StudyInstanceUID == hospital.time_points("P-2")[-1]["study_instance_uid"]
    assert (stored.PatientID, stored.VerificationFlag) == ("P-2", "UNVERIFIED")
    pdf = page.get(f"/board/packets/{packet['id']}/{packet['files'][0]['name']}").content
    assert stored.EncapsulatedDocument[: stored.EncapsulatedDocumentLength] == pdf
    (row,) = [o for o in hospital.time_points("P-2")[-1]["objects"] if o["role"].startswith("board")]
    assert row["state"] == "VERIFIED"


def test_the_packet_of_a_list_or_of_a_former_report_is_not_stored(packets, page, hospital):
    refused = page.post(f"/board/packets/{packets['packet']['id']}/store")
    assert refused.status_code == 422
    assert "several patients" in refused.text
    day = date(2027, 2, 2)
    add(page, hospital, "P-2", day)
    old = make_packets(hospital.context, day=day, by="roe")[1]
    said = {"patient_id": "P-2", "lesion": "T02", "by": "Roe", "reason": "vessel"}
    decide(hospital.context, decision=Decision.NOT_A_LESION, **said)
    hospital.work()
    refused = page.post(f"/board/packets/{old.id}/store")
    assert refused.status_code == 422
    assert "make the packet again" in refused.text


def test_a_packet_whose_files_fail_says_so_and_is_tried_again(page, hospital, monkeypatch):
    day = date(2027, 3, 2)
    add(page, hospital, "P-1", day)

    def refuse(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(type(hospital.context.packets), "write", refuse)
    page.post(f"/board/{day}/packets")
    hospital.work()
    text = page.get(f"/board/{day}").text
    assert "could not be made" in text
    assert "No space left" not in text  # the words of a defect are for the log
    monkeypatch.undo()
    made = make_packets(hospital.context, day=day, by="roe")
    assert [packet.version for packet in made] == [1, 1]
    assert "could not be made" not in page.get(f"/board/{day}").text


def test_question_and_name_are_shown_as_text_and_never_as_markup(page, hospital):
    day = date(2027, 4, 6)
    add(page, hospital, "P-1", day, question="<script>alert(1)</script>")
    text = page.get(f"/board/{day}").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_every_form_that_changes_something_carries_the_token(page, hospital):
    text = page.get(f"/board/{DAY}", params={"find": "P-"}).text
    forms = re.findall(r'<form method="post".*?</form>', text, re.DOTALL)
    assert forms
    assert all('name="csrf_token"' in form for form in forms)


def test_no_answer_of_the_board_says_where_the_server_keeps_its_files(page, hospital):
    for path in (f"/board/{DAY}", f"/api/board/{DAY}", "/board"):
        assert str(hospital.home) not in page.get(path).text


# ---------------------------------------------------------------- cohort


def test_the_cohort_page_shows_figures_rates_and_a_table(page):
    text = page.get("/cohort").text
    assert text.count("<svg") >= 3
    assert "95 % interval" in text
    assert "style=" not in text  # the content policy forbids it
    told = page.get("/api/cohort").json()
    first = next(p for p in told["patients"] if p["patient_id"] == "P-1")
    assert first["best_response"] == "PR"
    assert told["objective_response"]["count"] == 1
    assert told["objective_response"]["of"] == len(told["patients"]) == 2
    assert json.dumps(told, allow_nan=False)


def test_filters_leave_patients_out(page):
    def shown(**query: str) -> list[str]:
        return [p["patient_id"] for p in page.get("/api/cohort", params=query).json()["patients"]]

    assert shown() == ["P-1", "P-2"]
    assert shown(criteria="recist-1.1", **{"from": "2024-03-04", "to": "2024-03-04"}) == ["P-1", "P-2"]
    assert shown(criteria="irecist") == []
    assert shown(**{"from": "2024-03-05"}) == []
    assert shown(**{"from": "", "to": "", "criteria": ""}) == ["P-1", "P-2"]  # as an empty form sends it
    assert page.get("/cohort", params={"from": "2024-13-05"}).status_code == 422


def test_the_cohort_is_downloaded_as_csv(page):
    answer = page.get("/cohort.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="cohort.csv"'
    lines = answer.content.decode("utf-8-sig").splitlines()
    assert lines[0].startswith("patient_id,criteria,baseline,date")
    assert len(lines) == 1 + 3  # three visits
