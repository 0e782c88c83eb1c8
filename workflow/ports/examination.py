"""What `tumorline doctor` asks of the store: facts that must hold, whatever died on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Unaccounted:
    """A study or a visit that has neither results, nor a reason, nor work that waits; `about` is a UID."""

    about: str
    what: str


@dataclass(frozen=True, kw_only=True)
class KeptFile:
    """A file that a row speaks of."""

    path: Path
    sha256: str
    is_received: bool  # else one of our results


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """How the job table stands, by the database's clock, which is `clock_ahead_s` before this host's.

    `silent` are running jobs whose lease is over, `waiting_s` says by stage how long the oldest due job has
    waited, and `stopped` are those that were given up.
    """

    clock_ahead_s: float
    silent: int
    waiting_s: dict[str, float]
    stopped: int


class Examination(Protocol):
    """Facts of the store, read without changing anything."""

    def unaccounted(self) -> tuple[Unaccounted, ...]:
        """Studies and visits that would wait for ever, and sets of results that are not one set."""
        ...

    def files(self) -> Iterator[KeptFile]:
        """Every file that rows speak of, one row after the other."""
        ...

    def jobs(self) -> JobFacts:
        """How the job table stands."""
        ...

    def counts(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Counts by what is counted: labels (states and stages, nobody's data), and how many."""
        ...

    def schema(self) -> tuple[str, str]:
        """The database with its version, and the revision of its schema."""
        ...
