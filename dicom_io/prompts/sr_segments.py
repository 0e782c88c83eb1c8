"""Segments that an SR refers to (PS3.16 TID 1411, 1410): read out of the SEG, which has to be at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dicom_io import codes
from dicom_io.parsing import Attributes
from dicom_io.prompts.collector import Collector, MissingObjectError
from dicom_io.prompts.origin import is_one_of
from dicom_io.prompts.placement import ImageIndex
from dicom_io.prompts.seg import PlacedSegment, segment_masks
from dicom_io.prompts.sr_tree import Node
from workflow.domain.errors import UnsuitableInputError


def is_segment_reference(node: Node) -> bool:
    """Whether an IMAGE item refers to segments: by its concept, or because it numbers them."""
    if node.value_type != "IMAGE":
        return False
    if is_one_of(node.concept, codes.REFERENCED_SEGMENT, codes.REFERENCED_SEGMENTATION_FRAME):
        return True
    return any(
        image.has("ReferencedSegmentNumber") for image in node.attributes.items("ReferencedSOPSequence")
    )


@dataclass(kw_only=True)
class SegmentReader:
    """Finds referenced segments among the SEG objects at hand; each object is decoded once.

    Attributes
    ----------
    related
        The SEG objects at hand.
    wanted
        Which segments of which SEG the document refers to (`segments_wanted`).
    """

    images: ImageIndex
    fraction: float
    related: Sequence[Attributes]
    wanted: Mapping[str, set[int]]
    collector: Collector
    _masks: dict[str, dict[int, PlacedSegment]] = field(default_factory=dict)
    _reasons: dict[str, str] = field(default_factory=dict)

    def read(self, node: Node) -> PlacedSegment:
        """The segment that an IMAGE item refers to.

        Raises
        ------
        MissingObjectError
            If the SEG is not among the related objects.
        UnsuitableInputError, NotPlacedError, UnsupportedItemError
            If the item is malformed, the segment is empty, or as `segment_masks` raises them.
        """
        uid, number = segment_of(node)
        frames = frames_of(node)
        if frames is not None:
            return self._read_frames(uid, number, frames)
        if uid not in self._masks:
            self._decode(uid, number)
        mask = self._masks[uid].get(number)
        if mask is None:
            reason = self._reasons.get(f"{uid} segment {number}", "it has no such segment")
            raise UnsuitableInputError(f"segment {number} of segmentation {uid} can't be used: {reason}")
        return mask

    def _read_frames(self, uid: str, number: int, frames: frozenset[int]) -> PlacedSegment:
        """Some frames of a segment: what a planar ROI (TID 1410) refers to."""
        found = Collector(sop_instance_uid=uid)
        masks = segment_masks(
            self._source(uid, number), self.images, {number}, self.fraction, found, only_frames=frames
        )
        if number not in masks:
            named = ", ".join(map(str, sorted(frames)))
            raise UnsuitableInputError(
                f"frame {named} of segmentation {uid} shows nothing of segment {number}"
            )
        self._pass_on(found)
        return masks[number]

    def _pass_on(self, found: Collector) -> None:
        """What was said of a segmentation belongs to the report that refers to it, by the object's name."""
        for text in found.doubts:
            self.collector.doubt(f"{text} (segmentation {found.sop_instance_uid})")
        for text in found.notes:
            self.collector.note(f"{text} (segmentation {found.sop_instance_uid})")

    def _source(self, uid: str, number: int) -> Attributes:
        source = next((seg for seg in self.related if seg.text("SOPInstanceUID") == uid), None)
        if source is None:
            raise MissingObjectError(
                f"it refers to segment {number} of segmentation {uid}; fetch that object from the PACS"
            )
        return source

    def _decode(self, uid: str, number: int) -> None:
        source = self._source(uid, number)
        found = Collector(sop_instance_uid=uid)
        numbers = set(self.wanted.get(uid, {number}))
        self._masks[uid] = segment_masks(source, self.images, numbers, self.fraction, found)
        self._pass_on(found)
        for problem in found.problems:
            self._reasons[f"{uid} {problem.item}"] = problem.reason


def segment_of(node: Node) -> tuple[str, int]:
    """The SEG and segment number that an IMAGE item names.

    Raises
    ------
    UnsuitableInputError
        If it names no SEG, or not one segment.
    """
    image = node.attributes.item("ReferencedSOPSequence")
    if image is None:
        raise UnsuitableInputError("it refers to no segmentation")
    uid = image.text("ReferencedSOPInstanceUID")
    numbers = image.numbers("ReferencedSegmentNumber")
    if numbers is None or len(numbers) != 1:
        raise UnsuitableInputError(f"it names {len(numbers or ())} segments of segmentation {uid}, not one")
    return uid, int(numbers[0])


def frames_of(node: Node) -> frozenset[int] | None:
    """The frames that an IMAGE item limits its segment to, counted from 1; None for all."""
    image = node.attributes.item("ReferencedSOPSequence")
    numbers = image.numbers("ReferencedFrameNumber") if image is not None else None
    return None if numbers is None else frozenset(int(number) for number in numbers)


def segments_wanted(root: Node) -> dict[str, set[int]]:
    """All segments that a document refers to, by SEG; malformed references are left for `read` to report."""
    wanted: dict[str, set[int]] = {}
    for node in root.descend():
        if is_segment_reference(node):
            image = node.attributes.item("ReferencedSOPSequence")
            numbers = image.numbers("ReferencedSegmentNumber") if image else None
            if image and numbers is not None and len(numbers) == 1:
                wanted.setdefault(image.text("ReferencedSOPInstanceUID"), set()).add(int(numbers[0]))
    return wanted
