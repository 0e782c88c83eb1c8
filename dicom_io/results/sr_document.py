"""An SR document around a content tree: what a PACS needs to file it, and what it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from datetime import datetime
from pathlib import Path

from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.valuerep import DT

from dicom_io import uids
from dicom_io.parsing import parse, quiet
from dicom_io.results.common import finish
from dicom_io.results.content import descendants
from dicom_io.results.document import Place, begin_document
from dicom_io.results.settings import UNNAMED_ORGANIZATION, ResultSettings
from dicom_io.results.source import InstanceReference, SourceImages, local_time
from dicom_io.results.text import short
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.report import PredecessorReport, ReviewStatus, TimePointReport


def assemble(
    root: Dataset,
    report: TimePointReport,
    images: SourceImages,
    evidence: Iterable[InstanceReference],
    settings: ResultSettings,
    *,
    place: Place,
    moment: datetime,
    predecessors: Sequence[PredecessorReport] = (),
) -> Dataset:
    """Put a content tree into an SR document: patient, study, evidence, verification, predecessors.

    Parameters
    ----------
    report
        Whose models and signature the document names.
    evidence
        What the content refers to or was made from; it is split by study.
    predecessors
        The documents that this one replaces.
    """
    header, references = images.header, list(evidence)
    study_instance_uid = images.source.series.study_instance_uid
    document = begin_document(place, report, images, settings, moment)
    for element in root:
        document[element.tag] = element
    document.CompletionFlag = "COMPLETE"
    document.PerformedProcedureCodeSequence = []
    _verify(document, report, header, settings, moment)
    _set_evidence(document, references, study_instance_uid)
    _refer_to_order(document, header)
    if predecessors:
        document.PredecessorDocumentsSequence = _references(
            InstanceReference(
                earlier.study_instance_uid,
                uids.series_instance_uid_of(earlier.sop_instance_uid),
                document.SOPClassUID,
                earlier.sop_instance_uid,
            )
            for earlier in predecessors
        )
    finish(document, report, images, moment)
    return document


def _verify(
    document: Dataset, report: TimePointReport, header: Dataset, settings: ResultSettings, moment: datetime
) -> None:
    """Say whether a reader stands behind the document, who and when (PS3.3 C.17.2)."""
    if report.status is not ReviewStatus.SIGNED:
        document.VerificationFlag, document.PreliminaryFlag = "UNVERIFIED", "PRELIMINARY"
        return
    if not report.signed_by:
        raise UnsuitableInputError(
            f"report {report.identity}: it is signed, but not by whom; have the reader sign it again"
        )
    document.VerificationFlag, document.PreliminaryFlag = "VERIFIED", "FINAL"
    observer = Dataset()
    institution = str(header.get("InstitutionName") or "")
    organization = settings.verifying_organization or institution or UNNAMED_ORGANIZATION
    observer.VerifyingOrganization = short(organization, 64)
    observer.VerifyingObserverName = report.signed_by
    signed_at = report.signed_at or report.created_at
    observer.VerificationDateTime = DT(moment if signed_at is None else local_time(signed_at, header))
    observer.VerifyingObserverIdentificationCodeSequence = []
    document.VerifyingObserverSequence = [observer]


def reference_to(instance: Dataset) -> InstanceReference:
    """Where an instance is, as evidence names it."""
    return InstanceReference(
        instance.StudyInstanceUID, instance.SeriesInstanceUID, instance.SOPClassUID, instance.SOPInstanceUID
    )


def evidence_of(sr: InstanceReference, path: Path) -> list[InstanceReference]:
    """An earlier SR of ours and what it measures: the SEGs and images that its content refers to.

    Not every image of its series: a course of ten CTs would bring thousands, and sums and nadir come
    from the measured ones.

    Parameters
    ----------
    path
        Its file; where it is gone the SR alone is named.
    """
    try:
        with quiet():
            document = parse(path)[0]
    except UnsuitableInputError:
        return [sr]
    used = {
        str(reference.ReferencedSOPInstanceUID)
        for item in descendants(document)
        for reference in item.get("ReferencedSOPSequence", [])
    }
    current = document.get("CurrentRequestedProcedureEvidenceSequence", [])
    found = [
        InstanceReference(
            str(study.StudyInstanceUID),
            str(series.SeriesInstanceUID),
            str(instance.ReferencedSOPClassUID),
            str(instance.ReferencedSOPInstanceUID),
        )
        for study in current
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]
    return [sr, *(one for one in found if one.sop_instance_uid in used)]


def _set_evidence(document: Dataset, evidence: Sequence[InstanceReference], study_instance_uid: str) -> None:
    """Split evidence by study (PS3.3 C.17.2): this one's is current, all others' pertinent."""
    current = [r for r in evidence if r.study_instance_uid == study_instance_uid]
    others = [r for r in evidence if r.study_instance_uid != study_instance_uid]
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
