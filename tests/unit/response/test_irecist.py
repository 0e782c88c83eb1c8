"""iRECIST: unconfirmed and confirmed progression, the bar that is reset, iBOR."""

import itertools

import pytest
from response_cases import day, follow, overalls, sequence

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
    TimePoint,
    assess,
    micrometres,
)

IRECIST = Protocol(criteria=Criteria.IRECIST)


def patient(baseline, visits, lesions=("L1", "L2"), **policies):
    """A target of `baseline` mm; each visit is (day, target mm, {new lesion: mm or state})."""
    own = [Lesion(id="T1", organ="liver"), *(Lesion(id=x, role=LesionRole.NEW) for x in lesions)]
    points = [TimePoint(id="BL", date=day(0), observations=(_seen("T1", baseline),))]
    for number, (days, target, new) in enumerate(visits, start=1):
        seen = [_seen("T1", target), *(_seen(name, size) for name, size in new.items())]
        points.append(TimePoint(id=f"V{number}", date=day(days), observations=tuple(seen)))
    protocol = Protocol(criteria=Criteria.IRECIST, policies=Policies.from_mapping(policies))
    return assess(Timeline(lesions=tuple(own), time_points=tuple(points)), protocol)


def _seen(name, size):
    if isinstance(size, LesionState):
        return Observation(lesion=name, state=size)
    return Observation(lesion=name, diameter_um=None if size is None else micrometres(size))


@pytest.mark.parametrize(
    ("name", "baseline", "visits", "expected"),
    [
        ("target growth that goes on by 5 mm", 100, [(56, 125, {}), (112, 130, {})], ["iUPD", "iCPD"]),
        ("growth just short of 5 mm", 100, [(56, 125, {}), (112, 129.999, {})], ["iUPD", "iUPD"]),
        ("increases add up", 100, [(56, 125, {}), (112, 129, {}), (168, 131, {})], ["iUPD", "iUPD", "iCPD"]),
        ("no change stays unconfirmed", 100, [(56, 125, {}), (112, 125, {})], ["iUPD", "iUPD"]),
        ("shrinkage to PR resets", 100, [(56, 125, {}), (112, 50, {})], ["iUPD", "iPR"]),
        ("shrinkage to SD resets", 100, [(56, 125, {}), (112, 110, {})], ["iUPD", "iSD"]),
        (
            "after a reset progression must begin and be confirmed again",
            100,
            [(56, 125, {}), (112, 90, {}), (168, 110, {}), (224, 115, {})],
            ["iUPD", "iSD", "iUPD", "iCPD"],
        ),
        ("reappearance after iCR", 10, [(35, 0, {}), (70, 4, {})], ["iCR", "iUPD"]),
        (
            "a stable new lesion does not block iPR by later shrinkage",
            100,
            [(56, 100, {"L1": 10}), (112, 60, {"L1": 10})],
            ["iUPD", "iPR"],
        ),
        (
            "a stable new lesion does not block iSD after target progression",
            100,
            [(56, 125, {"L1": 10}), (112, 90, {"L1": 10})],
            ["iUPD", "iSD"],
        ),
        (
            "shrinkage first, then a new lesion, then no change",
            100,
            [(56, 50, {}), (112, 50, {"L1": 10}), (168, 50, {"L1": 10})],
            ["iPR", "iUPD", "iUPD"],
        ),
        (
            "new target growing by exactly 5 mm",
            100,
            [(56, 100, {"L1": 10}), (112, 100, {"L1": 15})],
            ["iUPD", "iCPD"],
        ),
        (
            "new target growing by less than 5 mm",
            100,
            [(56, 100, {"L1": 10}), (112, 100, {"L1": 14.999})],
            ["iUPD", "iUPD"],
        ),
        (
            "a small new lesion is non-target: any growth",
            100,
            [(56, 100, {"L1": 3.2}), (112, 100, {"L1": 8.2})],
            ["iUPD", "iCPD"],
        ),
        (
            "another new lesion",
            100,
            [(56, 100, {"L1": 10}), (112, 100, {"L1": 10, "L2": 6})],
            ["iUPD", "iCPD"],
        ),
        (
            "a new lesion confirms target progression",
            100,
            [(56, 125, {}), (112, 125, {"L1": 6})],
            ["iUPD", "iCPD"],
        ),
        (
            "target progression confirms a new lesion",
            100,
            [(56, 100, {"L1": 10}), (112, 125, {"L1": 10})],
            ["iUPD", "iCPD"],
        ),
        (
            "the new lesion is gone",
            100,
            [(56, 100, {"L1": 10}), (112, 100, {"L1": LesionState.DISAPPEARED})],
            ["iUPD", "iSD"],
        ),
        (
            "a blank time point in between",
            100,
            [(56, 125, {}), (112, None, {}), (168, 130, {})],
            ["iUPD", "NE", "iCPD"],
        ),
        (
            "a new lesion that was missed leaves the visit not evaluable",
            100,
            [(56, 100, {"L1": 10}), (112, 50, {}), (168, 61, {"L1": 10})],
            ["iUPD", "NE", "iPR"],
        ),
        (
            "old disease gone, new lesion left: no iCR",
            10,
            [(56, 10, {"L1": 10}), (112, 0, {"L1": 10})],
            ["iUPD", "iPR"],
        ),
        (
            "once confirmed it stays",
            100,
            [(56, 125, {}), (112, 131, {}), (168, 50, {})],
            ["iUPD", "iCPD", "iCPD"],
        ),
    ],
)
def test_courses(name, baseline, visits, expected):
    assert overalls(patient(baseline, visits)) == expected, name


@pytest.mark.parametrize(("days", "expected"), [(27, "iUPD"), (28, "iCPD"), (29, "iCPD")])
def test_a_scan_within_four_weeks_of_iupd_confirms_nothing(days, expected):
    assert overalls(patient(100, [(56, 125, {}), (56 + days, 130, {})]))[-1] == expected


def test_a_disregarded_scan_changes_neither_nadir_nor_known_new_lesions():
    shrunk = patient(100, [(31, 100, {"L1": 10}), (45, 50, {"L1": 10}), (66, 60, {"L1": 10})])
    assert overalls(shrunk) == ["iUPD", "iUPD", "iPR"]
    assert shrunk.assessments[3].nadir_um == 100_000
    early = patient(100, [(31, 125, {}), (45, 125, {"L1": 10}), (66, 125, {"L1": 10})])
    assert overalls(early) == ["iUPD", "iUPD", "iCPD"]


def test_progression_is_dated_to_the_first_iupd_of_its_block():
    course = sequence(
        [(56, "iSD"), (84, "iUPD"), (112, "iPR"), (140, "iUPD"), (168, "iUPD"), (196, "NE"), (224, "iCPD")],
        criteria=Criteria.IRECIST,
    )
    assert course.icpd.date == day(140)
    assert course.progression.date == day(140)
    assert course.iupd.value == "N"


def test_open_unconfirmed_progression_is_reported():
    course = sequence([(56, "iSD"), (112, "iUPD"), (168, "iUPD"), (224, "NE")], criteria=Criteria.IRECIST)
    assert (course.iupd.value, course.iupd.date) == ("Y", day(112))
    taken_back = sequence([(56, "iUPD"), (112, "iSD")], criteria=Criteria.IRECIST)
    assert taken_back.iupd.value == "N"


ANY = ["iCR", "iPR", "iSD", "iUPD", "NE"]
ENDS = ["iPR", "iSD", "iUPD", "NE", "iCPD"]
STABLE = ["iSD", "iUPD", "NE", "iCPD"]
# Seymour 2017, Table 3: alternatives at each of five time points, and iBOR.
EXAMPLES = {
    "1": ([["iCR"], ["iCR", "iPR", "iUPD", "NE"], ["iCR", "iPR", "iUPD", "NE"], ["iUPD"], ["iCPD"]], "iCR"),
    "2": ([["iUPD"], ["iPR", "iSD", "NE"], ["iCR"], ["iCR", "iUPD", "NE"], [*ANY, "iCPD"]], "iCR"),
    "3": ([["iUPD"], ["iPR"], ENDS[:-1], ENDS, ENDS], "iPR"),
    "4": ([["iUPD"], ["iSD", "NE"], ["iPR"], ENDS[:-1], ENDS], "iPR"),
    "5": ([["iUPD"], ["iSD"], STABLE[:-1], STABLE, STABLE], "iSD"),
    "6": ([["iUPD"], ["iCPD"], [*ANY, "iCPD"], [*ANY, "iCPD"], [*ANY, "iCPD"]], "iCPD"),
    "7": ([["iUPD"], ["iUPD"], ["iCPD"], [*ANY, "iCPD"], [*ANY, "iCPD"]], "iCPD"),
    "8": ([["iUPD"], ["NE"], ["NE"], ["NE"], ["NE"]], "iUPD"),
}


@pytest.mark.parametrize("number", EXAMPLES)
def test_published_examples_of_ibor(number):
    alternatives, expected = EXAMPLES[number]
    for words in itertools.product(*alternatives):
        entries = [(56 * i, word) for i, word in enumerate(words, start=1)]
        course = sequence(entries, criteria=Criteria.IRECIST)
        assert course.best_overall_response.value == expected, words


def test_confirmed_ibor_needs_the_response_again():
    entries = [(56, "iPR"), (112, "iUPD"), (168, "iPR"), (224, "iPR"), (280, "iUPD"), (336, "iCPD")]
    course = sequence(entries, criteria=Criteria.IRECIST)
    assert (course.confirmed_best_overall_response.value, course.confirmed_best_overall_response.date) == (
        "iPR",
        day(168),
    )
    once = sequence([(56, "iPR"), (112, "iUPD"), (168, "iCPD")], criteria=Criteria.IRECIST)
    assert once.confirmed_best_overall_response.value == "iSD"
    assert once.confirmed_response.value == "N"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([(20, "iSD"), (56, "iUPD")], "iUPD"),
        ([(20, "iSD"), (56, "iUPD"), (112, "iCPD")], "iCPD"),
        ([(20, "iSD")], "NE"),
        ([(42, "iSD")], "iSD"),
        ([(56, "NON-iCR/NON-iUPD")], "NON-iCR/NON-iUPD"),
        ([(56, "NE")], "NE"),
    ],
)
def test_ibor_without_a_response(order, expected):
    assert sequence(order, criteria=Criteria.IRECIST).best_overall_response.value == expected


def test_recist_words_are_understood_up_to_the_first_progression():
    course = sequence([(56, "PR"), (112, "PD"), (168, "iCPD")], criteria=Criteria.IRECIST)
    assert overalls(course) == ["iPR", "iUPD", "iCPD"]
    assert course.best_overall_response.value == "iPR"


def test_a_partial_response_stays_as_in_recist():
    course = follow([100, 70, 70, 80, 80, 80], criteria=Criteria.IRECIST)
    assert overalls(course) == ["iPR"] * 5


def levels(*visits):
    points = [
        TimePoint(
            id=f"V{i}",
            date=day(56 * i),
            is_baseline=False,
            target=Response(target) if target else None,
            non_target=Response(non_target) if non_target else None,
            new_lesion=NewLesion(new),
            **extra,
        )
        for i, (target, non_target, new, extra) in enumerate(visits, start=1)
    ]
    return overalls(assess(Timeline(time_points=tuple(points)), IRECIST))


@pytest.mark.parametrize(
    ("target", "non_target", "new", "expected"),
    [
        ("CR", "CR", "no", "iCR"),
        ("CR", "NON-CR/NON-PD", "no", "iPR"),
        ("PR", "NON-CR/NON-PD", "no", "iPR"),
        ("SD", "NON-CR/NON-PD", "no", "iSD"),
        ("SD", "PD", "no", "iUPD"),
        ("PR", "PD", "no", "iUPD"),
        ("CR", "PD", "no", "iUPD"),
        ("PD", "NON-CR/NON-PD", "no", "iUPD"),
        ("PD", "CR", "no", "iUPD"),
        ("PD", "PD", "no", "iUPD"),
        ("PD", "PD", "yes", "iUPD"),
        ("SD", "NON-CR/NON-PD", "yes", "iUPD"),
        (None, "NON-CR/NON-PD", "no", "NON-iCR/NON-iUPD"),
        (None, "CR", "no", "iCR"),
        (None, "PD", "no", "iUPD"),
    ],
)
def test_table_2_of_irecist_without_earlier_iupd(target, non_target, new, expected):
    assert levels((target, non_target, new, {})) == [expected]


PROGRESSED = {"target": ("PD", "NON-CR/NON-PD", "no", {}), "non_target": ("SD", "PD", "no", {}),
              "new": ("SD", "NON-CR/NON-PD", "yes", {}), "both": ("PD", "PD", "no", {})}  # fmt: skip


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ("non_target", ("SD", "PD", "no", {}), "iUPD"),
        ("non_target", ("SD", "PD", "no", {"non_target_increase": True}), "iCPD"),
        ("non_target", ("SD", "NON-CR/NON-PD", "no", {}), "iSD"),
        ("non_target", ("PD", "PD", "no", {}), "iCPD"),
        ("target", ("PD", "NON-CR/NON-PD", "no", {}), "iUPD"),
        ("target", ("PD", "PD", "no", {}), "iCPD"),
        ("target", ("PD", "NON-CR/NON-PD", "yes", {}), "iCPD"),
        ("target", ("iCPD", "NON-CR/NON-PD", "no", {}), "iCPD"),
        ("both", ("PD", "PD", "no", {}), "iUPD"),
        ("both", ("PD", "PD", "no", {"non_target_increase": True}), "iCPD"),
        ("new", ("SD", "NON-CR/NON-PD", "yes", {}), "iUPD"),
        ("new", ("SD", "NON-CR/NON-PD", "yes", {"new_lesion_increase": True}), "iCPD"),
        ("new", ("SD", "NON-CR/NON-PD", "yes", {"additional_new_lesion": True}), "iCPD"),
        ("new", ("SD", "PD", "yes", {}), "iCPD"),
        ("new", ("PR", "NON-CR/NON-PD", "yes", {}), "iPR"),
        ("new", ("CR", "CR", "no", {}), "iCR"),
    ],
)
def test_table_2_of_irecist_with_earlier_iupd(first, then, expected):
    assert levels(PROGRESSED[first], then) == ["iUPD", expected]


def test_after_a_reset_known_new_lesions_must_meet_recist_to_progress():
    grown = patient(100, [(56, 100, {"L1": 30}), (112, 60, {"L1": 30}), (168, 60, {"L1": 35.9})])
    assert overalls(grown) == ["iUPD", "iPR", "iPR"]
    enough = patient(100, [(56, 100, {"L1": 30}), (112, 60, {"L1": 30}), (168, 60, {"L1": 36})])
    assert overalls(enough) == ["iUPD", "iPR", "iUPD"]


def test_new_lesions_are_never_added_to_the_sum():
    course = patient(100, [(56, 100, {"L1": 40})])
    assert course.assessments[1].sum_um == 100_000


def test_at_most_two_new_targets_per_organ_are_summed():
    # The third largest of an organ is a new non-target: its growth by 1 mm confirms, as a sum it would not.
    lesions = tuple(Lesion(id=x, role=LesionRole.NEW, organ="lung") for x in "ABC")
    own = (Lesion(id="T1", organ="liver"), *lesions)

    def at(days, *sizes):
        seen = [_seen("T1", 100), *(_seen(name, size) for name, size in zip("ABC", sizes, strict=False))]
        return TimePoint(id=f"V{days}", date=day(days), observations=tuple(seen))

    points = (at(0), at(56, 30, 20, 12), at(112, 30, 20, 13))
    assert overalls(assess(Timeline(lesions=own, time_points=points), IRECIST)) == ["iUPD", "iCPD"]
    points = (at(0), at(56, 30, 20, 12), at(112, 33, 20, 12))
    assert overalls(assess(Timeline(lesions=own, time_points=points), IRECIST)) == ["iUPD", "iUPD"]


def test_the_reason_of_a_confirmation_names_what_grew():
    course = patient(100, [(56, 125, {}), (112, 130, {})])
    assert course.assessments[2].reason == (
        "iCPD: confirms the iUPD of 2024-02-26: "
        "sum of target lesions 130 mm, 5 mm more than 125 mm since iUPD"
    )


def symptomatic(visits, **more):
    """A target of 100 mm that stays, visits as (day, {new lesion: mm}, scan for a new symptom)."""
    own = (Lesion(id="T1", organ="liver"), *(Lesion(id=x, role=LesionRole.NEW) for x in ("L1", "L2")))
    points = [TimePoint(id="BL", date=day(0), observations=(_seen("T1", 100),))]
    for days, new, has_symptoms in visits:
        seen = (_seen("T1", 100), *(_seen(name, size) for name, size in new.items()))
        points.append(
            TimePoint(id=f"D{days}", date=day(days), observations=seen, has_new_symptoms=has_symptoms)
        )
    return assess(Timeline(lesions=own, time_points=tuple(points)), IRECIST)


@pytest.mark.parametrize(
    ("name", "new", "has_symptoms", "expected"),
    [
        ("a new symptom and a further new lesion", {"L1": 12, "L2": 8}, True, "iCPD"),
        ("a further new lesion without a symptom", {"L1": 12, "L2": 8}, False, "iUPD"),
        ("a new symptom and growth of the known lesion", {"L1": 30}, True, "iUPD"),
    ],
)
def test_early_scan_confirms_only_by_symptom_and_further_new_lesion(name, new, has_symptoms, expected):
    found = symptomatic([(56, {"L1": 12}, False), (70, new, has_symptoms)])
    assert overalls(found) == ["iUPD", expected], name


def test_progression_confirmed_early_is_dated_to_the_iupd_and_stays():
    found = symptomatic(
        [(56, {"L1": 12}, False), (70, {"L1": 12, "L2": 8}, True), (112, {"L1": 12, "L2": 8}, False)]
    )
    assert overalls(found) == ["iUPD", "iCPD", "iCPD"]
    assert found.icpd.date == day(56)
    assert "new symptom" in found.assessments[2].reason


@pytest.mark.parametrize(
    ("name", "visits", "words"),
    [
        ("a target seen again", [(35, 0, {}), (70, 4, {})], "seen again after a complete response"),
        ("a new lesion", [(35, 0, {}), (70, 0, {"L1": 12})], "new lesion L1"),
    ],
)
def test_iupd_after_icr_says_what_came_back(name, visits, words):
    found = patient(40, visits)
    assert overalls(found) == ["iCR", "iUPD"]
    assert words in found.assessments[-1].reason, name


def test_iupd_after_icr_names_the_non_target_lesion_that_came_back():
    lesions = (Lesion(id="T1"), Lesion(id="N1", role=LesionRole.NON_TARGET))
    states = (LesionState.PRESENT, LesionState.DISAPPEARED, LesionState.PRESENT)
    points = tuple(
        TimePoint(
            id=f"V{i}",
            date=day(56 * i),
            observations=(_seen("T1", size), Observation(lesion="N1", state=state)),
        )
        for i, (size, state) in enumerate(zip((40, 0, 0), states, strict=True))
    )
    found = assess(Timeline(lesions=lesions, time_points=points), IRECIST)
    assert overalls(found) == ["iCR", "iUPD"]
    assert "N1" in found.assessments[-1].reason
    assert "complete response" in found.assessments[-1].reason
