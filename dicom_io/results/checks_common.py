"""Checks that every result object must pass."""

from __future__ import annotations

import re

from pydicom import Dataset

_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")  # PS3.5 9.1: no leading zeros, 64 characters
_SAME_AS_SOURCE = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "StudyInstanceUID",
    "AccessionNumber",
    "StudyDate",
)
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def check_identity(result: Dataset, header: Dataset) -> list[str]:
    """Whether patient and study are those of the source, and the series is a new one."""
    # Values are not quoted: the message goes into logs.
    problems = [
        f"{keyword} is not that of the source images"
        for keyword in _SAME_AS_SOURCE
        if str(result.get(keyword) or "") != str(header.get(keyword) or "")
    ]
    if result.get("SeriesInstanceUID") == header.SeriesInstanceUID:
        problems.append("its series is that of the source images")
    return problems


def check_uids(result: Dataset) -> list[str]:
    """Whether every UID in the object is well formed, and the ones that name it are there."""
    problems = [f"{keyword} is missing" for keyword in _NEEDED if not result.get(keyword)]
    for element in result.iterall():
        if element.VR != "UI" or not element.value:
            continue
        values = [element.value] if isinstance(element.value, str) else element.value
        problems += [
            f"{element.keyword} {value!r} is no UID (PS3.5 9.1)"
            for value in values
            if len(value) > 64 or not _UID.fullmatch(value)
        ]
    if result.file_meta.MediaStorageSOPInstanceUID != result.SOPInstanceUID:
        problems.append("the file's header names another SOP Instance UID")
    return problems
