"""Choi: 10 % in size or 15 % in attenuation."""

import pytest
from response_cases import MM, overalls, visits_of

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import Criteria, Lesion, Observation


def seen(name, mm, hu=None, **more):
    return Observation(
        lesion=name,
        diameter_um=round(mm * MM),
        attenuation_milli_hu=None if hu is None else round(hu * 1000),
        **more,
    )


A = Lesion(id="A")


def choi(*visits, lesions=(A,), **more):
    return visits_of(Criteria.CHOI, lesions, *visits, **more)


@pytest.mark.parametrize(
    ("name", "mm", "hu", "expected"),
    [
        ("size 10 % down", 90, 80, "PR"),
        ("size just short of 10 % down", 90.001, 80, "SD"),
        ("attenuation 15 % down", 100, 68, "PR"),
        ("attenuation just short of 15 % down", 100, 68.001, "SD"),
        ("size just short of 10 % up", 109.999, 80, "SD"),
        ("size 10 % up", 110, 80, "PD"),
        ("larger, but attenuation 15 % down", 150, 68, "PR"),
        ("gone", 0, None, "CR"),
        ("smaller needs no attenuation", 80, None, "PR"),
        ("larger without attenuation could be a response", 120, None, "NE"),
        ("unchanged without attenuation could be a response", 100, None, "NE"),
        ("attenuation can fall below zero", 100, -5, "PR"),
    ],
)
def test_size_and_attenuation(name, mm, hu, expected):
    found = choi([seen("A", 100, 80)], [seen("A", mm, hu)])
    assert overalls(found) == [expected], name


def test_attenuation_is_the_mean_of_the_targets():
    lesions = (Lesion(id="A"), Lesion(id="B"))
    baseline = [seen("A", 50, 100), seen("B", 50, 60)]
    assert overalls(choi(baseline, [seen("A", 50, 76), seen("B", 50, 60)], lesions=lesions)) == ["PR"]
    assert overalls(choi(baseline, [seen("A", 50, 77), seen("B", 50, 60)], lesions=lesions)) == ["SD"]


def test_growth_counts_from_the_smallest_size():
    found = choi([seen("A", 100, 80)], [seen("A", 70, 80)], [seen("A", 77, 80)])
    assert overalls(found) == ["PR", "PD"]


def test_nodule_inside_a_lesion_is_progression_whatever_its_size():
    found = choi([seen("A", 100, 80)], [seen("A", 60, 40, has_intratumoral_nodule=True)])
    assert overalls(found) == ["PD"]


def test_nodule_needs_no_measurement():
    found = choi([seen("A", 100, 80)], [Observation(lesion="A", has_intratumoral_nodule=True)])
    assert overalls(found) == ["PD"]


def test_new_lesion_is_progression():
    lesions = (Lesion(id="A"), Lesion(id="N", role=LesionRole.NEW))
    found = choi([seen("A", 100, 80)], [seen("A", 60, 40), seen("N", 12)], lesions=lesions)
    assert overalls(found) == ["PD"]


def test_non_target_disease_that_persists_bars_a_complete_response():
    lesions = (Lesion(id="A"), Lesion(id="O", role=LesionRole.NON_TARGET))
    other = Observation(lesion="O", state=LesionState.PRESENT)
    assert overalls(choi([seen("A", 100, 80), other], [seen("A", 0), other], lesions=lesions)) == ["PR"]
