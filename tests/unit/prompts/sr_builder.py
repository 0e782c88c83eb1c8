"""SR content trees for tests, item by item, as other people's software nests them."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from tests.unit.prompts.support import Images

CODES = {
    "report": ("126000", "DCM", "Imaging Measurement Report"),
    "measurements": ("126010", "DCM", "Imaging Measurements"),
    "group": ("125007", "DCM", "Measurement Group"),
    "tracking identifier": ("112039", "DCM", "Tracking Identifier"),
    "tracking uid": ("112040", "DCM", "Tracking Unique Identifier"),
    "finding": ("121071", "DCM", "Finding"),
    "category": ("276214006", "SCT", "Finding category"),
    "site": ("363698007", "SCT", "Finding Site"),
    "old site": ("G-C0E3", "SRT", "Finding Site"),
    "laterality": ("272741003", "SCT", "Laterality"),
    "long axis": ("103339001", "SCT", "Long Axis"),
    "short axis": ("103340004", "SCT", "Short Axis"),
    "old long axis": ("G-A185", "SRT", "Long Axis"),
    "old short axis": ("G-A186", "SRT", "Short Axis"),
    "length": ("410668003", "SCT", "Length"),
    "area": ("42798000", "SCT", "Area"),
    "angle": ("1483009", "SCT", "Angle"),
    "volume": ("118565006", "SCT", "Volume"),
    "diameter of aorta": ("364085001", "SCT", "Aortic root diameter"),
    "region": ("111030", "DCM", "Image Region"),
    "center": ("111010", "DCM", "Center"),
    "comment": ("121106", "DCM", "Comment"),
    "short label": ("125309", "DCM", "Short label"),
    "reference points": ("122438", "DCM", "Reference Points"),
    "reference geometry": ("128773", "DCM", "Reference Geometry"),
    "person": ("121008", "DCM", "Person Observer Name"),
    "source image": ("121324", "DCM", "Source Image"),
    "segment": ("121191", "DCM", "Referenced Segment"),
    "finding of CAD": ("111059", "DCM", "Single Image Finding"),
}


def coded(code: tuple[str, str, str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def content(
    value_type: str, concept: str | None = None, *children: Dataset, relationship: str = "CONTAINS"
) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relationship, value_type
    if concept is not None:
        item.ConceptNameCodeSequence = [coded(CODES[concept])]
    if children:
        item.ContentSequence = list(children)
    return item


def container(concept: str, *children: Dataset) -> Dataset:
    return content("CONTAINER", concept, *children)


def text(concept: str, value: str, *children: Dataset) -> Dataset:
    item = content("TEXT", concept, *children, relationship="HAS OBS CONTEXT")
    item.TextValue = value
    return item


def uid(concept: str, value: str) -> Dataset:
    item = content("UIDREF", concept, relationship="HAS OBS CONTEXT")
    item.UID = value
    return item


def code(concept: str, value: tuple[str, str, str], *children: Dataset) -> Dataset:
    item = content("CODE", concept, *children)
    item.ConceptCodeSequence = [coded(value)]
    return item


def num(concept: str, *children: Dataset, value: str | None = None, unit: str = "mm") -> Dataset:
    item = content("NUM", concept, *children)
    if value is not None:
        measured = Dataset()
        measured.NumericValue = value
        measured.MeasurementUnitsCodeSequence = [coded((unit, "UCUM", unit))]
        item.MeasuredValueSequence = [measured]
    return item


def image(sop_instance_uid: str, frame: int | None = None, segment: int | None = None) -> Dataset:
    item = content("IMAGE", "segment" if segment is not None else None, relationship="SELECTED FROM")
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = sop_instance_uid
    if frame is not None:
        reference.ReferencedFrameNumber = frame
    if segment is not None:
        reference.ReferencedSegmentNumber = segment
    item.ReferencedSOPSequence = [reference]
    return item


def scoord(kind: str, data: Sequence[float], *children: Dataset, concept: str | None = None) -> Dataset:
    item = content("SCOORD", concept, *children, relationship="INFERRED FROM")
    item.GraphicType, item.GraphicData = kind, list(data)
    return item


def scoord3d(kind: str, data: Sequence[float], frame_of_reference_uid: str = "1.2.3.4") -> Dataset:
    item = content("SCOORD3D", "region", relationship="INFERRED FROM")
    item.GraphicType, item.GraphicData = kind, list(data)
    item.ReferencedFrameOfReferenceUID = frame_of_reference_uid
    return item


def reference(*path: int) -> Dataset:
    item = Dataset()
    item.RelationshipType = "INFERRED FROM"
    item.ReferencedContentItemIdentifier = list(path)
    return item


def group(*children: Dataset, tracking_uid: str | None = "2.25.1", identifier: str = "") -> Dataset:
    identity = [] if tracking_uid is None else [uid("tracking uid", tracking_uid)]
    named = [text("tracking identifier", identifier)] if identifier else []
    return container("group", *named, *identity, *children)


def report(*groups: Dataset, wrapped: bool = True) -> Dataset:
    """A document; groups go into Imaging Measurements unless it is of an older kind."""
    children = [container("measurements", *groups)] if wrapped else list(groups)
    document = container("report", *children)
    document.Modality, document.SOPInstanceUID = "SR", "1.2.3.77"
    document.ContentDate, document.ContentTime = "20240102", "101112"
    document.Manufacturer, document.ManufacturerModelName = "Maker", "Station"
    return document


def axes(images: Images, index: int = 2, *, old: bool = False) -> tuple[Dataset, Dataset]:
    """A long axis of 20 x 0 pixels and a short one of 0 x 10 that crosses it, on one slice."""
    source = images.slices[index].sop_instance_uid
    prefix = "old " if old else ""
    return (
        num(f"{prefix}long axis", scoord("POLYLINE", [10.5, 20.5, 30.5, 20.5], image(source))),
        num(f"{prefix}short axis", scoord("POLYLINE", [20.5, 15.5, 20.5, 25.5], image(source))),
    )
