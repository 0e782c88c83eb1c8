"""A reader takes, corrects, undoes and signs; what the page says is what the report will say."""

from __future__ import annotations

import html
import json
import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from hospital import Hospital, Sphere, Study

from workflow.domain.lesion_life import Decision
from workflow.domain.users import User, UserRole
from workflow.review import decide
from workflow.web import make_app
from workflow.web.access import DEMO_USER
from workflow.web.review_forms import FORMS

PLACES = [(10.0, 10.0, 12.0), (36.0, 10.0, 12.0), (10.0, 36.0, 32.0), (36.0, 36.0, 32.0), (24.0, 24.0, 52.0)]
BEFORE_MM, AFTER_MM = (14, 13, 12, 11, 10), (8, 9, 12, 11, 10)
BASELINE = Study(
    day=date(2024, 3, 4),
    spheres=[
        Sphere(centre_lps=place, diameter_mm=mm, is_prompted=True, label=f"lesion {n}")
        for n, (place, mm) in enumerate(zip(PLACES, BEFORE_MM, strict=True))
    ],
)
FOLLOW_UP = Study(
    day=date(2024, 5, 6),
    spheres=[Sphere(centre_lps=place, diameter_mm=mm) for place, mm in zip(PLACES, AFTER_MM, strict=True)],
)


class Reader:
    """A reader's browser: it keeps what was shown last, and counts what was done."""

    def __init__(self, hospital: Hospital, visit: int = 2, user: User = DEMO_USER) -> None:
        web = hospital.settings.web.model_copy(update={"login": False})
        app = make_app(hospital.context, hospital.settings.model_copy(update={"web": web}))
        self.client = TestClient(app, base_url="http://localhost:8080")
        self.visit, self.user, self.actions = visit, user, 0
        self.view: dict[str, Any] = {}
        self.token = ""
        self.look()

    def page(self) -> str:
        text = str(self._as_me(lambda: self.client.get(f"/review/{self.visit}")).text)
        self.token = "".join(re.findall(r'name="csrf-token" content="([^"]+)"', text))
        return text

    def look(self) -> dict[str, Any]:
        return self._shown(self.page())

    def post(self, path: str, **body: Any) -> Any:
        self.actions += 1
        answer = self._as_me(
            lambda: self.client.post(
                f"/review/{self.visit}/{path}",
                json={"seen": self.view["seen"], **body},
                headers={"X-CSRF-Token": self.token},
            )
        )
        if answer.status_code == 200:
            self._shown(answer.text)
        return answer

    def decide(self, decision: Decision, **values: Any) -> Any:
        body = {"id": str(uuid.uuid4()), "decision": decision.value, "reason": "seen on MR", **values}
        return self.post("decisions", **body)

    def lesion(self, label: str) -> dict[str, Any]:
        return next(one for one in self.view["lesions"] if one["label"] == label)

    def uid(self, label: str) -> str:
        return str(self.lesion(label)["tracking_uid"])

    def _as_me(self, act: Callable[[], Any]) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("workflow.web.access.DEMO_USER", self.user)
            return act()

    def _shown(self, text: str) -> dict[str, Any]:
        (packed,) = re.findall(r'id="panel" data-view="([^"]*)"', text)
        self.view = json.loads(html.unescape(packed))
        return self.view


def _copy(processed: Path, folder: Path) -> Hospital:
    shutil.copytree(processed, folder / "copy")
    return Hospital(folder / "copy")


def _user(name: str, *roles: UserRole) -> User:
    return User(name=name, roles=frozenset(roles or {UserRole.READER}))


@pytest.fixture(scope="module")
def processed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a hospital with a baseline and a follow-up of five lesions."""
    folder = tmp_path_factory.mktemp("processed")
    Hospital(folder).process(BASELINE, FOLLOW_UP)
    return folder


@pytest.fixture
def hospital(tmp_path: Path, processed: Path) -> Hospital:
    return _copy(processed, tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, processed: Path) -> Hospital:
    """One for many tests, each of which leaves it as it was."""
    return _copy(processed, tmp_path_factory.mktemp("kept"))


def _point(hospital: Hospital) -> dict[str, Any]:
    return hospital.time_points()[1]


def test_a_follow_up_with_five_lesions_is_signed_in_at_most_ten_actions(hospital):
    reader = Reader(hospital)
    assert [one["standing"] for one in reader.view["lesions"]] == ["open"] * 5
    for lesion in list(reader.view["lesions"]):
        reader.decide(Decision.CONFIRM, lesion=lesion["tracking_uid"], reason="")
    assert reader.view["open"] == []
    reader.post("sign")
    assert reader.actions <= 10
    hospital.work()
    assert _point(hospital)["state"] == "SIGNED"
    assert reader.look()["signed_by"] == "demo"


def test_what_is_unremarkable_is_taken_at_once_and_the_rest_stays_open(hospital):
    reader = Reader(hospital)
    reader.decide(Decision.SET_STATE, lesion=reader.uid("T01"), state="disappeared")
    undone = reader.view["undo"]
    reader.post("undo", of=undone)
    assert len(reader.view["unremarkable"]) == 5
    reader.post("take-all", id=str(uuid.uuid4()))
    assert {one["standing"] for one in reader.view["lesions"]} == {"confirmed"}
    reader.post("undo", of=reader.view["undo"])  # made in one go, taken back in one go
    assert len(reader.view["open"]) == 5


def test_a_lesion_that_has_grown_is_not_taken_with_the_others(tmp_path):
    hospital = Hospital(tmp_path)
    grown = replace(
        FOLLOW_UP, spheres=[replace(FOLLOW_UP.spheres[0], diameter_mm=20), *FOLLOW_UP.spheres[1:]]
    )
    hospital.process(BASELINE, grown)
    reader = Reader(hospital)
    (remark,) = reader.lesion("T01")["remarks"]
    assert "larger than before" in remark
    reader.post("take-all", id=str(uuid.uuid4()))
    assert reader.view["open"] == ["T01"]


def test_a_confirmation_is_of_what_was_seen_and_lapses_when_that_changes(hospital):
    reader = Reader(hospital)
    reader.decide(Decision.CONFIRM, lesion=reader.uid("T01"), reason="")
    assert (reader.lesion("T01")["standing"], reader.lesion("T01")["by"]) == ("confirmed", "demo")
    version = _point(hospital)["report_version"]
    hospital.work()
    assert _point(hospital)["report_version"] == version  # it changes nothing that is said
    reader.decide(Decision.SET_DIAMETER, lesion=reader.uid("T01"), diameter_mm=20)
    assert reader.lesion("T01")["standing"] == "decided"


VALUES: dict[str, dict[str, Any]] = {
    "set-diameter-lesion": {"diameter_mm": 30},
    "set-state-lesion": {"state": "disappeared"},
    "set-role-lesion": {"role": "non_target"},
    "merge-lesion": {"other": "T02"},
    "split-lesion": {"other": "T02"},
    "intervention-lesion": {"kind": "radiotherapy", "on": "2024-04-01"},
    "new-lesion-lesion": {"finding": "equivocal"},
    "new-lesion-visit": {"finding": "yes"},
    "set-overall-response-visit": {"overall": "SD"},
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_form_records_its_decision_and_the_answer_is_what_the_engine_says(kept, form):
    reader = Reader(kept)
    values = dict(VALUES.get(form.name, {}))
    assert {field.name for field in form.fields if field.is_required} <= set(values)
    if "other" in values:
        values["other"] = reader.uid(values["other"])
    if form.about == "lesion":
        values["lesion"] = reader.uid("T01")
    assert reader.decide(form.decision, **values).status_code == 200
    at_once = reader.view["assessment"]
    shown = {one["label"]: (one["diameter_mm"], one["state"]) for one in reader.view["lesions"]}
    (made,) = reader.view["decisions"]
    assert (made["by"], made["reason"]) == ("demo", "seen on MR")
    kept.work()
    report = _point(kept)["report"]
    assert reader.post("undo", of=reader.view["undo"]).status_code == 200
    assert at_once == report["assessment"]
    assert shown == {one["label"]: (one["diameter_mm"], one["state"]) for one in report["lesions"]}


def test_every_decision_of_the_domain_can_be_reached(hospital):
    text = Reader(hospital).page()
    offered = {Decision(value) for value in re.findall(r'data-decision="([^"]+)"', text)}
    assert offered | {Decision.CONFIRM} == set(Decision)
    keys = re.findall(r'<dialog[^>]* data-key="(.)"', text)
    assert len(keys) == len(set(keys)) == len(FORMS)


def test_a_baseline_is_not_asked_for_what_only_a_follow_up_has(hospital):
    text = Reader(hospital, visit=1).page()
    assert 'data-decision="set diameter"' in text
    assert 'data-decision="unequivocal progression"' not in text


def test_undo_takes_back_the_last_decision_then_the_one_before(hospital):
    reader = Reader(hospital)
    before = reader.view["assessment"]
    reader.decide(Decision.SET_DIAMETER, lesion=reader.uid("T01"), diameter_mm=30)
    with_one = reader.view["assessment"]
    reader.decide(Decision.NOT_A_LESION, lesion=reader.uid("T02"))
    reader.post("undo", of=reader.view["undo"])
    assert reader.view["assessment"] == with_one
    reader.post("undo", of=reader.view["undo"])
    assert reader.view["assessment"] == before
    assert reader.view["undo"] == []


def test_a_second_click_changes_nothing(hospital):
    reader = Reader(hospital)
    body = {"id": str(uuid.uuid4()), "decision": "set diameter", "reason": "vessel", "diameter_mm": 20}
    seen, lesion = reader.view["seen"], reader.uid("T01")
    assert reader.post("decisions", **body, lesion=lesion).status_code == 200
    assert reader.post("decisions", **body, lesion=lesion, seen=seen).status_code == 200
    assert len(reader.view["decisions"]) == 1
    undone = reader.view["undo"]
    reader.post("undo", of=undone)
    reader.post("undo", of=undone)
    assert len(hospital.context.records.load(1).decisions) == 2


def test_the_second_of_two_readers_sees_what_the_first_did_before_anything_is_written_over(hospital):
    first, second = Reader(hospital, user=_user("Roe")), Reader(hospital, user=_user("Doe"))
    assert first.decide(Decision.SET_DIAMETER, lesion=first.uid("T01"), diameter_mm=20).status_code == 200
    refused = second.decide(Decision.SET_DIAMETER, lesion=second.uid("T01"), diameter_mm=12)
    assert refused.status_code == 409
    assert "Roe's: T01: set diameter 20.0 mm" in refused.json()["message"]
    assert second.post("sign").status_code == 409
    second.look()
    assert second.lesion("T01")["by"] == "Roe"
    assert second.decide(Decision.SET_DIAMETER, lesion=second.uid("T01"), diameter_mm=12).status_code == 200


def test_a_reader_undoes_only_their_own_decisions_and_an_adjudicator_takes_back_anybodys(hospital):
    Reader(hospital, user=_user("Roe")).decide(Decision.NEW_LESION, finding="yes")
    other = Reader(hospital, user=_user("Doe"))
    (made,) = other.view["decisions"]
    assert other.view["undo"] == []
    assert not made["may_withdraw"]
    assert other.decide(Decision.WITHDRAW, other=made["id"]).status_code == 403
    judge = Reader(hospital, user=_user("Poe", UserRole.ADJUDICATOR))
    assert judge.decide(Decision.WITHDRAW, other=made["id"]).status_code == 200
    assert judge.view["decisions"] == []


def test_only_an_adjudicator_sets_a_response_over_the_rules(hospital):
    reader = Reader(hospital, user=_user("Roe"))
    assert 'data-decision="set overall response"' not in reader.page()
    assert reader.decide(Decision.SET_OVERALL, overall="SD").status_code == 403
    judge = Reader(hospital, user=_user("Poe", UserRole.ADJUDICATOR))
    assert judge.decide(Decision.SET_OVERALL, overall="SD").status_code == 200
    assert judge.view["assessment"]["computed_overall"] != "SD"


def test_who_is_no_reader_sees_no_review(hospital):
    operator = _user("Ops", UserRole.OPERATOR)
    reader = Reader(hospital)
    reader.user = operator
    for path in ("/review/2", "/review/2/panel", "/review/2/state", "/slices/2/abc", "/slices/2/abc/0.bin"):
        assert reader._as_me(lambda path=path: reader.client.get(path)).status_code == 403
    assert reader.post("sign").status_code == 403


def test_without_the_pages_token_nothing_is_decided(hospital):
    reader = Reader(hospital)
    reader.token = "another"
    assert reader.decide(Decision.SET_DIAMETER, lesion=reader.uid("T01"), diameter_mm=20).status_code == 403
    assert hospital.context.records.load(1).decisions == ()


def test_what_is_signed_is_what_is_said_though_no_report_holds_it_yet(hospital):
    reader = Reader(hospital)
    reader.decide(Decision.SET_DIAMETER, lesion=reader.uid("T01"), diameter_mm=20)
    assert reader.post("sign").status_code == 200  # before the pipeline has run again
    assert reader.view["busy_with"] == "the signed report is being written"
    hospital.work()
    signed = _point(hospital)
    assert signed["state"] == "SIGNED"
    assert signed["report"]["signed_by"] == "demo"
    assert {one["label"]: one["diameter_mm"] for one in signed["report"]["lesions"]}["T01"] == 20
    assert reader.look()["busy_with"] == ""


def test_a_visit_that_is_being_worked_on_is_not_signed(hospital):
    reader = Reader(hospital)
    again = replace(BASELINE, spheres=[*BASELINE.spheres[:4]], key="late", at=BASELINE.at.replace(hour=8))
    hospital.receive(again)
    hospital.context.records.change(1, lambda record: _under_way(record))
    assert "being worked on" in reader.post("sign", seen="").json()["message"]


def _under_way(record):
    from workflow.domain.states import VisitState
    from workflow.ports import Changed

    return Changed(record=record.with_visit(replace(record.standing[1], state=VisitState.PROCESSING)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"decision": "set diameter", "diameter_mm": 12, "reason": " "}, "no 'reason'"),
        ({"decision": "set diameter"}, "needs 'diameter_um'"),
        ({"decision": "merge"}, "needs 'other'"),
        ({"decision": "withdraw", "other": "nothing"}, "there is no decision"),
    ],
)
def test_a_decision_that_lacks_something_says_what(hospital, values, message):
    reader = Reader(hospital)
    answer = reader.post(
        "decisions",
        **{"id": str(uuid.uuid4()), "reason": "seen on MR", "lesion": reader.uid("T01"), **values},
    )
    assert answer.status_code == 422
    assert message in answer.json()["message"]


@pytest.mark.parametrize("wrong", [{"diameter_mm": -1}, {"diameter_mm": 5000}, {"who": "me"}])
def test_a_number_that_is_no_diameter_and_a_field_that_is_not_known_are_refused(hospital, wrong):
    reader = Reader(hospital)
    assert reader.decide(Decision.SET_DIAMETER, lesion=reader.uid("T01"), **wrong).status_code == 422


def test_a_visit_without_marks_opens_for_marking(tmp_path):
    hospital = Hospital(tmp_path)
    hospital.process(replace(BASELINE, spheres=[replace(s, is_prompted=False) for s in BASELINE.spheres]))
    view = Reader(hospital, visit=1).view
    assert (view["state"], view["lesions"], len(view["volumes"])) == ("AWAITING_PROMPTS", [], 1)


def test_there_is_no_review_of_a_visit_that_is_not_there(hospital):
    assert Reader(hospital).client.get("/review/99").status_code == 404


# ---------------------------------------------------------------- slices


def _volume(reader: Reader, visit: int, label: str, *, earlier: bool = False) -> tuple[str, dict[str, Any]]:
    lesion = reader.lesion(label)
    name = lesion["earlier"]["volume"] if earlier else lesion["volume"]
    return name, reader.client.get(f"/slices/{visit}/{name}").json()


def test_a_slice_is_the_volumes_voxels(hospital):
    reader = Reader(hospital)
    name, about = _volume(reader, 2, "T01")
    record = hospital.context.records.load(1)
    series = record.standing[1].observations[0].measured_on
    (stack,) = [s for s in record.stacks_of(record.standing[1]).values() if s.key == series]
    files = hospital.context.records.files([stack.study_instance_uid])
    array = hospital.context.images.read_volume([f.path for f in files], stack).volume.array
    for index in (0, 3, about["shape"][0] - 1):
        answer = reader.client.get(f"/slices/2/{name}/{index}.bin")
        sent = np.frombuffer(answer.content, dtype="<i2").reshape(about["shape"][1:])
        assert np.array_equal(sent * about["slope"] + about["intercept"], array[index])
        assert answer.headers["Cache-Control"].startswith("private")
    assert reader.client.get(f"/slices/2/{name}/{about['shape'][0]}.bin").status_code == 404
    assert reader.client.get("/slices/2/0123/0.bin").status_code == 404


def test_an_outline_encloses_its_lesion_and_the_axes_have_the_reported_lengths(hospital):
    reader = Reader(hospital)
    _, about = _volume(reader, 2, "T01")
    reported = {one["label"]: one for one in _point(hospital)["report"]["lesions"]}
    for lesion in about["lesions"]:
        ends = np.array(lesion["long_axis"]) * about["spacing_mm"]
        length = np.linalg.norm(ends[1] - ends[0])
        assert length == pytest.approx(
            reported[lesion["label"]]["measurement"]["long_axis"]["length_mm"], abs=0.05
        )
        (outline,) = lesion["contours"][str(lesion["slice"])]
        rows, columns = np.array(outline).T
        area = 0.5 * abs(np.dot(rows, np.roll(columns, 1)) - np.dot(columns, np.roll(rows, 1)))
        radius = reported[lesion["label"]]["diameter_mm"] / 2
        assert area == pytest.approx(np.pi * radius**2, rel=0.25)  # 1 mm pixels
        assert outline[0] == outline[-1]


def test_the_earlier_visit_is_shown_where_the_registration_puts_the_lesion(hospital):
    reader = Reader(hospital)
    _, here = _volume(reader, 2, "NT01")
    _, there = _volume(reader, 1, "NT01", earlier=True)
    now = next(one for one in here["lesions"] if one["label"] == "NT01")
    then = next(one for one in there["lesions"] if one["label"] == "NT01")
    place = np.array(now["expected_ijk"]) @ np.array(here["steps_lps"]) + here["origin_lps"]
    former = np.array(then["centre_ijk"]) @ np.array(there["steps_lps"]) + there["origin_lps"]
    assert place == pytest.approx(former, abs=0.1)  # the phantom does not move
    assert reader.lesion("NT01")["earlier"]["day"] == "2024-03-04"


def test_a_decision_of_the_command_line_shows_on_the_page(hospital):
    decide(
        hospital.context,
        patient_id="P-1",
        decision=Decision.NOT_A_LESION,
        by="Roe",
        reason="a vessel",
        lesion="T02",
    )
    reader = Reader(hospital)
    assert reader.lesion("T02")["is_rejected"]
    assert reader.lesion("T02")["by"] == "Roe"


# ---------------------------------------------------------------- marks


def _axes(slice_index: int, row: float, column: float, mm: float) -> dict[str, Any]:
    """Both axes of a lesion on the phantom's pixels of 1 mm."""
    half = mm / 2
    return {
        "kind": "axes",
        "slice": slice_index,
        "points": [[row, column - half], [row, column + half], [row - half, column], [row + half, column]],
    }


def _mark(reader: Reader, **values: Any) -> Any:
    body = {"id": str(uuid.uuid4()), "volume": reader.view["volumes"][0]["id"], **values}
    return reader.post("marks", **body)


@pytest.fixture(scope="module")
def unmarked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unmarked")
    Hospital(folder).process(
        replace(BASELINE, spheres=[replace(s, is_prompted=False) for s in BASELINE.spheres])
    )
    return folder


@pytest.fixture
def unmarked(tmp_path: Path, unmarked_folder: Path) -> Hospital:
    return _copy(unmarked_folder, tmp_path)


def test_a_mark_on_the_canvas_is_outlined_measured_and_said_to_be_the_readers(unmarked):
    reader = Reader(unmarked, visit=1, user=_user("Roe"))
    x, y, z = PLACES[0]
    answer = _mark(reader, label="left lung", marks=[_axes(int(z / 4), y, x, 12)])
    assert answer.status_code == 200
    assert reader.view["busy_with"]
    unmarked.work()
    (lesion,) = reader.look()["lesions"]
    assert lesion["diameter_mm"] == pytest.approx(BEFORE_MM[0], abs=1.5)
    assert (lesion["site"], lesion["standing"]) == ("Lung", "open")
    (marks,) = [f for f in _files(unmarked) if f.modality == "SR"]
    said = pydicom.dcmread(marks.path)
    assert "Roe" in str(said)
    assert said.VerificationFlag == "UNVERIFIED"


def test_a_mark_stored_twice_is_one_and_a_further_one_another_lesion(unmarked):
    reader = Reader(unmarked, visit=1)
    name = str(uuid.uuid4())
    for _ in range(2):
        assert _mark(reader, id=name, marks=[_axes(3, 10, 10, 12)]).status_code == 200
    unmarked.work()
    assert len(reader.look()["lesions"]) == 1
    _mark(reader, marks=[_axes(8, 36, 10, 12)])
    unmarked.work()
    assert len(reader.look()["lesions"]) == 2


def test_a_known_lesion_is_outlined_anew_and_keeps_its_identity(hospital):
    reader = Reader(hospital)
    before = reader.lesion("T01")
    x, y, z = PLACES[2]  # of another sphere: the tracker had taken the wrong one
    answer = _mark(reader, lesion=before["tracking_uid"], marks=[_axes(int(z / 4), y, x, 12)])
    assert answer.status_code == 200
    hospital.work()
    after = reader.look()["lesions"]
    (same,) = [one for one in after if one["tracking_uid"] == before["tracking_uid"]]
    assert same["diameter_mm"] == pytest.approx(AFTER_MM[2], abs=1.5)
    assert same["standing"] == "open"


def test_points_refine_the_outline_that_is_there(hospital):
    reader = Reader(hospital)
    lesion = reader.lesion("T01")
    answer = _mark(
        reader,
        lesion=lesion["tracking_uid"],
        is_refined=True,
        marks=[{"kind": "point", "slice": 3, "points": [[12.0, 12.0]]}],
    )
    assert answer.status_code == 200
    record = hospital.context.records.load(1)
    asked: list[Any] = []
    segment = type(hospital.model).segment
    hospital.model.segment = lambda volume, prompts, **more: (
        asked.extend(prompts) or segment(hospital.model, volume, prompts, **more)
    )
    hospital.work()
    (prompt,) = [one for one in asked if one.tracking_uid == lesion["tracking_uid"]]
    line, point = prompt.shapes
    (size,) = [
        o.measurement for o in record.standing[1].observations if o.tracking_uid == prompt.tracking_uid
    ]
    assert line.start_lps == pytest.approx(size.long_axis.start_lps, abs=0.01)
    assert point.position_lps == pytest.approx((12.0, 12.0, 12.0), abs=0.01)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"marks": []}, "no mark shows"),
        ({"marks": [{"kind": "line", "slice": 3, "points": [[1, 1]]}]}, "2 points"),
        ({"marks": [{"kind": "point", "slice": 99, "points": [[1, 1]]}]}, "no slice 100"),
        ({"marks": [_axes(3, 10, 10, 12)], "lesion": "2.25.1"}, "no such lesion"),
    ],
)
def test_marks_that_can_not_be_taken_say_why(unmarked, values, message):
    answer = _mark(Reader(unmarked, visit=1), **values)
    assert answer.status_code == 422
    assert message in answer.json()["message"]


def test_an_outline_that_another_reader_replaced_is_not_replaced_unseen(hospital):
    first, second = Reader(hospital, user=_user("Roe")), Reader(hospital, user=_user("Doe"))
    first.decide(Decision.SET_DIAMETER, lesion=first.uid("T01"), diameter_mm=20)
    answer = _mark(second, lesion=second.uid("T01"), marks=[_axes(3, 10, 10, 12)])
    assert answer.status_code == 409


def _files(hospital: Hospital) -> Any:
    record = hospital.context.records.load(1)
    return hospital.context.records.files([study.study_instance_uid for study in record.studies])
