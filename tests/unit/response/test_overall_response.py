"""Overall response: RECIST 1.1 Tables 1 and 2, and every combination beside them."""

import itertools

import pytest
from response_cases import day

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import (
    Lesion,
    NewLesion,
    Observation,
    Protocol,
    Response,
    Timeline,
    TimePoint,
    assess,
)
from workflow.domain.response.overall import overall_response

CR, PR, SD, NN, PD, NE = "CR", "PR", "SD", "NON-CR/NON-PD", "PD", "NE"

TABLE_1 = [
    (CR, CR, False, CR),
    (CR, NN, False, PR),
    (CR, NE, False, PR),
    (PR, CR, False, PR),
    (PR, NN, False, PR),
    (PR, NE, False, PR),
    (SD, CR, False, SD),
    (SD, NN, False, SD),
    (SD, NE, False, SD),
    (NE, CR, False, NE),
    (NE, NN, False, NE),
    (NE, NE, False, NE),
    (CR, None, False, CR),
    (PR, None, False, PR),
    (SD, None, False, SD),
    (NE, None, False, NE),
]
TABLE_2 = [
    (None, CR, False, CR),
    (None, NN, False, NN),
    (None, NE, False, NE),
    (None, PD, False, PD),
    (None, None, False, "NED"),
]


@pytest.mark.parametrize(("target", "non_target", "new", "expected"), TABLE_1 + TABLE_2)
def test_tables_1_and_2_of_recist(target, non_target, new, expected):
    given = (Response(target) if target else None, Response(non_target) if non_target else None)
    assert overall_response(*given, has_new_lesion=new) == expected


@pytest.mark.parametrize("target", [None, *Response])
@pytest.mark.parametrize("non_target", [None, *Response])
def test_every_combination_has_an_answer_and_progression_anywhere_is_progression(target, non_target):
    assert overall_response(target, non_target, has_new_lesion=True) is Response.PD
    without = overall_response(target, non_target, has_new_lesion=False)
    assert (without is Response.PD) == (Response.PD in (target, non_target))


@pytest.mark.parametrize(
    ("target", "non_target", "new"),
    list(itertools.product((CR, PR, SD, PD, NE), (CR, NN, PD, NE, None), NewLesion)),
)
def test_levels_given_in_a_time_point_go_through_the_same_tables(target, non_target, new):
    point = TimePoint(
        id="V1",
        date=day(56),
        target=Response(target),
        non_target=Response(non_target) if non_target else None,
        new_lesion=new,
    )
    course = assess(Timeline(time_points=(point,)))
    expected = overall_response(
        Response(target), Response(non_target) if non_target else None, has_new_lesion=new is NewLesion.YES
    )
    assert course.assessments[0].overall is expected


def non_target_patient(*states, new=None):
    lesions = [Lesion(id="X", role=LesionRole.NON_TARGET), Lesion(id="L", role=LesionRole.NEW)]
    points = [
        TimePoint(id="BL", date=day(0), observations=(Observation(lesion="X", state=LesionState.PRESENT),)),
        *(
            TimePoint(id=f"V{i}", date=day(56 * i), observations=(Observation(lesion="X", state=state),))
            for i, state in enumerate(states, start=1)
        ),
    ]
    return assess(Timeline(lesions=tuple(lesions), time_points=tuple(points)))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (LesionState.PRESENT, NN),
        (LesionState.TOO_SMALL, NN),
        (LesionState.DISAPPEARED, CR),
        (LesionState.NOT_EVALUABLE, NE),
        (LesionState.TRACKING_FAILED, NE),
    ],
)
def test_patients_with_non_target_disease_only(state, expected):
    assert non_target_patient(state).assessments[1].overall == expected


def test_unequivocal_progression_of_a_non_target_lesion_is_progression():
    lesions = (Lesion(id="X", role=LesionRole.NON_TARGET),)
    points = (
        TimePoint(id="BL", date=day(0)),
        TimePoint(id="V1", date=day(56), observations=(Observation(lesion="X", has_progressed=True),)),
    )
    last = assess(Timeline(lesions=lesions, time_points=points)).assessments[1]
    assert last.overall is Response.PD
    assert last.reason == "PD: unequivocal progression of X"


def test_a_non_target_node_below_10_mm_is_gone():
    lesions = (Lesion(id="X", role=LesionRole.NON_TARGET, is_nodal=True),)

    def seen(short_axis_um):
        return (Observation(lesion="X", short_axis_um=short_axis_um),)

    points = (
        TimePoint(id="BL", date=day(0), observations=seen(12_000)),
        TimePoint(id="V1", date=day(56), observations=seen(10_000)),
        TimePoint(id="V2", date=day(112), observations=seen(9_999)),
    )
    course = assess(Timeline(lesions=lesions, time_points=points))
    assert [a.overall for a in course.assessments[1:]] == [NN, CR]


def test_no_disease_at_baseline_stays_without_evidence_until_a_new_lesion():
    points = (
        TimePoint(id="BL", date=day(0)),
        TimePoint(id="V1", date=day(56), new_lesion=NewLesion.NO),
        TimePoint(id="V2", date=day(112)),
        TimePoint(id="V3", date=day(168), new_lesion=NewLesion.YES),
    )
    course = assess(Timeline(time_points=points), Protocol())
    assert [a.overall for a in course.assessments] == [None, "NED", "NE", "PD"]


def test_an_equivocal_lesion_that_proves_to_be_new_dates_progression_back():
    points = (
        TimePoint(id="BL", date=day(0), sum_um=50_000),
        TimePoint(id="V1", date=day(56), sum_um=50_000, new_lesion=NewLesion.EQUIVOCAL),
        TimePoint(id="V2", date=day(112), sum_um=50_000, new_lesion=NewLesion.YES),
    )
    course = assess(Timeline(time_points=points))
    assert course.progression.date == day(56)
    assert course.assessments[1].is_back_dated


def test_an_equivocal_lesion_that_goes_away_is_no_progression():
    points = (
        TimePoint(id="BL", date=day(0), sum_um=50_000),
        TimePoint(id="V1", date=day(56), sum_um=50_000, new_lesion=NewLesion.EQUIVOCAL),
        TimePoint(id="V2", date=day(112), sum_um=50_000, new_lesion=NewLesion.NO),
        TimePoint(id="V3", date=day(168), sum_um=50_000, new_lesion=NewLesion.YES),
    )
    course = assess(Timeline(time_points=points))
    assert [a.overall for a in course.assessments[1:]] == ["SD", "SD", "PD"]


def lesion_course(observations, **policies):
    """Target T1 of 50 mm and a new lesion L, seen as given."""
    lesions = (Lesion(id="T1"), Lesion(id="L", role=LesionRole.NEW))
    points = [TimePoint(id="BL", date=day(0), observations=(Observation(lesion="T1", diameter_um=50_000),))]
    for number, seen in enumerate(observations, start=1):
        own = (Observation(lesion="T1", diameter_um=50_000),)
        points.append(
            TimePoint(id=f"V{number}", date=day(56 * number), observations=own + ((seen,) if seen else ()))
        )
    return assess(Timeline(lesions=lesions, time_points=tuple(points)))


def test_a_new_lesion_once_seen_stays_until_it_is_seen_to_be_gone():
    present = Observation(lesion="L", diameter_um=12_000)
    gone = Observation(lesion="L", state=LesionState.DISAPPEARED)
    course = lesion_course([None, present, None, gone])
    assert [a.overall for a in course.assessments[1:]] == ["SD", "PD", "PD", "SD"]


def test_an_equivocal_new_lesion_is_followed_and_dated_back():
    doubtful = Observation(lesion="L", diameter_um=6_000, is_equivocal=True)
    certain = Observation(lesion="L", diameter_um=11_000, is_equivocal=False)
    assert lesion_course([doubtful]).assessments[1].overall == "SD"
    assert lesion_course([doubtful, None, certain]).progression.date == day(56)


def test_an_equivocal_lesion_that_is_merely_still_there_stays_one_until_somebody_decides():
    doubtful = Observation(lesion="L", diameter_um=6_000, is_equivocal=True)
    still = Observation(lesion="L", diameter_um=6_000)
    certain = Observation(lesion="L", diameter_um=6_000, is_equivocal=False)
    undecided = lesion_course([doubtful, still, still])
    assert [a.overall for a in undecided.assessments[1:]] == ["SD", "SD", "SD"]
    assert undecided.assessments[3].new_lesion is NewLesion.EQUIVOCAL
    decided = lesion_course([doubtful, still, certain, still])
    assert [a.overall for a in decided.assessments[1:]] == ["PD", "PD", "PD", "PD"]


@pytest.mark.parametrize(
    ("policy", "sums", "expected"),
    [
        ("any", [30, 0, 3], "PD"),
        ("any", [30, 0, 0.001], "PD"),
        ("5mm", [30, 0, 4.999], "PR"),
        ("5mm", [30, 0, 5], "PD"),
    ],
)
def test_reappearance_after_a_complete_response(policy, sums, expected):
    from response_cases import follow, overalls

    assert overalls(follow(sums, reappearance_after_complete_response=policy))[-1] == expected


@pytest.mark.parametrize(("short_axis", "expected"), [(9.9, "CR"), (10, "PD")])
def test_a_node_reappears_at_10_mm(short_axis, expected):
    from response_cases import follow, overalls

    assert overalls(follow([20, 8, short_axis], is_nodal=True))[-1] == expected


def test_a_target_complete_response_with_other_disease_left_is_no_complete_response_to_fall_from():
    points = (
        TimePoint(id="BL", date=day(0), sum_um=50_000),
        TimePoint(id="V1", date=day(56), sum_um=0, non_target=Response.NON_CR_NON_PD),
        TimePoint(id="V2", date=day(112), sum_um=4_000, non_target=Response.NON_CR_NON_PD),
    )
    course = assess(Timeline(time_points=points))
    assert [a.overall for a in course.assessments[1:]] == ["PR", "PR"]


def test_measured_lesions_alone_can_prove_progression():
    lesions = (Lesion(id="A"), Lesion(id="B"))

    def seen(a, b):
        return (Observation(lesion="A", diameter_um=a), Observation(lesion="B", diameter_um=b))

    points = (
        TimePoint(id="BL", date=day(0), observations=seen(30_000, 20_000)),
        TimePoint(id="V1", date=day(56), observations=seen(59_999, None)),
        TimePoint(id="V2", date=day(112), observations=seen(60_000, None)),
    )
    course = assess(Timeline(lesions=lesions, time_points=points))
    assert [a.overall for a in course.assessments[1:]] == ["NE", "PD"]
    assert course.assessments[2].sum_um is None
    assert "B has no" in course.assessments[2].reason or "B is not" in course.assessments[2].reason


def test_too_small_disappeared_split_and_merged_lesions_enter_the_sum_as_recist_says():
    lesions = tuple(Lesion(id=name) for name in "ABCDE")
    points = (
        TimePoint(
            id="BL",
            date=day(0),
            observations=tuple(Observation(lesion=x, diameter_um=20_000) for x in "ABCDE"),
        ),
        TimePoint(
            id="V1",
            date=day(56),
            observations=(
                Observation(lesion="A", state=LesionState.TOO_SMALL),
                Observation(lesion="B", state=LesionState.DISAPPEARED),
                Observation(lesion="C", state=LesionState.SPLIT, fragments_um=(7_000, 6_000)),
                Observation(lesion="D", state=LesionState.MERGED, diameter_um=30_000),
                Observation(lesion="E", state=LesionState.MERGED),
            ),
        ),
    )
    course = assess(Timeline(lesions=lesions, time_points=points))
    assert course.assessments[1].sum_um == 5_000 + 0 + 13_000 + 30_000 + 0


def test_a_measurement_below_5_mm_is_used_as_it_is():
    lesions = (Lesion(id="A"),)
    points = (
        TimePoint(id="BL", date=day(0), observations=(Observation(lesion="A", diameter_um=20_000),)),
        TimePoint(
            id="V1",
            date=day(56),
            observations=(Observation(lesion="A", state=LesionState.TOO_SMALL, diameter_um=3_000),),
        ),
    )
    assert assess(Timeline(lesions=lesions, time_points=points)).assessments[1].sum_um == 3_000


def test_a_target_that_measures_nothing_at_baseline_is_none():
    lesions = (Lesion(id="A"), Lesion(id="X", role=LesionRole.NON_TARGET))
    points = tuple(
        TimePoint(
            id=name,
            date=day(days),
            observations=(
                Observation(lesion="A", diameter_um=0),
                Observation(lesion="X", state=LesionState.PRESENT),
            ),
        )
        for name, days in (("BL", 0), ("V1", 56))
    )
    course = assess(Timeline(lesions=lesions, time_points=points))
    assert course.assessments[1].overall == NN
    assert "left out" in course.assessments[0].warnings[0]
