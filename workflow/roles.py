"""Roles at baseline: which lesions are followed as targets, by the rules of RECIST 1.1."""

from __future__ import annotations

from collections.abc import Sequence

from workflow.domain.lesion import LesionMeasurement, LesionPrompt
from workflow.domain.report import LesionRole
from workflow.domain.series import SeriesDescription


def choose_roles(
    found: Sequence[tuple[LesionPrompt | None, LesionMeasurement | None]], series: SeriesDescription
) -> list[tuple[LesionRole, str]]:
    """interim."""
    roles = []
    for prompt, size in found:
        node = bool(prompt and prompt.is_nodal)
        ok = size is not None and (
            size.short_axis.length_mm >= 15 if node else size.long_axis.length_mm >= 10
        )
        roles.append((LesionRole.TARGET if ok else LesionRole.NON_TARGET, "interim"))
    return roles
