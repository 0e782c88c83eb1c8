"""Who and when of a simulated study: what all of its objects have in common."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path

from pydicom import Dataset, FileMetaDataset
from pydicom.uid import UID

from dicom_io import uids
from workflow import __version__

_VERSION_NAME = f"TUMORLINE_{__version__}"[:16]


@dataclass(frozen=True, kw_only=True)
class SimulatedPatient:
    """A person who doesn't exist, or a public one under the collection's own pseudonym."""

    patient_id: str
    name: str
    birth_date: date | None = None
    sex: str = "O"
    issuer: str = "TUMORLINE-SIM"


@dataclass(frozen=True, kw_only=True)
class SimulatedStudy:
    """A study of a simulated patient.

    Attributes
    ----------
    key
        What its UIDs derive from: case, seed and time point; unlike that of any other study.
    derivation
        What is simulated and what is real, in a sentence; goes into every object.
    is_original
        Whether the pixels are as the scanner gave them.
    """

    patient: SimulatedPatient
    key: tuple[str, ...]
    taken_at: datetime
    study_description: str
    series_description: str
    derivation: str
    is_original: bool = False
    slice_thickness_mm: float | None = None
    body_part: str = "CHEST"

    def uid(self, *role: str) -> UID:
        """UID of a part of the study ("study", "series", "frame of reference", or with a number)."""
        return uids.uid_of("simulated", *self.key, *role)

    @property
    def study_instance_uid(self) -> UID:
        """Study Instance UID."""
        return self.uid("study")

    @property
    def frame_of_reference_uid(self) -> UID:
        """Frame of Reference UID; every study has its own."""
        return self.uid("frame of reference")


def new_object(study: SimulatedStudy, sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """An object with Patient, General Study, General Equipment and SOP Common modules filled in."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = day(study.taken_at), clock(study.taken_at)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class_uid, sop_instance_uid
    dataset.StudyDate, dataset.StudyTime = day(study.taken_at), clock(study.taken_at)
    dataset.AccessionNumber = f"S{study.study_instance_uid[-10:]}"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = study.study_description
    dataset.Manufacturer = "Tumorline"
    dataset.ManufacturerModelName = "tumorline simulate"
    dataset.SoftwareVersions = __version__
    patient = study.patient
    dataset.PatientName, dataset.PatientID = patient.name, patient.patient_id
    dataset.IssuerOfPatientID = patient.issuer
    dataset.PatientBirthDate = day(patient.birth_date) if patient.birth_date else ""
    dataset.PatientSex = patient.sex
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Public research image or simulated; no real identity"
    dataset.StudyInstanceUID = study.study_instance_uid
    dataset.StudyID = study.study_instance_uid[-8:]
    return dataset


def write(dataset: Dataset, path: Path) -> None:
    """Write an object as a DICOM file (PS3.10) in the transfer syntax of its file meta, deterministically."""
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.ImplementationClassUID = uids.IMPLEMENTATION_CLASS_UID
    dataset.file_meta.ImplementationVersionName = _VERSION_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def day(moment: date) -> str:
    """A date as DICOM has it (DA)."""
    return moment.strftime("%Y%m%d")


def clock(moment: datetime | time) -> str:
    """A time of day as DICOM has it (TM)."""
    return moment.strftime("%H%M%S")
