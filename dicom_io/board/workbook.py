"""A packet as a workbook (Excel): numbers are numbers, texts never formulas, the warning on every sheet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from io import BytesIO
from typing import Any

from dicom_io.board.content import PatientPages, overall_words, remarks_of
from workflow.domain.sheet import CourseSheet
from workflow.domain.states import LESION_WORDS
from workflow.ports.board import FrozenPacket

_LENGTH, _PERCENT, _VOLUME = "0.0", "+0.0;-0.0;0.0", "0.00"
_DIAMETERS = "Lesions (mm)"


def render_workbook(packet: FrozenPacket, pages: Sequence[PatientPages]) -> bytes:
    """Sheets: who is discussed, each patient's lesions by visits, all measurements, responses, remarks."""
    from openpyxl import Workbook

    book = Workbook()
    book.remove(book.active)
    book.properties.creator = book.properties.lastModifiedBy = "Tumorline"
    book.properties.title = f"Tumour board {packet.day}, version {packet.version}"
    book.properties.created = book.properties.modified = packet.made_at.astimezone(UTC).replace(tzinfo=None)
    warning = next((one.sheet.warning for one in pages if one.sheet.warning), "")
    if packet.is_list and warning:
        warned = sum(bool(one.sheet.warning) for one in pages)
        warning = f"AI result, unverified, of {warned} of {len(pages)} patients"
    _write(book, "Patients", warning, packet, _patients(pages))
    for number, one in enumerate(pages, start=1):
        title = _DIAMETERS if not packet.is_list else f"{number} lesions (mm)"
        _write(book, title, one.sheet.warning, packet, _matrix(one.sheet), head=one)
    _write(book, "Measurements", warning, packet, _measurements(pages))
    _write(book, "Responses", warning, packet, _responses(pages))
    _write(book, "Remarks", warning, packet, _remarks(pages))
    file = BytesIO()
    book.save(file)
    return file.getvalue()


# A cell: its value, or the value with the number's format.
_Row = Sequence[Any]


def _write(
    book: Any,
    title: str,
    warning: str,
    packet: FrozenPacket,
    rows: Sequence[_Row],
    head: PatientPages | None = None,
) -> None:
    """A sheet: the warning, what it was made from, and a table whose first row has the names."""
    from openpyxl.styles import Alignment, Border, Font, Side
    from openpyxl.utils import get_column_letter

    sheet = book.create_sheet(title)
    made = (
        f"Tumour board {packet.day}, version {packet.version}, frozen {packet.made_at:%Y-%m-%d %H:%M} UTC by "
    )
    lines = [warning or "Every time point is signed", f"{made}{packet.made_by}, content {packet.sha256[:12]}"]
    if head is not None:
        lines.append(f"{head.heading} ({head.sheet.patient_id})")
    for line in lines:
        _put(sheet, sheet.max_row + 1 if sheet.max_row > 1 or sheet["A1"].value else 1, 1, line)
    sheet["A1"].font = Font(bold=True, size=12)
    first = len(lines) + 2
    thin = Side(style="thin")
    for y, row in enumerate(rows):
        for x, value in enumerate(row, start=1):
            cell = _put(sheet, first + y, x, value)
            cell.alignment = Alignment(vertical="top", wrap_text=isinstance(cell.value, str) and y > 0)
            if y == 0:
                cell.font, cell.border = Font(bold=True), Border(bottom=thin)
    for x in range(1, max((len(row) for row in rows), default=1) + 1):
        longest = max((len(str(_value_of(row[x - 1]))) for row in rows if len(row) >= x), default=8)
        sheet.column_dimensions[get_column_letter(x)].width = min(max(longest + 2, 8), 48)
    sheet.freeze_panes = sheet.cell(first + 1, 2)
    sheet.page_setup.orientation, sheet.page_setup.paperSize = "landscape", sheet.PAPERSIZE_A4
    sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight = 1, 0
    sheet.sheet_properties.pageSetUpPr.fitToPage = True
    sheet.print_title_rows = f"{first}:{first}"
    # It is on every printed page, not only on the first.
    sheet.oddHeader.center.text = (warning or f"Tumour board {packet.day}").replace("&", "&&")[:200]
    sheet.oddFooter.center.text = "&P of &N"


def _value_of(cell: Any) -> Any:
    return cell[0] if isinstance(cell, tuple) else "" if cell is None else cell


def _put(sheet: Any, row: int, column: int, value: Any) -> Any:
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    plain, form = value if isinstance(value, tuple) else (value, None)
    cell = sheet.cell(row, column)
    if isinstance(plain, str):
        cell.value = ILLEGAL_CHARACTERS_RE.sub("", plain)
        cell.data_type = "s"  # "=1+1" is what somebody wrote, not a formula
        if plain.startswith(("=", "+", "-", "@")):
            cell.quotePrefix = True  # it stays a text when somebody edits the cell
    else:
        cell.value = plain
    if form is not None:
        cell.number_format = form
    return cell


def _patients(pages: Sequence[PatientPages]) -> list[_Row]:
    rows: list[_Row] = [
        ("", "Patient", "PatientID", "Birth date", "Sex", "Priority", "Question", "Latest", "Response",
         "Best response", "Sum (mm)", "Change from baseline (%)", "Who stands behind it", "Missing")
    ]  # fmt: skip
    for number, one in enumerate(pages, start=1):
        v = one.sheet.latest
        known: list[Any] = ["–"] * 6
        if v is not None:
            change = (v.change_from_baseline_percent, _PERCENT)
            known = [
                v.day.isoformat(),
                overall_words(v),
                v.best_overall_response,
                (v.sum_mm, _LENGTH),
                change,
            ]
            known.append(v.standing)
        rows.append(
            [number, one.heading, one.sheet.patient_id, one.frozen.birth_date, one.frozen.sex,
             one.frozen.priority, one.frozen.question, *known,
             "; ".join(one.frozen.missing)]
        )  # fmt: skip
    return rows


def _matrix(sheet: CourseSheet) -> list[_Row]:
    visits = sheet.visits
    rows: list[_Row] = [["Lesion", "Site", "Part", *(f"{v.id} {v.day}" for v in visits)]]
    for lesion in sheet.lesions:
        cells: list[Any] = []
        for cell in lesion.cells:
            is_number = cell is not None and cell.diameter_mm is not None and not cell.is_rejected
            cells.append(None if cell is None else (cell.diameter_mm, _LENGTH) if is_number else cell.words)
        rows.append([lesion.label, lesion.site, lesion.role_words, *cells])
    rows += [
        ["Sum of diameters (mm)", "", "", *((v.sum_mm, _LENGTH) for v in visits)],
        ["Change from baseline (%)", "", "", *((v.change_from_baseline_percent, _PERCENT) for v in visits)],
        [
            "Change from the nadir before (%)",
            "",
            "",
            *((v.change_from_nadir_percent, _PERCENT) for v in visits),
        ],
        ["Target lesions", "", "", *(v.target for v in visits)],
        ["Non-target lesions", "", "", *(v.non_target for v in visits)],
        ["New lesions", "", "", *(v.new_lesion for v in visits)],
        ["Overall response", "", "", *(overall_words(v) for v in visits)],
        ["Who stands behind it", "", "", *(v.standing for v in visits)],
    ]
    return rows


def _measurements(pages: Sequence[PatientPages]) -> list[_Row]:
    rows: list[_Row] = [
        ("PatientID", "Time point", "Date", "Lesion", "Part", "Site", "State", "Diameter (mm)",
         "Long axis (mm)", "Short axis (mm)", "Volume (ml)", "Confidence", "Model",
         "Who stands behind it", "Tracking UID")
    ]  # fmt: skip
    for one in pages:
        for place, visit in enumerate(one.sheet.visits):
            for lesion in one.sheet.lesions:
                cell = lesion.cells[place]
                if cell is None:
                    continue
                state = "rejected" if cell.is_rejected else LESION_WORDS[cell.state]
                rows.append(
                    [one.sheet.patient_id, visit.id, visit.day.isoformat(), lesion.label, lesion.role_words,
                     lesion.site, state, (cell.diameter_mm, _LENGTH), (cell.long_axis_mm, _LENGTH),
                     (cell.short_axis_mm, _LENGTH), (cell.volume_ml, _VOLUME), (cell.confidence, "0.00"),
                     cell.model, visit.standing, lesion.tracking_uid]
                )  # fmt: skip
    return rows


def _responses(pages: Sequence[PatientPages]) -> list[_Row]:
    rows: list[_Row] = [
        ("PatientID", "Time point", "Date", "Criteria", "Overall", "By the rules", "Target", "Non-target",
         "New", "Best", "Sum (mm)", "Baseline sum (mm)", "Nadir before (mm)", "Nadir on",
         "Change from baseline (%)", "Change from nadir (%)", "Change from nadir (mm)", "Reason",
         "Report version", "Who stands behind it")
    ]  # fmt: skip
    for one in pages:
        for v in one.sheet.visits:
            rows.append(
                [one.sheet.patient_id, v.id, v.day.isoformat(), v.criteria, v.overall, v.computed_overall,
                 v.target, v.non_target, v.new_lesion, v.best_overall_response, (v.sum_mm, _LENGTH),
                 (v.baseline_sum_mm, _LENGTH), (v.nadir_sum_mm, _LENGTH), v.nadir_date,
                 (v.change_from_baseline_percent, _PERCENT), (v.change_from_nadir_percent, _PERCENT),
                 (v.change_from_nadir_mm, _PERCENT), v.reason, v.version, v.standing]
            )  # fmt: skip
    return rows


def _remarks(pages: Sequence[PatientPages]) -> list[_Row]:
    rows: list[_Row] = [("PatientID", "About", "Remark")]
    for one in pages:
        rows += [
            [one.sheet.patient_id, title, line] for title, lines in remarks_of(one.sheet) for line in lines
        ]
    return rows
