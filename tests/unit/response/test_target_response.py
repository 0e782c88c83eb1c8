"""Target response: thresholds to the µm, the peers' known wrong answers, the order of the rules."""

import pytest
from response_cases import day, follow, overalls

from workflow.domain.response import Lesion, Protocol, Response, Timeline, TimePoint, assess, micrometres


@pytest.mark.parametrize(
    ("name", "sums", "expected"),
    [
        ("just less than 30 % down is stable", [100, 70.001], "SD"),
        ("exactly 30 % down is a response", [100, 70], "PR"),
        ("just more than 30 % down is a response", [100, 69.999], "PR"),
        ("exactly 30 % down where floats say 29.99…", [14.0, 9.8], "PR"),
        ("90 to 63 mm where 0.7 x 90 is 62.99… in floats", [90, 63], "PR"),
        ("just less than 20 % up is stable", [50, 59.999], "SD"),
        ("exactly 20 % up and 10 mm is progression", [50, 60], "PD"),
        ("exactly 20 % up where floats say 19.99…", [27.0, 32.4], "PD"),
        ("exactly 20 % up where floats say 19.99… (25.5)", [25.5, 30.6], "PD"),
        ("5 mm up and just less than 20 % is stable", [30, 35.999], "SD"),
        ("just less than 5 mm up is stable at any percentage", [10, 14.999], "SD"),
        ("exactly 5 mm up is enough", [10, 15], "PD"),
        ("exactly 5 mm up where floats say 4.99…", [3.2, 8.2], "PD"),
        ("20 % up but 4 mm is stable", [20, 24], "SD"),
        ("unchanged is stable", [50, 50], "SD"),
    ],
)
def test_thresholds_are_exact(name, sums, expected):
    assert overalls(follow(sums))[-1] == expected, name


@pytest.mark.parametrize(
    ("name", "sums", "expected"),
    [
        ("a blank time point is no complete response", [50, None], ["NE"]),
        (
            "50, 20, 35 mm: progression from the nadir beats response from baseline",
            [50, 20, 35],
            ["PR", "PD"],
        ),
        ("4 mm from a small nadir is no progression", [30, 10, 14], ["PR", "PR"]),
        ("a blank time point does not become the nadir", [50, None, 40], ["NE", "SD"]),
        ("the nadir includes the baseline", [50, 55, 60], ["SD", "PD"]),
    ],
)
def test_known_wrong_answers_of_others(name, sums, expected):
    assert overalls(follow(sums)) == expected, name


def test_a_node_from_20_to_8_mm_is_a_complete_response_although_its_sum_is_not_zero():
    course = follow([20, 8], is_nodal=True)
    assert overalls(course) == ["CR"]
    assert course.assessments[-1].sum_um == 8000


@pytest.mark.parametrize(("short_axis", "expected"), [(9.999, "CR"), (10, "PR"), (10.001, "PR")])
def test_a_node_is_normal_below_10_mm(short_axis, expected):
    assert overalls(follow([20, short_axis], is_nodal=True)) == [expected]


def test_the_reason_of_progression_names_sums_and_the_day_of_the_nadir():
    course = follow([80, 50, 72])
    assert (
        course.assessments[-1].reason == "PD: 72 mm is 44 % and 22 mm above the nadir of 50 mm (2024-02-26)"
    )


def test_a_percentage_just_below_a_threshold_is_not_rounded_onto_it():
    course = follow([50, 59.999], carry_partial_response_forward="never")
    assert "19.998 %" in course.assessments[-1].target_reason


def test_eortc_example_of_a_response_that_stays():
    sums = [100, 70, 70, 80, 80, 80]
    for policy in ("as_required", "immediately", "after_confirmation"):
        assert overalls(follow(sums, carry_partial_response_forward=policy)) == ["PR"] * 5
    assert overalls(follow(sums, carry_partial_response_forward="never")) == ["PR", "PR", "SD", "SD", "SD"]


def test_an_unconfirmed_response_is_carried_only_where_no_confirmation_is_required():
    assert overalls(follow([100, 70, 80])) == ["PR", "PR"]
    assert overalls(follow([100, 70, 80], confirmation_required=True)) == ["PR", "SD"]
    assert overalls(follow([100, 70, 80], carry_partial_response_forward="after_confirmation")) == [
        "PR",
        "SD",
    ]


def test_a_carried_response_confirms_nothing():
    course = follow([100, 70, 80])
    assert course.best_overall_response.value is Response.PR
    assert course.confirmed_best_overall_response.value is Response.SD


@pytest.mark.parametrize(
    ("sums", "is_nodal", "reason"),
    [
        ([20, 0], False, "all target lesions have disappeared"),
        ([20, 8], True, "all target nodes are below 10 mm (sum 8 mm)"),
    ],
)
def test_the_reason_of_a_complete_response_says_what_is_gone(sums, is_nodal, reason):
    assert follow(sums, is_nodal=is_nodal).assessments[-1].target_reason == reason


@pytest.mark.parametrize(("sum_mm", "expected"), [(9.999, "CR"), (10, "PR")])
def test_where_only_the_sum_is_known_nodes_are_normal_if_all_together_are_below_10_mm(sum_mm, expected):
    nodes = tuple(Lesion(id=name, organ="lymph node", is_nodal=True) for name in ("T1", "T2"))
    points = tuple(
        TimePoint(id=f"TP{n}", date=day(56 * n), sum_um=micrometres(mm)) for n, mm in enumerate([40, sum_mm])
    )
    course = assess(Timeline(lesions=nodes, time_points=points), Protocol())
    assert overalls(course) == [expected]
