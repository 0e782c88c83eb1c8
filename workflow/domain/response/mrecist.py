"""mRECIST for hepatocellular carcinoma (Lencioni 2010): RECIST on what still enhances in the arterial phase.

Differs from RECIST 1.1 in two things here: a target's viable diameter counts where it is given, and
progression needs no absolute increase beside the 20 %. Its rules for effusions, portal vein thrombosis and
hilar nodes (20 mm) are a reader's to apply.
"""

from __future__ import annotations

from dataclasses import replace

from workflow.domain.lesion import LesionState
from workflow.domain.response.policy import Policies
from workflow.domain.response.timeline import Observation, Timeline


def viable_timeline(timeline: Timeline) -> Timeline:
    """The timeline with every viable diameter in place of the whole one."""
    points = tuple(
        replace(point, observations=tuple(_viable(o) for o in point.observations))
        for point in timeline.time_points
    )
    return replace(timeline, time_points=points)


def _viable(observation: Observation) -> Observation:
    if observation.viable_um is None:
        return observation
    state = LesionState.DISAPPEARED if observation.viable_um == 0 else LesionState.PRESENT
    return replace(observation, diameter_um=observation.viable_um, state=state)


def policies_of(policies: Policies) -> Policies:
    """The policies with mRECIST's own progression rule."""
    return replace(policies, progression_minimum_mm=0)
