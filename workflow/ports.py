"""What the stages ask of the world. Adapters fit by shape; `bootstrap` picks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from workflow.domain.geometry import Point, Volume
from workflow.domain.lesion import (
    DetectedLesion,
    LesionPrompt,
    ModelIdentity,
    PriorLesion,
    SegmentedLesion,
    TrackedLesion,
)
from workflow.domain.patient import PatientIdentity
from workflow.domain.report import TimePointReport
from workflow.domain.series import SeriesDescription

Progress = Callable[[float, str], None]
"""Called with the share done (0 to 1) and what is being done."""


def no_progress(share: float, what: str) -> None:
    """Report to nobody."""


@runtime_checkable
class Segmenter(Protocol):
    """Turns prompts into lesions on one volume."""

    @property
    def identity(self) -> ModelIdentity:
        """Who did it."""
        ...

    def segment(
        self, volume: Volume, prompts: Sequence[LesionPrompt], *, progress: Progress = no_progress
    ) -> list[SegmentedLesion]:
        """Segment each prompt on its own; one result per prompt, in the prompts' order.

        Raises
        ------
        UnsuitableInputError
            If the model can't take this volume or a prompt lies outside it; the message names which.
        """
        ...


@runtime_checkable
class Tracker(Protocol):
    """Finds the lesions of a prior volume again on a new one."""

    @property
    def identity(self) -> ModelIdentity:
        """Who did it."""
        ...

    def track(
        self,
        prior: Volume,
        prior_lesions: Sequence[PriorLesion],
        volume: Volume,
        *,
        progress: Progress = no_progress,
    ) -> list[TrackedLesion]:
        """One result per prior lesion, in their order, with their tracking UIDs.

        The pair is registered once, whatever the number of lesions. A pair that can't be
        registered gives TRACKING_FAILED for each lesion with the reason, not an exception.
        """
        ...


@runtime_checkable
class Localizer(Protocol):
    """Says where in the body positions of a volume are."""

    def body_coordinates(self, volume: Volume, positions_lps: Sequence[Point]) -> list[Point]:
        """Positions (LPS mm) of `volume` in a body frame shared by all patients, mm, (x, y, z) as LPS."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Proposes lesions without a prompt."""

    def detect(self, volume: Volume) -> list[DetectedLesion]:
        """Proposals, best first."""
        ...


# ---------------------------------------------------------------- images, prompts, results, PACS


class ImageStack(Protocol):
    """A volume with the instances that it was read from."""

    @property
    def volume(self) -> Volume:
        """Voxels and affine."""
        ...

    @property
    def series(self) -> SeriesDescription:
        """What was read."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What had to be handled, for the reader."""
        ...


class ImageReader(Protocol):
    """Reads headers and voxels of a study's files."""

    def patient(self, path: Path) -> PatientIdentity:
        """Whose instance this is."""
        ...

    def describe_study(self, paths: Sequence[Path]) -> list[SeriesDescription]:
        """Each stack of images among the files, with a refusal where it can't become a volume."""
        ...

    def read_volume(self, paths: Sequence[Path], series: SeriesDescription) -> ImageStack:
        """Decode one stack, each instance once.

        Raises
        ------
        UnsuitableInputError
            If it can't become a volume; the message says why.
        """
        ...


class PromptReader(Protocol):
    """Reads prompts out of the objects that a PACS holds."""

    def refers_to(self, path: Path) -> frozenset[str]:
        """Every UID that an object names: studies, series, instances, frames of reference."""
        ...

    def read(
        self, paths: Sequence[Path], image: ImageStack, study_images: Sequence[Path]
    ) -> tuple[list[LesionPrompt], list[str]]:
        """Prompts on this image, in a fixed order, and what a person should know of the reading.

        `study_images` are the study's image files: what was drawn on another series of the same frame
        of reference holds on this one too.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class WrittenObject:
    """A result object on disk, in its study.

    `role` is "seg", "sr", "pdf", "key01" ... or "course"; a visit's further SEGs (one per measured volume
    with voxels) and SRs (one per study) are "seg-2", "sr-2" ...
    """

    role: str
    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str

    @property
    def kind(self) -> str:
        """The role without its number: "seg", "sr" ..."""
        return self.role.split("-")[0]


@dataclass(frozen=True, kw_only=True)
class WrittenResults:
    """What a visit's report became, in the order to send it, and what validation says of it.

    An error keeps it here.
    """

    objects: tuple[WrittenObject, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


class ResultWriter(Protocol):
    """Writes a report as DICOM objects and checks them."""

    def write(
        self,
        report: TimePointReport,
        images: Sequence[ImageStack],
        course: Sequence[TimePointReport],
        folder: Path,
        prior: Sequence[WrittenObject] = (),
    ) -> WrittenResults:
        """Write SEGs, SRs and what else is configured into a folder; same report, same bytes.

        Parameters
        ----------
        images
            The report's volumes, in the order of `report.volumes`.
        course
            The patient's time points up to this one, for the page's table and plot.
        prior
            SRs of earlier time points that the PACS holds: with the SEGs and images that they measure
            they become pertinent evidence.
        """
        ...

    def write_course(
        self,
        course: Sequence[TimePointReport],
        reports: Mapping[str, Sequence[WrittenObject]],
        images: Sequence[ImageStack],
        folder: Path,
    ) -> WrittenResults:
        """Write one SR over all time points, into the first study of the latest (whose volumes are given).

        `reports` has each time point's own SRs by its report's identity.
        """
        ...


class Destination(Protocol):
    """Where finished results go; storing the same one again changes nothing."""

    @property
    def name(self) -> str:
        """For the outbox and the log, e.g. "ARCHIVE@127.0.0.1:11113"."""
        ...

    def store(self, paths: Sequence[Path]) -> None:
        """Store all, in this order (the SEG before the SR that refers to it).

        Raises
        ------
        TransientError
            If the destination is not there or refuses for now.
        UnsuitableInputError
            If it refuses an object for good; the message has its status.
        """
        ...

    def held(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        """SOP Instance UIDs that the destination lists for a series."""
        ...
