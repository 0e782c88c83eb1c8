"""The result objects of one time point, and making them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from dicom_io.parsing import quiet
from dicom_io.results.key_images import KeyImage, render_key_image
from dicom_io.results.pdf import build_pdf
from dicom_io.results.secondary_capture import build_secondary_captures
from dicom_io.results.seg import build_seg
from dicom_io.results.settings import ResultSettings
from dicom_io.results.source import InstanceReference, ResultSource
from dicom_io.results.sr import build_sr
from dicom_io.results.visit import Visit, role_of, visit_of
from workflow.domain.report import TimePointReport


@dataclass(frozen=True, kw_only=True, eq=False)
class ResultObjects:
    """What one report becomes.

    Attributes
    ----------
    segs
        One per volume of the visit, None where no lesion has a voxel.
    srs
        One per study of the visit.
    pdf
        The encapsulated PDF, in the first study, if the settings ask for it.
    key_images
        Secondary Captures per study of the visit, if the settings ask for them.
    """

    visit: Visit
    settings: ResultSettings
    segs: tuple[Dataset | None, ...]
    srs: tuple[Dataset, ...]
    pdf: Dataset | None = None
    key_images: tuple[tuple[Dataset, ...], ...] = ()

    @property
    def report(self) -> TimePointReport:
        """What was written."""
        return self.visit.report

    @property
    def seg(self) -> Dataset | None:
        """The first SEG."""
        return next((seg for seg in self.segs if seg is not None), None)

    @property
    def sr(self) -> Dataset:
        """The first study's SR."""
        return self.srs[0]

    @property
    def by_role(self) -> dict[str, Dataset]:
        """Every object by its role, in the order to send them: what is referred to before what refers to it.

        "seg", "sr", "pdf" and "key01" ...; further ones are "seg-2" and "sr-2".
        """
        segs = [seg for seg in self.segs if seg is not None]
        pictures = [picture for study in self.key_images for picture in study]
        return {
            **{role_of("seg", number): seg for number, seg in enumerate(segs, start=1)},
            **{role_of("sr", number): sr for number, sr in enumerate(self.srs, start=1)},
            **({} if self.pdf is None else {"pdf": self.pdf}),
            **{f"key{number:02d}": picture for number, picture in enumerate(pictures, start=1)},
        }

    @property
    def all(self) -> tuple[Dataset, ...]:
        """Every object, in the order to send them."""
        return tuple(self.by_role.values())


def build_results(
    report: TimePointReport,
    sources: Sequence[ResultSource],
    *,
    settings: ResultSettings | None = None,
    course: Sequence[TimePointReport] = (),
    prior: Sequence[InstanceReference] = (),
) -> ResultObjects:
    """Write a report as DICOM objects. The same report and sources give the same bytes.

    Parameters
    ----------
    report
        The visit; each lesion's mask is on the grid of the volume that it is measured on.
    sources
        The measured volumes with their images, in the order of the report's `volumes`; patient, study and
        order of each object are copied from the headers of its own study.
    course
        Reports of the patient's other time points, for the PDF's table and plot. Order does not matter.
    prior
        What the PACS holds of earlier time points (reports, SEGs, measured images): pertinent evidence.

    Raises
    ------
    ValueError
        If the report is on other series than the sources, or a mask on another grid.
    UnsuitableInputError
        If an image can't be read, or a signed report doesn't say by whom.
    """
    settings = settings or ResultSettings()
    visit = visit_of(report, sources)
    with quiet():  # highdicom's warnings quote the patient's name
        return _build(visit, settings, course, prior)


def _build(
    visit: Visit,
    settings: ResultSettings,
    course: Sequence[TimePointReport],
    prior: Sequence[InstanceReference],
) -> ResultObjects:
    report = visit.report
    segs = tuple(build_seg(report, volume, settings) for volume in visit.volumes)
    by_volume = {volume.key: seg for volume, seg in zip(visit.volumes, segs, strict=True) if seg is not None}
    srs = tuple(build_sr(visit, study, by_volume, settings, prior) for study in visit.studies)
    pdf: Dataset | None = None
    captures: tuple[tuple[Dataset, ...], ...] = ()
    if settings.writes_pdf or settings.writes_key_images:
        key_images = render_key_images(visit)
        if settings.writes_pdf:
            pdf = build_pdf(visit, srs, _in_order(report, course), list(key_images.values()), settings)
        if settings.writes_key_images:
            captures = tuple(
                build_secondary_captures(visit, study, key_images, settings) for study in visit.studies
            )
    return ResultObjects(visit=visit, settings=settings, segs=segs, srs=srs, pdf=pdf, key_images=captures)


def render_key_images(visit: Visit) -> dict[str, KeyImage]:
    """A key image of every lesion that has a place on its volume, by tracking UID, in the report's order."""
    found = {}
    for lesion in visit.report.lesions:
        source = visit.volume_of(lesion).images.source
        image = render_key_image(source.volume, lesion, modality=source.series.modality)
        if image is not None and not lesion.is_rejected:
            found[lesion.tracking_uid] = image
    return found


def _in_order(report: TimePointReport, course: Sequence[TimePointReport]) -> list[TimePointReport]:
    """The time points up to this one and this one itself, each once."""
    earlier = [r for r in course if r.order < report.order]
    return [*sorted(earlier, key=lambda r: r.order), report]
