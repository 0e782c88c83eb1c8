"""An object without an image, begun: patient, study, a series of its own, equipment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_io import uids
from dicom_io.results import equipment
from dicom_io.results.common import institution
from dicom_io.results.settings import ResultSettings
from dicom_io.results.source import SourceImages
from workflow.domain.report import TimePointReport


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a document is and where it goes in its study; its series is its own."""

    sop_class_uid: UID
    sop_instance_uid: UID
    modality: str
    series_number: int
    series_description: str


def begin_document(
    place: Place, report: TimePointReport, images: SourceImages, settings: ResultSettings, moment: datetime
) -> Any:
    """A dataset with file header, patient, study, series, equipment and content time.

    Returns
    -------
    highdicom.base.SOPClass
        A `pydicom.Dataset`.
    """
    from highdicom.base import SOPClass

    header = images.header
    # A presentation state has the time of its creation instead (PS3.3 C.11.10).
    content = {} if place.modality == "PR" else {"content_date": moment.date(), "content_time": moment.time()}
    document = SOPClass(
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=uids.series_instance_uid_of(place.sop_instance_uid),
        series_number=place.series_number,
        sop_instance_uid=place.sop_instance_uid,
        sop_class_uid=place.sop_class_uid,
        instance_number=1,
        modality=place.modality,
        manufacturer=settings.manufacturer,
        manufacturer_model_name=settings.manufacturer_model_name,
        software_versions=settings.software_version,
        device_serial_number=settings.device_serial_number,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=header.PatientID,
        patient_name=header.PatientName,
        patient_birth_date=header.PatientBirthDate,
        patient_sex=header.PatientSex,
        study_id=header.StudyID,
        accession_number=header.AccessionNumber,
        study_date=header.StudyDate,
        study_time=header.StudyTime,
        referring_physician_name=header.ReferringPhysicianName,
        series_description=place.series_description,
        **content,
        **institution(header),
    )
    document.copy_patient_and_study_information(header)
    document.ContributingEquipmentSequence = equipment.contributing_equipment(
        equipment.models_of(report), settings, moment
    )
    return document
