"""All prompts of a study: many objects, each lesion once.

The same lesion often comes several times: an SR that refers to a SEG, a presentation state beside the SR, a
corrected SR beside the one it replaces. The object that says most goes first (SR, presentation state,
structure set, segmentation; the newer before the older); what repeats a lesion adds its mask or is left out
with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom import Dataset

from dicom_io.parsing import Attributes, quiet, reading
from dicom_io.prompts.image_planes import ReferencedImages
from dicom_io.prompts.placement import ImageIndex
from dicom_io.prompts.reading import (
    KeyImageHint,
    ProblemKind,
    PromptPlacement,
    PromptProblem,
    PromptReading,
)
from dicom_io.prompts.rules import LesionRules
from dicom_io.prompts.single import open_object, read_object
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Volume
from workflow.domain.lesion import LesionPrompt, LinePrompt, MaskPrompt, PlacedPrompt
from workflow.ports import Recognise

_ORDER = {"SR": 0, "PR": 1, "RTSTRUCT": 2, "SEG": 3, "KO": 4}
# Two masks of two objects that overlap this much are one lesion, drawn or exported twice.
SAME_MASK_DICE = 0.8
SAME_POINT_MM = 1.0


def read_study_prompts(
    sources: Sequence[Dataset | str | Path],
    images: ImageIndex | Sequence[ReferencedImages],
    *,
    rules: LesionRules | None = None,
    recognise: Recognise | None = None,
) -> PromptReading:
    """Read every object that may hold prompts, in a fixed order, and give each lesion once.

    An object that can't be read, or holds no prompts, is a problem like any other. Lesions of one tracking
    UID are one prompt; a segment that a report refers to belongs to the report's lesion.
    """
    with quiet():
        objects, problems = _open_all(sources)
        superseded = _superseded(objects)
        segmentations = [entry for entry in objects if entry.text("Modality") == "SEG"]
        merger = _Merger(problems=problems)
        for entry in sorted(objects, key=_rank):
            uid = entry.text("SOPInstanceUID")
            if uid in superseded:
                merger.problem(uid, "object", ProblemKind.REPEATED, f"it was replaced by {superseded[uid]}")
                continue
            try:
                with reading(entry.where):
                    read = read_object(entry, images, rules or LesionRules(), segmentations)
                merger.take(_recognised(read, uid, recognise) if recognise is not None else read)
            except UnsuitableInputError as error:
                merger.problem(uid, "object", ProblemKind.UNSUPPORTED, str(error))
        return merger.reading()


def _recognised(reading: PromptReading, uid: str, recognise: Recognise) -> PromptReading:
    """The reading with what is left of each prompt once it was compared with what is known."""
    placed = [
        PlacedPrompt(prompt=prompt, drawn_on=placement.drawn_on, by=placement.by)
        for prompt, placement in zip(reading.prompts, reading.placements, strict=True)
    ]
    kept = [
        (prompt, placement)
        for prompt, placement in zip(recognise(uid, placed), reading.placements, strict=True)
        if prompt is not None
    ]
    return replace(
        reading, prompts=tuple(prompt for prompt, _ in kept), placements=tuple(place for _, place in kept)
    )


def _open_all(
    sources: Sequence[Dataset | str | Path],
) -> tuple[list[Attributes], list[PromptProblem]]:
    objects: dict[str, Attributes] = {}
    problems = []
    for source in sources:
        try:
            entry = open_object(source)
            with reading(entry.where):
                _rank(entry), _superseded([entry])  # what order and replacement are read from
            objects.setdefault(entry.text("SOPInstanceUID"), entry)
        except UnsuitableInputError as error:
            name = source if isinstance(source, (str, Path)) else "(in memory)"
            problems.append(
                PromptProblem(
                    sop_instance_uid="", item=str(name), kind=ProblemKind.MALFORMED, reason=str(error)
                )
            )
    return list(objects.values()), problems


def _rank(entry: Attributes) -> tuple[int, float, str]:
    """The kind that says most first, then the newest; the UID settles ties for good."""
    moment = entry.moment("ContentDate", "ContentTime") or entry.moment("SeriesDate", "SeriesTime")
    age = -((moment or datetime(1, 1, 1)) - datetime(1, 1, 1)).total_seconds()
    return _ORDER.get(entry.text("Modality"), 9), age, entry.text("SOPInstanceUID")


def _superseded(objects: Sequence[Attributes]) -> dict[str, str]:
    """Replaced documents with what replaces them (PredecessorDocumentsSequence, PS3.3 C.17.2)."""
    return {
        instance.text("ReferencedSOPInstanceUID"): entry.text("SOPInstanceUID")
        for entry in objects
        for study in entry.items("PredecessorDocumentsSequence")
        for series in study.items("ReferencedSeriesSequence")
        for instance in series.items("ReferencedSOPSequence")
    }


@dataclass(kw_only=True)
class _Merger:
    problems: list[PromptProblem]
    prompts: list[LesionPrompt] = field(default_factory=list)
    placements: list[PromptPlacement] = field(default_factory=list)
    hints: list[KeyImageHint] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    used_segments: set[tuple[str, str]] = field(default_factory=set)

    def problem(self, uid: str, item: str, kind: ProblemKind, reason: str) -> None:
        """Keep why something gave nothing."""
        self.problems.append(PromptProblem(sop_instance_uid=uid, item=item, kind=kind, reason=reason))

    def take(self, reading: PromptReading) -> None:
        """Add one object's reading to those before it."""
        before = len(self.prompts)
        for prompt, placement in zip(reading.prompts, reading.placements, strict=True):
            self._take_prompt(prompt, placement, before)
        self.problems += reading.problems
        self.hints += reading.hints
        self.doubts += reading.doubts
        self.notes += reading.notes
        self.used_segments |= reading.used_segments

    def _take_prompt(self, prompt: LesionPrompt, placement: PromptPlacement, before: int) -> None:
        uid, item = prompt.sop_instance_uid or "", prompt.item or "object"
        if (uid, item) in self.used_segments:
            self.notes.append(f"{item} of {uid} belongs to a lesion of a report that refers to it")
            return
        # Only what other objects showed can be repeated: an object's own lesions are different ones.
        for number in range(before):
            if self._is_same(number, prompt, placement):
                self._repeat(number, prompt, placement, uid, item)
                return
        self.prompts.append(prompt)
        self.placements.append(placement)

    def _is_same(self, number: int, prompt: LesionPrompt, placement: PromptPlacement) -> bool:
        """By tracking UID if both have one, else by place: the same line, or nearly the same voxels.

        Places of two frames of reference are never the same. What was drawn on the CT and on the PET is
        shown twice: which of them is measured is decided where both can be looked at.
        """
        shown = self.prompts[number]
        if self.placements[number].modality != placement.modality:
            return False
        if shown.tracking_uid and prompt.tracking_uid:
            return shown.tracking_uid == prompt.tracking_uid
        if not self._is_same_frame(number, placement):
            return False
        return any(_is_same_place(a, b) for a in shown.shapes for b in prompt.shapes)

    def _is_same_frame(self, number: int, placement: PromptPlacement) -> bool:
        first = self.placements[number]
        frames = first.frame_of_reference_uid, placement.frame_of_reference_uid
        return frames[0] == frames[1] and (frames[0] is not None or first.drawn_on == placement.drawn_on)

    def _repeat(
        self, number: int, prompt: LesionPrompt, placement: PromptPlacement, uid: str, item: str
    ) -> None:
        """A lesion that an object before showed: its mask is added if there was none, with its own stack."""
        shown = self.prompts[number]
        masks = tuple(shape for shape in prompt.shapes if isinstance(shape, MaskPrompt))
        has_mask = any(isinstance(shape, MaskPrompt) for shape in shown.shapes)
        name = f"{shown.item} of {shown.sop_instance_uid}"
        if masks and not has_mask and self._is_same_frame(number, placement):
            self.prompts[number] = replace(shown, shapes=(*shown.shapes, *masks))
            self.placements[number] = placement
            self.notes.append(f"{item} of {uid} is the mask of the lesion at {name}")
        else:
            reason = f"the lesion is already shown by {name}"
            self.problem(uid, item, ProblemKind.REPEATED, reason)

    def reading(self) -> PromptReading:
        """What was taken."""
        return PromptReading(
            prompts=tuple(self.prompts), placements=tuple(self.placements), problems=tuple(self.problems),
            hints=tuple(self.hints), doubts=tuple(self.doubts), notes=tuple(self.notes),
            used_segments=frozenset(self.used_segments),
        )  # fmt: skip


def _is_same_place(one: object, other: object) -> bool:
    if isinstance(one, LinePrompt) and isinstance(other, LinePrompt):
        a = np.array([one.start_lps, one.end_lps])
        b = np.array([other.start_lps, other.end_lps])
        distances = (np.linalg.norm(a - way, axis=1).max() for way in (b, b[::-1]))
        return bool(min(distances) <= SAME_POINT_MM)
    if isinstance(one, MaskPrompt) and isinstance(other, MaskPrompt):
        return _mask_dice(one.volume, other.volume) >= SAME_MASK_DICE
    return False


def _mask_dice(one: Volume, other: Volume) -> float:
    """Dice by volume of two masks on grids of their own: the finer one's voxel centres in the coarser one."""
    if not _boxes_meet(one, other):
        return 0.0
    finer, coarser = sorted((one, other), key=lambda mask: mask.voxel_volume_mm3)
    index = np.round(coarser.ijk(finer.lps(np.argwhere(finer.array)))).astype(int)
    inside = index[np.all((index >= 0) & (index < coarser.shape), axis=1)]
    shared = np.count_nonzero(coarser.array[tuple(inside.T)]) * finer.voxel_volume_mm3
    total = sum(np.count_nonzero(mask.array) * mask.voxel_volume_mm3 for mask in (one, other))
    return float(2 * shared / total) if total else 0.0


def _boxes_meet(one: Volume, other: Volume) -> bool:
    """Whether the boxes around two grids have a point in common; cheap, and true for all that overlap."""
    corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    a, b = (mask.lps(corners * np.asarray(mask.shape) - 0.5) for mask in (one, other))
    return bool(np.all(a.min(axis=0) <= b.max(axis=0)) and np.all(b.min(axis=0) <= a.max(axis=0)))
