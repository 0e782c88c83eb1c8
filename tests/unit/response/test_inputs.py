"""What criteria need, and the reason where it is not there."""

import pytest
from response_cases import MM, visits_of

from workflow.domain.response import Criteria, Lesion, Observation
from workflow.domain.response.inputs import Input, inputs_of, missing_inputs, required_inputs
from workflow.domain.response.timeline import Timeline, TimePoint

CT = frozenset({Input.DIAMETER, Input.PERPENDICULAR_DIAMETERS})


@pytest.mark.parametrize("criteria", Criteria)
def test_all_criteria_say_what_they_need_and_are_content_with_it(criteria):
    everything = frozenset(kind for needed in required_inputs(criteria) for kind in needed)
    assert everything
    assert missing_inputs(criteria, everything) == ""
    assert missing_inputs(criteria, ()).startswith(f"{criteria} needs ")


@pytest.mark.parametrize(
    ("criteria", "reason"),
    [
        (Criteria.RECIST_1_1, ""),
        (Criteria.IRECIST, ""),
        (Criteria.LUGANO, ""),
        (Criteria.MRECIST, "viable_mm"),
        (Criteria.PERCIST, "sul_peak"),
        (Criteria.CHOI, "attenuation_hu"),
        (Criteria.PCWG3, "bone scans"),
        (Criteria.GCIG, "ca125"),
    ],
)
def test_pipeline_that_measures_diameters_alone_is_refused_what_it_lacks(criteria, reason):
    found = missing_inputs(criteria, CT)
    assert (reason in found) if reason else (found == "")


def test_inputs_of_a_timeline_are_what_is_in_it():
    point = TimePoint(
        id="V1",
        observations=(
            Observation(lesion="A", viable_um=1),
            Observation(lesion="B", long_axis_um=20 * MM, short_axis_um=10 * MM),
        ),
        ca125_milli=35_000,
    )
    timeline = Timeline(lesions=(Lesion(id="A"), Lesion(id="B")), time_points=(point,))
    assert inputs_of(timeline) == CT | {Input.VIABLE_PART, Input.CA125}


def test_document_without_the_inputs_of_its_criteria_is_warned_of():
    whole = [Observation(lesion="A", diameter_um=40 * MM)]
    found = visits_of(Criteria.MRECIST, [Lesion(id="A")], whole, whole)
    assert any("viable_mm" in text for text in found.warnings)
    assert not visits_of(Criteria.RECIST_1_1, [Lesion(id="A")], whole, whole).warnings
