"""Non-target and new lesions: the reader's findings as a response (RECIST 1.1, 4.3.3-4.3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from workflow.domain.lesion import LesionState
from workflow.domain.response.target import NORMAL_NODE_UM, diameter_um, state_of
from workflow.domain.response.timeline import Lesion, Observation, TimePoint
from workflow.domain.response.values import NewLesion, Response

_UNSEEN = frozenset({LesionState.NOT_EVALUABLE, LesionState.TRACKING_FAILED})


class Seen(Enum):
    """What an observation means of a lesion that is not summed."""

    PROGRESSED = auto()
    PRESENT = auto()
    GONE = auto()
    UNSEEN = auto()


def seen_of(lesion: Lesion, observation: Observation | None) -> Seen:
    """A non-target or new lesion at a time point; a node below 10 mm is gone."""
    if observation is None:
        return Seen.UNSEEN
    if observation.has_progressed:
        return Seen.PROGRESSED
    state = state_of(observation, is_nodal=lesion.is_nodal)
    if state in _UNSEEN:
        return Seen.UNSEEN
    measured = diameter_um(observation, is_nodal=lesion.is_nodal)
    if state is LesionState.DISAPPEARED or measured == 0:
        return Seen.GONE
    if lesion.is_nodal and (state is LesionState.TOO_SMALL or (measured or NORMAL_NODE_UM) < NORMAL_NODE_UM):
        return Seen.GONE
    return Seen.PRESENT


@dataclass(frozen=True, kw_only=True)
class NonTargetAssessment:
    """The response of the non-target lesions; None where the patient has none."""

    response: Response | None
    reason: str = ""


def assess_non_target(
    lesions: Sequence[Lesion], point: TimePoint, *, has_non_target: bool
) -> NonTargetAssessment:
    """PD if the reader saw unequivocal progression, NE if not all were seen, CR if all are gone.

    `has_non_target` says whether the patient has non-target disease at all, by lesions or levels given.
    """
    if point.non_target is not None:
        return NonTargetAssessment(response=point.non_target, reason="given")
    if not has_non_target:
        return NonTargetAssessment(response=None, reason="no non-target lesions")
    seen = {lesion.id: seen_of(lesion, point.observation_of(lesion.id)) for lesion in lesions}

    def named(what: Seen) -> str:
        return ", ".join(name for name, how in seen.items() if how is what)

    if progressed := named(Seen.PROGRESSED):
        return NonTargetAssessment(response=Response.PD, reason=f"unequivocal progression of {progressed}")
    if not seen or (unseen := named(Seen.UNSEEN)):
        missing = unseen if seen else "the non-target lesions"
        return NonTargetAssessment(response=Response.NE, reason=f"not evaluated: {missing}")
    if present := named(Seen.PRESENT):
        return NonTargetAssessment(response=Response.NON_CR_NON_PD, reason=f"{present} persisting")
    return NonTargetAssessment(response=Response.CR, reason="all non-target lesions have disappeared")


@dataclass(frozen=True, kw_only=True)
class NewLesionAssessment:
    """Whether the time point shows new disease; None where nobody looked.

    `lesions` are the new lesions that count (or, equivocal, may count), by id. `is_back_dated`: equivocal
    here, proven at a later time point, so that progression is dated here.
    """

    finding: NewLesion | None
    reason: str = ""
    lesions: tuple[str, ...] = ()
    is_back_dated: bool = False

    @property
    def counts(self) -> bool:
        """Whether it is progression."""
        return self.finding is NewLesion.YES or self.is_back_dated


def new_lesions_at(lesions: Sequence[Lesion], points: Sequence[TimePoint]) -> dict[str, NewLesionAssessment]:
    """The finding at each time point after the baseline, by time point id; later ones prove earlier ones."""
    traces = [_trace(lesion, points) for lesion in lesions]
    found = [_finding(lesions, traces, points, index) for index in range(len(points))]
    return {point.id: _dated_back(found, traces, lesions, index) for index, point in enumerate(points)}


def _trace(lesion: Lesion, points: Sequence[TimePoint]) -> list[NewLesion]:
    """One new lesion over time: once seen it stays, until it is seen to be gone."""
    trace: list[NewLesion] = []
    last = NewLesion.NO
    for point in points:
        observation = point.observation_of(lesion.id)
        seen = seen_of(lesion, observation)
        if seen is Seen.GONE:
            last = NewLesion.NO
        elif seen is not Seen.UNSEEN and observation is not None:
            last = NewLesion.EQUIVOCAL if observation.is_equivocal else NewLesion.YES
        trace.append(last)
    return trace


def _finding(
    lesions: Sequence[Lesion], traces: Sequence[list[NewLesion]], points: Sequence[TimePoint], index: int
) -> NewLesionAssessment:
    point = points[index]
    certain = tuple(x.id for x, trace in zip(lesions, traces, strict=True) if trace[index] is NewLesion.YES)
    possible = tuple(
        x.id for x, trace in zip(lesions, traces, strict=True) if trace[index] is NewLesion.EQUIVOCAL
    )
    if point.new_lesion is not None:
        reason = {
            NewLesion.YES: "new lesion",
            NewLesion.EQUIVOCAL: "equivocal new lesion",
            NewLesion.NO: "no new lesion",
            NewLesion.NOT_EVALUABLE: "new lesions not evaluable",
        }[point.new_lesion]
        return NewLesionAssessment(finding=point.new_lesion, reason=reason, lesions=certain or possible)
    if certain:
        reason = f"new lesion {', '.join(certain)}"
        return NewLesionAssessment(finding=NewLesion.YES, reason=reason, lesions=certain)
    if possible:
        reason = f"equivocal new lesion {', '.join(possible)}"
        return NewLesionAssessment(finding=NewLesion.EQUIVOCAL, reason=reason, lesions=possible)
    if not is_assessed(point):
        return NewLesionAssessment(finding=None)
    return NewLesionAssessment(finding=NewLesion.NO, reason="no new lesion")


def _dated_back(
    found: Sequence[NewLesionAssessment],
    traces: Sequence[list[NewLesion]],
    lesions: Sequence[Lesion],
    index: int,
) -> NewLesionAssessment:
    here = found[index]
    if here.finding is not NewLesion.EQUIVOCAL:
        return here
    proven = any(_is_proven(trace, index) for trace in traces if trace[index] is NewLesion.EQUIVOCAL)
    if not proven and not here.lesions:
        proven = _is_proven([f.finding for f in found], index)
    if not proven:
        return here
    return NewLesionAssessment(
        finding=here.finding, reason=f"{here.reason}, proven later", lesions=here.lesions, is_back_dated=True
    )


def _is_proven(trace: Sequence[NewLesion | None], index: int) -> bool:
    """Whether an equivocal finding becomes certain before it is ruled out."""
    for later in trace[index + 1 :]:
        if later is NewLesion.YES:
            return True
        if later is NewLesion.NO:
            return False
    return False


def is_assessed(point: TimePoint) -> bool:
    """Whether anything at all was looked at or given at a time point."""
    if point.has_response or point.sum_um is not None:
        return True
    return any(says_something(observation) for observation in point.observations)


def says_something(observation: Observation) -> bool:
    """Whether an observation tells anything of its lesion: a state that was seen, a size or a verdict."""
    if observation.state is not None:
        return observation.state not in _UNSEEN
    return (
        observation.diameter_um is not None
        or observation.long_axis_um is not None
        or observation.short_axis_um is not None
        or bool(observation.fragments_um)
        or observation.has_progressed
    )
