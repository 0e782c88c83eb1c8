"""Prompts out of DICOM SEG (PS3.3 A.51): BINARY, FRACTIONAL and LABELMAP, overlaps too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_io.parsing import Attributes
from dicom_io.prompts.collector import Collector, UnsupportedItemError
from dicom_io.prompts.origin import Origin, code_of, origin_of, site_from
from dicom_io.prompts.placement import (
    ImageIndex,
    ReferencedImages,
)
from dicom_io.prompts.reading import ProblemKind, PromptPlacement
from dicom_io.prompts.rules import LesionRules
from dicom_io.prompts.seg_frames import FrameInfo, frame_infos, iterate_frames
from dicom_io.prompts.seg_grid import Patch, volume_of
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.lesion import LesionPrompt, MaskPrompt, PromptSource

SURFACE_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.5"


@dataclass(kw_only=True)
class SegmentVoxels:
    """A segment's set pixels, frame by frame, without a grid yet."""

    number: int
    patches: list[Patch] = field(default_factory=list)


def read_seg(attributes: Attributes, images: ImageIndex, rules: LesionRules, collector: Collector) -> None:
    """Add each segment that the rules take as a prompt; say of every other one why not."""
    with collector.item("object"):
        require_patient_voxels(attributes)
        chosen = _choose(attributes, rules, collector)
        if chosen:
            placement, masks = segment_masks(attributes, images, set(chosen), rules.fraction, collector)
            origin = seg_origin(attributes)
            for number, mask in masks.items():
                segment = chosen[number]
                collector.add(segment_prompt(segment, mask, origin), placement)


def segment_masks(
    attributes: Attributes,
    images: ImageIndex,
    numbers: set[int],
    fraction: float,
    collector: Collector,
    *,
    only_frames: frozenset[int] | None = None,
) -> tuple[PromptPlacement, dict[int, MaskPrompt]]:
    """The masks of these segments, placed on the images, in the order of their numbers.

    A segment without voxels, or whose frames make no grid, is a problem of its own and left out.
    `only_frames` (counted from 1) limits them to some frames, as a planar ROI refers to one.

    Raises
    ------
    UnsuitableInputError
        If the object can't be read.
    NotPlacedError
        If it belongs to none of the series.
    UnsupportedItemError
        If it is no segmentation in a patient (slide, surface).
    """
    require_patient_voxels(attributes)
    frames = frame_infos(attributes)
    placed, placement = _place(attributes, frames, images)
    voxels = _collect(attributes, frames, numbers, fraction, only_frames)
    masks = {}
    for number in sorted(numbers):
        with collector.item(f"segment {number}"):
            found = voxels[number]
            if not found.patches:
                raise UnsuitableInputError("it has no voxel set")
            masks[number] = MaskPrompt(volume=volume_of(found.patches, placed, images))
    return placement, masks


def require_patient_voxels(attributes: Attributes) -> None:
    """Refuse segmentations that are surfaces, or on a microscopy slide.

    Raises
    ------
    UnsupportedItemError
        If it is one.
    """
    if attributes.text("SOPClassUID") == SURFACE_SEGMENTATION:
        raise UnsupportedItemError("it is a surface segmentation; only voxel segmentations are read")
    frames = attributes.items("PerFrameFunctionalGroupsSequence")
    if attributes.has("ImageOrientationSlide") or (frames and frames[0].has("PlanePositionSlideSequence")):
        raise UnsupportedItemError("it lies on a microscopy slide, not in a patient's frame of reference")


def segments_of(attributes: Attributes) -> dict[int, Attributes]:
    """The described segments by number."""
    found = {}
    for entry in attributes.items("SegmentSequence"):
        number = entry.integer("SegmentNumber")
        if number is not None:
            found[number] = entry
    return found


def _choose(attributes: Attributes, rules: LesionRules, collector: Collector) -> dict[int, Attributes]:
    chosen = {}
    for number, entry in segments_of(attributes).items():
        category = code_of(entry, "SegmentedPropertyCategoryCodeSequence")
        kind = code_of(entry, "SegmentedPropertyTypeCodeSequence")
        label = entry.text("SegmentLabel")
        choice = rules.choose_coded(label, category, kind)
        name = f"segment {number} {label}".strip()
        if choice.is_lesion:
            chosen[number] = entry
            collector.note(f"{name} taken: {choice.reason}")
        else:
            collector.problem(name, ProblemKind.NOT_A_LESION, choice.reason)
    return chosen


def _place(
    attributes: Attributes, frames: Sequence[FrameInfo], images: ImageIndex
) -> tuple[ReferencedImages, PromptPlacement]:
    """The series that it was drawn on: by source images, by referenced series, else by frame of reference."""
    sources = [frame.source[0] for frame in frames if frame.source is not None]
    series = attributes.items("ReferencedSeriesSequence")
    sources += [
        instance.text("ReferencedSOPInstanceUID")
        for entry in series for instance in entry.items("ReferencedInstanceSequence")
    ]  # fmt: skip
    placed, by = images.holding_most(sources), "SOP Instance UID"
    if placed is None:
        named = {entry.text("SeriesInstanceUID") for entry in series}
        placed = next((i for i in images.images if i.series.series_instance_uid in named), None)
        by = "Series Instance UID"
    if placed is None:
        placed = images.in_frame_of_reference(attributes.text("FrameOfReferenceUID"))[0]
        by = "frame of reference"
    return placed, PromptPlacement(
        series_instance_uid=placed.series.series_instance_uid,
        frame_of_reference_uid=placed.series.frame_of_reference_uid,
        by=by,
    )


def _collect(
    attributes: Attributes,
    frames: Sequence[FrameInfo],
    numbers: set[int],
    fraction: float,
    only_frames: frozenset[int] | None,
) -> dict[int, SegmentVoxels]:
    """The set pixels of each wanted segment, frame by frame, in one pass over the pixel data."""
    found = {number: SegmentVoxels(number=number) for number in numbers}
    threshold = _threshold(attributes, fraction)
    arrays = iterate_frames(attributes.dataset)
    for frame, array in zip(frames, arrays, strict=False):
        if only_frames is not None and frame.index + 1 not in only_frames:
            continue
        if frame.segment_number is None:
            here = [int(n) for n in np.unique(array) if int(n) in numbers]
            for number in here:
                _keep(found[number], frame, array == number)
        elif frame.segment_number in numbers:
            _keep(found[frame.segment_number], frame, array >= threshold)
    return found


def _threshold(attributes: Attributes, fraction: float) -> float:
    if attributes.text("SegmentationType").upper() != "FRACTIONAL":
        return 1
    return max(1.0, fraction * (attributes.integer("MaximumFractionalValue") or 255))


def _keep(segment: SegmentVoxels, frame: FrameInfo, pixels: NDArray[Any]) -> None:
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if rows.size:
        box = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        start = int(rows[0]), int(columns[0])
        segment.patches.append(Patch(frame=frame, start=start, pixels=np.array(box, dtype=bool)))


def seg_origin(attributes: Attributes) -> Origin:
    """Who made a segmentation, and when."""
    return origin_of(
        attributes,
        ("ContentCreatorName", "OperatorsName"),
        (("ContentDate", "ContentTime"), ("SeriesDate", "SeriesTime")),
    )


def segment_prompt(segment: Attributes, mask: MaskPrompt, origin: Origin) -> LesionPrompt:
    """A segment with its mask as a prompt."""
    label = segment.text("SegmentLabel")
    kind = code_of(segment, "SegmentedPropertyTypeCodeSequence")
    region = segment.item("AnatomicRegionSequence")
    modifier = code_of(region, "AnatomicRegionModifierSequence") if region else None
    words = " ".join([label, segment.text("SegmentDescription"), kind.meaning if kind else ""])
    side = modifier.meaning.casefold() if modifier else None
    site = site_from(
        code_of(segment, "AnatomicRegionSequence"),
        words,
        side if side in ("left", "right", "bilateral") else None,
    )
    return LesionPrompt(
        shapes=(mask,),
        source=PromptSource.SEGMENTATION,
        label=label,
        tracking_uid=segment.text("TrackingUID") or None,
        tracking_id=segment.text("TrackingID") or None,
        finding_site=site.finding_site,
        finding_site_meaning=site.finding_site_meaning,
        laterality=site.laterality,
        organ=site.organ,
        is_nodal=site.is_nodal,
        created_by=origin.created_by,
        created_at=origin.created_at,
        sop_instance_uid=origin.sop_instance_uid or None,
        item=f"segment {segment.integer('SegmentNumber')}",
    )
