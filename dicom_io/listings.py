"""What a node says of a study when it is asked (C-FIND, QIDO-RS), as a value."""

from __future__ import annotations

from pydicom import Dataset

from dicom_io.parsing import Attributes
from workflow.domain.patient import PatientIdentity
from workflow.domain.priors import ListedStudy

# What is asked of a study (PS3.4 tables C.6-1 and C.6-2; ModalitiesInStudy is optional there).
STUDY_KEYS = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyDescription",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
)


def listed_study(match: Dataset) -> ListedStudy:
    """A study out of a match; what is missing or no date or number counts as not said."""
    said = Attributes(match, "a match")
    moment = said.date("StudyDate")
    return ListedStudy(
        study_instance_uid=said.text("StudyInstanceUID"),
        patient=PatientIdentity(
            patient_id=said.text("PatientID"),
            issuer_of_patient_id=said.text("IssuerOfPatientID"),
            patient_name=said.text("PatientName"),
            birth_date=said.date("PatientBirthDate"),
            sex=said.text("PatientSex"),
        ),
        day=moment,
        description=said.text("StudyDescription"),
        modalities=frozenset(filter(None, said.values("ModalitiesInStudy"))),
        instance_count=said.integer("NumberOfStudyRelatedInstances"),
    )
