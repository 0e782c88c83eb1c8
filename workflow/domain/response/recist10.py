"""RECIST 1.0 (Therasse 2000) where it differs from 1.1: longest diameters, also of nodes, and 20 % alone.

Ten targets, five in one organ, are for the reader to choose. A node is a lesion like any other: it is
measured by its longest diameter and must disappear for a complete response.
"""

from __future__ import annotations

from dataclasses import replace

from workflow.domain.response.policy import Policies
from workflow.domain.response.timeline import Observation, Timeline


def longest_timeline(timeline: Timeline) -> Timeline:
    """The timeline with nodes measured like other lesions; a diameter that is only given as such stays."""
    nodes = {lesion.id for lesion in timeline.lesions if lesion.is_nodal}
    points = tuple(
        replace(p, observations=tuple(_longest(o) if o.lesion in nodes else o for o in p.observations))
        for p in timeline.time_points
    )
    lesions = tuple(replace(lesion, is_nodal=False) for lesion in timeline.lesions)
    return replace(timeline, lesions=lesions, time_points=points)


def _longest(seen: Observation) -> Observation:
    return seen if seen.long_axis_um is None else replace(seen, diameter_um=seen.long_axis_um)


def policies_of(policies: Policies) -> Policies:
    """The policies with RECIST 1.0's progression: 20 % and no least increase in mm."""
    return replace(policies, progression_minimum_mm=0)
