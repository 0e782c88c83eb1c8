"""What a reader would have stored with a baseline: contours (RTSTRUCT) or measurements (TID 1500 SR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage

from dicom_io.simulated.ct import WrittenSeries
from dicom_io.simulated.header import clock, day, new_object, write
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Point

# Detached Study Management, retired: what RT objects name a study by (PS3.3 C.8.8.5).
_STUDY_SOP_CLASS_UID = "1.2.840.10008.3.1.2.3.1"
_COLOURS = ((255, 80, 80), (255, 170, 0), (80, 200, 120), (80, 160, 255), (200, 120, 255), (240, 230, 80))
READER = "Simulated^Reader"


@dataclass(frozen=True, kw_only=True, eq=False)
class ContouredLesion:
    """A lesion as contours: closed, planar, points in LPS mm, shape (n, 3) each, on slices of the series."""

    label: str
    contours_lps: tuple[FloatArray, ...]
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class MeasuredLesion:
    """A lesion as a reader measured it: long axis and perpendicular short axis on one slice, LPS mm."""

    label: str
    tracking_uid: str
    slice_index: int
    long_axis_lps: tuple[Point, Point]
    short_axis_lps: tuple[Point, Point]


# ---------------------------------------------------------------- RTSTRUCT


def write_structure_set(
    series: WrittenSeries, lesions: Sequence[ContouredLesion], path: Path, *, label: str, description: str
) -> None:
    """Write an RT Structure Set (PS3.3 A.19) with one ROI per lesion, drawn on the series.

    Raises
    ------
    ValueError
        If a contour lies on no slice of the series.
    """
    study = series.study
    dataset = new_object(study, RTStructureSetStorage, study.uid("rtstruct"))
    drawn = study.taken_at + timedelta(minutes=40)
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID, dataset.SeriesNumber = study.uid("series", "rtstruct"), 91
    dataset.SeriesDescription = label
    dataset.OperatorsName = READER
    dataset.InstanceNumber = 1
    dataset.StructureSetLabel = label[:16]
    dataset.StructureSetDescription = description
    dataset.StructureSetDate, dataset.StructureSetTime = day(drawn), clock(drawn)
    dataset.FrameOfReferenceUID = study.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.ReferencedFrameOfReferenceSequence = [_referenced_frame(series)]
    rois = list(enumerate(lesions, start=1))
    dataset.StructureSetROISequence = [_roi(series, number, lesion) for number, lesion in rois]
    dataset.ROIContourSequence = [_roi_contour(series, number, lesion) for number, lesion in rois]
    dataset.RTROIObservationsSequence = [_observation(number) for number, _ in rois]
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    write(dataset, path)


def _referenced_frame(series: WrittenSeries) -> Dataset:
    referenced_series = Dataset()
    referenced_series.SeriesInstanceUID = series.series_instance_uid
    referenced_series.ContourImageSequence = [_image_reference(image) for image in series.images]
    study = Dataset()
    study.ReferencedSOPClassUID = _STUDY_SOP_CLASS_UID
    study.ReferencedSOPInstanceUID = series.study.study_instance_uid
    study.RTReferencedSeriesSequence = [referenced_series]
    frame = Dataset()
    frame.FrameOfReferenceUID = series.study.frame_of_reference_uid
    frame.RTReferencedStudySequence = [study]
    return frame


def _image_reference(image: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = CTImageStorage
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return reference


def _roi(series: WrittenSeries, number: int, lesion: ContouredLesion) -> Dataset:
    roi = Dataset()
    roi.ROINumber, roi.ROIName = number, lesion.label
    roi.ReferencedFrameOfReferenceUID = series.study.frame_of_reference_uid
    if lesion.description:
        roi.ROIDescription = lesion.description
    roi.ROIGenerationAlgorithm = "MANUAL"
    return roi


def _roi_contour(series: WrittenSeries, number: int, lesion: ContouredLesion) -> Dataset:
    roi = Dataset()
    roi.ROIDisplayColor = list(_COLOURS[(number - 1) % len(_COLOURS)])
    roi.ReferencedROINumber = number
    roi.ContourSequence = [_contour(series, lesion.label, points) for points in lesion.contours_lps]
    return roi


def _contour(series: WrittenSeries, label: str, points_lps: FloatArray) -> Dataset:
    position = float(series.volume.ijk(points_lps)[:, 0].mean())
    k = round(position)
    if abs(position - k) > 0.1 or not 0 <= k < series.volume.shape[0]:
        raise ValueError(f"a contour of {label} lies on no slice of the series (slice {position:.2f})")
    contour = Dataset()
    contour.ContourImageSequence = [_image_reference(series.images[k])]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points_lps)
    contour.ContourData = [f"{v:.3f}" for v in points_lps.ravel()]
    return contour


def _observation(number: int) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber, observation.ReferencedROINumber = number, number
    observation.RTROIInterpretedType = "GTV"
    observation.ROIInterpreter = READER
    return observation


def read_contours(path: Path) -> dict[str, list[FloatArray]]:
    """Closed planar contours of an RTSTRUCT by ROI name: points in LPS mm, shape (n, 3) each.

    Raises
    ------
    UnsuitableInputError
        If the file is no RTSTRUCT.
    """
    dataset = pydicom.dcmread(path)
    if dataset.SOPClassUID != RTStructureSetStorage:
        raise UnsuitableInputError(f"{path} is no RTSTRUCT: the simulations need examples/data")
    names = {roi.ROINumber: str(roi.ROIName) for roi in dataset.StructureSetROISequence}
    return {
        names[roi.ReferencedROINumber]: [
            np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3)
            for contour in roi.ContourSequence
            if contour.ContourGeometricType == "CLOSED_PLANAR"
        ]
        for roi in dataset.ROIContourSequence
    }


# ---------------------------------------------------------------- TID 1500


def write_measurements(
    series: WrittenSeries, lesions: Sequence[MeasuredLesion], path: Path, *, description: str
) -> None:
    """Write an Imaging Measurement Report (TID 1500) with a long and a short axis per lesion.

    Each lesion is a TID 1501 group with a tracking identity and two lengths, inferred from
    polylines on the image (PS3.16), as reading workstations store RECIST measurements.
    """
    from highdicom.sr import (
        ComprehensiveSR,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
        PersonObserverIdentifyingAttributes,
    )
    from pydicom.sr.codedict import codes

    study = series.study
    observer = ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=PersonObserverIdentifyingAttributes(name=READER),
    )
    report = MeasurementReport(
        observation_context=ObservationContext(observer_person_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[_group(series, lesion) for lesion in lesions],
        title=codes.DCM.ImagingMeasurementReport,
    )
    used = sorted({lesion.slice_index for lesion in lesions})
    dataset = ComprehensiveSR(
        evidence=[series.images[k] for k in used],
        content=report[0],
        series_instance_uid=study.uid("series", "sr"),
        series_number=92,
        sop_instance_uid=study.uid("sr"),
        instance_number=1,
        manufacturer="Tumorline",
        is_complete=True,
        is_final=True,
        is_verified=True,
        verifying_observer_name=READER,
        verifying_organization="Simulated",
        series_description=description,
    )
    _settle(dataset, series)
    write(dataset, path)


def _settle(dataset: Dataset, series: WrittenSeries) -> None:
    """Replace what highdicom took from the clock, and add what it does not copy."""
    signed = series.study.taken_at + timedelta(minutes=45)
    for keyword in ("InstanceCreation", "Content", "Series"):
        setattr(dataset, f"{keyword}Date", day(signed))
        setattr(dataset, f"{keyword}Time", clock(signed))
    moment = day(signed) + clock(signed)
    for item in dataset.get("VerifyingObserverSequence", []):
        item.VerificationDateTime = moment
    for item in dataset.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = moment
    dataset.StudyDescription = series.study.study_description
    dataset.IssuerOfPatientID = series.study.patient.issuer
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = series.images[0].DeidentificationMethod


def _group(series: WrittenSeries, lesion: MeasuredLesion) -> Dataset:
    from highdicom.sr import FindingSite, MeasurementsAndQualitativeEvaluations, TrackingIdentifier
    from pydicom.sr.codedict import codes

    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=lesion.tracking_uid, identifier=lesion.label),
        finding_type=codes.SCT.Lesion,
        finding_sites=[FindingSite(anatomic_location=codes.SCT.Lung)],
        measurements=[
            _length(series, lesion, codes.SCT.LongAxis, lesion.long_axis_lps),
            _length(series, lesion, codes.SCT.ShortAxis, lesion.short_axis_lps),
        ],
    )


def _length(
    series: WrittenSeries, lesion: MeasuredLesion, name: Dataset, ends_lps: tuple[Point, Point]
) -> Dataset:
    from highdicom.sr import (
        CoordinatesForMeasurement,
        GraphicTypeValues,
        Measurement,
        SourceImageForRegion,
    )
    from pydicom.sr.codedict import codes

    ends = np.asarray(ends_lps)
    index = series.volume.ijk(ends)
    # SCOORD is column then row, with (0.5, 0.5) in the middle of the first pixel (PS3.3 C.10.5.1.2).
    points = index[:, [2, 1]] + 0.5
    image = series.images[lesion.slice_index]
    return Measurement(
        name=name,
        value=round(float(np.linalg.norm(ends[1] - ends[0])), 3),
        unit=codes.UCUM.Millimeter,
        referenced_coordinates=[
            CoordinatesForMeasurement(
                graphic_type=GraphicTypeValues.POLYLINE,
                graphic_data=points,
                source_image=SourceImageForRegion(
                    referenced_sop_class_uid=image.SOPClassUID,
                    referenced_sop_instance_uid=image.SOPInstanceUID,
                ),
            )
        ],
    )
