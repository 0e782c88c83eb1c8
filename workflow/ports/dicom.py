"""What the stages ask of DICOM: images and prompts in, results out, and the nodes that hold them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

from workflow.domain.commitment import Commitment
from workflow.domain.drawing import MarkedLesion
from workflow.domain.geometry import Volume
from workflow.domain.lesion import LesionPrompt, PlacedPrompt, PromptsRead
from workflow.domain.patient import PatientIdentity
from workflow.domain.record import kind_of_role
from workflow.domain.report import TimePointReport
from workflow.domain.series import SeriesDescription
from workflow.domain.study_facts import StudyFacts


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

    def study_facts(self, paths: Sequence[Path], today: date | None = None) -> StudyFacts:
        """Whose study these instances are, and when it was taken; `today` tells dates in the future."""
        ...

    def pixel_digests(self, paths: Sequence[Path]) -> dict[Path, str]:
        """A digest of each CT, MR or PET image's pixels, place and time; files of other kinds are left out.

        It stays the same where an archive gives a copy new Study, Series and SOP Instance UIDs; nothing
        is decoded.
        """
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


Recognise = Callable[[str, Sequence[PlacedPrompt]], Sequence[LesionPrompt | None]]
"""Says of the prompts of an object (SOP Instance UID) what to read of each; None leaves it out."""


class PromptReader(Protocol):
    """Reads prompts out of the objects that a PACS holds."""

    def refers_to(self, path: Path) -> frozenset[str]:
        """Every UID that an object names: studies, series, instances, frames of reference."""
        ...

    def read(
        self,
        objects: Sequence[Path],
        images: Sequence[Path],
        *,
        recognise: Recognise | None = None,
        labels: Collection[str] = (),
    ) -> PromptsRead:
        """Prompts on a visit's images, each on its own stack, in a fixed order.

        Parameters
        ----------
        objects
            Every object that speaks of the visit.
        images
            All image files of the visit's studies; headers are read, no pixels.
        recognise
            Is asked for each object, before lesions that several objects show become one.
        labels
            Names of segments that are lesions here.
        """
        ...


class MarkWriter(Protocol):
    """Writes what a reader drew as an object that any viewer could have stored."""

    def write(self, lesion: MarkedLesion, image: ImageStack) -> bytes:
        """A DICOM file; the same marks give the same bytes.

        Raises
        ------
        UnsuitableInputError
            If a mark lies outside the volume, or on a slice that no image shows.
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
        return kind_of_role(self.role)


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


class Committer(Protocol):
    """Whoever is asked to commit itself to keep what we delivered (storage commitment)."""

    def new_transaction(self) -> str:
        """A Transaction UID for one request."""
        ...

    def request(self, transaction_uid: str, objects: Mapping[str, str]) -> Commitment | None:
        """Ask for instances, SOP Instance UID to SOP Class UID; the answer if it came at once.

        Raises
        ------
        TransientError
            If it is not there.
        UnsuitableInputError
            If it does no storage commitment, or refuses the request.
        """
        ...


class ResultReader(Protocol):
    """Reads what a browser is to show of written results."""

    def document(self, path: Path) -> bytes | None:
        """The PDF in an encapsulated PDF; None if the object holds no PDF."""
        ...

    def field_mm(self, path: Path) -> float | None:
        """The side, mm, of the square that a key image shows; None if it is not there or does not say."""
        ...


class ChangePage(Protocol):
    """A stretch of the change log."""

    @property
    def instance_ids(self) -> Sequence[str]:
        """New instances in it."""
        ...

    @property
    def last(self) -> int:
        """Its last sequence number."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether nothing comes after it for now."""
        ...


class ChangeFeed(Protocol):
    """An archive that tells what is new."""

    def changes(self, since: int) -> ChangePage:
        """New instances after a sequence number."""
        ...

    def held_instances(self, since: int, limit: int) -> Mapping[str, str]:
        """A page of everything that it holds: SOP Instance UIDs by its own ids; empty after the last."""
        ...

    def instance_file(self, instance_id: str) -> bytes:
        """An instance's bytes."""
        ...


class DicomServer(Protocol):
    """A DICOM service that runs."""

    def shutdown(self) -> None:
        """End it, and its associations."""
        ...
