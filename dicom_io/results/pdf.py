"""The report's pages as an Encapsulated PDF (PS3.3 A.45.1): for PACS and archives that show no SR."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset
from pydicom.uid import EncapsulatedPDFStorage
from pydicom.valuerep import DT

from dicom_io import codes, uids
from dicom_io.results.common import Kind, finish, series_description, series_number
from dicom_io.results.document import Place, begin_document
from dicom_io.results.pdf_lesions import PictureStrip
from dicom_io.results.pdf_page import PatientHeader, render_pdf
from dicom_io.results.settings import ResultSettings
from dicom_io.results.source import SourceImages, moment_of
from dicom_io.results.text import short
from dicom_io.results.visit import Visit
from dicom_io.results.words import patient_name, written_date
from workflow.domain.report import ReviewStatus, TimePointReport


def build_pdf(
    visit: Visit,
    srs: Sequence[Dataset],
    course: Sequence[TimePointReport],
    pictures: PictureStrip,
    settings: ResultSettings,
) -> Dataset:
    """Render the report as a DICOM object of the visit's first study that names the SRs it was made from."""
    report, images = visit.report, visit.studies[0].images
    moment = moment_of(report, images.header)
    place = Place(
        sop_class_uid=EncapsulatedPDFStorage,
        sop_instance_uid=uids.sop_instance_uid(report, "pdf"),
        modality="DOC",
        series_number=series_number(Kind.PDF, report, settings),
        series_description=series_description(settings.pdf_description, report),
    )
    document = begin_document(place, report, images, settings, moment)
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = DT(moment)
    document.BurnedInAnnotation = "YES"
    document.DocumentTitle = short(f"Tumour response {report.time_point_id}", 1024)
    document.ConceptNameCodeSequence = [codes.dataset_of(codes.DIAGNOSTIC_IMAGING_REPORT)]
    document.VerificationFlag = "VERIFIED" if report.status is ReviewStatus.SIGNED else "UNVERIFIED"
    document.SourceInstanceSequence = [_reference(sr) for sr in srs]
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    pages = render_pdf(report, patient_header(images), course, pictures, settings, moment)
    document.EncapsulatedDocumentLength = len(pages)
    document.EncapsulatedDocument = pages + b"\0" * (len(pages) % 2)
    finish(document, report, images, moment)
    return document


def patient_header(images: SourceImages) -> PatientHeader:
    """Patient and study as the source has them, written for people."""
    header = images.header
    return PatientHeader(
        patient_name=patient_name(str(header.PatientName or "")),
        patient_id=str(header.PatientID),
        birth_date=written_date(str(header.PatientBirthDate or "")),
        sex=str(header.PatientSex or ""),
        accession_number=str(header.AccessionNumber or ""),
        study_description=str(header.get("StudyDescription") or ""),
        institution=str(header.get("InstitutionName") or ""),
    )


def _reference(instance: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance.SOPClassUID, instance.SOPInstanceUID
    return item
