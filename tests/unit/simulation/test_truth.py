"""The truth file's response follows RECIST 1.1 from the truth alone."""

from __future__ import annotations

import numpy as np
import pytest

from workflow.domain.geometry import Mask, Volume
from workflow.domain.lesion import Axis, LesionState
from workflow.simulation.course import (
    DEMO_PLAN,
    RESPONSE_PLAN,
    Fate,
    LesionAt,
    SimulatedCase,
    SimulatedLesion,
    lung_case,
)
from workflow.simulation.nodules import NoduleTruth
from workflow.simulation.truth import expected_responses, roles_of, truth_of_case

GRID = Volume(array=np.zeros((2, 2, 2), dtype=np.int16), affine=np.eye(4))
NOTHING = Mask.from_array(np.zeros((0, 0, 0), dtype=bool), shape=(2, 2, 2))


def at(long_mm: float | None, short_mm: float | None = None) -> LesionAt | None:
    if long_mm is None:
        return None
    if long_mm == 0:
        return LesionAt(state=LesionState.DISAPPEARED, centre_lps=(0, 0, 0), mask=NOTHING)

    def axis(length: float) -> Axis:
        return Axis(start_lps=(0, 0, 0), end_lps=(length, 0, 0), length_mm=length)

    truth = NoduleTruth(
        long_axis=axis(long_mm), short_axis=axis(short_mm or long_mm * 0.8), slice_index=0, volume_mm3=1.0
    )
    state = LesionState.TOO_SMALL if long_mm < 5 else LesionState.PRESENT
    return LesionAt(state=state, centre_lps=(0, 0, 0), mask=NOTHING, truth=truth)


def case(*courses: list[float | None]) -> SimulatedCase:
    lesions = tuple(
        SimulatedLesion(label=f"L{n}", fate=Fate.STABLE, at=tuple(at(size) for size in course))
        for n, course in enumerate(courses)
    )
    return SimulatedCase(seed=0, volumes=(GRID,) * len(courses[0]), lesions=lesions)


@pytest.mark.parametrize(
    ("courses", "target", "overall"),
    [
        pytest.param(([50.0, 35.0],), "PR", "PR", id="exactly 30 % less"),
        pytest.param(([50.0, 35.1],), "SD", "SD", id="just under 30 % less"),
        pytest.param(([50.0, 60.0],), "PD", "PD", id="exactly 20 % more"),
        pytest.param(([50.0, 59.9],), "SD", "SD", id="just under 20 % more"),
        pytest.param(([12.0, 16.0],), "SD", "SD", id="33 % but under 5 mm more"),
        pytest.param(([30.0, 0.0],), "CR", "CR", id="gone"),
        pytest.param(([30.0, 0.0], [29.0, 0.0], [12.0, 12.0]), "CR", "PR", id="gone, a non-target stays"),
        pytest.param(([30.0, 30.0], [None, 12.0]), "SD", "PD", id="a new lesion"),
        pytest.param(([30.0, 4.0],), "PR", "PR", id="too small counts 5 mm"),
    ],
)
def test_response_of_a_follow_up(courses: tuple[list[float | None], ...], target: str, overall: str) -> None:
    response = expected_responses(case(*courses))[-1]
    assert response is not None
    assert (response.target, response.overall) == (target, overall)


def test_progression_is_judged_from_the_nadir() -> None:
    responses = expected_responses(case([60.0, 30.0, 40.0]))
    assert [r.overall if r else None for r in responses] == [None, "PR", "PD"]


def test_two_lesions_of_an_organ_are_targets_the_largest_first() -> None:
    assert roles_of(case([12.0, 1], [30.0, 1], [9.0, 1], [20.0, 1], [None, 9.0]).lesions) == [
        "non_target",
        "target",
        "non_target",
        "target",
        "new",
    ]


def test_the_plans_give_the_responses_that_they_promise() -> None:
    demo = expected_responses(lung_case(1, plan=DEMO_PLAN))
    assert [r.overall if r else None for r in demo] == [None, "PD"]
    assert demo[1] is not None
    assert (demo[1].target, demo[1].non_target, demo[1].new_lesion) == ("SD", "CR", True)
    course = expected_responses(lung_case(7, plan=RESPONSE_PLAN, time_points=3))
    assert [r.overall if r else None for r in course] == [None, "PR", "PD"]


def test_the_truth_as_values_names_every_lesion_and_time_point() -> None:
    truth = truth_of_case(case([30.0, 0.0], [None, 12.0]), tracking_uids=["1.2", "1.3"])
    one, new = truth["lesions"]
    assert one["at"][1] == {"state": "disappeared", "centre_lps": [0, 0, 0]}
    assert one["at"][0]["long_axis_mm"] == 30.0
    assert new["at"][0] is None
    assert new["tracking_uid"] == "1.3"
    assert truth["responses"][0] is None
