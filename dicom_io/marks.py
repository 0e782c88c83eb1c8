"""A reader's marks as a measurement report (TID 1500), as any viewer would store them.

A line and both axes are a TID 1501 group with their lengths, a point and a box a TID 1410 group with an image
region. All groups of a lesion have its tracking UID, so that they are read as one lesion again
(`dicom_io.prompts.sr`).
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.valuerep import DA, TM

from dicom_io import codes, uids
from dicom_io.parsing import quiet
from dicom_io.results.common import private_coding_scheme, texts_of, to_bytes
from dicom_io.results.source import SourceImages, local_time
from dicom_io.results.text import character_set_for, plain
from dicom_io.volumes import SeriesVolume
from workflow.domain.drawing import Mark, MarkedLesion, MarkKind
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray

# PS3.3 C.10.5.1.2: (0.5, 0.5) is the centre of the first pixel, index (0, 0).
_PIXEL_CENTRE = 0.5
_SERIES_NUMBER = 95
_COPIED = ("IssuerOfPatientID", "StudyDescription", "TimezoneOffsetFromUTC")


def marks_report(lesion: MarkedLesion, source: SeriesVolume) -> bytes:
    """Write a lesion's marks as a DICOM file; the same marks give the same bytes.

    Parameters
    ----------
    source
        The volume that was drawn on, with the images behind its slices.

    Raises
    ------
    UnsuitableInputError
        If a mark lies outside the volume, or on a slice that no image shows.
    """
    with quiet():  # highdicom's warnings quote patient names
        images = SourceImages(source)
        drawn = {mark.slice_index: None for mark in lesion.marks}
        _require_images(lesion, images)
        document = _document(lesion, images, list(drawn))
        _complete(document, lesion, images)
        return to_bytes(document)


def _require_images(lesion: MarkedLesion, images: SourceImages) -> None:
    slices, rows, columns = images.volume.shape
    for mark in lesion.marks:
        if not 0 <= mark.slice_index < slices:
            raise UnsuitableInputError(f"there is no slice {mark.slice_index + 1}; the volume has {slices}")
        if any(not (-0.5 <= r <= rows - 0.5 and -0.5 <= c <= columns - 0.5) for r, c in mark.points):
            raise UnsuitableInputError(
                f"a {mark.kind} on slice {mark.slice_index + 1} lies outside the image"
            )
        if not images.is_in_image(mark.slice_index):
            raise UnsuitableInputError(
                f"slice {mark.slice_index + 1} was filled in between two images; mark on the one beside it"
            )


def _document(lesion: MarkedLesion, images: SourceImages, drawn: list[int]) -> Dataset:
    from highdicom.sr import (
        ComprehensiveSR,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
        PersonObserverIdentifyingAttributes,
    )

    person = ObserverContext(
        observer_type=codes.PERSON,
        observer_identifying_attributes=PersonObserverIdentifyingAttributes(name=lesion.by),
    )
    report = MeasurementReport(
        observation_context=ObservationContext(observer_person_context=person),
        procedure_reported=codes.IMAGING_PROCEDURE,
        imaging_measurements=[_group(mark, lesion, images) for mark in lesion.marks],
        title=codes.IMAGING_MEASUREMENT_REPORT,
    )
    uid = uids.uid_of("marks", lesion.id)
    return ComprehensiveSR(
        evidence=[images.template(index) for index in drawn],
        content=report[0],
        series_instance_uid=uids.series_instance_uid_of(uid),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer="Tumorline",
        is_complete=True,
        is_final=True,
        is_verified=False,
        series_description="Marks of a reader",
    )


def _complete(document: Dataset, lesion: MarkedLesion, images: SourceImages) -> None:
    """Replace what highdicom took from the clock, and add what it does not copy."""
    drawn_at = local_time(lesion.at, images.header)
    for keyword in ("InstanceCreation", "Content", "Series"):
        setattr(document, f"{keyword}Date", DA(drawn_at.date()))
        setattr(document, f"{keyword}Time", TM(drawn_at.time()))
    for keyword in _COPIED:
        if images.header.get(keyword) and keyword not in document:
            document[keyword] = deepcopy(images.header[keyword])
    document.pop("ContributingEquipmentSequence", None)
    chosen = character_set_for(texts_of(document), images.character_set)
    if chosen is None:
        document.pop("SpecificCharacterSet", None)
    else:
        document.SpecificCharacterSet = chosen
    if any(not mark.is_positive for mark in lesion.marks):
        document.CodingSchemeIdentificationSequence = [private_coding_scheme()]


# ---------------------------------------------------------------- one mark


def _group(mark: Mark, lesion: MarkedLesion, images: SourceImages) -> Any:
    from highdicom.sr import (
        ImageRegion,
        MeasurementsAndQualitativeEvaluations,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        TrackingIdentifier,
    )

    uid = lesion.tracking_uid or uids.uid_of("marks", lesion.id, "lesion")
    tracking = TrackingIdentifier(uid=uid, identifier=plain(lesion.label) or "lesion")
    if mark.kind in (MarkKind.LINE, MarkKind.AXES):
        names = (codes.LONG_AXIS, codes.SHORT_AXIS)
        ends = [mark.points[i : i + 2] for i in range(0, len(mark.points), 2)]
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking,
            finding_type=codes.LESION,
            measurements=[
                _length(name, mark, points, images) for name, points in zip(names, ends, strict=False)
            ],
        )
    points = mark.points if mark.kind is MarkKind.POINT else _corners(mark)
    region = ImageRegion(
        graphic_type="POINT" if mark.kind is MarkKind.POINT else "POLYLINE",
        graphic_data=_image_points(mark, points, images),
        source_image=_source_image(mark.slice_index, images),
    )
    said = [] if mark.is_positive else [QualitativeEvaluation(codes.MARK_LIES, codes.OUTSIDE_LESION)]
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        referenced_region=region,
        finding_type=codes.LESION,
        qualitative_evaluations=said or None,
    )


def _corners(mark: Mark) -> tuple[tuple[float, float], ...]:
    """A rectangle as a closed polyline."""
    (top, left), (bottom, right) = mark.points
    return (top, left), (top, right), (bottom, right), (bottom, left), (top, left)


def _length(name: Any, mark: Mark, points: tuple[tuple[float, float], ...], images: SourceImages) -> Any:
    from highdicom.sr import CoordinatesForMeasurement, Measurement

    one, other = images.volume.lps(np.array([(mark.slice_index, *point) for point in points]))
    return Measurement(
        name=name,
        value=round(float(np.linalg.norm(one - other)), 3),
        unit=codes.MILLIMETRE,
        referenced_coordinates=[
            CoordinatesForMeasurement(
                graphic_type="POLYLINE",
                graphic_data=_image_points(mark, points, images),
                source_image=_source_image(mark.slice_index, images),
            )
        ],
    )


def _image_points(mark: Mark, points: tuple[tuple[float, float], ...], images: SourceImages) -> FloatArray:
    """(column, row) on the slice's own image, which a straightened volume (gantry tilt) lies beside."""
    plane = images.plane(mark.slice_index)
    places = images.volume.lps(np.array([(mark.slice_index, *point) for point in points]))
    found = plane.column_row_distance(places)[:, :2] + _PIXEL_CENTRE
    return np.clip(found, 0, (plane.columns, plane.rows))


def _source_image(index: int, images: SourceImages) -> Any:
    from highdicom.sr import SourceImageForRegion

    reference = images.source.slices[index]
    return SourceImageForRegion(
        referenced_sop_class_uid=reference.sop_class_uid,
        referenced_sop_instance_uid=reference.sop_instance_uid,
        referenced_frame_numbers=None if reference.frame_number is None else [reference.frame_number],
    )
