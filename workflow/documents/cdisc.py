"""CDISC's tumour tables (SDTM TU, TR, RS) as rows of the tidy form, and its way to write merges and splits.

TU names the lesions, TR holds a result a row (TRTESTCD LDIAM, LPERP, SAXIS, DIAM, TUMSTATE, SUMDIAM), RS
the responses. Rows meet by patient (USUBJID), evaluator (--EVALID, else --EVAL), visit and link id
(--LNKID). A lymph node's diameter is its LPERP or SAXIS, another lesion's its LDIAM (CDISC RECIST 1.1
supplement).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation

from workflow.documents.fields import STATES, squeezed
from workflow.domain.anatomy import LYMPH_NODE
from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import Lesion, Observation, TimelineError, TimePoint
from workflow.domain.response.organs import organ_of_words
from workflow.domain.response.target import contributions_of, diameter_um

Row = dict[str, str]

DOMAINS = ("tr", "tu", "rs")
_LENGTHS = {
    "LDIAM": "long_axis_mm",
    "LPERP": "short_axis_mm",
    "SAXIS": "short_axis_mm",
    "DIAM": "diameter_mm",
    "DIAMETER": "diameter_mm",
}
_STATES = ("TUMSTATE", "LNSTATE")
_RESPONSES = {
    "OVRLRESP": "overall",
    "TRGRESP": "target",
    "NTRGRESP": "non_target",
    "NEWLPROG": "new_lesion",
    "NEWLRESP": "new_lesion",
}
_MM = {"": Decimal(1), "mm": Decimal(1), "cm": Decimal(10)}


_ROLES = {
    "target": "target",
    "t": "target",
    "nontarget": "non_target",
    "nt": "non_target",
    "new": "new",
    "newlesion": "new",
    "nl": "new",
}
# Link ids are made so that they tell the role: T01, NT01, NEW01.
_ROLE_PREFIX = re.compile(r"(nt|new|nl|t)[-_ ]?\d")


def is_sdtm(columns: Iterable[str]) -> bool:
    """Whether a table with these columns (lower case) is a TU, TR or RS domain."""
    return any(f"{domain}testcd" in columns for domain in DOMAINS)


def tidy_rows(rows: Sequence[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """Rows of TU, TR and RS, any of them, as tidy rows: one per lesion and visit, and one per response.

    Parameters
    ----------
    rows
        The place of each row, for errors, and its cells by lower-case column.

    Raises
    ------
    TimelineError
        If a result is in a unit that is no length, or a lesion's role can't be told.
    """
    lesions = _Lesions()
    seen: dict[tuple[str, ...], tuple[str, Row]] = {}
    levels: list[tuple[str, Row]] = []
    named: list[tuple[str, Row]] = []
    for place, cells in rows:
        row = {key: value for key, value in cells.items() if value != "NA"}
        domain = next(d for d in DOMAINS if f"{d}testcd" in row or f"{d}testcd" in cells)
        code = row.get(f"{domain}testcd", "").upper()
        common = _common(domain, row)
        lesion = row.get(f"{domain}lnkid", "")
        if domain == "rs":
            if code in _RESPONSES:
                word = row.get("rsstresc") or row.get("rsorres", "")
                levels.append((place, {**common, _RESPONSES[code]: word}))
            continue
        if domain == "tr" and not lesion:
            if code == "SUMDIAM":
                levels.append((place, {**common, "sum_mm": _length(row, place)}))
            continue
        lesions.learn(domain, common, lesion, row, code)
        if domain == "tu":
            named.append((place, {**common, "lesion": lesion}))
            continue
        key = _key(common, lesion)
        _, result = seen.setdefault(key, (place, {**common, "lesion": lesion}))
        if "date" in common:
            result.setdefault("date", common["date"])
        _take(result, row, code, place)
    # A lesion that was found and has no result at that visit is there, and unmeasured.
    for place, row in named:
        key = _key(row, row["lesion"])
        if key not in seen:
            state = "not_evaluable" if lesions.role(row, place) == "target" else "present"
            seen[key] = (place, {**row, "state": state})
    observed = [(place, lesions.described(row, place)) for place, row in seen.values()]
    return [*observed, *levels]


def _common(domain: str, row: Row) -> Row:
    visit = row.get("visit") or row.get("visitnum", "")
    cells = {
        "name": row.get("usubjid") or row.get("subjid", ""),
        "time_point": visit,
        "visitnum": row.get("visitnum", ""),
        "date": row.get(f"{domain}dtc", ""),
        "reader": row.get(f"{domain}evalid") or row.get(f"{domain}eval", ""),
        "is_baseline": "true" if row.get(f"{domain}blfl") == "Y" else "",
    }
    return {key: value for key, value in cells.items() if value}


def _key(row: Row, lesion: str) -> tuple[str, ...]:
    return row.get("name", ""), row.get("reader", ""), row.get("time_point") or row.get("date", ""), lesion


def _take(result: Row, row: Row, code: str, place: str) -> None:
    """Take one result into the row of its lesion and visit."""
    words = row.get("trstresc") or row.get("trorres", "")
    if row.get("trstat", "").upper() == "NOT DONE":
        why = row.get("trreasnd", "")
        result.setdefault("state", _undone(why))
        if why:
            result.setdefault("reason", why)
    elif code in _STATES:
        result["state"] = words
    elif code in _LENGTHS:
        original = row.get("trorres", "")
        for text in (original, words):
            if squeezed(text) in STATES:
                result.setdefault("state", text)
        if row.get("trstresn") or squeezed(words) not in STATES:
            result[_LENGTHS[code]] = _length(row, place)


def _undone(why: str) -> str:
    """CDISC writes a merged or split lesion as not measured, with the reason."""
    upper = why.upper()
    if "MERGE" in upper or "COALESC" in upper:
        return "merged"
    return "not_evaluable"


def _length(row: Row, place: str) -> str:
    number, unit = row.get("trstresn"), row.get("trstresu", "")
    if not number:
        number, unit = row.get("trorres", ""), row.get("trorresu", "")
    factor = _MM.get(unit.lower())
    if factor is None:
        raise TimelineError(f"{place}: the unit {unit!r} is no length that is read; give mm or cm")
    try:
        return format(Decimal(number) * factor, "f")
    except InvalidOperation:
        raise TimelineError(f"{place}: {number!r} is neither a length nor a state of a lesion") from None


class _Lesions:
    """What TU, or TR alone, tells of each reader's lesions: role, organ, and whether it is a node."""

    def __init__(self) -> None:
        self._roles: dict[tuple[str, str, str], str] = {}
        self._organs: dict[tuple[str, str, str], str] = {}
        self._codes: dict[tuple[str, str, str], set[str]] = {}

    def learn(self, domain: str, common: Row, lesion: str, row: Row, code: str) -> None:
        key = (common.get("name", ""), common.get("reader", ""), lesion)
        if domain == "tu":
            self._roles[key] = row.get("tustresc") or row.get("tuorres", "")
            self._organs[key] = row.get("tuloc", "")
            return
        self._codes.setdefault(key, set()).add(code)
        if "trgrpid" in row:
            self._roles.setdefault(key, row["trgrpid"])

    def role(self, row: Row, place: str) -> str:
        """target, non_target or new."""
        lesion = row["lesion"]
        words = self._known(self._roles, row) or ""
        named = _ROLES.get(squeezed(words))
        if named is None and (prefix := _ROLE_PREFIX.match(lesion.lower())):
            named = _ROLES[prefix[1]]
        if named is not None:
            return named
        raise TimelineError(
            f"{place}: the role of lesion {lesion!r} can't be told from {words!r}; give TUORRES or TRGRPID"
        )

    def described(self, row: Row, place: str) -> Row:
        """The row with what is known of its lesion."""
        organ = self._known(self._organs, row) or ""
        codes = self._codes.get((row.get("name", ""), row.get("reader", ""), row["lesion"]), set())
        is_measured_across = bool(codes & {"LPERP", "SAXIS"}) and "LDIAM" not in codes
        is_nodal = organ_of_words(organ) == LYMPH_NODE or "SAXIS" in codes or is_measured_across
        told = {"role": self.role(row, place), "is_nodal": str(is_nodal).lower()}
        return {**row, **told, **({"organ": organ} if organ else {})}

    def _known(self, of: Mapping[tuple[str, str, str], str], row: Row) -> str | None:
        """What is told of this reader's lesion, or of everybody's."""
        name, lesion = row.get("name", ""), row["lesion"]
        return of.get((name, row.get("reader", ""), lesion)) or of.get((name, "", lesion))


# ---------------------------------------------------------------- merged and split lesions

_JOINT = re.compile(r"\s*[/+&]\s*")
_PART = re.compile(r"(.+)[._-]\w")


def with_whole_lesions(
    lesions: tuple[Lesion, ...], points: list[TimePoint], warnings: list[str]
) -> tuple[tuple[Lesion, ...], list[TimePoint]]:
    """Read lesions that are merged ("T02/T03") or parts ("T04.1", "T04.2") of others as those others.

    CDISC gives them rows of their own from the visit on at which the lesions merged or split; they are no
    lesions of the baseline. A warning says how each was read.
    """
    ids = {lesion.id for lesion in lesions}
    for lesion in lesions:
        if points and points[0].observation_of(lesion.id) is not None:
            continue
        members = _JOINT.split(lesion.id)
        part = _PART.fullmatch(lesion.id)
        if len(members) > 1 and ids.issuperset(members):
            points = [_with_merged(point, lesion, members) for point in points]
            warnings.append(f"lesion {lesion.id!r} is read as {' and '.join(members)}, merged")
        elif part is not None and part[1] in ids and lesion.role is not LesionRole.NEW:
            points = [_with_part(point, lesion, part[1]) for point in points]
            warnings.append(f"lesion {lesion.id!r} is read as a part of {part[1]}")
        else:
            continue
        lesions = tuple(other for other in lesions if other is not lesion)
    return lesions, points


def _with_merged(point: TimePoint, lesion: Lesion, members: Sequence[str]) -> TimePoint:
    """The first member carries what the merged lesion measures, the others have merged into it."""
    seen = point.observation_of(lesion.id)
    if seen is None:
        return point
    size = diameter_um(seen, is_nodal=lesion.is_nodal)
    carrier = replace(seen, lesion=members[0], state=seen.state or LesionState.MERGED, diameter_um=size)
    merged = [
        Observation(lesion=name, state=LesionState.MERGED, merged_into=members[0]) for name in members[1:]
    ]
    others = [o for o in point.observations if o.lesion != lesion.id and o.lesion not in members]
    return replace(point, observations=(*others, carrier, *merged))


def _with_part(point: TimePoint, lesion: Lesion, whole: str) -> TimePoint:
    """The part's diameter is added to the whole's; a part that is not evaluable makes the whole so."""
    if point.observation_of(lesion.id) is None:
        return point
    before = point.observation_of(whole)
    others = [o for o in point.observations if o.lesion not in (lesion.id, whole)]
    size = contributions_of((lesion,), point)[0].diameter_um
    is_first = before is None or before.state is not LesionState.SPLIT
    is_lost = before is not None and before.reason == _LOST
    if size is None or is_lost:
        joined = Observation(lesion=whole, state=LesionState.NOT_EVALUABLE, reason=_LOST)
    else:
        parts = () if is_first or before is None else before.fragments_um
        joined = Observation(lesion=whole, state=LesionState.SPLIT, fragments_um=(*parts, size))
    return replace(point, observations=(*others, joined))


_LOST = "a part of it is not evaluable"
