"""What result objects take from the images they were made on: headers, geometry, references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from pydicom import Dataset
from pydicom.valuerep import DA, TM

from dicom_io.parsing import parse, quiet
from dicom_io.results.text import UTF_8
from dicom_io.uids import uid_of
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Volume
from workflow.domain.report import TimePointReport
from workflow.domain.series import SeriesDescription

# Type 2 of the Patient and General Study modules: present, perhaps empty (PS3.3 C.7.1.1, C.7.2.1).
_PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip

# A volume's voxel and the pixel it came from may lie this far apart: positions in headers are rounded.
_IN_PLANE_TOLERANCE_PIXELS = 0.1
_BETWEEN_PLANES_TOLERANCE = 0.25  # of the slice spacing; farther away is another image, or none


class SliceReference(Protocol):
    """Where one slice of a volume comes from."""

    @property
    def sop_instance_uid(self) -> str:
        """Its instance."""
        ...

    @property
    def sop_class_uid(self) -> str:
        """The instance's class."""
        ...

    @property
    def frame_number(self) -> int | None:
        """Its frame, from 1, in a multi-frame instance; None in a single-frame one."""
        ...

    @property
    def path(self) -> Path:
        """The instance's file."""
        ...


class ResultSource(Protocol):
    """The measured volume with where each slice comes from, as `dicom_io.volumes` reads it."""

    @property
    def volume(self) -> Volume:
        """The grid that masks and measurements are on."""
        ...

    @property
    def slices(self) -> Sequence[SliceReference]:
        """The images it was made from, in the order of the volume's first axis."""
        ...

    @property
    def series(self) -> SeriesDescription:
        """The series."""
        ...


@dataclass(frozen=True)
class InstanceReference:
    """One DICOM instance, placed in its study and series."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class ImagePlane:
    """The plane of one image or frame (PS3.3 C.7.6.2): LPS mm of pixel (0, 0) and steps per pixel."""

    origin_lps: FloatArray
    row_step: FloatArray
    column_step: FloatArray
    rows: int
    columns: int

    def column_row_distance(self, positions_lps: FloatArray) -> FloatArray:
        """(column, row, distance from the plane in mm) of positions, both of shape (n, 3).

        Columns and rows are fractional; pixel centres are whole numbers.
        """
        normal = np.cross(self.column_step, self.row_step)
        basis = np.stack([self.column_step, self.row_step, normal / np.linalg.norm(normal)], axis=1)
        found: FloatArray = np.linalg.solve(basis, (positions_lps - self.origin_lps).T).T
        return found


@dataclass(frozen=True)
class SourceImages:
    """A source and the headers of its images, read when they are asked for and without pixels."""

    source: ResultSource
    _images: dict[str, Dataset] = field(default_factory=dict, compare=False)
    _templates: dict[str, Dataset] = field(default_factory=dict, compare=False)
    _in_image: dict[int, bool] = field(default_factory=dict, compare=False)

    @property
    def volume(self) -> Volume:
        """The measured grid."""
        return self.source.volume

    @cached_property
    def header(self) -> Dataset:
        """The first image's header: patient, study and equipment of all result objects."""
        return self.template(0)

    @cached_property
    def character_set(self) -> str | list[str] | None:
        """Specific Character Set (0008,0005) of the source, None for the default repertoire."""
        value = self._parse(0).get("SpecificCharacterSet") or None
        return value if value is None or isinstance(value, str) else list(value)

    @cached_property
    def frame_of_reference_uid(self) -> str:
        """The source's frame of reference; for a source without one, one that stands for its series."""
        own = self.source.series.frame_of_reference_uid
        return own or uid_of(self.source.series.series_instance_uid, "frame of reference")

    @property
    def is_multi_frame(self) -> bool:
        """Whether the slices are frames of multi-frame instances."""
        return self.source.slices[0].frame_number is not None

    def image(self, index: int) -> Dataset:
        """The header of the image of a slice, as in its file, complete in what a SEG needs of it."""
        reference = self.source.slices[index]
        known = self._images.get(reference.sop_instance_uid)
        if known is None:
            known = self._parse(index)
            if str(known.SOPInstanceUID) != reference.sop_instance_uid:
                raise UnsuitableInputError(
                    f"{reference.path.name} holds {known.SOPInstanceUID}, not {reference.sop_instance_uid}: "
                    "the file changed after the volume was read; run the study again"
                )
            self._complete(known, is_multi_frame=reference.frame_number is not None)
            self._images[reference.sop_instance_uid] = known
        return known

    def _complete(self, image: Dataset, *, is_multi_frame: bool) -> None:
        """Fill in the geometry that every SEG needs and some old or exported sources lack."""
        if not image.get("FrameOfReferenceUID"):
            image.FrameOfReferenceUID = self.frame_of_reference_uid
        if is_multi_frame and "SharedFunctionalGroupsSequence" not in image:
            image.SharedFunctionalGroupsSequence = [Dataset()]
        if not is_multi_frame and not image.get("SliceThickness"):
            image.SliceThickness = round(self.volume.spacing_mm[0], 6)

    def template(self, index: int) -> Dataset:
        """The header of the image of a slice, made fit for highdicom to take a new object's from it."""
        uid = self.source.slices[index].sop_instance_uid
        if uid not in self._templates:
            with quiet():
                self._templates[uid] = _as_template(self.image(index))
        return self._templates[uid]

    def _parse(self, index: int) -> Dataset:
        with quiet():
            return parse(self.source.slices[index].path)[0]

    def plane(self, index: int) -> ImagePlane:
        """Where the image named for a slice lies, from its own header."""
        return _plane(
            self.image(index),
            self.group(index, "PlanePositionSequence"),
            self.group(index, "PlaneOrientationSequence"),
            self.group(index, "PixelMeasuresSequence"),
        )

    def group(self, index: int, name: str) -> Dataset:
        """A functional group of the frame of a slice; the header itself of a single-frame image.

        Empty if a multi-frame image has no such group (PS3.3 C.7.6.16).
        """
        image = self.image(index)
        frame = self.source.slices[index].frame_number
        if frame is None:
            return image
        for groups in (
            image.PerFrameFunctionalGroupsSequence[frame - 1],
            image.SharedFunctionalGroupsSequence[0],
        ):
            if name in groups:
                found: Dataset = groups[name][0]
                return found
        return Dataset()

    def is_in_image(self, index: int) -> bool:
        """Whether a slice of the volume lies in the plane of an image.

        Its pixels may be displaced within that plane (gantry tilt: the volume is straightened). A slice that
        was filled in between two images lies in none.
        """
        if index not in self._in_image:
            self._in_image[index] = self._lies_in_image(index)
        return self._in_image[index]

    def _lies_in_image(self, index: int) -> bool:
        plane = self.plane(index)
        _, rows, columns = self.volume.shape
        corners = np.array([(index, row, column) for row in (0, rows - 1) for column in (0, columns - 1)])
        found = plane.column_row_distance(self.volume.lps(corners))
        aside = found[:, :2] - corners[:, :0:-1]
        return bool(
            (np.ptp(aside, axis=0) <= _IN_PLANE_TOLERANCE_PIXELS).all()
            and (np.abs(found[:, 2]) <= _BETWEEN_PLANES_TOLERANCE * self.volume.spacing_mm[0]).all()
        )

    def frame_origin_lps(self, index: int) -> FloatArray:
        """The first pixel of what is drawn on a slice: its image's, or halfway between its neighbours'."""
        if self.is_in_image(index):
            return self.plane(index).origin_lps
        middle: FloatArray = (self.plane(index - 1).origin_lps + self.plane(index + 1).origin_lps) / 2
        return middle

    def first_pixel(self, index: int) -> tuple[int, int]:
        """(row, column) of the volume nearest to the first pixel of a slice's image.

        (0, 0) unless the volume is straightened: its pixels then lie up to half a pixel beside the image's.
        """
        _, row, column = self.volume.ijk(self.frame_origin_lps(index))
        return round(float(row)), round(float(column))

    def references(self) -> list[InstanceReference]:
        """Every image of the source, once, in order."""
        study, series = self.source.series.study_instance_uid, self.source.series.series_instance_uid
        found = {s.sop_instance_uid: s.sop_class_uid for s in self.source.slices}
        return [InstanceReference(study, series, class_uid, uid) for uid, class_uid in found.items()]


def _plane(image: Dataset, position: Dataset, orientation: Dataset, measures: Dataset) -> ImagePlane:
    cosines = np.asarray(orientation.ImageOrientationPatient, dtype=np.float64)
    row_mm, column_mm = (float(v) for v in measures.PixelSpacing)
    return ImagePlane(
        origin_lps=np.asarray(position.ImagePositionPatient, dtype=np.float64),
        row_step=cosines[3:] * row_mm,
        column_step=cosines[:3] * column_mm,
        rows=int(image.Rows),
        columns=int(image.Columns),
    )


def _as_template(header: Dataset) -> Dataset:
    """Fill in what Type 2 asks for and de-identified files lack; decode text for another character set."""
    header.decode()
    if header.get("SpecificCharacterSet"):
        header.SpecificCharacterSet = UTF_8  # highdicom refuses some valid ones; `finish` writes the source's
    for keyword in _PATIENT_AND_STUDY:
        if keyword not in header:
            setattr(header, keyword, "")
    for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        if not _is_valid(header[keyword].value, kind):
            setattr(header, keyword, "")  # Type 2: what is no date (a year, words) stays in the images
    if header.PatientSex not in ("M", "F", "O", ""):
        header.PatientSex = ""
    if "SharedFunctionalGroupsSequence" in header:
        _share(header, "PlaneOrientationSequence")
        _share(header, "PixelMeasuresSequence")
    return header


def _is_valid(value: object, kind: type[DA | TM]) -> bool:
    try:
        kind(str(value or "") or None)
    except (ValueError, OverflowError):
        return False
    return True


def _share(header: Dataset, name: str) -> None:
    # highdicom reads these two from the shared groups only; enhanced CT may have them per frame.
    shared = header.SharedFunctionalGroupsSequence[0]
    frames = header.PerFrameFunctionalGroupsSequence
    if name not in shared and frames and name in frames[0]:
        setattr(shared, name, frames[0][name].value)


def moment_of(report: TimePointReport, header: Dataset) -> datetime:
    """When the report was made, on the clock of the source's scanner; the study's own time if it isn't said.

    A time with a zone is moved to the source's Timezone Offset From UTC where that is known, as
    dates and times in one object have one zone (PS3.3 C.12.1.1.8).
    """
    if report.created_at is None:
        digits = str(header.get("StudyTime") or "").split(".")[0].ljust(6, "0")
        at = (
            time(int(digits[:2]), int(digits[2:4]), min(int(digits[4:6]), 59)) if digits.isdigit() else time()
        )
        return datetime.combine(_day_of(header) or report.study_date, at)
    return local_time(report.created_at, header)


def _day_of(header: Dataset) -> date | None:
    """The study's own date: a visit's studies have several."""
    try:
        day: date | None = DA(header.get("StudyDate") or None)
    except ValueError:
        return None
    return day


def local_time(moment: datetime, header: Dataset) -> datetime:
    """A moment on the clock of the source's scanner, without zone."""
    offset = str(header.get("TimezoneOffsetFromUTC") or "")
    if moment.tzinfo is not None and len(offset) == 5:
        moment = moment.astimezone(datetime.strptime(offset, "%z").tzinfo)
    return moment.replace(tzinfo=None)
