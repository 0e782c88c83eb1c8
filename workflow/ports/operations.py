"""What an operator sees of an installation, and decides about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from workflow.domain.states import StudyState
from workflow.ports.store import AuditEntry


@dataclass(frozen=True, kw_only=True)
class KnownStudy:
    """A received study: its key, how far it is, and how many instances of it are here."""

    key: int
    state: StudyState
    instances: int


class Operations(Protocol):
    """Queues, workers, throughput, what is kept, and who did what; each write with its audit, or neither."""

    def view(self, now: datetime) -> dict[str, Any]:
        """What goes on, as JSON.

        `queues` (each stage: jobs due, due later, running, and since when the longest waits), `workers` (seen
        in the last 24 h), `throughput` (jobs that were done, by stage and hour, of the 24 hours up to this
        one), `receiving` (studies), `kept` (what waits for a decision; `job` is the stopped one to
        replay, `difference` how other content differs from the first, else "").
        """
        ...

    def audit(self, limit: int) -> list[dict[str, Any]]:
        """Who did what, the newest first."""
        ...

    def study(self, study_instance_uid: str) -> KnownStudy | None:
        """A received study, None if nothing of it is here."""
        ...

    def dismiss(self, entry: int, audit: AuditEntry) -> None:
        """Take something that was kept off the list; it stays where it is, and unused.

        Raises
        ------
        UnsuitableInputError
            If nothing of this number is on the list.
        """
        ...

    def record(self, entries: Sequence[AuditEntry]) -> None:
        """Write down who did what."""
        ...
