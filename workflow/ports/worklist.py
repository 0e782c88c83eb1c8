"""What the worklist asks of the store: one page of it, and whether anything changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from workflow.domain.worklist import Waiting, WorklistOrder

PAGE_SIZE = 50


@dataclass(frozen=True, kw_only=True)
class WorklistQuery:
    """Which page of the worklist.

    Attributes
    ----------
    waiting
        Only patients that wait for this; None: all.
    search
        Words that must each be in the patient's name or number.
    page
        From 1; a page behind the last one is the last one.
    overdue_before
        A patient whose latest visit is before this day is overdue.
    """

    waiting: Waiting | None = None
    search: str = ""
    order: WorklistOrder = WorklistOrder.URGENCY
    page: int = 1
    overdue_before: date


class Worklist(Protocol):
    """Patients and what they wait for; the dictionaries are JSON."""

    def page(self, query: WorklistQuery) -> dict[str, Any]:
        """A page: `patients`, `page`, `pages`, `total`, `counts` by kind (and "all"), `studies`.

        `studies` are those that are on no patient's timeline (being received, or kept for a decision), at
        most `PAGE_SIZE` of them; `counts` has them too.
        """
        ...

    def revision(self) -> str:
        """A text that differs whenever a page of the worklist might; cheap enough for every second."""
        ...
