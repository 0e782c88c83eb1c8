"""RECIST 1.0 and WHO, for studies that still run by them."""

import pytest
from response_cases import MM, both_axes, follow, overalls, visits_of

from workflow.domain.report import LesionRole
from workflow.domain.response import Criteria, Lesion, Observation

NODE = Lesion(id="A", is_nodal=True)


@pytest.mark.parametrize(
    ("name", "sums", "expected"),
    [
        ("20 % needs no 5 mm", [10, 12], "PD"),
        ("just short of 20 %", [10, 11.999], "SD"),
        ("30 % down", [10, 7], "PR"),
    ],
)
def test_recist_1_0_thresholds(name, sums, expected):
    assert overalls(follow(sums, criteria=Criteria.RECIST_1_0))[-1] == expected, name


def test_recist_1_0_measures_nodes_by_their_longest_diameter():
    found = visits_of(Criteria.RECIST_1_0, [NODE], [both_axes("A", 30, 20)], [both_axes("A", 20, 8)])
    assert found.assessments[1].sum_um == 20 * MM
    assert overalls(found) == ["PR"]


def test_recist_1_0_node_must_disappear():
    seen = [Observation(lesion="A", diameter_um=size * MM) for size in (20, 8)]
    assert overalls(visits_of(Criteria.RECIST_1_0, [NODE], *[[s] for s in seen])) == ["PR"]
    assert overalls(visits_of(Criteria.RECIST_1_1, [NODE], *[[s] for s in seen])) == ["CR"]


@pytest.mark.parametrize(
    ("name", "sizes", "expected"),
    [
        ("half the product", [(40, 20), (20, 20)], "PR"),
        ("just above half", [(40, 20), (20.001, 20)], "SD"),
        ("just below a quarter more", [(40, 20), (49.999, 20)], "SD"),
        ("a quarter more", [(40, 20), (50, 20)], "PD"),
        ("from the least", [(40, 20), (20, 20), (25, 20)], "PD"),
        ("gone", [(40, 20), (0, 0)], "CR"),
    ],
)
def test_who_thresholds(name, sizes, expected):
    visits = [[both_axes("A", *size)] for size in sizes]
    assert overalls(visits_of(Criteria.WHO, [Lesion(id="A")], *visits))[-1] == expected, name


def test_who_single_lesion_progresses_though_the_sum_falls():
    lesions = [Lesion(id="A"), Lesion(id="B")]
    found = visits_of(
        Criteria.WHO,
        lesions,
        [both_axes("A", 60, 40), both_axes("B", 20, 10)],
        [both_axes("A", 20, 20), both_axes("B", 25, 10)],
    )
    assert overalls(found) == ["PD"]


def test_who_needs_both_diameters():
    found = visits_of(
        Criteria.WHO,
        [Lesion(id="A")],
        [Observation(lesion="A", diameter_um=40 * MM)],
        [Observation(lesion="A", diameter_um=20 * MM)],
    )
    assert overalls(found) == ["NE"]
    assert any("perpendicular" in text for text in found.warnings)


def test_who_new_lesion_is_progression():
    lesions = [Lesion(id="A"), Lesion(id="N", role=LesionRole.NEW)]
    found = visits_of(
        Criteria.WHO, lesions, [both_axes("A", 40, 20)], [both_axes("A", 20, 20), both_axes("N", 5, 5)]
    )
    assert overalls(found) == ["PD"]
