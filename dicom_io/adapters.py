"""DICOM as the stages want it: the ports for images, prompts and results, on top of `dicom_io`.

Everything heavy is imported when it is first used: the listener and the page need none of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from workflow.domain.drawing import MarkedLesion
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.lesion import LesionPrompt, PromptsRead
from workflow.domain.patient import PatientIdentity
from workflow.domain.report import TimePointReport
from workflow.domain.series import SeriesDescription
from workflow.domain.study_facts import InstanceDate, StudyFacts, study_facts
from workflow.ports import ImageStack, Recognise, WrittenObject, WrittenResults
from workflow.settings import Settings

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicom_io.results import InstanceReference, KeyImage, ResultSettings
    from dicom_io.volumes import SeriesVolume

# PS3.5 9.1
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
# A follow-up is analysed right after its prior: two volumes kept mean that none is decoded twice.
_VOLUMES_KEPT = 2


class DicomImages:
    """Images out of DICOM files; the last volumes stay in memory."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, ImageStack] = OrderedDict()
        self._lock = threading.Lock()

    def patient(self, path: Path) -> PatientIdentity:
        """See `workflow.ports.ImageReader.patient`."""
        from dicom_io.headers import read_header

        return read_header(path).identity

    def study_facts(self, paths: Sequence[Path], today: date | None = None) -> StudyFacts:
        """See `workflow.ports.ImageReader.study_facts`."""
        from dicom_io.headers import read_header

        headers, damaged = [], []
        for path in paths:
            try:
                headers.append(read_header(path))
            except UnsuitableInputError as error:
                damaged.append(f"one instance is left out: {error}")
        cut = sorted({keyword for header in headers for keyword in header.cut})
        damaged += [f"{keyword} is longer than a value can be, and was cut" for keyword in cut]
        dates = [
            InstanceDate(keyword=keyword, day=day, at=at, is_image=header.is_image)
            for header in headers
            for keyword, day, at in header.dates
        ]
        facts = study_facts([header.identity for header in headers], dates, today)
        return replace(facts, doubts=(*facts.doubts, *damaged))

    def pixel_digests(self, paths: Sequence[Path]) -> dict[Path, str]:
        """See `workflow.ports.ImageReader.pixel_digests`."""
        from dicom_io.pixels import pixel_digest

        digests = {}
        for path in paths:
            try:
                digest = pixel_digest(path)
            except UnsuitableInputError:  # whoever reads its pixels says so
                continue
            if digest is not None:
                digests[path] = digest
        return digests

    def describe_study(self, paths: Sequence[Path]) -> list[SeriesDescription]:
        """See `workflow.ports.ImageReader.describe_study`."""
        from dicom_io.series import describe_study

        return list(describe_study(paths))

    def read_volume(self, paths: Sequence[Path], series: SeriesDescription) -> ImageStack:
        """See `workflow.ports.ImageReader.read_volume`."""
        from dicom_io.volumes import read_volume

        # The names hold the digest of the content, so the same key is the same voxels.
        key = hashlib.sha256(
            json.dumps([*map(str, paths), series.series_instance_uid, series.stack]).encode()
        ).hexdigest()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = read_volume(paths, series)
                while len(self._kept) > _VOLUMES_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


class DicomPrompts:
    """Prompts out of RTSTRUCT, SEG, SR and GSPS."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.prompts

    def refers_to(self, path: Path) -> frozenset[str]:
        """See `workflow.ports.PromptReader.refers_to`."""
        from dicom_io.references import referenced_uids

        return referenced_uids(path)

    def read(
        self,
        objects: Sequence[Path],
        images: Sequence[Path],
        *,
        recognise: Recognise | None = None,
        labels: Collection[str] = (),
    ) -> PromptsRead:
        """See `workflow.ports.PromptReader.read`."""
        from dicom_io.prompts import LesionRules, read_visit_prompts

        rules = LesionRules(
            always=frozenset(self._settings.always) | frozenset(labels),
            never=frozenset(self._settings.never),
            nodes_are_lesions=self._settings.nodes_are_lesions,
            fraction=self._settings.fraction,
        )
        read = read_visit_prompts(objects, images, rules=rules, recognise=recognise)
        notes = list(read.notes)
        prompts = tuple(replace(one, prompt=_with_valid_uid(one.prompt, notes)) for one in read.prompts)
        return replace(read, prompts=prompts, notes=tuple(notes))


class DicomMarks:
    """A reader's marks as measurement reports."""

    def write(self, lesion: MarkedLesion, image: ImageStack) -> bytes:
        """See `workflow.ports.MarkWriter.write`."""
        from dicom_io.marks import marks_report

        return marks_report(lesion, _series_volume(image))


class DicomResults:
    """SEG, SR, PDF and the course SR, with the validation gate."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.results

    def write(
        self,
        report: TimePointReport,
        images: Sequence[ImageStack],
        course: Sequence[TimePointReport],
        folder: Path,
        prior: Sequence[WrittenObject] = (),
    ) -> WrittenResults:
        """See `workflow.ports.ResultWriter.write`."""
        from dicom_io.parsing import quiet
        from dicom_io.results import build_results, evidence_of, render_overview, role_of, validate

        sources = [_series_volume(image) for image in images]
        earlier = [r for made in prior for r in evidence_of(_reference(made), made.path)]
        with quiet():  # highdicom's warnings quote patient names
            results = build_results(
                report,
                sources,
                settings=self._result_settings(),
                course=course,
                prior=earlier,
                earlier_pictures=_pictures_beside(prior),
            )
            checked = validate(results)
        for uid, picture in results.pictures.items():
            (folder / f"{uid}.png").write_bytes(picture.png())
        for number, seen in enumerate(results.visit.volumes, start=1):
            drawn = render_overview(
                seen.images.volume, seen.lesions, modality=seen.images.source.series.modality
            )
            (folder / f"{role_of('overview', number)}.png").write_bytes(drawn)
        return WrittenResults(
            objects=tuple(_written(role, made, folder) for role, made in results.by_role.items()),
            errors=tuple(f"{f.check.value}: {f.message}" for f in checked.findings),
            warnings=checked.skipped,
        )

    def write_course(
        self,
        course: Sequence[TimePointReport],
        reports: Mapping[str, Sequence[WrittenObject]],
        images: Sequence[ImageStack],
        folder: Path,
    ) -> WrittenResults:
        """See `workflow.ports.ResultWriter.write_course`."""
        from dicom_io.parsing import quiet
        from dicom_io.results import SummarizedTimePoint, build_summary, validate_summary

        sources = [_series_volume(image) for image in images]
        points = [
            SummarizedTimePoint(report=report, srs=tuple(map(_reference, reports.get(report.identity, ()))))
            for report in course
        ]
        with quiet():
            made = build_summary(points, sources, settings=self._result_settings())
            errors = validate_summary(made, sources[0])
        return WrittenResults(objects=(_written("course", made, folder),), errors=tuple(errors), warnings=())

    def _result_settings(self) -> ResultSettings:
        from dicom_io.results import ResultSettings, SegmentationType, TrackingIdentifierForm

        return ResultSettings(
            segmentation_type=SegmentationType(self._settings.segmentation_type),
            tracking_identifier=TrackingIdentifierForm(self._settings.tracking_identifier),
            series_number=self._settings.series_number_start,
            verifying_organization=self._settings.verifying_organization,
            writes_pdf=self._settings.encapsulated_pdf,
            writes_key_images=self._settings.secondary_capture,
            writes_presentation_state=self._settings.presentation_state,
        )


def _with_valid_uid(prompt: LesionPrompt, notes: list[str]) -> LesionPrompt:
    """The prompt without a tracking UID that is none: it comes from outside and names files and rows."""
    uid = prompt.tracking_uid
    if uid is None or (len(uid) <= 64 and _UID.fullmatch(uid)):
        return prompt
    notes.append(f"{prompt.item or 'a lesion'} of {prompt.sop_instance_uid}: its tracking UID is not a UID")
    return replace(prompt, tracking_uid=None)


def _series_volume(image: ImageStack) -> SeriesVolume:
    """The same image as its DICOM reader gave it: prompts and results need the instances behind it."""
    from dicom_io.volumes import SeriesVolume

    if not isinstance(image, SeriesVolume):
        raise TypeError(f"DICOM objects refer to a SeriesVolume, not to a {type(image).__name__}")
    return image


def _reference(made: WrittenObject) -> InstanceReference:
    """Where an object of ours is, as evidence names it."""
    from dicom_io.results import InstanceReference

    return InstanceReference(
        made.study_instance_uid, made.series_instance_uid, made.sop_class_uid, made.sop_instance_uid
    )


def _pictures_beside(prior: Sequence[WrittenObject]) -> list[KeyImage]:
    """The pictures that lie with earlier reports."""
    from dicom_io.results import KeyImage

    folders = dict.fromkeys(made.path.parent for made in prior)
    paths = [path for folder in folders for path in sorted(folder.glob("*.png"))]
    return [image for path in paths if (image := KeyImage.from_png(path.read_bytes())) is not None]


def _written(role: str, made: Dataset, folder: Path) -> WrittenObject:
    from dicom_io.results import to_bytes

    path = folder / f"{role}.dcm"
    path.write_bytes(to_bytes(made))
    return WrittenObject(
        role=role,
        path=path,
        sop_instance_uid=str(made.SOPInstanceUID),
        sop_class_uid=str(made.SOPClassUID),
        series_instance_uid=str(made.SeriesInstanceUID),
        study_instance_uid=str(made.StudyInstanceUID),
    )


class DicomResultReader:
    """The port `workflow.ports.ResultReader` on files."""

    def document(self, path: Path) -> bytes | None:
        """See `workflow.ports.ResultReader.document`."""
        from dicom_io.shown import pages_of

        return pages_of(path)

    def field_mm(self, path: Path) -> float | None:
        """See `workflow.ports.ResultReader.field_mm`."""
        from dicom_io.shown import field_mm_of

        return field_mm_of(path)
