"""Documents of a patient's course: JSON, JSON Lines or a tidy CSV table to a timeline and its protocol.

docs/recist.md describes the forms. An error names the document, the row in it, the reason and the fix.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow.documents.cdisc import with_whole_lesions
from workflow.documents.fields import (
    INTERVENTION_FIELDS,
    LESION_OTHERS,
    LESION_READERS,
    NO_FLAGS,
    OBSERVATION_OTHERS,
    OBSERVATION_READERS,
    POINT_OTHERS,
    POINT_READERS,
    STATES,
    Raw,
    days_of,
    expanded,
    has_score_x,
    intervention_of,
    is_blank,
    squeezed,
    values_of,
)
from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import (
    Criteria,
    Lesion,
    Observation,
    Policies,
    Protocol,
    Timeline,
    TimelineError,
    TimePoint,
    criteria_of,
)


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the caller demands of every document, whatever the document says."""

    criteria: str | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Document:
    """One patient: what was seen, the protocol to assess it by, and the name and the reader to echo."""

    timeline: Timeline
    protocol: Protocol
    name: Any = None
    reader: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Raw documents with their places ("line 3"), and whether they came as one JSON object or array."""

    documents: tuple[tuple[str, Raw], ...]
    is_array: bool = False


def read_tables(texts: Mapping[str, str], *, reader: str | None = None) -> Batch:
    """The raw documents of one or more tables of the same patients (CDISC's TU, TR and RS, say).

    Parameters
    ----------
    texts
        The tables by the name that errors call them by; "" is enough for a single one.
    reader
        Whose rows to take; "accepted": those with an accepted flag; None: each reader gives a document.

    Raises
    ------
    TimelineError
        If a table can't be read; the message names the row.
    """
    from workflow.documents.table import documents_of_tables

    return Batch(documents=tuple(documents_of_tables(texts, reader=reader)))


def read_batch(text: str, *, suffix: str = "", reader: str | None = None) -> Batch:
    """Split a file's text into raw documents; the suffix (".json", ".jsonl", ".csv") may be unknown ("").

    Raises
    ------
    TimelineError
        If the text is none of the forms; the message names the line.
    """
    stripped = text.lstrip("\ufeff").strip()
    if not stripped:
        raise TimelineError("the input is empty; give a JSON document, JSON Lines or a CSV table")
    if suffix in (".csv", ".tsv") or stripped[0] not in "{[":
        return read_tables({"": stripped}, reader=reader)
    if suffix not in (".jsonl", ".ndjson"):
        whole = _whole_json(stripped)
        if isinstance(whole, list):
            places = [(f"document {i}", _object(d, f"document {i}")) for i, d in enumerate(whole, start=1)]
            return Batch(documents=tuple(places), is_array=True)
        if whole is not None:
            return Batch(documents=(("", _object(whole, "the document")),))
    return Batch(documents=tuple(_lines(stripped)))


def _whole_json(text: str) -> Any:
    """The value if the whole text is one JSON value, None if it may be JSON Lines."""
    try:
        return json.loads(text, parse_float=str)
    except json.JSONDecodeError as error:
        first = text.splitlines()[0]
        try:
            json.loads(first)
        except json.JSONDecodeError:
            raise TimelineError(
                f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}; mend the document"
            ) from None
        return None


def _lines(text: str) -> Iterator[tuple[str, Raw]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            value = json.loads(line, parse_float=str)
        except json.JSONDecodeError as error:
            yield place, {"error": f"{place}: not JSON: {error.msg} at column {error.colno}; mend the line"}
            continue
        yield place, value if isinstance(value, dict) else {"error": f"{place}: not a JSON object"}


def _object(value: Any, place: str) -> Raw:
    if not isinstance(value, dict):
        raise TimelineError(f"{place}: {type(value).__name__} is not a JSON object; see docs/recist.md")
    return value


# ---------------------------------------------------------------- one document

_DAYS = ("reference_date", "new_therapy_date", "death_date", "radiotherapy_end")
_DOCUMENT_KEYS = {"name", "reader", "criteria", "policy", "lesions", "time_points", "warnings", *_DAYS}


def parse_document(raw: Raw, *, place: str = "", overrides: Overrides | None = None) -> Document:
    """One raw document as values.

    Raises
    ------
    TimelineError
        If something in it can't be used; the message names the row.
    """
    demanded = overrides or Overrides()
    name = raw.get("name")
    where = place if name in (None, "") else f"{place} ({name})" if place else f"{name}"
    try:
        if "error" in raw and "time_points" not in raw:
            raise TimelineError(str(raw["error"]))
        warnings = [str(text) for text in _list(raw, "warnings", "the document")]
        warnings += [f"unknown key {key!r} is ignored" for key in raw if key not in _DOCUMENT_KEYS]
        protocol = _protocol(raw, demanded)
        lesions = tuple(
            _lesion(item, number, warnings)
            for number, item in enumerate(_list(raw, "lesions", "the document"), start=1)
        )
        points = [
            _time_point(item, number, warnings)
            for number, item in enumerate(_list(raw, "time_points", "the document"), start=1)
        ]
        _require_carriers(lesions, points)
        lesions, points = with_whole_lesions(lesions, points, warnings)
        timeline = Timeline(
            lesions=lesions,
            time_points=tuple(points),
            **_days(raw, warnings),
            name="" if name is None else str(name),
        )
    except ValueError as error:
        if str(error).startswith(place) and place:
            raise TimelineError(str(error)) from None
        raise TimelineError(f"{where}: {error}" if where else str(error)) from None
    reader = "" if is_blank(raw.get("reader")) else str(raw["reader"])
    return Document(timeline=timeline, protocol=protocol, name=name, reader=reader, warnings=tuple(warnings))


def _protocol(raw: Raw, overrides: Overrides) -> Protocol:
    criteria = overrides.criteria or raw.get("criteria") or Criteria.RECIST_1_1
    policy = raw.get("policy") or {}
    if not isinstance(policy, Mapping):
        raise TimelineError(f"policy is {policy!r}; it is an object of names and values")
    return Protocol(
        criteria=criteria_of(str(criteria)), policies=Policies.from_mapping({**policy, **overrides.policy})
    )


def _days(raw: Raw, warnings: list[str]) -> dict[str, datetime.date]:
    """The document's own days; of one that is known in part the first day."""
    found = {}
    for key in _DAYS:
        if is_blank(raw.get(key)):
            continue
        try:
            days = days_of(raw[key])
        except ValueError as error:
            raise TimelineError(f"{key}: {error}") from None
        if days.is_partial:
            warnings.append(f"{key}: only {raw[key]} is known, and is taken as {days.first}")
        found[key] = days.first
    return found


def _require_carriers(lesions: Sequence[Lesion], points: Sequence[TimePoint]) -> None:
    known = {lesion.id for lesion in lesions}
    for point in points:
        for seen in point.observations:
            if seen.merged_into is not None and seen.merged_into not in known:
                raise TimelineError(
                    f"time point {point.id!r}: lesion {seen.lesion!r} has merged into {seen.merged_into!r}, "
                    "which is unknown; add it to the lesions"
                )


def _list(raw: Raw, key: str, where: str) -> Sequence[Any]:
    value = raw.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise TimelineError(f"{where}: {key} is {value!r}; it is a list")
    return value


_ROLES = {
    "target": (LesionRole.TARGET, None),
    "t": (LesionRole.TARGET, None),
    "nontarget": (LesionRole.NON_TARGET, None),
    "nt": (LesionRole.NON_TARGET, None),
    "new": (LesionRole.NEW, None),
    "newlesion": (LesionRole.NEW, None),
    "nlt": (LesionRole.NEW, True),
    "newtarget": (LesionRole.NEW, True),
    "nlnt": (LesionRole.NEW, False),
    "newnontarget": (LesionRole.NEW, False),
}


def _lesion(item: Any, number: int, warnings: list[str]) -> Lesion:
    if not isinstance(item, Mapping):
        raise TimelineError(f"lesion {number}: {item!r} is not an object with id and role")
    identity = item.get("id")
    if identity in (None, ""):
        raise TimelineError(f"lesion {number}: it has no id; give it one")
    role = item.get("role")
    if squeezed(role) not in _ROLES:
        raise TimelineError(f"lesion {identity!r}: role {role!r} is unknown; one of: target, non_target, new")
    kind, is_measurable = _ROLES[squeezed(role)]
    ignored: list[str] = []
    try:
        values = values_of(item, LESION_READERS, LESION_OTHERS, ignored)
    except ValueError as error:
        raise TimelineError(f"lesion {identity!r}: {error}") from None
    warnings += [f"lesion {identity!r}: {text}" for text in ignored]
    if is_measurable is not None:
        values["is_measurable"] = is_measurable
    return Lesion(id=str(identity), role=kind, **values)


def _time_point(item: Any, number: int, warnings: list[str]) -> TimePoint:
    if not isinstance(item, Mapping):
        raise TimelineError(f"time point {number}: {item!r} is not an object with id and date")
    identity = item.get("id")
    identity = f"TP{number}" if identity in (None, "") else str(identity)
    ignored: list[str] = []
    try:
        values = values_of(item, POINT_READERS, POINT_OTHERS, ignored)
        if item.get("new_lesion") is not None and squeezed(item["new_lesion"]) == "icpd":
            values["new_lesion_increase"] = True
        if has_score_x(item.get("deauville") or ""):
            values["has_unrelated_uptake"] = True
        observations = _observations(item.get("observations"), ignored)
        scans = _scan_days(item.get("observations"), values)
        point = TimePoint(id=identity, observations=observations, **scans, **values)
    except ValueError as error:
        raise TimelineError(f"time point {identity!r}: {error}") from None
    warnings += [f"time point {identity!r}: {text}" for text in ignored]
    return point


def _scan_days(observations: Any, values: dict[str, Any]) -> dict[str, Any]:
    """First and last day of a visit, from its date and its scans'; whole dates go over partial ones."""
    own, last_own = values.pop("days", None), values.pop("last_days", None)
    scans: list[Any] = []
    if observations.__class__ is list:
        scans = [x["date"] for x in observations if "date" in x and not is_blank(x["date"])]
    if last_own is None and not scans:
        if own is None:
            return {}
        if not own.is_partial:
            return {"date": own.first}
    days = [d for d in (own, last_own, *map(days_of, scans)) if d is not None]
    whole = [d for d in days if not d.is_partial] or days
    first, last = min(d.first for d in whole), max(d.last for d in whole)
    return {
        "date": first,
        "last_date": last if last != first else None,
        "is_date_partial": whole[0].is_partial,
    }


def _observations(value: Any, warnings: list[str]) -> tuple[Observation, ...]:
    """A list of objects, or an object from lesion to diameter (or to such an object)."""
    if value is None:
        return ()
    if isinstance(value, Mapping):
        items: list[Any] = [
            {"lesion": key, **(v if isinstance(v, Mapping) else {"diameter_mm": v})}
            for key, v in value.items()
        ]
    elif isinstance(value, list):
        items = value
    else:
        raise TimelineError(f"observations are {value!r}; they are a list")
    found: dict[str, Observation] = {}
    for number, item in enumerate(items, start=1):
        observation = _observation(item, number, warnings)
        earlier = found.get(observation.lesion)
        if earlier is not None:
            observation = _joined(earlier, observation, _place(item, number))
        found[observation.lesion] = observation
    return tuple(found.values())


def _place(item: Raw, number: int) -> str:
    # A table's row has a name of its own; it is what a person looks for.
    return str(item["row"]) if "row" in item else f"observation {number}"


def _joined(one: Observation, other: Observation, where: str) -> Observation:
    """Two rows of one lesion are the parts of a split lesion, and nothing else."""
    both = (*_parts(one), *_parts(other))
    if LesionState.SPLIT not in (one.state, other.state) or not both:
        raise TimelineError(
            f"{where}: lesion {one.lesion!r} is observed twice; "
            "give it once, or the state split and a diameter in each row"
        )
    return Observation(lesion=one.lesion, state=LesionState.SPLIT, fragments_um=both)


def _parts(observation: Observation) -> tuple[int, ...]:
    if observation.fragments_um:
        return observation.fragments_um
    known = (observation.diameter_um, observation.long_axis_um, observation.short_axis_um)
    return next(((length,) for length in known if length is not None), ())


def _observation(item: Any, number: int, warnings: list[str]) -> Observation:
    if item.__class__ is not dict:
        raise TimelineError(f"observation {number}: {item!r} is not an object with a lesion")
    lesion = item.get("lesion", item.get("id"))
    if lesion in (None, ""):
        raise TimelineError(f"{_place(item, number)}: it names no lesion")
    try:
        diameter = item.get("diameter_mm")
        is_word = diameter.__class__ is str and diameter[:1].isalpha()
        if is_word and is_blank(item.get("state")) and squeezed(diameter) in STATES:
            # Tables write "NE" or "too small" where the number would stand.
            item = {**item, "diameter_mm": None, "state": diameter}
        values = values_of(expanded(item), OBSERVATION_READERS, OBSERVATION_OTHERS, warnings)
        state, flags = values.pop("state", (None, NO_FLAGS))
        if "merged_into" in values and state is None:
            state = LesionState.MERGED
        if not INTERVENTION_FIELDS.isdisjoint(values):
            values["intervention"] = intervention_of(values)
        for flag in flags:
            values.setdefault(flag, True)
        # Who writes a lesion down without a doubt has none.
        values.setdefault("is_equivocal", False)
        return Observation(lesion=str(lesion), state=state, **values)
    except ValueError as error:
        raise TimelineError(f"{_place(item, number)} (lesion {lesion!r}): {error}") from None


def read_text(path: Path) -> str:
    """A file's text, as UTF-8.

    Raises
    ------
    TimelineError
        If the file is not there or not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise TimelineError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise TimelineError(f"{path}: {error.strerror}; give a file that is there, or - for stdin") from None
