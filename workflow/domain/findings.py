"""Findings: what models and readers see of each lesion at a visit, one finding per lesion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from workflow.domain.geometry import FloatArray, Mask, Point, dice, lps_from_ijk
from workflow.domain.lesion import (
    Flag,
    LesionMeasurement,
    LesionPrompt,
    LesionState,
    ModelIdentity,
    SegmentedLesion,
    TrackedLesion,
)
from workflow.domain.matching import SAME_LESION_MM, likeness, radius_mm
from workflow.domain.series import StackKey
from workflow.domain.visit import KnownLesion

AS_DRAWN = ModelIdentity(name="as drawn by the reader", version="1", licence="n/a")
NOT_OUTLINED = ModelIdentity(name="none", version="1", licence="n/a")
# Two lesions whose voxels agree so much have grown into one.
MERGED_DICE = 0.5
# Two outlines of one lesion agree so much; neighbours do not.
SAME_LIKENESS = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Where the voxels of a stack lie: enough to compare masks of several stacks."""

    key: StackKey
    modality: str = ""
    frame_of_reference_uid: str | None
    affine: FloatArray
    spacing_mm: Point
    shape: tuple[int, int, int]

    def centre_lps(self, mask: Mask) -> FloatArray:
        """The centroid of a mask on this grid, LPS mm."""
        return lps_from_ijk(mask.centroid_ijk(), self.affine)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompted:
    """What a prompt gave on the stack that it was drawn on, and its size there."""

    prompt: LesionPrompt
    grid: Grid
    lesion: SegmentedLesion
    measurement: LesionMeasurement | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Tracked:
    """A known lesion found again (or not) on a stack, and its size there."""

    known: KnownLesion
    grid: Grid
    lesion: TrackedLesion
    measurement: LesionMeasurement | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """What is known of one lesion at a visit before it is written down."""

    mask: Mask | None
    measured_on: StackKey | None
    state: LesionState
    confidence: float | None
    model: ModelIdentity
    reason: str
    measurement: LesionMeasurement | None = None
    flags: frozenset[Flag] = frozenset()
    prompt: LesionPrompt | None = None
    known: KnownLesion | None = None
    expected_lps: Point | None = None


def similarity(one: Mask, one_grid: Grid, other: Mask, other_grid: Grid) -> float:
    """How much two outlines look like one lesion, 0 if they don't.

    On one grid by their voxels; on two grids of one frame of reference by their places and sizes;
    across frames of reference never.
    """
    if one.is_empty or other.is_empty:
        return 0.0
    if one_grid.key == other_grid.key:
        return likeness(one, other, one_grid.spacing_mm)
    frame = one_grid.frame_of_reference_uid
    if not frame or frame != other_grid.frame_of_reference_uid:
        return 0.0
    distance = float(np.linalg.norm(one_grid.centre_lps(one) - other_grid.centre_lps(other)))
    smaller = min(radius_mm(one, one_grid.spacing_mm), radius_mm(other, other_grid.spacing_mm))
    return max(0.0, 1 - distance / max(SAME_LESION_MM, smaller))


def join(
    roster: Sequence[KnownLesion],
    tracked: Sequence[Tracked],
    prompted: Sequence[Prompted],
    unseen: Mapping[str, str] | None = None,
) -> list[Finding]:
    """One finding per lesion: what a reader points at here counts more than what was tracked to here.

    A known lesion that was never outlined stays on the list, as not evaluable, until a prompt that carries
    its tracking UID shows it. So does one that could not be looked for here: the sum lacks it. Only a visit
    that shows none of the known lesions and has no prompt says nothing of them.

    Parameters
    ----------
    tracked
        A lesion's best place first; further ones are only compared with what was drawn there.
    unseen
        Why lesions were not looked for, by tracking UID.
    """
    unseen = unseen or {}
    prompted = _without_twins(prompted, {known.tracking_uid for known in roster})
    by_uid = {p.prompt.tracking_uid: i for i, p in enumerate(prompted) if p.prompt.tracking_uid}
    shown = {
        known.tracking_uid: by_uid[known.tracking_uid] for known in roster if known.tracking_uid in by_uid
    }
    # By place, where no identity says it already.
    free = [i for i in range(len(prompted)) if i not in shown.values()]
    open_lesions = [t for t in tracked if t.known.tracking_uid not in shown]
    for i, place in _pairs([prompted[i] for i in free], open_lesions).items():
        shown[open_lesions[place].known.tracking_uid] = free[i]
    found = {t.known.tracking_uid: t for t in reversed(tracked)}
    grids = {t.grid.key: t.grid for t in tracked}
    findings = []
    for known in roster:
        if known.tracking_uid in shown:
            finding = _prompted_finding(prompted[shown[known.tracking_uid]])
        elif known.tracking_uid in found:
            finding = _tracked_finding(found[known.tracking_uid])
        elif known.mask is None:
            finding = _unseen(
                "it was never outlined, so there is nothing to track; a prompt with its tracking UID shows it"
            )
        elif tracked or prompted:
            finding = _unseen(f"it was not looked for: {unseen.get(known.tracking_uid, 'nobody knows why')}")
        else:
            continue
        findings.append(replace(finding, known=known))
    rest = [i for i in range(len(prompted)) if i not in shown.values()]
    return [*_merged(findings, grids), *(_prompted_finding(prompted[i]) for i in rest)]


def _pairs(prompted: Sequence[Prompted], tracked: Sequence[Tracked]) -> dict[int, int]:
    """Pair prompts with tracked lesions, the likest first, each at most once."""
    pairs = sorted(
        (-score, p, t)
        for p, one in enumerate(prompted)
        for t, other in enumerate(tracked)
        if (score := similarity(one.lesion.mask, one.grid, other.lesion.mask, other.grid)) > 0
    )
    matched: dict[int, int] = {}
    taken: set[str] = set()
    for _, p, t in pairs:
        if p not in matched and tracked[t].known.tracking_uid not in taken:
            matched[p] = t
            taken.add(tracked[t].known.tracking_uid)
    return matched


def _tracked_finding(tracked: Tracked) -> Finding:
    lesion = tracked.lesion
    return Finding(
        mask=lesion.mask,
        measured_on=tracked.grid.key,
        measurement=tracked.measurement,
        state=lesion.state,
        confidence=lesion.confidence,
        model=lesion.model,
        reason=lesion.reason,
        flags=lesion.flags,
        expected_lps=lesion.expected_lps,
    )


def _unseen(reason: str) -> Finding:
    return Finding(
        mask=None,
        measured_on=None,
        state=LesionState.NOT_EVALUABLE,
        confidence=None,
        model=NOT_OUTLINED,
        reason=reason,
        flags=frozenset({Flag.EMPTY}),
    )


def _merged(findings: Sequence[Finding], grids: Mapping[StackKey, Grid]) -> list[Finding]:
    """Lesions that were tracked to the same voxels have grown into one: the one that was larger keeps them.

    RECIST 1.1, 4.3.2: the merged lesion is measured once, the others add nothing.
    """
    settled = list(findings)
    order = sorted(range(len(findings)), key=lambda i: (-_prior_size(findings[i]), i))
    for place, one in enumerate(order):
        for other in order[place + 1 :]:
            a, b = settled[one], settled[other]
            both_seen = a.state is b.state is LesionState.PRESENT and a.known and b.known
            if both_seen and a.known and _is_one_place(a, b, grids):
                settled[other] = replace(
                    b,
                    mask=None,
                    measurement=None,
                    state=LesionState.MERGED,
                    reason=f"has grown together with {a.known.label}, which stands for both",
                    flags=b.flags | {Flag.TOUCHES_NEIGHBOUR},
                )
    return settled


def _is_one_place(one: Finding, other: Finding, grids: Mapping[StackKey, Grid]) -> bool:
    if one.mask is None or other.mask is None or one.measured_on is None or other.measured_on is None:
        return False
    if one.measured_on == other.measured_on:
        return dice(one.mask, other.mask) >= MERGED_DICE
    if one.measured_on not in grids or other.measured_on not in grids:  # as a reader drew them: two
        return False
    alike = similarity(one.mask, grids[one.measured_on], other.mask, grids[other.measured_on])
    return alike >= SAME_LIKENESS


def _prior_size(finding: Finding) -> int:
    return finding.known.mask.voxel_count if finding.known and finding.known.mask else 0


def _without_twins(prompted: Sequence[Prompted], known: set[str]) -> list[Prompted]:
    """One prompt of those that show the same lesion (an SR and the SEG it refers to, a PET and its CT)."""
    kept: list[Prompted] = []
    for one in prompted:
        twin = next((i for i, other in enumerate(kept) if _are_twins(one, other)), None)
        if twin is None:
            kept.append(one)
        else:
            kept[twin] = _better(kept[twin], one, known)
    return kept


def _are_twins(one: Prompted, other: Prompted) -> bool:
    uid = one.prompt.tracking_uid
    if uid is not None and uid == other.prompt.tracking_uid:
        return True
    return similarity(one.lesion.mask, one.grid, other.lesion.mask, other.grid) >= SAME_LIKENESS


def _better(first: Prompted, second: Prompted, known: set[str]) -> Prompted:
    """The first of two outlines of a lesion, unless it shows nothing, or is on the PET of a PET/CT.

    RECIST 1.1 measures on the CT. The identity is the one that earlier visits know.
    """
    is_worse = first.lesion.mask.is_empty or first.grid.modality == "PT" != second.grid.modality
    shown = second if is_worse and not second.lesion.mask.is_empty else first
    uids = first.prompt.tracking_uid, second.prompt.tracking_uid
    uid = next((uid for uid in uids if uid in known), uids[0] or uids[1])
    return replace(shown, prompt=replace(shown.prompt, tracking_uid=uid))


def _prompted_finding(prompted: Prompted) -> Finding:
    lesion, prompt = prompted.lesion, prompted.prompt
    who = " ".join((prompt.created_by or "").replace("^", " ").split())
    said = f"{prompt.source}, marked by {who}" if who else f"{prompt.source}"
    is_empty = lesion.mask.is_empty
    return Finding(
        mask=lesion.mask,
        measured_on=prompted.grid.key,
        measurement=prompted.measurement,
        state=LesionState.NOT_EVALUABLE if is_empty else LesionState.PRESENT,
        confidence=lesion.confidence,
        model=lesion.model,
        reason=f"no voxel found at the prompt ({said})" if is_empty else f"shown by {said}",
        flags=lesion.flags | ({Flag.EMPTY} if is_empty else set()),
        prompt=prompt,
    )
