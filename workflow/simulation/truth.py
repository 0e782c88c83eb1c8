"""The truth of a simulated course as plain values, and the response that RECIST 1.1 gives it.

The response here is worked out from the truth alone and on its own: it shares no code with the
response engine, so that the one can check the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workflow.domain.lesion import LesionState
from workflow.simulation.course import LesionAt, SimulatedCase, SimulatedLesion

FORMAT = "tumorline-simulated-truth-1"
_TARGETS_PER_ORGAN = 2
_TARGETS = 5
_NODE_MARGIN_MM = 2.5


@dataclass(frozen=True, kw_only=True)
class ExpectedResponse:
    """What a reader of the truth must come to at a time point; None: does not apply or too close to call."""

    sum_mm: float
    target: str | None
    non_target: str | None
    new_lesion: bool
    overall: str


def roles_of(lesions: Sequence[SimulatedLesion]) -> list[str]:
    """Role of each lesion: the two largest measurable ones of an organ are targets (RECIST 1.1, 3.1.1, 4.2).

    Measurable is a long axis of 10 mm, or a short axis of 15 mm for a node. A node whose short axis is
    under 10 mm is no lesion ("normal node").
    """
    roles = ["new" if lesion.at[0] is None else "non_target" for lesion in lesions]
    largest = sorted(range(len(lesions)), key=lambda i: -_size(lesions[i], 0))
    taken: dict[str, int] = {}
    for i in largest:
        lesion = lesions[i]
        if roles[i] == "new":
            continue
        if lesion.is_nodal and _size(lesion, 0) < 10:
            roles[i] = "normal node"
            continue
        is_measurable = _size(lesion, 0) >= (15 if lesion.is_nodal else 10)
        if (
            is_measurable
            and taken.get(lesion.organ, 0) < _TARGETS_PER_ORGAN
            and sum(taken.values()) < _TARGETS
        ):
            roles[i] = "target"
            taken[lesion.organ] = taken.get(lesion.organ, 0) + 1
    return roles


def expected_responses(case: SimulatedCase) -> list[ExpectedResponse | None]:
    """The response at each time point; None at baseline."""
    roles = roles_of(case.lesions)
    targets = [lesion for lesion, role in zip(case.lesions, roles, strict=True) if role == "target"]
    others = [lesion for lesion, role in zip(case.lesions, roles, strict=True) if role == "non_target"]
    sums = [sum(_size(lesion, i) for lesion in targets) for i in range(len(case.volumes))]
    responses: list[ExpectedResponse | None] = [None]
    for i in range(1, len(case.volumes)):
        target = _target_response(targets, sums[: i + 1])
        non_target = _non_target_response(others, i)
        is_new = any(lesion.at[0] is None and lesion.at[i] is not None for lesion in case.lesions)
        responses.append(
            ExpectedResponse(
                sum_mm=sums[i],
                target=target,
                non_target=non_target,
                new_lesion=is_new,
                overall=_overall(target, non_target, is_new=is_new),
            )
        )
    return responses


def _size(lesion: SimulatedLesion, time_point: int) -> float:
    at = lesion.at[time_point]
    if at is None or at.state is LesionState.DISAPPEARED or at.truth is None:
        return 0.0
    if at.state is LesionState.TOO_SMALL:
        return 5.0
    return at.truth.short_axis_mm if lesion.is_nodal else at.truth.long_axis.length_mm


def _target_response(targets: Sequence[SimulatedLesion], sums: Sequence[float]) -> str | None:
    """RECIST 1.1, 4.3.1, in the order in which the criteria overrule each other."""
    if not targets:
        return None
    now, nadir = sums[-1], min(sums[:-1])
    i = len(sums) - 1
    if all(_size(lesion, i) < 10 if lesion.is_nodal else _size(lesion, i) == 0 for lesion in targets):
        return "CR"
    if now >= 1.2 * nadir and now - nadir >= 5:
        return "PD"
    return "PR" if now <= 0.7 * sums[0] else "SD"


def _non_target_response(others: Sequence[SimulatedLesion], time_point: int) -> str | None:
    """CR if all are gone; None if a node is too near to 10 mm for a measurement to decide."""
    near = [lesion.is_nodal and abs(_size(lesion, time_point) - 10) < _NODE_MARGIN_MM for lesion in others]
    if not others or any(near):
        return None
    gone = [
        _size(lesion, time_point) < 10 if lesion.is_nodal else _size(lesion, time_point) == 0
        for lesion in others
    ]
    return "CR" if all(gone) else "NON-CR/NON-PD"


def _overall(target: str | None, non_target: str | None, *, is_new: bool) -> str:
    """RECIST 1.1, tables 1 and 2."""
    if is_new or target == "PD":
        return "PD"
    if target is None:
        return non_target or "NED"
    if target == "CR":
        return "CR" if non_target in (None, "CR") else "PR"
    return target


# ---------------------------------------------------------------- plain values


def truth_of_case(
    case: SimulatedCase, *, tracking_uids: Sequence[str | None] | None = None
) -> dict[str, Any]:
    """Lesions and expected responses of a case, ready for JSON; lengths in mm, positions in LPS mm."""
    roles = roles_of(case.lesions)
    uids = tracking_uids or [None] * len(case.lesions)
    return {
        "format": FORMAT,
        "seed": case.seed,
        "lesions": [
            {
                "label": lesion.label,
                "tracking_uid": uid,
                "fate": lesion.fate.value,
                "role": role,
                "organ": lesion.organ,
                "is_nodal": lesion.is_nodal,
                # A shape that was put in has one exact size; a contour of radiotherapy is one hand's opinion.
                "outline": "exact" if any(at and at.nodule for at in lesion.at) else "drawn by hand",
                "at": [_at(at) for at in lesion.at],
            }
            for lesion, role, uid in zip(case.lesions, roles, uids, strict=True)
        ],
        "responses": [None if r is None else _response(r) for r in expected_responses(case)],
        # Between pixel centres a perfect mask measures up to a pixel's diagonal less than the shape.
        "pixel_diagonal_mm": round(float(2**0.5 * max(case.volumes[0].spacing_mm[1:])), 3),
    }


def _at(at: LesionAt | None) -> dict[str, Any] | None:
    if at is None:
        return None
    values: dict[str, Any] = {"state": at.state.value, "centre_lps": [round(v, 2) for v in at.centre_lps]}
    if at.truth is not None:
        values |= {
            "long_axis_mm": round(at.truth.long_axis.length_mm, 2),
            "short_axis_mm": round(at.truth.short_axis_mm, 2),
            "volume_mm3": round(at.truth.volume_mm3, 1),
            "slice_index": at.truth.slice_index,
        }
    return values


def _response(response: ExpectedResponse) -> dict[str, Any]:
    return {
        "sum_mm": round(response.sum_mm, 2),
        "target": response.target,
        "non_target": response.non_target,
        "new_lesion": response.new_lesion,
        "overall": response.overall,
    }
