"""What all result objects have in common, beyond what the libraries fill in."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime
from enum import IntEnum
from typing import Any

from pydicom import Dataset
from pydicom.valuerep import DA, DT, TM

from dicom_io import codes, uids
from dicom_io.results.settings import ResultSettings
from dicom_io.results.source import SourceImages
from dicom_io.results.text import character_set_for, short
from dicom_io.results.words import person
from workflow import __version__
from workflow.domain.report import ReviewStatus, TimePointReport

# Copied from the source images so that the PACS files a result with its study: identifiers beside
# those that highdicom copies with the Patient and Study modules, and what the order was.
_COPIED = (
    "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "OtherPatientIDsSequence",
    "IssuerOfAccessionNumberSequence", "StudyDescription", "ReferencedStudySequence",
    "TimezoneOffsetFromUTC", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "BodyPartExamined",
)  # fmt: skip


def institution(header: Dataset) -> dict[str, str]:
    """The institution's name and department as arguments of highdicom's constructors."""
    name = str(header.get("InstitutionName") or "")
    department = str(header.get("InstitutionalDepartmentName") or "")
    found = {"institution_name": name} if name else {}
    if name and department:
        found["institutional_department_name"] = department
    return found


# Series Numbers of a report's versions and of a study's further SEGs don't meet.
_PER_VERSION, _PER_VOLUME = 100, 10


class Kind(IntEnum):
    """What a series holds: its place among the six Series Numbers of a report."""

    SEG = 0
    SR = 1
    PDF = 2
    KEY_IMAGES = 3
    COURSE = 4
    PRESENTATION_STATE = 5


def series_number(kind: Kind, report: TimePointReport, settings: ResultSettings, place: int = 1) -> int:
    """Series Number of a report's object: another for each version, so that viewers list them apart.

    Parameters
    ----------
    place
        Which of a study's SEGs or presentation states it is, from 1.
    """
    return settings.series_number + kind + _PER_VERSION * (report.version - 1) + _PER_VOLUME * (place - 1)


def series_description(base: str, report: TimePointReport) -> str:
    """Series Description (VR LO): what it is, and whether somebody stands behind it.

    A viewer lists draft and signed result side by side and shows little else of them.
    """
    if report.status is ReviewStatus.SIGNED:
        when = f" on {report.signed_at:%Y-%m-%d}" if report.signed_at else ""
        said = f"signed by {person(report.signed_by or '')}{when}"
    else:
        said = "draft" if report.version == 1 else f"draft, version {report.version}"
    return short(f"{base}, {said}", 64)


def finish(result: Dataset, report: TimePointReport, images: SourceImages, moment: datetime) -> None:
    """Complete a result: copied identifiers, order and series attributes, fixed times, coding schemes, texts.

    Nothing of it depends on the clock: the same report gives the same bytes.
    """
    header = images.header
    for keyword in _COPIED:
        if header.get(keyword) not in (None, "") and keyword not in result:
            result[keyword] = deepcopy(header[keyword])
    if result.Modality != "SR":
        _refer_to_order(result, header)
    result.SeriesDate, result.SeriesTime = DA(moment.date()), TM(moment.time())
    result.InstanceCreationDate, result.InstanceCreationTime = DA(moment.date()), TM(moment.time())
    for item in result.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = DT(moment)
    if uses_private_codes(result):
        result.CodingSchemeIdentificationSequence = [private_coding_scheme()]
    _set_character_set(result, images.character_set)
    result.file_meta.ImplementationClassUID = uids.IMPLEMENTATION_CLASS_UID
    result.file_meta.ImplementationVersionName = f"TUMORLINE_{__version__}"[:16]


def _refer_to_order(result: Dataset, header: Dataset) -> None:
    for keyword in ("RequestAttributesSequence", "ReferencedPerformedProcedureStepSequence"):
        if header.get(keyword):
            result[keyword] = deepcopy(header[keyword])


def _set_character_set(result: Dataset, source: str | list[str] | None) -> None:
    chosen = character_set_for(texts_of(result), source)
    if chosen is None:
        result.pop("SpecificCharacterSet", None)
    else:
        result.SpecificCharacterSet = chosen


def texts_of(result: Dataset) -> Iterator[str]:
    """Every text value in an object whose VR depends on the character set (PS3.5 6.1.2.2)."""
    for element in result.iterall():
        if element.VR in ("LO", "LT", "PN", "SH", "ST", "UC", "UT"):
            values = element.value if element.VM > 1 else [element.value]
            yield from (str(value) for value in values if value)


def uses_private_codes(result: Dataset) -> bool:
    """Whether a code of our private scheme stands anywhere in an object."""
    return any(
        element.keyword == "CodingSchemeDesignator" and element.value == codes.PRIVATE_CODING_SCHEME
        for element in result.iterall()
    )


def private_coding_scheme() -> Dataset:
    """What an object that uses our own codes says of them (PS3.3 C.12.1.1.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = codes.PRIVATE_CODING_SCHEME
    item.CodingSchemeUID = uids.uid_of("coding scheme", codes.PRIVATE_CODING_SCHEME)
    item.CodingSchemeName = codes.PRIVATE_CODING_SCHEME_NAME
    item.CodingSchemeResponsibleOrganization = codes.PRIVATE_CODING_SCHEME_ORGANIZATION
    return item


def to_bytes(result: Dataset) -> bytes:
    """The object as a DICOM file (PS3.10)."""
    from io import BytesIO

    file: Any = BytesIO()
    result.save_as(file, enforce_file_format=True)
    data: bytes = file.getvalue()
    return data
