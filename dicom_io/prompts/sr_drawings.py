"""SCOORD and SCOORD3D content items as drawings in the patient (PS3.3 C.18.6, C.18.9)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicom_io import codes
from dicom_io.prompts.collector import UnreadItemError, UnsupportedItemError
from dicom_io.prompts.graphics import Drawing, Role, drawings_of, read_points
from dicom_io.prompts.origin import is_one_of
from dicom_io.prompts.placement import Home, ImageIndex, NotPlacedError
from dicom_io.prompts.sr_tree import Node, Tree
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray

# Viewers' tools whose open polylines enclose a region, whose two points are an arrow, or that show no lesion.
_REGION_TOOLS = ("rectangle", "freehand", "spline", "livewire", "contour", "circle", "ellip")
_ARROW_TOOLS = ("arrow",)
_OTHER_TOOLS = ("angle", "cobb", "calibration", "ultrasound", "keyimage")


@dataclass(kw_only=True)
class DrawingReader:
    """Reads coordinates of one document against the study's images."""

    tree: Tree
    images: ImageIndex

    def read(self, node: Node, measured_by: Node | None, tool: str) -> tuple[list[Drawing], Home]:
        """One SCOORD or SCOORD3D, in the patient.

        Raises
        ------
        NotPlacedError
            If its image or frame of reference is not at hand.
        UnsuitableInputError
            If its coordinates are malformed or outside the image.
        UnsupportedItemError
            If it shows no lesion (an angle, an open path).
        UnreadItemError
            If it was drawn on a reformatted plane.
        """
        # A rectangle is no angle, whatever its name ends in.
        is_other = _names(tool, _OTHER_TOOLS) and not _names(tool, _REGION_TOOLS)
        if is_other or _is_angle(measured_by):
            raise UnsupportedItemError("an angle, a calibration or a key image shows no lesion")
        if _is_reformatted(node):
            raise UnreadItemError("it was drawn on a reformatted plane, not on the image it names")
        role = _role(node, measured_by)
        if node.value_type == "SCOORD3D":
            return self._in_space(node, role, tool)
        return self._on_image(node, role, tool)

    def _on_image(self, node: Node, role: Role, tool: str) -> tuple[list[Drawing], Home]:
        points = read_points(node.attributes, 2)
        origin = node.attributes.text("PixelOriginInterpretation").upper()
        if origin == "VOLUME":
            raise UnsupportedItemError("its coordinates are on a microscopy slide's total pixel matrix")
        sop_instance_uid, frame_number = self._image_of(node)
        plane = self.images.plane_of(sop_instance_uid, frame_number)
        graphic_type = node.attributes.text("GraphicType")
        inside = points.mean(axis=0)[None] if graphic_type.upper() in ("ELLIPSE", "CIRCLE") else points
        plane.require_inside(inside)
        drawings = drawings_of(
            graphic_type, points, plane.lps, surface=f"{sop_instance_uid}#{frame_number or 1}", role=role,
            is_region=role is Role.REGION or _names(tool, _REGION_TOOLS), is_arrow=_names(tool, _ARROW_TOOLS),
        )  # fmt: skip
        return drawings, self.images.home_on(plane, [drawing.points_lps for drawing in drawings])

    def _in_space(self, node: Node, role: Role, tool: str) -> tuple[list[Drawing], Home]:
        points = read_points(node.attributes, 3)
        frame_of_reference_uid = node.attributes.text("ReferencedFrameOfReferenceUID")
        home = self.images.home(frame_of_reference_uid, [points], _images_named(node))
        drawings = drawings_of(
            node.attributes.text("GraphicType"), points, _as_they_are,
            surface=_plane_name(frame_of_reference_uid, points), role=role,
            normal_lps=home.images.volume.directions[:, 0],
            is_region=role is Role.REGION or _names(tool, _REGION_TOOLS), is_arrow=_names(tool, _ARROW_TOOLS),
        )  # fmt: skip
        return drawings, home

    def _image_of(self, node: Node) -> tuple[str, int | None]:
        """The image that the coordinates were selected from; by value or by reference."""
        for child in node.children:
            source = self.tree.resolve(child)
            for image in source.attributes.items("ReferencedSOPSequence"):
                return image.text("ReferencedSOPInstanceUID"), _frame_number(
                    image.numbers("ReferencedFrameNumber")
                )
        raise NotPlacedError("its coordinates name no image (no SELECTED FROM IMAGE below them)")


def _images_named(node: Node) -> list[str]:
    """The images named beside coordinates in space, which need none."""
    beside = [*node.children, *(node.parent.children if node.parent is not None else ())]
    return [
        image.text("ReferencedSOPInstanceUID")
        for child in beside
        if child.value_type == "IMAGE"
        for image in child.attributes.items("ReferencedSOPSequence")
    ]


def is_aside(node: Node) -> bool:
    """Whether coordinates say where a label stands or which plane was drawn on, not where a lesion is."""
    return is_one_of(node.concept, codes.REFERENCE_POINTS, codes.REFERENCE_GEOMETRY)


def _is_reformatted(node: Node) -> bool:
    return node.holds_reformatted_plane or (node.parent is not None and node.parent.holds_reformatted_plane)


def _frame_number(numbers: tuple[float, ...] | None) -> int | None:
    if numbers is None:
        return None
    if len(numbers) > 1 or numbers[0] < 1 or numbers[0] != int(numbers[0]):
        raise UnsuitableInputError(f"ReferencedFrameNumber {numbers} is not one frame counted from 1")
    return int(numbers[0])


def _role(node: Node, measured_by: Node | None) -> Role:
    concepts = [node.concept, measured_by.concept if measured_by is not None else None]
    for role, known in (
        (Role.LONG_AXIS, codes.LONG_AXES),
        (Role.SHORT_AXIS, codes.SHORT_AXES),
        (Role.REGION, codes.REGIONS),
    ):
        if any(concept in known for concept in concepts if concept is not None):
            return role
    return Role.UNKNOWN


def _is_angle(measured_by: Node | None) -> bool:
    concept = measured_by.concept if measured_by is not None else None
    return concept is not None and ("angle" in concept.meaning.casefold() or concept in codes.ANGLES)


def _names(tool: str, parts: tuple[str, ...]) -> bool:
    return any(part in tool for part in parts)


def _as_they_are(points: FloatArray) -> FloatArray:
    return np.asarray(points, dtype=np.float64)


def _plane_name(frame_of_reference_uid: str, points: FloatArray) -> str:
    """Lines in space cross only if they share an axial level; half a millimetre apart counts as one."""
    return f"{frame_of_reference_uid}@{round(float(points[:, 2].mean()) * 2)}"
