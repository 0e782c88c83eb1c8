"""What results say in sentences: of a reader's decision, of where a lesion is measured."""

from __future__ import annotations

from datetime import date
from unicodedata import east_asian_width

from pydicom.valuerep import PersonName

from dicom_io.results.fonts import can_show
from workflow.domain.report import (
    ROLE_WORDS,
    ReportedDecision,
    ReportedLesion,
    ReviewStatus,
    TimePointReport,
)
from workflow.domain.series import SeriesDescription


def person(name: str) -> str:
    """A person's name for people: "Reader^Rosa" becomes "Rosa Reader"; what has no carets stays."""
    if "^" not in name:
        return name.split("=")[0].strip()
    parts = PersonName(name)
    words = [parts.name_prefix, parts.given_name, parts.middle_name, parts.family_name, parts.name_suffix]
    return " ".join(word.strip() for word in words if word.strip())


def patient_name(name: str) -> str:
    """A patient's name for people: "Phantom^Ada" becomes "Phantom, Ada", another script follows in brackets.

    What no font at hand can show is left out where there is another form of the name.
    """
    parts = PersonName(name)
    forms = []
    for group in (parts.alphabetic, parts.ideographic):
        family, *given = str(group).split("^")
        names = family.strip(), " ".join(part.strip() for part in given[:2] if part.strip())
        # Chinese, Japanese and Korean names are written as one, the family name first.
        words = ("" if _is_east_asian(str(group)) else ", ").join(part for part in names if part)
        if words and words not in forms:
            forms.append(words)
    shown = [words for words in forms if can_show(words)] or forms[:1]
    return shown[0] + "".join(f" ({other})" for other in shown[1:]) if shown else ""


def _is_east_asian(text: str) -> bool:
    return any(east_asian_width(letter) == "W" for letter in text)


def said_of(decision: ReportedDecision) -> str:
    """A decision in one sentence: what, from old to new, who, when, why."""
    change = " to ".join(part for part in (decision.old, decision.new) if part)
    if decision.old and not decision.new:
        change = f"not {decision.old}"
    about = f"{decision.lesion}: " if decision.lesion else ""
    why = f": {decision.reason}" if decision.reason else ""
    what = f"{decision.what} {change}".strip()
    return (
        f"{about}{what}, by {person(decision.by) or 'an unnamed reader'}, {decision.at:%Y-%m-%d %H:%M}{why}"
    )


def status_words(report: TimePointReport) -> str:
    """Whether somebody stands behind a report, who and since when."""
    if report.status is not ReviewStatus.SIGNED:
        return "draft, not confirmed by a radiologist"
    when = f" on {report.signed_at:%Y-%m-%d}" if report.signed_at else ""
    return f"signed by {person(report.signed_by or '')}{when}"


def lesion_words(lesion: ReportedLesion) -> str:
    """A lesion in one line: label, site, part in the assessment, which axis counts."""
    axis = "short axis (node)" if lesion.is_nodal else ""
    return ", ".join(
        part for part in (lesion.label, site_words(lesion), ROLE_WORDS[lesion.role], axis) if part
    )


def site_words(lesion: ReportedLesion) -> str:
    """Where a lesion is: site and side."""
    words = lesion.finding_site_meaning or lesion.organ
    return f"{words}, {lesion.laterality}" if lesion.laterality and words else words


def series_words(series: SeriesDescription, day: str) -> str:
    """Which images: the series' number and description, and the study's date."""
    return f"{series.name} of {day}" if day else series.name


def written_date(value: str | date) -> str:
    """A DICOM date (YYYYMMDD) as people write it; anything else unchanged."""
    text = str(value)
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else text
