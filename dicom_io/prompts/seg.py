"""Prompts out of DICOM SEG (PS3.3 A.51): BINARY, FRACTIONAL and LABELMAP, overlaps too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_io.parsing import Attributes
from dicom_io.prompts.collector import Collector, UnreadItemError, UnsupportedItemError
from dicom_io.prompts.origin import Origin, code_of, kind_of_lesion, origin_of, site_from
from dicom_io.prompts.placement import Home, ImageIndex, inside_of
from dicom_io.prompts.reading import ProblemKind
from dicom_io.prompts.rules import LesionRules
from dicom_io.prompts.seg_frames import FrameInfo, frame_infos, iterate_frames
from dicom_io.prompts.seg_grid import Patch, frame_affine, region_on
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.lesion import LesionPrompt, MaskPrompt, PromptSource

SURFACE_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.5"


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedSegment:
    """A segment's voxels on the stack that it was drawn on."""

    mask: MaskPrompt
    home: Home


def read_seg(attributes: Attributes, images: ImageIndex, rules: LesionRules, collector: Collector) -> None:
    """Add each segment that the rules take as a prompt; say of every other one why not."""
    with collector.item("object"):
        require_patient_voxels(attributes)
        chosen = _choose(attributes, rules, collector)
        if chosen:
            placed = segment_masks(attributes, images, set(chosen), rules.fraction, collector)
            origin = seg_origin(attributes)
            for number, segment in placed.items():
                collector.place(segment_prompt(chosen[number], segment.mask, origin), segment.home)


def segment_masks(
    attributes: Attributes,
    images: ImageIndex,
    numbers: set[int],
    fraction: float,
    collector: Collector,
    *,
    only_frames: frozenset[int] | None = None,
) -> dict[int, PlacedSegment]:
    """The masks of these segments, each on its own stack of images, in the order of their numbers.

    A segment without voxels, or that can't be placed, is a problem of its own and left out.
    `only_frames` (counted from 1) limits them to some frames, as a planar ROI refers to one.

    Raises
    ------
    UnsuitableInputError
        If the object can't be read.
    UnsupportedItemError, UnreadItemError
        If it is no segmentation in a patient (slide), or a surface.
    """
    require_patient_voxels(attributes)
    frames = frame_infos(attributes)
    listed = _listed(attributes)
    patches = _collect(attributes, frames, images, numbers, fraction, only_frames)
    masks = {}
    for number in sorted(numbers):
        name = f"segment {number}"
        with collector.item(name):
            if not patches[number]:
                raise UnsuitableInputError("it has no voxel set")
            masks[number] = _placed(name, attributes, patches[number], listed, images, collector)
    return masks


def _placed(
    name: str,
    attributes: Attributes,
    patches: Sequence[Patch],
    listed: tuple[tuple[str, ...], tuple[str, ...]],
    images: ImageIndex,
    collector: Collector,
) -> PlacedSegment:
    sources = [patch.frame.source[0] for patch in patches if patch.frame.source is not None]
    drawn = [patch.corners_lps for patch in patches]
    home = images.home(attributes.text("FrameOfReferenceUID"), drawn, sources, *listed)
    inside = [patch for patch in patches if inside_of(patch.corners_lps, home.images)]
    region = region_on(inside, home.images)
    if len(inside) < len(patches):
        collector.doubt(
            f"{name}: {len(patches) - len(inside)} of its {len(patches)} frames lie beyond "
            f"{home.images.series.name} and are left out; look whether the lesion is cut off"
        )
    if region.interpolated:
        collector.doubt(
            f"{name}: {region.interpolated} empty slices between drawn ones are interpolated by shape; "
            "look whether it is one lesion"
        )
    return PlacedSegment(mask=MaskPrompt(volume=region.volume), home=home)


def _listed(attributes: Attributes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The images, and the series, that the object says it was drawn on."""
    series = attributes.items("ReferencedSeriesSequence")
    named = [
        instance.text("ReferencedSOPInstanceUID")
        for one in series
        for instance in one.items("ReferencedInstanceSequence")
    ]
    return tuple(named), tuple(one.text("SeriesInstanceUID") for one in series)


def require_patient_voxels(attributes: Attributes) -> None:
    """Refuse segmentations that are surfaces, or on a microscopy slide.

    Raises
    ------
    UnreadItemError
        If it is a surface.
    UnsupportedItemError
        If it lies on a slide.
    """
    if attributes.text("SOPClassUID") == SURFACE_SEGMENTATION:
        raise UnreadItemError("it is a surface segmentation; only voxel segmentations are read")
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
            if choice.doubt:
                collector.doubt(f"{name}: {choice.doubt}")
        else:
            collector.problem(name, ProblemKind.NOT_A_LESION, choice.reason)
    return chosen


def _collect(
    attributes: Attributes,
    frames: Sequence[FrameInfo],
    images: ImageIndex,
    numbers: set[int],
    fraction: float,
    only_frames: frozenset[int] | None,
) -> dict[int, list[Patch]]:
    """The set pixels of each wanted segment, frame by frame, in one pass over the pixel data."""
    found: dict[int, list[Patch]] = {number: [] for number in numbers}
    threshold = _threshold(attributes, fraction)
    arrays = iterate_frames(attributes.dataset)
    for frame, array in zip(frames, arrays, strict=False):
        if only_frames is not None and frame.index + 1 not in only_frames:
            continue
        if frame.segment_number is None:
            here = {int(n): array == n for n in np.unique(array) if int(n) in numbers}
        elif frame.segment_number in numbers:
            here = {frame.segment_number: array >= threshold}
        else:
            here = {}
        for number, pixels in here.items():
            if pixels.any():
                found[number].append(_patch(frame, pixels, images))
    return found


def _threshold(attributes: Attributes, fraction: float) -> float:
    if attributes.text("SegmentationType").upper() != "FRACTIONAL":
        return 1
    return max(1.0, fraction * (attributes.integer("MaximumFractionalValue") or 255))


def _patch(frame: FrameInfo, pixels: NDArray[Any], images: ImageIndex) -> Patch:
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    box = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Patch(
        frame=frame,
        start=(int(rows[0]), int(columns[0])),
        pixels=np.array(box, dtype=bool),
        affine=frame_affine(frame, images),
    )


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
    finding, finding_meaning = kind_of_lesion(kind)
    return LesionPrompt(
        shapes=(mask,),
        source=PromptSource.SEGMENTATION,
        label=label,
        tracking_uid=segment.text("TrackingUID") or None,
        tracking_id=segment.text("TrackingID") or None,
        finding_site=site.finding_site,
        finding_site_meaning=site.finding_site_meaning,
        laterality=site.laterality,
        finding=finding,
        finding_meaning=finding_meaning,
        organ=site.organ,
        is_nodal=site.is_nodal,
        created_by=origin.created_by,
        created_at=origin.created_at,
        sop_instance_uid=origin.sop_instance_uid or None,
        item=f"segment {segment.integer('SegmentNumber')}",
    )
