"""What lasting doubts, local treatment and the protocol's size of too small lesions make of what was seen."""

from __future__ import annotations

from dataclasses import replace

from workflow.domain.lesion import LesionState
from workflow.domain.response.policy import Policies
from workflow.domain.response.target import TOO_SMALL_UM, diameter_um
from workflow.domain.response.timeline import (
    InterventionEffect,
    Lesion,
    Observation,
    Timeline,
    TimePoint,
)


def with_lasting_doubts(timeline: Timeline) -> Timeline:
    """The timeline in which a doubt about a lesion lasts until somebody decides.

    A lesion that is merely still there proves nothing: where nobody says whether it is equivocal, it is as
    it was.
    """
    if not any(o.is_equivocal for point in timeline.time_points for o in point.observations):
        return timeline
    doubted: set[str] = set()
    points = []
    for point in timeline.time_points:
        doubted |= {o.lesion for o in point.observations if o.is_equivocal}
        doubted -= {o.lesion for o in point.observations if o.is_equivocal is False}
        observations = tuple(
            replace(o, is_equivocal=True) if o.is_equivocal is None and o.lesion in doubted else o
            for o in point.observations
        )
        points.append(replace(point, observations=observations))
    return replace(timeline, time_points=tuple(points))


def as_judged(timeline: Timeline, policies: Policies) -> Timeline:
    """The timeline as the criteria judge it; the same one where nothing in it asks for a change.

    A lesion that surgery, radiotherapy and the like has changed is not evaluable from then on, or at that
    time point, whatever it measures: what is left of it is no response to the systemic therapy (EORTC Q&A).
    An intervention at the baseline was before it, and changes nothing. A reader's verdict of unequivocal
    progression stands.
    """
    points = timeline.time_points
    if any(o.intervention for point in timeline.follow_ups for o in point.observations):
        points = _without_treated(timeline)
    if 1000 * policies.too_small_mm != TOO_SMALL_UM:
        nodal = {lesion.id: lesion.is_nodal for lesion in timeline.lesions}
        size = 1000 * policies.too_small_mm
        points = tuple(
            replace(point, observations=tuple(_sized(o, size, nodal[o.lesion]) for o in point.observations))
            for point in points
        )
    return timeline if points is timeline.time_points else replace(timeline, time_points=points)


def _sized(seen: Observation, too_small_um: int, is_nodal: bool) -> Observation:
    is_unmeasured = diameter_um(seen, is_nodal=is_nodal) is None
    if seen.state is not LesionState.TOO_SMALL or not is_unmeasured:
        return seen
    return replace(seen, diameter_um=too_small_um)


def _without_treated(timeline: Timeline) -> tuple[TimePoint, ...]:
    baseline = timeline.baseline
    treated: dict[str, str] = {}
    points = []
    for point in timeline.time_points:
        if point is not baseline:
            point = _judged(point, timeline.lesions, treated)
        points.append(point)
    return tuple(points)


def _judged(point: TimePoint, lesions: tuple[Lesion, ...], treated: dict[str, str]) -> TimePoint:
    """The time point without the treated lesions' sizes; `treated` gets the lesions excluded from here on."""
    lost = dict(treated)
    for seen in point.observations:
        if seen.intervention is None:
            continue
        effect, text = seen.intervention.taken_effect, seen.intervention.text
        if effect is InterventionEffect.EXCLUDED:
            treated[seen.lesion] = text
        if effect is not InterventionEffect.NONE:
            lost[seen.lesion] = text
    if not lost:
        return point
    observations = (
        _not_evaluable(seen, lost[seen.lesion]) if seen.lesion in lost else seen
        for seen in point.observations
    )
    return replace(point, observations=tuple(observations))


def _not_evaluable(seen: Observation, why: str) -> Observation:
    return Observation(
        lesion=seen.lesion,
        state=LesionState.NOT_EVALUABLE,
        has_progressed=seen.has_progressed,
        intervention=seen.intervention,
        reason=seen.reason or why,
    )
