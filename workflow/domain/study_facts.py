"""What the instances of a study say of it: whose it is, when it was taken, and of what it is a copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import TypeVar

from workflow.domain.patient import PatientIdentity

DATE_KEYWORDS = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
"""Where a study's date is looked for, in this order; the day of receipt is no date."""

# What systems write where they know no date: the epochs of SQL, COBOL, VMS, Excel, Unix and NTFS.
_NO_DATES = frozenset({date(1858, 11, 17), date(1899, 12, 30), date(1900, 1, 1), date(1970, 1, 1)})
_EARLIEST_YEAR = 1900
# Over midnight, or a scan on the day after the visit was booked.
_SAME_EXAMINATION = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class InstanceDate:
    """A date (and the time beside it) that an instance bears, and the attribute that it stands in."""

    keyword: str
    day: date
    at: time | None = None
    is_image: bool = True


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """Whose a study is and when it was taken, as its instances say.

    Attributes
    ----------
    identities
        Every distinct identity, the commonest first.
    study_date, study_time
        None where nothing in the instances tells: then a person has to be asked.
    dated_by
        The attribute that the date was taken from ("StudyDate", "SeriesDate" ...), "" without a date.
    notes, doubts
        What is worth knowing of the date, and what a person has to look at.
    """

    identities: tuple[PatientIdentity, ...] = ()
    study_date: date | None = None
    study_time: time | None = None
    dated_by: str = ""
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def study_facts(
    identities: Sequence[PatientIdentity], dates: Sequence[InstanceDate], today: date | None = None
) -> StudyFacts:
    """Put together what the instances of one study say.

    Parameters
    ----------
    identities
        One per instance.
    dates
        All that the instances bear, of every keyword in `DATE_KEYWORDS`.
    today
        To notice a date that lies in the future; None where no clock is at hand.
    """
    distinct = tuple(identity for identity, _ in Counter(identities).most_common())
    known = [one for one in dates if is_date(one.day)]
    has_images = any(one.is_image for one in known)
    for keyword in DATE_KEYWORDS:
        found = [one for one in known if one.keyword == keyword]
        # A report is written after the images were taken: its dates count only where no image has any.
        if has_images:
            found = [one for one in found if one.is_image]
        if found:
            break
    else:
        return StudyFacts(
            identities=distinct, doubts=("no instance of the study bears a date: when was it taken?",)
        )
    day = _commonest(found) if keyword == "StudyDate" else min(one.day for one in found)
    times = [one.at for one in found if one.day == day and one.at is not None]
    doubts = [*_conflicts(day, keyword, known), *_impossible(day, distinct, today)]
    notes: list[str] = []
    if keyword != "StudyDate":
        remark = f"the study has no StudyDate; {keyword} {day.isoformat()} stands for it"
        is_sure = keyword != "ContentDate" and all(one.is_image for one in found)
        (notes if is_sure else doubts).append(remark)
    return StudyFacts(
        identities=distinct,
        study_date=day,
        study_time=min(times, default=None),
        dated_by=keyword,
        notes=tuple(notes),
        doubts=tuple(doubts),
    )


def is_date(day: date) -> bool:
    """Whether it can be the day of an examination, and is not what a system writes for "unknown"."""
    return day.year >= _EARLIEST_YEAR and day not in _NO_DATES


def _commonest(found: Sequence[InstanceDate]) -> date:
    counts = Counter(one.day for one in found)
    return min(counts, key=lambda day: (-counts[day], day))


def _conflicts(day: date, keyword: str, known: Sequence[InstanceDate]) -> list[str]:
    """Dates of the same study that can't be of one examination."""
    found, is_of_study = [], keyword == "StudyDate"
    same = sorted(
        {one.day for one in known if one.keyword == keyword and (one.is_image or is_of_study)} | {day}
    )
    if same[-1] - same[0] > (timedelta() if is_of_study else _SAME_EXAMINATION):
        days = ", ".join(one.isoformat() for one in same)
        found.append(
            f"the study's instances bear several dates ({keyword} {days}); {day.isoformat()} is taken"
        )
    for other in ("SeriesDate", "AcquisitionDate"):
        if other == keyword or DATE_KEYWORDS.index(other) < DATE_KEYWORDS.index(keyword):
            continue
        days_off = {one.day for one in known if one.keyword == other and one.is_image}
        if days_off and all(abs(one - day) > _SAME_EXAMINATION for one in days_off):
            found.append(
                f"{keyword} is {day.isoformat()}, but the images' {other} {min(days_off).isoformat()}: "
                "when was the study taken?"
            )
            break
    return found


def _impossible(day: date, identities: Sequence[PatientIdentity], today: date | None) -> list[str]:
    if today is not None and day > today + _SAME_EXAMINATION:
        return [f"the study's date {day.isoformat()} lies in the future"]
    births = [one.birth_date for one in identities if one.birth_date is not None]
    if births and day < min(births):
        return [f"the study's date {day.isoformat()} lies before the patient's birth"]
    return []


# ---------------------------------------------------------------- copies

Key = TypeVar("Key", bound=Hashable)
# A reconstruction of its own may repeat a scout or a few slices; a merge or split moves most of a study.
_MOST = 0.5


def copy_of(mine: Collection[str], others: Mapping[Key, Collection[str]]) -> Key | None:
    """Which of others these instances are a copy of: the one that holds most of them, if it is over half.

    The question is not symmetric: half a study is a copy of the whole, the whole is none of its half.

    Parameters
    ----------
    mine
        Content digests of a study's or series' images (`ImageReader.pixel_digests`).
    others
        The same of what is there already.
    """
    wanted = set(mine)
    shared = {key: len(wanted & set(digests)) for key, digests in others.items()}
    best = max(shared, key=lambda key: shared[key], default=None)
    return best if best is not None and shared[best] > _MOST * len(wanted) else None
