"""Which criteria the pipeline can apply is said at its start."""

from __future__ import annotations

import pytest
from hospital import Hospital
from test_course_of_a_patient import BASELINE, FOLLOW_UP

from workflow.domain.errors import ConfigurationError


@pytest.mark.parametrize(
    ("criteria", "reason"),
    [
        ("mrecist", "enhances in the arterial phase"),
        ("percist-1.0", "SULpeak"),
        ("gcig-ca125", "CA-125"),
        ("pcwg3", "bone scans"),
        ("recist-7", "unknown"),
    ],
)
def test_criteria_whose_inputs_the_pipeline_does_not_measure_are_refused_at_start(tmp_path, criteria, reason):
    with pytest.raises(ConfigurationError, match=reason):
        Hospital(tmp_path, {"response": {"criteria": criteria}})


def test_a_mistyped_policy_is_refused_at_start(tmp_path):
    with pytest.raises(ConfigurationError, match="maximum_target"):
        Hospital(tmp_path, {"response": {"policy": {"maximum_target": 3}}})


@pytest.mark.parametrize(("criteria", "overall"), [("recist-1.1", "PR"), ("who", "PR"), ("irecist", "iPR")])
def test_criteria_that_ask_for_diameters_are_applied(tmp_path, criteria, overall):
    hospital = Hospital(tmp_path, {"response": {"criteria": criteria}})
    hospital.process(BASELINE, FOLLOW_UP)
    assert hospital.time_points()[1]["report"]["assessment"]["overall"] == overall
