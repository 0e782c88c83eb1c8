"""The one place that builds adapters and hands them to the stages."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from db.session import migrate, open_engine, reading, unit_of_work
from workflow.context import Context
from workflow.domain.lesion import LesionPrompt
from workflow.domain.patient import PatientIdentity
from workflow.domain.report import TimePointReport
from workflow.domain.series import SeriesDescription
from workflow.ports import Destination, ImageStack, Segmenter, Tracker, WrittenObject, WrittenResults
from workflow.settings import Node, Settings

log = logging.getLogger(__name__)

# A follow-up is analysed right after its prior: two volumes kept mean that none is decoded twice.
_VOLUMES_KEPT = 2


def utc_now() -> datetime:
    """The clock of the product."""
    return datetime.now(UTC)


def build(settings: Settings, *, destination: Destination | None = None) -> Context:
    """Open the database (migrated to the newest schema) and connect the adapters.

    Nothing heavy is imported here: models and DICOM encoders come when a stage first asks for them.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    migrate(settings.resolved_database_url)
    engine = open_engine(settings.resolved_database_url)
    return Context(
        settings=settings,
        unit=unit_of_work(engine),
        reading=reading(engine),
        clock=utc_now,
        images=DicomImages(),
        prompts=DicomPrompts(settings),
        results=DicomResults(settings),
        destination=destination or _remote(settings.resolved_destination, settings),
        open_segmenter=cache(lambda: _segmenter(settings)),
        open_tracker=cache(lambda: _tracker(settings)),
        pacs_instance_count=_instance_count(settings),
    )


class DicomImages:
    """Images out of DICOM files; the last volumes stay in memory."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, ImageStack] = OrderedDict()
        self._lock = threading.Lock()

    def patient(self, path: Path) -> PatientIdentity:
        """See `workflow.ports.ImageReader.patient`."""
        from dicom_io.headers import read_header

        header = read_header(path)
        return PatientIdentity(
            patient_id=header.patient_id,
            issuer_of_patient_id=header.issuer_of_patient_id,
            patient_name=header.patient_name,
            birth_date=header.patient_birth_date,
            sex=header.patient_sex,
        )

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
        self, paths: Sequence[Path], image: ImageStack, study_images: Sequence[Path]
    ) -> tuple[list[LesionPrompt], list[str]]:
        """See `workflow.ports.PromptReader.read`."""
        from dicom_io.prompts import LesionRules, ProblemKind, images_beside, read_study_prompts
        from dicom_io.volumes import SeriesVolume

        if not isinstance(image, SeriesVolume):
            raise TypeError(f"prompts are placed on a SeriesVolume, not on a {type(image).__name__}")
        if not paths:
            return [], []
        rules = LesionRules(
            always=frozenset(self._settings.always),
            never=frozenset(self._settings.never),
            nodes_are_lesions=self._settings.nodes_are_lesions,
            fraction=self._settings.fraction,
        )
        reading = read_study_prompts(paths, [image, *images_beside(study_images, image)], rules=rules)
        others = [p for p in reading.problems if p.kind is ProblemKind.NOT_A_LESION]
        notes = [str(problem) for problem in reading.problems if problem not in others]
        if others:
            notes.append(f"not taken for lesions: {', '.join(problem.item for problem in others)}")
        notes += [f"key image marked by a reader: {hint.title} {hint.description}" for hint in reading.hints]
        return list(reading.prompts), [*notes, *reading.notes]


class DicomResults:
    """SEG, SR and PDF with the validation gate."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.results

    def write(
        self, report: TimePointReport, image: ImageStack, course: Sequence[TimePointReport], folder: Path
    ) -> WrittenResults:
        """See `workflow.ports.ResultWriter.write`."""
        from dicom_io.parsing import quiet
        from dicom_io.results import (
            ResultSettings,
            SegmentationType,
            TrackingIdentifierForm,
            build_results,
            to_bytes,
            validate,
        )
        from dicom_io.volumes import SeriesVolume

        if not isinstance(image, SeriesVolume):
            raise TypeError(f"results refer to a SeriesVolume, not to a {type(image).__name__}")
        settings = ResultSettings(
            segmentation_type=SegmentationType(self._settings.segmentation_type),
            tracking_identifier=TrackingIdentifierForm(self._settings.tracking_identifier),
            series_number=self._settings.series_number_start,
            writes_pdf=self._settings.encapsulated_pdf,
            writes_key_images=self._settings.secondary_capture,
        )
        with quiet():  # highdicom's warnings quote patient names
            results = build_results(report, image, settings=settings, course=course)
            checked = validate(results, image)
        named = {"seg": results.seg, "sr": results.sr, "pdf": results.pdf}
        named |= {f"key{number:02d}": extra for number, extra in enumerate(results.extras, start=1)}
        objects = []
        for role, made in named.items():
            if made is None:
                continue
            path = folder / f"{role}.dcm"
            path.write_bytes(to_bytes(made))
            objects.append(
                WrittenObject(
                    role=role,
                    path=path,
                    sop_instance_uid=str(made.SOPInstanceUID),
                    sop_class_uid=str(made.SOPClassUID),
                    series_instance_uid=str(made.SeriesInstanceUID),
                    study_instance_uid=str(made.StudyInstanceUID),
                )
            )
        self._draw(report, image, course, folder)
        errors = tuple(f"{f.check.value}: {f.message}" for f in checked.findings)
        return WrittenResults(objects=tuple(objects), errors=errors, warnings=checked.skipped)

    def _draw(
        self, report: TimePointReport, image: ImageStack, course: Sequence[TimePointReport], folder: Path
    ) -> None:
        """Key images for the page: the same field of view at every time point, so that they compare."""
        from dicom_io.results.key_images import key_image_field_mm, render_key_image

        for lesion in report.lesions:
            seen = [o for r in course for o in r.lesions if o.tracking_uid == lesion.tracking_uid]
            picture = render_key_image(
                image.volume,
                lesion,
                modality=image.series.modality,
                field_mm=max(key_image_field_mm(o) for o in (*seen, lesion)),
                centre_lps=lesion.expected_lps,
            )
            if picture is not None:
                (folder / f"{lesion.tracking_uid}.png").write_bytes(picture.png())


def _remote(node: Node, settings: Settings) -> Destination:
    from dicom_io.scu import RemoteNode

    return RemoteNode(
        ae_title=node.ae_title, host=node.host, port=node.port, calling_ae_title=settings.listener.ae_title
    )


def _instance_count(settings: Settings) -> Callable[[str], int] | None:
    if settings.pacs is None:
        return None
    from dicom_io.scu import RemoteNode

    node = settings.pacs
    remote = RemoteNode(
        ae_title=node.ae_title, host=node.host, port=node.port, calling_ae_title=settings.listener.ae_title
    )
    return remote.study_instance_count


def _segmenter(settings: Settings) -> Segmenter:
    from models.registry import open_segmenter

    models = settings.models
    return open_segmenter(
        models.segmenter,
        models.segmenter_weights,
        device=models.device,
        allowed_licences=models.allowed_licences,
    )


def _tracker(settings: Settings) -> Tracker:
    from models.registry import open_tracker

    models = settings.models
    return open_tracker(
        models.tracker, models.tracker_weights, device=models.device, allowed_licences=models.allowed_licences
    )
