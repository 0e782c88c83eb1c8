"""A time point's report as a TID 1500 Imaging Measurement Report (PS3.16), one per study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from dicom_io import codes, uids
from dicom_io.results import equipment
from dicom_io.results.document import Place
from dicom_io.results.settings import ResultSettings
from dicom_io.results.source import InstanceReference, SourceImages, moment_of
from dicom_io.results.sr_conclusions import derived_measurements, qualitative_evaluations
from dicom_io.results.sr_document import assemble, reference_to
from dicom_io.results.sr_items import code_item, container, extend, image_item, num_item, text_item, uid_item
from dicom_io.results.sr_lesions import lesion_groups, measured_slices
from workflow.domain.report import ReviewStatus, TimePointReport


def build_sr(
    report: TimePointReport,
    images: SourceImages,
    seg: Dataset | None,
    settings: ResultSettings,
    prior_results: Sequence[InstanceReference] = (),
) -> Dataset:
    """Write the report as SR.

    Measurements on the acquired images are SCOORD in a Comprehensive SR; those on a resampled grid
    (gantry tilt) have no image that they lie in and are SCOORD3D in a Comprehensive 3D SR.

    Parameters
    ----------
    seg
        The report's SEG, whose segments the volumes refer to; None if there is none.
    prior_results
        Reports of earlier time points that sums and nadir come from; they become evidence.
    """
    moment = moment_of(report, images.header)
    groups = lesion_groups(report, images, seg, settings)
    root = container(codes.IMAGING_MEASUREMENT_REPORT, template="1500")
    children: list[Any] = [
        code_item(codes.LANGUAGE, codes.ENGLISH, "HAS CONCEPT MOD"),
        *observers(report, settings),
        *procedures(images.header, images.source.series.modality),
    ]
    library = _image_library(report, images)
    if library is not None:
        children.append(library)
    if groups:
        children.append(extend(container(codes.IMAGING_MEASUREMENTS, "CONTAINS"), groups))
    children += [derived_measurements(report), qualitative_evaluations(report)]
    extend(root, children)

    is_3d = any(element.keyword == "ReferencedFrameOfReferenceUID" for element in root.iterall())
    evidence = [*images.references(), *([reference_to(seg)] if seg is not None else []), *prior_results]
    place = Place(
        sop_class_uid=Comprehensive3DSRStorage if is_3d else ComprehensiveSRStorage,
        sop_instance_uid=uids.sop_instance_uid(report, "sr"),
        modality="SR",
        series_number=settings.series_number + 1,
        series_description=settings.sr_description,
    )
    return assemble(root, report, images, evidence, settings, place=place, moment=moment)


# ---------------------------------------------------------------- content


def observers(report: TimePointReport, settings: ResultSettings) -> list[Dataset]:
    """TID 1001: the application as device, and the reader once the report is signed."""
    device = equipment.application(settings)
    items = [
        code_item(codes.OBSERVER_TYPE, codes.DEVICE, "HAS OBS CONTEXT"),
        uid_item(codes.DEVICE_OBSERVER_UID, uids.device_uid(device), "HAS OBS CONTEXT"),
        text_item(codes.DEVICE_OBSERVER_NAME, device.name, "HAS OBS CONTEXT"),
        text_item(codes.DEVICE_OBSERVER_MANUFACTURER, settings.manufacturer, "HAS OBS CONTEXT"),
        text_item(codes.DEVICE_OBSERVER_MODEL_NAME, device.name, "HAS OBS CONTEXT"),
        text_item(codes.DEVICE_OBSERVER_SERIAL_NUMBER, settings.device_serial_number, "HAS OBS CONTEXT"),
    ]
    if report.status is ReviewStatus.SIGNED and report.signed_by:
        from highdicom.sr import PnameContentItem

        items += [
            code_item(codes.OBSERVER_TYPE, codes.PERSON, "HAS OBS CONTEXT"),
            PnameContentItem(codes.PERSON_OBSERVER_NAME, report.signed_by, "HAS OBS CONTEXT"),
        ]
    return items


def procedures(header: Dataset, modality: str) -> list[Dataset]:
    """The imaging procedure (not its analysis: IHE AIR), as the study codes it, else by modality."""
    from highdicom.sr import CodedConcept

    coded = [
        c for c in header.get("ProcedureCodeSequence", []) if c.get("CodeValue") and c.get("CodeMeaning")
    ]
    if coded:
        return [
            code_item(codes.PROCEDURE_REPORTED, CodedConcept.from_dataset(c), "HAS CONCEPT MOD")
            for c in coded
        ]
    procedure = codes.PROCEDURES.get(modality, codes.IMAGING_PROCEDURE)
    return [code_item(codes.PROCEDURE_REPORTED, procedure, "HAS CONCEPT MOD")]


def _image_library(report: TimePointReport, images: SourceImages) -> Dataset | None:
    """TID 1600 with the measured slices only; None if nothing is measured on an image."""
    indices = measured_slices(report, images)
    if not indices:
        return None
    series = images.source.series
    entries = []
    for index in indices:
        plane = images.plane(index)
        row_mm, column_mm = (float((step**2).sum() ** 0.5) for step in (plane.row_step, plane.column_step))
        entry = image_item(codes.SOURCE, images.source.slices[index], "CONTAINS")
        descriptors = [
            num_item(codes.PIXEL_DATA_ROWS, plane.rows, codes.PIXELS, "HAS ACQ CONTEXT"),
            num_item(codes.PIXEL_DATA_COLUMNS, plane.columns, codes.PIXELS, "HAS ACQ CONTEXT"),
            num_item(codes.HORIZONTAL_PIXEL_SPACING, column_mm, codes.MILLIMETRE, "HAS ACQ CONTEXT"),
            num_item(codes.VERTICAL_PIXEL_SPACING, row_mm, codes.MILLIMETRE, "HAS ACQ CONTEXT"),
        ]
        entries.append(extend(entry, descriptors))
    shared = []
    if series.modality in codes.MODALITIES:
        shared.append(code_item(codes.MODALITY, codes.MODALITIES[series.modality], "HAS ACQ CONTEXT"))
    if series.frame_of_reference_uid:
        shared.append(
            uid_item(codes.FRAME_OF_REFERENCE_UID, series.frame_of_reference_uid, "HAS ACQ CONTEXT")
        )
    group = extend(container(codes.IMAGE_LIBRARY_GROUP, "CONTAINS"), [*shared, *entries])
    return extend(container(codes.IMAGE_LIBRARY, "CONTAINS"), [group])
