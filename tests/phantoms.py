"""Patients that tests build themselves: series with lesions of known place and size, and reports on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

from workflow.domain.geometry import Mask, Point, Volume, affine_from_axes
from workflow.domain.lesion import Flag, LesionState, ModelIdentity
from workflow.domain.measurement import measure
from workflow.domain.report import (
    LesionRole,
    MeasuredVolume,
    ReportedAssessment,
    ReportedLesion,
    TimePointReport,
)
from workflow.domain.series import SeriesDescription

_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
MODEL = ModelIdentity(
    name="Phantom segmenter", version="2.1", weights_sha256="ab" * 32, parameters={"threshold": "0.5"}
)


@dataclass(frozen=True)
class PhantomSlice:
    """Where a slice comes from, as `dicom_io.volumes.SliceSource`."""

    sop_instance_uid: str
    sop_class_uid: str
    frame_number: int | None
    path: Path


@dataclass(frozen=True, eq=False)
class PhantomSource:
    """A volume with its images, as `dicom_io.volumes.SeriesVolume`."""

    volume: Volume
    slices: tuple[PhantomSlice, ...]
    series: SeriesDescription
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """A series to be made.

    Attributes
    ----------
    shape
        (slices, rows, columns).
    spacing_mm
        (slice, row, column).
    directions
        Unit vectors in LPS of the (slice, row, column) axes, one per row; axial by default.
    spheres
        Centre (LPS mm), radius (mm) and HU of each lesion.
    attributes
        Values for every image's header, by keyword; None takes an attribute out.
    """

    shape: tuple[int, int, int] = (24, 64, 72)
    spacing_mm: Point = (2.5, 0.8, 0.8)
    origin_lps: Point = (-30.0, -25.0, 100.0)
    directions: tuple[Point, Point, Point] = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    modality: str = "CT"
    background: int = 40
    spheres: tuple[tuple[Point, float, int], ...] = ()
    study: str = "1"
    study_date: date = date(2026, 3, 2)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def affine(self) -> NDArray[np.float64]:
        """Index (slice, row, column) to LPS mm."""
        steps = [
            tuple(d * mm for d in axis) for axis, mm in zip(self.directions, self.spacing_mm, strict=True)
        ]
        return affine_from_axes(
            origin_lps=self.origin_lps, slice_step=steps[0], row_step=steps[1], column_step=steps[2]
        )

    def volume(self) -> Volume:
        """The image, float32."""
        array = np.full(self.shape, self.background, dtype=np.float32)
        empty = Volume(array=array, affine=self.affine)
        for centre, radius, value in self.spheres:
            mask = sphere(empty, centre, radius)
            array[mask.box][mask.voxels] = value
        return empty

    def uid(self, *parts: str | int) -> str:
        """A UID of this phantom's study."""
        return ".".join(["1.2.826.0.1.3680043.8.498", self.study, *(str(p) for p in parts)])

    def datasets(self) -> list[Dataset]:
        """One image per slice, in the order of the first axis."""
        volume = self.volume()
        return [self._image(volume, index) for index in range(self.shape[0])]

    def write(self, folder: Path) -> PhantomSource:
        """Write the images as files and give the source that reading them would."""
        folder.mkdir(parents=True, exist_ok=True)
        slices = []
        for index, image in enumerate(self.datasets()):
            path = folder / f"{index:04d}.dcm"
            image.save_as(path, enforce_file_format=True)
            slices.append(PhantomSlice(str(image.SOPInstanceUID), str(image.SOPClassUID), None, path))
        return PhantomSource(self.volume(), tuple(slices), self.description(slices))

    def write_multi_frame(self, folder: Path) -> PhantomSource:
        """The same as one Enhanced CT instance, its frames in the reverse order of the slices."""
        folder.mkdir(parents=True, exist_ok=True)
        images = self.datasets()[::-1]
        enhanced = _enhanced(images, self.uid(8, 1))
        path = folder / "enhanced.dcm"
        enhanced.save_as(path, enforce_file_format=True)
        count = len(images)
        slices = [
            PhantomSlice(str(enhanced.SOPInstanceUID), str(enhanced.SOPClassUID), count - i, path)
            for i in range(count)
        ]
        return PhantomSource(self.volume(), tuple(slices), self.description(slices))

    def description(self, slices: Sequence[PhantomSlice]) -> SeriesDescription:
        """What reading the series' headers would say."""
        return SeriesDescription(
            study_instance_uid=self.uid(),
            series_instance_uid=self.uid(2),
            sop_instance_uids=tuple(dict.fromkeys(s.sop_instance_uid for s in slices)),
            modality=self.modality,
            frame_of_reference_uid=self.uid(3),
            spacing_mm=self.spacing_mm,
            shape=self.shape,
        )

    def _image(self, volume: Volume, index: int) -> Dataset:
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID = _CLASSES[self.modality]
        image.SOPInstanceUID = self.uid(2, index + 1)
        image.StudyInstanceUID, image.SeriesInstanceUID = self.uid(), self.uid(2)
        image.FrameOfReferenceUID = self.uid(3)
        image.Modality = self.modality
        image.PatientName, image.PatientID, image.IssuerOfPatientID = "Phantom^Ada", "PH-1", "Hospital"
        image.PatientBirthDate, image.PatientSex = "19600102", "F"
        image.StudyDate = image.ContentDate = self.study_date.strftime("%Y%m%d")
        image.StudyTime = image.ContentTime = "101500"
        image.StudyID, image.AccessionNumber, image.ReferringPhysicianName = "S1", "ACC-7", "Refer^Rita"
        image.StudyDescription = "CT thorax"
        image.SeriesNumber, image.InstanceNumber, image.AcquisitionNumber = 2, index + 1, 1
        image.Manufacturer, image.InstitutionName = "Phantom makers", "Hospital"
        image.SpecificCharacterSet = "ISO_IR 100"
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        position = volume.lps(np.array([index, 0, 0]))
        image.ImagePositionPatient = [round(float(x), 6) for x in position]
        image.ImageOrientationPatient = [float(x) for x in (*self.directions[2], *self.directions[1])]
        image.PixelSpacing = [self.spacing_mm[1], self.spacing_mm[2]]
        image.SliceThickness = self.spacing_mm[0]
        image.PositionReferenceIndicator = ""
        image.Rows, image.Columns = self.shape[1:]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.RescaleIntercept, image.RescaleSlope = -1024, 1
        if self.modality == "CT":
            image.KVP = 120
        stored = volume.array[index] + 1024
        image.PixelData = stored.astype("<i2").tobytes()
        for keyword, value in self.attributes.items():
            if value is None:
                del image[keyword]
            else:
                setattr(image, keyword, value)
        return image


def _enhanced(images: Sequence[Dataset], sop_instance_uid: str) -> Dataset:
    """Put single images into one Enhanced CT instance, in their order."""
    one = images[0]
    enhanced = Dataset()
    enhanced.file_meta = FileMetaDataset()
    enhanced.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for element in one:
        if element.keyword not in (
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "PixelData",
        ):
            enhanced.add(element)
    enhanced.SOPClassUID, enhanced.SOPInstanceUID = EnhancedCTImageStorage, sop_instance_uid
    enhanced.NumberOfFrames = len(images)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = one.PixelSpacing, one.SliceThickness
    orientation.ImageOrientationPatient = one.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    enhanced.SharedFunctionalGroupsSequence = [shared]
    enhanced.PerFrameFunctionalGroupsSequence = []
    for image in images:
        frame, position, content = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = image.ImagePositionPatient
        content.FrameAcquisitionNumber = 1
        frame.PlanePositionSequence, frame.FrameContentSequence = [position], [content]
        enhanced.PerFrameFunctionalGroupsSequence.append(frame)
    enhanced.PixelData = b"".join(image.PixelData for image in images)
    return enhanced


def sphere(volume: Volume, centre_lps: Point, radius_mm: float) -> Mask:
    """The voxels whose centre is at most a radius from a point."""
    indices = np.indices(volume.shape).reshape(3, -1).T
    near = np.linalg.norm(volume.lps(indices) - np.asarray(centre_lps), axis=1) <= radius_mm
    return Mask.from_array(near.reshape(volume.shape))


def reported_lesion(
    volume: Volume,
    mask: Mask | None,
    label: str = "T01",
    *,
    role: LesionRole = LesionRole.TARGET,
    **said: Any,
) -> ReportedLesion:
    """A lesion measured on a volume, or one without a mask that is said to have disappeared."""
    found = mask is not None and not mask.is_empty
    measurement = measure(volume, mask) if found and mask is not None else None
    values: dict[str, Any] = {
        "tracking_uid": f"2.25.{sum(ord(c) * 1000**i for i, c in enumerate(label)) + 10**20}",
        "state": LesionState.PRESENT if found else LesionState.DISAPPEARED,
        "organ": "lung",
        "finding_site": "39607008",
        "finding_site_meaning": "Lung",
        "laterality": "right",
        "diameter_mm": measurement.long_axis.length_mm if measurement else 0.0,
        "confidence": 0.9,
        "model": MODEL,
        "prompt_source": "prior time point",
    }
    return ReportedLesion(label=label, role=role, mask=mask, measurement=measurement, **(values | said))


def measured_volume(source: PhantomSource, study_date: date = date(2026, 3, 2)) -> MeasuredVolume:
    """A phantom as one of the measured volumes of a visit."""
    series = source.series
    return MeasuredVolume(study_instance_uid=series.study_instance_uid, study_date=study_date, series=series)


def time_point_report(
    source: PhantomSource, lesions: Sequence[ReportedLesion], *, overall: str = "PR", **said: Any
) -> TimePointReport:
    """A follow-up's report with a response whose numbers hang together."""
    total = sum(lesion.diameter_mm or 0.0 for lesion in lesions if lesion.role is LesionRole.TARGET)
    assessment = ReportedAssessment(
        criteria="RECIST 1.1",
        overall=overall,
        reason=f"{total:.1f} mm is 35 % below the baseline of {total / 0.65:.1f} mm",
        target=overall,
        non_target="NON-CR/NON-PD",
        new_lesion="no",
        sum_mm=total,
        baseline_sum_mm=round(total / 0.65, 1),
        nadir_sum_mm=round(total / 0.65, 1),
        nadir_date=date(2026, 1, 5),
        change_from_baseline_percent=-35.0,
        change_from_nadir_percent=-35.0,
        change_from_nadir_mm=-12.3,
        best_overall_response=overall,
        best_overall_response_reason="first response, not yet confirmed",
        warnings=("the slice thickness differs from baseline (2.5 mm, 5.0 mm)",),
    )
    values: dict[str, Any] = {
        "patient_key": "PH-1",
        "study_instance_uid": source.series.study_instance_uid,
        "series_instance_uid": source.series.series_instance_uid,
        "study_date": date(2026, 3, 2),
        "time_point_id": "TP2",
        "order": 2,
        "is_baseline": False,
        "is_nadir": False,
        "identity": "phantom-identity",
        "assessment": assessment,
        "models": (MODEL,),
        "created_at": datetime(2026, 3, 2, 14, 30, 5),
        "days_from_baseline": 56,
        "notes": ("one image of the series came late",),
        "volumes": (measured_volume(source),),
    }
    return TimePointReport(lesions=tuple(lesions), **(values | said))


LESION_CENTRES: tuple[Point, ...] = ((-14.0, -10.0, 120.0), (10.0, 2.0, 130.0), (-4.0, 12.0, 140.0))


def three_lesions(volume: Volume) -> list[ReportedLesion]:
    """A target in the lung, a nodal target and a new lesion, apart from each other, and one that is gone."""
    masks = [sphere(volume, c, r) for c, r in zip(LESION_CENTRES, (7.0, 5.0, 3.5), strict=True)]
    return [
        reported_lesion(volume, masks[0], "T01", response="target PR", reason="followed from TP1"),
        reported_lesion(
            volume, masks[1], "T02", is_nodal=True, organ="lymph node", finding_site=None,
            finding_site_meaning=None, laterality=None,
            flags=frozenset({Flag.TOUCHES_NEIGHBOUR}),
        ),
        reported_lesion(volume, masks[2], "N01", role=LesionRole.NEW, organ="liver",
                        finding_site="10200004", finding_site_meaning="Liver", laterality=None,
                        diameter_mm=None, prompt_source="reader"),
        reported_lesion(volume, None, "NT01", role=LesionRole.NON_TARGET, response="non-target CR",
                        reason="nothing is left at its place", confidence=None, diameter_mm=None),
    ]  # fmt: skip
