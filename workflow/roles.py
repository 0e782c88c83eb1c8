"""Roles of lesions that are seen for the first time, by the rules of RECIST 1.1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from workflow.domain.anatomy import site_of
from workflow.domain.lesion import Flag, LesionMeasurement, LesionPrompt
from workflow.domain.report import LesionRole
from workflow.domain.response import Lesion, Policies, micrometres
from workflow.domain.response.eligibility import Candidate, measurability
from workflow.domain.response.organs import rule_organ
from workflow.domain.response.selection import choose_targets
from workflow.domain.series import SeriesDescription, slice_interval

Found = tuple[LesionPrompt, LesionMeasurement | None, frozenset[Flag]]
# A role and its reason; no role for what RECIST does not record (a normal node).
Role = tuple[LesionRole | None, str]

# What makes an outline hard to measure again.
_DOUBTFUL = frozenset(
    {Flag.TRUNCATED_AT_VOLUME_END, Flag.TOUCHES_PATCH_BORDER, Flag.LOW_CONFIDENCE, Flag.EMPTY}
)


def roles_at_baseline(
    found: Sequence[Found],
    series: SeriesDescription,
    policies: Policies,
    taken: Counter[tuple[str, bool]],
) -> list[Role]:
    """Choose the targets among a baseline's lesions: at most five, two per organ (RECIST 1.1, 3.2).

    `taken` counts the targets by (organ, is_nodal) that other studies of the baseline have already.
    """
    candidates = [_candidate(i, one, series) for i, one in enumerate(found)]
    choices = choose_targets(candidates, policies).choices
    roles: dict[int, Role] = {}
    number, per_organ = sum(taken.values()), Counter[str]()
    for (organ, is_nodal), count in taken.items():
        per_organ[rule_organ(Lesion(id="", organ=organ, is_nodal=is_nodal))] += count
    for index in sorted(range(len(found)), key=lambda i: -(candidates[i].size_um or 0)):
        role, reason = choices[index].role, choices[index].reason
        organ = rule_organ(candidates[index].lesion)
        if role is LesionRole.TARGET:
            is_full = bool(organ) and per_organ[organ] >= policies.maximum_targets_per_organ
            if is_full or number >= policies.maximum_targets:
                role, reason = (
                    LesionRole.NON_TARGET,
                    "non-target: another study of the baseline has the targets",
                )
            else:
                number += 1
                per_organ[organ] += 1
        roles[index] = (role, reason)
    return [roles[index] for index in range(len(found))]


def roles_of_new(found: Sequence[Found], series: SeriesDescription, policies: Policies) -> list[Role]:
    """Lesions that no earlier time point showed are new, also where nothing was imaged before (4.3.5).

    A node below 10 mm is normal, and so no new lesion.
    """
    roles: list[Role] = []
    for index, one in enumerate(found):
        judged = measurability(_candidate(index, one, series), policies)
        if judged.role is None:
            roles.append((None, f"not recorded: {judged.reason}"))
        else:
            roles.append((LesionRole.NEW, "not there at the earlier time points"))
    return roles


def _candidate(index: int, found: Found, series: SeriesDescription) -> Candidate:
    prompt, size, flags = found
    site = site_of(prompt.finding_site, prompt.finding_site_meaning or prompt.label)
    interval_mm, source = slice_interval(series)
    return Candidate(
        lesion=Lesion(
            id=f"{index:04d}",
            organ=prompt.organ or (site.organ if site else ""),
            is_nodal=prompt.is_nodal or bool(site and site.is_nodal),
        ),
        long_axis_um=micrometres(size.long_axis.length_mm) if size else None,
        short_axis_um=micrometres(size.short_axis.length_mm) if size else None,
        slice_interval_um=micrometres(interval_mm) if interval_mm else None,
        interval_source=source,
        is_reproducible=not flags & _DOUBTFUL,
    )
