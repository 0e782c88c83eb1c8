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
    PromptsRead,
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

    def read(self, objects: Sequence[Path], images: Sequence[Path]) -> PromptsRead:
        """All prompts of a visit, each on the stack of images that it was drawn on, in a fixed order.

        `objects` are all reports, presentation states, structure sets, segmentations and key objects that
        speak of the visit; `images` all image files of its studies, of which only headers are read. What
        can't be placed or is implausible is a doubt, never an exception that loses the others.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class WrittenObject:
    """A result object on disk."""

    role: str
    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True, kw_only=True)
class WrittenResults:
    """What a time point's report became, and what validation says of it; an error keeps it here."""

    objects: tuple[WrittenObject, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


class ResultWriter(Protocol):
    """Writes a report as DICOM objects and checks them."""

    def write(
        self, report: TimePointReport, image: ImageStack, course: Sequence[TimePointReport], folder: Path
    ) -> WrittenResults:
        """Write SEG, SR and what else is configured into a folder; same report, same bytes."""
        ...

    def write_course(
        self,
        course: Sequence[TimePointReport],
        reports: Mapping[str, WrittenObject],
        image: ImageStack,
        folder: Path,
    ) -> WrittenResults:
        """Write one SR over all time points, into the study of the latest (whose image is given).

        `reports` has each time point's own SR by its report's identity.
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
