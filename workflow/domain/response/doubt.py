"""Doubt about new lesions: it lasts until somebody decides, also where criteria look at single visits."""

from __future__ import annotations

from dataclasses import replace

from workflow.domain.report import LesionRole
from workflow.domain.response.other_lesions import Seen, seen_of
from workflow.domain.response.timeline import Lesion, Observation, Timeline


def with_lasting_doubt(timeline: Timeline) -> Timeline:
    """The timeline in which a new lesion that was called equivocal stays so until it is decided or gone."""
    new = {lesion.id: lesion for lesion in timeline.lesions if lesion.role is LesionRole.NEW}
    if not any(o.is_equivocal for p in timeline.time_points for o in p.observations if o.lesion in new):
        return timeline
    doubted: set[str] = set()
    points = []
    for point in timeline.time_points:
        seen = tuple(_told(o, new.get(o.lesion), doubted) for o in point.observations)
        points.append(replace(point, observations=seen))
    return replace(timeline, time_points=tuple(points))


def _told(seen: Observation, lesion: Lesion | None, doubted: set[str]) -> Observation:
    if lesion is None:
        return seen
    if seen.is_equivocal is not None:
        (doubted.add if seen.is_equivocal else doubted.discard)(lesion.id)
    if seen_of(lesion, seen) is Seen.GONE:
        doubted.discard(lesion.id)
    return replace(seen, is_equivocal=True) if lesion.id in doubted else seen
