"""WHO 1979/1981 (Miller): sums of products of perpendicular diameters, 50 % down and 25 % up.

Progression is judged for each lesion by itself, from its smallest product: one lesion 25 % larger is PD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workflow.domain.report import LesionRole
from workflow.domain.response.course import Assessment
from workflow.domain.response.other_lesions import (
    NewLesionAssessment,
    assess_non_target,
    is_assessed,
    new_lesions_at,
)
from workflow.domain.response.overall import overall_response
from workflow.domain.response.perpendicular import (
    Size,
    area_text,
    change_text,
    product,
    size_text,
    sizes_at,
    smaller,
    sum_of_products,
)
from workflow.domain.response.recist11 import plain_or_none
from workflow.domain.response.timeline import Lesion, Timeline, TimePoint
from workflow.domain.response.values import Response

R = Response


@dataclass(frozen=True, kw_only=True)
class _Disease:
    """The patient's lesions by role."""

    targets: tuple[Lesion, ...]
    others: tuple[Lesion, ...]
    new: tuple[Lesion, ...]


def assess_time_points(timeline: Timeline) -> tuple[Assessment, ...]:
    """The response of every time point: CR, PR, SD, PD or NE."""
    disease = _Disease(
        targets=tuple(x for x in timeline.lesions if x.role is LesionRole.TARGET),
        others=tuple(x for x in timeline.lesions if x.role is LesionRole.NON_TARGET),
        new=tuple(x for x in timeline.lesions if x.role is LesionRole.NEW),
    )
    found = new_lesions_at(disease.new, timeline.follow_ups)
    assessments: list[Assessment] = []
    baseline_spd: int | None = None
    smallest: Mapping[str, Size] = {}
    if timeline.baseline is not None:
        sizes = sizes_at(disease.targets, timeline.baseline)
        baseline_spd, smallest = sum_of_products(sizes), smaller({}, sizes)
        assessments.append(_baseline(timeline.baseline, baseline_spd))
    for point in timeline.follow_ups:
        assessments.append(_assess(disease, point, found[point.id], baseline_spd, smallest))
        smallest = smaller(smallest, sizes_at(disease.targets, point))
    return tuple(assessments)


def _baseline(point: TimePoint, spd: int | None) -> Assessment:
    text = "no sum of products" if spd is None else f"sum of products {area_text(spd)}"
    return Assessment(time_point=point.id, date=point.date, is_baseline=True, reason=f"baseline: {text}")


def _assess(
    disease: _Disease,
    point: TimePoint,
    new: NewLesionAssessment,
    baseline_spd: int | None,
    smallest: Mapping[str, Size],
) -> Assessment:
    has_others = bool(disease.others) or point.non_target is not None
    non_target = assess_non_target(disease.others, point, has_non_target=has_others)
    target, why = _target(disease.targets, point, baseline_spd, smallest)
    overall = overall_response(
        plain_or_none(target), plain_or_none(non_target.response), has_new_lesion=new.counts
    )
    reason = new.reason if new.counts else why
    if non_target.response is not None and not new.counts:
        reason = f"{reason}; non-target {non_target.response} ({non_target.reason})"
    if point.overall is not None:
        overall, reason = point.overall, "given"
    elif new.finding is None and not is_assessed(point):
        overall, reason = R.NE, "nothing was assessed"
    return Assessment(
        time_point=point.id,
        date=point.date,
        target=target,
        non_target=non_target.response,
        new_lesion=new.finding,
        overall=overall,
        reason=f"{overall}: {reason}",
        target_reason=why,
        non_target_reason=non_target.reason,
        new_lesion_reason=new.reason,
        is_back_dated=new.is_back_dated,
    )


def _target(
    targets: Sequence[Lesion], point: TimePoint, baseline_spd: int | None, smallest: Mapping[str, Size]
) -> tuple[Response | None, str]:
    if point.target is not None:
        return point.target, "given"
    if not targets:
        return None, "no target lesions"
    sizes = sizes_at(targets, point)
    grown = [
        f"{name} {size_text(size)} is a quarter or more above its least of {size_text(smallest[name])}"
        for name, size in sizes.items()
        if size is not None and name in smallest and is_quarter_more(product(size), product(smallest[name]))
    ]
    if grown:
        return R.PD, "; ".join(grown)
    spd = sum_of_products(sizes)
    if spd is None or baseline_spd is None:
        missing = [name for name, size in sizes.items() if size is None]
        return R.NE, f"not measured in two dimensions: {', '.join(missing) or 'the baseline'}"
    if spd == 0:
        return R.CR, "all lesions have disappeared"
    return (R.PR if 2 * spd <= baseline_spd else R.SD), change_text(spd, baseline_spd, "baseline")


def is_quarter_more(now: int, least: int) -> bool:
    """Whether a product is 25 % or more above another; anything is above nothing."""
    return now > least and 4 * now >= 5 * least
