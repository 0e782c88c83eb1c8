"""Short ways to say what was seen."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from workflow.domain.response import (
    Course,
    Criteria,
    Lesion,
    Observation,
    Policies,
    Protocol,
    Timeline,
    TimePoint,
    assess,
    micrometres,
    response_of,
)

START = datetime.date(2024, 1, 1)


def day(number: int) -> datetime.date:
    """A date that many days after the start."""
    return START + datetime.timedelta(days=number)


def follow(
    sums: Sequence[float | str | None],
    *,
    is_nodal: bool = False,
    interval: int = 56,
    criteria: Criteria = Criteria.RECIST_1_1,
    **policies: object,
) -> Course:
    """The course of one target lesion of these diameters (mm; None: not evaluable), the first at baseline."""
    points = tuple(
        TimePoint(
            id=f"TP{number}",
            date=day(interval * number),
            observations=(Observation(lesion="T1", diameter_um=None if mm is None else micrometres(mm)),),
        )
        for number, mm in enumerate(sums)
    )
    timeline = Timeline(lesions=(Lesion(id="T1", organ="liver", is_nodal=is_nodal),), time_points=points)
    return assess(timeline, Protocol(criteria=criteria, policies=Policies.from_mapping(policies)))


def overalls(course: Course) -> list[str | None]:
    """The overall responses after baseline."""
    return [a.overall.value if a.overall else None for a in course.assessments if not a.is_baseline]


def sequence(
    entries: Sequence[tuple[int, str]], *, criteria: Criteria = Criteria.RECIST_1_1, **policies: object
) -> Course:
    """The course of given overall responses, each with its day after the start."""
    points = tuple(
        TimePoint(id=f"V{number}", date=day(days), overall=response_of(word), is_baseline=False)
        for number, (days, word) in enumerate(entries, start=1)
    )
    timeline = Timeline(time_points=points, reference_date=START)
    return assess(timeline, Protocol(criteria=criteria, policies=Policies.from_mapping(policies)))


MM = 1000


def visits_of(
    criteria: Criteria,
    lesions: Sequence[Lesion],
    *visits: Sequence[Observation],
    interval: int = 56,
    policies: Policies | None = None,
    radiotherapy_end: datetime.date | None = None,
    **levels: dict[str, Any],
) -> Course:
    """The course of visits V0 (baseline), V1, … `interval` days apart; `levels` gives more of a visit."""
    points = tuple(
        TimePoint(
            **{
                "id": f"V{number}",
                "date": day(interval * number),
                "observations": tuple(seen),
                **levels.get(f"V{number}", {}),
            }
        )
        for number, seen in enumerate(visits)
    )
    timeline = Timeline(lesions=tuple(lesions), time_points=points, radiotherapy_end=radiotherapy_end)
    return assess(timeline, Protocol(criteria=criteria, policies=policies or Policies()))


def both_axes(name: str, long_mm: float, short_mm: float, **more: Any) -> Observation:
    """A lesion measured in two dimensions."""
    return Observation(
        lesion=name, long_axis_um=micrometres(long_mm), short_axis_um=micrometres(short_mm), **more
    )
