"""RANO 2.0: products, steroids, clinical status, and progression after radiotherapy."""

import pytest
from response_cases import both_axes, day, overalls, visits_of

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import (
    ClinicalStatus,
    Corticosteroids,
    Criteria,
    Lesion,
    Observation,
    Policies,
)

A = Lesion(id="A", organ="brain")
FLAIR = Lesion(id="F", organ="brain", is_enhancing=False)
NEW = Lesion(id="N", role=LesionRole.NEW, organ="brain")


def rano(sizes, *, lesions=(A,), **more):
    visits = [
        [both_axes(x.id, *size) for x, size in zip(lesions, visit, strict=True) if size is not None]
        for visit in sizes
    ]
    return visits_of(Criteria.RANO, lesions, *visits, **more)


@pytest.mark.parametrize(
    ("name", "sizes", "expected"),
    [
        ("gone", [[(40, 20)], [(0, 0)]], "CR"),
        ("half the product", [[(40, 20)], [(20, 20)]], "PR"),
        ("just above half", [[(40, 20)], [(20.001, 20)]], "SD"),
        ("just below a quarter more", [[(40, 20)], [(49.999, 20)]], "SD"),
        ("a quarter more", [[(40, 20)], [(50, 20)]], "PD"),
        ("a quarter more than the least, not than baseline", [[(40, 20)], [(20, 20)], [(25, 20)]], "PD"),
        ("back after it had gone", [[(40, 20)], [(0, 0)], [(5, 5)]], "PD"),
    ],
)
def test_sum_of_products(name, sizes, expected):
    assert overalls(rano(sizes))[-1] == expected, name


@pytest.mark.parametrize(
    ("name", "lesion", "size", "expected"),
    [
        ("a quarter less of what does not enhance", FLAIR, (30, 20), "MR"),
        ("just short of it", FLAIR, (30.001, 20), "SD"),
        ("half of it is a partial response", FLAIR, (20, 20), "PR"),
        ("what enhances has no minor response", A, (30, 20), "SD"),
    ],
)
def test_minor_response_is_of_non_enhancing_tumour(name, lesion, size, expected):
    assert overalls(rano([[(40, 20)], [size]], lesions=(lesion,))) == [expected], name


@pytest.mark.parametrize(
    ("enhancing", "other", "expected"),
    [
        ((50, 20), (0, 0), "PD"),
        ((0, 0), (50, 20), "PD"),
        ((20, 20), (40, 20), "PR"),
        ((40, 20), (30, 20), "MR"),
        ((0, 0), (40, 20), "SD"),
        ((0, 0), (30, 20), "MR"),
        ((0, 0), (20, 20), "PR"),
        ((0, 0), (0, 0), "CR"),
        ((40, 20), (40, 20), "SD"),
        ((20, 20), None, "NE"),
    ],
)
def test_enhancing_and_other_tumour_are_judged_apart_and_combined(enhancing, other, expected):
    found = rano([[(40, 20), (40, 20)], [enhancing, other]], lesions=(A, FLAIR))
    assert overalls(found) == [expected]
    assert dict(found.assessments[-1].components).keys() == {"enhancing", "non-enhancing"}


@pytest.mark.parametrize(
    ("name", "size", "dose", "expected"),
    [
        ("CR without", (0, 0), Corticosteroids.NONE, "CR"),
        ("CR with less is PR", (0, 0), Corticosteroids.DECREASED, "PR"),
        ("CR with the same is PR", (0, 0), Corticosteroids.STABLE, "PR"),
        ("CR with more is SD", (0, 0), Corticosteroids.INCREASED, "SD"),
        ("PR with the same", (20, 20), Corticosteroids.STABLE, "PR"),
        ("PR with more is SD", (20, 20), Corticosteroids.INCREASED, "SD"),
        ("more alone is no progression", (40, 20), Corticosteroids.INCREASED, "SD"),
    ],
)
def test_corticosteroids_bar_responses_and_are_no_progression(name, size, dose, expected):
    assert overalls(rano([[(40, 20)], [size]], V1={"corticosteroids": dose})) == [expected], name


def test_clinical_deterioration_is_progression():
    worse = {"clinical_status": ClinicalStatus.WORSE}
    assert overalls(rano([[(40, 20)], [(20, 20)]], V1=worse)) == ["PD"]


@pytest.mark.parametrize(
    ("name", "size", "expected", "warns"),
    [
        ("10 mm in both diameters", (10, 10), "PD", False),
        ("just below in one", (15, 9.999), "SD", True),
    ],
)
def test_new_lesion_is_progression_when_it_is_measurable(name, size, expected, warns):
    found = rano([[(40, 20), None], [(40, 20), size]], lesions=(A, NEW))
    assert (overalls(found), bool(found.assessments[-1].warnings)) == ([expected], warns), name


@pytest.mark.parametrize(
    ("name", "new", "lesion", "expected"),
    [
        ("one diameter of 10 mm", {"diameter_um": 10_000}, NEW, "PD"),
        ("one diameter just below", {"diameter_um": 9_999}, NEW, "SD"),
        ("no diameter at all", {"state": LesionState.PRESENT}, NEW, "SD"),
        ("called unequivocal", {"state": LesionState.PRESENT, "has_progressed": True}, NEW, "PD"),
        (
            "called measurable",
            {"state": LesionState.PRESENT},
            Lesion(id="N", role=LesionRole.NEW, is_measurable=True),
            "PD",
        ),
        ("equivocal", {"diameter_um": 20_000, "is_equivocal": True}, NEW, "SD"),
    ],
)
def test_new_lesion_without_both_diameters(name, new, lesion, expected):
    target = both_axes("A", 40, 20)
    found = visits_of(Criteria.RANO, [A, lesion], [target], [target, Observation(lesion="N", **new)])
    assert overalls(found) == [expected], name


def test_progression_that_was_confirmed_needs_no_further_confirmation():
    found = rano([*GROWN, [(50, 20)], [(50, 20)]], interval=28, radiotherapy_end=day(0))
    assert overalls(found) == ["PD", "PD", "PD"]


def test_non_target_disease_bars_a_complete_response_and_can_progress():
    other = Lesion(id="O", role=LesionRole.NON_TARGET)

    def word(**seen):
        gone = both_axes("A", 0, 0)
        found = visits_of(
            Criteria.RANO,
            [A, other],
            [both_axes("A", 40, 20), Observation(lesion="O", state=LesionState.PRESENT)],
            [gone, Observation(lesion="O", **seen)],
        )
        return overalls(found)[-1]

    assert word(state=LesionState.PRESENT) == "PR"
    assert word(state=LesionState.DISAPPEARED) == "CR"
    assert word(state=LesionState.PRESENT, has_progressed=True) == "PD"


GROWN = [[(40, 20)], [(50, 20)]]


@pytest.mark.parametrize(("days_after", "expected"), [(83, "PDu"), (84, "PDu"), (85, "PD"), (None, "PD")])
def test_progression_within_twelve_weeks_of_radiotherapy_is_to_be_confirmed(days_after, expected):
    end = None if days_after is None else day(56 - days_after)
    assert overalls(rano(GROWN, radiotherapy_end=end)) == [expected]


@pytest.mark.parametrize(
    ("name", "third", "interval", "expected"),
    [
        ("still larger four weeks on", (50, 20), 28, ["PD", "PD"]),
        ("a day too early says nothing", (50, 20), 27, ["PDu", "PDu"]),
        ("smaller again: pseudoprogression", (40, 20), 28, ["PDu", "SD"]),
    ],
)
def test_later_scan_confirms_progression_or_takes_it_back(name, third, interval, expected):
    found = rano([*GROWN, [third]], interval=interval, radiotherapy_end=day(0))
    assert overalls(found) == expected, name
    assert found.progression.happened is ("PD" in expected)
    if "PD" in expected:
        assert found.progression.date == day(interval)


def test_confirmation_of_every_progression_is_a_policy():
    assert overalls(rano(GROWN, policies=Policies(confirm_every_progression=True))) == ["PDu"]
    assert overalls(rano(GROWN)) == ["PD"]


def test_best_response_in_the_words_of_rano():
    assert rano([[(40, 20)], [(30, 20)]], lesions=(FLAIR,)).best_overall_response.value == "MR"
    assert rano(GROWN, radiotherapy_end=day(0)).best_overall_response.value == "PDu"
    assert rano([[(40, 20)], [(20, 20)]]).best_overall_response.value == "PR"
