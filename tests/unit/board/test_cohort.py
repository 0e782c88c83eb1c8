"""Best change, categories and exact intervals of many patients, against worked numbers and scipy."""

from __future__ import annotations

import re
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest
from scipy.stats import beta, binom

from workflow.domain.cohort import (
    Cohort,
    CohortFilter,
    CohortVisit,
    category_of,
    clopper_pearson,
    cohort_of,
)
from workflow.web.charts import legend_svg, spider_svg, swimmer_svg, waterfall_svg

FIRST = date(2026, 1, 7)


def course(
    key: int, *told: tuple[str, float | None], best: str | None = None, new: int = -1, **said: object
) -> list[CohortVisit]:
    """A baseline and the visits after it, 63 days apart: overall response and change (%)."""
    visits = [("baseline", None), *told]
    values = {"criteria": "recist-1.1", "is_signed": True} | said
    return [
        CohortVisit(
            patient_key=key,
            patient_id=f"P-{key}",
            day=FIRST + timedelta(days=63 * number),
            days_from_baseline=63 * number,
            is_baseline=number == 0,
            overall=overall,
            change_from_baseline_percent=change,
            new_lesion="yes" if number == new else "no",
            best_overall_response=best if number else None,
            **values,
        )
        for number, (overall, change) in enumerate(visits)
    ]


def cohort(*courses: list[CohortVisit], **wanted: object) -> Cohort:
    return cohort_of([visit for one in courses for visit in one], CohortFilter(**wanted))


@pytest.mark.parametrize("of", [1, 2, 10, 37, 200])
def test_intervals_are_those_of_the_beta_distribution(of):
    for count in {0, 1, of // 3, of - 1, of}:
        lower, upper = clopper_pearson(count, of)
        assert lower == pytest.approx(beta.ppf(0.025, count, of - count + 1) if count else 0.0, abs=1e-9)
        assert upper == pytest.approx(beta.ppf(0.975, count + 1, of - count) if count < of else 1.0, abs=1e-9)


def test_a_published_interval():
    # 10 of 40: 12.7 to 41.2 %, as R's binom.test(10, 40) prints it.
    assert [round(100 * limit, 1) for limit in clopper_pearson(10, 40)] == [12.7, 41.2]


def test_an_interval_holds_the_share_at_least_as_often_as_it_says():
    for share in (0.05, 0.3, 0.5):
        covered = sum(
            binom.pmf(count, 25, share)
            for count in range(26)
            if clopper_pearson(count, 25)[0] <= share <= clopper_pearson(count, 25)[1]
        )
        assert covered >= 0.95


@pytest.mark.parametrize(("count", "of"), [(-1, 5), (6, 5), (0, 0)])
def test_what_is_no_share_is_refused(count, of):
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(count, of)


def test_best_change_ends_with_the_first_progression():
    (patient,) = cohort(course(1, ("SD", -10.0), ("PD", 25.0), ("PR", -60.0), best="SD")).patients
    assert patient.best_change_percent == -10.0
    assert patient.progression_day == 126


def test_progression_by_a_new_lesion_keeps_the_shrinkage_and_is_marked():
    (patient,) = cohort(course(1, ("PD", -45.0), best="PD", new=1)).patients
    assert (patient.best_change_percent, patient.has_new_lesion, patient.category) == (-45.0, True, "PD")
    svg = waterfall_svg(cohort(course(1, ("PD", -45.0), best="PD", new=1)))
    assert ">PD*<" in svg


def test_a_new_lesion_after_the_progression_is_not_marked():
    (patient,) = cohort(course(1, ("PD", 30.0), ("PD", 35.0), best="PD", new=2)).patients
    assert not patient.has_new_lesion


def test_rates_count_every_patient_with_a_baseline():
    told = cohort(
        course(1, ("CR", -100.0), best="CR"),
        course(2, ("PR", -40.0), best="PR"),
        course(3, ("SD", 3.0), best="SD"),
        course(4, ("NON-CR/NON-PD", None), best="NON-CR/NON-PD"),
        course(5, ("PD", 40.0), best="PD"),
        course(6),
    )
    assert told.counts == {"CR": 1, "PR": 1, "SD": 2, "PD": 1, "NE": 1}
    assert (told.objective_response.count, told.objective_response.of) == (2, 6)
    assert told.disease_control.count == 4
    assert told.objective_response.interval == clopper_pearson(2, 6)
    # No bar without a sum after the baseline.
    assert [p.patient_id for p in told.waterfall] == ["P-5", "P-3", "P-2", "P-1"]


def test_nobody_has_no_rate():
    told = cohort()
    assert (told.objective_response.share, told.objective_response.interval) == (None, None)
    assert (waterfall_svg(told), spider_svg(told), swimmer_svg(told)) == ("", "", "")


@pytest.mark.parametrize(
    ("response", "category"),
    [("iCR", "CR"), ("CMR", "CR"), ("PAR", "PR"), ("iUPD", "PD"), ("iCPD", "PD"), ("NMR", "SD"), ("MR", "SD"),
     ("NON-iCR/NON-iUPD", "SD"), ("NE", "NE"), ("ND", "NE"), ("MISSING", "NE"), ("PDu", "NE"), ("IR2", "NE"),
     (None, "NE"), ("something new", "NE")],
)  # fmt: skip
def test_words_of_every_criteria_have_a_category(response, category):
    assert category_of(response) == category


def test_a_signed_cohort_takes_the_best_response_of_the_signed_visits():
    one = course(1, ("PR", -40.0), best="PR")
    signed = [*one[:1], CohortVisit(**{**vars(one[1]), "is_signed": False})]
    (patient,) = cohort(signed, is_signed_only=True).patients
    assert (patient.category, len(patient.visits)) == ("NE", 1)


def test_a_course_whose_baseline_nobody_signed_is_left_out_and_counted():
    one = course(1, ("PR", -40.0), best="PR")
    unsigned = [CohortVisit(**{**vars(one[0]), "is_signed": False}), one[1]]
    told = cohort(unsigned, is_signed_only=True)
    assert (told.patients, told.without_baseline) == ((), 1)


def test_the_range_of_days_is_the_baselines_and_both_ends_belong_to_it():
    one = course(1, ("PR", -40.0), best="PR")
    assert cohort(one, since=FIRST, until=FIRST).patients
    assert not cohort(one, since=FIRST + timedelta(days=1)).patients
    assert not cohort(one, until=FIRST - timedelta(days=1)).patients


def rects(svg: str, kind: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(svg)
    return [e for e in root.iter() if e.tag.endswith("rect") and kind in e.get("class", "").split()]


def test_the_bars_of_the_waterfall_are_as_high_as_the_changes_and_sorted():
    told = cohort(
        *(course(n, ("SD", change), best="SD") for n, change in enumerate((-20.0, 10.0, -40.0, 5.0)))
    )
    bars = rects(waterfall_svg(told), "bar")
    heights = [float(bar.get("height")) for bar in bars]
    assert heights == [pytest.approx(heights[0] * ratio, abs=0.15) for ratio in (1, 0.5, 2, 4)]
    left = [float(bar.get("x")) for bar in bars]
    assert left == sorted(left)


def test_growth_beyond_the_scale_is_drawn_to_its_end_with_its_number():
    svg = waterfall_svg(cohort(course(1, ("PD", 400.0), best="PD"), course(2, ("PR", -50.0), best="PR")))
    assert "PD +400.0 %" in svg
    grown, shrunk = (float(bar.get("height")) for bar in rects(svg, "bar"))
    assert grown == pytest.approx(2 * shrunk, rel=0.01)  # 100 to 50


def test_the_lanes_of_the_swimmer_are_as_long_as_the_time_and_go_on_without_progression():
    told = cohort(course(1, ("PR", -40.0), ("PR", -50.0), best="PR"), course(2, ("PD", 40.0), best="PD"))
    svg = swimmer_svg(told)
    first, second = (float(lane.get("width")) for lane in rects(svg, "lane"))
    assert first == pytest.approx(2 * second, rel=0.01)
    assert svg.count('class="goes-on"') == 1


@pytest.mark.parametrize("figure", [waterfall_svg, spider_svg, swimmer_svg, lambda _: legend_svg()])
def test_every_figure_is_well_formed_says_what_it_is_and_needs_no_style(figure):
    hostile = course(1, ("PD", 40.0), best="PD", new=1)
    named = [CohortVisit(**{**vars(visit), "patient_id": '<"&>'}) for visit in hostile]
    svg = figure(cohort(named, course(2, ("PR", -40.0), best="PR")))
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert "style=" not in svg
    assert not re.search(r"nan|inf\b", svg)


def test_every_response_has_a_sign_of_its_own():
    """Colour never alone: the shapes differ."""
    shapes = set()
    for overall in ("CR", "PR", "SD", "PD", "NE"):
        svg = spider_svg(cohort(course(1, (overall, -10.0), best=overall)))
        sign = re.findall(r'<g class="sign sign-\w+"><title>' + overall + r"</title>(<\w+)", svg)
        kind = re.findall(r'class="sign (sign-\w+)"><title>' + overall, svg)
        assert len(sign) == 1
        shapes.add((sign[0], kind[0]))
    assert len(shapes) == 5
