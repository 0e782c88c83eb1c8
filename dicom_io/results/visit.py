"""A visit as its results see it: studies, the volumes measured in each, and the lesions on each volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dicom_io.results.source import ResultSource, SourceImages
from workflow.domain.report import ReportedLesion, TimePointReport
from workflow.domain.series import StackKey


@dataclass(frozen=True, kw_only=True, eq=False)
class VisitVolume:
    """A measured volume and the lesions measured on it, in the report's order.

    `place` counts the measured volumes of its study from 1. What a reader rejected is no lesion: it is not
    among them, and has neither a segment nor a measurement.
    """

    place: int
    images: SourceImages
    lesions: tuple[ReportedLesion, ...]

    @property
    def key(self) -> StackKey:
        """Which stack of images it is."""
        return self.images.source.series.key

    @property
    def study_instance_uid(self) -> str:
        """The study that its images are in."""
        return self.images.source.series.study_instance_uid

    @property
    def segmented(self) -> tuple[ReportedLesion, ...]:
        """The lesions with voxels: segment number n of the volume's SEG is the n-th of them."""
        return tuple(one for one in self.lesions if one.mask is not None and not one.mask.is_empty)


@dataclass(frozen=True, kw_only=True, eq=False)
class VisitStudy:
    """A study of the visit with its measured volumes; `number` counts from 1."""

    number: int
    volumes: tuple[VisitVolume, ...]

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID."""
        return self.volumes[0].study_instance_uid

    @property
    def images(self) -> SourceImages:
        """The first volume's: patient, study and order of the study's results come from its headers."""
        return self.volumes[0].images


@dataclass(frozen=True, kw_only=True, eq=False)
class Visit:
    """A report with the images that it speaks of.

    `volumes` are in the report's order, so are `studies`; the first study has what the visit has once.
    """

    report: TimePointReport
    volumes: tuple[VisitVolume, ...]
    _by_key: dict[StackKey, VisitVolume] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_key.update({volume.key: volume for volume in self.volumes})

    @cached_property
    def studies(self) -> tuple[VisitStudy, ...]:
        """The studies that hold a measured volume, by their first one."""
        by_study: dict[str, list[VisitVolume]] = {}
        for volume in self.volumes:
            by_study.setdefault(volume.study_instance_uid, []).append(volume)
        return tuple(
            VisitStudy(number=number, volumes=tuple(volumes))
            for number, volumes in enumerate(by_study.values(), start=1)
        )

    def volume_of(self, lesion: ReportedLesion) -> VisitVolume:
        """The volume that a lesion is measured on."""
        return self.volumes[0] if lesion.measured_on is None else self._by_key[lesion.measured_on]

    def study_of(self, lesion: ReportedLesion) -> VisitStudy:
        """The study that a lesion is measured in."""
        uid = self.volume_of(lesion).study_instance_uid
        return next(study for study in self.studies if study.study_instance_uid == uid)


def role_of(kind: str, number: int) -> str:
    """What an object of a report is: "sr" for the first of its kind, "sr-2" for the second."""
    return kind if number == 1 else f"{kind}-{number}"


def visit_of(report: TimePointReport, sources: Sequence[ResultSource]) -> Visit:
    """Bring a report and its images together.

    Raises
    ------
    ValueError
        If the images are not those of the report's volumes, in their order, or a lesion is measured on
        none of them, or its mask is on another grid.
    """
    wanted = [volume.series.key for volume in report.volumes]
    given = [source.series.key for source in sources]
    if not wanted or wanted != given:
        raise ValueError(f"the report is on {_named(wanted)}, the images are {_named(given)}")
    first = sources[0].series
    if (report.study_instance_uid, report.series_instance_uid) != (
        first.study_instance_uid,
        first.series_instance_uid,
    ):
        raise ValueError(
            f"the report is on study {report.study_instance_uid}, series {report.series_instance_uid}; "
            f"its first volume is of {first.study_instance_uid}, series {first.series_instance_uid}"
        )
    if len(set(given)) != len(given):
        raise ValueError(f"{_named(given)}: a volume is there twice")
    of_volume: dict[StackKey, list[ReportedLesion]] = {key: [] for key in given}
    for lesion in report.lesions:
        key = lesion.measured_on or given[0]
        if key not in of_volume:
            raise ValueError(f"lesion {lesion.label} is measured on {_named([key])}, the report is not")
        if not lesion.is_rejected:
            of_volume[key].append(lesion)
    studies = [source.series.study_instance_uid for source in sources]
    volumes = tuple(
        VisitVolume(
            place=1 + studies[:number].count(studies[number]),
            images=SourceImages(source),
            lesions=tuple(of_volume[source.series.key]),
        )
        for number, source in enumerate(sources)
    )
    for volume in volumes:
        _check_grids(volume)
    return Visit(report=report, volumes=volumes)


def _check_grids(volume: VisitVolume) -> None:
    shape = volume.images.volume.shape
    for lesion in volume.lesions:
        if lesion.mask is not None and lesion.mask.shape != shape:
            raise ValueError(
                f"lesion {lesion.label}: its mask is on a grid of {lesion.mask.shape}, "
                f"the measured volume has {shape}"
            )


def _named(keys: Sequence[StackKey]) -> str:
    return ", ".join(f"series {k.series_instance_uid} stack {k.stack}" for k in keys) or "no series"
