"""Best overall response: RECIST 1.1 Table 3, and the rules that trial statisticians program."""

import datetime

import pytest
from response_cases import START, day, follow, sequence

from workflow.domain.response import Policies, Protocol, Response, Timeline, TimePoint, assess, response_of

# Sequences of overall response with the answers that admiralonco documents for them: reference date, then
# (date, response) pairs; expected: BOR, confirmed BOR and confirmed response by 28-day windows, and the
# confirmed BOR with 14 days, no NE between and one SD accepted.
COURSES = {
    "1": (
        "2020-01-01",
        "2020-01-01 PR, 2020-02-01 CR, 2020-02-16 NE, 2020-03-01 CR, 2020-04-01 SD",
        ("CR", "2020-02-01"),
        ("CR", "2020-02-01"),
        ("Y", "2020-01-01"),
        ("PR", "2020-01-01"),
    ),
    "2": (
        "2019-12-12",
        "2020-01-01 SD, 2020-02-01 PR, 2020-03-01 SD, 2020-03-13 CR",
        ("CR", "2020-03-13"),
        ("SD", "2020-02-01"),
        ("N", None),
        ("PR", "2020-02-01"),
    ),
    "3": (
        "2019-11-11",
        "2019-11-12 CR, 2019-12-02 CR, 2020-01-01 SD",
        ("CR", "2019-11-12"),
        ("SD", "2020-01-01"),
        ("N", None),
        ("CR", "2019-11-12"),
    ),
    "4": (
        "2019-12-30",
        "2020-01-01 PR, 2020-03-01 SD, 2020-04-01 SD, 2020-05-01 PR, 2020-05-15 NON-CR/NON-PD",
        ("PR", "2020-01-01"),
        ("SD", "2020-03-01"),
        ("N", None),
        ("SD", "2020-03-01"),
    ),
    "5": (
        "2020-01-01",
        "2020-01-01 PR, 2020-01-10 SD, 2020-01-20 PR, 2020-05-15 NON-CR/NON-PD",
        ("PR", "2020-01-01"),
        ("NON-CR/NON-PD", "2020-05-15"),
        ("N", None),
        ("PR", "2020-01-01"),
    ),
    "6": (
        "2020-02-02",
        "2020-02-06 PR, 2020-02-16 CR, 2020-03-30 PR, 2020-04-12 PD, 2020-05-01 CR, 2020-06-01 CR",
        ("CR", "2020-02-16"),
        ("SD", "2020-03-30"),
        ("N", None),
        ("SD", "2020-03-30"),
    ),
    "7": (
        "2020-02-02",
        "2020-02-06 PR, 2020-02-16 CR, 2020-04-01 NE",
        ("CR", "2020-02-16"),
        ("NE", "2020-02-06"),
        ("N", None),
        ("NE", "2020-02-06"),
    ),
    "8": ("2020-04-01", "", ("MISSING", None), ("MISSING", None), ("N", None), ("MISSING", None)),
    "9": (
        "2020-02-01",
        "2020-02-16 PD, 2020-03-06 SD",
        ("PD", "2020-02-16"),
        ("PD", "2020-02-16"),
        ("N", None),
        ("PD", "2020-02-16"),
    ),
}


def course_of(reference, entries, **policies):
    points = []
    for number, entry in enumerate(filter(None, entries.split(", "))):
        text, word = entry.split(" ", 1)
        points.append(
            TimePoint(id=f"V{number}", date=datetime.date.fromisoformat(text), overall=response_of(word))
        )
    timeline = Timeline(time_points=tuple(points), reference_date=datetime.date.fromisoformat(reference))
    return assess(timeline, Protocol(policies=Policies.from_mapping(policies)))


def said(result):
    return result.value, result.date.isoformat() if result.date else None


@pytest.mark.parametrize("subject", COURSES)
def test_industrial_sequences_give_the_documented_answers(subject):
    reference, entries, best, confirmed, response, lenient = COURSES[subject]
    course = course_of(reference, entries, minimum_stable_days=28)
    assert said(course.best_overall_response) == best
    assert said(course.confirmed_best_overall_response) == confirmed
    assert said(course.confirmed_response) == response
    relaxed = course_of(
        reference,
        entries,
        minimum_stable_days=28,
        confirmation_days=14,
        max_not_evaluable_between=0,
        accept_stable_between_partial_responses=True,
    )
    assert said(relaxed.confirmed_best_overall_response) == lenient


def test_two_ne_between_are_accepted_if_the_policy_says_so():
    entries = "2020-03-16 CR, 2020-04-01 NE, 2020-04-16 NE, 2020-05-01 CR"
    strict = course_of("2020-03-01", entries, minimum_stable_days=28)
    assert said(strict.confirmed_best_overall_response) == ("SD", "2020-05-01")
    lenient = course_of("2020-03-01", entries, minimum_stable_days=28, max_not_evaluable_between=2)
    assert said(lenient.confirmed_best_overall_response) == ("CR", "2020-03-16")


def test_no_assessment_is_missing_or_ne_by_policy():
    assert course_of("2020-04-01", "").best_overall_response.value == "MISSING"
    counted = course_of("2020-04-01", "", missing_as_not_evaluable=True)
    assert counted.best_overall_response.value == "NE"
    assert counted.confirmed_best_overall_response.value == "NE"


def test_only_assessments_that_were_not_done_are_nd():
    assert said(course_of("2020-02-02", "2020-04-02 ND").confirmed_best_overall_response) == (
        "ND",
        "2020-04-02",
    )


# RECIST 1.1, Table 3: first and second time point, minimum duration met or not, best response.
@pytest.mark.parametrize(
    ("first", "second", "met", "unmet"),
    [
        ("CR", "CR", "CR", "CR"),
        ("CR", "PR", "SD", "PD"),
        ("CR", "SD", "SD", "PD"),
        ("CR", "PD", "SD", "PD"),
        ("CR", "NE", "SD", "NE"),
        ("PR", "CR", "PR", "PR"),
        ("PR", "PR", "PR", "PR"),
        ("PR", "SD", "SD", "NE"),
        ("PR", "PD", "SD", "PD"),
        ("PR", "NE", "SD", "NE"),
        ("NE", "NE", "NE", "NE"),
    ],
)
def test_table_3_of_recist_with_confirmation(first, second, met, unmet):
    early, late = [(10, first), (38, second)], [(56, first), (112, second)]
    assert sequence(late).confirmed_best_overall_response.value == met
    assert sequence(early).confirmed_best_overall_response.value == unmet


@pytest.mark.parametrize(("days", "expected"), [(41, "NE"), (42, "SD"), (43, "SD")])
def test_stable_disease_needs_its_minimum_days(days, expected):
    assert sequence([(days, "SD")]).best_overall_response.value == expected


@pytest.mark.parametrize(("days", "expected"), [(41, "NE"), (42, "NON-CR/NON-PD")])
def test_non_target_only_disease_needs_them_too(days, expected):
    assert sequence([(days, "NON-CR/NON-PD")]).best_overall_response.value == expected


@pytest.mark.parametrize(("gap", "expected"), [(27, "SD"), (28, "PR"), (29, "PR")])
def test_confirmation_needs_its_days(gap, expected):
    assert sequence([(56, "PR"), (56 + gap, "PR")]).confirmed_best_overall_response.value == expected


def test_what_follows_the_first_progression_does_not_count():
    course = sequence([(56, "SD"), (112, "PD"), (168, "CR"), (224, "CR")])
    assert course.best_overall_response.value == "SD"
    assert course.confirmed_best_overall_response.value == "SD"
    assert not course.response.happened


@pytest.mark.parametrize(
    ("between", "policies", "expected"),
    [
        (["NE"], {}, "PR"),
        (["NE", "NE"], {}, "SD"),
        (["NE", "NE"], {"max_not_evaluable_between": 2}, "PR"),
        (["SD"], {}, "SD"),
        (["SD"], {"accept_stable_between_partial_responses": True}, "PR"),
        (["SD", "SD"], {"accept_stable_between_partial_responses": True}, "SD"),
        (["SD", "NE"], {"accept_stable_between_partial_responses": True}, "PR"),
    ],
)
def test_what_may_lie_between_a_partial_response_and_its_confirmation(between, policies, expected):
    words = ["PR", *between, "PR"]
    # All but the last lie within the 28 days, so that none of them is the confirmation.
    entries = [(56 + 7 * index, word) for index, word in enumerate(words[:-1])] + [(112, "PR")]
    assert sequence(entries, **policies).confirmed_best_overall_response.value == expected


def test_a_partial_response_after_a_complete_one_confirms_nothing():
    course = sequence([(42, "PR"), (56, "CR"), (84, "PR")])
    assert course.confirmed_best_overall_response.value == "SD"
    assert not course.confirmed_response.happened


def test_dates_and_durations():
    course = sequence([(56, "SD"), (112, "PR"), (168, "PR"), (224, "PD")])
    assert course.response.date == day(112)
    assert course.confirmed_response.date == day(112)
    assert course.progression.date == day(224)
    assert course.time_to_response.days == 112
    assert (course.duration_of_response.days, course.duration_of_response.is_censored) == (112, False)
    assert course.clinical_benefit.date == day(56)


def test_a_response_without_progression_is_censored_at_the_last_evaluable_time_point():
    duration = sequence([(56, "PR"), (112, "PR"), (168, "NE")]).duration_of_response
    assert (duration.days, duration.is_censored) == (56, True)


def test_clinical_benefit_is_a_response_or_control_for_the_minimum_days():
    assert sequence([(30, "PR"), (60, "PD")]).clinical_benefit.date == day(30)
    assert sequence([(30, "SD"), (60, "PD")]).clinical_benefit.value == "N"
    assert sequence([(30, "SD"), (60, "SD"), (90, "PD")]).clinical_benefit.date == day(60)
    confirmed = sequence([(30, "PR"), (60, "PD")]).confirmed_clinical_benefit
    assert confirmed.value == "N"


def test_days_count_from_the_baseline_where_no_reference_date_is_given():
    assert follow([50, 50], interval=41).best_overall_response.value is Response.NE
    assert follow([50, 50], interval=42).best_overall_response.value is Response.SD


def test_without_dates_intervals_are_taken_as_long_enough_and_the_reason_says_so():
    points = tuple(TimePoint(id=f"V{i}", overall=Response.PR) for i in range(2))
    course = assess(Timeline(time_points=points))
    assert course.confirmed_best_overall_response.value is Response.PR
    stable = assess(Timeline(time_points=(TimePoint(id="V1", overall=Response.SD),)))
    assert stable.best_overall_response.value is Response.SD
    assert "unknown" in stable.best_overall_response.reason


def test_the_headline_is_the_confirmed_response_where_the_protocol_requires_it():
    entries = [(56, "PR"), (112, "SD")]
    assert sequence(entries).headline.value is Response.PR
    assert sequence(entries, confirmation_required=True).headline.value is Response.SD
    assert sequence(entries).time_to_response.start == START
