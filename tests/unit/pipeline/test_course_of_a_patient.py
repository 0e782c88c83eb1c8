"""From received studies to delivered results: the order of things must not matter."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, time
from itertools import permutations
from pathlib import Path

import pytest
from hospital import LEFT, RIGHT, Hospital, Sphere, Study, diameters, states

BASELINE = Study(
    day=date(2024, 3, 4),
    spheres=(
        Sphere(centre_lps=LEFT, diameter_mm=16, is_prompted=True, label="left lung"),
        Sphere(centre_lps=RIGHT, diameter_mm=12, is_prompted=True, label="right lung"),
    ),
)
FOLLOW_UP = Study(
    day=date(2024, 5, 6),
    spheres=(Sphere(centre_lps=LEFT, diameter_mm=8), Sphere(centre_lps=RIGHT, diameter_mm=8)),
)
PROGRESS = Study(
    day=date(2024, 7, 8),
    spheres=(Sphere(centre_lps=LEFT, diameter_mm=14), Sphere(centre_lps=RIGHT, diameter_mm=12)),
)


def test_a_baseline_and_its_follow_up_give_a_response_with_a_reason(hospital):
    hospital.process(BASELINE, FOLLOW_UP)
    baseline, follow_up = hospital.time_points()
    assert diameters(baseline) == pytest.approx({"T01": 16, "T02": 12}, abs=1.5)
    assert diameters(follow_up) == pytest.approx({"T01": 8, "T02": 8}, abs=1.5)
    assert follow_up["report"]["assessment"]["overall"] == "PR"
    assert "below the baseline" in follow_up["report"]["assessment"]["reason"]
    assert follow_up["prior_study_instance_uid"] == baseline["study_instance_uid"]


def test_results_are_in_the_archive_and_verified(hospital):
    hospital.process(BASELINE, FOLLOW_UP)
    objects = [o for point in hospital.time_points() for o in point["objects"]]
    assert [o["role"] for o in objects] == ["seg", "sr", "seg", "sr"]
    assert {o["state"] for o in objects} == {"VERIFIED"}
    assert {o["sop_instance_uid"] for o in objects} == hospital.archived()


def test_a_lesion_keeps_its_tracking_uid_at_every_time_point(hospital):
    hospital.process(BASELINE, FOLLOW_UP, PROGRESS)
    uids = [{o["label"]: o["tracking_uid"] for o in p["report"]["lesions"]} for p in hospital.time_points()]
    assert uids[0] == uids[1] == uids[2]


def _uids(hospital: Hospital) -> list[str]:
    return [o["sop_instance_uid"] for p in hospital.time_points() for o in p["objects"]]


@pytest.fixture(scope="module")
def expected_uids(tmp_path_factory) -> list[str]:
    hospital = Hospital(tmp_path_factory.mktemp("in-order"))
    hospital.process(BASELINE, FOLLOW_UP, PROGRESS)
    return _uids(hospital)


@pytest.mark.parametrize("order", list(permutations((0, 1, 2))))
def test_any_order_of_arrival_gives_the_same_current_results(tmp_path, expected_uids, order):
    hospital = Hospital(tmp_path)
    studies = (BASELINE, FOLLOW_UP, PROGRESS)
    hospital.process(*(studies[i] for i in order))
    assert _uids(hospital) == expected_uids


def test_studies_that_arrive_together_give_the_same_results(hospital, expected_uids):
    hospital.receive(PROGRESS, BASELINE, FOLLOW_UP)
    hospital.work()
    assert _uids(hospital) == expected_uids


def test_sending_everything_twice_changes_nothing(hospital):
    hospital.process(BASELINE, FOLLOW_UP)
    before = hospital.archived(), hospital.status()["jobs"]
    hospital.process(BASELINE, FOLLOW_UP)
    assert (hospital.archived(), hospital.status()["jobs"]) == before


def test_a_follow_up_without_a_baseline_waits_for_prompts_and_goes_on_by_itself(hospital):
    hospital.process(FOLLOW_UP)
    assert states(hospital.time_points()) == ["AWAITING_PROMPTS"]
    hospital.process(BASELINE)
    assert states(hospital.time_points()) == ["DRAFT", "DRAFT"]


def test_a_prompt_that_arrives_later_starts_the_baseline(hospital, tmp_path):
    series = BASELINE.write(tmp_path / "later")
    report = tmp_path / "later" / "sr.dcm"
    report.rename(tmp_path / "sr.dcm")
    hospital.receive_folder(tmp_path / "later")
    hospital.work()
    assert states(hospital.time_points()) == ["AWAITING_PROMPTS"]
    hospital.receive_folder(tmp_path / "sr.dcm")
    hospital.work()
    assert diameters(hospital.time_points()[0]) == pytest.approx({"T01": 16, "T02": 12}, abs=1.5)
    assert hospital.time_points()[0]["study_instance_uid"] == str(series.images[0].StudyInstanceUID)


def test_two_studies_of_one_day_are_one_visit_compared_with_the_past(hospital):
    afternoon = replace(FOLLOW_UP, at=time(15, 0))
    hospital.process(BASELINE, FOLLOW_UP, afternoon)
    baseline, same_day = hospital.time_points()
    assert same_day["prior_study_instance_uid"] == baseline["study_instance_uid"]
    assert same_day["report"]["assessment"]["overall"] == "PR"
    assert len(same_day["studies"]) == 2
    # Both show the same lesions: each is measured once.
    assert [o["label"] for o in same_day["report"]["lesions"]] == ["T01", "T02"]


def test_an_unrelated_region_is_not_compared_and_says_so(hospital):
    brain = Study(day=date(2024, 6, 1), body_part="HEAD", description="CT brain", key="brain")
    hospital.process(BASELINE, brain, PROGRESS)
    points = hospital.time_points()
    assert states(points) == ["DRAFT", "AWAITING_PROMPTS", "DRAFT"]
    assert "chest is not head" in points[1]["reason"]
    assert points[2]["prior_study_instance_uid"] == points[0]["study_instance_uid"]


def test_a_new_lesion_is_progression_whatever_the_sum_does(hospital):
    new = Sphere(centre_lps=(36.0, 36.0, 16.0), diameter_mm=11, is_prompted=True, label="new one")
    hospital.process(BASELINE, replace(FOLLOW_UP, spheres=(*FOLLOW_UP.spheres, new)))
    follow_up = hospital.time_points()[1]["report"]
    assert {o["label"]: o["role"] for o in follow_up["lesions"]} == {
        "T01": "target",
        "T02": "target",
        "N01": "new",
    }
    assert follow_up["assessment"]["overall"] == "PD"
    assert "N01" in follow_up["assessment"]["reason"]


def test_a_lesion_that_disappears_is_zero_and_is_looked_for_again(hospital):
    gone = replace(FOLLOW_UP, spheres=FOLLOW_UP.spheres[:1])
    hospital.process(BASELINE, gone, PROGRESS)
    _, without, again = hospital.time_points()
    assert diameters(without)["T02"] == 0
    assert diameters(again)["T02"] == pytest.approx(12, abs=1.5)
    assert again["report"]["assessment"]["overall"] == "PD"


def test_a_late_instance_of_the_chosen_series_makes_a_new_version_that_names_the_old(hospital, tmp_path):
    BASELINE.write(tmp_path / "study")
    late = tmp_path / "study" / "ct_0016.dcm"
    late.rename(tmp_path / late.name)
    hospital.receive_folder(tmp_path / "study")
    hospital.work()
    first = hospital.time_points()[0]
    hospital.receive_folder(tmp_path / late.name)
    hospital.work()
    second = hospital.time_points()[0]
    assert (first["report_version"], second["report_version"]) == (1, 2)
    old_sr = next(o["sop_instance_uid"] for o in first["objects"] if o["role"] == "sr")
    assert [p["sop_instance_uid"] for p in second["report"]["predecessors"]] == [old_sr]


def test_our_own_results_coming_back_are_no_input(hospital):
    hospital.process(BASELINE, FOLLOW_UP)
    before = hospital.status()
    hospital.receive_folder(hospital.home / "archive")
    hospital.work()
    assert hospital.status()["jobs"] == before["jobs"]
    assert states(hospital.time_points()) == ["DRAFT", "DRAFT"]


def test_two_people_under_one_patient_id_are_kept_apart_for_a_person(hospital):
    stranger = replace(FOLLOW_UP, name="Other^Body")
    hospital.process(BASELINE, stranger)
    assert len(hospital.time_points()) == 1
    assert "two names" in hospital.status()["quarantine"][0]["reason"]
    assert "Other" not in json.dumps(hospital.status())


def test_a_study_without_usable_images_is_kept_with_the_reason_and_stops_nothing(hospital, tmp_path):
    (tmp_path / "bad").mkdir()
    series = replace(BASELINE, patient_id="P-2").write(tmp_path / "one")
    series.paths[3].rename(tmp_path / "bad" / "only.dcm")
    (tmp_path / "bad" / "junk.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"not a data set at all")
    result = hospital.receive_folder(tmp_path / "bad")
    hospital.process(BASELINE)
    assert len(result.rejected) == 1
    assert states(hospital.time_points()) == ["DRAFT"]


def test_the_report_file_says_what_the_page_says(hospital):
    hospital.process(BASELINE, FOLLOW_UP)
    point = hospital.time_points()[1]
    sr = next(Path(o["path"]) for o in point["objects"] if o["role"] == "sr")
    assert json.loads((sr.parent / "report.json").read_text()) == point["report"]
