"""imRECIST: new lesions in the sum, progression that can be taken back."""

import pytest
from response_cases import MM, day, overalls, visits_of

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import Criteria, Lesion, NewLesion, Observation

A = Lesion(id="A", organ="liver")
NEW = Lesion(id="N", role=LesionRole.NEW, organ="lung")


def seen(name, mm):
    return Observation(lesion=name, diameter_um=round(mm * MM))


def imrecist(*visits, lesions=(A, NEW), **more):
    """Visits as {lesion: mm}."""
    return visits_of(
        Criteria.IMRECIST, lesions, *[[seen(k, v) for k, v in visit.items()] for visit in visits], **more
    )


@pytest.mark.parametrize(
    ("name", "visit", "expected"),
    [
        ("a measurable new lesion joins the sum", {"A": 90, "N": 20}, "SD"),
        ("just short of 20 %", {"A": 100, "N": 19.999}, "SD"),
        ("20 % with the new lesion", {"A": 100, "N": 20}, "PD"),
        ("a new lesion does not bar a partial response", {"A": 50, "N": 20}, "PR"),
        ("just above 70 % with it", {"A": 50, "N": 20.001}, "SD"),
        ("one too small to measure is not added", {"A": 115, "N": 9.999}, "SD"),
        ("a new lesion bars a complete response", {"A": 0, "N": 5}, "PR"),
        ("complete", {"A": 0}, "CR"),
    ],
)
def test_tumour_burden(name, visit, expected):
    assert overalls(imrecist({"A": 100}, visit)) == [expected], name


def test_growth_needs_5_mm():
    assert overalls(imrecist({"A": 10}, {"A": 14.999})) == ["SD"]
    assert overalls(imrecist({"A": 10}, {"A": 15})) == ["PD"]


def test_least_burden_counts_new_lesions():
    found = imrecist({"A": 100}, {"A": 60, "N": 20}, {"A": 60, "N": 36}, lesions=(A, NEW))
    assert overalls(found) == ["SD", "PD"]
    assert found.assessments[2].nadir_um == 80 * MM


def test_at_most_two_new_lesions_of_an_organ_are_added():
    lesions = (A, *(Lesion(id=x, role=LesionRole.NEW, organ="lung") for x in "XYZ"))
    found = imrecist({"A": 100}, {"A": 80, "X": 15, "Y": 15, "Z": 12}, lesions=lesions)
    assert found.assessments[1].sum_um == 110 * MM


def test_new_lesion_that_is_only_given_is_no_progression():
    found = imrecist({"A": 100}, {"A": 60}, V1={"new_lesion": NewLesion.YES})
    assert overalls(found) == ["PR"]


def test_non_target_progression_only_bars_a_complete_response():
    other = Lesion(id="O", role=LesionRole.NON_TARGET)
    grown = Observation(lesion="O", state=LesionState.PRESENT, has_progressed=True)
    at_first = Observation(lesion="O", state=LesionState.PRESENT)
    for mm, expected in ((100, "SD"), (0, "PR")):
        found = visits_of(Criteria.IMRECIST, [A, other], [seen("A", 100), at_first], [seen("A", mm), grown])
        assert overalls(found) == [expected]


@pytest.mark.parametrize(
    ("name", "third", "interval", "expected"),
    [
        ("still progression four weeks later", 125, 28, ["PD", "PD"]),
        ("none four weeks later takes it back", 110, 28, ["PDu", "SD"]),
        ("a day too early takes nothing back", 110, 27, ["PD", "SD"]),
        ("a response afterwards", 60, 28, ["PDu", "PR"]),
    ],
)
def test_later_scan_takes_progression_back(name, third, interval, expected):
    found = imrecist({"A": 100}, {"A": 125}, {"A": third}, interval=interval)
    assert overalls(found) == expected, name


def test_progression_without_a_later_scan_counts():
    found = imrecist({"A": 100}, {"A": 125})
    assert (overalls(found), found.progression.date) == (["PD"], day(56))


def test_best_response_may_come_after_progression_that_was_taken_back():
    found = imrecist({"A": 100}, {"A": 125}, {"A": 60}, {"A": 80})
    assert overalls(found) == ["PDu", "PR", "PD"]
    assert found.best_overall_response.value == "PR"
    assert found.progression.date == day(168)


def test_new_lesion_that_is_not_evaluable_leaves_the_burden_unknown():
    unseen = Observation(lesion="N", state=LesionState.NOT_EVALUABLE)
    found = visits_of(
        Criteria.IMRECIST,
        [A, NEW],
        [seen("A", 100)],
        [seen("A", 90), seen("N", 15)],
        [seen("A", 60), unseen],
    )
    assert overalls(found) == ["SD", "NE"]
