"""The keys of a document of a patient's course: how each value is read, and what it is called inside."""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from workflow.domain.lesion import LesionState
from workflow.domain.response import (
    ClinicalStatus,
    Corticosteroids,
    Intervention,
    InterventionEffect,
    InterventionKind,
    NewLesion,
    Response,
    TimelineError,
    Uptake,
    micrometres,
    new_lesion_of,
    response_of,
)

Raw = Mapping[str, Any]


def squeezed(word: Any) -> str:
    """The letters and digits of a word, so that case, spaces and hyphens make no difference."""
    return _letters(str(word))


@lru_cache(maxsize=4096)
def _letters(word: str) -> str:
    return "".join(c for c in word.lower() if c.isalnum())


Reader = Callable[[Any], Any]


def values_of(
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


NO_FLAGS: frozenset[str] = frozenset()
STATES: dict[str, tuple[LesionState, frozenset[str]]] = {
    "present": (LesionState.PRESENT, NO_FLAGS),
    "persisting": (LesionState.PRESENT, NO_FLAGS),
    "stable": (LesionState.PRESENT, NO_FLAGS),
    "decreased": (LesionState.PRESENT, NO_FLAGS),
    "noncrnonpd": (LesionState.PRESENT, NO_FLAGS),
    "increased": (LesionState.PRESENT, frozenset({"has_increased"})),
    "furtherincrease": (LesionState.PRESENT, frozenset({"has_increased"})),
    "worsened": (LesionState.PRESENT, frozenset({"has_increased"})),
    "progressed": (LesionState.PRESENT, frozenset({"has_progressed"})),
    "unequivocalprogression": (LesionState.PRESENT, frozenset({"has_progressed"})),
    "pd": (LesionState.PRESENT, frozenset({"has_progressed"})),
    "equivocal": (LesionState.PRESENT, frozenset({"is_equivocal"})),
    "unequivocal": (LesionState.PRESENT, NO_FLAGS),
    "pathological": (LesionState.PRESENT, NO_FLAGS),
    "belowmeasurable": (LesionState.TOO_SMALL, NO_FLAGS),
    "toosmall": (LesionState.TOO_SMALL, NO_FLAGS),
    "toosmalltomeasure": (LesionState.TOO_SMALL, NO_FLAGS),
    "tstm": (LesionState.TOO_SMALL, NO_FLAGS),
    "disappeared": (LesionState.DISAPPEARED, NO_FLAGS),
    "absent": (LesionState.DISAPPEARED, NO_FLAGS),
    "notpresent": (LesionState.DISAPPEARED, NO_FLAGS),
    "nonpathological": (LesionState.DISAPPEARED, NO_FLAGS),
    "resolved": (LesionState.DISAPPEARED, NO_FLAGS),
    "gone": (LesionState.DISAPPEARED, NO_FLAGS),
    "cr": (LesionState.DISAPPEARED, NO_FLAGS),
    "notevaluable": (LesionState.NOT_EVALUABLE, NO_FLAGS),
    "notassessed": (LesionState.NOT_EVALUABLE, NO_FLAGS),
    "notassessable": (LesionState.NOT_EVALUABLE, NO_FLAGS),
    "notimaged": (LesionState.NOT_EVALUABLE, NO_FLAGS),
    "inevaluable": (LesionState.NOT_EVALUABLE, NO_FLAGS),
    "unevaluable": (LesionState.NOT_EVALUABLE, NO_FLAGS),
    "unabletoassess": (LesionState.NOT_EVALUABLE, NO_FLAGS),
    "notdone": (LesionState.NOT_EVALUABLE, NO_FLAGS),
    "missing": (LesionState.NOT_EVALUABLE, NO_FLAGS),
    "ne": (LesionState.NOT_EVALUABLE, NO_FLAGS),
    "nd": (LesionState.NOT_EVALUABLE, NO_FLAGS),
    "na": (LesionState.NOT_EVALUABLE, NO_FLAGS),
    "trackingfailed": (LesionState.TRACKING_FAILED, NO_FLAGS),
    "split": (LesionState.SPLIT, NO_FLAGS),
    "fragmented": (LesionState.SPLIT, NO_FLAGS),
    "merged": (LesionState.MERGED, NO_FLAGS),
    "coalesced": (LesionState.MERGED, NO_FLAGS),
    "confluent": (LesionState.MERGED, NO_FLAGS),
}


def _state(value: Any) -> tuple[LesionState, frozenset[str]]:
    found = STATES.get(squeezed(value))
    if found is None:
        known = ", ".join(state.value for state in LesionState)
        raise TimelineError(f"{value!r} is unknown; one of: {known}")
    return found


def is_blank(value: Any) -> bool:
    """Whether a value says nothing: null, or text without a character."""
    return value is None or (isinstance(value, str) and not value.strip())


def _length(value: Any) -> int:
    if not isinstance(value, int | float | str):
        raise TimelineError(f"{value!r} is not a length in mm")
    return micrometres(value)


def _concentration(value: Any) -> int:
    """Thousandths of U/ml. CA-125 reaches tens of thousands, where a length would be a unit mistake."""
    try:
        milli = Decimal(str(value).strip()) * 1000
        whole = int(milli.to_integral_value(rounding=ROUND_HALF_EVEN))
    except (ArithmeticError, ValueError):
        raise TimelineError(f"{value!r} is not a concentration in U/ml") from None
    if isinstance(value, bool) or whole < 0:
        raise TimelineError(f"{value!r} is not a concentration in U/ml")
    return whole


def _lengths(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise TimelineError(f"{value!r} is not a list of lengths in mm")
    return tuple(_length(part) for part in value)


class Days(NamedTuple):
    """The days that a date may be: one, or all of a month or a year of which the day is not known."""

    first: datetime.date
    last: datetime.date
    is_partial: bool = False


# SDTM leaves out what is not known ("2014-02", "2014---15"); forms write UN, UNK or XX there.
_PARTIAL = re.compile(r"(\d{4})(?:-(\d{2}|-|UN|UNK|XX))?(?:-(?:\d{2}|-|UN|UNK|XX))?")


_NAMED_MONTH = re.compile(r"(\d{1,2})[- ]?([A-Za-z]{3})[- ]?(\d{4})")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@lru_cache(maxsize=4096)
def _days(text: str) -> Days | None:
    text = text.replace("/", "-") if text[:4].isdigit() else text
    named = _NAMED_MONTH.fullmatch(text)
    if named is not None and named[2].upper() in _MONTHS:
        text = f"{named[3]}-{_MONTHS.index(named[2].upper()) + 1:02d}-{int(named[1]):02d}"
    try:
        day = datetime.date.fromisoformat(text[:10] if "-" in text else text)
    except ValueError:
        known = _PARTIAL.fullmatch(text.upper())
        if known is None or not int(known[1]):
            return None
        year, month = int(known[1]), known[2] or ""
        if not month.isdigit():
            return Days(datetime.date(year, 1, 1), datetime.date(year, 12, 31), is_partial=True)
        if not 1 <= int(month) <= 12:
            return None
        first = datetime.date(year, int(month), 1)
        # A day that does not exist (2014-02-30) is a mistake, not a date known in part.
        if text[8:10].isdigit():
            return None
        last = first.replace(day=calendar.monthrange(year, int(month))[1])
        return Days(first, last, is_partial=True)
    return Days(day, day)


def days_of(value: Any) -> Days:
    """A date as 2024-01-31 or 20240131, with or without a time behind it, or known in part: 2024-01, 2024.

    Raises
    ------
    TimelineError
        If it is no date.
    """
    found = _days(str(value).strip())
    if found is None:
        raise TimelineError(
            f"{value!r} is not a date; write it as 2024-01-31, or 2024-01 if the day is unknown"
        )
    return found


_INTERVENTIONS = {
    "surgery": InterventionKind.SURGERY,
    "resection": InterventionKind.SURGERY,
    "resected": InterventionKind.SURGERY,
    "excision": InterventionKind.SURGERY,
    "radiotherapy": InterventionKind.RADIOTHERAPY,
    "radiation": InterventionKind.RADIOTHERAPY,
    "radiationtherapy": InterventionKind.RADIOTHERAPY,
    "irradiated": InterventionKind.RADIOTHERAPY,
    "irradiation": InterventionKind.RADIOTHERAPY,
    "rt": InterventionKind.RADIOTHERAPY,
    "sbrt": InterventionKind.RADIOTHERAPY,
    "ablation": InterventionKind.ABLATION,
    "rfa": InterventionKind.ABLATION,
    "mwa": InterventionKind.ABLATION,
    "embolisation": InterventionKind.EMBOLISATION,
    "embolization": InterventionKind.EMBOLISATION,
    "tace": InterventionKind.EMBOLISATION,
    "biopsy": InterventionKind.BIOPSY,
}
_EFFECTS = {
    "excluded": InterventionEffect.EXCLUDED,
    "notevaluable": InterventionEffect.NOT_EVALUABLE,
    "ne": InterventionEffect.NOT_EVALUABLE,
    "none": InterventionEffect.NONE,
}


INTERVENTION_FIELDS = frozenset({"intervention", "intervention_effect", "intervention_date"})


def _intervention_kind(value: Any) -> InterventionKind:
    found = _INTERVENTIONS.get(squeezed(value))
    if found is None:
        raise TimelineError(
            f"{value!r} is unknown; one of: {', '.join(kind.value for kind in InterventionKind)}"
        )
    return found


def _intervention_effect(value: Any) -> InterventionEffect:
    found = _EFFECTS.get(squeezed(value))
    if found is None:
        raise TimelineError(f"{value!r} is unknown; one of: {', '.join(x.value for x in InterventionEffect)}")
    return found


def expanded(item: Raw) -> Raw:
    """An observation whose intervention is an object (`kind`, `effect`, `date`), as its flat keys.

    Raises
    ------
    TimelineError
        If the object has another key.
    """
    done = item.get("intervention")
    if done.__class__ is not dict:
        return item
    keys = {"kind": "intervention", "effect": "intervention_effect", "date": "intervention_date"}
    unknown = sorted(set(done) - set(keys))
    if unknown:
        raise TimelineError(f"intervention: unknown key {unknown[0]!r}; one of: {', '.join(keys)}")
    return {**item, "intervention": None, **{keys[key]: value for key, value in done.items()}}


def intervention_of(values: dict[str, Any]) -> Intervention | None:
    """Take an intervention's kind, effect and day out of an observation's values.

    Raises
    ------
    TimelineError
        If there is an effect or a day, but no kind.
    """
    kind = values.pop("intervention", None)
    effect, days = values.pop("intervention_effect", None), values.pop("intervention_date", None)
    if kind is None:
        if effect is not None or days is not None:
            raise TimelineError("an intervention's effect or date is given, but no intervention")
        return None
    return Intervention(kind=kind, effect=effect, date=None if days is None else days.first)


def _response(value: Any) -> Response:
    return response_of(str(value))


def _new_lesion(value: Any) -> NewLesion:
    return NewLesion.YES if squeezed(value) == "icpd" else new_lesion_of(value)


_NO_PET = frozenset({"ne", "nd", "na", "notdone", "notevaluable"})


def _deauville(value: Any) -> int | None:
    """The score; None where PET was not done, or where X alone is given."""
    text = squeezed(value)
    if text in _NO_PET:
        return None
    digits = text.replace("x", "", 1)
    if digits not in ("", "1", "2", "3", "4", "5") or not text:
        raise TimelineError(f"{value!r} is not a score from 1 to 5, X or both")
    return int(digits) if digits else None


def has_score_x(value: Any) -> bool:
    """Whether a Deauville score holds X: new uptake that is unlikely to be lymphoma."""
    return "x" in squeezed(value)


def _uptake(value: Any) -> Uptake:
    try:
        return Uptake(str(value).strip().lower())
    except ValueError:
        raise TimelineError(f"{value!r} is not decreased, unchanged or increased") from None


def _clinical_status(value: Any) -> ClinicalStatus:
    try:
        return ClinicalStatus(str(value).strip().lower())
    except ValueError:
        raise TimelineError(f"{value!r} is not improved, stable or worse") from None


def _corticosteroids(value: Any) -> Corticosteroids:
    try:
        return Corticosteroids(str(value).strip().lower())
    except ValueError:
        raise TimelineError(f"{value!r} is not none, decreased, stable or increased") from None


def _count(value: Any) -> int:
    text = str(value).strip()
    if not text.isdecimal():
        raise TimelineError(f"{value!r} is not a number of lesions")
    return int(text)


MAXIMUM_HU = 10_000


def _attenuation(value: Any) -> int:
    """Thousandths of HU; the one number here that may be negative."""
    text = str(value).strip()
    is_negative = text.startswith("-")
    milli = _length(text.removeprefix("-"))
    if milli > 1000 * MAXIMUM_HU:
        raise TimelineError(f"{value!r} is no attenuation in HU")
    return -milli if is_negative else milli


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


POINT_READERS: Mapping[str, tuple[str, Reader]] = {
    "date": ("days", days_of),
    "last_date": ("last_days", days_of),
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
    "tumour_marker_elevated": ("is_tumour_marker_raised", _truth),
    "tumor_marker_elevated": ("is_tumour_marker_raised", _truth),
    "deauville": ("deauville", _deauville),
    "uptake": ("uptake", _uptake),
    "spleen_mm": ("spleen_um", _length),
    "new_symptoms": ("has_new_symptoms", _truth),
    "clinical_status": ("clinical_status", _clinical_status),
    "corticosteroids": ("corticosteroids", _corticosteroids),
    # Thousandths of a number, as µm are of a mm.
    "liver_sul_mean": ("liver_sul_mean_milli", _length),
    "liver_sul_sd": ("liver_sul_deviation_milli", _length),
    "new_bone_lesions": ("new_bone_lesions", _count),
    "bone": ("bone", _response),
    "ca125": ("ca125_milli", _concentration),
    "ca125_upper_limit": ("ca125_upper_limit_milli", _concentration),
    "ca125_evaluable": ("is_ca125_evaluable", _truth),
}
POINT_OTHERS = frozenset({"id", "observations"})
OBSERVATION_READERS: Mapping[str, tuple[str, Reader]] = {
    "state": ("state", _state),
    "diameter_mm": ("diameter_um", _length),
    "long_axis_mm": ("long_axis_um", _length),
    "short_axis_mm": ("short_axis_um", _length),
    "fragments_mm": ("fragments_um", _lengths),
    "unequivocal_progression": ("has_progressed", _truth),
    "increase": ("has_increased", _truth),
    "equivocal": ("is_equivocal", _truth),
    "merged_into": ("merged_into", str),
    "intervention": ("intervention", _intervention_kind),
    "intervention_effect": ("intervention_effect", _intervention_effect),
    "intervention_date": ("intervention_date", days_of),
    "reason": ("reason", str),
    "slice_mm": ("slice_interval_um", _length),
    "viable_mm": ("viable_um", _length),
    # Thousandths of a number, as µm are of a mm.
    "sul_peak": ("sul_peak_milli", _length),
    "attenuation_hu": ("attenuation_milli_hu", _attenuation),
    "hu": ("attenuation_milli_hu", _attenuation),
    "intratumoral_nodule": ("has_intratumoral_nodule", _truth),
}
# A scan's own day is read with its time point.
OBSERVATION_OTHERS = frozenset({"lesion", "id", "row", "date"})
LESION_READERS: Mapping[str, tuple[str, Reader]] = {
    "organ": ("organ", str),
    "site": ("organ", str),
    "is_nodal": ("is_nodal", _truth),
    "nodal": ("is_nodal", _truth),
    "is_measurable": ("is_measurable", _truth),
    "is_enhancing": ("is_enhancing", _truth),
}
LESION_OTHERS = frozenset({"id", "role"})
