"""Measurability at baseline and the choice of target lesions."""

import datetime

import pytest

from workflow.domain.report import LesionRole
from workflow.domain.response import Lesion, Policies
from workflow.domain.response.eligibility import Candidate, Kind, Method, baseline_warning, measurability
from workflow.domain.response.selection import check_choice, choose_targets
from workflow.domain.response.volume import volume_changes

MM = 1000
RULES = Policies()


def lesion(name, organ, mm, *, role=LesionRole.TARGET, **more):
    """A candidate of that long axis; in an organ named "node" the short axis."""
    is_nodal = organ == "node"
    size = {"short_axis_um" if is_nodal else "long_axis_um": round(mm * MM)}
    return Candidate(lesion=Lesion(id=name, role=role, organ=organ, is_nodal=is_nodal), **size, **more)


@pytest.mark.parametrize(
    ("name", "candidate", "is_measurable", "role"),
    [
        ("CT, just below 10 mm", lesion("A", "liver", 9.999), False, LesionRole.NON_TARGET),
        ("CT, 10 mm", lesion("A", "liver", 10), True, LesionRole.TARGET),
        ("5 mm slices", lesion("A", "liver", 10, slice_interval_um=5 * MM), True, LesionRole.TARGET),
        (
            "8 mm slices, below twice",
            lesion("A", "liver", 15.9, slice_interval_um=8 * MM),
            False,
            LesionRole.NON_TARGET,
        ),
        ("8 mm slices, twice", lesion("A", "liver", 16, slice_interval_um=8 * MM), True, LesionRole.TARGET),
        (
            "radiograph, below",
            lesion("A", "lung", 19.9, method=Method.RADIOGRAPH),
            False,
            LesionRole.NON_TARGET,
        ),
        ("radiograph, 20 mm", lesion("A", "lung", 20, method=Method.RADIOGRAPH), True, LesionRole.TARGET),
        ("caliper, 10 mm", lesion("A", "skin", 10, method=Method.CALIPER), True, LesionRole.TARGET),
        ("node, normal", lesion("A", "node", 9.999), False, None),
        ("node, pathological", lesion("A", "node", 10), False, LesionRole.NON_TARGET),
        ("node, just below a target", lesion("A", "node", 14.999), False, LesionRole.NON_TARGET),
        ("node, target", lesion("A", "node", 15), True, LesionRole.TARGET),
        ("node on thick slices", lesion("A", "node", 15, slice_interval_um=8 * MM), True, LesionRole.TARGET),
        ("blastic bone", lesion("A", "bone", 40, kind=Kind.BLASTIC_BONE), False, LesionRole.NON_TARGET),
        (
            "bone with soft tissue",
            lesion("A", "bone", 40, kind=Kind.BONE_WITH_SOFT_TISSUE),
            True,
            LesionRole.TARGET,
        ),
        ("ascites", lesion("A", "peritoneum", 90, kind=Kind.EFFUSION), False, LesionRole.NON_TARGET),
        ("irradiated", lesion("A", "liver", 30, was_treated_locally=True), False, LesionRole.NON_TARGET),
        (
            "irradiated and grown",
            lesion("A", "liver", 30, was_treated_locally=True, has_progressed_since=True),
            True,
            LesionRole.TARGET,
        ),
        ("not measured", Candidate(lesion=Lesion(id="A")), False, LesionRole.NON_TARGET),
    ],
)
def test_measurability(name, candidate, is_measurable, role):
    judged = measurability(candidate, RULES)
    assert (judged.is_measurable, judged.role) == (is_measurable, role), name
    assert judged.reason


def test_the_double_slice_rule_holds_for_nodes_by_policy_only():
    node = lesion("A", "node", 15, slice_interval_um=8 * MM)
    assert not measurability(node, Policies(node_double_slice_rule=True)).is_measurable


def test_two_per_organ_and_five_in_all_with_every_organ_represented():
    candidates = [
        lesion("L1", "liver", 80),
        lesion("L2", "liver", 70),
        lesion("L3", "liver", 60),
        lesion("P1", "left lung", 20),
        lesion("P2", "right lung", 18),
        lesion("P3", "lung", 16),
        lesion("N1", "node", 17),
        lesion("N2", "node", 22),
        lesion("B1", "brain", 12),
    ]
    selection = choose_targets(candidates)
    assert set(selection.targets) == {"L1", "P1", "N2", "B1", "L2"}
    reasons = {choice.lesion: choice.reason for choice in selection.choices}
    assert reasons["L3"] == "non-target: measurable (60 mm), but liver already has 2 targets"
    assert reasons["P2"] == "non-target: measurable (18 mm), but there are already 5 targets"


def test_both_lungs_are_one_organ():
    candidates = [
        lesion(f"P{i}", side, 20 + i) for i, side in enumerate(["left lung", "right lung", "lung", "Lung"])
    ]
    assert choose_targets(candidates).targets == ("P2", "P3")


def test_reproducible_and_solid_lesions_go_before_larger_ones():
    candidates = [
        lesion("A", "liver", 90, is_reproducible=False),
        lesion("B", "liver", 50, kind=Kind.CYSTIC),
        lesion("C", "liver", 20),
    ]
    assert set(choose_targets(candidates).targets) == {"B", "C"}


def test_a_normal_node_is_not_recorded_and_nothing_measurable_is_said():
    selection = choose_targets([lesion("N", "node", 9)])
    assert selection.choices[0].role is None
    assert selection.warnings == ("no lesion is measurable: non-target disease only",)


def test_the_choice_does_not_depend_on_the_order():
    candidates = [
        lesion(f"L{i}", organ, 20) for i, organ in enumerate(["liver", "lung", "brain", "node"] * 2)
    ]
    assert set(choose_targets(candidates).targets) == set(choose_targets(candidates[::-1]).targets)


def taken(name, organ):
    return Lesion(id=name, organ=organ, is_nodal=organ == "node")


def test_targets_of_another_study_of_the_visit_count_in_the_five_and_in_the_two():
    chest = [taken("C1", "right lung"), taken("C2", "left lung"), taken("C3", "node")]
    abdomen = [
        lesion("P", "lung", 90),
        lesion("N", "node", 40),
        lesion("L1", "liver", 30),
        lesion("L2", "liver", 20),
        lesion("K", "kidney", 12),
    ]
    selection = choose_targets(abdomen, already=chest)
    assert set(selection.targets) == {"L1", "K"}
    reasons = {choice.lesion: choice.reason for choice in selection.choices}
    assert reasons["P"] == "non-target: measurable (90 mm), but lung already has 2 targets"
    assert reasons["N"] == "non-target: measurable (40 mm), but there are already 5 targets"


def test_an_organ_without_a_target_goes_before_a_larger_second_one_of_another_studys_organ():
    candidates = [lesion("L", "liver", 90), lesion("K", "kidney", 11)]
    already = [taken("A", "liver"), taken("B", "lung"), taken("C", "brain"), taken("D", "node")]
    assert choose_targets(candidates, already=already).targets == ("K",)


@pytest.mark.parametrize("number", [5, 6])
def test_with_five_targets_already_nothing_is_chosen(number):
    already = [taken(f"A{i}", f"organ {i}") for i in range(number)]
    selection = choose_targets([lesion("L", "liver", 90)], already=already)
    assert selection.targets == ()
    assert selection.warnings == ()


def test_targets_chosen_in_two_steps_break_no_limit_whatever_the_split():
    candidates = [
        lesion(f"{organ}{i}", organ, 20 + 3 * i)
        for organ in ("liver", "lung", "node", "bone", "brain")
        for i in range(3)
    ]
    for cut in range(len(candidates) + 1):
        first = choose_targets(candidates[:cut])
        already = [c.lesion for c in candidates[:cut] if c.lesion.id in first.targets]
        second = choose_targets(candidates[cut:], already=already)
        both = [c for c in candidates if c.lesion.id in (*first.targets, *second.targets)]
        assert len(both) == 5
        assert check_choice(both) == ()


def test_a_candidate_that_is_a_target_already_is_a_mistake():
    with pytest.raises(ValueError, match="L: a candidate, and a target already"):
        choose_targets([lesion("L", "liver", 90)], already=[taken("L", "liver")])


def test_a_readers_choice_is_checked_against_the_rules():
    candidates = [
        *(lesion(f"L{i}", "liver", 30) for i in range(3)),
        lesion("P1", "lung", 9),
        lesion("P2", "lung", 30),
        lesion("N1", "node", 12),
        lesion("N2", "node", 8, role=LesionRole.NON_TARGET),
    ]
    assert check_choice(candidates) == (
        ("too_many_targets", "6 target lesions: RECIST takes at most 5"),
        ("too_many_targets_in_organ", "3 target lesions in liver: RECIST takes at most 2 per organ"),
        ("target_not_measurable", "P1 is a target but 9 mm is below 10 mm (CT, slices up to 5 mm)"),
        ("target_not_measurable", "N1 is a target but short axis 12 mm: pathological, but below 15 mm"),
        ("normal_node", "N2 is non-target but short axis 8 mm: a normal node, not recorded"),
    )


def test_measurable_disease_without_a_target_is_noticed():
    found = check_choice([lesion("A", "liver", 30, role=LesionRole.NON_TARGET)])
    assert found == (("no_target", "no target lesion is chosen although there is measurable disease"),)


@pytest.mark.parametrize(("days_before", "is_fine"), [(0, True), (28, True), (29, False), (-1, False)])
def test_the_baseline_is_at_most_four_weeks_before_treatment(days_before, is_fine):
    start = datetime.date(2024, 3, 1)
    warning = baseline_warning(start - datetime.timedelta(days=days_before), start)
    assert (warning is None) == is_fine


def test_volumes_are_compared_with_baseline_and_smallest_and_missing_ones_are_not_guessed():
    changes = volume_changes([[10.0, 10.0], [5.0, 5.0], [5.0, None], [12.0, 8.0]])
    assert [c.from_baseline_percent if c else None for c in changes] == [0.0, -50.0, None, 0.0]
    assert changes[3].from_nadir_percent == 100.0
    assert "supplementary" in changes[1].note
