"""Measurability at baseline (RECIST 1.1, 3.1): which lesions may be targets, and why the others may not."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from enum import StrEnum

from workflow.domain.report import LesionRole
from workflow.domain.response.policy import Policies
from workflow.domain.response.quantities import mm_text
from workflow.domain.response.timeline import Lesion

MEASURABLE_UM = 10_000
MEASURABLE_ON_RADIOGRAPH_UM = 20_000
TARGET_NODE_UM = 15_000
PATHOLOGICAL_NODE_UM = 10_000
THICK_INTERVAL_UM = 5_000
BASELINE_WINDOW_DAYS = 28


class Method(StrEnum):
    """How a lesion was measured."""

    CT = "CT"
    MR = "MR"
    RADIOGRAPH = "chest radiograph"
    CALIPER = "caliper"


class Kind(StrEnum):
    """What a lesion is, as far as measurability asks."""

    SOLID = "solid"
    CYSTIC = "cystic metastasis"
    BONE_WITH_SOFT_TISSUE = "lytic or mixed bone lesion with soft tissue"
    BONE_WITHOUT_SOFT_TISSUE = "bone lesion without soft tissue"
    BLASTIC_BONE = "blastic bone lesion"
    LEPTOMENINGEAL = "leptomeningeal disease"
    EFFUSION = "ascites, pleural or pericardial effusion"
    INFLAMMATORY_BREAST = "inflammatory breast disease"
    LYMPHANGITIC = "lymphangitic involvement"
    ORGANOMEGALY = "organomegaly by physical examination"


_NEVER_MEASURABLE = frozenset(Kind) - {Kind.SOLID, Kind.CYSTIC, Kind.BONE_WITH_SOFT_TISSUE}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A lesion at baseline. Lengths are whole µm.

    Attributes
    ----------
    slice_interval_um
        The larger of SliceThickness and the distance between slices, None if unknown.
    interval_source
        Which of the two it is, to be shown with the reason.
    was_treated_locally, has_progressed_since
        Irradiated or otherwise treated before, and grown since then.
    is_reproducible
        Whether its outline can be measured again with confidence; the reader's or the segmenter's word.
    """

    lesion: Lesion
    long_axis_um: int | None = None
    short_axis_um: int | None = None
    slice_interval_um: int | None = None
    interval_source: str = "slice interval"
    method: Method = Method.CT
    kind: Kind = Kind.SOLID
    was_treated_locally: bool = False
    has_progressed_since: bool = False
    is_reproducible: bool = True

    @property
    def size_um(self) -> int | None:
        """The diameter that counts: the short axis of a node, else the long axis."""
        return self.short_axis_um if self.lesion.is_nodal else self.long_axis_um


@dataclass(frozen=True, kw_only=True)
class Measurability:
    """Whether a lesion may be a target; `role` is what it may be at most, None for a normal node."""

    is_measurable: bool
    role: LesionRole | None
    reason: str


def measurability(candidate: Candidate, policies: Policies) -> Measurability:
    """Judge one lesion; total."""
    if candidate.kind in _NEVER_MEASURABLE:
        return _not_measurable(f"{candidate.kind} is not measurable")
    if candidate.size_um is None:
        return _not_measurable("it has no measurement")
    if candidate.lesion.is_nodal:
        return _node(candidate, candidate.size_um, policies)
    least, why = _least_diameter(candidate)
    if candidate.size_um < least:
        return _not_measurable(f"{mm_text(candidate.size_um)} is below {mm_text(least)} ({why})")
    return _treated(candidate) or _measurable(
        f"{mm_text(candidate.size_um)}, at least {mm_text(least)} ({why})"
    )


def _node(candidate: Candidate, short_axis: int, policies: Policies) -> Measurability:
    size, least = f"short axis {mm_text(short_axis)}", mm_text(TARGET_NODE_UM)
    if short_axis < PATHOLOGICAL_NODE_UM:
        return Measurability(is_measurable=False, role=None, reason=f"{size}: a normal node, not recorded")
    if short_axis < TARGET_NODE_UM:
        return _not_measurable(f"{size}: pathological, but below {least}")
    interval = candidate.slice_interval_um
    if policies.node_double_slice_rule and interval is not None and short_axis < 2 * interval:
        return _not_measurable(
            f"{size} is below twice the {candidate.interval_source} of {mm_text(interval)}"
        )
    return _treated(candidate) or _measurable(f"{size}, at least {least}")


def _treated(candidate: Candidate) -> Measurability | None:
    if candidate.was_treated_locally and not candidate.has_progressed_since:
        return _not_measurable("treated locally before and not grown since")
    return None


def _least_diameter(candidate: Candidate) -> tuple[int, str]:
    if candidate.method is Method.RADIOGRAPH:
        return MEASURABLE_ON_RADIOGRAPH_UM, candidate.method
    if candidate.method is Method.CALIPER:
        return MEASURABLE_UM, candidate.method
    interval = candidate.slice_interval_um
    if interval is not None and interval > THICK_INTERVAL_UM:
        return 2 * interval, f"twice the {candidate.interval_source} of {mm_text(interval)}"
    return MEASURABLE_UM, f"{candidate.method}, slices up to {mm_text(THICK_INTERVAL_UM)}"


def _measurable(reason: str) -> Measurability:
    return Measurability(is_measurable=True, role=LesionRole.TARGET, reason=reason)


def _not_measurable(reason: str) -> Measurability:
    return Measurability(is_measurable=False, role=LesionRole.NON_TARGET, reason=reason)


def baseline_warning(baseline: datetime.date, treatment_start: datetime.date) -> str | None:
    """What is wrong with the baseline's day, if anything: at most four weeks before treatment (3.2.1)."""
    days = (treatment_start - baseline).days
    if days < 0:
        return f"the baseline of {baseline} is {-days} days after the start of treatment ({treatment_start})"
    if days > BASELINE_WINDOW_DAYS:
        return (
            f"the baseline of {baseline} is {days} days before the start of treatment ({treatment_start}); "
            f"RECIST asks for at most {BASELINE_WINDOW_DAYS}"
        )
    return None
