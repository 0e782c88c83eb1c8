"""Findings: what models and readers see of each lesion on one volume, one finding per lesion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from db.masks import unpack_mask
from db.tables import TimePointRow
from workflow.context import Context
from workflow.domain.geometry import Mask, Point, Volume, dice, mask_on_grid, union
from workflow.domain.lesion import (
    Flag,
    LesionPrompt,
    LesionState,
    MaskPrompt,
    ModelIdentity,
    PriorLesion,
    SegmentedLesion,
    TrackedLesion,
)
from workflow.domain.matching import likeness, match
from workflow.ingest import series_from_json
from workflow.parts import separate
from workflow.ports import ImageStack, Progress

AS_DRAWN = ModelIdentity(name="as drawn by the reader", version="1", licence="n/a")
NOT_OUTLINED = ModelIdentity(name="none", version="1", licence="n/a")
# Two lesions whose voxels agree so much have grown into one.
MERGED_DICE = 0.5


@dataclass(frozen=True, kw_only=True)
class KnownLesion:
    """A lesion of the roster, with the earlier time point that shows it last.

    `last_seen` and `mask` are None for a lesion that was never outlined.
    """

    tracking_uid: str
    label: str
    last_seen: TimePointRow | None
    mask: Mask | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """What is known of one lesion on the new volume before it is measured and written down."""

    mask: Mask
    state: LesionState
    confidence: float | None
    model: ModelIdentity
    reason: str
    flags: frozenset[Flag] = frozenset()
    prompt: LesionPrompt | None = None
    known: KnownLesion | None = None
    expected_lps: Point | None = None


def part_of(report: Progress, start: float, stop: float) -> Progress:
    """Progress of a part as progress of the whole."""
    return lambda share, what: report(start + (stop - start) * share, what)


def roster_of(prior_rows: Sequence[TimePointRow]) -> list[KnownLesion]:
    """Lesions of the comparable priors (nearest first), each from where it was last seen."""
    roster: dict[str, KnownLesion] = {}
    for row in prior_rows:
        for seen in row.analysis.observations if row.analysis else []:
            known = roster.get(seen.tracking_uid)
            if known is not None and known.mask is not None:
                continue
            mask = unpack_mask(seen.mask) if seen.mask else None
            has_mask = mask is not None and not mask.is_empty
            roster[seen.tracking_uid] = KnownLesion(
                tracking_uid=seen.tracking_uid,
                label=seen.lesion.label,
                last_seen=row if has_mask else None,
                mask=mask if has_mask else None,
            )
    return sorted(roster.values(), key=lambda known: (known.label, known.tracking_uid))


def track_all(
    image: ImageStack,
    roster: Sequence[KnownLesion],
    prior_paths: Mapping[int, tuple[list[Path], TimePointRow]],
    context: Context,
    progress: Progress,
) -> list[tuple[KnownLesion, TrackedLesion]]:
    """Track each known lesion from where it was last seen; each pair of volumes is registered once."""
    tracked: list[tuple[KnownLesion, TrackedLesion]] = []
    for done, (paths, row) in enumerate(prior_paths.values()):
        lesions = [k for k in roster if k.last_seen is not None and k.last_seen.id == row.id and k.mask]
        prior = context.images.read_volume(paths, series_from_json(row.revision.series or {}))
        found = context.open_tracker().track(
            prior.volume,
            [PriorLesion(tracking_uid=k.tracking_uid, mask=k.mask) for k in lesions if k.mask is not None],
            image.volume,
            progress=part_of(progress, done / len(prior_paths), (done + 1) / len(prior_paths)),
        )
        tracked += zip(lesions, found, strict=True)
    return tracked


def segment_all(
    image: ImageStack, prompts: Sequence[LesionPrompt], context: Context, progress: Progress
) -> tuple[list[tuple[LesionPrompt, SegmentedLesion]], list[str]]:
    """Segment each prompt; what a reader has drawn voxel by voxel stays as it was drawn.

    Also what a person has to look at: a region that was drawn as one and is several lesions.
    """
    asked = [prompt for prompt in prompts if not _has_mask(prompt)]
    segmented = context.open_segmenter().segment(image.volume, asked, progress=progress) if asked else []
    by_prompt = {id(prompt): lesion for prompt, lesion in zip(asked, segmented, strict=True)}
    found: list[tuple[LesionPrompt, SegmentedLesion]] = []
    doubts: list[str] = []
    for prompt in prompts:
        if id(prompt) in by_prompt:
            found.append((prompt, by_prompt[id(prompt)]))
            continue
        separated = separate(prompt, _drawn_mask(prompt, image.volume), image.volume)
        doubts += [separated.doubt] if separated.doubt else []
        for part, mask in separated.parts:
            drawn = SegmentedLesion(index=len(found), mask=mask, confidence=1.0, model=AS_DRAWN)
            found.append((part, drawn))
    return found, doubts


def _has_mask(prompt: LesionPrompt) -> bool:
    """Whether the prompt has a mask: a line beside it says less."""
    return any(isinstance(shape, MaskPrompt) for shape in prompt.shapes)


def _drawn_mask(prompt: LesionPrompt, volume: Volume) -> Mask:
    """The union of a prompt's masks on the volume's grid."""
    return union([mask_on_grid(s.volume, volume) for s in prompt.shapes if isinstance(s, MaskPrompt)])


def join(
    volume: Volume,
    roster: Sequence[KnownLesion],
    tracked: Sequence[tuple[KnownLesion, TrackedLesion]],
    prompted: Sequence[tuple[LesionPrompt, SegmentedLesion]],
) -> list[Finding]:
    """One finding per lesion: what a reader points at here counts more than what was tracked to here.

    A known lesion that was never outlined stays on the list, as not evaluable, until a prompt that carries
    its tracking UID shows it.
    """
    prompted = _without_twins(prompted, volume)
    by_uid = {prompt.tracking_uid: index for index, (prompt, _) in enumerate(prompted) if prompt.tracking_uid}
    shown = {
        known.tracking_uid: by_uid[known.tracking_uid] for known in roster if known.tracking_uid in by_uid
    }
    # By place, where no identity says it already.
    free = [index for index in range(len(prompted)) if index not in shown.values()]
    open_lesions = [(known, lesion) for known, lesion in tracked if known.tracking_uid not in shown]
    pairs = match([prompted[i][1].mask for i in free], [t.mask for _, t in open_lesions], volume.spacing_mm)
    shown |= {open_lesions[place][0].tracking_uid: free[index] for index, place in pairs.items()}
    found = {known.tracking_uid: lesion for known, lesion in tracked}
    findings = []
    for known in roster:
        if known.tracking_uid in shown:
            finding = _prompted_finding(*prompted[shown[known.tracking_uid]])
        elif known.tracking_uid in found:
            finding = _tracked_finding(found[known.tracking_uid])
        else:
            finding = _never_outlined(volume)
        findings.append(replace(finding, known=known))
    rest = [index for index in range(len(prompted)) if index not in shown.values()]
    return [*_merged(findings), *(_prompted_finding(*prompted[index]) for index in rest)]


def _tracked_finding(lesion: TrackedLesion) -> Finding:
    return Finding(
        mask=lesion.mask,
        state=lesion.state,
        confidence=lesion.confidence,
        model=lesion.model,
        reason=lesion.reason,
        flags=lesion.flags,
        expected_lps=lesion.expected_lps,
    )


def _never_outlined(volume: Volume) -> Finding:
    return Finding(
        mask=Mask.empty(volume.shape),
        state=LesionState.NOT_EVALUABLE,
        confidence=None,
        model=NOT_OUTLINED,
        reason="it was never outlined, so there is nothing to track; a prompt with its tracking UID shows it",
        flags=frozenset({Flag.EMPTY}),
    )


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """Lesions that were tracked to the same voxels have grown into one: the one that was larger keeps them.

    RECIST 1.1, 4.3.2: the merged lesion is measured once, the others add nothing.
    """
    settled = list(findings)
    order = sorted(range(len(findings)), key=lambda i: (-_prior_size(findings[i]), i))
    for place, one in enumerate(order):
        for other in order[place + 1 :]:
            a, b = settled[one], settled[other]
            both_seen = a.state is b.state is LesionState.PRESENT and a.known and b.known
            if both_seen and a.known and dice(a.mask, b.mask) >= MERGED_DICE:
                settled[other] = replace(
                    b,
                    mask=Mask.empty(b.mask.shape),
                    state=LesionState.MERGED,
                    reason=f"has grown together with {a.known.label}, which stands for both",
                    flags=b.flags | {Flag.TOUCHES_NEIGHBOUR},
                )
    return settled


def _prior_size(finding: Finding) -> int:
    return finding.known.mask.voxel_count if finding.known and finding.known.mask else 0


def _without_twins(
    prompted: Sequence[tuple[LesionPrompt, SegmentedLesion]], volume: Volume
) -> list[tuple[LesionPrompt, SegmentedLesion]]:
    """Drop a prompt that shows the same lesion as one before it (an SR and the SEG it refers to)."""
    kept: list[tuple[LesionPrompt, SegmentedLesion]] = []
    for prompt, lesion in prompted:
        twin = any(
            likeness(lesion.mask, other.mask, volume.spacing_mm) >= 0.5
            or (prompt.tracking_uid is not None and prompt.tracking_uid == known.tracking_uid)
            for known, other in kept
        )
        if not twin:
            kept.append((prompt, lesion))
    return kept


def _prompted_finding(prompt: LesionPrompt, segmented: SegmentedLesion) -> Finding:
    is_empty = segmented.mask.is_empty
    return Finding(
        mask=segmented.mask,
        state=LesionState.NOT_EVALUABLE if is_empty else LesionState.PRESENT,
        confidence=segmented.confidence,
        model=segmented.model,
        reason=f"no voxel found at the prompt ({prompt.source})" if is_empty else f"shown by {prompt.source}",
        flags=segmented.flags | ({Flag.EMPTY} if is_empty else set()),
        prompt=prompt,
    )
