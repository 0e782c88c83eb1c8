"""PCWG3: the 2+2 rule on bone scans, and bone with soft tissue."""

import pytest
from response_cases import MM, day, overalls, visits_of

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import Criteria, Lesion, Observation, Response
from workflow.domain.response.pcwg3 import combined


def scans(*counts, interval=56, **more):
    """Bone scans with these numbers of new lesions after baseline (None: no scan), beside a stable target."""
    target = [Observation(lesion="A", diameter_um=40 * MM)]
    levels = {f"V{i}": {"new_bone_lesions": n} for i, n in enumerate(counts, start=1)}
    return visits_of(
        Criteria.PCWG3, [Lesion(id="A", organ="liver")], *[target] * (len(counts) + 1), interval=interval,
        **{**levels, **more},
    )  # fmt: skip


def bone(found):
    return [dict(a.components)["bone"].value for a in found.assessments[1:]]


N = "NON-CR/NON-PD"


@pytest.mark.parametrize(
    ("name", "counts", "expected"),
    [
        ("one new lesion", [1], [N]),
        ("two on the first scan wait", [2], ["PDu"]),
        ("2+2", [2, 4], ["PD", "PD"]),
        ("2+1 is a flare", [2, 3], [N, N]),
        ("the first scan is the reference after a flare: 3 is one more", [2, 2, 3], [N, N, N]),
        ("two more than the reference wait", [2, 2, 4], [N, N, "PDu"]),
        ("and need only persist", [2, 2, 4, 4], [N, N, "PD", "PD"]),
        ("one of them gone is no confirmation", [2, 2, 4, 3], [N, N, N, N]),
        ("two on the second scan need only persist", [0, 2, 2], [N, "PD", "PD"]),
        ("a missed scan is passed over", [2, None, 4], ["PD", "PD", "PD"]),
        ("a missed scan is not evaluable", [1, None], [N, "NE"]),
    ],
)
def test_two_plus_two(name, counts, expected):
    assert bone(scans(*counts)) == expected, name


def test_progression_is_of_the_day_of_the_first_scan():
    found = scans(2, 4)
    assert (found.progression.date, overalls(found)) == (day(56), ["PD", "PD"])


@pytest.mark.parametrize(("interval", "expected"), [(41, ["PDu", N]), (42, ["PD", "PD"])])
def test_confirming_scan_is_six_weeks_later(interval, expected):
    # 41 days on, the second scan confirms nothing; against the first one it has two more, which wait in turn.
    found = bone(scans(2, 4, interval=interval))
    assert found == (["PDu", "PDu"] if interval == 41 else expected)


@pytest.mark.parametrize(("interval", "expected"), [(84, "PDu"), (85, "PD")])
def test_flare_is_of_the_first_twelve_weeks(interval, expected):
    # A first scan after them is compared with baseline and need only be seen again.
    assert bone(scans(2, 2, interval=interval))[0] == (N if expected == "PDu" else expected)


def test_lesions_that_change_places_are_not_the_same_ones():
    """Two new ones on the first scan that have gone, and two others: these are the two more of the rule."""
    names = "ABCD"
    lesions = [Lesion(id=x, role=LesionRole.NEW, organ="bone") for x in names]

    def at(*present):
        return [
            Observation(lesion=x, state=LesionState.PRESENT if x in present else LesionState.DISAPPEARED)
            for x in names
        ]

    found = visits_of(Criteria.PCWG3, lesions, [], at("A", "B"), at("C", "D"))
    assert bone(found) == ["PD", "PD"]
    found = visits_of(Criteria.PCWG3, lesions, [], at("A", "B"), at("A", "B"))
    assert bone(found) == [N, N]


def test_bone_lesion_is_no_new_lesion_of_recist():
    lesions = [Lesion(id="A", organ="liver"), Lesion(id="X", role=LesionRole.NEW, organ="rib")]
    target = Observation(lesion="A", diameter_um=40 * MM)
    seen = Observation(lesion="X", state=LesionState.PRESENT)
    assert overalls(visits_of(Criteria.PCWG3, lesions, [target], [target, seen])) == ["SD"]


def test_soft_tissue_progresses_by_recist():
    found = visits_of(
        Criteria.PCWG3,
        [Lesion(id="A", organ="liver")],
        [Observation(lesion="A", diameter_um=40 * MM)],
        [Observation(lesion="A", diameter_um=50 * MM)],
        V1={"new_bone_lesions": 0},
    )
    assert overalls(found) == ["PD"]


def test_without_a_bone_scan_it_is_recist():
    found = scans(None, None)
    assert overalls(found) == ["SD", "SD"]
    assert any("bone scans" in text for text in found.warnings)


def test_bone_response_can_be_given():
    found = scans(None, V1={"bone": Response.PD})
    assert overalls(found) == ["PD"]


@pytest.mark.parametrize(
    ("soft", "bone", "has_target", "expected"),
    [
        ("PD", "NED", True, "PD"),
        ("PR", "PD", True, "PD"),
        ("NE", N, True, "NE"),
        ("NED", N, True, N),
        ("NED", "PDu", True, "PDu"),
        ("NED", "NED", True, "NED"),
        ("NED", "NE", True, "NE"),
        ("SD", "PDu", True, "SD"),
        (N, "NE", False, N),
        ("PR", "NE", True, "PR"),
        ("CR", N, True, "PR"),
        ("CR", "PDu", True, "PR"),
        ("CR", "NE", False, N),
        ("CR", "NED", True, "CR"),
    ],
)
def test_soft_tissue_and_bone_together(soft, bone, has_target, expected):
    assert combined(Response(soft), Response(bone), has_target=has_target) == expected


def test_complete_response_needs_every_bone_lesion_gone():
    lesions = [Lesion(id="A", organ="liver"), Lesion(id="B", role=LesionRole.NON_TARGET, organ="bone")]

    def at(size, state):
        return [Observation(lesion="A", diameter_um=size), Observation(lesion="B", state=state)]

    def word(state):
        baseline = at(40 * MM, LesionState.PRESENT)
        return overalls(visits_of(Criteria.PCWG3, lesions, baseline, at(0, state)))

    assert word(LesionState.PRESENT) == ["PR"]
    assert word(LesionState.DISAPPEARED) == ["CR"]


BONE = Lesion(id="B", role=LesionRole.NON_TARGET, organ="rib")


def bone_of(lesions, *visits):
    found = visits_of(Criteria.PCWG3, lesions, *visits)
    return [dict(a.components).get("bone") for a in found.assessments[1:]]


def seen(name="B", **more):
    return Observation(lesion=name, **more)


@pytest.mark.parametrize(
    ("name", "now", "expected"),
    [
        ("still there", [seen(state=LesionState.PRESENT)], N),
        ("mentioned and no more said", [seen()], "NE"),
        ("gone", [seen(state=LesionState.DISAPPEARED)], "NED"),
        ("not evaluable", [seen(state=LesionState.NOT_EVALUABLE)], "NE"),
        ("not mentioned", [], "NE"),
    ],
)
def test_bone_lesions_without_new_ones(name, now, expected):
    baseline = [seen(state=LesionState.PRESENT)]
    # A second follow-up with the lesion there: the patient has bone scans.
    assert bone_of([BONE], baseline, now, baseline)[0] == expected, name


def test_new_bone_lesion_is_there_when_it_is_mentioned_without_a_state():
    lesions = [Lesion(id=x, role=LesionRole.NEW, organ="bone") for x in "XY"]
    assert bone_of(lesions, [], [seen("X"), seen("Y")]) == ["PDu"]


def test_target_in_bone_is_soft_tissue_that_is_measured():
    target = Lesion(id="T", organ="rib")
    sizes = [[Observation(lesion="T", diameter_um=size * MM)] for size in (40, 20)]
    found = visits_of(Criteria.PCWG3, [target], *sizes)
    assert (overalls(found), bone_of([target], *sizes)) == (["PR"], [None])


def test_soft_tissue_lesion_that_merged_with_one_of_bone_has_no_size_of_its_own():
    lesions = [Lesion(id="A", organ="liver"), BONE]
    baseline = [Observation(lesion="A", diameter_um=40 * MM), seen(state=LesionState.PRESENT)]
    merged = Observation(lesion="A", state=LesionState.MERGED, merged_into="B")
    found = visits_of(Criteria.PCWG3, lesions, baseline, [merged, seen(state=LesionState.PRESENT)])
    assert overalls(found) == ["NE"]


def test_progression_in_bone_is_final():
    assert bone(scans(2, 4, 0)) == ["PD", "PD", "PD"]
    assert bone(scans(2, 4, None)) == ["PD", "PD", "PD"]
