"""mRECIST, PERCIST 1.0 and Lugano 2014, as far as their sources carry."""

import pytest
from response_cases import day

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import (
    Criteria,
    Lesion,
    NewLesion,
    Observation,
    Protocol,
    Response,
    Timeline,
    TimePoint,
    Uptake,
    assess,
)
from workflow.domain.response.percist import is_measurable

MM = 1000


def course(criteria, lesions, *visits, **levels):
    points = tuple(
        TimePoint(
            id=f"V{number}", date=day(56 * number), observations=tuple(seen), **levels.get(f"V{number}", {})
        )
        for number, seen in enumerate(visits)
    )
    return assess(Timeline(lesions=tuple(lesions), time_points=points), Protocol(criteria=criteria))


def last(found):
    return found.assessments[-1].overall


@pytest.mark.parametrize(
    ("viable", "expected"),
    [(0, "CR"), (35, "PR"), (35.001, "SD"), (59.999, "SD"), (60, "PD")],
)
def test_mrecist_measures_what_still_enhances(viable, expected):
    found = course(
        Criteria.MRECIST,
        [Lesion(id="A")],
        [Observation(lesion="A", diameter_um=60 * MM, viable_um=50 * MM)],
        [Observation(lesion="A", diameter_um=60 * MM, viable_um=round(viable * MM))],
    )
    assert last(found) == expected


def test_mrecist_asks_for_no_absolute_increase():
    found = course(
        Criteria.MRECIST,
        [Lesion(id="A")],
        [Observation(lesion="A", viable_um=10 * MM)],
        [Observation(lesion="A", viable_um=12 * MM)],
    )
    assert last(found) == "PD"


def percist(baseline, now, **more):
    seen = (
        Observation(lesion="A", sul_peak_milli=now)
        if isinstance(now, int)
        else Observation(lesion="A", state=now)
    )
    return course(
        Criteria.PERCIST, [Lesion(id="A")], [Observation(lesion="A", sul_peak_milli=baseline)], [seen], **more
    )


@pytest.mark.parametrize(
    ("baseline", "now", "expected"),
    [
        (10_000, 7_000, "PMR"),
        (10_000, 7_001, "SMD"),
        (10_000, 13_000, "PMD"),
        (10_000, 12_999, "SMD"),
        (2_000, 1_200, "PMR"),
        (2_000, 1_201, "SMD"),
        (2_000, 2_800, "PMD"),
        (2_000, 2_799, "SMD"),
        (5_000, LesionState.DISAPPEARED, "CMR"),
        (5_000, LesionState.NOT_EVALUABLE, "NE"),
    ],
)
def test_percist_needs_30_percent_and_0_8_units(baseline, now, expected):
    found = percist(baseline, now)
    assert last(found) == expected
    assert found.assessments[-1].reason.startswith(f"{expected}:")


def test_percist_compares_the_hottest_lesions_not_the_same_one():
    found = course(
        Criteria.PERCIST,
        [Lesion(id="A"), Lesion(id="B")],
        [Observation(lesion="A", sul_peak_milli=10_000), Observation(lesion="B", sul_peak_milli=6_000)],
        [Observation(lesion="A", sul_peak_milli=2_000), Observation(lesion="B", sul_peak_milli=8_000)],
    )
    assert last(found) == "SMD"


def test_percist_new_lesions_progress_and_best_response_has_its_own_words():
    found = percist(10_000, 5_000, V1={"new_lesion": NewLesion.YES})
    assert last(found) == "PMD"
    assert percist(10_000, 5_000).best_overall_response.value is Response.PMR


def test_percist_measurability_against_the_liver():
    assert is_measurable(3_000, 1_600, 300)
    assert not is_measurable(2_999, 1_600, 300)


NODE = Lesion(id="A", is_nodal=True)


def lugano(sizes, *, lesions=(NODE,), **levels):
    visits = [
        [
            Observation(lesion=x.id, long_axis_um=round(a * MM), short_axis_um=round(b * MM))
            for x, (a, b) in zip(lesions, visit, strict=True)
        ]
        for visit in sizes
    ]
    return course(Criteria.LUGANO, lesions, *visits, **levels)


@pytest.mark.parametrize(
    ("name", "sizes", "expected"),
    [
        ("node at 15 mm is normal", [[(40, 30)], [(15, 10)]], "CR"),
        ("node just longer is not", [[(40, 30)], [(15.001, 10)]], "PR"),
        ("half the product", [[(40, 30)], [(30, 20)]], "PR"),
        ("just more than half", [[(40, 30)], [(30, 20.001)]], "SD"),
        ("small node: product up by half and 5 mm", [[(20, 10)], [(25, 12)]], "PD"),
        ("small node: 4.9 mm is too little", [[(20, 10)], [(24.9, 14.9)]], "SD"),
        ("large node needs 10 mm", [[(30, 20)], [(39, 29)]], "SD"),
        ("large node with 10 mm", [[(30, 20)], [(40, 25)]], "PD"),
        ("product not up by half", [[(30, 20)], [(40, 22)]], "SD"),
        ("from the nadir, not from baseline", [[(40, 30)], [(20, 10)], [(26, 14)]], "PD"),
        ("still normal in length", [[(10, 5)], [(15, 10)]], "CR"),
    ],
)
def test_lugano_by_ct(name, sizes, expected):
    assert last(lugano(sizes)) == expected, name


@pytest.mark.parametrize(
    ("score", "uptake", "expected", "metabolic"),
    [
        (1, None, "CR", "CMR"),
        (3, None, "CR", "CMR"),
        (4, Uptake.DECREASED, "PR", "PMR"),
        (4, Uptake.UNCHANGED, "SD", "NMR"),
        (5, Uptake.INCREASED, "PD", "PMD"),
        (5, None, "NE", "NE"),
    ],
)
def test_lugano_by_pet_goes_before_ct(score, uptake, expected, metabolic):
    found = lugano([[(40, 30)], [(40, 30)]], V1={"deauville": score, "uptake": uptake})
    assert (last(found), found.assessments[1].target) == (expected, metabolic)


@pytest.mark.parametrize(
    ("baseline", "now", "expected"),
    [
        (150, 160, "SD"),
        (150, 160.001, "PD"),
        (120, 139.9, "PR"),
        (120, 140, "PD"),
        (150, 139.9, "PR"),
    ],
)
def test_lugano_spleen(baseline, now, expected):
    found = lugano(
        [[(40, 30)], [(20, 20)]],
        V0={"spleen_um": baseline * MM},
        V1={"spleen_um": round(now * MM)},
    )
    assert last(found) == expected


def test_lugano_new_node_counts_above_15_mm():
    new = Lesion(id="N", role=LesionRole.NEW, is_nodal=True)

    def seen(size):
        return [
            [Observation(lesion="A", long_axis_um=40 * MM, short_axis_um=30 * MM)],
            [
                Observation(lesion="A", long_axis_um=40 * MM, short_axis_um=30 * MM),
                Observation(lesion="N", long_axis_um=size),
            ],
        ]

    assert last(course(Criteria.LUGANO, [NODE, new], *seen(15_000))) == "SD"
    assert last(course(Criteria.LUGANO, [NODE, new], *seen(15_001))) == "PD"
