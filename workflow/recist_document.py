"""Documents of a patient's course: JSON, JSON Lines or a tidy CSV table to a timeline and its protocol.

docs/recist.md describes the forms. An error names the document, the row in it, the reason and the fix.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import (
    Criteria,
    Lesion,
    NewLesion,
    Observation,
    Policies,
    Protocol,
    Response,
    Timeline,
    TimelineError,
    TimePoint,
    Uptake,
    criteria_of,
    micrometres,
    new_lesion_of,
    response_of,
)

Raw = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the caller demands of every document, whatever the document says."""

    criteria: str | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Document:
    """One patient: what was seen, the protocol to assess it by, and the name to echo."""

    timeline: Timeline
    protocol: Protocol
    name: Any = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Raw documents with their places ("line 3"), and whether they came as one JSON object or array."""

    documents: tuple[tuple[str, Raw], ...]
    is_array: bool = False


def read_batch(text: str, *, suffix: str = "") -> Batch:
    """Split a file's text into raw documents; the suffix (".json", ".jsonl", ".csv") may be unknown ("").

    Raises
    ------
    TimelineError
        If the text is none of the forms; the message names the line.
    """
    from workflow.recist_table import documents_of_table

    stripped = text.lstrip("\ufeff").strip()
    if not stripped:
        raise TimelineError("the input is empty; give a JSON document, JSON Lines or a CSV table")
    if suffix in (".csv", ".tsv") or stripped[0] not in "{[":
        return Batch(documents=tuple(documents_of_table(stripped)))
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

_DOCUMENT_KEYS = {"name", "criteria", "policy", "reference_date", "lesions", "time_points"}


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
        warnings = [f"unknown key {key!r} is ignored" for key in raw if key not in _DOCUMENT_KEYS]
        protocol = _protocol(raw, demanded)
        lesions = tuple(
            _lesion(item, number, warnings)
            for number, item in enumerate(_list(raw, "lesions", "the document"), start=1)
        )
        points = [
            _time_point(item, number, warnings)
            for number, item in enumerate(_list(raw, "time_points", "the document"), start=1)
        ]
        timeline = Timeline(
            lesions=lesions,
            time_points=tuple(points),
            reference_date=_reference_date(raw),
            name="" if name is None else str(name),
        )
    except ValueError as error:
        if str(error).startswith(place) and place:
            raise TimelineError(str(error)) from None
        raise TimelineError(f"{where}: {error}" if where else str(error)) from None
    return Document(timeline=timeline, protocol=protocol, name=name, warnings=tuple(warnings))


def _protocol(raw: Raw, overrides: Overrides) -> Protocol:
    criteria = overrides.criteria or raw.get("criteria") or Criteria.RECIST_1_1
    policy = raw.get("policy") or {}
    if not isinstance(policy, Mapping):
        raise TimelineError(f"policy is {policy!r}; it is an object of names and values")
    return Protocol(
        criteria=criteria_of(str(criteria)), policies=Policies.from_mapping({**policy, **overrides.policy})
    )


def _reference_date(raw: Raw) -> datetime.date | None:
    value = raw.get("reference_date")
    try:
        return None if _is_blank(value) else _date(value)
    except ValueError as error:
        raise TimelineError(f"reference_date: {error}") from None


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


def _squeezed(word: Any) -> str:
    """The letters and digits of a word, so that case, spaces and hyphens make no difference."""
    return _letters(str(word))


@lru_cache(maxsize=4096)
def _letters(word: str) -> str:
    return "".join(c for c in word.lower() if c.isalnum())


def _lesion(item: Any, number: int, warnings: list[str]) -> Lesion:
    if not isinstance(item, Mapping):
        raise TimelineError(f"lesion {number}: {item!r} is not an object with id and role")
    identity = item.get("id")
    if identity in (None, ""):
        raise TimelineError(f"lesion {number}: it has no id; give it one")
    role = item.get("role")
    if _squeezed(role) not in _ROLES:
        raise TimelineError(f"lesion {identity!r}: role {role!r} is unknown; one of: target, non_target, new")
    kind, is_measurable = _ROLES[_squeezed(role)]
    ignored: list[str] = []
    try:
        values = _values(item, _LESION_READERS, _LESION_OTHERS, ignored)
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
        values = _values(item, _POINT_READERS, _POINT_OTHERS, ignored)
        if item.get("new_lesion") is not None and _squeezed(item["new_lesion"]) == "icpd":
            values["new_lesion_increase"] = True
        observations = _observations(item.get("observations"), ignored)
        point = TimePoint(id=identity, observations=observations, **values)
    except ValueError as error:
        raise TimelineError(f"time point {identity!r}: {error}") from None
    warnings += [f"time point {identity!r}: {text}" for text in ignored]
    return point


Reader = Callable[[Any], Any]


def _values(
    item: Raw, readers: Mapping[str, tuple[str, Reader]], others: frozenset[str], warnings: list[str]
) -> dict[str, Any]:
    """The fields of an object that have a value; an error names the key, an unknown key is a warning."""
    values: dict[str, Any] = {}
    for key, value in item.items():
        found = readers.get(key)
        if found is None:
            if key not in others:
                warnings.append(f"unknown key {key!r} is ignored")
        elif value is not None and not (value.__class__ is str and not value.strip()):
            try:
                values[found[0]] = found[1](value)
            except ValueError as error:
                raise TimelineError(f"{key}: {error}") from None
    return values


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
        found[observation.lesion] = observation if earlier is None else _joined(earlier, observation)
    return tuple(found.values())


def _joined(one: Observation, other: Observation) -> Observation:
    """Two rows of one lesion are the parts of a split lesion, and nothing else."""
    both = (*_parts(one), *_parts(other))
    if LesionState.SPLIT not in (one.state, other.state) or not both:
        raise TimelineError(
            f"lesion {one.lesion!r} is observed twice; "
            "give it once, or the state split and a diameter in each row"
        )
    return Observation(lesion=one.lesion, state=LesionState.SPLIT, fragments_um=both)


def _parts(observation: Observation) -> tuple[int, ...]:
    if observation.fragments_um:
        return observation.fragments_um
    known = (observation.diameter_um, observation.long_axis_um, observation.short_axis_um)
    return next(((length,) for length in known if length is not None), ())


_NOTHING: frozenset[str] = frozenset()
_STATES: dict[str, tuple[LesionState, frozenset[str]]] = {
    "present": (LesionState.PRESENT, _NOTHING),
    "persisting": (LesionState.PRESENT, _NOTHING),
    "stable": (LesionState.PRESENT, _NOTHING),
    "decreased": (LesionState.PRESENT, _NOTHING),
    "noncrnonpd": (LesionState.PRESENT, _NOTHING),
    "increased": (LesionState.PRESENT, frozenset({"has_increased"})),
    "furtherincrease": (LesionState.PRESENT, frozenset({"has_increased"})),
    "worsened": (LesionState.PRESENT, frozenset({"has_increased"})),
    "progressed": (LesionState.PRESENT, frozenset({"has_progressed"})),
    "unequivocalprogression": (LesionState.PRESENT, frozenset({"has_progressed"})),
    "pd": (LesionState.PRESENT, frozenset({"has_progressed"})),
    "equivocal": (LesionState.PRESENT, frozenset({"is_equivocal"})),
    "toosmall": (LesionState.TOO_SMALL, _NOTHING),
    "toosmalltomeasure": (LesionState.TOO_SMALL, _NOTHING),
    "tstm": (LesionState.TOO_SMALL, _NOTHING),
    "disappeared": (LesionState.DISAPPEARED, _NOTHING),
    "absent": (LesionState.DISAPPEARED, _NOTHING),
    "resolved": (LesionState.DISAPPEARED, _NOTHING),
    "gone": (LesionState.DISAPPEARED, _NOTHING),
    "cr": (LesionState.DISAPPEARED, _NOTHING),
    "notevaluable": (LesionState.NOT_EVALUABLE, _NOTHING),
    "notassessed": (LesionState.NOT_EVALUABLE, _NOTHING),
    "notdone": (LesionState.NOT_EVALUABLE, _NOTHING),
    "missing": (LesionState.NOT_EVALUABLE, _NOTHING),
    "ne": (LesionState.NOT_EVALUABLE, _NOTHING),
    "nd": (LesionState.NOT_EVALUABLE, _NOTHING),
    "na": (LesionState.NOT_EVALUABLE, _NOTHING),
    "trackingfailed": (LesionState.TRACKING_FAILED, _NOTHING),
    "split": (LesionState.SPLIT, _NOTHING),
    "merged": (LesionState.MERGED, _NOTHING),
}


def _observation(item: Any, number: int, warnings: list[str]) -> Observation:
    if not isinstance(item, Mapping):
        raise TimelineError(f"observation {number}: {item!r} is not an object with a lesion")
    lesion = item.get("lesion", item.get("id"))
    if lesion in (None, ""):
        raise TimelineError(f"observation {number}: it names no lesion")
    try:
        diameter = item.get("diameter_mm")
        if isinstance(diameter, str) and _is_blank(item.get("state")) and _squeezed(diameter) in _STATES:
            # Tables write "NE" or "too small" where the number would stand.
            item = {**item, "diameter_mm": None, "state": diameter}
        values = _values(item, _OBSERVATION_READERS, _OBSERVATION_OTHERS, warnings)
        state, flags = values.pop("state", (None, _NOTHING))
        return Observation(lesion=str(lesion), state=state, **{**dict.fromkeys(flags, True), **values})
    except ValueError as error:
        raise TimelineError(f"observation {number} (lesion {lesion!r}): {error}") from None


def _state(value: Any) -> tuple[LesionState, frozenset[str]]:
    found = _STATES.get(_squeezed(value))
    if found is None:
        known = ", ".join(state.value for state in LesionState)
        raise TimelineError(f"{value!r} is unknown; one of: {known}")
    return found


# ---------------------------------------------------------------- values


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _length(value: Any) -> int:
    if not isinstance(value, int | float | str):
        raise TimelineError(f"{value!r} is not a length in mm")
    return micrometres(value)


def _lengths(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise TimelineError(f"{value!r} is not a list of lengths in mm")
    return tuple(_length(part) for part in value)


def _date(value: Any) -> datetime.date:
    text = str(value).strip()
    try:
        return datetime.date.fromisoformat(text[:10] if "-" in text else text)
    except ValueError:
        raise TimelineError(f"{value!r} is not a date; write it as 2024-01-31") from None


def _response(value: Any) -> Response:
    return response_of(str(value))


def _new_lesion(value: Any) -> NewLesion:
    return NewLesion.YES if _squeezed(value) == "icpd" else new_lesion_of(value)


def _deauville(value: Any) -> int:
    if str(value).strip() not in ("1", "2", "3", "4", "5"):
        raise TimelineError(f"{value!r} is not a score from 1 to 5")
    return int(str(value))


def _uptake(value: Any) -> Uptake:
    try:
        return Uptake(str(value).strip().lower())
    except ValueError:
        raise TimelineError(f"{value!r} is not decreased, unchanged or increased") from None


_TRUTHS = {
    "true": True,
    "yes": True,
    "y": True,
    "1": True,
    "false": False,
    "no": False,
    "n": False,
    "0": False,
}


def _truth(value: Any) -> bool:
    found = _TRUTHS.get(str(value).strip().lower())
    if found is None:
        raise TimelineError(f"{value!r} is neither true nor false")
    return found


_POINT_READERS: Mapping[str, tuple[str, Reader]] = {
    "date": ("date", _date),
    "is_baseline": ("is_baseline", _truth),
    "baseline": ("is_baseline", _truth),
    "sum_mm": ("sum_um", _length),
    "target": ("target", _response),
    "non_target": ("non_target", _response),
    "new_lesion": ("new_lesion", _new_lesion),
    "overall": ("overall", _response),
    "non_target_increase": ("non_target_increase", _truth),
    "new_lesion_increase": ("new_lesion_increase", _truth),
    "additional_new_lesion": ("additional_new_lesion", _truth),
    "new_lesion_sum_mm": ("new_lesion_sum_um", _length),
    "deauville": ("deauville", _deauville),
    "uptake": ("uptake", _uptake),
    "spleen_mm": ("spleen_um", _length),
}
_POINT_OTHERS = frozenset({"id", "observations"})
_OBSERVATION_READERS: Mapping[str, tuple[str, Reader]] = {
    "state": ("state", _state),
    "diameter_mm": ("diameter_um", _length),
    "long_axis_mm": ("long_axis_um", _length),
    "short_axis_mm": ("short_axis_um", _length),
    "fragments_mm": ("fragments_um", _lengths),
    "unequivocal_progression": ("has_progressed", _truth),
    "increase": ("has_increased", _truth),
    "equivocal": ("is_equivocal", _truth),
    "viable_mm": ("viable_um", _length),
    # Thousandths of a number, as µm are of a mm.
    "sul_peak": ("sul_peak_milli", _length),
}
_OBSERVATION_OTHERS = frozenset({"lesion", "id"})
_LESION_READERS: Mapping[str, tuple[str, Reader]] = {
    "organ": ("organ", str),
    "site": ("organ", str),
    "is_nodal": ("is_nodal", _truth),
    "nodal": ("is_nodal", _truth),
    "is_measurable": ("is_measurable", _truth),
}
_LESION_OTHERS = frozenset({"id", "role"})


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
