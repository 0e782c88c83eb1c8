"""Prompts out of RT Structure Sets (PS3.3 A.19): ROIs chosen by rules, as voxels where that is exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dicom_io.parsing import Attributes
from dicom_io.prompts.collector import Collector
from dicom_io.prompts.contours import PlanarContour, planar_contour, rasterise
from dicom_io.prompts.graphics import require_sane
from dicom_io.prompts.origin import Origin, code_of, origin_of, site_from
from dicom_io.prompts.placement import ImageIndex, NotPlacedError, ReferencedImages, as_point
from dicom_io.prompts.reading import ProblemKind, PromptPlacement
from dicom_io.prompts.rules import LesionRules
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray
from workflow.domain.lesion import (
    LesionPrompt,
    LinePrompt,
    MaskPrompt,
    OutlinePrompt,
    PointPrompt,
    PromptShape,
    PromptSource,
)

# More points than this in one contour are no drawing.
MAX_CONTOUR_POINTS = 100_000
_CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR"})


@dataclass(frozen=True, kw_only=True, eq=False)
class Contour:
    """One contour: its geometric type, its points in LPS mm, shape (n, 3), and the images it names."""

    kind: str
    points_lps: FloatArray
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Roi:
    """A region of interest with its contours, joined over the three sequences that describe it."""

    number: int
    name: str
    interpreted_type: str
    frame_of_reference_uid: str
    attributes: Attributes
    observation: Attributes | None
    contours: Attributes | None

    @property
    def item(self) -> str:
        """How a problem names it."""
        return f"ROI {self.number} {self.name}".strip()


def read_rtstruct(
    attributes: Attributes, images: ImageIndex, rules: LesionRules, collector: Collector
) -> None:
    """Add each ROI that the rules take as a prompt; say of every other one why not."""
    origin = origin_of(
        attributes,
        ("OperatorsName",),
        (("StructureSetDate", "StructureSetTime"), ("InstanceCreationDate", "InstanceCreationTime")),
    )
    series = _referenced_images(attributes)
    for roi in _rois(attributes):
        choice = rules.choose(roi.name, roi.interpreted_type)
        if not choice.is_lesion:
            collector.problem(roi.item, ProblemKind.NOT_A_LESION, choice.reason)
            continue
        with collector.item(roi.item):
            contours = _contours(roi, collector)
            placed, placement = _place(roi, contours, series, images, collector)
            shapes = _shapes(roi, contours, placed, collector)
            collector.add(_prompt(roi, shapes, origin), placement)
            collector.note(f"{roi.item} taken: {choice.reason}")


def _rois(attributes: Attributes) -> list[Roi]:
    observations = {
        o.integer("ReferencedROINumber"): o for o in attributes.items("RTROIObservationsSequence")
    }
    contours = {c.integer("ReferencedROINumber"): c for c in attributes.items("ROIContourSequence")}
    frames = attributes.items("ReferencedFrameOfReferenceSequence")
    usual_frame = attributes.text("FrameOfReferenceUID") or (
        frames[0].text("FrameOfReferenceUID") if len(frames) == 1 else ""
    )
    rois = []
    for entry in attributes.items("StructureSetROISequence"):
        number = entry.integer("ROINumber")
        if number is None:
            raise UnsuitableInputError(f"{entry.where}: an ROI has no ROINumber; have it sent again")
        observation = observations.get(number)
        rois.append(
            Roi(
                number=number,
                name=entry.text("ROIName"),
                interpreted_type=observation.text("RTROIInterpretedType") if observation else "",
                frame_of_reference_uid=entry.text("ReferencedFrameOfReferenceUID") or usual_frame,
                attributes=entry,
                observation=observation,
                contours=contours.get(number),
            )
        )
    return rois


def _referenced_images(attributes: Attributes) -> tuple[str, ...]:
    """All images that the structure set says it was drawn on (PS3.3 C.8.8.5)."""
    return tuple(
        image.text("ReferencedSOPInstanceUID")
        for frame in attributes.items("ReferencedFrameOfReferenceSequence")
        for study in frame.items("RTReferencedStudySequence")
        for series in study.items("RTReferencedSeriesSequence")
        for image in series.items("ContourImageSequence")
    )


def _contours(roi: Roi, collector: Collector) -> list[Contour]:
    """The ROI's usable contours; each one that isn't is a problem of its own."""
    found = []
    for number, entry in enumerate(roi.contours.items("ContourSequence") if roi.contours else (), start=1):
        with collector.item(f"{roi.item}, contour {number}"):
            found.append(_contour(entry))
    if not found:
        raise UnsuitableInputError("it has no usable contour; have the structure set exported again")
    return found


def _contour(entry: Attributes) -> Contour:
    kind = entry.text("ContourGeometricType").upper()
    numbers = entry.numbers("ContourData") or ()
    if not numbers or len(numbers) % 3:
        raise UnsuitableInputError(f"ContourData has {len(numbers)} numbers, not three per point")
    if len(numbers) > 3 * MAX_CONTOUR_POINTS:
        raise UnsuitableInputError(f"it has more than {MAX_CONTOUR_POINTS} points")
    points = np.asarray(numbers, dtype=np.float64).reshape(-1, 3)
    require_sane(points)
    if kind in _CLOSED and len(points) < 3:
        raise UnsuitableInputError(f"a {kind} contour has at least 3 points, not {len(points)}")
    images = tuple(i.text("ReferencedSOPInstanceUID") for i in entry.items("ContourImageSequence"))
    return Contour(kind=kind, points_lps=points, sop_instance_uids=images)


def _place(
    roi: Roi, contours: Sequence[Contour], series: Sequence[str], images: ImageIndex, collector: Collector
) -> tuple[ReferencedImages, PromptPlacement]:
    """The series that it was drawn on: by the images it names, else by frame of reference and geometry."""
    named = [uid for contour in contours for uid in contour.sop_instance_uids]
    placed = images.holding_most(named) or images.holding_most(series)
    by = "SOP Instance UID"
    if placed is None:
        candidates = images.in_frame_of_reference(roi.frame_of_reference_uid)
        placed = max(candidates, key=lambda candidate: _agreement(contours, candidate))
        by = "frame of reference and geometry"
        _note_others(roi, contours, placed, candidates, collector)
    inside, _, _ = _agreement(contours, placed)
    if inside == 0:
        raise NotPlacedError(
            f"its contours lie outside series {placed.series.series_instance_uid} ({placed.series.modality})"
        )
    return placed, PromptPlacement(
        series_instance_uid=placed.series.series_instance_uid,
        frame_of_reference_uid=placed.series.frame_of_reference_uid,
        by=by,
    )


def _note_others(
    roi: Roi,
    contours: Sequence[Contour],
    placed: ReferencedImages,
    candidates: Sequence[ReferencedImages],
    collector: Collector,
) -> None:
    """Say where the geometry alone didn't decide: several registered series fit as well."""
    fit = _agreement(contours, placed)[:2]
    others = [c.series for c in candidates if c is not placed and _agreement(contours, c)[:2] == fit]
    if others:
        named = ", ".join(f"{series.modality} series {series.series_instance_uid}" for series in others)
        collector.note(
            f"{roi.item} names no image at hand and also fits {named}; "
            f"the finest, {placed.series.modality} series {placed.series.series_instance_uid}, is taken"
        )


def _agreement(contours: Sequence[Contour], images: ReferencedImages) -> tuple[float, float, float]:
    """How well contours fit a volume: the share inside it, the share on its slices, and its resolution."""
    volume = images.volume
    centres = volume.ijk(np.array([contour.points_lps.mean(axis=0) for contour in contours]))
    limit = np.asarray(volume.shape) - 0.5
    inside = np.all((centres >= -0.5) & (centres <= limit), axis=1)
    on_slice = inside & (np.abs(centres[:, 0] - np.round(centres[:, 0])) < 0.05)
    return float(inside.mean()), round(float(on_slice.mean()), 2), -volume.spacing_mm[1]


def _shapes(
    roi: Roi, contours: Sequence[Contour], images: ReferencedImages, collector: Collector
) -> tuple[PromptShape, ...]:
    shapes: list[PromptShape] = []
    closed = [contour for contour in contours if contour.kind in _CLOSED]
    for contour in contours:
        if contour.kind == "POINT":
            shapes += [PointPrompt(position_lps=as_point(point)) for point in contour.points_lps]
        elif contour.kind == "OPEN_PLANAR" and len(contour.points_lps) == 2:
            start, end = contour.points_lps
            shapes.append(LinePrompt(start_lps=as_point(start), end_lps=as_point(end)))
        elif contour.kind not in _CLOSED:
            collector.problem(
                roi.item,
                ProblemKind.UNSUPPORTED,
                f"a contour of type {contour.kind or '(none)'} with {len(contour.points_lps)} points "
                "encloses nothing",
            )
    if closed:
        shapes += _closed_shapes(roi, closed, images, collector)
    if not shapes:
        raise UnsuitableInputError("none of its contours shows a region, a line or a point")
    return tuple(shapes)


def _closed_shapes(
    roi: Roi, closed: Sequence[Contour], images: ReferencedImages, collector: Collector
) -> list[PromptShape]:
    planar = [planar_contour(contour.points_lps, images.volume) for contour in closed]
    if None not in planar:
        inside = _within(roi, [contour for contour in planar if contour is not None], images, collector)
        mask = rasterise(inside, images.volume) if inside else None
        if mask is not None and mask.array.any():
            return [MaskPrompt(volume=mask)]
    collector.note(
        f"{roi.item} is given as outlines: its contours are not on evenly spaced planes along the slices "
        f"of series {images.series.series_instance_uid}"
    )
    return [OutlinePrompt(points_lps=tuple(map(as_point, contour.points_lps))) for contour in closed]


def _within(
    roi: Roi, contours: Sequence[PlanarContour], images: ReferencedImages, collector: Collector
) -> list[PlanarContour]:
    """The contours between the first and the last slice; a note says how many are beyond."""
    last = images.volume.shape[0] - 0.5
    inside = [contour for contour in contours if -0.5 <= contour.slice_position <= last]
    if len(inside) < len(contours):
        beyond = len(contours) - len(inside)
        collector.note(f"{roi.item}: {beyond} of {len(contours)} contours lie beyond the images' ends")
    return inside


def _prompt(roi: Roi, shapes: tuple[PromptShape, ...], origin: Origin) -> LesionPrompt:
    code = code_of(roi.observation, "RTROIIdentificationCodeSequence") if roi.observation else None
    words = " ".join([roi.name, roi.attributes.text("ROIDescription")])
    site = site_from(None, " ".join([words, code.meaning if code else ""]))
    interpreter = roi.observation.text("ROIInterpreter") if roi.observation else ""
    return LesionPrompt(
        shapes=shapes,
        source=PromptSource.STRUCTURE_SET,
        label=roi.name,
        finding_site=site.finding_site,
        finding_site_meaning=site.finding_site_meaning,
        laterality=site.laterality,
        organ=site.organ,
        is_nodal=site.is_nodal,
        created_by=interpreter or origin.created_by,
        created_at=origin.created_at,
        sop_instance_uid=origin.sop_instance_uid or None,
        item=roi.item,
    )
