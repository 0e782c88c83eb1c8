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
from dicom_io.results.source import InstanceReference, ResultSource, SourceImages
from dicom_io.results.sr import build_sr
from workflow.domain.report import TimePointReport


@dataclass(frozen=True, kw_only=True, eq=False)
class ResultObjects:
    """What one report becomes.

    Attributes
    ----------
    seg
        None if no lesion has a voxel.
    pdf, extras
        As the settings ask: the encapsulated PDF, and Secondary Captures of the key images.
    """

    report: TimePointReport
    settings: ResultSettings
    sr: Dataset
    seg: Dataset | None = None
    pdf: Dataset | None = None
    extras: tuple[Dataset, ...] = ()

    @property
    def all(self) -> tuple[Dataset, ...]:
        """Every object, in the order to send them: what is referred to comes before what refers to it."""
        return tuple(o for o in (self.seg, self.sr, self.pdf, *self.extras) if o is not None)


def build_results(
    report: TimePointReport,
    source: ResultSource,
    *,
    settings: ResultSettings | None = None,
    course: Sequence[TimePointReport] = (),
    prior_results: Sequence[InstanceReference] = (),
) -> ResultObjects:
    """Write a report as DICOM objects. The same report and source give the same bytes.

    Parameters
    ----------
    report
        The time point; its masks are on the source's grid.
    source
        The measured volume with its images; patient, study and order are copied from their headers.
    course
        Reports of the patient's other time points, for the PDF's table and plot. Order does not matter.
    prior_results
        SRs of earlier time points that the PACS holds; they become pertinent evidence of this one.

    Raises
    ------
    ValueError
        If the report is on another series than the source, or a mask on another grid.
    UnsuitableInputError
        If an image can't be read, or a signed report doesn't say by whom.
    """
    settings = settings or ResultSettings()
    if report.series_instance_uid != source.series.series_instance_uid:
        raise ValueError(
            f"the report is on series {report.series_instance_uid}, "
            f"the source is {source.series.series_instance_uid}"
        )
    with quiet():  # highdicom's warnings quote the patient's name
        return _build(report, SourceImages(source), settings, course, prior_results)


def _build(
    report: TimePointReport,
    images: SourceImages,
    settings: ResultSettings,
    course: Sequence[TimePointReport],
    prior_results: Sequence[InstanceReference],
) -> ResultObjects:
    seg = build_seg(report, images, settings)
    sr = build_sr(report, images, seg, settings, prior_results)
    pdf: Dataset | None = None
    extras: tuple[Dataset, ...] = ()
    if settings.writes_pdf or settings.writes_key_images:
        key_images = render_key_images(report, images.source)
        if settings.writes_pdf:
            pdf = build_pdf(report, images, sr, _in_order(report, course), key_images, settings)
        if settings.writes_key_images:
            extras = build_secondary_captures(report, images, key_images, settings)
    return ResultObjects(report=report, settings=settings, sr=sr, seg=seg, pdf=pdf, extras=extras)


def render_key_images(report: TimePointReport, source: ResultSource) -> list[KeyImage]:
    """A key image of every lesion of the report that has a place on the volume."""
    rendered = (
        render_key_image(source.volume, lesion, modality=source.series.modality) for lesion in report.lesions
    )
    return [image for image in rendered if image is not None]


def _in_order(report: TimePointReport, course: Sequence[TimePointReport]) -> list[TimePointReport]:
    """The time points up to this one and this one itself, each once."""
    earlier = [r for r in course if r.order < report.order]
    return [*sorted(earlier, key=lambda r: r.order), report]
