"""Tables of courses: the tidy form (a row per lesion and visit) and CDISC's TU, TR and RS.

Any number of patients, and of readers each of whom makes a course of their own.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workflow.documents.cdisc import DOMAINS, is_sdtm, tidy_rows
from workflow.documents.fields import Days, days_of
from workflow.domain.response import TimelineError

ACCEPTED = "accepted"
"""The reader's name that stands for the rows with an accepted flag (--ACPTFL)."""

_ALIASES = {
    "patient": "name",
    "patient_id": "name",
    "subject": "name",
    "subject_id": "name",
    "usubjid": "name",
    "visit": "time_point",
    "visit_name": "time_point",
    "timepoint": "time_point",
    "study_date": "date",
    "visit_date": "date",
    "scan_date": "date",
    "lesion_id": "lesion",
    "lesion_type": "role",
    "location": "organ",
    "site": "organ",
    "diameter": "diameter_mm",
    "size_mm": "diameter_mm",
    "longest_diameter_mm": "long_axis_mm",
    "nodal": "is_nodal",
    "baseline": "is_baseline",
    "reader_id": "reader",
    "evaluator": "reader",
    "accepted_flag": "accepted",
    "overall_response": "overall",
    "target_response": "target",
    "non_target_response": "non_target",
    "tumor_marker_elevated": "tumour_marker_elevated",
}
_LESION_COLUMNS = ("role", "organ", "is_nodal", "is_measurable", "is_enhancing")
_OBSERVATION_COLUMNS = (
    "diameter_mm",
    "state",
    "long_axis_mm",
    "short_axis_mm",
    "unequivocal_progression",
    "increase",
    "equivocal",
    "merged_into",
    "intervention",
    "intervention_effect",
    "intervention_date",
    "reason",
    "slice_mm",
    "viable_mm",
    "sul_peak",
    "attenuation_hu",
    "intratumoral_nodule",
)
_POINT_COLUMNS = (
    "is_baseline",
    "sum_mm",
    "target",
    "non_target",
    "new_lesion",
    "overall",
    "non_target_increase",
    "new_lesion_increase",
    "additional_new_lesion",
    "new_lesion_sum_mm",
    "tumour_marker_elevated",
    "deauville",
    "uptake",
    "spleen_mm",
    "new_symptoms",
    "clinical_status",
    "corticosteroids",
    "liver_sul_mean",
    "liver_sul_sd",
    "new_bone_lesions",
    "bone",
    "ca125",
    "ca125_upper_limit",
    "ca125_evaluable",
)
_PATIENT_COLUMNS = ("criteria", "reference_date", "new_therapy_date", "death_date", "radiotherapy_end")
COLUMNS = (
    "name",
    "reader",
    "accepted",
    *_PATIENT_COLUMNS,
    "time_point",
    "visitnum",
    "date",
    "lesion",
    *_LESION_COLUMNS,
    *_OBSERVATION_COLUMNS,
    *_POINT_COLUMNS,
)
"""Every column of the form; `time_point` or `date` is required, the rest as needed."""
_TELLING = frozenset({*_OBSERVATION_COLUMNS, *_POINT_COLUMNS}) - {"is_baseline", "reason"}
_COLUMN_SET = frozenset(COLUMNS)

_Rows = list[tuple[str, dict[str, str]]]


def documents_of_tables(
    texts: Mapping[str, str], *, reader: str | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Raw documents, one per patient and reader, in the order in which they first appear.

    Parameters
    ----------
    texts
        Tables of the same patients, by the name that errors call them by ("" for a single one).
    reader
        Whose rows to take, or "accepted"; None takes every reader's. Rows without a reader are everybody's.

    Raises
    ------
    TimelineError
        If a table has no usable header, rows of one visit or lesion contradict each other, or the reader
        has no row.
    """
    rows: _Rows = []
    domains: _Rows = []
    warnings: list[str] = []
    for label, text in texts.items():
        names, cells = _cells(text.lstrip("\ufeff").strip(), label)
        if is_sdtm(names):
            domains += [(place, row) for place, row in cells if _is_of(row, reader)]
        else:
            warnings += _unknown_columns(names, label)
            rows += [(place, row) for place, row in cells if _is_of(row, reader)]
    if reader == ACCEPTED:
        warnings += _several_readers([*rows, *domains])
        rows, domains = _without_readers(rows), _without_readers(domains)
    rows += tidy_rows(domains)
    if not rows:
        raise TimelineError(
            f"no row is of reader {reader!r}" if reader else "the table has a header and no row; add rows"
        )
    if any("trtestcd" in row for _, row in domains) and not any("tutestcd" in row for _, row in domains):
        warnings.append(
            "without a TU table no lesion is known to be a lymph node; LDIAM counts where it is given"
        )
    for (name, by), own in _by_reader(rows).items():
        document = _document(name, own)
        if by:
            document["reader"] = by
        yield f"{own[0][0]} on", {**document, "warnings": [*warnings, *document["warnings"]]}


def _is_of(row: Mapping[str, str], reader: str | None) -> bool:
    if reader is None:
        return True
    if reader == ACCEPTED:
        flags = [row.get(key, "") for key in ("accepted", *(f"{domain}acptfl" for domain in DOMAINS))]
        return any(flag.strip().lower() in ("y", "yes", "true", "1") for flag in flags)
    own = _reader_of(row)
    return not own or own.lower() == reader.strip().lower()


def _reader_of(row: Mapping[str, str]) -> str:
    if "reader" in row:
        return row["reader"]
    for domain in DOMAINS:
        identity = row.get(f"{domain}evalid", "NA")
        own = row.get(f"{domain}eval", "") if identity == "NA" else identity
        if own and own != "NA":
            return own
    return ""


_READER_COLUMNS = frozenset({"reader", *(f"{domain}{x}" for domain in DOMAINS for x in ("eval", "evalid"))})


def _without_readers(rows: _Rows) -> _Rows:
    return [(place, {k: v for k, v in row.items() if k not in _READER_COLUMNS}) for place, row in rows]


def _several_readers(rows: _Rows) -> list[str]:
    """What is accepted at one visit may be one reader's, and at the next another's."""
    names = sorted({_reader_of(row) for _, row in rows} - {""})
    if len(names) < 2:
        return []
    return [f"the accepted rows are those of {', '.join(names)}: sums of different readers are compared"]


def _by_reader(rows: _Rows) -> dict[tuple[str, str], _Rows]:
    """Rows by patient and reader; rows without a reader go to each of the patient's."""
    readers: dict[str, list[str]] = {}
    for _, row in rows:
        own = readers.setdefault(row.get("name", ""), [])
        if row.get("reader") and row["reader"] not in own:
            own.append(row["reader"])
    found: dict[tuple[str, str], _Rows] = {}
    for place, row in rows:
        name = row.get("name", "")
        mine = [row["reader"]] if row.get("reader") else readers[name] or [""]
        for by in mine:
            found.setdefault((name, by), []).append((place, row))
    return found


def _cells(text: str, label: str) -> tuple[list[str], _Rows]:
    """The columns' names, and each row's place and cells."""
    lines = text.splitlines()
    if not lines:
        raise TimelineError(f"{label or 'the table'} is empty; give a header and rows")
    delimiter = max(",;\t", key=lines[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    header = next(reader)
    names = [_column(cell) for cell in header]
    prefix = f"{label} row" if label else "row"
    if not is_sdtm(names):
        names = [_ALIASES.get(name, name) for name in names]
        _require_usable(names, header, prefix)
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(names):
            raise TimelineError(f"{prefix} {reader.line_num}: {len(cells)} cells for {len(names)} columns")
        row = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if cell.strip()}
        if delimiter != ",":
            row = {k: v.replace(",", ".") if k.endswith(("_mm", "stresn")) else v for k, v in row.items()}
        rows.append((f"{prefix} {reader.line_num}", row))
    return names, rows


def _column(cell: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "_", cell.strip().lower()).strip("_")


def _require_usable(names: Sequence[str], header: Sequence[str], prefix: str) -> None:
    if "time_point" not in names and "date" not in names:
        raise TimelineError(
            f"{prefix} 1: the columns {', '.join(names)} hold neither time_point nor date; see docs/recist.md"
        )
    twice = sorted({name for name in names if name in _COLUMN_SET and names.count(name) > 1})
    if twice:
        raise TimelineError(
            f"{prefix} 1: more than one column is read as {', '.join(twice)}; leave one of them"
        )
    if _TELLING.isdisjoint(names):
        unknown = [cell.strip() for name, cell in zip(names, header, strict=True) if name not in _COLUMN_SET]
        raise TimelineError(
            f"{prefix} 1: no column holds a measurement, a state or a response"
            + (f"; unknown: {', '.join(map(repr, unknown))}" if unknown else "")
            + "; see docs/recist.md"
        )


def _unknown_columns(names: Sequence[str], label: str) -> list[str]:
    where = f"{label}: " if label else ""
    return [f"{where}unknown column {name!r} is ignored" for name in names if name not in _COLUMN_SET]


# ---------------------------------------------------------------- one patient, one reader


def _document(name: str, rows: _Rows) -> dict[str, Any]:
    document: dict[str, Any] = {"name": name or None}
    lesions: dict[str, dict[str, Any]] = {}
    points: dict[str, dict[str, Any]] = {}
    days: dict[str, list[Days]] = {}
    numbers: dict[str, str] = {}
    for place, row in rows:
        _merge(document, row, _PATIENT_COLUMNS, place)
        visit = row.get("time_point") or row.get("date")
        if visit is None:
            raise TimelineError(f"{place}: it has neither time_point nor date")
        point = points.setdefault(visit, {"id": visit})
        numbers.setdefault(visit, row.get("visitnum", ""))
        days.setdefault(visit, []).extend(_days(row, place))
        _merge(point, row, _POINT_COLUMNS, place)
        if "lesion" in row:
            lesion = lesions.setdefault(row["lesion"], {"id": row["lesion"]})
            _merge(lesion, row, _LESION_COLUMNS, place)
            seen = {key: row[key] for key in _OBSERVATION_COLUMNS if key in row}
            point.setdefault("observations", []).append({"lesion": row["lesion"], "row": place, **seen})
    for visit, own in days.items():
        points[visit] |= _span(own)
    ordered, warnings = _in_order(points, days, numbers)
    return {**document, "lesions": list(lesions.values()), "time_points": ordered, "warnings": warnings}


def _days(row: Mapping[str, str], place: str) -> list[Days]:
    if "date" not in row:
        return []
    try:
        return [days_of(row["date"])]
    except ValueError as error:
        raise TimelineError(f"{place}: date: {error}") from None


def _span(days: Sequence[Days]) -> dict[str, str]:
    """First and last day of a visit's scans as a document says them; whole dates go over partial ones."""
    whole = [d for d in days if not d.is_partial]
    if not whole:
        # The longest of what is known in part: "2014-02", not a day that nobody wrote.
        return {"date": _partial(max(days, key=lambda d: d.last - d.first))} if days else {}
    first, last = min(d.first for d in whole), max(d.last for d in whole)
    return {"date": first.isoformat(), **({"last_date": last.isoformat()} if last != first else {})}


def _partial(days: Days) -> str:
    return str(days.first.year) if days.first.month != days.last.month else f"{days.first:%Y-%m}"


def _in_order(
    points: Mapping[str, dict[str, Any]], days: Mapping[str, list[Days]], numbers: Mapping[str, str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """A table has no order of its own: visits go by date where each has one, else by visit number."""
    visits = list(points)
    by_number = _sorted_by_number(visits, numbers)
    if all(days[visit] for visit in visits):
        by_date = sorted(by_number or visits, key=lambda visit: min(d.first for d in days[visit]))
        warnings = []
        if by_number is not None and by_date != by_number:
            listed = ", ".join(by_number)
            warnings = [f"visit_order: the dates of {listed} are not in the order of their visit numbers"]
        return [points[visit] for visit in by_date], warnings
    return [points[visit] for visit in by_number or visits], []


def _sorted_by_number(visits: Sequence[str], numbers: Mapping[str, str]) -> list[str] | None:
    try:
        return sorted(visits, key=lambda visit: float(numbers[visit]))
    except ValueError:
        return None


def _merge(into: dict[str, Any], row: Mapping[str, str], columns: tuple[str, ...], place: str) -> None:
    """Take what the row says of its visit, lesion or patient; two rows may repeat it but not contradict."""
    for column in columns:
        if column not in row:
            continue
        if into.get(column, row[column]) != row[column]:
            raise TimelineError(
                f"{place}: {column} is {row[column]!r}, but {into[column]!r} in an earlier row; "
                "make them agree"
            )
        into[column] = row[column]
