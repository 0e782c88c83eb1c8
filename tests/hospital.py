"""A small hospital for pipeline tests: patients with spheres in their lungs, a model that finds spheres.

Everything but the models is the product: real DICOM files, the real database, the real stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SegmentationStorage,
)
from sqlalchemy.orm import Session

from dicom_io.scp import FolderArchive
from dicom_io.simulated.ct import WrittenSeries, write_ct
from dicom_io.simulated.header import SimulatedPatient, SimulatedStudy
from dicom_io.simulated.prompts import MeasuredLesion, write_measurements
from dicom_io.uids import uid_of
from workflow.bootstrap import build
from workflow.domain.geometry import Mask, Point, Volume, affine_from_axes
from workflow.domain.lesion import (
    LesionPrompt,
    LesionState,
    LinePrompt,
    ModelIdentity,
    PriorLesion,
    SegmentedLesion,
    TrackedLesion,
)
from workflow.domain.report import TimePointReport
from workflow.engine.context import Context
from workflow.engine.reconciler import work_until_idle
from workflow.listener import ImportResult, dicom_files, import_files
from workflow.ports import ImageStack, Progress, WrittenObject, WrittenResults, no_progress
from workflow.settings import Settings, load_settings

MODEL = ModelIdentity(name="sphere finder", version="1")
SHAPE, SPACING_MM = (16, 48, 48), (4.0, 1.0, 1.0)
_MOST_JOBS = 50
LEFT: Point = (12.0, 24.0, 20.0)
RIGHT: Point = (34.0, 22.0, 44.0)


@dataclass(frozen=True, kw_only=True)
class Sphere:
    """A lesion: where (LPS mm), how large (diameter, mm), and whether a reader drew its axes."""

    centre_lps: Point
    diameter_mm: float
    is_prompted: bool = False
    label: str = "lesion"


@dataclass(frozen=True, kw_only=True)
class Series:
    """A further series of a study: what it shows, from which height on (LPS z, mm), and what was drawn on it.

    It shares the study's frame of reference unless it `is_repositioned`. `acquisition` puts its images into
    the study's first series, as a second acquisition.
    """

    key: str
    spheres: Sequence[Sphere] = ()
    modality: str = "CT"
    body_part: str = "CHEST"
    description: str = "CT chest"
    from_mm: float = 0.0
    is_repositioned: bool = False
    acquisition: int | None = None


@dataclass(frozen=True, kw_only=True)
class SeriesOfStudy(SimulatedStudy):
    """A study as one of its further series has it: UIDs of its own but for what the study shares."""

    series: Series

    def uid(self, *role: str) -> UID:
        """See `SimulatedStudy.uid`."""
        shared = {"study", "lesion"} | (set() if self.series.is_repositioned else {"frame of reference"})
        if role == ("series", "ct") and self.series.acquisition is not None:
            return super().uid(*role)
        return super().uid(*role) if role[0] in shared else super().uid(*role, self.series.key)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study to be written."""

    day: date
    spheres: Sequence[Sphere] = ()
    patient_id: str = "P-1"
    name: str = "Test^Person"
    at: time = time(9, 0)
    body_part: str = "CHEST"
    description: str = "CT chest"
    key: str = ""
    more: Sequence[Series] = ()
    from_mm: float = 0.0

    def write(self, folder: Path) -> WrittenSeries:
        """Write images and, if a sphere is prompted, a measurement report; of further series the same."""
        study = self._simulated()
        series = write_ct(
            volume_with(self.spheres, self.from_mm), study, folder, transfer_syntax_uid="1.2.840.10008.1.2.1"
        )
        _write_drawn(series, self.spheres, folder / "sr.dcm")
        for one in self.more:
            own = SeriesOfStudy(**{**vars(study), "series": one})
            own = replace(own, series_description=one.description, body_part=one.body_part)
            part = folder / one.key
            other = write_ct(
                volume_with(one.spheres, one.from_mm), own, part, transfer_syntax_uid="1.2.840.10008.1.2.1"
            )
            _write_drawn(_as_said(other, one), one.spheres, part / "sr.dcm")
        return series

    def _simulated(self) -> SimulatedStudy:
        return SimulatedStudy(
            patient=SimulatedPatient(patient_id=self.patient_id, name=self.name, birth_date=date(1960, 1, 2)),
            key=("hospital", self.patient_id, self.day.isoformat(), self.at.isoformat(), self.key),
            taken_at=datetime.combine(self.day, self.at),
            study_description=self.description,
            series_description=self.description,
            derivation="a phantom",
            is_original=True,
            slice_thickness_mm=SPACING_MM[0],
            body_part=self.body_part,
        )


def _write_drawn(series: WrittenSeries, spheres: Sequence[Sphere], path: Path) -> None:
    drawn = [_drawn(series, sphere) for sphere in spheres if sphere.is_prompted]
    if drawn:
        write_measurements(series, drawn, path, description="drawn by a reader")


def _as_said(written: WrittenSeries, said: Series) -> WrittenSeries:
    """The images with the modality and acquisition that the series has."""
    headers = []
    for number, path in enumerate(written.paths):
        image = pydicom.dcmread(path)
        image.SeriesNumber = 2 if said.acquisition else 3 + len(said.key)
        image.AcquisitionNumber = said.acquisition or 1
        if said.acquisition:
            image.InstanceNumber = len(written.paths) * (said.acquisition - 1) + number + 1
        if said.modality != "CT":
            _as_modality(image, said.modality)
        image.save_as(path)
        del image.PixelData
        headers.append(image)
    return replace(written, images=tuple(headers))


def _as_modality(image: Dataset, modality: str) -> None:
    image.Modality = modality
    is_pet = modality == "PT"
    image.SOPClassUID = PositronEmissionTomographyImageStorage if is_pet else MRImageStorage
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = 0, 0.01 if is_pet else 1, "US"
    if is_pet:
        image.Units, image.DecayCorrection, image.CorrectedImage = "GML", "START", ["ATTN", "DECY"]


def grid(from_mm: float = 0.0) -> Volume:
    """An empty lung, from a height (LPS z) on."""
    affine = affine_from_axes(
        origin_lps=(0.0, 0.0, from_mm),
        slice_step=(0.0, 0.0, SPACING_MM[0]),
        row_step=(0.0, SPACING_MM[1], 0.0),
        column_step=(SPACING_MM[2], 0.0, 0.0),
    )
    return Volume(array=np.full(SHAPE, -850, dtype=np.int16), affine=affine)


def volume_with(spheres: Sequence[Sphere], from_mm: float = 0.0) -> Volume:
    """A lung with spheres of 60 HU."""
    volume = grid(from_mm)
    positions = volume.lps(np.indices(SHAPE).reshape(3, -1).T)
    for sphere in spheres:
        near = np.linalg.norm(positions - np.asarray(sphere.centre_lps), axis=1) <= sphere.diameter_mm / 2
        volume.array[near.reshape(SHAPE)] = 60
    return volume


def _drawn(series: WrittenSeries, sphere: Sphere) -> MeasuredLesion:
    x, y, z = sphere.centre_lps
    radius = sphere.diameter_mm / 2
    return MeasuredLesion(
        label=sphere.label,
        tracking_uid=series.study.uid("lesion", sphere.label, f"{x:.0f}", f"{z:.0f}"),
        slice_index=round(float(series.volume.ijk(np.asarray(sphere.centre_lps))[0])),
        long_axis_lps=((x - radius, y, z), (x + radius, y, z)),
        short_axis_lps=((x, y - radius, z), (x, y + radius, z)),
    )


class SphereFinder:
    """A model for phantoms: what is bright and connected to the prompt, or nearest to where it was."""

    identity = MODEL

    def segment(
        self, volume: Volume, prompts: Sequence[LesionPrompt], *, progress: Progress = no_progress
    ) -> list[SegmentedLesion]:
        """The bright component at the middle of each line."""
        found = []
        for index, prompt in enumerate(prompts):
            line = next(s for s in prompt.shapes if isinstance(s, LinePrompt))
            middle = (np.asarray(line.start_lps) + np.asarray(line.end_lps)) / 2
            mask = _component_near(volume, volume.ijk(middle), reach_mm=4.0)
            found.append(SegmentedLesion(index=index, mask=mask, confidence=0.9, model=MODEL))
        return found

    def track(
        self,
        prior: Volume,
        prior_lesions: Sequence[PriorLesion],
        volume: Volume,
        *,
        progress: Progress = no_progress,
    ) -> list[TrackedLesion]:
        """The bright component within 8 mm of the same place; a place outside can't be told."""
        tracked = []
        for lesion in prior_lesions:
            place = volume.ijk(prior.lps(lesion.mask.centroid_ijk()))
            mask = _component_near(volume, place, reach_mm=8.0)
            expected = volume.lps(place)
            state, reason = LesionState.PRESENT, "found at its place"
            if not volume.contains((float(expected[0]), float(expected[1]), float(expected[2]))):
                state, reason = LesionState.TRACKING_FAILED, "its place is outside the volume"
            elif mask.is_empty:
                state, reason = LesionState.DISAPPEARED, "nothing is left"
            tracked.append(
                TrackedLesion(
                    tracking_uid=lesion.tracking_uid,
                    mask=mask,
                    state=state,
                    confidence=0.8,
                    model=MODEL,
                    reason=reason,
                    expected_lps=(float(expected[0]), float(expected[1]), float(expected[2])),
                )
            )
        return tracked


def _component_near(volume: Volume, place_ijk: np.ndarray, reach_mm: float) -> Mask:
    from scipy.ndimage import label

    dark, bright = float(volume.array.min()), float(volume.array.max())
    if bright - dark < 1:  # PET (g/ml) as well as HU
        return Mask.from_array(np.zeros(volume.shape, dtype=bool))
    labels, _ = label(volume.array > (dark + bright) / 2)
    indices = np.argwhere(labels > 0)
    if len(indices) == 0:
        return Mask.from_array(np.zeros(volume.shape, dtype=bool))
    distances = np.linalg.norm((indices - place_ijk) * np.asarray(volume.spacing_mm), axis=1)
    nearest = int(distances.argmin())
    if distances[nearest] > reach_mm:
        return Mask.from_array(np.zeros(volume.shape, dtype=bool))
    return Mask.from_array(labels == labels[tuple(indices[nearest])])


class PlainResults:
    """Writes a SEG and an SR that say only who they are: most tests ask for no more."""

    def write(
        self,
        report: TimePointReport,
        images: Sequence[ImageStack],
        course: Sequence[TimePointReport],
        folder: Path,
        prior: Sequence[WrittenObject] = (),
    ) -> WrittenResults:
        """A SEG and an SR for each study, with UIDs that derive from the report's identity."""
        studies = list(dict.fromkeys(volume.study_instance_uid for volume in report.volumes))
        objects = [
            self._write(report, study, kind if number == 1 else f"{kind}-{number}", folder)
            for number, study in enumerate(studies, start=1)
            for kind in ("seg", "sr")
        ]
        return WrittenResults(objects=tuple(objects), errors=(), warnings=())

    @staticmethod
    def _write(report: TimePointReport, study: str, role: str, folder: Path) -> WrittenObject:
        made = Dataset()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.SOPClassUID = SegmentationStorage if role.startswith("seg") else Comprehensive3DSRStorage
        made.SOPInstanceUID = uid_of(report.identity, role)
        made.StudyInstanceUID, made.SeriesInstanceUID = study, uid_of(report.identity, role, "s")
        made.Modality, made.PatientID = role.split("-")[0].upper(), "P-1"
        path = folder / f"{role}.dcm"
        made.save_as(path, enforce_file_format=True)
        return WrittenObject(
            role=role,
            path=path,
            sop_instance_uid=made.SOPInstanceUID,
            sop_class_uid=made.SOPClassUID,
            series_instance_uid=made.SeriesInstanceUID,
            study_instance_uid=made.StudyInstanceUID,
        )


def rows(context: Context) -> AbstractContextManager[Session]:
    """A session on a context's own database: tests look into the tables, the product never does."""
    return context.records.unit()


@dataclass
class Hospital:
    """The pipeline with an archive beside it; studies are received, then worked on."""

    home: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)
    model: Any = field(default_factory=SphereFinder)
    writes_real_results: bool = False
    context: Context = field(init=False)

    def __post_init__(self) -> None:
        settings = load_settings(None, **{"home": self.home / "home", **self.overrides})
        quick = settings.readiness.model_copy(update={"quiet_s": 0.01})
        results = settings.results.model_copy(
            update={"encapsulated_pdf": False, "course_report": self.writes_real_results}
        )
        settings = settings.model_copy(update={"readiness": quick, "results": results})
        self.context = replace(
            build(settings, destination=FolderArchive(self.home / "archive")),
            open_segmenter=lambda: self.model,
            open_tracker=lambda: self.model,
        )
        if not self.writes_real_results:
            self.context = replace(self.context, results=PlainResults())

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.context.settings

    def receive(self, *studies: Study) -> list[WrittenSeries]:
        """Studies arrive; nobody has looked at them yet."""
        written = []
        for study in studies:
            folder = self.home / "sent" / f"{study.patient_id}-{study.day}-{study.at:%H%M}-{study.key}"
            written.append(study.write(folder))
            self.receive_folder(folder)
        return written

    def receive_folder(self, folder: Path) -> ImportResult:
        """Files arrive."""
        return import_files(list(dicom_files([folder])), self.context)

    def take(self) -> int:
        """A person takes whatever came with other content; return how many instances that are."""
        reception = self.context.reception
        return sum(
            reception.decide_conflict(kept.key, take=True, by="Roe", reason="corrected in the PACS")
            for kept in reception.conflicts()
        )

    def work(self) -> None:
        """Do all that is to be done.

        Raises
        ------
        RuntimeError
            If it does not come to an end.
        """
        done: list[str] = []

        def count(stage: str, subject: str) -> None:
            done.append(f"{stage} {subject}")
            if len(done) > _MOST_JOBS:
                raise RuntimeError(f"there is no end of work: {done[-6:]}")

        work_until_idle(self.context, count, timeout_s=60)

    def process(self, *studies: Study) -> None:
        """Studies arrive one after the other, each worked on before the next comes."""
        for study in studies:
            self.receive(study)
            self.work()

    def course(self, patient_id: str = "P-1") -> dict[str, Any]:
        """A patient's course, as the page shows it."""
        return next(c for c in self.context.overview.courses() if c["patient_id"] == patient_id)

    def time_points(self, patient_id: str = "P-1") -> list[dict[str, Any]]:
        """A patient's time points in order."""
        return self.course(patient_id)["time_points"]

    def status(self) -> dict[str, Any]:
        """What waits and what needs a person."""
        return self.context.overview.status()

    def archived(self) -> set[str]:
        """SOP Instance UIDs that the archive holds."""
        return {path.stem for path in (self.home / "archive").glob("*/*/*.dcm")}


def states(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """State of each time point."""
    return [point["state"] for point in points]


def diameters(point: Mapping[str, Any]) -> dict[str, float | None]:
    """Label to diameter (mm) at a time point with a report."""
    return {lesion["label"]: lesion["diameter_mm"] for lesion in point["report"]["lesions"]}
