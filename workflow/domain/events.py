"""What happened to a patient between visits: therapies, surgery; notes on the axis of every plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

LONGEST_TEXT = 500


class EventKind(StrEnum):
    """What kind of thing happened."""

    THERAPY_START = "therapy_start"
    THERAPY_STOP = "therapy_stop"
    SURGERY = "surgery"
    RADIOTHERAPY = "radiotherapy"
    OTHER = "other"


EVENT_WORDS: Mapping[EventKind, str] = {
    EventKind.THERAPY_START: "therapy starts",
    EventKind.THERAPY_STOP: "therapy stops",
    EventKind.SURGERY: "surgery",
    EventKind.RADIOTHERAPY: "radiotherapy",
    EventKind.OTHER: "note",
}


@dataclass(frozen=True, kw_only=True)
class PatientEvent:
    """Something that happened on a day, in a reader's words. It changes no measurement and no response."""

    day: date
    kind: EventKind
    text: str

    def __post_init__(self) -> None:
        if len(self.text) > LONGEST_TEXT:
            raise ValueError(f"the note has {len(self.text)} characters; at most {LONGEST_TEXT} are kept")
        if self.kind is EventKind.OTHER and not self.text.strip():
            raise ValueError("a note says something: its text is empty")
