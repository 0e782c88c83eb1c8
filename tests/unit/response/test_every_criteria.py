"""What holds of all criteria alike: baselines, blank visits, given levels, what was not evaluable."""

import pytest
from response_cases import MM, both_axes, day, overalls, visits_of

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import ClinicalStatus, Criteria, Lesion, NewLesion, Observation, Response

EVERY = list(Criteria)
A, OTHER = Lesion(id="A", organ="liver"), Lesion(id="O", role=LesionRole.NON_TARGET, organ="lung")
PD_WORD = {Criteria.IRECIST: "iUPD", Criteria.PERCIST: "PMD"}
# A score or a blood sample stands apart from lesions; these judge non-target lesions as RECIST does.
BY_LESIONS = [c for c in EVERY if c is not Criteria.PERCIST]


def measured(size=40, name="A"):
    """A lesion with everything that any criteria ask of it."""
    return both_axes(
        name, size, size, viable_um=size * MM, sul_peak_milli=200 * size, attenuation_milli_hu=80_000
    )


def seen(state, **more):
    return Observation(lesion="O", state=state, **more)


@pytest.mark.parametrize("criteria", EVERY)
def test_baseline_gets_no_response_but_what_was_measured(criteria):
    first = visits_of(criteria, [A], [measured()], [measured()]).assessments[0]
    assert (first.is_baseline, first.overall, first.date) == (True, None, day(0))
    assert first.reason.startswith("baseline: ")
    assert any(value in first.reason for value in ("40", "1600", "SULpeak 8"))


@pytest.mark.parametrize("criteria", EVERY)
def test_blank_visit_is_not_evaluable(criteria):
    assert overalls(visits_of(criteria, [A], [measured()], [])) == ["NE"]
    assert overalls(visits_of(criteria, [OTHER], [seen(LesionState.PRESENT)], [])) == ["NE"]


@pytest.mark.parametrize("criteria", EVERY)
def test_target_that_is_not_evaluable_is_no_response(criteria):
    unseen = Observation(lesion="A", state=LesionState.NOT_EVALUABLE)
    assert overalls(visits_of(criteria, [A], [measured()], [unseen])) == ["NE"]


@pytest.mark.parametrize("criteria", EVERY)
def test_without_a_baseline_measurement_there_is_nothing_to_compare_with(criteria):
    bare = Observation(lesion="A", state=LesionState.PRESENT)
    assert overalls(visits_of(criteria, [A], [bare], [measured()])) == ["NE"]


@pytest.mark.parametrize("criteria", EVERY)
def test_unchanged_disease_is_stable(criteria):
    word = {Criteria.IRECIST: "iSD", Criteria.PERCIST: "SMD"}.get(criteria, "SD")
    found = visits_of(criteria, [A], [measured()], [measured()])
    assert overalls(found) == [word]
    assert found.assessments[1].new_lesion is NewLesion.NO


@pytest.mark.parametrize("criteria", EVERY)
def test_given_overall_response_stands(criteria):
    found = visits_of(criteria, [A], [measured()], [measured()], V1={"overall": Response.PR})
    word = {Criteria.IRECIST: "iPR", Criteria.PERCIST: "PMR"}.get(criteria, "PR")
    assert overalls(found) == [word]
    assert "given" in found.assessments[1].reason


@pytest.mark.parametrize("criteria", EVERY)
def test_given_target_response_stands_over_the_measurements(criteria):
    worse = visits_of(criteria, [A], [measured()], [measured()], V1={"target": Response.PD})
    assert overalls(worse) == [PD_WORD.get(criteria, "PD")]
    better = visits_of(criteria, [A], [measured()], [measured()], V1={"target": Response.PR})
    assert overalls(better)[0].endswith("PR") or overalls(better) == ["PMR"]


@pytest.mark.parametrize("criteria", EVERY)
def test_given_new_lesion_is_progression_except_where_it_joins_the_sum(criteria):
    found = visits_of(criteria, [A], [measured()], [measured()], V1={"new_lesion": NewLesion.YES})
    expected = {Criteria.IMRECIST: "SD", Criteria.LYRIC: "IR2"}.get(criteria, PD_WORD.get(criteria, "PD"))
    assert overalls(found) == [expected]


@pytest.mark.parametrize("criteria", BY_LESIONS)
def test_non_target_disease_alone_is_present_or_gone(criteria):
    is_immune = criteria is Criteria.IRECIST
    present = visits_of(criteria, [OTHER], [seen(LesionState.PRESENT)], [seen(LesionState.PRESENT)])
    assert overalls(present) == ["NON-iCR/NON-iUPD" if is_immune else "NON-CR/NON-PD"]
    gone = visits_of(criteria, [OTHER], [seen(LesionState.PRESENT)], [seen(LesionState.DISAPPEARED)])
    assert overalls(gone) == ["iCR" if is_immune else "CR"]


@pytest.mark.parametrize("criteria", EVERY)
def test_unequivocal_progression_of_other_lesions_is_progression(criteria):
    grown = seen(LesionState.PRESENT, has_progressed=True)
    found = visits_of(criteria, [A, OTHER], [measured(), seen(LesionState.PRESENT)], [measured(), grown])
    expected = {Criteria.IMRECIST: "SD"}.get(criteria, PD_WORD.get(criteria, "PD"))
    if criteria is Criteria.LYRIC:
        # None of its indeterminate patterns: growth of what is not measured.
        expected = "PD"
    assert overalls(found) == [expected]
    given = visits_of(
        criteria,
        [A, OTHER],
        [measured(), seen(LesionState.PRESENT)],
        [measured(), seen(LesionState.PRESENT)],
        V1={"non_target": Response.PD},
    )
    assert overalls(given) == [expected]


@pytest.mark.parametrize("criteria", BY_LESIONS)
def test_reason_tells_what_other_lesions_do(criteria):
    lesions, present = [A, OTHER], seen(LesionState.PRESENT)
    found = visits_of(criteria, lesions, [measured(), present], [measured(), present])
    assert "O persisting" in found.assessments[1].reason


@pytest.mark.parametrize("criteria", [Criteria.RANO])
def test_deterioration_alone_is_progression_without_images(criteria):
    worse = {"clinical_status": ClinicalStatus.WORSE}
    assert overalls(visits_of(criteria, [A], [measured()], [], V1=worse)) == ["PD"]


PER_VISIT = [Criteria.LUGANO, Criteria.RANO]


@pytest.mark.parametrize("criteria", PER_VISIT)
def test_doubt_about_a_new_lesion_lasts_until_somebody_decides(criteria):
    lesions = [A, Lesion(id="N", role=LesionRole.NEW, organ="bone")]

    def new(**more):
        return [measured(), both_axes("N", 20, 20, **more)]

    found = visits_of(
        criteria, lesions, [measured()], new(is_equivocal=True), new(), new(is_equivocal=False), new()
    )
    assert overalls(found) == ["SD", "SD", "PD", "PD"]


def test_lasting_doubt_outlives_an_absence_because_nobody_has_decided():
    lesions = [A, Lesion(id="N", role=LesionRole.NEW, organ="bone")]
    gone = Observation(lesion="N", state=LesionState.DISAPPEARED)
    found = visits_of(
        Criteria.LUGANO,
        lesions,
        [measured()],
        [measured(), both_axes("N", 20, 20, is_equivocal=True)],
        [measured(), gone],
        [measured(), both_axes("N", 20, 20)],
    )
    assert overalls(found) == ["SD", "SD", "SD"]


def test_equivocal_bone_lesions_are_not_counted_while_nobody_decides():
    lesions = [A, *(Lesion(id=x, role=LesionRole.NEW, organ="bone") for x in "XY")]

    def at(**more):
        return [measured(), both_axes("X", 9, 9, **more), both_axes("Y", 9, 9, **more)]

    found = visits_of(Criteria.PCWG3, lesions, [measured()], at(is_equivocal=True), at(), at())
    assert [dict(a.components)["bone"] for a in found.assessments[1:]] == ["NED", "NED", "NED"]
