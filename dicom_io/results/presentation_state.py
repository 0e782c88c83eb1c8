"""Axes and labels as Grayscale Softcopy Presentation States (PS3.3 A.33.1): drawn over the images themselves.

For workstations that show neither SEG nor SR. Unlike a key image it keeps the images' pixels, and can be
hidden; like it, it comes besides SEG and SR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage
from pydicom.valuerep import DA, TM

from dicom_io import uids
from dicom_io.results import equipment
from dicom_io.results.common import Kind, finish, series_description, series_number
from dicom_io.results.document import Place, begin_document
from dicom_io.results.settings import ResultSettings
from dicom_io.results.source import SourceImages, moment_of
from dicom_io.results.sr_lesions import has_axes, image_polyline
from dicom_io.results.text import short
from dicom_io.results.visit import Visit, VisitStudy, VisitVolume, role_of
from workflow.domain.lesion import Axis, LesionMeasurement
from workflow.domain.palette import colour_of, shade_of
from workflow.domain.report import ReportedLesion

_RESCALE = ("RescaleIntercept", "RescaleSlope", "RescaleType")
_WINDOW = ("WindowCenter", "WindowWidth")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Drawn:
    """A lesion that can be drawn, with where."""

    lesion: ReportedLesion
    measurement: LesionMeasurement
    volume: VisitVolume

    @property
    def images(self) -> SourceImages:
        """The images of its volume."""
        return self.volume.images

    @property
    def layer(self) -> str:
        """Graphic Layer (VR CS): one per colour."""
        shade = shade_of(self.lesion.role, self.lesion.label)
        return f"{self.lesion.role.value.upper()} {shade + 1}"

    def part(self, name: str) -> Dataset:
        """A functional group of its image's frame, or the whole header of a single-frame image."""
        return self.images.group(self.measurement.slice_index, name)

    def reference(self) -> Dataset:
        """Its image, and the frame of it."""
        one = self.images.source.slices[self.measurement.slice_index]
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class_uid, one.sop_instance_uid
        if one.frame_number is not None:
            item.ReferencedFrameNumber = one.frame_number
        return item

    def axes(self) -> list[Axis]:
        """The axes that are lines: two equal points are none."""
        return [one for one in (self.measurement.long_axis, self.measurement.short_axis) if one.length_mm > 0]

    def lines(self) -> list[np.ndarray]:
        """Ends of each axis that lies in its image, (column, row), the long axis first."""
        found = [image_polyline(axis, self.measurement.slice_index, self.images) for axis in self.axes()]
        return [line for line in found if line is not None]

    def scale(self) -> tuple[str, ...]:
        """What makes values of stored pixels; a presentation state has one for all its images."""
        said = self.part("PixelValueTransformationSequence")
        inverse = self.images.image(self.measurement.slice_index).PhotometricInterpretation == "MONOCHROME1"
        return (*(str(said.get(name, "")) for name in _RESCALE), "INVERSE" if inverse else "IDENTITY")


def build_presentation_states(
    visit: Visit, study: VisitStudy, settings: ResultSettings
) -> tuple[Dataset, ...]:
    """Both axes and the label of each lesion of a study, on its image.

    One object; where images are scaled differently (the slices of a PET), one for each scale, as a
    presentation state has one Modality LUT. A lesion that is on no image (without axes, on a slice that was
    filled in) isn't drawn; without any there is no object.
    """
    by_scale: dict[tuple[str, ...], list[_Drawn]] = {}
    for volume in study.volumes:
        for lesion in volume.lesions:
            if lesion.measurement is not None and has_axes(lesion):
                drawn = _Drawn(lesion=lesion, measurement=lesion.measurement, volume=volume)
                if len(drawn.lines()) == len(drawn.axes()):
                    by_scale.setdefault(drawn.scale(), []).append(drawn)
    return tuple(
        _presentation_state(visit, study, number, drawn, settings)
        for number, drawn in enumerate(by_scale.values(), start=1)
    )


def _presentation_state(
    visit: Visit, study: VisitStudy, number: int, drawn: Sequence[_Drawn], settings: ResultSettings
) -> Dataset:
    report, images = visit.report, study.images
    moment = moment_of(report, images.header)
    role = role_of(role_of("presentation state", study.number), number)
    place = Place(
        sop_class_uid=GrayscaleSoftcopyPresentationStateStorage,
        sop_instance_uid=uids.sop_instance_uid(report, role),
        modality="PR",
        series_number=series_number(Kind.PRESENTATION_STATE, report, settings, number),
        series_description=series_description(settings.presentation_state_description, report),
    )
    state = begin_document(place, report, images, settings, moment)
    state.ContributingEquipmentSequence = equipment.contributing_equipment(
        equipment.models_of_lesions([one.lesion for one in drawn]), settings, moment
    )
    state.ContentLabel = "LESIONS"
    state.ContentDescription = short(f"Lesions of {report.time_point_id}", 64)
    state.PresentationCreationDate, state.PresentationCreationTime = DA(moment.date()), TM(moment.time())
    state.ContentCreatorName = report.signed_by or ""
    state.ReferencedSeriesSequence = _referenced_series(drawn)
    state.DisplayedAreaSelectionSequence = _displayed_areas(drawn)
    state.GraphicAnnotationSequence = [_annotation(one, settings) for one in drawn]
    state.GraphicLayerSequence = _layers(drawn)
    _set_grey_scale(state, drawn)
    state.Laterality = ""  # Type 2C
    finish(state, report, images, moment)
    state.pop("BodyPartExamined", None)  # decides whether Laterality may be there at all
    return state


def _by_volume(drawn: Sequence[_Drawn]) -> list[list[_Drawn]]:
    found: dict[object, list[_Drawn]] = {}
    for one in drawn:
        found.setdefault(one.volume.key, []).append(one)
    return list(found.values())


def _referenced_series(drawn: Sequence[_Drawn]) -> list[Dataset]:
    """The images that it is for (PS3.3 C.11.11): several volumes may be stacks of one series."""
    by_series: dict[str, list[_Drawn]] = {}
    for one in drawn:
        by_series.setdefault(one.images.source.series.series_instance_uid, []).append(one)
    series = []
    for uid, those in by_series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedImageSequence = _instances(those)
        series.append(item)
    return series


def _instances(drawn: Sequence[_Drawn]) -> list[Dataset]:
    """The images, each once, with all its frames that are drawn on."""
    frames: dict[tuple[str, str], set[int]] = {}
    for one in drawn:
        item = one.reference()
        drawn_on = frames.setdefault((item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID), set())
        drawn_on |= {int(item.ReferencedFrameNumber)} if "ReferencedFrameNumber" in item else set()
    found = []
    for (sop_class_uid, sop_instance_uid), drawn_on in frames.items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        if drawn_on:
            item.ReferencedFrameNumber = sorted(drawn_on)
        found.append(item)
    return found


def _displayed_areas(drawn: Sequence[_Drawn]) -> list[Dataset]:
    """Each volume's whole image, as large as fits (PS3.3 C.10.4)."""
    areas = []
    for those in _by_volume(drawn):
        image = those[0].images.image(those[0].measurement.slice_index)
        item = Dataset()
        item.ReferencedImageSequence = _instances(those)
        item.DisplayedAreaTopLeftHandCorner = [1, 1]
        item.DisplayedAreaBottomRightHandCorner = [int(image.Columns), int(image.Rows)]
        item.PresentationSizeMode = "SCALE TO FIT"
        item.PresentationPixelSpacing = list(those[0].part("PixelMeasuresSequence").PixelSpacing)
        areas.append(item)
    return areas


def _annotation(one: _Drawn, settings: ResultSettings) -> Dataset:
    """Both axes as polylines and the label at the long axis's end (PS3.3 C.10.5)."""
    tracking_id = short(settings.tracking_id(one.lesion.label), 64)
    graphics = []
    for ends in one.lines():
        graphic = Dataset()
        graphic.GraphicAnnotationUnits = "PIXEL"
        graphic.GraphicDimensions, graphic.NumberOfGraphicPoints = 2, len(ends)
        graphic.GraphicData = np.asarray(ends, dtype=np.float32).ravel().tolist()
        graphic.GraphicType, graphic.GraphicFilled = "POLYLINE", "N"
        graphic.TrackingID, graphic.TrackingUID = tracking_id, one.lesion.tracking_uid
        graphics.append(graphic)
    text = Dataset()
    text.UnformattedTextValue = short(one.lesion.label, 1024)
    text.AnchorPointAnnotationUnits, text.AnchorPointVisibility = "PIXEL", "N"
    text.AnchorPoint = graphics[0].GraphicData[2:]
    text.TrackingID, text.TrackingUID = tracking_id, one.lesion.tracking_uid
    item = Dataset()
    item.ReferencedImageSequence = [one.reference()]
    item.GraphicLayer = one.layer
    item.TextObjectSequence, item.GraphicObjectSequence = [text], graphics
    return item


def _layers(drawn: Sequence[_Drawn]) -> list[Dataset]:
    """A layer for each colour in use (PS3.3 C.10.7); workstations without colour draw white."""
    from highdicom.color import CIELabColor

    found = {one.layer: one.lesion for one in drawn}
    layers = []
    for order, name in enumerate(sorted(found), start=1):
        item = Dataset()
        item.GraphicLayer, item.GraphicLayerOrder = name, order
        item.GraphicLayerRecommendedDisplayGrayscaleValue = 0xFFFF
        colour = CIELabColor.from_rgb(*colour_of(found[name].role, found[name].label))
        item.GraphicLayerRecommendedDisplayCIELabValue = list(colour.value)
        layers.append(item)
    return layers


def _set_grey_scale(state: Dataset, drawn: Sequence[_Drawn]) -> None:
    """Show the images as their own headers would: scale, window, and which end is dark."""
    said = drawn[0].part("PixelValueTransformationSequence")
    if "RescaleSlope" in said:
        state.RescaleIntercept, state.RescaleSlope = said.RescaleIntercept, said.RescaleSlope
        state.RescaleType = said.get("RescaleType") or "US"  # Type 1 here, and "unspecified" is a term
    windows = [item for one in drawn if (item := _window(one)) is not None]
    if windows:
        state.SoftcopyVOILUTSequence = windows
    state.PresentationLUTShape = drawn[0].scale()[-1]


def _window(one: _Drawn) -> Dataset | None:
    """The first window that the image's header has (PS3.3 C.11.8)."""
    said = one.part("FrameVOILUTSequence")
    if any(said.get(name) in (None, "") for name in _WINDOW):
        return None
    item = Dataset()
    item.ReferencedImageSequence = [one.reference()]
    for name in _WINDOW:
        values = said[name]
        setattr(item, name, values.value[0] if values.VM > 1 else values.value)
    return item
