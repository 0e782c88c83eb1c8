"""QIDO-RS (PS3.18 8.3.4, 10.6): what is asked for, and what answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import translate
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from dicom_io.web.dicom_json import (
    INSTANCE_KEYWORDS,
    SERIES_KEYWORDS,
    STUDY_KEYWORDS,
    Json,
    entry,
    key_of,
    picked,
    summary,
)
from workflow.domain.errors import UnsuitableInputError
from workflow.ports import HeldInstance, Holdings, StudyKeys

# More than this is asked for in pages.
MOST_RESULTS = 1000
_USUAL_RESULTS = 200
_UID = re.compile(r"[0-9.]{1,64}")
_STUDY_LEVEL = {
    "PatientID": "patient_id",
    "PatientName": "patient_name",
    "AccessionNumber": "accession_number",
    "StudyDescription": "study_description",
}


@dataclass(frozen=True, kw_only=True)
class Query:
    """A search: keys of studies, other attributes to match (keyword to value), what to add, which page."""

    studies: StudyKeys
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    attributes: Mapping[str, str]
    more: tuple[str, ...] = ()
    wants_all: bool = False
    limit: int = _USUAL_RESULTS
    offset: int = 0
    is_fuzzy: bool = False


def query_of(parameters: Sequence[tuple[str, str]]) -> Query:
    """Read a search's parameters.

    Raises
    ------
    ValueError
        If one is unknown or malformed; the message is for the client.
    """
    studies: dict[str, Any] = {}
    uids: dict[str, tuple[str, ...]] = {}
    attributes: dict[str, str] = {}
    page = {"limit": _USUAL_RESULTS, "offset": 0}
    more: list[str] = []
    is_fuzzy = False
    for name, value in parameters:
        if name in page:
            page[name] = _count(name, value)
        elif name == "fuzzymatching":
            is_fuzzy = value.lower() == "true"
        elif name == "includefield":
            more += [part for part in re.split(r"[,\\]", value) if part]
        elif name == "emptyvaluematching" or (keyword := _keyword(name)) is None:
            raise ValueError(f"{name!r} is neither an attribute nor a parameter of a search")
        elif keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            uids[keyword] = _uids(keyword, value)
        elif keyword == "StudyDate":
            studies["first_day"], studies["last_day"] = _days(value)
        elif keyword == "ModalitiesInStudy":
            studies["modalities"] = tuple(part for part in re.split(r"[,\\]", value) if part)
        elif keyword in _STUDY_LEVEL:
            studies[_STUDY_LEVEL[keyword]] = value
        elif value:
            attributes[keyword] = value
    return Query(
        studies=StudyKeys(study_instance_uids=uids.get("StudyInstanceUID", ()), **studies),
        series=uids.get("SeriesInstanceUID", ()),
        instances=uids.get("SOPInstanceUID", ()),
        attributes=attributes,
        more=tuple(_included(name) for name in more if name != "all"),
        wants_all="all" in more,
        limit=min(page["limit"], MOST_RESULTS),
        offset=page["offset"],
        is_fuzzy=is_fuzzy,
    )


def _count(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise ValueError(f"{name} is a whole number from 0 up, not {value!r}")
    return int(value)


def _keyword(name: str) -> str | None:
    """An attribute by keyword or by tag ("00100010")."""
    if re.fullmatch(r"[0-9A-Fa-f]{8}", name):
        return keyword_for_tag(int(name, 16)) or None
    return name if tag_for_keyword(name) is not None else None


def _included(name: str) -> str:
    keyword = _keyword(name)
    if keyword is None:
        raise ValueError(f"includefield: there is no attribute {name!r}")
    return keyword


def _uids(keyword: str, value: str) -> tuple[str, ...]:
    parts = tuple(part for part in re.split(r"[,\\]", value) if part)
    if not all(_UID.fullmatch(part) for part in parts):
        raise ValueError(f"{keyword}: {value!r} is no UID")
    return parts


def _days(value: str) -> tuple[date | None, date | None]:
    first, dash, last = value.partition("-")
    days = [_day(text) if text else None for text in (first, last if dash else first)]
    return days[0], days[1]


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        raise ValueError(f"StudyDate: {text!r} is no date YYYYMMDD") from None


# ---------------------------------------------------------------- answers


def studies(holdings: Holdings, query: Query, root: str) -> Iterator[Json]:
    """Studies that match, the latest first."""
    for uid in holdings.studies(query.studies):
        held = holdings.instances(uid)
        told = _told(_speaker(held)) if held else None
        if told is not None and _matches(told, query.attributes):
            yield _study(told, held, query, root)


def series(holdings: Holdings, query: Query, root: str, *, is_of_one_study: bool = False) -> Iterator[Json]:
    """Series that match."""
    for uid in holdings.studies(query.studies):
        for members in _by_series(holdings.instances(uid)):
            told = _told(members[0])
            is_wanted = not query.series or members[0].series_instance_uid in query.series
            if told is not None and is_wanted and _matches(told, query.attributes):
                yield _series(told, members, query, root, is_of_one_study=is_of_one_study)


def instances(
    holdings: Holdings, query: Query, root: str, *, is_of_one_series: bool = False
) -> Iterator[Json]:
    """Instances that match."""
    for uid in holdings.studies(query.studies):
        for held in holdings.instances(uid):
            if query.series and held.series_instance_uid not in query.series:
                continue
            if query.instances and held.sop_instance_uid not in query.instances:
                continue
            told = _told(held)
            if told is not None and _matches(told, query.attributes):
                yield _instance(told, held, query, root, is_of_one_series=is_of_one_series)


def _told(held: HeldInstance) -> Json | None:
    """What a file says; a damaged or missing one is not listed."""
    try:
        return summary(held.path)
    except UnsuitableInputError:
        return None


def _speaker(held: Sequence[HeldInstance]) -> HeldInstance:
    """The instance that speaks for its study: an image before what was drawn on it."""
    return min(
        held,
        key=lambda one: (one.modality in ("", "SR", "SEG", "PR", "KO", "RTSTRUCT"), one.sop_instance_uid),
    )


def _by_series(held: Sequence[HeldInstance]) -> Iterator[tuple[HeldInstance, ...]]:
    found: dict[str, list[HeldInstance]] = {}
    for one in held:
        found.setdefault(one.series_instance_uid, []).append(one)
    for members in found.values():
        yield tuple(members)


def _modality(held: HeldInstance) -> str:
    if held.modality:
        return held.modality
    told = _told(held) or {}
    return str((told.get("00080060", {}).get("Value") or [""])[0] or "")


def _study(told: Json, held: Sequence[HeldInstance], query: Query, root: str) -> Json:
    by_series = list(_by_series(held))
    modalities = sorted({modality for members in by_series if (modality := _modality(members[0]))})
    return _sorted(
        picked(told, STUDY_KEYWORDS)
        | _added(told, query)
        | {
            "00080056": entry("CS", "ONLINE"),
            "00080061": entry("CS", *modalities),
            "00081190": entry("UR", f"{root}/studies/{held[0].study_instance_uid}"),
            "00201206": entry("IS", len(by_series)),
            "00201208": entry("IS", len(held)),
        }
    )


def _series(
    told: Json, members: Sequence[HeldInstance], query: Query, root: str, *, is_of_one_study: bool
) -> Json:
    first = members[0]
    address = f"{root}/studies/{first.study_instance_uid}/series/{first.series_instance_uid}"
    above = ("StudyInstanceUID",) if is_of_one_study else STUDY_KEYWORDS
    return _sorted(
        picked(told, (*above, *SERIES_KEYWORDS))
        | _added(told, query)
        | {"00081190": entry("UR", address), "00201209": entry("IS", len(members))}
    )


def _instance(told: Json, held: HeldInstance, query: Query, root: str, *, is_of_one_series: bool) -> Json:
    above: tuple[str, ...] = ("StudyInstanceUID", "SeriesInstanceUID")
    if not is_of_one_series:
        above = (*STUDY_KEYWORDS, *SERIES_KEYWORDS)
    return _sorted(
        picked(told, (*above, *INSTANCE_KEYWORDS))
        | _added(told, query)
        | {"00080056": entry("CS", "ONLINE"), "00081190": entry("UR", address_of(held, root))}
    )


def address_of(held: HeldInstance, root: str) -> str:
    """An instance's own address."""
    series_of = f"{root}/studies/{held.study_instance_uid}/series/{held.series_instance_uid}"
    return f"{series_of}/instances/{held.sop_instance_uid}"


def _added(told: Json, query: Query) -> Json:
    return dict(told) if query.wants_all else picked(told, query.more)


def _sorted(told: Json) -> Json:
    return dict(sorted(told.items()))


# ---------------------------------------------------------------- matching


def _matches(told: Json, wanted: Mapping[str, str]) -> bool:
    return all(_matches_one(told, keyword, text) for keyword, text in wanted.items())


def _matches_one(told: Json, keyword: str, text: str) -> bool:
    vr = str(dictionary_VR(keyword)).split(" ")[0]
    values = [_words(value) for value in told.get(key_of(keyword), {}).get("Value", ())]
    if vr in ("DA", "TM", "DT") and "-" in text:
        first, _, last = text.partition("-")
        return any((not first or value >= first) and (not last or value <= last) for value in values)
    options = re.split(r"[,\\]", text) if vr in ("UI", "CS") else [text]
    flags = re.IGNORECASE if vr == "PN" else 0
    patterns = [re.compile(translate(option.replace("[", "[[]")), flags) for option in options if option]
    return any(pattern.fullmatch(value) for value in values for pattern in patterns)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):  # a person's name
        return str(next(iter(value.values()), ""))
    return str(value if value is not None else "")
