"""What others may ask of the images and results that are here: by UID, never by path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class HeldInstance:
    """An instance and the file that holds it: received, or a result of ours."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class StudyKeys:
    """Which studies are asked for; what is empty matches every study.

    `*` and `?` in texts stand for any characters and for any one (PS3.4 C.2.2.2.4); names match whatever the
    case.
    """

    study_instance_uids: tuple[str, ...] = ()
    patient_id: str = ""
    patient_name: str = ""
    accession_number: str = ""
    study_description: str = ""
    first_day: date | None = None
    last_day: date | None = None
    modalities: tuple[str, ...] = ()


class Holdings(Protocol):
    """The received images and the results that stand, as one archive."""

    def studies(self, keys: StudyKeys) -> Iterator[str]:
        """Study Instance UIDs that match, the latest study first."""
        ...

    def instances(
        self,
        study_instance_uid: str,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> tuple[HeldInstance, ...]:
        """A study's instances, or those of one series, by series and SOP Instance UID.

        Of our results only the present version of each report is listed; an earlier one is found by its
        SOP Instance UID.
        """
        ...


class StoreFailure(StrEnum):
    """Why an instance was not stored."""

    CANNOT_UNDERSTAND = "cannot understand"  # it is no DICOM
    REFUSED = "refused"  # for good: it does not belong here
    OUT_OF_RESOURCES = "out of resources"  # for now


@dataclass(frozen=True, kw_only=True)
class StoreOutcome:
    """What became of an instance that somebody stored; UIDs are "" where its bytes don't say them."""

    said: str
    failure: StoreFailure | None = None
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
