"""Edit checks: each one asks its question where there is one, and is silent just beside it."""

import datetime
from pathlib import Path

import pytest
from response_cases import day

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import (
    Criteria,
    Intervention,
    InterventionKind,
    Lesion,
    NewLesion,
    Observation,
    Protocol,
    Response,
    Timeline,
    TimePoint,
    assess,
    micrometres,
)
from workflow.domain.response.edit_checks import CHECKS

S, R, MM = LesionState, Response, 1000

TARGET = Lesion(id="T", organ="liver")
NODE = Lesion(id="N", organ="node", is_nodal=True)
OTHER = Lesion(id="X", role=LesionRole.NON_TARGET, organ="bone")
NEW = Lesion(id="Z", role=LesionRole.NEW, organ="lung")
NEW_NODE = Lesion(id="Z", role=LesionRole.NEW, organ="node", is_nodal=True)


def seen(mm=None, lesion="T", **more):
    return Observation(lesion=lesion, diameter_um=None if mm is None else micrometres(mm), **more)


def visit(number, *observations, **levels):
    return TimePoint(id=f"V{number}", date=day(56 * number), observations=observations, **levels)


def course_of(*points, lesions=(TARGET,), criteria=Criteria.RECIST_1_1, **more):
    timeline = Timeline(lesions=lesions, time_points=points, **more)
    return assess(timeline, Protocol(criteria=criteria))


def found(course):
    """The names of the checks that found something."""
    warnings = [*course.warnings, *(w for a in course.assessments for w in a.warnings)]
    names = [warning.partition(":")[0] for warning in warnings]
    assert set(names) <= set(CHECKS)
    return set(names)


def follow(*observations, first=(30,), **more):
    """A baseline of the target at 30 mm, then one visit with these observations."""
    return course_of(visit(0, seen(*first)), visit(1, *observations), **more)


@pytest.mark.parametrize(
    ("observation", "is_doubtful"),
    [
        (seen(12, state=S.DISAPPEARED), True),
        (seen(0, state=S.DISAPPEARED), False),
        (seen(state=S.DISAPPEARED), False),
        (seen(0, state=S.PRESENT), True),
        (seen(1, state=S.PRESENT), False),
        (seen(5.1, state=S.TOO_SMALL), True),
        (seen(5, state=S.TOO_SMALL), False),
        (seen(20, state=S.NOT_EVALUABLE), True),
        (seen(state=S.NOT_EVALUABLE), False),
        (seen(20), False),
    ],
)
def test_state_and_diameter_agree(observation, is_doubtful):
    assert ("state_against_diameter" in found(follow(observation))) == is_doubtful


@pytest.mark.parametrize(("mm", "is_doubtful"), [(9.9, False), (10, True)])
def test_a_node_that_has_disappeared_may_have_a_normal_size(mm, is_doubtful):
    points = visit(0, seen(20, "N")), visit(1, seen(mm, "N", state=S.DISAPPEARED))
    assert ("state_against_diameter" in found(course_of(*points, lesions=(NODE,)))) == is_doubtful


def test_under_percist_a_lesion_may_have_lost_its_uptake_and_keep_its_size():
    points = visit(0, seen(30, sul_peak_milli=5000)), visit(1, seen(25, state=S.DISAPPEARED))
    assert found(course_of(*points, criteria=Criteria.PERCIST)) == set()


@pytest.mark.parametrize(("short", "is_doubtful"), [(20, False), (20.1, True)])
def test_the_short_axis_is_not_the_longer_one(short, is_doubtful):
    observation = Observation(lesion="T", long_axis_um=20 * MM, short_axis_um=micrometres(short))
    assert ("axes" in found(follow(observation))) == is_doubtful


def test_a_given_sum_is_that_of_the_lesions():
    def course(total):
        return course_of(visit(0, seen(30)), visit(1, seen(25), sum_um=total * MM))

    assert "sum_against_lesions" in found(course(26))
    assert found(course(25)) == set()


@pytest.mark.parametrize(
    ("given", "mm", "is_doubtful"),
    [(R.PR, 45, True), (R.PD, 45, False), (R.SD, 30, False), (R.CR, 0, False), (R.NE, 30, True)],
)
def test_a_given_target_response_is_what_the_measurements_give(given, mm, is_doubtful):
    course = course_of(visit(0, seen(30)), visit(1, seen(mm), target=given))
    assert ("target_against_measured" in found(course)) == is_doubtful
    assert course.assessments[1].overall is given


def test_a_given_target_response_without_measurements_is_taken():
    points = visit(0, seen(30)), visit(1, target=R.PR)
    assert found(course_of(*points)) == set()


@pytest.mark.parametrize(
    ("levels", "computed", "is_doubtful"),
    [
        ({"overall": R.PR, "target": R.SD}, R.SD, True),
        ({"overall": R.SD, "target": R.SD}, R.SD, False),
        ({"overall": R.SD, "new_lesion": NewLesion.YES}, R.PD, True),
        ({"overall": R.PR, "new_lesion": NewLesion.NO}, None, False),
        ({"overall": R.PR}, None, False),
    ],
)
def test_a_given_overall_response_is_what_the_levels_below_give(levels, computed, is_doubtful):
    course = course_of(visit(0, seen(30)), visit(1, **levels))
    assert course.assessments[1].computed_overall is computed
    assert ("overall_against_computed" in found(course)) == is_doubtful


def test_a_first_time_point_that_is_judged_and_measured_keeps_its_place():
    course = course_of(visit(0, seen(30), overall=R.SD), visit(1, seen(30), overall=R.SD))
    assert [(a.overall, a.computed_overall) for a in course.assessments] == [(R.SD, R.NE)] * 2


@pytest.mark.parametrize(
    ("given", "state", "is_doubtful"),
    [
        (R.CR, S.PRESENT, True),
        (R.CR, S.DISAPPEARED, False),
        (R.NON_CR_NON_PD, S.DISAPPEARED, True),
        (R.NON_CR_NON_PD, S.PRESENT, False),
        (R.SD, S.PRESENT, False),
        (R.PD, S.PRESENT, False),  # of the disease as a whole
        (R.PD, S.DISAPPEARED, True),
        (R.NON_CR_NON_PD, S.NOT_EVALUABLE, False),
        (R.CR, S.NOT_EVALUABLE, True),
    ],
)
def test_a_given_non_target_response_fits_the_lesions(given, state, is_doubtful):
    points = (
        visit(0, seen(30), seen(lesion="X", state=S.PRESENT)),
        visit(1, seen(30), seen(lesion="X", state=state), non_target=given),
    )
    assert ("non_target_against_seen" in found(course_of(*points, lesions=(TARGET, OTHER)))) == is_doubtful


@pytest.mark.parametrize(
    ("given", "is_equivocal", "is_doubtful"),
    [(NewLesion.NO, False, True), (NewLesion.EQUIVOCAL, True, False), (NewLesion.YES, False, False)],
)
def test_a_new_lesion_that_is_seen_is_not_denied(given, is_equivocal, is_doubtful):
    observations = seen(30), seen(12, "Z", is_equivocal=is_equivocal)
    course = course_of(visit(0, seen(30)), visit(1, *observations, new_lesion=given), lesions=(TARGET, NEW))
    assert ("new_lesion_against_seen" in found(course)) == is_doubtful


def targets(*organs, mm=20):
    lesions = tuple(Lesion(id=f"T{i}", organ=organ) for i, organ in enumerate(organs))
    return course_of(visit(0, *(seen(mm, lesion.id) for lesion in lesions)), lesions=lesions)


def test_at_most_five_targets_and_two_in_an_organ():
    assert found(targets("liver", "liver", "lung", "lung", "brain")) == set()
    assert found(targets("liver", "liver", "lung", "lung", "brain", "bone")) == {"too_many_targets"}
    assert found(targets("left lung", "right lung", "lung")) == {"too_many_targets_in_organ"}


@pytest.mark.parametrize(
    ("lesion", "mm", "interval", "is_doubtful"),
    [
        (TARGET, 9.9, None, True),
        (TARGET, 10, None, False),
        (TARGET, 15, 8, True),
        (TARGET, 16, 8, False),
        (NODE, 14.9, None, True),
        (NODE, 15, None, False),
    ],
)
def test_a_target_is_large_enough_for_its_slices(lesion, mm, interval, is_doubtful):
    slices = None if interval is None else interval * MM
    course = course_of(visit(0, seen(mm, lesion.id, slice_interval_um=slices)), lesions=(lesion,))
    assert ("target_not_measurable" in found(course)) == is_doubtful


def test_a_normal_node_is_neither_non_target_nor_new():
    other = Lesion(id="M", role=LesionRole.NON_TARGET, organ="node", is_nodal=True)
    baseline = visit(0, seen(30), seen(9, "M"))
    assert found(course_of(baseline, lesions=(TARGET, other))) == {"normal_node"}
    course = course_of(visit(0, seen(30)), visit(1, seen(30), seen(9, "Z")), lesions=(TARGET, NEW_NODE))
    assert (found(course), course.assessments[1].overall) == ({"normal_node"}, R.SD)


def test_measurable_disease_has_a_target():
    assert found(course_of(visit(0, seen(30, "X")), lesions=(OTHER,))) == {"no_target"}


def test_what_is_odd_about_a_lesion_at_baseline():
    second = Lesion(id="U", organ="lung")
    lesions = (TARGET, second)
    assert found(course_of(visit(0, seen(30)), lesions=lesions)) == {"target_not_measured"}
    assert found(course_of(visit(0, seen(30), seen(0, "U")), lesions=lesions)) == {"absent_at_baseline"}
    treated = seen(30, intervention=Intervention(kind=InterventionKind.RADIOTHERAPY))
    assert found(course_of(visit(0, treated))) == {"treated_target", "intervention"}
    new = course_of(visit(0, seen(30), seen(20, "Z")), lesions=(TARGET, NEW))
    assert found(new) == {"new_at_baseline"}
    node = Lesion(id="T", organ="axillary lymph node")
    assert found(course_of(visit(0, seen(30)), lesions=(node,))) == {"node_not_nodal"}


@pytest.mark.parametrize(("days", "is_doubtful"), [(28, False), (29, True), (-1, True)])
def test_the_baseline_is_recent_when_treatment_starts(days, is_doubtful):
    course = course_of(visit(0, seen(30)), reference_date=day(days))
    assert ("baseline_date" in found(course)) == is_doubtful


def test_dates_that_are_doubtful():
    month = TimePoint(
        id="V1", date=datetime.date(2024, 2, 1), last_date=datetime.date(2024, 2, 29), is_date_partial=True
    )
    assert "partial_date" in found(course_of(visit(0, seen(30)), month))
    long = TimePoint(id="V1", date=day(56), last_date=day(64), observations=(seen(30),))
    assert found(course_of(visit(0, seen(30)), long)) == {"visit_days"}
    week = TimePoint(id="V1", date=day(56), last_date=day(63), observations=(seen(30),))
    assert found(course_of(visit(0, seen(30)), week)) == set()
    again = TimePoint(id="W", date=day(0), observations=(seen(30),))
    assert found(course_of(visit(0, seen(30)), again)) == {"same_day"}


@pytest.mark.parametrize(
    ("mm", "sum_mm", "is_doubtful"), [(10, 30, True), (14.9, 30, True), (15, 30, False), (11, 45, False)]
)
def test_a_small_new_node_as_the_only_evidence_wants_a_second_look(mm, sum_mm, is_doubtful):
    course = follow(seen(sum_mm), seen(mm, "Z"), lesions=(TARGET, NEW_NODE))
    assert course.assessments[1].overall is R.PD
    assert ("small_node" in found(course)) == is_doubtful


def test_a_small_node_seen_again_after_a_complete_response_wants_a_second_look():
    points = [visit(i, seen(mm, "N")) for i, mm in enumerate([20, 8, 8, 11])]
    course = course_of(*points, lesions=(NODE,))
    assert (course.assessments[3].overall, found(course)) == (R.PD, {"small_node"})


@pytest.mark.parametrize(
    ("sizes", "levels", "is_doubtful"),
    [
        ([20, 24], {}, False),  # 20 % and 4 mm
        ([30, 35], {}, False),  # 5 mm and 17 %
        ([25, 30], {}, True),
        ([25, 30], {"non_target": R.NON_CR_NON_PD}, False),
        ([20, 12, 18], {}, True),  # from its smallest
    ],
)
def test_a_large_growth_of_a_non_target_lesion_wants_a_verdict(sizes, levels, is_doubtful):
    points = [
        visit(i, seen(30), seen(mm, "X"), **(levels if i == len(sizes) - 1 else {}))
        for i, mm in enumerate(sizes)
    ]
    course = course_of(*points, lesions=(TARGET, OTHER))
    assert ("non_target_growth" in found(course)) == is_doubtful
    assert course.assessments[-1].overall is not R.PD


def test_a_growth_that_is_called_progression_has_its_verdict():
    progressed = seen(40, "X", has_progressed=True)
    points = visit(0, seen(30), seen(20, "X")), visit(1, seen(30), progressed)
    assert found(course_of(*points, lesions=(TARGET, OTHER))) == set()


@pytest.mark.parametrize(
    ("sizes", "is_doubtful"), [([30, 0, 3], True), ([30, 0, 0, 3], False), ([30, 15, 20], False)]
)
def test_disease_after_an_unconfirmed_complete_response_wants_a_second_look(sizes, is_doubtful):
    course = course_of(*(visit(i, seen(mm)) for i, mm in enumerate(sizes)))
    assert course.assessments[-1].overall is R.PD
    assert ("unconfirmed_complete_response" in found(course)) == is_doubtful


@pytest.mark.parametrize(
    ("sizes", "is_doubtful"),
    [
        ([25, 2.5], True),
        ([25, 2.6], False),
        ([50, 5], False),
        ([3, 30], True),
        ([3, 29.9], False),
        ([25, 0, 2], True),
    ],
)
def test_a_size_that_slips_by_a_decimal_place_is_noticed(sizes, is_doubtful):
    course = course_of(*(visit(i, seen(mm)) for i, mm in enumerate(sizes)))
    assert ("tenfold_change" in found(course)) == is_doubtful


def test_a_response_after_progression_is_said_to_count_for_nothing():
    points = [visit(i, seen(mm)) for i, mm in enumerate([30, 40, 10])]
    course = course_of(*points)
    assert (course.best_overall_response.value, found(course)) == (R.PD, {"after_progression"})
    assert found(course_of(*points, criteria=Criteria.IRECIST)) == set()


def test_a_complete_response_before_an_earlier_progression_is_past():
    course = course_of(*(visit(i, seen(mm)) for i, mm in enumerate([30, 0, 3, 30])))
    asked = ["unconfirmed_complete_response" in " ".join(a.warnings) for a in course.assessments]
    assert asked == [False, False, True, False]


def test_a_tumour_marker_that_rises_is_said_and_decides_nothing():
    points = (
        visit(0, seen(30), is_tumour_marker_raised=False),
        visit(1, seen(0), is_tumour_marker_raised=True),
    )
    course = course_of(*points)
    assert (course.assessments[1].overall, found(course)) == (R.CR, {"tumour_marker"})


def test_time_points_after_another_therapy_are_named():
    points = [visit(i, seen(mm)) for i, mm in enumerate([30, 30, 10])]
    course = course_of(*points, new_therapy_date=day(60))
    assert course.warnings == ("new_therapy: V2 after the other therapy of 2024-03-01: not counted",)


def test_an_ordinary_course_raises_no_question():
    lesions = (TARGET, NODE, OTHER, NEW)
    points = [
        visit(0, seen(30), seen(18, "N"), seen(lesion="X", state=S.PRESENT)),
        visit(1, seen(18), seen(8, "N"), seen(lesion="X", state=S.PRESENT)),
        visit(2, seen(state=S.TOO_SMALL), seen(7, "N"), seen(lesion="X", state=S.DISAPPEARED)),
        visit(3, seen(20), seen(7, "N"), seen(lesion="X", state=S.DISAPPEARED), seen(12, "Z")),
    ]
    assert found(course_of(*points, lesions=lesions, reference_date=day(7))) == set()


def test_the_documentation_lists_every_check_with_its_meaning_and_source():
    text = (Path(__file__).parents[3] / "docs" / "recist.md").read_text()
    for name, (meaning, source) in CHECKS.items():
        assert f"| `{name}` | {meaning} | {source} |" in text
