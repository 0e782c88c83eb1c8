"""The course as CSV: a row per lesion and visit, in the tidy form that `tumorline recist` reads.

A cell that a spreadsheet would take for a formula is led by an apostrophe; numbers are numbers.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO

from dicom_io.board.content import PatientPages
from workflow.domain.sheet import SheetCell, SheetLesion, SheetVisit

COLUMNS = (
    "name", "criteria", "time_point", "date", "is_baseline", "lesion", "role", "organ", "is_nodal", "state",
    "diameter_mm", "long_axis_mm", "short_axis_mm", "volume_ml", "sum_mm", "change_from_baseline_percent",
    "change_from_nadir_percent", "target", "non_target", "new_lesion", "overall", "best_overall_response",
    "standing", "is_rejected", "flags", "tracking_uid", "report_version",
)  # fmt: skip

_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")


def guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula (CWE-1236)."""
    return f"'{text}" if text.startswith(_FORMULA_SIGNS) else text


def csv_of(pages: Sequence[PatientPages]) -> str:
    """Every patient's lesions and visits; a visit without lesions has one row."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for one in pages:
        for place, visit in enumerate(one.sheet.visits):
            seen = [(lesion, lesion.cells[place]) for lesion in one.sheet.lesions]
            shown: list[tuple[SheetLesion | None, SheetCell | None]]
            shown = [(lesion, cell) for lesion, cell in seen if cell is not None]
            for lesion, cell in shown or [(None, None)]:
                row = _row(one, visit, lesion, cell)
                writer.writerow([_cell(row.get(name)) for name in COLUMNS])
    return file.getvalue()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
    return guarded(str(value))


def _row(
    pages: PatientPages, visit: SheetVisit, lesion: SheetLesion | None, cell: SheetCell | None
) -> dict[str, object]:
    row: dict[str, object] = {
        "name": pages.sheet.patient_id,
        "criteria": visit.criteria,
        "time_point": visit.id,
        "date": visit.day.isoformat(),
        "is_baseline": visit.is_baseline,
        "sum_mm": visit.sum_mm,
        "change_from_baseline_percent": visit.change_from_baseline_percent,
        "change_from_nadir_percent": visit.change_from_nadir_percent,
        "target": visit.target,
        "non_target": visit.non_target,
        "new_lesion": visit.new_lesion,
        "overall": visit.overall,
        "best_overall_response": visit.best_overall_response,
        "standing": visit.standing,
        "report_version": visit.version,
    }
    if lesion is None or cell is None:
        return row
    return row | {
        "lesion": lesion.label,
        "role": lesion.role.value,
        "organ": lesion.site,
        "is_nodal": lesion.is_nodal,
        "state": cell.state.value,
        "diameter_mm": cell.diameter_mm,
        "long_axis_mm": cell.long_axis_mm,
        "short_axis_mm": cell.short_axis_mm,
        "volume_ml": cell.volume_ml,
        "is_rejected": cell.is_rejected,
        "flags": "; ".join(cell.flags),
        "tracking_uid": lesion.tracking_uid,
    }
