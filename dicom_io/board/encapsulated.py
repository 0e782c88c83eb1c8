"""A packet's pages as an Encapsulated PDF (PS3.3 A.45.1) of the patient's latest study."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DA, DT, TM

from dicom_io import codes, uids
from dicom_io.results.text import short
from workflow import __version__
from workflow.domain.board import Packet

# Patient, study and equipment, as our own report of the same study has them.
_COPIED = (
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "TimezoneOffsetFromUTC", "InstitutionName",
    "InstitutionalDepartmentName", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber",
    "SoftwareVersions", "ContributingEquipmentSequence", "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID", "ClinicalTrialSubjectID",
)  # fmt: skip


def encapsulate(pdf: bytes, packet: Packet, report: Path, series_number: int) -> Dataset:
    """Make the object.

    Parameters
    ----------
    pdf
        The packet's pages.
    report
        Our SR of the latest visit, in the study that the object goes into.

    Returns
    -------
    pydicom.Dataset
        The same packet gives the same UIDs.
    """
    source = pydicom.dcmread(report)
    made: Any = Dataset()
    for keyword in _COPIED:
        if keyword in source:
            made[keyword] = deepcopy(source[keyword])
    made.SOPClassUID = EncapsulatedPDFStorage
    made.SOPInstanceUID = uids.uid_of(
        "board packet", packet.sha256, str(packet.patient_key), str(packet.version)
    )
    made.SeriesInstanceUID = uids.series_instance_uid_of(str(made.SOPInstanceUID))
    made.Modality, made.SeriesNumber, made.InstanceNumber = "DOC", series_number, 1
    made.SeriesDescription = short(f"Tumour board {packet.day}, version {packet.version}", 64)
    moment = packet.made_at
    made.SeriesDate = made.ContentDate = made.InstanceCreationDate = DA(moment.date())
    made.SeriesTime = made.ContentTime = made.InstanceCreationTime = TM(moment.time().replace(tzinfo=None))
    made.AcquisitionDateTime = DT(moment.replace(tzinfo=None))
    made.ConversionType, made.BurnedInAnnotation = "WSD", "YES"
    made.DocumentTitle = short(f"Tumour board {packet.day}", 1024)
    made.ConceptNameCodeSequence = [codes.dataset_of(codes.DIAGNOSTIC_IMAGING_REPORT)]
    visits = packet.content.visits if packet.content else ()
    is_signed = all(visit.signed_by for visit in visits if visit.report_identity)
    made.VerificationFlag = "VERIFIED" if is_signed else "UNVERIFIED"
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    made.SourceInstanceSequence = [reference]
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(pdf)
    made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.ImplementationClassUID = uids.IMPLEMENTATION_CLASS_UID
    made.file_meta.ImplementationVersionName = f"TUMORLINE_{__version__}"[:16]
    return made
