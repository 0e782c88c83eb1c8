"""Prompts out of presentation states (PS3.3 A.33): lines, ellipses, circles, arrows and anchored texts.

A presentation state doesn't say what a graphic means, so the rules are few and visible in the notes: two
lines that cross at about a right angle on one image are the axes of one lesion, any other line a length, a
closed curve an outline, an arrow's tip or a text's anchor a point. Ticks at the ends of a line belong to it.
A text next to a graphic is its label. A compound graphic and the simple ones that stand for it (one Compound
Graphic Instance ID) are one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dicom_io.parsing import Attributes
from dicom_io.prompts.collector import Collector, UnreadItemError, UnsupportedItemError
from dicom_io.prompts.graphics import (
    Drawing,
    drawings_of,
    pair_axes,
    read_points,
    shapes_of,
    without_end_marks,
)
from dicom_io.prompts.gsps_display import DisplayedArea, displayed_area
from dicom_io.prompts.image_planes import ImagePlane
from dicom_io.prompts.origin import Origin, origin_of, site_from
from dicom_io.prompts.placement import ImageIndex, NotPlacedError
from dicom_io.prompts.plausibility import typed_contradiction
from dicom_io.prompts.reading import ProblemKind
from dicom_io.prompts.rules import LesionRules
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray
from workflow.domain.lesion import LesionPrompt, PromptSource

# Compound graphics that help to read and show no lesion (PS3.3 C.10.5.1.2.4).
AIDS_TO_READING = frozenset({"AXIS", "CROSSHAIR", "INFINITELINE"})
# A text this near a graphic's centre, mm, is its label: annotations stand beside what they name.
LABEL_DISTANCE_MM = 40.0
# Nobody annotates more than this by hand; beyond it texts stand alone.
MAX_LABEL_PAIRS = 200_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Graphic:
    """A drawing with what its object says of it."""

    drawing: Drawing
    plane: ImagePlane
    item: str
    group: int | None
    tracking_uid: str | None = None
    tracking_id: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Text:
    """A text on an image; `anchor` is where it points to, if its anchor is visible."""

    words: str
    position: FloatArray
    anchor: Drawing | None
    plane: ImagePlane
    item: str
    tracking_uid: str | None = None
    tracking_id: str | None = None


@dataclass(kw_only=True)
class _Sheet:
    graphics: list[Graphic] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


def read_gsps(attributes: Attributes, images: ImageIndex, rules: LesionRules, collector: Collector) -> None:
    """Add each drawn lesion as a prompt; say of every other graphic why not."""
    origin = origin_of(
        attributes,
        ("ContentCreatorName", "OperatorsName"),
        (("PresentationCreationDate", "PresentationCreationTime"), ("ContentDate", "ContentTime")),
    )
    sheet = _Sheet()
    for number, annotation in enumerate(attributes.items("GraphicAnnotationSequence"), start=1):
        name = f"annotation {number}"
        with collector.item(name):
            places = _referenced(attributes, annotation)
            plane = _only_plane(places, annotation, images)
            _read_annotation(attributes, annotation, plane, name, sheet, collector)
            if len(places) > 1:
                collector.doubt(
                    f"{name} is shown on {len(places)} images at one place; that of {plane.series.name} is "
                    "taken, so say on which it was drawn"
                )
    _collect(sheet, origin, images, rules, collector)


def _referenced(attributes: Attributes, annotation: Attributes) -> list[tuple[str, int | None]]:
    """The images that an annotation applies to: its own, else all that the presentation state lists."""
    places = annotation.items("ReferencedImageSequence") or tuple(
        image
        for series in attributes.items("ReferencedSeriesSequence")
        for image in series.items("ReferencedImageSequence")
    )
    found: list[tuple[str, int | None]] = []
    for image in places:
        frames = image.numbers("ReferencedFrameNumber") or (None,)
        found += [(image.text("ReferencedSOPInstanceUID"), None if f is None else int(f)) for f in frames]
    if not found:
        raise NotPlacedError("it refers to no image")
    return found


def _only_plane(
    places: list[tuple[str, int | None]], annotation: Attributes, images: ImageIndex
) -> ImagePlane:
    """The plane that an annotation is drawn on; the images of several series at one place are one plane.

    Raises
    ------
    NotPlacedError
        If its images lie at several places, or are not at hand.
    UnsupportedItemError
        If it is only a text that many images show alike.
    """
    if len(places) == 1:
        return images.plane_of(*places[0])
    planes = [images.plane_of(*place) for place in places if images.holds(place[0])]
    if not planes:
        raise NotPlacedError(f"none of the {len(places)} images that it names is here")
    alike = [plane for plane in planes if np.allclose(plane.affine, planes[0].affine, atol=0.1)]
    if len(alike) == len(places):
        return min(
            planes, key=lambda plane: (plane.series.refusal is not None, plane.series.left_out is not None)
        )
    shown = f"it is shown on {len(places)} images alike (a heading, a ruler), so it marks no place"
    if annotation.items("GraphicObjectSequence") or annotation.items("CompoundGraphicSequence"):
        raise NotPlacedError(shown)
    raise UnsupportedItemError(shown)


def _read_annotation(
    attributes: Attributes,
    annotation: Attributes,
    plane: ImagePlane,
    name: str,
    sheet: _Sheet,
    collector: Collector,
) -> None:
    area = displayed_area(attributes, plane)
    read_compounds: set[int | None] = set()
    for number, graphic in enumerate(annotation.items("CompoundGraphicSequence"), start=1):
        item = f"{name}, compound graphic {number}"
        instance = graphic.integer("CompoundGraphicInstanceID")
        kind = graphic.text("CompoundGraphicType").upper()
        with collector.item(item):
            if kind in AIDS_TO_READING:
                read_compounds |= {instance}
                raise UnsupportedItemError(f"a compound graphic of type {kind} shows no lesion")
            if kind == "CUTLINE":
                read_compounds |= {instance}
                raise UnreadItemError(
                    "a cut line shows where another plane lies, and its ends are no lesion's"
                )
            try:
                units = graphic.text("CompoundGraphicUnits")
                sheet.graphics += _graphics(graphic, kind, units, area, plane, item, is_compound=True)
                read_compounds |= {instance}
            except UnreadItemError:
                if instance not in _instances(annotation):
                    raise
    for number, graphic in enumerate(annotation.items("GraphicObjectSequence"), start=1):
        item = f"{name}, graphic {number}"
        with collector.item(item):
            if graphic.integer("CompoundGraphicInstanceID") in read_compounds - {None}:
                continue  # it draws the compound graphic once more, for viewers that know none
            kind = graphic.text("GraphicType").upper()
            units = graphic.text("GraphicAnnotationUnits")
            sheet.graphics += _graphics(graphic, kind, units, area, plane, item)
    for number, text in enumerate(annotation.items("TextObjectSequence"), start=1):
        item = f"{name}, text {number}"
        with collector.item(item):
            found = _text(text, area, plane, item)
            if found is not None:
                sheet.texts.append(found)


def _instances(annotation: Attributes) -> set[int]:
    """The compound graphics that simple ones stand for."""
    found = (g.integer("CompoundGraphicInstanceID") for g in annotation.items("GraphicObjectSequence"))
    return {instance for instance in found if instance is not None}


def _graphics(
    graphic: Attributes, kind: str, units: str, area: DisplayedArea, plane: ImagePlane, item: str,
    *, is_compound: bool = False,
) -> list[Graphic]:  # fmt: skip
    if (graphic.integer("GraphicDimensions") or 2) != 2:
        raise UnsuitableInputError("GraphicDimensions is not 2 (PS3.3 C.10.5)")
    points = area.pixels(read_points(graphic, 2), units)
    is_arrow = is_compound and kind == "ARROW"
    drawings = []
    for simple, path in _simple(kind, points, graphic) if is_compound else [(kind, points)]:
        plane.require_inside(path.mean(axis=0)[None] if simple in ("ELLIPSE", "CIRCLE") else path)
        drawings += drawings_of(
            simple, path, plane.lps, surface=plane.sop_instance_uid, is_arrow=is_arrow,
            is_region=graphic.text("GraphicFilled").upper() == "Y",
        )  # fmt: skip
    return [
        Graphic(
            drawing=drawing,
            plane=plane,
            item=item,
            group=graphic.integer("GraphicGroupID"),
            tracking_uid=graphic.text("TrackingUID") or None,
            tracking_id=graphic.text("TrackingID") or None,
        )
        for drawing in drawings
    ]


def _simple(kind: str, points: FloatArray, graphic: Attributes) -> list[tuple[str, FloatArray]]:
    """A compound graphic as simple ones at the same place (PS3.3 C.10.5.1.2.4).

    Raises
    ------
    UnreadItemError
        If it is turned, or of a type that is not known.
    """
    if abs(graphic.number("RotationAngle") or 0.0) > 1e-3:
        raise UnreadItemError("a turned compound graphic is not read")
    if kind == "MULTILINE" and len(points) % 2 == 0:
        return [("POLYLINE", points[at : at + 2]) for at in range(0, len(points), 2)]
    if kind == "ARROW" and len(points) == 2:
        # From tail to head: the lesion is at the head, which `drawings_of` expects first.
        return [("POLYLINE", points[::-1])]
    if kind in ("RECTANGLE", "ELLIPSE") and len(points) == 2:
        return [_boxed(kind, points)]
    if kind == "ELLIPSE" and len(points) == 4:
        return [(kind, points)]
    if kind in ("RULER", "RANGELINE") and len(points) == 2:
        return [("POLYLINE", points)]
    raise UnreadItemError(
        f"a compound graphic of type {kind or '(none)'} with {len(points)} points is not read"
    )


def _boxed(kind: str, points: FloatArray) -> tuple[str, FloatArray]:
    """A rectangle, or the ellipse in it, given by its top left and bottom right corner."""
    (left, top), (right, bottom) = points
    if kind == "RECTANGLE":
        return "POLYGON", np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    x, y = (left + right) / 2, (top + bottom) / 2
    return "ELLIPSE", np.array([[left, y], [right, y], [x, top], [x, bottom]])


def _text(text: Attributes, area: DisplayedArea, plane: ImagePlane, item: str) -> Text | None:
    """A text with a place: its anchor, else its bounding box; None if it has neither or no words."""
    words = " ".join(text.text("UnformattedTextValue").split())
    anchor = text.numbers("AnchorPoint", 2)
    corner = text.numbers("BoundingBoxTopLeftHandCorner", 2)
    if not words or (anchor is None and corner is None):
        return None
    drawing = None
    if anchor is not None:
        pixels = area.pixels(np.array([anchor]), text.text("AnchorPointAnnotationUnits"))
        if text.text("AnchorPointVisibility").upper() == "Y":
            plane.require_inside(pixels)
            (drawing,) = drawings_of("POINT", pixels, plane.lps, surface=plane.sop_instance_uid)
    else:
        pixels = area.pixels(np.array([corner]), text.text("BoundingBoxAnnotationUnits"))
    return Text(
        words=words,
        position=plane.lps(pixels)[0],
        anchor=drawing,
        plane=plane,
        item=item,
        tracking_uid=text.text("TrackingUID") or None,
        tracking_id=text.text("TrackingID") or None,
    )


# ---------------------------------------------------------------- graphics to lesions


def _collect(
    sheet: _Sheet, origin: Origin, images: ImageIndex, rules: LesionRules, collector: Collector
) -> None:
    """Group graphics to lesions, give each its nearest text, and let lone anchors be points."""
    lesions = list(_lesions(sheet.graphics))
    labels = _labels(lesions, sheet.texts)
    for number, lesion in enumerate(lesions):
        text = labels.get(number)
        choice = rules.choose_measured(text.words if text is not None else lesion[0].tracking_id or "")
        if not choice.is_lesion:
            kind = ProblemKind.DOUBTFUL_LESION if choice.doubt else ProblemKind.NOT_A_LESION
            collector.problem(lesion[0].item, kind, choice.reason)
            continue
        doubts = [
            choice.doubt,
            typed_contradiction(text.words, _lengths_mm(lesion)) if text is not None else "",
        ]
        for doubt in filter(None, doubts):
            collector.doubt(f"{lesion[0].item}: {doubt}")
        if len(lesion) > 1:
            collector.note(
                f"{' and '.join(g.item for g in lesion)} are taken as the axes or parts of one lesion"
            )
        with collector.item(lesion[0].item):
            _add(lesion, text, origin, images, collector)
    used = {id(text) for text in labels.values()}
    for text in sheet.texts:
        if id(text) not in used and text.anchor is not None:
            alone = Graphic(
                drawing=text.anchor, plane=text.plane, item=text.item, group=None,
                tracking_uid=text.tracking_uid, tracking_id=text.tracking_id,
            )  # fmt: skip
            collector.note(f"{text.item} is taken as a point at its anchor")
            with collector.item(text.item):
                _add([alone], text, origin, images, collector)


def _lengths_mm(lesion: Sequence[Graphic]) -> list[float]:
    lines = without_end_marks([g.drawing for g in lesion if g.drawing.kind == "line"])
    return [line.length_mm for line in lines]


def _lesions(graphics: Sequence[Graphic]) -> Iterator[list[Graphic]]:
    """Graphics of one tracking UID, else of one group, else crossing lines, are one lesion."""
    keyed: dict[object, list[Graphic]] = {}
    loose: list[Graphic] = []
    for graphic in graphics:
        key = graphic.tracking_uid or (
            (graphic.group, graphic.plane.sop_instance_uid) if graphic.group is not None else None
        )
        if key is None:
            loose.append(graphic)
        else:
            keyed.setdefault(key, []).append(graphic)
    lines = {id(g.drawing): g for g in loose if g.drawing.kind == "line"}
    pairs = pair_axes(without_end_marks([g.drawing for g in lines.values()]))
    lesions = list(keyed.values())
    lesions += [[lines[id(one)]] + ([lines[id(other)]] if other is not None else []) for one, other in pairs]
    lesions += [[g] for g in loose if g.drawing.kind != "line"]
    order = {id(graphic): number for number, graphic in enumerate(graphics)}
    yield from sorted(lesions, key=lambda lesion: min(order[id(graphic)] for graphic in lesion))


def _labels(lesions: Sequence[Sequence[Graphic]], texts: Sequence[Text]) -> dict[int, Text]:
    """Lesion number to the nearest text on its image, each text given once, the nearest pair first."""
    if len(lesions) * len(texts) > MAX_LABEL_PAIRS:
        return {}
    distances = sorted(
        (
            (float(np.linalg.norm(lesion[0].drawing.points_lps - text.position, axis=1).min()), i, j)
            for i, lesion in enumerate(lesions)
            for j, text in enumerate(texts)
            if lesion[0].drawing.surface == text.plane.sop_instance_uid
        ),
    )
    given: dict[int, Text] = {}
    taken: set[int] = set()
    for distance, i, j in distances:
        if distance <= LABEL_DISTANCE_MM and i not in given and j not in taken:
            given[i] = texts[j]
            taken.add(j)
    return given


def _add(
    lesion: Sequence[Graphic], text: Text | None, origin: Origin, images: ImageIndex, collector: Collector
) -> None:
    first = lesion[0]
    words = text.words if text is not None else ""
    site = site_from(None, words)
    home = images.home_on(first.plane, [graphic.drawing.points_lps for graphic in lesion])
    prompt = LesionPrompt(
        shapes=shapes_of([graphic.drawing for graphic in lesion]),
        source=PromptSource.PRESENTATION_STATE,
        label=words or first.tracking_id or "",
        tracking_uid=first.tracking_uid,
        tracking_id=first.tracking_id,
        finding_site=site.finding_site,
        finding_site_meaning=site.finding_site_meaning,
        laterality=site.laterality,
        organ=site.organ,
        is_nodal=site.is_nodal,
        created_by=origin.created_by,
        created_at=origin.created_at,
        sop_instance_uid=origin.sop_instance_uid or None,
        item=first.item,
    )
    collector.place(prompt, home)
