"""GCIG: CA-125 response and progression, and CA-125 with RECIST."""

import datetime

import pytest
from response_cases import MM, START, day, overalls

from workflow.domain.response import (
    Criteria,
    Lesion,
    Observation,
    Protocol,
    Response,
    Timeline,
    TimePoint,
    assess,
)
from workflow.domain.response.gcig import MarkerAssessment, combined


def course(samples, *, target=None, start=None, upper=35, **more):
    """CA-125 samples as (day, U/ml); `target` gives the target's mm at the same visits."""
    points = [
        TimePoint(
            **{
                "id": f"V{i}",
                "date": day(days),
                "is_baseline": i == 0,
                "ca125_milli": round(1000 * value),
                "ca125_upper_limit_milli": 1000 * upper,
                "observations": () if target is None or target[i] is None
                else (Observation(lesion="A", diameter_um=round(target[i] * MM)),),
                **more.get(f"V{i}", {}),
            }
        )
        for i, (days, value) in enumerate(samples)
    ]  # fmt: skip
    lesions = () if target is None else (Lesion(id="A"),)
    timeline = Timeline(lesions=lesions, time_points=tuple(points), reference_date=start)
    return assess(timeline, Protocol(criteria=Criteria.GCIG))


def marker(samples, **more):
    found = course(samples, **more)
    return [dict(a.components).get("CA-125") for a in found.assessments[1:]]


@pytest.mark.parametrize(
    ("name", "samples", "expected"),
    [
        ("halved and seen again after 28 days", [(0, 100), (21, 50), (49, 50)], ["PR", "PR"]),
        ("just short of half", [(0, 100), (21, 50.001), (49, 50.001)], ["SD", "SD"]),
        ("a day too early", [(0, 100), (21, 50), (48, 50)], ["SD", "SD"]),
        ("not seen again", [(0, 100), (21, 50)], ["SD"]),
        ("within the reference range it is complete", [(0, 100), (21, 35), (49, 30)], ["CR", "CR"]),
        ("just above the range", [(0, 100), (21, 35.001), (49, 35.001)], ["PR", "PR"]),
        ("10 % more between is the assay", [(0, 200), (21, 80), (35, 88), (49, 88)], ["PR"] * 3),
        ("more than 10 % is a rise", [(0, 200), (21, 80), (35, 88.1), (49, 88.1)], ["SD"] * 3),
        ("changes inside the range are none", [(0, 200), (21, 10), (49, 30)], ["CR", "CR"]),
        ("baseline below twice the limit shows none", [(0, 69.999), (21, 30), (49, 30)], ["NE", "NE"]),
        ("baseline on twice the limit", [(0, 70), (21, 35), (49, 35)], ["CR", "CR"]),
    ],
)
def test_response(name, samples, expected):
    assert marker(samples) == expected, name


@pytest.mark.parametrize(
    ("name", "samples", "expected"),
    [
        ("A: normal once, then twice the limit, twice", [(0, 200), (28, 30), (56, 70), (63, 70)], "PD"),
        ("A: just below", [(0, 200), (28, 30), (56, 69.999), (63, 70)], None),
        ("B: never normal, twice the least", [(0, 200), (28, 100), (56, 200), (63, 200)], "PD"),
        ("B: just below", [(0, 200), (28, 100), (56, 199.999), (63, 200)], None),
        ("C: normal at baseline", [(0, 20), (28, 70), (35, 80)], "PD"),
        ("six days later is too early", [(0, 20), (28, 70), (34, 80)], None),
        ("only once", [(0, 20), (28, 70), (35, 60)], None),
    ],
)
def test_progression_is_seen_on_two_days(name, samples, expected):
    found = course(samples)
    assert found.progression.happened is (expected == "PD"), name


def test_progression_is_of_the_first_of_both_days_and_stays():
    found = course([(0, 20), (28, 70), (35, 80), (60, 40)])
    assert (found.progression.date, overalls(found)) == (day(28), ["PD", "PD", "PD"])


@pytest.mark.parametrize(("days", "expected"), [(14, "CR"), (15, "NE")])
def test_baseline_sample_is_at_most_two_weeks_old(days, expected):
    start = START + datetime.timedelta(days=days)
    assert marker([(0, 100), (40, 30), (70, 30)], start=start) == [expected] * 2


def test_sample_after_mouse_antibodies_is_left_out():
    barred = {"is_ca125_evaluable": False}
    assert marker([(0, 100), (21, 30), (49, 30)], V1=barred, V2=barred) == ["NE", "NE"]


def test_usual_upper_limit_is_taken_where_none_is_given():
    without = {f"V{i}": {"ca125_upper_limit_milli": None} for i in range(3)}
    assert marker([(0, 70), (21, 35), (49, 35)], **without) == ["CR", "CR"]


def marked(word, *, is_normal=False):
    return MarkerAssessment(response=word and Response(word), is_normal=is_normal)


@pytest.mark.parametrize(
    ("image", "ca125", "is_normal", "expected"),
    [
        ("CR", "CR", True, "CR"),
        ("CR", "NE", True, "CR"),
        ("CR", "PR", False, "PR"),
        ("CR", "SD", False, "PR"),
        ("CR", None, False, "PR"),
        ("PR", "SD", False, "PR"),
        ("PR", "CR", True, "PR"),
        ("SD", "CR", True, "PR"),
        ("SD", "PR", False, "PR"),
        ("SD", "SD", False, "SD"),
        ("SD", "NE", False, "SD"),
        ("NE", "PR", False, "PR"),
        ("NE", "SD", False, "SD"),
        ("NE", "NE", False, "NE"),
        ("PD", "CR", True, "PD"),
        ("CR", "PD", False, "PD"),
        ("SD", "PD", False, "PD"),
        ("NED", "CR", True, "CR"),
    ],
)
def test_images_and_ca125_together(image, ca125, is_normal, expected):
    assert combined(Response(image), marked(ca125, is_normal=is_normal)) == expected


def test_complete_response_on_images_with_high_ca125_is_partial():
    found = course([(0, 400), (56, 150), (112, 140)], target=[40, 0, 0])
    assert overalls(found) == ["PR", "PR"]
    normal = course([(0, 400), (56, 30), (112, 20)], target=[40, 0, 0])
    assert overalls(normal) == ["CR", "CR"]


def test_ca125_progression_goes_before_a_stable_scan():
    found = course([(0, 100), (56, 210), (84, 220)], target=[40, 40, None])
    assert overalls(found) == ["PD", "PD"]
    assert dict(found.assessments[1].components) == {"RECIST 1.1": "SD", "CA-125": "PD"}


def test_visit_with_a_sample_alone_is_judged_by_it():
    found = course([(0, 100), (21, 40), (56, 40)], target=[40, None, 30])
    assert overalls(found) == ["PR", "PR"]


def test_without_ca125_it_is_recist():
    sizes = {"BL": (0, 40 * MM), "V1": (56, 0)}
    points = [
        TimePoint(id=name, date=day(days), observations=(Observation(lesion="A", diameter_um=size),))
        for name, (days, size) in sizes.items()
    ]
    found = assess(
        Timeline(lesions=(Lesion(id="A"),), time_points=tuple(points)), Protocol(criteria=Criteria.GCIG)
    )
    assert overalls(found) == ["CR"]
    assert any("CA-125" in text for text in found.warnings)


def test_reason_tells_the_value_its_change_and_what_confirms_it():
    found = course([(0, 100), (21, 50), (49, 40)])
    words = found.assessments[1].reason
    assert "CA-125 50 U/ml, 50 % below baseline on 2024-01-22, maintained on 2024-02-19" in words
    risen = course([(0, 100), (21, 150)])
    assert "150 U/ml, 50 % above baseline" in risen.assessments[1].reason


def test_sample_without_one_at_baseline_shows_no_response_but_can_progress():
    none = {"V0": {"ca125_milli": None}}
    assert marker([(0, 1), (21, 30), (49, 20)], **none) == ["NE", "NE"]
    found = course([(0, 1), (21, 30), (49, 80), (70, 90)], **none)
    assert found.progression.date == day(49)


def test_visit_without_a_sample_says_so():
    found = course([(0, 100), (56, 1)], target=[40, 40], V1={"ca125_milli": None})
    assert overalls(found) == ["SD"]
    assert "no CA-125" in found.assessments[1].reason
