"""The life of a lesion: which changes need a reader, and what readers' decisions do to an assessment."""

import datetime

import pytest
from response_cases import day

from workflow.domain.lesion import LesionState
from workflow.domain.lesion_life import (
    TRANSITIONS,
    Decision,
    Override,
    Passage,
    apply_overrides,
    doubtful_transitions,
    in_force,
    transition,
)
from workflow.domain.report import LesionRole
from workflow.domain.response import (
    Lesion,
    NewLesion,
    Observation,
    Policies,
    Protocol,
    Timeline,
    TimePoint,
    assess,
)

S = LesionState


def decide(decision, lesion="A", number=1, **what):
    at = datetime.datetime(2024, 6, 1, 12, number, tzinfo=datetime.UTC)
    return Override(
        id=f"D{number}", decision=decision, lesion=lesion, by="reader", at=at, reason="seen on MR", **what
    )


def timeline(*visits, roles=None):
    """Each visit maps lesions to µm or a state; the first is the baseline."""
    names = sorted({name for visit in visits for name in visit})
    lesions = tuple(Lesion(id=x, role=(roles or {}).get(x, LesionRole.TARGET)) for x in names)
    points = tuple(
        TimePoint(
            id=f"V{number}",
            date=day(56 * number),
            observations=tuple(
                Observation(lesion=name, state=seen)
                if isinstance(seen, LesionState)
                else Observation(lesion=name, diameter_um=seen, state=S.PRESENT)
                for name, seen in visit.items()
            ),
        )
        for number, visit in enumerate(visits)
    )
    return Timeline(lesions=lesions, time_points=points)


def changed_time_points(before, after) -> tuple[str, ...]:
    """Ids of the time points whose assessment is not what it was."""
    is_comparable = before is not None and before.protocol == after.protocol
    known = {a.time_point: a for a in before.assessments} if is_comparable else {}
    return tuple(a.time_point for a in after.assessments if known.get(a.time_point) != a)


def test_the_table_of_transitions_holds_every_pair_and_a_reason_for_each_doubtful_one():
    assert len(TRANSITIONS) == len(S) ** 2
    assert all(row.reason for row in TRANSITIONS if row.passage is Passage.NEEDS_READER)


@pytest.mark.parametrize(
    ("before", "after", "passage"),
    [
        (S.PRESENT, S.DISAPPEARED, Passage.EXPECTED),
        (S.PRESENT, S.TRACKING_FAILED, Passage.EXPECTED),
        (S.DISAPPEARED, S.PRESENT, Passage.NEEDS_READER),
        (S.PRESENT, S.MERGED, Passage.NEEDS_READER),
        (S.MERGED, S.PRESENT, Passage.NEEDS_READER),
    ],
)
def test_some_changes_of_state_need_a_reader(before, after, passage):
    assert transition(before, after).passage is passage


def test_time_points_where_a_lesion_was_not_seen_are_looked_past():
    found = doubtful_transitions([S.PRESENT, S.DISAPPEARED, None, S.NOT_EVALUABLE, S.PRESENT])
    assert [index for index, _ in found] == [4]


def test_not_a_lesion_takes_it_out_of_every_sum():
    seen = timeline({"A": 30_000, "B": 20_000}, {"A": 60_000, "B": 20_000})
    decided = apply_overrides(seen, [decide(Decision.NOT_A_LESION)]).timeline
    assert [a.sum_um for a in assess(decided).assessments] == [20_000, 20_000]


def test_a_role_changes_everywhere():
    seen = timeline({"A": 30_000, "B": 20_000}, {"A": 60_000, "B": 20_000})
    decided = apply_overrides(seen, [decide(Decision.SET_ROLE, role=LesionRole.NON_TARGET)]).timeline
    assert assess(decided).assessments[1].sum_um == 20_000


def test_a_state_changes_at_one_time_point_only():
    seen = timeline({"A": 30_000}, {"A": 12_000}, {"A": 12_000})
    decided = apply_overrides(
        seen, [decide(Decision.SET_STATE, state=S.DISAPPEARED, time_point="V1")]
    ).timeline
    assert [a.sum_um for a in assess(decided).assessments] == [30_000, 0, 12_000]


def test_a_corrected_diameter_stands_for_the_measured_one():
    seen = timeline({"A": 30_000}, {"A": S.TRACKING_FAILED})
    decided = apply_overrides(
        seen, [decide(Decision.SET_DIAMETER, diameter_um=15_000, time_point="V1")]
    ).timeline
    assert assess(decided).assessments[1].overall == "PR"


def test_merged_lesions_count_once_from_then_on():
    seen = timeline({"A": 30_000, "B": 20_000}, {"A": 40_000, "B": 40_000}, {"A": 40_000, "B": 40_000})
    decided = apply_overrides(seen, [decide(Decision.MERGE, "B", other="A", time_point="V1")]).timeline
    assert [a.sum_um for a in assess(decided).assessments] == [50_000, 40_000, 40_000]


def test_parts_of_a_split_lesion_are_added_and_the_part_is_no_new_lesion():
    seen = timeline({"A": 30_000}, {"A": 12_000, "N": 8_000}, roles={"N": LesionRole.NEW})
    assert assess(seen).assessments[1].overall == "PD"
    decided = apply_overrides(seen, [decide(Decision.SPLIT, "A", other="N", time_point="V1")]).timeline
    last = assess(decided).assessments[1]
    assert (last.sum_um, last.overall) == (20_000, "PR")


def test_an_excluded_lesion_is_not_evaluable_from_then_on():
    seen = timeline({"A": 30_000, "B": 20_000}, {"A": 30_000, "B": 20_000}, {"A": 1_000, "B": 20_000})
    decided = apply_overrides(seen, [decide(Decision.EXCLUDE, time_point="V2")]).timeline
    assert [a.overall for a in assess(decided).assessments] == [None, "SD", "NE"]


def test_later_decisions_go_over_earlier_ones_and_can_be_withdrawn():
    first = decide(Decision.SET_ROLE, number=1, role=LesionRole.NON_TARGET)
    second = decide(Decision.NOT_A_LESION, number=2)
    withdrawal = decide(Decision.WITHDRAW, number=3, other="D2")
    again = decide(Decision.WITHDRAW, number=4, other="D3")
    assert in_force([withdrawal, second, first]) == (first,)
    assert in_force([again, withdrawal, second, first]) == (first, second)


def test_a_decision_waits_for_its_lesion_and_survives_a_run_without_it():
    decision = decide(Decision.NOT_A_LESION, "GONE")
    applied = apply_overrides(timeline({"A": 30_000}), [decision])
    assert applied.in_force == (decision,)
    assert "waits: lesion GONE is not in this run" in applied.notes[0]


def test_applying_decisions_twice_changes_nothing_more():
    seen = timeline({"A": 30_000, "B": 20_000}, {"A": 40_000, "B": 40_000})
    decisions = [decide(Decision.MERGE, "B", other="A", time_point="V1")]
    once = apply_overrides(seen, decisions).timeline
    assert assess(apply_overrides(once, decisions).timeline) == assess(once)


@pytest.mark.parametrize("decision", list(Decision))
def test_decisions_are_stored_and_read_back(decision):
    what = {"role": LesionRole.NEW, "state": S.SPLIT, "diameter_um": 1, "time_point": "V1", "other": "B"}
    override = decide(decision, **what)
    assert Override.from_dict(override.to_dict()) == override


def test_a_decision_without_what_it_needs_is_refused():
    with pytest.raises(ValueError, match="needs 'state'"):
        decide(Decision.SET_STATE, time_point="V1")
    with pytest.raises(ValueError, match="joins lesion A with itself"):
        decide(Decision.MERGE, "A", other="A", time_point="V1")
    with pytest.raises(ValueError, match="no 'reason'"):
        Override(
            id="D",
            decision=Decision.EXCLUDE,
            lesion="A",
            by="r",
            at=datetime.datetime.now(datetime.UTC),
            reason=" ",
        )


def test_a_late_time_point_gives_new_versions_of_it_and_what_follows():
    full = timeline({"A": 50_000}, {"A": 40_000}, {"A": 20_000}, {"A": 24_000})
    without = Timeline(
        lesions=full.lesions, time_points=(*full.time_points[:2], full.time_points[3]), name=full.name
    )
    assert changed_time_points(assess(without), assess(full)) == ("V2", "V3")
    assert changed_time_points(assess(full), assess(full)) == ()
    assert changed_time_points(None, assess(full)) == ("V0", "V1", "V2", "V3")


def test_another_protocol_makes_another_assessment_of_every_time_point():
    seen = timeline({"A": 50_000}, {"A": 40_000})
    other = Protocol(policies=Policies(confirmation_required=True))
    assert changed_time_points(assess(seen), assess(seen, other)) == ("V0", "V1")


def test_proof_of_an_equivocal_lesion_changes_the_earlier_time_point_too():
    def seen(*new):
        points = [TimePoint(id="V0", date=day(0), sum_um=50_000)]
        points += [
            TimePoint(id=f"V{i}", date=day(56 * i), sum_um=50_000, new_lesion=x)
            for i, x in enumerate(new, start=1)
        ]
        return assess(Timeline(time_points=tuple(points)))

    before = seen(NewLesion.EQUIVOCAL)
    assert changed_time_points(before, seen(NewLesion.EQUIVOCAL, NewLesion.YES)) == ("V1", "V2")
