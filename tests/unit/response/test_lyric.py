"""LYRIC: indeterminate responses, and what becomes of them."""

import pytest
from response_cases import both_axes, day, overalls, visits_of

from workflow.domain.report import LesionRole
from workflow.domain.response import ClinicalStatus, Criteria, Lesion, Response, Uptake

A, B = Lesion(id="A", is_nodal=True), Lesion(id="B", is_nodal=True)
NEW = Lesion(id="N", role=LesionRole.NEW, organ="lung")
WORSE = {"clinical_status": ClinicalStatus.WORSE}


def lyric(sizes, *, lesions=(A,), interval=28, **levels):
    """The course of lesions of these diameters, mm; None where a lesion is not seen."""
    visits = [
        [both_axes(x.id, *size) for x, size in zip(lesions, visit, strict=True) if size is not None]
        for visit in sizes
    ]
    return visits_of(Criteria.LYRIC, lesions, *visits, interval=interval, **levels)


def words(*args, **more):
    return overalls(lyric(*args, **more))


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("just below half more", (29.999, 20), "SD"),
        ("half more", (30, 20), "IR1"),
        ("shrinking is Lugano's", (10, 10), "CR"),
    ],
)
def test_first_pattern_begins_at_half_more(name, size, expected):
    # The lesion grows by 10 mm from 20 mm: Lugano's own growth holds from 5 mm.
    assert words([[(20, 20)], [size]]) == [expected], name


@pytest.mark.parametrize(("days", "expected"), [(83, "IR1"), (84, "IR1"), (85, "PD")])
def test_first_pattern_is_of_the_first_twelve_weeks(days, expected):
    assert words([[(20, 20)], [(40, 20)]], interval=days) == [expected]


def test_first_pattern_with_clinical_deterioration_is_progression():
    assert words([[(20, 20)], [(40, 20)]], V1=WORSE) == ["PD"]
    better = {"clinical_status": ClinicalStatus.STABLE}
    assert words([[(20, 20)], [(40, 20)]], V1=better) == ["IR1"]


@pytest.mark.parametrize(
    ("name", "later", "expected"),
    [
        ("10 % and 10 mm more", (50, 20), "PD"),
        ("10 mm short of it", (49.999, 20), "IR1"),
        ("10 mm more but not 10 % of the sum", (40.2, 21.7), "IR1"),
        ("unchanged", (40, 20), "IR1"),
        ("smaller, and no progression any more", (25, 20), "SD"),
    ],
)
def test_first_pattern_progresses_by_a_tenth_and_a_longer_lesion(name, later, expected):
    assert words([[(20, 20)], [(40, 20)], [later]]) == ["IR1", expected], name


def test_small_lesion_needs_5_mm_more_after_the_first_pattern():
    assert words([[(12, 12)], [(18, 18)], [(23, 18)]]) == ["IR1", "PD"]
    assert words([[(12, 12)], [(18, 18)], [(22.999, 18)]]) == ["IR1", "IR1"]


def test_new_lesion_is_indeterminate_at_any_time():
    lesions = (A, NEW)
    assert words([[(30, 20), None], [(30, 20), (12, 10)]], lesions=lesions, interval=200) == ["IR2"]


def test_growth_of_a_single_lesion_is_indeterminate_while_the_sum_is_not_half_more():
    assert words([[(60, 40), (20, 10)], [(60, 40), (30, 15)]], lesions=(A, B)) == ["IR2"]


@pytest.mark.parametrize(
    ("name", "new", "expected"),
    [
        # The set's least is 30 x 20 + 20 x 10 = 800 mm²; half more is 1200.
        ("half more, the new lesion included", (30, 20), "PD"),
        ("just below", (30, 19.999), "IR2"),
        ("unchanged", (20, 10), "IR2"),
    ],
)
def test_second_pattern_counts_new_lesions_into_the_sum(name, new, expected):
    visits = [[(30, 20), None], [(30, 20), (20, 10)], [(30, 20), new]]
    assert words(visits, lesions=(A, NEW)) == ["IR2", expected], name


def test_second_pattern_is_taken_back_when_the_new_lesion_has_gone():
    visits = [[(30, 20), None], [(30, 20), (20, 10)], [(30, 20), None]]
    assert words(visits, lesions=(A, NEW)) == ["IR2", "SD"]


HOT = {"deauville": 5, "uptake": Uptake.INCREASED}


def test_uptake_alone_is_the_third_pattern_and_never_confirms_itself():
    visits = [[(30, 20)]] * 3
    assert words(visits, V1=HOT, V2=HOT) == ["IR3", "IR3"]


def test_first_pattern_goes_before_the_third():
    assert words([[(20, 20)], [(40, 20)]], V1=HOT) == ["IR1"]


def test_new_lesion_after_the_third_pattern_is_the_second():
    visits = [[(30, 20), None], [(30, 20), None], [(30, 20), (12, 10)]]
    assert words(visits, lesions=(A, NEW), V1=HOT) == ["IR3", "IR2"]


def test_deterioration_turns_an_indeterminate_response_into_progression():
    visits = [[(30, 20), None], [(30, 20), (12, 10)], [(30, 20), (12, 10)]]
    assert words(visits, lesions=(A, NEW), V2=WORSE) == ["IR2", "PD"]


def test_progression_is_dated_to_the_first_indeterminate_response_of_its_block():
    found = lyric([[(20, 20)], [(40, 20)], [(40, 20)], [(55, 20)]])
    assert overalls(found) == ["IR1", "IR1", "PD"]
    assert found.progression.date == day(28)


def test_response_between_gives_progression_its_own_day():
    found = lyric([[(40, 30)], [(65, 30)], [(20, 15)], [(36, 30)]], interval=40)
    assert overalls(found) == ["IR1", "PR", "PD"]
    assert found.progression.date == day(120)


def test_indeterminate_alone_is_the_best_response_and_no_progression():
    found = lyric([[(20, 20)], [(40, 20)]])
    assert (found.best_overall_response.value, found.progression.happened) == ("IR1", False)


def test_indeterminate_response_does_not_end_the_sequence():
    found = lyric([[(40, 30)], [(65, 30)], [(20, 15)]])
    assert found.best_overall_response.value == "PR"


def test_after_progression_nothing_is_indeterminate_any_more():
    found = words([[(20, 20)], [(40, 20)], [(80, 20)]], interval=100)
    assert found == ["PD", "PD"]


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("not evaluable keeps it open", Response.NE, ["IR1", "NE", "PD"]),
        ("given again keeps it open", Response.IR1, ["IR1", "IR1", "PD"]),
        ("stable disease ends it", Response.SD, ["IR1", "SD", "IR1"]),
    ],
)
def test_given_response_keeps_an_indeterminate_one_open_or_ends_it(name, given, expected):
    visits = [[(20, 20)], [(40, 20)], [(40, 20)], [(50, 20)]]
    assert words(visits, interval=20, V2={"overall": given}) == expected, name


def test_visit_without_the_lesions_keeps_it_open():
    visits = [[(20, 20)], [(40, 20)], [None], [(50, 20)]]
    found = lyric(visits)
    assert overalls(found) == ["IR1", "NE", "PD"]
    assert found.progression.date == day(28)


def test_second_pattern_without_a_baseline_sum_has_nothing_to_compare_with():
    visits = [[None, None], [(30, 20), (20, 10)], [(60, 40), (40, 20)]]
    assert words(visits, lesions=(A, NEW)) == ["IR2", "IR2"]


def test_second_pattern_in_a_patient_without_targets_is_judged_by_the_new_lesions():
    visits = [[None], [(20, 10)], [(30, 10)]]
    assert words(visits, lesions=(NEW,), V0={"is_baseline": True}) == ["IR2", "PD"]


def test_at_most_six_lesions_are_followed():
    targets = tuple(Lesion(id=f"T{i}", is_nodal=True) for i in range(5))
    new = (Lesion(id="N", role=LesionRole.NEW), Lesion(id="M", role=LesionRole.NEW))
    # The larger new one is the sixth: that the other grows tenfold is no progression of the sum.
    old = [(30, 20)] * 5
    visits = [[*old, None, None], [*old, (20, 10), (10, 10)], [*old, (20, 10), (100, 100)]]
    assert words(visits, lesions=(*targets, *new)) == ["IR2", "IR2"]
