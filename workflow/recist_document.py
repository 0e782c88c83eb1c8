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
            _lesion(item, number)
            for number, item in enumerate(_list(raw, "lesions", "the document"), start=1)
        )
        points = [
            _time_point(item, number, warnings)
            for number, item in enumerate(_list(raw, "time_points", "the document"), start=1)
        ]
        timeline = Timeline(
            lesions=lesions,
            time_points=tuple(points),
            reference_date=_date(raw.get("reference_date"), "reference_date"),
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
    return "".join(c for c in str(word).lower() if c.isalnum())


def _lesion(item: Any, number: int) -> Lesion:
    where = f"lesion {number}"
    if not isinstance(item, Mapping):
        raise TimelineError(f"{where}: {item!r} is not an object with id and role")
    identity = item.get("id")
    if identity in (None, ""):
        raise TimelineError(f"{where}: it has no id; give it one")
    where = f"lesion {identity!r}"
    role = item.get("role")
    if _squeezed(role) not in _ROLES:
        raise TimelineError(f"{where}: role {role!r} is unknown; one of: target, non_target, new")
    kind, is_measurable = _ROLES[_squeezed(role)]
    return Lesion(
        id=str(identity),
        role=kind,
        organ=str(item.get("organ") or item.get("site") or ""),
        is_nodal=_truth(item.get("is_nodal", item.get("nodal")), f"{where}: is_nodal") or False,
        is_measurable=is_measurable
        if is_measurable is not None
        else _truth(item.get("is_measurable"), f"{where}: is_measurable"),
    )


_POINT_KEYS = {
    "id",
    "date",
    "observations",
    "is_baseline",
    "baseline",
    "sum_mm",
    "target",
    "non_target",
    "new_lesion",
    "overall",
    "non_target_increase",
    "new_lesion_increase",
    "additional_new_lesion",
    "new_lesion_sum_mm",
}


def _time_point(item: Any, number: int, warnings: list[str]) -> TimePoint:
    if not isinstance(item, Mapping):
        raise TimelineError(f"time point {number}: {item!r} is not an object with id and date")
    identity = item.get("id")
    identity = f"TP{number}" if identity in (None, "") else str(identity)
    where = f"time point {identity!r}"
    warnings += [f"{where}: unknown key {key!r} is ignored" for key in item if key not in _POINT_KEYS]
    new_lesion = item.get("new_lesion")
    is_confirmed = _squeezed(new_lesion) == "icpd"
    return TimePoint(
        id=identity,
        date=_date(item.get("date"), f"{where}: date"),
        observations=_observations(item.get("observations"), where),
        is_baseline=_truth(item.get("is_baseline", item.get("baseline")), f"{where}: is_baseline"),
        sum_um=_length(item.get("sum_mm"), f"{where}: sum_mm"),
        target=_response(item.get("target"), f"{where}: target"),
        non_target=_response(item.get("non_target"), f"{where}: non_target"),
        new_lesion=NewLesion.YES if is_confirmed else _new_lesion(new_lesion, f"{where}: new_lesion"),
        overall=_response(item.get("overall"), f"{where}: overall"),
        non_target_increase=_truth(item.get("non_target_increase"), f"{where}: non_target_increase"),
        new_lesion_increase=is_confirmed
        or _truth(item.get("new_lesion_increase"), f"{where}: new_lesion_increase"),
        additional_new_lesion=_truth(item.get("additional_new_lesion"), f"{where}: additional_new_lesion"),
        new_lesion_sum_um=_length(item.get("new_lesion_sum_mm"), f"{where}: new_lesion_sum_mm"),
    )


def _observations(value: Any, where: str) -> tuple[Observation, ...]:
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
        raise TimelineError(f"{where}: observations are {value!r}; they are a list")
    found: dict[str, Observation] = {}
    for number, item in enumerate(items, start=1):
        observation = _observation(item, f"{where}, observation {number}")
        earlier = found.get(observation.lesion)
        if earlier is not None:
            observation = _joined(earlier, observation, where)
        found[observation.lesion] = observation
    return tuple(found.values())


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


_STATES: dict[str, tuple[LesionState, dict[str, bool]]] = {
    "present": (LesionState.PRESENT, {}),
    "persisting": (LesionState.PRESENT, {}),
    "stable": (LesionState.PRESENT, {}),
    "decreased": (LesionState.PRESENT, {}),
    "noncrnonpd": (LesionState.PRESENT, {}),
    "increased": (LesionState.PRESENT, {"has_increased": True}),
    "furtherincrease": (LesionState.PRESENT, {"has_increased": True}),
    "worsened": (LesionState.PRESENT, {"has_increased": True}),
    "progressed": (LesionState.PRESENT, {"has_progressed": True}),
    "unequivocalprogression": (LesionState.PRESENT, {"has_progressed": True}),
    "pd": (LesionState.PRESENT, {"has_progressed": True}),
    "equivocal": (LesionState.PRESENT, {"is_equivocal": True}),
    "toosmall": (LesionState.TOO_SMALL, {}),
    "toosmalltomeasure": (LesionState.TOO_SMALL, {}),
    "tstm": (LesionState.TOO_SMALL, {}),
    "disappeared": (LesionState.DISAPPEARED, {}),
    "absent": (LesionState.DISAPPEARED, {}),
    "resolved": (LesionState.DISAPPEARED, {}),
    "gone": (LesionState.DISAPPEARED, {}),
    "cr": (LesionState.DISAPPEARED, {}),
    "notevaluable": (LesionState.NOT_EVALUABLE, {}),
    "notassessed": (LesionState.NOT_EVALUABLE, {}),
    "notdone": (LesionState.NOT_EVALUABLE, {}),
    "missing": (LesionState.NOT_EVALUABLE, {}),
    "ne": (LesionState.NOT_EVALUABLE, {}),
    "nd": (LesionState.NOT_EVALUABLE, {}),
    "na": (LesionState.NOT_EVALUABLE, {}),
    "trackingfailed": (LesionState.TRACKING_FAILED, {}),
    "split": (LesionState.SPLIT, {}),
    "merged": (LesionState.MERGED, {}),
}


def _observation(item: Any, where: str) -> Observation:
    if not isinstance(item, Mapping):
        raise TimelineError(f"{where}: {item!r} is not an object with a lesion")
    lesion = item.get("lesion", item.get("id"))
    if lesion in (None, ""):
        raise TimelineError(f"{where}: it names no lesion")
    where = f"{where} (lesion {lesion!r})"
    diameter = item.get("diameter_mm")
    state, flags = _state(item.get("state"), where)
    if state is None and isinstance(diameter, str) and _squeezed(diameter) in _STATES:
        (state, flags), diameter = _STATES[_squeezed(diameter)], None
    stated = {
        "has_progressed": _truth(item.get("unequivocal_progression"), f"{where}: unequivocal_progression"),
        "has_increased": _truth(item.get("increase"), f"{where}: increase"),
        "is_equivocal": _truth(item.get("equivocal"), f"{where}: equivocal"),
    }
    return Observation(
        lesion=str(lesion),
        state=state,
        diameter_um=_length(diameter, f"{where}: diameter_mm"),
        long_axis_um=_length(item.get("long_axis_mm"), f"{where}: long_axis_mm"),
        short_axis_um=_length(item.get("short_axis_mm"), f"{where}: short_axis_mm"),
        fragments_um=tuple(
            _required_length(part, f"{where}: fragments_mm") for part in _list(item, "fragments_mm", where)
        ),
        **{key: bool(value) or flags.get(key, False) for key, value in stated.items()},
    )


def _state(value: Any, where: str) -> tuple[LesionState | None, dict[str, bool]]:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None, {}
    found = _STATES.get(_squeezed(value))
    if found is None:
        known = ", ".join(state.value for state in LesionState)
        raise TimelineError(f"{where}: state {value!r} is unknown; one of: {known}")
    return found


# ---------------------------------------------------------------- values


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _length(value: Any, where: str) -> int | None:
    return None if _is_blank(value) else _required_length(value, where)


def _required_length(value: Any, where: str) -> int:
    if not isinstance(value, int | float | str):
        raise TimelineError(f"{where}: {value!r} is not a length in mm")
    try:
        return micrometres(value)
    except ValueError as error:
        raise TimelineError(f"{where}: {error}") from None


def _date(value: Any, where: str) -> datetime.date | None:
    if _is_blank(value):
        return None
    text = str(value).strip()
    try:
        return datetime.date.fromisoformat(text[:10] if "-" in text else text)
    except ValueError:
        raise TimelineError(f"{where}: {value!r} is not a date; write it as 2024-01-31") from None


def _response(value: Any, where: str) -> Response | None:
    if _is_blank(value):
        return None
    try:
        return response_of(str(value))
    except ValueError as error:
        raise TimelineError(f"{where}: {error}") from None


def _new_lesion(value: Any, where: str) -> NewLesion | None:
    if _is_blank(value):
        return None
    try:
        return new_lesion_of(value)
    except ValueError as error:
        raise TimelineError(f"{where}: {error}") from None


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


def _truth(value: Any, where: str) -> bool | None:
    if _is_blank(value):
        return None
    found = _TRUTHS.get(str(value).strip().lower())
    if found is None:
        raise TimelineError(f"{where}: {value!r} is neither true nor false")
    return found


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
