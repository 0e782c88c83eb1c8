"""Instances as DICOM JSON (PS3.18 annex F): whole for WADO-RS metadata, by levels for QIDO-RS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.datadict import tag_for_keyword

from dicom_io.parsing import PARSER_FAILURES, parse, quiet, reading

# More than this is fetched on its own (PS3.18 F.2.7 leaves it to the server).
_BULK_BYTES = 1024
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

# PS3.18 tables 10.6.3-3 to 10.6.3-5, as far as files say it.
STUDY_KEYWORDS = (
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "TimezoneOffsetFromUTC",
    "StudyDescription", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "StudyID",
)  # fmt: skip
SERIES_KEYWORDS = (
    "Modality", "TimezoneOffsetFromUTC", "SeriesDate", "SeriesTime", "SeriesDescription", "SeriesInstanceUID",
    "SeriesNumber", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "BodyPartExamined",
)  # fmt: skip
INSTANCE_KEYWORDS = (
    "SOPClassUID", "SOPInstanceUID", "TimezoneOffsetFromUTC", "InstanceNumber", "Rows", "Columns",
    "BitsAllocated", "NumberOfFrames", "ContentDate", "ContentTime",
)  # fmt: skip

Json = dict[str, Any]


def metadata(path: Path, address: str) -> Json:
    """An instance's attributes; what is large is left out and named by where it is fetched.

    Parameters
    ----------
    address
        The instance's own (".../instances/1.2.3"): bulk data are at "/bulkdata/" and the element's path
        below it.

    Raises
    ------
    UnsuitableInputError
        If the file is damaged.
    """
    with quiet(), reading(path):
        dataset, offset = parse(path)
        places = {id(element): place for place, element in _binary(dataset)}
        told: Json = dataset.to_json_dict(
            bulk_data_threshold=_BULK_BYTES,
            bulk_data_element_handler=lambda element: f"{address}/bulkdata/{places[id(element)]}",
            suppress_invalid_tags=True,
        )
    tag = _pixel_tag(path, offset) if "Rows" in dataset else None
    if tag is not None:
        told[f"{tag:08X}"] = {"vr": "OW", "BulkDataURI": f"{address}/bulkdata/{tag:08X}"}
    return dict(finite(told))


def _pixel_tag(path: Path, offset: int) -> int | None:
    """Which pixel data element stands where the header ends."""
    with path.open("rb") as file:
        file.seek(offset)
        raw = file.read(4)
    tag = int.from_bytes(raw[:2], "little") << 16 | int.from_bytes(raw[2:], "little")
    return tag if tag in _PIXELS else None


def _binary(dataset: Dataset, above: str = "", depth: int = 0) -> Iterator[tuple[str, DataElement]]:
    """Binary elements with their paths, e.g. "00420011" or "00880200/0/00282000"."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except PARSER_FAILURES:
            continue
        place = f"{above}{int(element.tag):08X}"
        if element.VR == "SQ" and depth < 16:
            for number, item in enumerate(element.value):
                yield from _binary(item, f"{place}/{number}/", depth + 1)
        elif element.VR != "SQ":
            yield place, element


def finite(value: Any) -> Any:
    """The same without NaN and infinities, which JSON has no word for."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(part) for name, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list) else value


def bulk_value(path: Path, place: str) -> bytes | None:
    """The value of an element by its path, None if there is no such binary value."""
    with quiet(), reading(path):
        dataset, _ = parse(path)
        element = next((e for at, e in _binary(dataset) if at == place.upper()), None)
    value = element.value if element is not None else None
    return bytes(value) if isinstance(value, (bytes, bytearray)) else None


@lru_cache(maxsize=2048)
def summary(path: Path) -> Json:
    """What a query may match or ask for: the top level of a file without binary values and sequences.

    A file's name holds the digest of its content, so it is read once.
    """
    with quiet(), reading(path):
        dataset, _ = parse(path)
        kept = Dataset()
        for tag in list(dataset.keys()):
            try:
                element = dataset[tag]
            except PARSER_FAILURES:
                continue
            if element.VR not in _BINARY and element.VR != "SQ" and tag.element != 0:
                kept.add(element)
        told: Json = finite(kept.to_json_dict(suppress_invalid_tags=True))
    return told


def picked(told: Json, keywords: tuple[str, ...]) -> Json:
    """Some attributes of a file; those of the standard's tables that it lacks stand there without a value."""
    found: Json = {}
    for keyword in keywords:
        key = key_of(keyword)
        if key in told:
            found[key] = told[key]
    return found


def key_of(keyword: str) -> str:
    """The key of an attribute in DICOM JSON.

    Raises
    ------
    KeyError
        If there is no such attribute.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return f"{tag:08X}"


def entry(vr: str, *values: Any) -> Json:
    """An attribute that the server itself knows."""
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}
