"""Prompts out of RT Structure Sets (PS3.3 A.19): ROIs chosen by rules, as voxels where that is exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dicom_io.parsing import Attributes
from dicom_io.prompts.collector import Collector
from dicom_io.prompts.contours import drawn_planes, planar_contour, region_across
from dicom_io.prompts.graphics import require_sane
from dicom_io.prompts.image_planes import ReferencedImages, as_point
from dicom_io.prompts.origin import Origin, code_of, origin_of, site_from
from dicom_io.prompts.placement import Home, ImageIndex, NotPlacedError, inside_of
from dicom_io.prompts.planes import region_of
from dicom_io.prompts.plausibility import volume_contradiction, volume_mm3
from dicom_io.prompts.reading import ProblemKind
from dicom_io.prompts.rules import LesionRules
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Volume
from workflow.domain.lesion import (
    LesionPrompt,
    LinePrompt,
    MaskPrompt,
    OutlinePrompt,
    PointPrompt,
    PromptShape,
    PromptSource,
)

# Contours this near to the others, mm, belong to the same lesion.
PART_GAP_MM = 10.0
# Points closer than this are one.
SAME_POINT_MM = 0.01
# More points than this in one contour are no drawing.
MAX_CONTOUR_POINTS = 100_000
_XOR = frozenset({"CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR"})
_CLOSED = _XOR | {"CLOSED_PLANAR"}


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
    contours: tuple[Attributes, ...]

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
    listed = _listed(attributes)
    for roi in _rois(attributes, collector):
        choice = rules.choose(roi.name, roi.interpreted_type)
        if not choice.is_lesion:
            collector.problem(roi.item, ProblemKind.NOT_A_LESION, choice.reason)
            continue
        if not any(entry.items("ContourSequence") for entry in roi.contours):
            collector.note(f"{roi.item}: nothing is drawn in it")
            continue
        with collector.item(roi.item):
            _read_roi(roi, listed, images, origin, collector)
            collector.note(f"{roi.item} taken: {choice.reason}")


def _rois(attributes: Attributes, collector: Collector) -> list[Roi]:
    frames = attributes.items("ReferencedFrameOfReferenceSequence")
    usual_frame = attributes.text("FrameOfReferenceUID") or (
        frames[0].text("FrameOfReferenceUID") if len(frames) == 1 else ""
    )
    rois: dict[int, Roi] = {}
    for entry in attributes.items("StructureSetROISequence"):
        number = entry.integer("ROINumber")
        if number is None:
            raise UnsuitableInputError(f"{entry.where}: an ROI has no ROINumber; have it sent again")
        observations = _of_roi(attributes, "RTROIObservationsSequence", number)
        types = [observation.text("RTROIInterpretedType") for observation in observations]
        roi = Roi(
            number=number,
            name=entry.text("ROIName"),
            interpreted_type=next((kind for kind in types if kind.upper() == "GTV"), (*types, "")[0]),
            frame_of_reference_uid=entry.text("ReferencedFrameOfReferenceUID") or usual_frame,
            attributes=entry,
            observation=observations[0] if observations else None,
            contours=_of_roi(attributes, "ROIContourSequence", number),
        )
        known = rois.setdefault(number, roi)
        if known.name != roi.name:
            collector.doubt(
                f"{known.item}: its number is also that of {roi.name!r}, and its contours are those of the "
                "number; have the structure set exported again"
            )
    drawn = {entry.integer("ReferencedROINumber") for entry in attributes.items("ROIContourSequence")}
    for number in sorted(number for number in drawn if number is not None and number not in rois):
        collector.doubt(
            f"ROI {number}: contours are there and nothing says what they show; have the structure set "
            "exported again"
        )
    return list(rois.values())


def _of_roi(attributes: Attributes, keyword: str, number: int) -> tuple[Attributes, ...]:
    """All items that describe an ROI: nothing says that there is only one."""
    return tuple(e for e in attributes.items(keyword) if e.integer("ReferencedROINumber") == number)


def _listed(attributes: Attributes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The images, and the series, that the structure set says it was drawn on (PS3.3 C.8.8.5)."""
    series = [
        one
        for frame in attributes.items("ReferencedFrameOfReferenceSequence")
        for study in frame.items("RTReferencedStudySequence")
        for one in study.items("RTReferencedSeriesSequence")
    ]
    named = [i.text("ReferencedSOPInstanceUID") for one in series for i in one.items("ContourImageSequence")]
    return tuple(named), tuple(one.text("SeriesInstanceUID") for one in series)


def _contours(roi: Roi, collector: Collector) -> list[Contour]:
    """The ROI's usable contours; each one that isn't is a problem of its own."""
    found = []
    entries = [contour for entry in roi.contours for contour in entry.items("ContourSequence")]
    for number, entry in enumerate(entries, start=1):
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
    if (
        kind in ("OPEN_PLANAR", "")
        and len(points) > 3
        and np.ptp(points[[0, -1]], axis=0).max() <= SAME_POINT_MM
    ):
        kind = "CLOSED_PLANAR"  # whatever its type says, it comes back to where it began
    if kind in _CLOSED and len(points) < 3:
        raise UnsuitableInputError(f"a {kind} contour has at least 3 points, not {len(points)}")
    images = tuple(i.text("ReferencedSOPInstanceUID") for i in entry.items("ContourImageSequence"))
    return Contour(kind=kind, points_lps=points, sop_instance_uids=images)


# ---------------------------------------------------------------- an ROI's contours to prompts


def _read_roi(
    roi: Roi,
    listed: tuple[tuple[str, ...], tuple[str, ...]],
    images: ImageIndex,
    origin: Origin,
    collector: Collector,
) -> None:
    """Add a prompt per stack that the ROI was drawn on: nearly always one.

    Contours beyond the images are left out and said; the others count.
    """
    rest, placed = _contours(roi, collector), list[Contour]()
    while rest:
        home = (
            _home_of_most(roi, rest, listed, images)
            if not placed
            else _home_of_some(roi, rest, listed, images)
        )
        inside = [c for c in rest if home is not None and inside_of(c.points_lps, home.images)]
        if home is None or (placed and _nearest_mm(inside, placed) <= PART_GAP_MM):
            collector.doubt(
                f"{roi.item}: {len(rest)} of {len(rest) + len(placed)} contours lie beyond the images that "
                "the others were drawn on and are left out; look whether the lesion is cut off"
            )
            return
        if placed:
            collector.doubt(
                f"{roi.item} was drawn on several stacks; what lies on {home.images.series.name} is a lesion "
                "of its own here, so say if it is one with the first"
            )
        _add_part(roi, inside, home, not placed, origin, collector)
        placed += inside
        rest = [c for c in rest if not inside_of(c.points_lps, home.images)]


def _nearest_mm(some: Sequence[Contour], others: Sequence[Contour]) -> float:
    """The shortest distance between the boxes around two groups of contours, mm."""
    boxes = []
    for group in (some, others):
        points = np.concatenate([contour.points_lps for contour in group])
        boxes.append((points.min(axis=0), points.max(axis=0)))
    (low, high), (other_low, other_high) = boxes
    return float(np.linalg.norm(np.maximum(0.0, np.maximum(low - other_high, other_low - high))))


def _home_of_most(
    roi: Roi,
    contours: Sequence[Contour],
    listed: tuple[tuple[str, ...], tuple[str, ...]],
    images: ImageIndex,
) -> Home:
    own = [uid for contour in contours for uid in contour.sop_instance_uids]
    points = [contour.points_lps for contour in contours]
    try:
        return images.home(roi.frame_of_reference_uid, points, own, *listed)
    except NotPlacedError:
        home = _home_of_some(roi, contours, listed, images)
        if home is None:
            raise
        return home


def _home_of_some(
    roi: Roi,
    contours: Sequence[Contour],
    listed: tuple[tuple[str, ...], tuple[str, ...]],
    images: ImageIndex,
) -> Home | None:
    """The home of the first contour that has one."""
    for contour in contours:
        try:
            return images.home(
                roi.frame_of_reference_uid, [contour.points_lps], contour.sop_instance_uids, *listed
            )
        except NotPlacedError:
            continue
    return None


def _add_part(
    roi: Roi, contours: Sequence[Contour], home: Home, is_first: bool, origin: Origin, collector: Collector
) -> None:
    shapes = _shapes(roi, contours, home.images, collector)
    prompt = _prompt(roi, shapes, origin)
    if not is_first:
        prompt = replace(prompt, item=f"{roi.item} on {home.images.series.name}")
    collector.place(prompt, home)
    if is_first:
        _compare_volume(roi, shapes, collector)


def _compare_volume(roi: Roi, shapes: Sequence[PromptShape], collector: Collector) -> None:
    """Say so where ROI Volume (cm³, PS3.3 C.8.8.5) is not that of the voxels."""
    said = roi.attributes.number("ROIVolume")
    masks = [shape for shape in shapes if isinstance(shape, MaskPrompt)]
    if said and masks:  # some systems write 0 where they know none
        contradiction = volume_contradiction(said * 1000.0, sum(volume_mm3(mask) for mask in masks))
        if contradiction:
            collector.doubt(f"{roi.item}: {contradiction}")


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
    planar = [planar_contour(c.points_lps, images.volume, is_xor=c.kind in _XOR) for c in closed]
    cut_off = sum(_leaves(contour.points_lps, images.volume) for contour in closed)
    if cut_off:
        collector.doubt(
            f"{roi.item}: {cut_off} of its contours leave {images.series.name} at the side and are cut off "
            "there; look whether the lesion is"
        )
    if None not in planar:
        planes, nested = drawn_planes([contour for contour in planar if contour is not None], images.volume)
        region = region_of(planes, images.volume)
    else:
        try:
            region, nested = region_across([(c.points_lps, c.kind in _XOR) for c in closed], images.volume)
        except UnsuitableInputError as error:
            collector.doubt(f"{roi.item} is given as outlines: {error}; look at what is made of them")
            return [OutlinePrompt(points_lps=tuple(map(as_point, contour.points_lps))) for contour in closed]
        collector.note(f"{roi.item}: its contours run across the slices of {images.series.name}")
    if nested:
        collector.doubt(
            f"{roi.item}: on {nested} slices a contour lies inside another one. By its type (CLOSED_PLANAR) "
            "it adds nothing; if a hole was meant, have it exported as CLOSEDPLANAR_XOR or as a keyhole"
        )
    if region.interpolated:
        collector.note(
            f"{roi.item}: {region.interpolated} undrawn slices between drawn ones are interpolated by shape"
        )
    return [MaskPrompt(volume=region.volume)]


def _leaves(points_lps: FloatArray, volume: Volume) -> bool:
    """Whether points (n, 3), LPS mm, lie more than a pixel outside the rows and columns of a volume."""
    pixels = volume.ijk(points_lps)[:, 1:]
    return bool(np.any(pixels < -1.5) or np.any(pixels > np.asarray(volume.shape[1:]) + 0.5))


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
