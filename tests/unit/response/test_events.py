"""What ends a course or changes a lesion from outside: other therapies, missed visits, death, markers."""

import pytest
from response_cases import day, overalls

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import (
    Criteria,
    Lesion,
    NewLesion,
    Observation,
    Policies,
    Protocol,
    Response,
    Timeline,
    TimelineError,
    TimePoint,
    assess,
)

S, R, MM = LesionState, Response, 1000


def given(*entries, death=None, therapy=None, criteria=Criteria.RECIST_1_1, **policies):
    """The course of given overall responses, each with its day after the start."""
    points = tuple(
        TimePoint(id=f"V{i}", date=day(days), overall=R(word), is_baseline=False)
        for i, (days, word) in enumerate(entries, start=1)
    )
    timeline = Timeline(
        time_points=points,
        reference_date=day(0),
        new_therapy_date=None if therapy is None else day(therapy),
        death_date=None if death is None else day(death),
    )
    return assess(timeline, Protocol(criteria=criteria, policies=Policies(**policies)))


# ---------------------------------------------------------------- another therapy


def test_what_follows_another_therapy_counts_for_no_best_response():
    course = given((56, "SD"), (112, "PR"), (168, "PR"), therapy=70)
    assert course.best_overall_response.value is R.SD
    assert not course.response.happened
    assert overalls(course) == ["SD", "PR", "PR"]


@pytest.mark.parametrize(("therapy", "expected"), [(55, R.MISSING), (56, R.PR), (57, R.PR)])
def test_a_scan_on_the_day_of_the_other_therapy_counts(therapy, expected):
    assert given((56, "PR"), therapy=therapy).best_overall_response.value is expected


def test_under_irecist_a_confirmation_after_another_therapy_is_none():
    course = given((56, "iUPD"), (112, "iCPD"), therapy=70, criteria=Criteria.IRECIST)
    assert not course.icpd.happened
    assert given((56, "iUPD"), (112, "iCPD"), criteria=Criteria.IRECIST).icpd.happened


# ---------------------------------------------------------------- progression-free survival


@pytest.mark.parametrize(
    ("entries", "more", "days", "is_censored"),
    [
        ([(56, "SD"), (112, "PD")], {}, 112, False),
        ([(56, "SD"), (112, "PR")], {}, 112, True),
        ([(56, "SD"), (112, "NE")], {}, 56, True),
        ([(56, "NE"), (112, "NE")], {}, 0, True),
        ([], {}, 0, True),
        ([(56, "SD"), (112, "NE"), (168, "PD")], {}, 168, False),
        ([(56, "SD"), (112, "NE"), (168, "ND"), (224, "PD")], {}, 56, True),
        ([(56, "SD"), (112, "NE"), (168, "NE"), (224, "SD"), (280, "PD")], {}, 280, False),
        (
            [(56, "SD"), (112, "NE"), (168, "NE"), (224, "PD")],
            {"missed_visits_before_censoring": 0},
            224,
            False,
        ),
        ([(56, "SD"), (112, "NE"), (168, "PD")], {"missed_visits_before_censoring": 1}, 56, True),
        ([(56, "SD"), (112, "PD")], {"therapy": 70}, 56, True),
        ([(56, "SD")], {"death": 90}, 90, False),
        ([(56, "PD")], {"death": 90}, 56, False),
        ([(56, "SD"), (112, "NE"), (168, "NE")], {"death": 200}, 56, True),
        ([(56, "SD")], {"death": 200, "therapy": 70}, 56, True),
    ],
)
def test_progression_free_survival_and_its_censoring(entries, more, days, is_censored):
    survival = given(*entries, **more).progression_free_survival
    assert (survival.days, survival.is_censored) == (days, is_censored)
    assert survival.reason


def test_without_a_start_there_is_no_progression_free_survival():
    points = (TimePoint(id="V1", overall=R.PD),)
    assert assess(Timeline(time_points=points)).progression_free_survival is None


# ---------------------------------------------------------------- tumour markers


def marked(baseline, now, *, mm=0, other=S.DISAPPEARED, lesions=("T", "X")):
    """Target T to `mm` and non-target X to a state, with a marker raised or not at both visits."""
    known = {"T": Lesion(id="T"), "X": Lesion(id="X", role=LesionRole.NON_TARGET)}
    first = {"T": Observation(lesion="T", diameter_um=30 * MM), "X": Observation(lesion="X", state=S.PRESENT)}
    last = {"T": Observation(lesion="T", diameter_um=mm * MM), "X": Observation(lesion="X", state=other)}
    points = tuple(
        TimePoint(
            id=name,
            date=day(days),
            is_tumour_marker_raised=marker,
            observations=tuple(seen[x] for x in lesions),
        )
        for name, days, marker, seen in (("BL", 0, baseline, first), ("V1", 56, now, last))
    )
    return assess(Timeline(lesions=tuple(known[x] for x in lesions), time_points=points)).assessments[1]


@pytest.mark.parametrize(
    ("baseline", "now", "non_target", "overall"),
    [
        (None, None, R.CR, R.CR),
        (True, False, R.CR, R.CR),
        (True, True, R.NON_CR_NON_PD, R.PR),
        (None, True, R.NON_CR_NON_PD, R.PR),
        (True, None, R.NE, R.PR),
        (False, True, R.CR, R.CR),
    ],
)
def test_a_marker_that_was_raised_must_be_normal_for_a_complete_response(baseline, now, non_target, overall):
    found = marked(baseline, now)
    assert (found.non_target, found.overall) == (non_target, overall)


def test_a_raised_marker_bars_a_complete_response_without_non_target_lesions_too():
    assert marked(True, True, lesions=("T",)).overall is R.PR
    assert marked(True, False, lesions=("T",)).overall is R.CR
    assert marked(True, True, lesions=("X",)).overall is R.NON_CR_NON_PD


def test_a_raised_marker_is_no_progression():
    assert marked(True, True, mm=30, other=S.PRESENT).overall is R.SD


# ---------------------------------------------------------------- merged and too small lesions


def merged(*observations, organs=("liver", "liver", "lung"), **policies):
    names = "ABC"
    lesions = tuple(Lesion(id=x, organ=organ) for x, organ in zip(names, organs, strict=True))
    first = tuple(Observation(lesion=x, diameter_um=20 * MM) for x in names)
    points = (
        TimePoint(id="BL", date=day(0), observations=first),
        TimePoint(id="V1", date=day(56), observations=observations),
    )
    timeline = Timeline(lesions=lesions, time_points=points)
    return assess(timeline, Protocol(policies=Policies(**policies))).assessments[1]


def at(lesion, mm=None, **more):
    return Observation(lesion=lesion, diameter_um=None if mm is None else mm * MM, **more)


@pytest.mark.parametrize(
    ("a", "b", "total"),
    [
        (at("A", 35, state=S.MERGED), at("B", state=S.MERGED), 55),
        (at("A", 35), at("B", state=S.MERGED), 55),
        (at("A", 35), at("B", state=S.MERGED, merged_into="A"), 55),
        (at("A", state=S.MERGED), at("B", state=S.MERGED), None),
        (at("A", state=S.NOT_EVALUABLE), at("B", state=S.MERGED, merged_into="A"), None),
        (at("A", state=S.NOT_EVALUABLE), at("B", state=S.MERGED), None),
        (at("A", state=S.DISAPPEARED), at("B", state=S.MERGED), None),
        (at("A", state=S.DISAPPEARED), at("B", state=S.MERGED, merged_into="A"), 20),
    ],
)
def test_one_of_the_merged_lesions_has_the_diameter(a, b, total):
    found = merged(a, b, at("C", 20))
    assert found.sum_um == (None if total is None else total * MM)
    assert (found.target is R.NE) == (total is None)


def test_a_lesion_of_another_organ_has_not_the_diameter_of_merged_ones():
    found = merged(at("A", state=S.NOT_EVALUABLE), at("B", state=S.MERGED), at("C", 20))
    assert "B has merged, and no target lesion has the diameter of both" in found.target_reason


def test_merged_lesions_lead_on_to_the_one_that_is_measured():
    chain = merged(
        at("A", 40), at("B", state=S.MERGED, merged_into="A"), at("C", state=S.MERGED, merged_into="B")
    )
    assert chain.sum_um == 40 * MM


@pytest.mark.parametrize(
    "observations",
    [
        (at("A", state=S.MERGED, merged_into="A"),),
        (at("A", state=S.MERGED, merged_into="B"), at("B", state=S.MERGED, merged_into="A")),
        (
            at("A", state=S.MERGED, merged_into="B"),
            at("B", state=S.MERGED, merged_into="C"),
            at("C", state=S.MERGED, merged_into="A"),
        ),
    ],
)
def test_a_merge_that_leads_back_to_itself_is_refused(observations):
    with pytest.raises(TimelineError, match="merge in a ring"):
        merged(*observations)


def test_a_lesion_whose_carrier_is_left_out_is_not_evaluable():
    assert merged(at("A", state=S.MERGED, merged_into="Q"), at("B", 20), at("C", 20)).target is R.NE


@pytest.mark.parametrize(("policy", "total"), [(5, 45), (0, 40), (3, 43)])
def test_a_lesion_too_small_to_measure_counts_as_the_policy_says(policy, total):
    found = merged(at("A", state=S.TOO_SMALL), at("B", 20), at("C", 20), too_small_mm=policy)
    assert found.sum_um == total * MM
    measured = merged(at("A", 4, state=S.TOO_SMALL), at("B", 20), at("C", 20), too_small_mm=policy)
    assert measured.sum_um == 44 * MM


# ---------------------------------------------------------------- after a complete response


@pytest.mark.parametrize(
    ("sizes", "policy", "expected"),
    [
        ([30, 0, 3], False, ["CR", "PD"]),
        ([30, 0, 3], True, ["CR", "PR"]),
        ([30, 0, 0, 3], True, ["CR", "CR", "PD"]),
        ([30, 0, 5], True, ["CR", "PD"]),  # 5 mm above the nadir of 0
    ],
)
def test_an_unconfirmed_complete_response_can_be_followed_by_a_partial_one(sizes, policy, expected):
    points = tuple(
        TimePoint(id=f"V{i}", date=day(56 * i), observations=(at("A", mm),)) for i, mm in enumerate(sizes)
    )
    protocol = Protocol(policies=Policies(reappearance_needs_confirmed_complete_response=policy))
    course = assess(Timeline(lesions=(Lesion(id="A"),), time_points=points), protocol)
    assert overalls(course) == expected


def test_non_target_disease_after_an_unconfirmed_complete_response_is_judged_the_same_way():
    lesions = (Lesion(id="A"), Lesion(id="X", role=LesionRole.NON_TARGET))
    points = tuple(
        TimePoint(id=f"V{i}", date=day(56 * i), observations=(at("A", mm), at("X", state=state)))
        for i, (mm, state) in enumerate([(30, S.PRESENT), (0, S.DISAPPEARED), (0, S.PRESENT)])
    )
    timeline = Timeline(lesions=lesions, time_points=points)
    literal = Protocol(policies=Policies(reappearance_needs_confirmed_complete_response=True))
    assert overalls(assess(timeline)) == ["CR", "PD"]
    assert overalls(assess(timeline, literal)) == ["CR", "PR"]


def test_a_new_lesion_is_progression_after_any_complete_response():
    points = (
        TimePoint(id="V0", date=day(0), sum_um=30 * MM),
        TimePoint(id="V1", date=day(56), sum_um=0),
        TimePoint(id="V2", date=day(112), sum_um=0, new_lesion=NewLesion.YES),
    )
    literal = Protocol(policies=Policies(reappearance_needs_confirmed_complete_response=True))
    assert overalls(assess(Timeline(time_points=points), literal)) == ["CR", "PD"]


# ---------------------------------------------------------------- visits of several days


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [("by_response", day(58), day(112)), ("earliest", day(56), day(112)), ("latest", day(58), day(114))],
)
def test_a_visit_of_several_days_has_one_day_by_policy(rule, first, second):
    points = tuple(
        TimePoint(id=f"V{i}", date=day(56 * i), last_date=day(56 * i + 2), sum_um=mm * MM)
        for i, mm in enumerate((30, 10, 30))
    )
    protocol = Protocol(policies=Policies.from_mapping({"visit_date": rule}))
    course = assess(Timeline(time_points=points), protocol)
    assert (course.response.date, course.progression.date) == (first, second)


def test_a_last_day_before_the_first_is_refused():
    with pytest.raises(TimelineError, match="its last day"):
        TimePoint(id="V1", date=day(2), last_date=day(1))


# ---------------------------------------------------------------- doubts


@pytest.mark.parametrize("criteria", [Criteria.RECIST_1_1, Criteria.MRECIST, Criteria.LUGANO, Criteria.RANO])
def test_under_any_criteria_a_doubt_lasts_until_somebody_decides(criteria):
    def course(*doubts):
        points = [TimePoint(id="V0", date=day(0), observations=(whole("T"),))]
        points += [
            TimePoint(id=f"V{i}", date=day(56 * i), observations=(whole("T"), whole("Z", is_equivocal=x)))
            for i, x in enumerate(doubts, start=1)
        ]
        lesions = (Lesion(id="T", organ="brain"), Lesion(id="Z", role=LesionRole.NEW, organ="brain"))
        timeline = Timeline(lesions=lesions, time_points=tuple(points))
        return assess(timeline, Protocol(criteria=criteria))

    assert course(True, None, None).assessments[3].overall is not R.PD
    assert course(True, None, False, None).assessments[4].overall is R.PD
    assert course(None).assessments[1].overall is R.PD


def whole(lesion, **more):
    """A lesion measured in every way that any of the criteria asks for."""
    return Observation(
        lesion=lesion,
        diameter_um=30 * MM,
        long_axis_um=30 * MM,
        short_axis_um=30 * MM,
        viable_um=30 * MM,
        **more,
    )
