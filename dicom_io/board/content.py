"""What every form of a packet shows of a patient: the sheet of numbers, and the key images beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_io.results.key_images import KeyImage
from workflow.domain.sheet import CourseSheet, SheetLesion, SheetVisit, sheet_of
from workflow.ports.board import FrozenPatient

MOST_COLUMNS = 12
"""Visits side by side in a table; more are shown in further tables, each with the baseline."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PatientPages:
    """A patient's frozen course with its numbers and pictures."""

    frozen: FrozenPatient
    sheet: CourseSheet
    pictures: Mapping[int, Path]

    @property
    def heading(self) -> str:
        """The patient's name, or the number where there is none."""
        return self.sheet.patient_name or self.sheet.patient_id

    @property
    def about(self) -> str:
        """What else tells who it is: number, birth date, sex."""
        frozen = self.frozen
        born = f"born {frozen.birth_date}" if frozen.birth_date else ""
        return " · ".join(part for part in (f"ID {self.sheet.patient_id}", born, frozen.sex) if part)

    def picture(self, lesion: SheetLesion, place: int) -> KeyImage | None:
        """A lesion's key image at the visit in a place, None if there is none."""
        folder = self.pictures.get(self.sheet.visits[place].key)
        cell = lesion.cells[place]
        if folder is None or cell is None or cell.is_rejected:
            return None
        path = folder / f"{lesion.tracking_uid}.png"
        return KeyImage.from_png(path.read_bytes()) if path.is_file() else None

    def pictured(self) -> list[tuple[SheetLesion, list[tuple[str, int, KeyImage | None]]]]:
        """Each lesion that has a picture, with those at baseline, nadir and now."""
        found = []
        for lesion in self.sheet.lesions:
            shown = [(word, place, self.picture(lesion, place)) for word, place in self.sheet.compared]
            if any(image is not None for _, _, image in shown):
                found.append((lesion, shown))
        return found


def pages_of(patient: FrozenPatient) -> PatientPages:
    """Read a frozen patient's course."""
    return PatientPages(frozen=patient, sheet=sheet_of(patient.course), pictures=patient.pictures)


def column_groups(count: int, most: int = MOST_COLUMNS) -> list[list[int]]:
    """The places of the visits of each table: all, or the first again beside each further group."""
    if count <= most:
        return [list(range(count))]
    rest = range(1, count)
    step = most - 1
    return [[0, *rest[start : start + step]] for start in range(0, count - 1, step)]


def caption_of(lesion: SheetLesion, visit: SheetVisit, place: int, word: str) -> str:
    """What stands under a key image: when, what counts there, and whether somebody stands behind it."""
    cell = lesion.cells[place]
    if cell is None:
        return f"{word}, {visit.day}: not there"
    unit = " mm" if cell.diameter_mm is not None and not cell.is_rejected else ""
    words = f"{cell.diameter_mm:.1f} mm" if unit else cell.words
    if unit and cell.words != f"{cell.diameter_mm:.1f}":
        words += f" ({cell.words.split(' ', 1)[1]})"
    return f"{word}, {visit.day}: {words}"


def sum_rows(visits: Sequence[SheetVisit]) -> list[tuple[str, list[str]]]:
    """The rows under the lesions: sums, changes and responses, in words."""
    from workflow.domain.sheet import length_words, percent_words

    return [
        ("Sum of diameters (mm)", [length_words(v.sum_mm) for v in visits]),
        ("Change from baseline", [percent_words(v.change_from_baseline_percent) for v in visits]),
        ("Change from the nadir before", [percent_words(v.change_from_nadir_percent) for v in visits]),
        ("Target lesions", [v.target or "–" for v in visits]),
        ("Non-target lesions", [v.non_target or "–" for v in visits]),
        ("New lesions", [v.new_lesion or "–" for v in visits]),
        ("Overall response", [overall_words(v) for v in visits]),
    ]


def overall_words(visit: SheetVisit) -> str:
    """The overall response, with what the rules give where a reader said otherwise."""
    if visit.computed_overall and visit.computed_overall != visit.overall:
        return f"{visit.overall} (by the rules {visit.computed_overall})"
    return visit.overall


def remarks_of(sheet: CourseSheet) -> list[tuple[str, list[str]]]:
    """What is to be looked at, what readers decided, and what is without a report, each with its lines."""
    attention, decisions = [], []
    for place, visit in enumerate(sheet.visits):
        attention += [f"{visit.id}: {text}" for text in (*visit.attention, *visit.warnings)]
        decisions += [f"{visit.id}: {text}" for text in visit.decisions]
        for lesion in sheet.lesions:
            cell = lesion.cells[place]
            if cell is not None:
                attention += [f"{visit.id}, {lesion.label}: {flag}" for flag in cell.flags]
                decisions += [f"{visit.id}, {lesion.label}: {text}" for text in cell.decisions]
    found = [
        ("To be looked at", attention),
        ("What readers decided", list(dict.fromkeys(decisions))),
        ("Visits without a report", list(sheet.without_report)),
    ]
    return [(title, lines) for title, lines in found if lines]


def models_of(sheet: CourseSheet) -> str:
    """Which models outlined lesions of this course."""
    return ", ".join(dict.fromkeys(name for visit in sheet.visits for name in visit.models)) or "no model"
