"""Whether a response is seen again after the required days (RECIST 1.1, 4.6; admiralonco)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from workflow.domain.response.policy import Policies
from workflow.domain.response.values import NOT_EVALUABLE, Response


@dataclass(frozen=True, kw_only=True)
class Dated:
    """A response on a day; the day may be unknown."""

    value: Response
    date: date | None = None
    time_point: str = ""

    @property
    def when(self) -> str:
        """The day to read, or the time point's name where it is unknown."""
        return self.date.isoformat() if self.date else self.time_point


def days_between(start: date | None, end: date | None) -> int | None:
    """Days from one to the other; None if one is unknown."""
    return None if start is None or end is None else (end - start).days


def _is_late_enough(first: Dated, second: Dated, policies: Policies) -> bool:
    days = days_between(first.date, second.date)
    return days is None or days >= policies.confirmation_days


def confirming(sequence: Sequence[Dated], index: int, policies: Policies) -> int | None:
    """Index of the assessment that confirms the response at `index`, or None.

    A CR is confirmed by a CR; a PR by a PR or CR, with no PR after a CR in between. At most
    `max_not_evaluable_between` NE may lie between, and one SD for a PR if the policy accepts it.
    """
    first = sequence[index]
    if first.value is Response.CR:
        return _confirming_complete(sequence, index, policies)
    if first.value is Response.PR:
        return _confirming_partial(sequence, index, policies)
    return None


def _confirming_complete(sequence: Sequence[Dated], index: int, policies: Policies) -> int | None:
    unseen = 0
    for later in range(index + 1, len(sequence)):
        value = sequence[later].value
        if value in NOT_EVALUABLE:
            unseen += 1
        elif value is not Response.CR:
            return None
        elif _is_late_enough(sequence[index], sequence[later], policies):
            return later if unseen <= policies.max_not_evaluable_between else None
    return None


def _confirming_partial(sequence: Sequence[Dated], index: int, policies: Policies) -> int | None:
    unseen = stable = 0
    was_complete = False
    for later in range(index + 1, len(sequence)):
        value = sequence[later].value
        if value in NOT_EVALUABLE:
            unseen += 1
            continue
        if value is Response.SD:
            stable += 1
            continue
        if value not in (Response.PR, Response.CR) or (was_complete and value is Response.PR):
            return None
        was_complete = was_complete or value is Response.CR
        if _is_late_enough(sequence[index], sequence[later], policies):
            allowed = 1 if policies.accept_stable_between_partial_responses else 0
            fits = unseen <= policies.max_not_evaluable_between and stable <= allowed
            return later if fits else None
    return None


def is_confirmed(sequence: Sequence[Dated], policies: Policies) -> bool:
    """Whether any response of the sequence is confirmed within it."""
    return any(confirming(sequence, index, policies) is not None for index in range(len(sequence)))


def has_confirmed_complete_response(sequence: Sequence[Dated], policies: Policies) -> bool:
    """Whether a CR of the sequence is confirmed within it."""
    return any(
        entry.value is Response.CR and confirming(sequence, index, policies) is not None
        for index, entry in enumerate(sequence)
    )
