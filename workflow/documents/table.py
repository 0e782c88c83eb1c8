"""The tidy CSV form: one row per lesion and visit, any number of patients."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from workflow.domain.response import TimelineError

_ALIASES = {
    "patient": "name",
    "patient_id": "name",
    "subject": "name",
    "usubjid": "name",
    "visit": "time_point",
    "timepoint": "time_point",
    "study_date": "date",
    "lesion_id": "lesion",
    "diameter": "diameter_mm",
    "nodal": "is_nodal",
    "baseline": "is_baseline",
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
_PATIENT_COLUMNS = ("criteria", "reference_date", "radiotherapy_end")
COLUMNS = (
    "name",
    *_PATIENT_COLUMNS,
    "time_point",
    "date",
    "lesion",
    *_LESION_COLUMNS,
    *_OBSERVATION_COLUMNS,
    *_POINT_COLUMNS,
)
"""Every column of the form; `time_point` or `date` is required, the rest as needed."""


def documents_of_table(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Raw documents, one per patient, in the order in which the patients first appear.

    Raises
    ------
    TimelineError
        If the table has no usable header, or rows of one visit or lesion contradict each other.
    """
    rows = list(_rows(text))
    patients: dict[str, list[tuple[int, Mapping[str, str]]]] = {}
    for number, row in rows:
        patients.setdefault(row.get("name", ""), []).append((number, row))
    for name, own in patients.items():
        yield f"rows from {own[0][0]}", _document(name, own)


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    header = text.splitlines()[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    names = [_column(cell) for cell in next(reader)]
    if "time_point" not in names and "date" not in names:
        raise TimelineError(
            f"row 1: the columns {', '.join(names)} hold neither time_point nor date; see docs/recist.md"
        )
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(names):
            raise TimelineError(f"row {reader.line_num}: {len(cells)} cells for {len(names)} columns")
        row = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if cell.strip()}
        if delimiter != ",":
            row = {k: v.replace(",", ".") if k.endswith("_mm") else v for k, v in row.items()}
        yield reader.line_num, row


def _column(cell: str) -> str:
    name = cell.strip().lower().replace(" ", "_").replace("-", "_")
    return _ALIASES.get(name, name)


def _document(name: str, rows: list[tuple[int, Mapping[str, str]]]) -> dict[str, Any]:
    document: dict[str, Any] = {"name": name or None}
    lesions: dict[str, dict[str, Any]] = {}
    points: dict[str, dict[str, Any]] = {}
    for number, row in rows:
        _merge(document, row, _PATIENT_COLUMNS, number)
        point = points.setdefault(row.get("time_point") or row["date"], {}) if _names_visit(row) else None
        if point is None:
            raise TimelineError(f"row {number}: it has neither time_point nor date")
        point.setdefault("id", row.get("time_point") or row["date"])
        _merge(point, row, ("date", *_POINT_COLUMNS), number)
        if "lesion" in row:
            lesion = lesions.setdefault(row["lesion"], {"id": row["lesion"]})
            _merge(lesion, row, _LESION_COLUMNS, number)
            seen = {key: row[key] for key in _OBSERVATION_COLUMNS if key in row}
            point.setdefault("observations", []).append({"lesion": row["lesion"], "row": number, **seen})
    # A table has no order of its own: visits go by date where each has one.
    ordered = list(points.values())
    if all("date" in point for point in ordered):
        ordered.sort(key=lambda point: str(point["date"]))
    return {**document, "lesions": list(lesions.values()), "time_points": ordered}


def _names_visit(row: Mapping[str, str]) -> bool:
    return "time_point" in row or "date" in row


def _merge(into: dict[str, Any], row: Mapping[str, str], columns: tuple[str, ...], number: int) -> None:
    """Take what the row says of its visit, lesion or patient; two rows may repeat it but not contradict."""
    for column in columns:
        if column not in row:
            continue
        if into.get(column, row[column]) != row[column]:
            raise TimelineError(
                f"row {number}: {column} is {row[column]!r}, but {into[column]!r} in an earlier row; "
                "make them agree"
            )
        into[column] = row[column]
