"""mRECIST for hepatocellular carcinoma (Lencioni and Llovet 2010): RECIST on what still enhances arterially.

What differs from RECIST 1.1 here: a target's viable diameter counts, 0 where nothing enhances; progression
needs no absolute increase; a node at the porta hepatis is malignant from 20 mm short axis; a new nodule in
the liver below 10 mm is followed and, once it is 10 mm, dates progression back; a new effusion or ascites
needs cytology. Portal vein thrombosis, washout and cytology themselves are a reader's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workflow.domain.anatomy import is_nodal_name
from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response.organs import rule_organ
from workflow.domain.response.policy import Policies
from workflow.domain.response.target import diameter_um
from workflow.domain.response.timeline import Lesion, Observation, Timeline, TimePoint

HILAR_NODE_UM = 20_000
NODULE_UM = 10_000

# A pulmonary hilum is none of these.
_PORTA_HEPATIS = ("porta hepatis", "portahepatis", "hepatic hil", "liver hil", "hilum of liver",
                  "hilum of the liver", "hepatis", "periportal", "hepatoduodenal", "portocaval")  # fmt: skip
_FLUID = ("effusion", "ascites")


def viable_timeline(timeline: Timeline) -> Timeline:
    """The timeline as RECIST 1.1 has to see it to give mRECIST's response."""
    lesions = tuple(_as_node(lesion) for lesion in timeline.lesions)
    by_id = {lesion.id: lesion for lesion in lesions}
    measured = _with_viable_part(timeline.time_points)
    points = tuple(
        replace(point, observations=tuple(_seen(o, by_id, measured) for o in point.observations))
        for point in timeline.time_points
    )
    return replace(timeline, lesions=lesions, time_points=points)


def policies_of(policies: Policies) -> Policies:
    """The policies with mRECIST's own progression rule."""
    return replace(policies, progression_minimum_mm=0)


def is_hilar_node(lesion: Lesion) -> bool:
    """Whether it is a lymph node at the porta hepatis, by the words for its site."""
    words = " ".join(lesion.organ.lower().replace("_", " ").replace("-", " ").split())
    is_node = lesion.is_nodal or is_nodal_name(lesion.organ)
    return is_node and any(place in words for place in _PORTA_HEPATIS)


def _as_node(lesion: Lesion) -> Lesion:
    return replace(lesion, is_nodal=True) if is_hilar_node(lesion) else lesion


def _with_viable_part(points: Sequence[TimePoint]) -> frozenset[str]:
    """The lesions of which the viable part is measured at any time point."""
    return frozenset(o.lesion for p in points for o in p.observations if o.viable_um is not None)


def _seen(seen: Observation, lesions: dict[str, Lesion], measured: frozenset[str]) -> Observation:
    lesion = lesions.get(seen.lesion)
    viable = _viable(seen, measured)
    if lesion is None:
        return viable
    if is_hilar_node(lesion) and lesion.role is not LesionRole.TARGET:
        return _reactive(viable)
    return _doubted(viable, lesion) if lesion.role is LesionRole.NEW else viable


def _viable(seen: Observation, measured: frozenset[str]) -> Observation:
    """The viable diameter in place of the whole one, and never the whole one of a lesion that has both."""
    if seen.viable_um is not None:
        state = LesionState.DISAPPEARED if seen.viable_um == 0 else LesionState.PRESENT
        return replace(seen, diameter_um=seen.viable_um, state=state)
    is_gone = seen.state is LesionState.DISAPPEARED
    if seen.lesion in measured and not is_gone and diameter_um(seen, is_nodal=False) is not None:
        return replace(seen, state=LesionState.NOT_EVALUABLE)
    return seen


def _reactive(seen: Observation) -> Observation:
    """A node at the porta hepatis below 20 mm as one that is normal: cirrhosis enlarges nodes by itself."""
    size = diameter_um(seen, is_nodal=True)
    if size is None or size >= HILAR_NODE_UM or seen.has_progressed:
        return seen
    return replace(seen, state=LesionState.DISAPPEARED)


def _doubted(seen: Observation, lesion: Lesion) -> Observation:
    """A new finding that is no HCC yet as an equivocal one; the reader's "unequivocal" stands."""
    if seen.has_progressed:
        return seen
    size = diameter_um(seen, is_nodal=lesion.is_nodal)
    is_nodule = rule_organ(lesion) == "liver" and size is not None and size > 0
    is_fluid = any(word in lesion.organ.lower() for word in _FLUID)
    if is_fluid or (is_nodule and size is not None and size < NODULE_UM):
        return replace(seen, is_equivocal=True)
    # A nodule that has reached 10 mm ends the doubt that it was followed for; a reader's own stands.
    return replace(seen, is_equivocal=False) if is_nodule and seen.is_equivocal is None else seen
