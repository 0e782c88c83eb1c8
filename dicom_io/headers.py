"""One file's identity: whose it is, and which study, series and instance it belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from pathlib import Path

from pydicom import Dataset

from dicom_io.parsing import Attributes, parse, quiet, reading
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.patient import PatientIdentity

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_DRAWN_MODALITIES = ("SEG", "RTDOSE")
# PS3.5 9.1. UIDs become file names and URLs, so nothing else may pass.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
# Longer than any value may be; what is longer still is cut, and `cut` says so.
_LONGEST = 1000
_CUT = ("Modality", "PatientName", "PatientSex", "AccessionNumber", "StudyDescription")


@dataclass(frozen=True, kw_only=True)
class InstanceHeader:
    """What one instance says of itself, without its pixels.

    The four UIDs are always there and well formed. Everything else is as the file has it, decoded from its
    character set (PS3.5 6.1.2, ISO 2022 included): "" or None where the file says nothing.
    `patient_id` and `issuer_of_patient_id` together name the patient; the name keeps its `^` and `=`.
    `dates` are all that the file bears of StudyDate, SeriesDate, AcquisitionDate and ContentDate, in this
    order, each with its keyword and the time beside it. `cut` names attributes whose values were too long.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    frame_of_reference_uid: str | None = None
    modality: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: date | None = None
    patient_sex: str = ""
    study_id: str = ""
    accession_number: str = ""
    study_at: datetime | None = None
    dates: tuple[tuple[str, date, time | None], ...] = ()
    study_description: str = ""
    series_number: int | None = None
    series_description: str = ""
    instance_number: int | None = None
    body_part_examined: str = ""
    protocol_name: str = ""
    manufacturer: str = ""
    specific_character_set: tuple[str, ...] = ()
    has_pixels: bool = False
    cut: tuple[str, ...] = ()

    @property
    def is_image(self) -> bool:
        """Whether it shows the patient; what was drawn or planned on images (SEG, RTDOSE) does not."""
        return self.has_pixels and self.modality not in _DRAWN_MODALITIES

    @property
    def identity(self) -> PatientIdentity:
        """Whose it says that it is."""
        return PatientIdentity(
            patient_id=self.patient_id,
            issuer_of_patient_id=self.issuer_of_patient_id,
            patient_name=self.patient_name,
            birth_date=self.patient_birth_date,
            sex=self.patient_sex,
        )

    @property
    def patient_key(self) -> tuple[str, str]:
        """(PatientID, IssuerOfPatientID): what patients are matched on."""
        return self.patient_id, self.issuer_of_patient_id


def read_header(path: Path) -> InstanceHeader:
    """Read one file's identity; its pixel data is not touched.

    Raises
    ------
    UnsuitableInputError
        If the file is no DICOM Part 10 file, is damaged, is a DICOMDIR, or lacks one of the four UIDs;
        the message names the file and the reason.
    """
    with quiet(), reading(path):
        dataset, _ = parse(path)
        return header_of(dataset, path)


def header_of(dataset: Dataset, path: Path) -> InstanceHeader:
    """The identity that a parsed dataset carries; `path` is where it lies (or will lie)."""
    meta = getattr(dataset, "file_meta", None)
    meta = meta if meta is not None else Dataset()
    refuse_directory(meta, str(path))
    attributes = Attributes(dataset, str(path))
    transfer_syntax_uid = Attributes(meta, str(path)).text("TransferSyntaxUID")
    identifying = identifying_header(dataset, path, transfer_syntax_uid)
    return replace(
        identifying,
        frame_of_reference_uid=attributes.text("FrameOfReferenceUID") or None,
        study_id=attributes.text("StudyID"),
        study_at=attributes.moment("StudyDate", "StudyTime"),
        dates=_dates(attributes),
        series_number=attributes.integer("SeriesNumber"),
        series_description=attributes.text("SeriesDescription"),
        instance_number=attributes.integer("InstanceNumber"),
        body_part_examined=attributes.text("BodyPartExamined"),
        protocol_name=attributes.text("ProtocolName"),
        manufacturer=attributes.text("Manufacturer"),
        specific_character_set=attributes.values("SpecificCharacterSet"),
        has_pixels=attributes.has("Rows") and attributes.has("Columns"),
    )


def identifying_header(dataset: Dataset, path: Path, transfer_syntax_uid: str) -> InstanceHeader:
    """Which instance a dataset is, of whom, and what it says of its study; the rest of the header is unset.

    All of it stands before (0020,000E), so a data set that begins with that much is enough.

    Raises
    ------
    UnsuitableInputError
        If one of the four UIDs is missing or none.
    """
    attributes = Attributes(dataset, str(path))
    texts = {keyword: plain_text(attributes.text(keyword)) for keyword in _CUT}
    return InstanceHeader(
        path=path,
        sop_class_uid=_uid(attributes, "SOPClassUID"),
        sop_instance_uid=_uid(attributes, "SOPInstanceUID"),
        study_instance_uid=_uid(attributes, "StudyInstanceUID"),
        series_instance_uid=_uid(attributes, "SeriesInstanceUID"),
        transfer_syntax_uid=transfer_syntax_uid,
        patient_id=_identifier(attributes, "PatientID"),
        issuer_of_patient_id=_identifier(attributes, "IssuerOfPatientID"),
        patient_birth_date=attributes.date("PatientBirthDate"),
        cut=tuple(keyword for keyword, text in texts.items() if len(text) > _LONGEST),
        modality=texts["Modality"][:_LONGEST],
        patient_name=texts["PatientName"][:_LONGEST],
        patient_sex=texts["PatientSex"][:_LONGEST],
        accession_number=texts["AccessionNumber"][:_LONGEST],
        study_description=texts["StudyDescription"][:_LONGEST],
    )


def plain_text(text: str) -> str:
    """Text that any database and any file takes: no NUL, and no half characters of a wrong character set."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _identifier(attributes: Attributes, keyword: str) -> str:
    """What patients are matched on: never cut, as what is cut may be another patient's."""
    text = plain_text(attributes.text(keyword))
    if len(text.encode()) > _LONGEST:
        raise UnsuitableInputError(
            f"{attributes.where}: {keyword} has {len(text)} characters, where 64 are allowed (PS3.5 6.2); "
            "have it corrected"
        )
    return text


def refuse_directory(meta: Dataset, where: str) -> None:
    """Refuse a DICOMDIR by its file meta information."""
    if Attributes(meta, where).text("MediaStorageSOPClassUID") == MEDIA_STORAGE_DIRECTORY:
        raise UnsuitableInputError(
            f"{where}: a DICOMDIR lists images and holds none; give the files it lists"
        )


def _dates(attributes: Attributes) -> tuple[tuple[str, date, time | None], ...]:
    found = []
    for level in ("Study", "Series", "Acquisition", "Content"):
        moment = attributes.moment(f"{level}Date", f"{level}Time")
        has_time = attributes.time_of_day(f"{level}Time") is not None
        if moment is None and level == "Acquisition":  # enhanced images have one attribute for both
            moment, has_time = attributes.datetime("AcquisitionDateTime"), True
        if moment is not None:
            found.append((f"{level}Date", moment.date(), moment.time() if has_time else None))
    return tuple(found)


def _uid(attributes: Attributes, keyword: str) -> str:
    uid = attributes.text(keyword)
    if not uid:
        raise UnsuitableInputError(f"{attributes.where}: {keyword} is missing; have it sent again")
    if len(uid) > 64 or not _UID.fullmatch(uid):
        raise UnsuitableInputError(
            f"{attributes.where}: {keyword} is not a UID (PS3.5 9.1); have it corrected"
        )
    return uid
