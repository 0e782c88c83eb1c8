"""The worklist says who waits for what, the most urgent first, a page at a time."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hospital import LEFT, Hospital, Sphere, Study, rows
from sqlalchemy import event, insert

from db.tables import (
    JobRow,
    PatientRow,
    QuarantineRow,
    ResultObjectRow,
    RevisionRow,
    StudyRow,
    TimePointRow,
)
from workflow.domain.states import ResultState, StudyState, VisitState
from workflow.domain.worklist import Waiting, WorklistOrder
from workflow.ports.worklist import PAGE_SIZE, WorklistQuery

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LONG_AGO = date(2020, 1, 1)


@pytest.fixture
def hospital(tmp_path) -> Hospital:
    return Hospital(tmp_path)


@pytest.fixture
def page(hospital, open_pages) -> TestClient:
    return open_pages(hospital.context)


def _patient(
    session: Any, number: int, *states: VisitState, day: date = date(2026, 2, 1), **values: Any
) -> None:
    """A patient with a visit per state, 30 days apart, the last on `day`."""
    name = values.pop("name", f"Family{number:03d}^Given")
    session.execute(insert(PatientRow).values(id=number, patient_id=f"P{number:03d}", patient_name=name))
    for order, state in enumerate(states):
        key = 100 * number + order
        taken = day - timedelta(30 * (len(states) - 1 - order))
        session.execute(
            insert(StudyRow).values(id=key, study_instance_uid=f"1.{key}", patient_key=number,
                                    study_date=taken, state=StudyState.INGESTED, first_received_at=NOW,
                                    last_received_at=NOW)
        )  # fmt: skip
        session.execute(
            insert(RevisionRow).values(id=key, study_id=key, number=1, content_sha256="", created_at=NOW,
                                       series_choice=[], notes=[])
        )  # fmt: skip
        session.execute(
            insert(TimePointRow).values(id=key, patient_key=number, study_id=key, revision_id=key,
                                        order=order, state=state, **values)
        )  # fmt: skip


def _query(**changed: Any) -> WorklistQuery:
    return WorklistQuery(**{"overdue_before": LONG_AGO, **changed})


def _numbers(page: dict[str, Any]) -> list[int]:
    return [line["patient_key"] for line in page["patients"]]


def test_the_most_urgent_patient_comes_first_and_says_what_it_waits_for(hospital):
    with rows(hospital.context) as session:
        _patient(session, 1, VisitState.SIGNED, VisitState.SIGNED)
        _patient(session, 2, VisitState.SIGNED, VisitState.PROCESSING)
        _patient(session, 3, VisitState.SIGNED, VisitState.DRAFT)
        _patient(session, 4, VisitState.AWAITING_PROMPTS)
        _patient(session, 5, VisitState.QUARANTINED)
        _patient(session, 6, VisitState.DRAFT, VisitState.FAILED)
        _patient(session, 7, VisitState.DRAFT, attention=["a size that cannot be"])
        _patient(session, 8, VisitState.SIGNED, day=date(2019, 1, 1))
    page = hospital.context.worklist.page(_query())
    assert _numbers(page) == [6, 5, 4, 7, 3, 8, 2, 1]
    waits = {line["patient_key"]: line["waits_for"] for line in page["patients"]}
    assert waits[6] == ["failed", "review"]
    assert waits[8] == ["overdue"]
    assert waits[1] == []
    assert page["counts"] == {
        "all": 8, "failed": 1, "decision": 1, "marks": 1, "review": 3, "overdue": 1, "receiving": 0,
        "working": 1, "stored": 0,
    }  # fmt: skip
    assert [line["text"] for line in page["patients"][3]["attention"]] == ["a size that cannot be"]


@pytest.mark.parametrize("waiting", list(Waiting))
def test_each_filter_shows_exactly_those_that_it_counts(hospital, waiting):
    with rows(hospital.context) as session:
        for number, state in enumerate(VisitState, start=1):
            _patient(session, number, VisitState.SIGNED, state)
    everybody = hospital.context.worklist.page(_query())
    expected = [line["patient_key"] for line in everybody["patients"] if waiting in line["waits_for"]]
    filtered = hospital.context.worklist.page(_query(waiting=waiting))
    assert _numbers(filtered) == expected
    assert filtered["total"] == filtered["counts"][waiting] == len(expected)


def test_pages_hold_fifty_and_nobody_is_left_out_or_twice(hospital):
    with rows(hospital.context) as session:
        for number in range(1, 2 * PAGE_SIZE + 2):
            _patient(session, number, VisitState.DRAFT)
    pages = [hospital.context.worklist.page(_query(page=number)) for number in (1, 2, 3)]
    assert [len(page["patients"]) for page in pages] == [50, 50, 1]
    assert sorted(number for page in pages for number in _numbers(page)) == list(range(1, 102))
    beyond = hospital.context.worklist.page(_query(page=99))
    assert (beyond["page"], _numbers(beyond)) == (3, _numbers(pages[2]))


@pytest.mark.parametrize(
    ("search", "found"),
    [("doe jane", [1]), ("Doe, Jane", [1]), ("jane", [1, 3]), ("P002", [2]), ("doe p001", [1]), ("100%", []),
     ("_", []), ("nobody", [])],
)  # fmt: skip
def test_every_word_of_a_search_is_in_the_name_or_the_number(hospital, search, found):
    with rows(hospital.context) as session:
        _patient(session, 1, VisitState.SIGNED, name="Doe^Jane")
        _patient(session, 2, VisitState.SIGNED, name="Doe^John")
        _patient(session, 3, VisitState.SIGNED, name="Roe^Jane")
    page = hospital.context.worklist.page(_query(search=search, order=WorklistOrder.NUMBER))
    assert _numbers(page) == found
    assert page["counts"]["all"] == len(found)


def test_it_is_sorted_by_name_number_or_latest_visit(hospital):
    with rows(hospital.context) as session:
        _patient(session, 1, VisitState.SIGNED, name="roe^a", day=date(2026, 1, 2))
        _patient(session, 2, VisitState.SIGNED, name="Doe^A", day=date(2026, 1, 3))
        _patient(session, 3, VisitState.SIGNED, name="Poe^A", day=date(2026, 1, 1))
    orders = {order: _numbers(hospital.context.worklist.page(_query(order=order))) for order in WorklistOrder}
    assert orders[WorklistOrder.NAME] == [2, 3, 1]
    assert orders[WorklistOrder.NUMBER] == [1, 2, 3]
    assert orders[WorklistOrder.LATEST] == orders[WorklistOrder.URGENCY] == [2, 1, 3]


def test_results_that_the_pacs_refused_are_failures_and_only_those_of_the_current_report_count(hospital):
    hospital.process(
        Study(day=date(2026, 1, 5), spheres=[Sphere(centre_lps=LEFT, diameter_mm=12, is_prompted=True)])
    )
    assert hospital.context.worklist.page(_query())["patients"][0]["is_stored"]
    with rows(hospital.context) as session:
        made = session.query(ResultObjectRow).first()
        made.state = ResultState.REFUSED
    (line,) = hospital.context.worklist.page(_query())["patients"]
    assert line["waits_for"] == ["failed", "review"]
    assert not line["is_stored"]
    with rows(hospital.context) as session:
        session.query(TimePointRow).one().report_id = None  # nothing is said of the visit any more
    (line,) = hospital.context.worklist.page(_query())["patients"]
    assert "failed" not in line["waits_for"]


def test_a_study_that_is_being_received_is_shown_before_it_has_a_patient(hospital, page):
    hospital.receive(Study(day=date(2026, 1, 5), description="CT abdomen"))
    listed = hospital.context.worklist.page(_query())
    (study,) = listed["studies"]
    assert (study["study_description"], study["instances"]) == ("CT abdomen", 16)
    assert listed["counts"]["receiving"] == 1
    text = page.get("/?waiting=receiving").text
    assert "CT abdomen" in text
    assert "On no patient" in text
    assert "CT abdomen" not in page.get("/?waiting=marks").text


def test_a_filter_a_search_and_a_sorting_are_kept_from_page_to_page(hospital, page):
    with rows(hospital.context) as session:
        for number in range(1, 2 * PAGE_SIZE + 2):
            _patient(session, number, VisitState.DRAFT)
    text = page.get("/?waiting=review&q=family&sort=name&page=2").text
    (after,) = re.findall(r'rel="next" href="([^"]+)"', text)
    assert after == "/?waiting=review&amp;q=family&amp;sort=name&amp;page=3"
    assert "Page 2 of 3" in text
    assert 'value="family"' in text
    assert "Page 3 of 3" in page.get(after.replace("&amp;", "&")).text


@pytest.mark.parametrize("wrong", ["waiting=nobody", "sort=size", "page=0", "page=x"])
def test_a_query_that_means_nothing_is_refused(page, wrong):
    assert page.get(f"/api/worklist?{wrong}").status_code == 422


def test_no_folder_of_the_server_is_on_the_page_and_the_rest_of_the_message_is(hospital, page):
    with rows(hospital.context) as session:
        session.add(
            QuarantineRow(
                what="object from /data/in/9.dcm",
                reason="no header in '/data/in/9.dcm'",
                path="/data/in/9.dcm",
                kept_at=NOW,
            )
        )
        for state, outcome in (("CANCELED", "unsuitable"), ("SCHEDULED", "")):
            session.add(
                JobRow(
                    stage="deliver",
                    subject="7",
                    lane="p",
                    state=state,
                    outcome=outcome,
                    due_at=NOW,
                    error="no room for /srv/home/results/a b.dcm (2/3 written)",
                    created_at=NOW,
                )
            )
    for text in (page.get("/").text, page.get("/api/status").text):
        assert not re.search("/data|/srv", text)
        assert "9.dcm" in text
        assert "2/3 written" in text


def test_a_page_asks_the_same_few_statements_for_fifty_patients_as_for_one(hospital, page):
    asked: list[str] = []
    with rows(hospital.context) as session:
        engine = session.get_bind()
        _patient(session, 1, VisitState.DRAFT)

    def note(connection, cursor, statement, *_):
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        page.get("/")
        one = len(asked)
        with rows(hospital.context) as session:
            for number in range(2, 60):
                _patient(session, number, VisitState.DRAFT, VisitState.DRAFT)
        asked.clear()
        page.get("/")
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert 0 < len(asked) == one < 16


def test_the_revision_moves_with_every_change_that_the_worklist_shows(hospital):
    seen = [hospital.context.worklist.revision()]

    def moved() -> None:
        now = hospital.context.worklist.revision()
        assert now not in seen
        seen.append(now)

    assert hospital.context.worklist.revision() == seen[0]
    hospital.receive(
        Study(day=date(2026, 1, 5), spheres=[Sphere(centre_lps=LEFT, diameter_mm=12, is_prompted=True)])
    )
    moved()
    hospital.work()
    moved()
    hospital.context.reception.reject("somebody", "not DICOM")
    moved()
    with rows(hospital.context) as session:
        session.query(ResultObjectRow).first().state = ResultState.REFUSED
    moved()
    with rows(hospital.context) as session:
        session.add(
            JobRow(
                stage="infer",
                subject="7",
                lane="p",
                state="IN PROGRESS",
                progress=0.1,
                due_at=NOW,
                created_at=NOW,
            )
        )
    moved()
    with rows(hospital.context) as session:
        session.query(JobRow).filter_by(state="IN PROGRESS").one().progress = 0.2
    moved()
