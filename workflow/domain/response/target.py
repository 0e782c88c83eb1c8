"""Target lesions: what each puts into the sum, and the response of the sum (RECIST 1.1, 4.3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workflow.domain.lesion import LesionState
from workflow.domain.response.confirmation import Dated, has_confirmed_complete_response, is_confirmed
from workflow.domain.response.course import LesionContribution
from workflow.domain.response.organs import rule_organ
from workflow.domain.response.policy import CarryForward, Policies, Reappearance
from workflow.domain.response.quantities import falls_by, mm_text, percent_text, rises_by
from workflow.domain.response.timeline import Lesion, Observation, TimePoint
from workflow.domain.response.values import Response

TOO_SMALL_UM = 5_000  # RECIST 1.1, 4.3.2: present, but too small to measure
NORMAL_NODE_UM = 10_000  # a node with a shorter short axis is normal
PROGRESSION_UM = 5_000  # the absolute increase that progression needs beside the 20 %
PROGRESSION_PERCENT = 20
RESPONSE_PERCENT = 30

_UNSEEN = frozenset({LesionState.NOT_EVALUABLE, LesionState.TRACKING_FAILED})


def diameter_um(observation: Observation, *, is_nodal: bool) -> int | None:
    """The measured diameter that the criteria sum, µm: as given, else the fragments' sum, else the axis."""
    if observation.diameter_um is not None:
        return observation.diameter_um
    if observation.fragments_um:
        return sum(observation.fragments_um)
    return observation.short_axis_um if is_nodal else observation.long_axis_um


def state_of(observation: Observation | None, *, is_nodal: bool) -> LesionState:
    """The lesion's state, from its measurement where the reader gave none."""
    if observation is None:
        return LesionState.NOT_EVALUABLE
    if observation.state is not None:
        return observation.state
    measured = diameter_um(observation, is_nodal=is_nodal)
    if measured is None:
        return LesionState.NOT_EVALUABLE
    return LesionState.PRESENT if measured else LesionState.DISAPPEARED


def is_gone(lesion: Lesion, diameter: int) -> bool:
    """Whether a diameter (µm) means no disease: 0 mm, or less than 10 mm short axis of a node."""
    return diameter < NORMAL_NODE_UM if lesion.is_nodal else diameter == 0


def contributions_of(lesions: Sequence[Lesion], point: TimePoint) -> tuple[LesionContribution, ...]:
    """What each target lesion puts into the sum of a time point."""
    return tuple([_contribution(lesion, point, lesions) for lesion in lesions])


def _contribution(lesion: Lesion, point: TimePoint, lesions: Sequence[Lesion]) -> LesionContribution:
    diameter, reason = _part_of_sum(lesion, point, lesions)
    return LesionContribution(lesion=lesion.id, diameter_um=diameter, reason=reason)


def _part_of_sum(lesion: Lesion, point: TimePoint, lesions: Sequence[Lesion]) -> tuple[int | None, str]:
    name, observation = lesion.id, point.observation_of(lesion.id)
    if observation is None:
        return None, f"{name} was not assessed"
    state = state_of(observation, is_nodal=lesion.is_nodal)
    measured = diameter_um(observation, is_nodal=lesion.is_nodal)
    if state in _UNSEEN:
        return None, f"{name} is not evaluable" + (f" ({observation.reason})" if observation.reason else "")
    if state is LesionState.DISAPPEARED:
        # A node keeps its short axis even below 10 mm (RECIST 1.1, 4.3.2); nothing else has one any more.
        kept = measured if lesion.is_nodal and measured is not None else 0
        return kept, f"{name} has disappeared ({mm_text(kept)})"
    if measured is not None:
        return measured, f"{name} {mm_text(measured)}"
    if state is LesionState.TOO_SMALL:
        return TOO_SMALL_UM, f"{name} is too small to measure ({mm_text(TOO_SMALL_UM)})"
    if state is LesionState.MERGED:
        return _part_of_merged(lesion, observation, point, lesions)
    return None, f"{name} has no measurement"


def _part_of_merged(
    lesion: Lesion, observation: Observation, point: TimePoint, lesions: Sequence[Lesion]
) -> tuple[int | None, str]:
    """0 mm where another target carries the diameter of the merged lesions; without one it is unknown."""
    name, into = lesion.id, observation.merged_into
    carriers = [x for x in lesions if x.id == into] if into else _possible_carriers(lesion, point, lesions)
    sizes = [_part_of_sum(carrier, point, lesions)[0] for carrier in carriers]
    # A lesion that is gone carries nothing, unless a reader says that it is the one.
    if any(size is not None if into else size for size in sizes):
        return 0, f"{name} has merged and is measured with {into or 'the other lesion'} (0 mm)"
    return None, f"{name} has merged, and no target lesion has the diameter of both"


def _possible_carriers(lesion: Lesion, point: TimePoint, lesions: Sequence[Lesion]) -> list[Lesion]:
    """Who may carry the diameter where it is not said: another merged lesion that is measured.

    Where no other lesion is called merged, any that is measured in the same organ.
    """
    merged: list[Lesion] = []
    others: list[Lesion] = []
    for other in lesions:
        seen = None if other is lesion else point.observation_of(other.id)
        if seen is None:
            continue
        is_merged = seen.state is LesionState.MERGED
        (merged if is_merged else others).append(other)
    measured = [
        x
        for x in merged
        if (o := point.observation_of(x.id)) and diameter_um(o, is_nodal=x.is_nodal) is not None
    ]
    if merged:
        return measured
    here = rule_organ(lesion)
    return [x for x in others if rule_organ(x) in ("", here) or not here]


@dataclass(frozen=True, kw_only=True)
class TargetHistory:
    """What the next time point is judged against."""

    baseline_um: int | None = None
    baseline_when: str = ""
    nadir_um: int | None = None
    nadir_point: TimePoint | None = None
    responses: tuple[Dated, ...] = ()
    overalls: tuple[Dated, ...] = ()

    def reappearance_is_progression(self, policies: Policies) -> bool:
        """Whether any disease seen now is progression, because an overall CR stands (Table 3, note a)."""
        if not self.overalls or policies.reappearance_after_complete_response is not Reappearance.ANY:
            return False
        return not policies.reappearance_needs_confirmed_complete_response or has_confirmed_complete_response(
            self.overalls, policies
        )

    def after(
        self,
        point: TimePoint,
        sum_um: int | None,
        response: Response,
        *,
        is_carried: bool,
        overalls: tuple[Dated, ...],
    ) -> TargetHistory:
        """The history once a time point is assessed; only whole sums reach the nadir.

        `overalls` are the overall responses since a complete one, and empty where none stands.
        """
        # After progression no partial response is left to carry forward; a carried one confirms nothing.
        kept = () if response is Response.PD else self.responses
        shown = Response.SD if is_carried else response
        is_nadir = sum_um is not None and (self.nadir_um is None or sum_um < self.nadir_um)
        return TargetHistory(
            baseline_um=self.baseline_um,
            baseline_when=self.baseline_when,
            nadir_um=sum_um if is_nadir else self.nadir_um,
            nadir_point=point if is_nadir else self.nadir_point,
            responses=(*kept, Dated(value=shown, date=point.date, time_point=point.id)),
            overalls=overalls,
        )


@dataclass(frozen=True, kw_only=True)
class TargetAssessment:
    """The response of the target lesions; `sum_um` is None where one of them is not evaluable."""

    response: Response
    reason: str
    sum_um: int | None = None
    contributions: tuple[LesionContribution, ...] = ()
    is_carried: bool = False


def sum_at(lesions: Sequence[Lesion], point: TimePoint) -> tuple[int | None, tuple[LesionContribution, ...]]:
    """The sum of diameters (µm; None if a lesion is not evaluable) and its parts; a given sum stands."""
    parts = contributions_of(lesions, point) if point.observations or not point.has_response else ()
    if point.sum_um is not None:
        return point.sum_um, parts if point.observations else ()
    if not parts or any(part.diameter_um is None for part in parts):
        return None, parts
    return sum(part.diameter_um or 0 for part in parts), parts


def assess_target(
    lesions: Sequence[Lesion], point: TimePoint, history: TargetHistory, policies: Policies
) -> TargetAssessment:
    """The target response of one time point; total, CR before PD before PR before SD."""
    total, parts = sum_at(lesions, point)
    if point.target is not None:
        return TargetAssessment(response=point.target, reason="given", sum_um=total, contributions=parts)
    response, reason = _judge(lesions, total, parts, history, policies)
    is_carried = response is Response.SD and _carries(history, policies)
    if is_carried:
        response, reason = Response.PR, f"{reason}; an earlier PR stays until progression"
    return TargetAssessment(
        response=response, reason=reason, sum_um=total, contributions=parts, is_carried=is_carried
    )


def _judge(
    lesions: Sequence[Lesion],
    total: int | None,
    parts: tuple[LesionContribution, ...],
    history: TargetHistory,
    policies: Policies,
) -> tuple[Response, str]:
    baseline, nadir = history.baseline_um, history.nadir_um
    if total is None:
        return _judge_part(lesions, parts, history, policies)
    if baseline is None or nadir is None:
        return Response.NE, f"sum {mm_text(total)}, but there is no baseline sum to compare it with"
    if baseline and _is_complete(lesions, total, parts):
        return Response.CR, _complete_reason(lesions, total)
    back = _reappeared(lesions, total, parts)
    if history.reappearance_is_progression(policies):
        return Response.PD, f"{back} after a complete response"
    if rises_by(total, nadir, percent=PROGRESSION_PERCENT, at_least=policies.progression_minimum_um):
        return Response.PD, _rise_reason(total, history)
    if not baseline:
        return Response.NE, f"sum {mm_text(total)}, but the baseline sum is 0 mm"
    if falls_by(total, baseline, percent=RESPONSE_PERCENT):
        return Response.PR, _fall_reason(total, baseline, history)
    return Response.SD, _stable_reason(total, baseline, nadir, history)


def _judge_part(
    lesions: Sequence[Lesion],
    parts: tuple[LesionContribution, ...],
    history: TargetHistory,
    policies: Policies,
) -> tuple[Response, str]:
    """Without all lesions only progression can be proven: by what was measured alone (RECIST 1.1, 4.4.2)."""
    measured = [part.diameter_um for part in parts if part.diameter_um is not None]
    missing = "; ".join(part.reason for part in parts if part.diameter_um is None)
    if not measured:
        return Response.NE, missing or "the target lesions were not assessed"
    part_sum, nadir = sum(measured), history.nadir_um
    if history.reappearance_is_progression(policies):
        by_id = {lesion.id: lesion for lesion in lesions}
        back = [p for p in parts if p.diameter_um is not None and not is_gone(by_id[p.lesion], p.diameter_um)]
        if back:
            return Response.PD, f"{', '.join(p.reason for p in back)}, seen again after a complete response"
    if nadir is not None and rises_by(
        part_sum, nadir, percent=PROGRESSION_PERCENT, at_least=policies.progression_minimum_um
    ):
        return Response.PD, f"the measured lesions alone: {_rise_reason(part_sum, history)} ({missing})"
    return Response.NE, missing


def _is_complete(lesions: Sequence[Lesion], total: int, parts: tuple[LesionContribution, ...]) -> bool:
    if not parts:
        # Only the sum is known: every node is normal if even all of them together are below 10 mm.
        return total == 0 or (bool(lesions) and all(x.is_nodal for x in lesions) and total < NORMAL_NODE_UM)
    by_id = {lesion.id: lesion for lesion in lesions}
    return all(
        part.diameter_um is not None and is_gone(by_id[part.lesion], part.diameter_um) for part in parts
    )


def _reappeared(lesions: Sequence[Lesion], total: int, parts: tuple[LesionContribution, ...]) -> str:
    by_id = {lesion.id: lesion for lesion in lesions}
    back = [
        p.reason for p in parts if p.diameter_um is not None and not is_gone(by_id[p.lesion], p.diameter_um)
    ]
    return f"{', '.join(back) or 'a sum of ' + mm_text(total)} seen again"


def _carries(history: TargetHistory, policies: Policies) -> bool:
    match policies.carry_forward:
        case CarryForward.IMMEDIATELY:
            return any(r.value in (Response.PR, Response.CR) for r in history.responses)
        case CarryForward.AFTER_CONFIRMATION:
            return is_confirmed(history.responses, policies)
        case _:
            return False


# ---------------------------------------------------------------- reasons


def nadir_text(history: TargetHistory) -> str:
    """The nadir with its day: "the nadir of 50 mm (2024-03-02)"."""
    when = history.nadir_point.when if history.nadir_point else history.baseline_when
    return f"the nadir of {mm_text(history.nadir_um or 0)} ({when})"


def _baseline_text(history: TargetHistory) -> str:
    return f"the baseline of {mm_text(history.baseline_um or 0)} ({history.baseline_when})"


def _rise_reason(total: int, history: TargetHistory) -> str:
    nadir = history.nadir_um or 0
    if nadir == 0:
        return f"{mm_text(total)} is {mm_text(total)} above {nadir_text(history)}"
    above = f"{percent_text(total, nadir)} and {mm_text(total - nadir)}"
    return f"{mm_text(total)} is {above} above {nadir_text(history)}"


def _fall_reason(total: int, baseline: int, history: TargetHistory) -> str:
    return f"{mm_text(total)} is {percent_text(total, baseline)} below {_baseline_text(history)}"


def _complete_reason(lesions: Sequence[Lesion], total: int) -> str:
    if total == 0:
        return "all target lesions have disappeared"
    if lesions and all(lesion.is_nodal for lesion in lesions):
        return f"all target nodes are below 10 mm (sum {mm_text(total)})"
    return f"all target lesions have disappeared and the nodes are below 10 mm (sum {mm_text(total)})"


def _stable_reason(total: int, baseline: int, nadir: int, history: TargetHistory) -> str:
    against_baseline = _difference(total, baseline, _baseline_text(history))
    if nadir == baseline:
        return against_baseline
    return f"{against_baseline}; {_difference(total, nadir, nadir_text(history))}"


def _difference(total: int, reference: int, name: str) -> str:
    if total == reference:
        return f"{mm_text(total)} equals {name}"
    direction = "above" if total > reference else "below"
    share = f"{percent_text(total, reference)} and " if reference else ""
    return f"{mm_text(total)} is {share}{mm_text(abs(total - reference))} {direction} {name}"
