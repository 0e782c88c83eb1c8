"""Another content for what was received: how it differs (design, decision 18: the first content wins)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Difference(StrEnum):
    """In what two contents that claim to be one instance, or to belong together, differ."""

    NONE = "nothing"
    PATIENT = "another patient"
    STUDY = "another study"
    SERIES = "another series"
    PIXELS = "other pixels"
    HEADER = "another header, the same pixels"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How a later content differs from the first; keywords name attributes, never their values."""

    difference: Difference
    keywords: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """What is said of it wherever a person has to decide."""
        named = ", ".join(self.keywords[:_NAMED])
        more = f" and {len(self.keywords) - _NAMED} more" if len(self.keywords) > _NAMED else ""
        return (
            f"{self.difference.value} than what was received first"
            f"{f' ({named}{more})' if named else ''}: the first stays until a person takes the other"
        )


_NAMED = 4


class Receipt(StrEnum):
    """What became of an instance that was received."""

    NEW = "new"
    KNOWN = "known"  # the same content is here
    CONFLICT = "conflict"  # kept for a person
