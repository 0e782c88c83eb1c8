"""The life of a lesion: which changes need a reader, and what readers' decisions do to an assessment."""

import datetime
import json

import pytest
from response_cases import day

from workflow.domain.lesion import LesionState
from workflow.domain.lesion_life import (
    TRANSITIONS,
    Decision,
    Override,
    Passage,
    apply_overrides,
    confirmation_of,
    doubtful_transitions,
    in_force,
    last_of,
    refusal,
    transition,
)
from workflow.domain.report import LesionRole
from workflow.domain.response import (
    Intervention,
    InterventionEffect,
    InterventionKind,
    Lesion,
    NewLesion,
    Observation,
    Policies,
    Protocol,
    Response,
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


def _confirm(number=1, um=30_000, **what):
    at = datetime.datetime(2024, 6, 1, 12, number, tzinfo=datetime.UTC)
    return Override(
        id=f"D{number}",
        decision=Decision.CONFIRM,
        lesion="A",
        by="reader",
        at=at,
        reason="",
        time_point="V1",
        state=S.PRESENT,
        diameter_um=um,
        **what,
    )


def test_a_confirmation_needs_no_reason_and_changes_nothing():
    seen = timeline({"A": 30_000}, {"A": 30_000})
    confirmed = apply_overrides(seen, [_confirm()])
    assert (confirmed.timeline, confirmed.notes) == (seen, ())
    with pytest.raises(ValueError, match="no 'reason'"):
        Override(**{**vars(_confirm()), "decision": Decision.SET_STATE})
    assert Override.from_dict(json.loads(json.dumps(_confirm().to_dict()))) == _confirm()


@pytest.mark.parametrize(
    ("state", "um", "holds"),
    [(S.PRESENT, 30_000, True), (S.PRESENT, 30_001, False), (S.MERGED, 30_000, False)],
)
def test_a_confirmation_holds_for_the_state_and_size_that_were_seen(state, um, holds):
    found = confirmation_of([_confirm()], lesion="A", time_point="V1", state=state, diameter_um=um)
    assert (found is not None) is holds
    assert confirmation_of([_confirm()], lesion="A", time_point="V2", state=state, diameter_um=um) is None


def test_undo_takes_back_what_a_reader_did_last_in_one_go_at_a_time_point():
    first = decide(Decision.SET_ROLE, number=1, role=LesionRole.NON_TARGET)
    at_once = [decide(Decision.NOT_A_LESION, lesion=name, number=2) for name in "AB"]
    elsewhere = decide(Decision.NOT_EVALUABLE, number=3, time_point="V2")
    made = [first, *at_once, elsewhere]
    assert last_of(made, by="reader", time_point="V1") == tuple(at_once)
    assert last_of(made, by="reader", time_point="V2") == (elsewhere,)
    assert last_of(made, by="another", time_point="V1") == ()


def test_only_what_holds_can_be_withdrawn():
    made, withdrawal = decide(Decision.NOT_A_LESION), decide(Decision.WITHDRAW, number=2, other="D1")
    assert refusal(withdrawal, [made]) == ""
    assert "there is no decision D9" in refusal(decide(Decision.WITHDRAW, number=3, other="D9"), [made])
    assert "already" in refusal(decide(Decision.WITHDRAW, number=3, other="D1"), [made, withdrawal])


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
    what = {
        "role": LesionRole.NEW,
        "state": S.SPLIT,
        "diameter_um": 1,
        "time_point": "V1",
        "other": "B",
        "finding": NewLesion.EQUIVOCAL,
        "intervention": Intervention(kind=InterventionKind.BIOPSY, date=datetime.date(2024, 2, 1)),
        "overall": Response.PR,
    }
    override = decide(decision, None if decision is Decision.SET_OVERALL else "A", **what)
    stored = json.loads(json.dumps(override.to_dict()))
    assert Override.from_dict(stored) == override


def test_a_decision_stored_before_there_were_others_is_read():
    stored = {
        "id": "D1",
        "decision": "set state",
        "lesion": "A",
        "by": "reader",
        "at": "2024-06-01T12:00:00+00:00",
        "reason": "seen on MR",
        "time_point": "V1",
        "state": "disappeared",
    }
    assert Override.from_dict(stored).state is S.DISAPPEARED


def test_progression_of_a_non_target_lesion_is_a_readers_word_at_one_time_point():
    seen = timeline(
        {"A": 30_000, "X": 12_000},
        {"A": 30_000, "X": 14_000},
        {"A": 30_000, "X": 14_000},
        roles={"X": LesionRole.NON_TARGET},
    )
    decision = decide(Decision.UNEQUIVOCAL_PROGRESSION, "X", time_point="V1")
    course = assess(apply_overrides(seen, [decision]).timeline)
    assert [a.overall for a in course.assessments] == [None, "PD", "SD"]
    assert course.assessments[1].reason == "PD: unequivocal progression of X"


def test_progression_of_non_target_disease_as_a_whole_names_no_lesion():
    seen = timeline(
        {"A": 30_000, "X": 12_000}, {"A": 20_000, "X": 12_000}, roles={"X": LesionRole.NON_TARGET}
    )
    decision = decide(Decision.UNEQUIVOCAL_PROGRESSION, None, time_point="V1")
    last = assess(apply_overrides(seen, [decision]).timeline).assessments[1]
    assert (last.non_target, last.overall) == ("PD", "PD")
    assert last.warnings == ()


@pytest.mark.parametrize(
    ("finding", "expected"),
    [(NewLesion.YES, "PD"), (NewLesion.EQUIVOCAL, "SD")],
    ids=["definite", "equivocal"],
)
@pytest.mark.parametrize("lesion", ["N", None], ids=["outlined", "not outlined"])
def test_a_reader_says_whether_a_new_lesion_is_definite(lesion, finding, expected):
    seen = timeline({"A": 30_000}, {"A": 30_000, "N": 8_000}, roles={"N": LesionRole.NEW})
    if lesion is None:
        seen = timeline({"A": 30_000}, {"A": 30_000})
    decision = decide(Decision.NEW_LESION, lesion, time_point="V1", finding=finding)
    last = assess(apply_overrides(seen, [decision]).timeline).assessments[1]
    assert (last.new_lesion, last.overall) == (finding, expected)


def test_what_a_reader_calls_a_new_lesion_is_one_whatever_role_it_had():
    seen = timeline({"A": 30_000}, {"A": 30_000, "N": 8_000}, roles={"N": LesionRole.NON_TARGET})
    decision = decide(Decision.NEW_LESION, "N", time_point="V1", finding=NewLesion.YES)
    assert assess(apply_overrides(seen, [decision]).timeline).assessments[1].overall == "PD"


def test_a_definite_decision_ends_a_doubt_and_dates_the_progression_back():
    doubt = decide(Decision.NEW_LESION, "N", 1, time_point="V1", finding=NewLesion.EQUIVOCAL)
    proof = decide(Decision.NEW_LESION, "N", 2, time_point="V2", finding=NewLesion.YES)
    visits = [{"A": 30_000}, *[{"A": 30_000, "N": 8_000}] * 3]
    seen = timeline(*visits, roles={"N": LesionRole.NEW})
    still = assess(apply_overrides(seen, [doubt]).timeline)
    assert [a.overall for a in still.assessments[1:]] == ["SD", "SD", "SD"]
    assert still.assessments[2].warnings == (
        "equivocal_new_lesion: equivocal new lesion N still waits for a decision",
    )
    decided = assess(apply_overrides(seen, [doubt, proof]).timeline)
    assert [a.overall for a in decided.assessments[1:]] == ["PD", "PD", "PD"]


def intervention(kind, number=1, time_point="V1", **more):
    done = Intervention(kind=kind, **more)
    return decide(Decision.INTERVENTION, "B", number, time_point=time_point, intervention=done)


@pytest.mark.parametrize(
    ("kind", "effect", "expected"),
    [
        (InterventionKind.RADIOTHERAPY, None, ["SD", "NE", "NE"]),
        (InterventionKind.SURGERY, None, ["SD", "NE", "NE"]),
        (InterventionKind.RADIOTHERAPY, InterventionEffect.NOT_EVALUABLE, ["SD", "NE", "PR"]),
        (InterventionKind.RADIOTHERAPY, InterventionEffect.NONE, ["SD", "PR", "PR"]),
        (InterventionKind.BIOPSY, None, ["SD", "PR", "PR"]),
    ],
)
def test_a_treated_lesion_gives_no_response_unless_a_reader_says_so(kind, effect, expected):
    seen = timeline(*({"A": 20_000, "B": b} for b in (30_000, 29_000, 5_000, 5_000)))
    decision = intervention(kind, time_point="V2", effect=effect, date=datetime.date(2024, 4, 1))
    course = assess(apply_overrides(seen, [decision]).timeline)
    assert [a.overall for a in course.assessments[1:]] == expected
    assert f"intervention: B: {kind} on 2024-04-01" in course.assessments[2].warnings[0]


def test_a_resected_lesion_of_0_mm_is_no_complete_response():
    seen = timeline({"B": 30_000}, {"B": 0})
    decided = apply_overrides(seen, [intervention(InterventionKind.SURGERY)]).timeline
    last = assess(decided).assessments[1]
    assert (last.overall, last.reason) == ("NE", "NE: nothing was assessed (B: surgery)")


def test_treatment_before_the_baseline_leaves_the_lesion_evaluable():
    seen = timeline(*[{"A": 30_000, "B": 30_000}] * 2)
    before = intervention(InterventionKind.RADIOTHERAPY, 1, "V0")
    biopsy = intervention(InterventionKind.BIOPSY, 2)
    assert assess(apply_overrides(seen, [before, biopsy]).timeline).assessments[1].overall == "SD"


def test_unequivocal_progression_of_a_treated_lesion_stands():
    seen = timeline(*[{"A": 30_000, "B": 12_000}] * 2, roles={"B": LesionRole.NON_TARGET})
    verdict = decide(Decision.UNEQUIVOCAL_PROGRESSION, "B", 2, time_point="V1")
    decided = apply_overrides(seen, [intervention(InterventionKind.RADIOTHERAPY), verdict]).timeline
    assert assess(decided).assessments[1].overall == "PD"


def test_the_reason_why_a_lesion_is_not_evaluable_is_told():
    seen = timeline({"A": 30_000}, {"A": 12_000}, {"A": 12_000})
    decided = apply_overrides(seen, [decide(Decision.NOT_EVALUABLE, time_point="V1")]).timeline
    course = assess(decided)
    assert [a.overall for a in course.assessments[1:]] == ["NE", "PR"]
    assert course.assessments[1].reason == "NE: nothing was assessed (A: seen on MR)"
    assert course.assessments[1].target_reason == "A is not evaluable (seen on MR)"


def test_an_overall_response_that_a_reader_sets_stands_beside_the_computed_one():
    seen = timeline({"A": 30_000}, {"A": 30_000}, {"A": 30_000})
    decision = decide(Decision.SET_OVERALL, None, time_point="V1", overall=Response.PD)
    course = assess(apply_overrides(seen, [decision]).timeline)
    changed, untouched = course.assessments[1:]
    assert (changed.overall, changed.computed_overall) == ("PD", "SD")
    assert changed.warnings == ("overall_against_computed: PD is given, but the levels below give SD",)
    assert (untouched.overall, untouched.computed_overall) == ("SD", None)
    assert course.best_overall_response.value == "PD"


def test_an_overall_response_that_agrees_is_no_discrepancy():
    seen = timeline({"A": 30_000}, {"A": 30_000})
    decision = decide(Decision.SET_OVERALL, None, time_point="V1", overall=Response.SD)
    last = assess(apply_overrides(seen, [decision]).timeline).assessments[1]
    assert (last.computed_overall, last.warnings) == ("SD", ())


@pytest.mark.parametrize(
    "decision",
    [
        decide(Decision.SET_OVERALL, None, time_point="V0", overall=Response.PD),
        decide(Decision.NEW_LESION, None, time_point="V0", finding=NewLesion.YES),
        decide(Decision.UNEQUIVOCAL_PROGRESSION, None, time_point="V0"),
    ],
)
def test_a_baseline_has_no_response_to_decide_about(decision):
    seen = timeline({"A": 30_000}, {"A": 30_000})
    applied = apply_overrides(seen, [decision])
    assert applied.timeline == seen
    assert "V0 is the baseline" in applied.notes[0]


def test_a_merge_that_leads_back_is_refused_directly_and_in_a_ring():
    seen = timeline(*[{"A": 30_000, "B": 20_000, "C": 10_000}] * 3)
    first = decide(Decision.MERGE, "A", 1, other="B", time_point="V1")
    second = decide(Decision.MERGE, "B", 2, other="C", time_point="V2")
    back = decide(Decision.MERGE, "B", 3, other="A", time_point="V2")
    ring = decide(Decision.MERGE, "C", 4, other="A", time_point="V2")
    assert refusal(back, [first]) == "lesions would merge in a ring: B into A into B"
    assert refusal(ring, [first, second]) == "lesions would merge in a ring: C into A into B into C"
    assert refusal(second, [first]) == ""
    applied = apply_overrides(seen, [first, second, ring])
    assert [a.sum_um for a in assess(applied.timeline).assessments] == [60_000, 30_000, 10_000]
    assert "ring" in applied.notes[0]


def test_a_withdrawn_merge_stands_in_no_ones_way():
    first = decide(Decision.MERGE, "A", 1, other="B", time_point="V1")
    taken_back = decide(Decision.WITHDRAW, None, 2, other="D1")
    back = decide(Decision.MERGE, "B", 3, other="A", time_point="V1")
    assert refusal(back, [first, taken_back]) == ""


def test_lesions_merged_into_one_that_is_not_measured_are_not_evaluable():
    seen = timeline({"A": 30_000, "B": 20_000}, {"A": S.TRACKING_FAILED, "B": 20_000})
    decided = apply_overrides(seen, [decide(Decision.MERGE, "B", other="A", time_point="V1")]).timeline
    assert assess(decided).assessments[1].overall == "NE"


def test_lesions_can_be_called_by_their_labels():
    seen = timeline({"A": 30_000, "B": 20_000}, {"A": 40_000, "B": 40_000})
    merged = apply_overrides(seen, [decide(Decision.MERGE, "B", other="A", time_point="V1")]).timeline
    named = merged.renamed({"A": "T01", "B": "T02"})
    assert [a.sum_um for a in assess(named).assessments] == [50_000, 40_000]
    assert named.time_points[1].observation_of("T02").merged_into == "T01"


def test_a_decision_without_what_it_needs_is_refused():
    with pytest.raises(ValueError, match="needs 'state'"):
        decide(Decision.SET_STATE, time_point="V1")
    with pytest.raises(ValueError, match="joins lesion A with itself"):
        decide(Decision.MERGE, "A", other="A", time_point="V1")
    with pytest.raises(ValueError, match="needs 'lesion'"):
        decide(Decision.EXCLUDE, None)
    with pytest.raises(ValueError, match="of no single lesion"):
        decide(Decision.SET_OVERALL, "A", time_point="V1", overall=Response.PD)
    with pytest.raises(ValueError, match="not 'no'"):
        decide(Decision.NEW_LESION, "A", time_point="V1", finding=NewLesion.NO)
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
