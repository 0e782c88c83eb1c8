"""mRECIST, PERCIST 1.0 and Lugano 2014, as far as their sources carry."""

import pytest
from response_cases import MM, overalls, visits_of

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import (
    Criteria,
    Lesion,
    NewLesion,
    Observation,
    Response,
    Uptake,
)
from workflow.domain.response.percist import is_measurable


def last(found):
    return found.assessments[-1].overall


@pytest.mark.parametrize(
    ("viable", "expected"),
    [(0, "CR"), (35, "PR"), (35.001, "SD"), (59.999, "SD"), (60, "PD")],
)
def test_mrecist_measures_what_still_enhances(viable, expected):
    found = visits_of(
        Criteria.MRECIST,
        [Lesion(id="A")],
        [Observation(lesion="A", diameter_um=60 * MM, viable_um=50 * MM)],
        [Observation(lesion="A", diameter_um=60 * MM, viable_um=round(viable * MM))],
    )
    assert last(found) == expected


def test_mrecist_asks_for_no_absolute_increase():
    found = visits_of(
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
    return visits_of(
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
    found = visits_of(
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
    return visits_of(Criteria.LUGANO, lesions, *visits, **levels)


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

    assert last(visits_of(Criteria.LUGANO, [NODE, new], *seen(15_000))) == "SD"
    assert last(visits_of(Criteria.LUGANO, [NODE, new], *seen(15_001))) == "PD"


# ---------------------------------------------------------------- mRECIST


HILAR = Lesion(id="N", role=LesionRole.NEW, organ="porta hepatis lymph node", is_nodal=True)
ELSEWHERE = Lesion(id="N", role=LesionRole.NEW, organ="retroperitoneal lymph node", is_nodal=True)
PULMONARY = Lesion(id="N", role=LesionRole.NEW, organ="hilar lymph node", is_nodal=True)


def hcc(new, *sizes):
    """A liver target that stays at 40 mm viable, and a lesion beside it of these diameters."""
    target = [Observation(lesion="A", viable_um=40 * MM)]
    visits = [
        [*target, *([] if mm is None else [Observation(lesion="N", diameter_um=round(mm * MM))])]
        for mm in (None, *sizes)
    ]
    return overalls(visits_of(Criteria.MRECIST, [Lesion(id="A", organ="liver"), new], *visits))


@pytest.mark.parametrize(
    ("name", "node", "sizes", "expected"),
    [
        ("at the porta hepatis just below 20 mm", HILAR, [19.999], ["SD"]),
        ("at the porta hepatis on 20 mm", HILAR, [20], ["PD"]),
        ("at the porta hepatis, growing to 20 mm, is not dated back", HILAR, [16, 20], ["SD", "PD"]),
        ("elsewhere 10 mm is disease", ELSEWHERE, [16], ["PD"]),
        ("a pulmonary hilum is elsewhere", PULMONARY, [16], ["PD"]),
    ],
)
def test_mrecist_node_at_the_porta_hepatis_is_disease_from_20_mm(name, node, sizes, expected):
    assert hcc(node, *sizes) == expected, name


def test_mrecist_knows_the_porta_hepatis_without_being_told_that_it_is_a_node():
    assert hcc(Lesion(id="N", role=LesionRole.NEW, organ="hepatic hilum node"), 16) == ["SD"]


@pytest.mark.parametrize(
    ("name", "sizes", "expected"),
    [
        ("just below 10 mm it is followed", [9.999], ["SD"]),
        ("on 10 mm it is HCC", [10], ["PD"]),
        ("once it is 10 mm progression is dated back", [7, 10], ["PD", "PD"]),
        ("one that stays small never counts", [7, 8], ["SD", "SD"]),
    ],
)
def test_mrecist_new_nodule_in_the_liver_counts_from_10_mm(name, sizes, expected):
    assert hcc(Lesion(id="N", role=LesionRole.NEW, organ="liver"), *sizes) == expected, name


def test_mrecist_size_does_not_decide_what_a_reader_doubts():
    target = [Observation(lesion="A", viable_um=40 * MM)]
    new = Lesion(id="N", role=LesionRole.NEW, organ="liver")
    sizes = [
        Observation(lesion="N", diameter_um=12 * MM, is_equivocal=True),
        Observation(lesion="N", diameter_um=15 * MM),
    ]
    found = visits_of(
        Criteria.MRECIST, [Lesion(id="A", organ="liver"), new], target, *[[*target, seen] for seen in sizes]
    )
    assert overalls(found) == ["SD", "SD"]


def test_mrecist_small_new_lesion_outside_the_liver_counts():
    assert hcc(Lesion(id="N", role=LesionRole.NEW, organ="bone"), 7) == ["PD"]


@pytest.mark.parametrize(("is_proven", "expected"), [(False, "SD"), (True, "PD")])
def test_mrecist_new_ascites_counts_once_the_reader_calls_it_unequivocal(is_proven, expected):
    ascites = Lesion(id="N", role=LesionRole.NEW, organ="ascites")
    target = Observation(lesion="A", viable_um=40 * MM)
    seen = Observation(lesion="N", state=LesionState.PRESENT, has_progressed=is_proven)
    found = visits_of(Criteria.MRECIST, [Lesion(id="A", organ="liver"), ascites], [target], [target, seen])
    assert last(found) == expected


def test_mrecist_never_compares_a_viable_part_with_a_whole_diameter():
    found = visits_of(
        Criteria.MRECIST,
        [Lesion(id="A")],
        [Observation(lesion="A", diameter_um=60 * MM, viable_um=30 * MM)],
        [Observation(lesion="A", diameter_um=60 * MM)],
    )
    assert last(found) == "NE"


# ---------------------------------------------------------------- PERCIST


def sul(value, **more):
    return Observation(lesion="A", sul_peak_milli=value, **more)


@pytest.mark.parametrize(
    ("name", "liver", "expected"),
    [
        ("just measurable: 1.5 x 2 + 2 x 0.5", (2_000, 500), "PMR"),
        ("just not measurable", (2_001, 500), "NE"),
        ("no liver given", (None, None), "PMR"),
    ],
)
def test_percist_needs_a_baseline_that_is_measurable_against_the_liver(name, liver, expected):
    mean, deviation = liver
    reference = {"liver_sul_mean_milli": mean, "liver_sul_deviation_milli": deviation}
    found = visits_of(Criteria.PERCIST, [Lesion(id="A")], [sul(4_000)], [sul(2_000)], V0=reference)
    assert last(found) == expected, name


@pytest.mark.parametrize(
    ("name", "then", "now", "expected"),
    [
        ("20 % on the line", 1_000, 1_200, "PMR"),
        ("just beyond 20 %", 1_000, 1_201, "NE"),
        ("0.3 is too much", 2_000, 2_300, "NE"),
        ("just below 0.3", 2_000, 2_299, "PMR"),
        ("lower counts as well", 2_000, 1_700, "NE"),
    ],
)
def test_percist_compares_only_scans_with_the_same_liver(name, then, now, expected):
    found = visits_of(
        Criteria.PERCIST,
        [Lesion(id="A")],
        [sul(10_000)],
        [sul(5_000)],
        V0={"liver_sul_mean_milli": then},
        V1={"liver_sul_mean_milli": now},
    )
    assert last(found) == expected, name


def test_percist_lesion_that_nobody_measured_may_be_the_hottest():
    lesions = [Lesion(id="A"), Lesion(id="B")]
    baseline = [sul(10_000), Observation(lesion="B", sul_peak_milli=6_000)]
    unseen = Observation(lesion="A", state=LesionState.NOT_EVALUABLE)
    cold = visits_of(
        Criteria.PERCIST, lesions, baseline, [unseen, Observation(lesion="B", sul_peak_milli=3_000)]
    )
    assert last(cold) == "NE"
    hot = visits_of(
        Criteria.PERCIST, lesions, baseline, [unseen, Observation(lesion="B", sul_peak_milli=13_000)]
    )
    assert last(hot) == "PMD"


@pytest.mark.parametrize(("peak", "expected"), [(1_999, "CMR"), (2_000, "NE")])
def test_percist_lesion_called_gone_is_below_the_liver(peak, expected):
    found = visits_of(
        Criteria.PERCIST,
        [Lesion(id="A")],
        [sul(10_000)],
        [sul(peak, state=LesionState.DISAPPEARED)],
        V1={"liver_sul_mean_milli": 2_000},
    )
    assert last(found) == expected


# ---------------------------------------------------------------- Lugano


def spleens(*lengths):
    """The responses of a node that has halved beside a spleen of these lengths, mm."""
    levels = {f"V{i}": {"spleen_um": round(mm * MM)} for i, mm in enumerate(lengths)}
    return overalls(lugano([[(40, 30)], *[[(30, 20)]] * (len(lengths) - 1)], **levels))


@pytest.mark.parametrize(
    ("name", "lengths", "expected"),
    [
        ("recurrent: normal between, then more than half the first excess", (150, 120, 140.001), "PD"),
        ("not above 13 cm is no splenomegaly", (150, 110, 130), "PR"),
        ("recurrent, but by no more than half the first excess", (150, 125, 135), "PR"),
        ("a large first excess needs no more than the 2 cm of a new one", (190, 120, 140), "PD"),
        ("just below those 2 cm", (190, 120, 139.999), "PR"),
        ("from the least length, though it never was normal", (160, 140, 155.001), "PD"),
        ("on half the excess from the least length", (160, 140, 155), "SD"),
        ("13 cm is normal, so that 2 cm more is recurrent", (190, 130, 150), "PD"),
        ("just above it is not", (190, 130.001, 150.001), "PR"),
        ("never enlarged: 2 cm from the least length", (125, 115, 135), "PD"),
        ("never enlarged: just below 2 cm", (125, 115, 134.999), "PR"),
        ("a partial response needs more than half the excess lost", (150, 140), "SD"),
        ("just more than half is lost", (150, 139.999), "PR"),
    ],
)
def test_lugano_spleen_grows_from_its_least_length(name, lengths, expected):
    assert spleens(*lengths)[-1] == expected, name


EXTRANODAL = Lesion(id="A", organ="lung")


@pytest.mark.parametrize(
    ("name", "lesion", "then", "expected"),
    [
        ("extranodal at any size", EXTRANODAL, (6, 6), "PD"),
        ("a node only above 15 mm", NODE, (15, 10), "CR"),
        ("a node above 15 mm", NODE, (15.001, 10), "PD"),
    ],
)
def test_lugano_lesion_that_had_gone_regrows(name, lesion, then, expected):
    assert last(lugano([[(30, 20)], [(0, 0)], [then]], lesions=[lesion])) == expected, name


@pytest.mark.parametrize(
    ("name", "levels", "expected"),
    [
        ("X alone leaves CT to decide", {"has_unrelated_uptake": True}, "PR"),
        ("X beside a score", {"deauville": 3, "has_unrelated_uptake": True}, "CR"),
        (
            "X is no progression",
            {"deauville": 4, "uptake": Uptake.DECREASED, "has_unrelated_uptake": True},
            "PR",
        ),
    ],
)
def test_lugano_new_uptake_that_is_unlikely_to_be_lymphoma(name, levels, expected):
    assert last(lugano([[(40, 30)], [(20, 15)]], V1=levels)) == expected, name


def test_lugano_score_x_alone_without_ct_is_not_evaluable():
    found = visits_of(
        Criteria.LUGANO, [], [], [], V0={"is_baseline": True}, V1={"has_unrelated_uptake": True}
    )
    assert last(found) == "NE"
    assert "score X" in found.assessments[-1].reason


def test_lugano_score_without_its_change_leaves_proven_progression_by_ct():
    assert last(lugano([[(20, 15)], [(40, 30)]], V1={"deauville": 4})) == "PD"
    assert last(lugano([[(40, 30)], [(20, 15)]], V1={"deauville": 4})) == "NE"


@pytest.mark.parametrize(
    ("word", "expected"),
    [("CAR", "CR"), ("PAR", "PR"), ("SAD", "SD"), ("PAD", "PD"),
     ("CMR", "CR"), ("PMR", "PR"), ("NMR", "SD"), ("PMD", "PD")],
)  # fmt: skip
def test_lugano_words_of_ct_and_pet_are_understood(word, expected):
    found = visits_of(Criteria.LUGANO, [], [], V0={"overall": Response(word), "is_baseline": False})
    assert (last(found), found.assessments[-1].target) == (expected, word)
    assert found.progression.happened is (expected == "PD")


def test_lugano_small_new_lesion_outside_the_nodes_wants_a_second_look():
    lesions = [NODE, Lesion(id="X", role=LesionRole.NEW, organ="lung")]
    node = Observation(lesion="A", long_axis_um=30 * MM, short_axis_um=20 * MM)

    def found(size):
        new = Observation(lesion="X", diameter_um=size)
        return visits_of(Criteria.LUGANO, lesions, [node], [node, new]).assessments[-1]

    assert found(10_000).overall == found(10_001).overall == "PD"
    assert found(10_000).warnings
    assert not found(10_001).warnings


@pytest.mark.parametrize(
    ("name", "new", "expected"),
    [
        ("equivocal", {"diameter_um": 30 * MM, "is_equivocal": True}, "SD"),
        ("gone", {"state": LesionState.DISAPPEARED}, "SD"),
        ("not evaluable", {"diameter_um": 30 * MM, "state": LesionState.NOT_EVALUABLE}, "SD"),
        ("there, of unknown size", {"state": LesionState.PRESENT}, "PD"),
    ],
)
def test_lugano_new_lesion_counts_when_it_is_there_beyond_doubt(name, new, expected):
    lesions = [NODE, Lesion(id="X", role=LesionRole.NEW, organ="lung")]
    node = Observation(lesion="A", long_axis_um=30 * MM, short_axis_um=20 * MM)
    found = visits_of(Criteria.LUGANO, lesions, [node], [node, Observation(lesion="X", **new)])
    assert last(found) == expected, name
    assert not found.assessments[-1].warnings


def test_lugano_new_node_counts_by_its_longest_diameter():
    lesions = [NODE, Lesion(id="X", role=LesionRole.NEW, is_nodal=True)]
    node = Observation(lesion="A", long_axis_um=30 * MM, short_axis_um=20 * MM)
    new = Observation(lesion="X", long_axis_um=16 * MM, short_axis_um=9 * MM)
    assert last(visits_of(Criteria.LUGANO, lesions, [node], [node, new])) == "PD"


def test_lugano_progressing_spleen_needs_no_other_lesion():
    found = visits_of(Criteria.LUGANO, [NODE], [], [], V0={"spleen_um": 150 * MM}, V1={"spleen_um": 161 * MM})
    assert last(found) == "PD"
