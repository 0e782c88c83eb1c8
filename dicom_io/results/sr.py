"""A time point's report as a TID 1500 Imaging Measurement Report (PS3.16), one per study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from datetime import datetime
from typing import Any

from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.valuerep import DT

from dicom_io import codes, uids
from dicom_io.results import equipment
from dicom_io.results.common import finish, institution
from dicom_io.results.settings import ResultSettings
from dicom_io.results.source import InstanceReference, SourceImages, local_time, moment_of
from dicom_io.results.sr_conclusions import derived_measurements, qualitative_evaluations
from dicom_io.results.sr_items import code_item, container, extend, image_item, num_item, text_item, uid_item
from dicom_io.results.sr_lesions import lesion_groups, measured_slices
from dicom_io.results.text import short
from workflow.domain.errors import UnsuitableInputError
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
        *_observers(report, settings),
        *_procedures(images.header, images.source.series.modality),
    ]
    library = _image_library(report, images)
    if library is not None:
        children.append(library)
    if groups:
        children.append(extend(container(codes.IMAGING_MEASUREMENTS, "CONTAINS"), groups))
    derived = derived_measurements(report)
    if derived is not None:
        children.append(derived)
    children.append(qualitative_evaluations(report))
    extend(root, children)

    is_3d = any(element.keyword == "ReferencedFrameOfReferenceUID" for element in root.iterall())
    evidence = [*images.references(), *([_reference(seg)] if seg is not None else []), *prior_results]
    return assemble(root, report, images, evidence, settings, role="sr", is_3d=is_3d, moment=moment)


def assemble(
    root: Dataset,
    report: TimePointReport,
    images: SourceImages,
    evidence: Iterable[InstanceReference],
    settings: ResultSettings,
    *,
    role: str,
    is_3d: bool,
    moment: datetime,
) -> Dataset:
    """Put a content tree into an SR document with patient, study, evidence, verification and predecessors."""
    from highdicom.sr import Comprehensive3DSR, ComprehensiveSR

    header = images.header
    sop_instance_uid = uids.sop_instance_uid(report, role)
    is_summary = role == "summary"
    document = (Comprehensive3DSR if is_3d else ComprehensiveSR)(
        evidence=[header, *_stand_ins(evidence)],
        content=root,
        series_instance_uid=uids.series_instance_uid_of(sop_instance_uid),
        series_number=settings.series_number + (4 if is_summary else 1),
        sop_instance_uid=sop_instance_uid,
        instance_number=1,
        manufacturer=settings.manufacturer,
        manufacturer_model_name=settings.manufacturer_model_name,
        software_versions=settings.software_version,
        device_serial_number=settings.device_serial_number,
        series_description=short(settings.summary_description if is_summary else settings.sr_description, 64),
        content_date=moment.date(),
        content_time=moment.time(),
        is_complete=True,
        is_final=report.status is ReviewStatus.SIGNED,
        contributing_equipment=equipment.contributing_equipment(
            equipment.models_of(report), settings, moment
        ),
        **_verification(report, header, settings),
        **institution(header),
    )
    _set_evidence(document, evidence, report.study_instance_uid)
    _refer_to_order(document, header)
    if report.predecessor_sop_instance_uids and not is_summary:
        document.PredecessorDocumentsSequence = _references(
            InstanceReference(
                report.study_instance_uid, uids.series_instance_uid_of(uid), document.SOPClassUID, uid
            )
            for uid in report.predecessor_sop_instance_uids
        )
    if document.VerificationFlag == "VERIFIED":
        signed_at = report.signed_at or report.created_at
        when = local_time(signed_at, header) if signed_at is not None else moment
        document.VerifyingObserverSequence[0].VerificationDateTime = DT(when)
    finish(document, report, images, moment)
    return document


# ---------------------------------------------------------------- content


def _observers(report: TimePointReport, settings: ResultSettings) -> list[Dataset]:
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


def _procedures(header: Dataset, modality: str) -> list[Dataset]:
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


# ---------------------------------------------------------------- document


def _verification(report: TimePointReport, header: Dataset, settings: ResultSettings) -> dict[str, Any]:
    if report.status is not ReviewStatus.SIGNED:
        return {"is_verified": False}
    if not report.signed_by:
        raise UnsuitableInputError(
            f"report {report.identity}: it is signed, but not by whom; have the reader sign it again"
        )
    organization = str(header.get("InstitutionName") or "") or settings.verifying_organization or "Unknown"
    return {
        "is_verified": True,
        "verifying_observer_name": report.signed_by,
        "verifying_organization": short(organization, 64),
    }


def _stand_ins(references: Iterable[InstanceReference]) -> list[Dataset]:
    # highdicom takes evidence as datasets; four attributes of each are what it reads.
    found = []
    for reference in references:
        item = Dataset()
        item.StudyInstanceUID, item.SeriesInstanceUID = (
            reference.study_instance_uid,
            reference.series_instance_uid,
        )
        item.SOPClassUID, item.SOPInstanceUID = reference.sop_class_uid, reference.sop_instance_uid
        found.append(item)
    return found


def _reference(instance: Dataset) -> InstanceReference:
    return InstanceReference(
        instance.StudyInstanceUID, instance.SeriesInstanceUID, instance.SOPClassUID, instance.SOPInstanceUID
    )


def _set_evidence(document: Dataset, evidence: Iterable[InstanceReference], study_instance_uid: str) -> None:
    """Split evidence by study (PS3.3 C.17.2): this one's is current, all others' pertinent."""
    everything = list(evidence)
    current = [r for r in everything if r.study_instance_uid == study_instance_uid]
    others = [r for r in everything if r.study_instance_uid != study_instance_uid]
    for keyword, references in (
        ("CurrentRequestedProcedureEvidenceSequence", current),
        ("PertinentOtherEvidenceSequence", others),
    ):
        document.pop(keyword, None)
        if references:
            setattr(document, keyword, _references(references))


def _references(references: Iterable[InstanceReference]) -> list[Dataset]:
    """Hierarchical SOP Instance Reference Macro (PS3.3 C.17.2.1): study, series, instance."""
    studies: dict[str, dict[str, dict[str, str]]] = {}
    for r in references:
        by_series = studies.setdefault(r.study_instance_uid, {})
        by_series.setdefault(r.series_instance_uid, {})[r.sop_instance_uid] = r.sop_class_uid
    items = []
    for study, by_series in studies.items():
        item = Dataset()
        item.StudyInstanceUID = study
        item.ReferencedSeriesSequence = [_series_item(s, instances) for s, instances in by_series.items()]
        items.append(item)
    return items


def _series_item(series_instance_uid: str, instances: dict[str, str]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series_instance_uid
    item.ReferencedSOPSequence = []
    for uid, class_uid in instances.items():
        instance = Dataset()
        instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = class_uid, uid
        item.ReferencedSOPSequence.append(instance)
    return item


# What a Referenced Request (PS3.3 C.17.2) takes from the series' Request Attributes; all Type 2.
_REQUEST_TEXTS = (
    "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID", "RequestedProcedureDescription",
)  # fmt: skip


def _refer_to_order(document: Dataset, header: Dataset) -> None:
    """Name the order and the performed step that the images were made for, as far as the source says."""
    performed = header.get("ReferencedPerformedProcedureStepSequence")
    document.ReferencedPerformedProcedureStepSequence = deepcopy(performed) if performed else DicomSequence()
    if not header.get("RequestAttributesSequence"):
        return
    document.ReferencedRequestSequence = [
        _referenced_request(request, header) for request in header.RequestAttributesSequence
    ]


def _referenced_request(request: Dataset, header: Dataset) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = header.StudyInstanceUID
    item.AccessionNumber = request.get("AccessionNumber") or header.AccessionNumber
    item.ReferencedStudySequence = deepcopy(header.get("ReferencedStudySequence")) or []
    for keyword in _REQUEST_TEXTS:
        setattr(item, keyword, request.get(keyword) or header.get(keyword) or "")
    procedure = request.get("RequestedProcedureCodeSequence") or header.get("RequestedProcedureCodeSequence")
    item.RequestedProcedureCodeSequence = deepcopy(procedure) if procedure else []
    return item
