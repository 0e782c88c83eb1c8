"""The result objects of one time point, and making them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydicom import Dataset

from dicom_io.parsing import quiet
from dicom_io.results.key_images import KeyImage, key_image_field_mm, render_key_image
from dicom_io.results.pdf import build_pdf
from dicom_io.results.pdf_lesions import PictureStrip
from dicom_io.results.presentation_state import build_presentation_states
from dicom_io.results.secondary_capture import build_secondary_captures
from dicom_io.results.seg import build_seg
from dicom_io.results.settings import ResultSettings
from dicom_io.results.source import InstanceReference, ResultSource, SourceImages
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
    presentation_states
        Grayscale Softcopy Presentation States per study of the visit, if the settings ask for them.
    pictures
        A picture of every lesion that has a place on its volume, by tracking UID, in the report's order.
    remarks
        What the settings ask for and could not be made, and why.
    """

    visit: Visit
    settings: ResultSettings
    segs: tuple[Dataset | None, ...]
    srs: tuple[Dataset, ...]
    pdf: Dataset | None = None
    key_images: tuple[tuple[Dataset, ...], ...] = ()
    presentation_states: tuple[tuple[Dataset, ...], ...] = ()
    pictures: Mapping[str, KeyImage] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

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

        "seg", "sr", "pdf", "key01" ... and "presentation"; further ones are "seg-2" and "sr-2".
        """
        segs = [seg for seg in self.segs if seg is not None]
        pictures = [picture for study in self.key_images for picture in study]
        states = [state for study in self.presentation_states for state in study]
        return {
            **{role_of("seg", number): seg for number, seg in enumerate(segs, start=1)},
            **{role_of("sr", number): sr for number, sr in enumerate(self.srs, start=1)},
            **({} if self.pdf is None else {"pdf": self.pdf}),
            **{f"key{number:02d}": picture for number, picture in enumerate(pictures, start=1)},
            **{role_of("presentation", number): state for number, state in enumerate(states, start=1)},
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
    earlier_pictures: Sequence[KeyImage] = (),
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

    earlier_pictures
        Pictures of the lesions at earlier time points, for the PDF.

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
        segs = tuple(build_seg(report, volume, settings) for volume in visit.volumes)
        by_volume = {
            volume.key: seg for volume, seg in zip(visit.volumes, segs, strict=True) if seg is not None
        }
        srs = tuple(build_sr(visit, study, by_volume, settings, prior) for study in visit.studies)
        pictures = render_key_images(visit, course)
        pdf, remarks = None, []
        if settings.writes_pdf:
            page = PictureStrip(visit=visit, now=pictures, earlier=earlier_pictures)
            try:
                pdf = build_pdf(visit, srs, _in_order(report, course), page, settings)
            except Exception as error:  # the page is for people: whatever ails it, SEG and SR leave
                # Its words may quote the patient; a remark is kept and shown.
                kind = type(error).__name__
                remarks.append(f"the PDF could not be made ({kind}); SEG and SR say all of it")
        captures: tuple[tuple[Dataset, ...], ...] = ()
        if settings.writes_key_images:
            captures = tuple(
                build_secondary_captures(visit, study, pictures, settings) for study in visit.studies
            )
        states: tuple[tuple[Dataset, ...], ...] = ()
        if settings.writes_presentation_state:
            states = tuple(build_presentation_states(visit, study, settings) for study in visit.studies)
    return ResultObjects(
        visit=visit,
        settings=settings,
        segs=segs,
        srs=srs,
        pdf=pdf,
        key_images=captures,
        presentation_states=states,
        pictures=pictures,
        remarks=tuple(remarks),
    )


def render_key_images(visit: Visit, course: Sequence[TimePointReport] = ()) -> dict[str, KeyImage]:
    """A picture of every lesion that has a place on its volume, by tracking UID, in the report's order.

    The field of view is the same at every time point so far, so that pictures compare.
    """
    found = {}
    for lesion in visit.report.lesions:
        images = visit.volume_of(lesion).images
        seen = [o for r in course for o in r.lesions if o.tracking_uid == lesion.tracking_uid]
        image = render_key_image(
            images.volume,
            lesion,
            modality=images.source.series.modality,
            field_mm=max(key_image_field_mm(one) for one in (lesion, *seen)),
            centre_lps=lesion.expected_lps,
        )
        if image is not None:
            place = place_words(images, image.slice_index)
            found[lesion.tracking_uid] = replace(image, time_point_id=visit.report.time_point_id, place=place)
    return found


def place_words(images: SourceImages, index: int) -> str:
    """Where a slice is found in a viewer: its series and image number, or its frame."""
    header = images.image(index)
    series = f"series {header.SeriesNumber}" if header.get("SeriesNumber") is not None else "series"
    if not images.is_in_image(index):
        return f"{series}, slice {index + 1}, filled in"
    frame = images.source.slices[index].frame_number
    if frame is not None:
        return f"{series}, frame {frame}"
    number = header.get("InstanceNumber")
    return f"{series}, image {number}" if number is not None else f"{series}, slice {index + 1}"


def _in_order(report: TimePointReport, course: Sequence[TimePointReport]) -> list[TimePointReport]:
    """The time points up to this one and this one itself, each once."""
    earlier = [r for r in course if r.order < report.order]
    return [*sorted(earlier, key=lambda r: r.order), report]
