"""Best overall response, confirmed or not, and the days that go with it (RECIST 1.1, 4.4.3 and 4.6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from workflow.domain.response.confirmation import Dated, confirming, days_between
from workflow.domain.response.course import Assessment, BestResponse, Duration, Event
from workflow.domain.response.policy import Policies
from workflow.domain.response.values import Response, plain

R = Response

_RESPONDING = frozenset({R.CR, R.PR})
_CONTROLLED = frozenset({R.CR, R.PR, R.SD})
_EVALUABLE = frozenset({R.CR, R.PR, R.SD, R.NON_CR_NON_PD, R.PD, R.NED})


@dataclass(frozen=True, kw_only=True)
class Sequence11:
    """The overall responses after baseline, plain words, up to and including the first progression.

    `shown` is what each time point reports; `proven` the same with a PR that was only carried forward
    taken as the SD that the sum shows, since a carried PR confirms nothing.
    """

    shown: tuple[Dated, ...]
    proven: tuple[Dated, ...]
    start: date | None
    policies: Policies

    @property
    def progression(self) -> Dated | None:
        """The first progression."""
        return self.shown[-1] if self.shown and self.shown[-1].value is R.PD else None

    def is_long_enough(self, entry: Dated) -> bool:
        """Whether an assessment is late enough for stable disease; an unknown interval counts as enough."""
        days = days_between(self.start, entry.date)
        return days is None or days >= self.policies.minimum_stable_days


def sequence_of(assessments: Sequence[Assessment], start: date | None, policies: Policies) -> Sequence11:
    """The sequence that best response derives from."""
    shown: list[Dated] = []
    proven: list[Dated] = []
    for assessment in assessments:
        if assessment.is_baseline or assessment.overall is None:
            continue
        value = plain(assessment.overall)
        entry = Dated(value=value, date=assessment.date, time_point=assessment.time_point)
        is_only_carried = assessment.is_carried and value is R.PR
        shown.append(entry)
        proven.append(
            Dated(value=R.SD, date=entry.date, time_point=entry.time_point) if is_only_carried else entry
        )
        if value is R.PD:
            break
    return Sequence11(shown=tuple(shown), proven=tuple(proven), start=start, policies=policies)


# ---------------------------------------------------------------- best overall response


def best_overall_response(sequence: Sequence11) -> BestResponse:
    """The best response up to first progression, confirmation not required."""
    return first_response(sequence) or _without_response(sequence, sequence.shown)


def first_response(sequence: Sequence11) -> BestResponse | None:
    """The first CR, else the first PR, else None."""
    for wanted in (R.CR, R.PR):
        found = next((entry for entry in sequence.shown if entry.value is wanted), None)
        if found:
            return _best(wanted, found, f"first on {found.when}")
    return None


def confirmed_best_overall_response(sequence: Sequence11) -> BestResponse:
    """The best response where CR and PR must be confirmed (RECIST 1.1, Table 3)."""
    return first_confirmed_response(sequence) or _without_response(sequence, sequence.proven)


def first_confirmed_response(sequence: Sequence11) -> BestResponse | None:
    """The first confirmed CR, else the first confirmed PR, else None."""
    for wanted in (R.CR, R.PR):
        pair = _confirmed_pair(sequence, frozenset({wanted}))
        if pair:
            first, second = pair
            return _best(wanted, first, f"on {first.when}, confirmed by {second.value} on {second.when}")
    return None


def _without_response(sequence: Sequence11, entries: Sequence[Dated]) -> BestResponse:
    kept = stable_or_free(sequence, entries)
    if kept:
        return kept
    progression = _first(entries, lambda e: e.value is R.PD)
    if progression:
        return _best(R.PD, progression, f"progression on {progression.when} with no better response before")
    back = _disease_after_complete_response(entries)
    if back:
        return _best(R.PD, back, f"disease on {back.when} after CR, too early for SD (Table 3)")
    return not_evaluable(sequence, entries)


def stable_or_free(sequence: Sequence11, entries: Sequence[Dated]) -> BestResponse | None:
    """SD or Non-CR/Non-PD that lasted long enough, or no disease at all; None if there is none of these."""
    stable = _first(entries, lambda e: e.value in _CONTROLLED and sequence.is_long_enough(e))
    if stable:
        return _best(R.SD, stable, _stable_reason(sequence, stable))
    lasting = _first(entries, lambda e: e.value is R.NON_CR_NON_PD and sequence.is_long_enough(e))
    if lasting:
        return _best(R.NON_CR_NON_PD, lasting, _stable_reason(sequence, lasting))
    free = _first(entries, lambda e: e.value is R.NED)
    if free and not _first(entries, lambda e: e.value is R.PD):
        return _best(R.NED, free, f"no disease at baseline, none on {free.when}")
    return None


def not_evaluable(sequence: Sequence11, entries: Sequence[Dated]) -> BestResponse:
    """NE with its reason; ND where nothing was ever done, MISSING (or NE by policy) without assessments."""
    # The first of the time points that add up to NE: never seen, or seen too early to be stable.
    found = _first(entries, lambda e: e.value is not R.ND)
    if found is None and entries:
        return _best(R.ND, entries[0], "no assessment was done")
    if found is None:
        value = R.NE if sequence.policies.missing_as_not_evaluable else R.MISSING
        return BestResponse(value=value, reason="no assessment after baseline")
    early = _first(entries, lambda e: e.value in _CONTROLLED or e.value is R.NON_CR_NON_PD)
    if early:
        days = days_between(sequence.start, early.date)
        needed = sequence.policies.minimum_stable_days
        return _best(
            R.NE, found, f"{early.value} on {early.when} is {days} days after the start; SD needs {needed}"
        )
    return _best(R.NE, found, "no evaluable assessment")


def _disease_after_complete_response(entries: Sequence[Dated]) -> Dated | None:
    """Disease seen after an (unconfirmed) CR has reappeared: progression (RECIST 1.1, Table 3, note a)."""
    complete = False
    for entry in entries:
        if complete and entry.value in (R.PR, R.SD, R.NON_CR_NON_PD):
            return entry
        complete = complete or entry.value is R.CR
    return None


def _stable_reason(sequence: Sequence11, entry: Dated) -> str:
    days = days_between(sequence.start, entry.date)
    if days is None:
        return f"{entry.value} on {entry.when}; the days from the start are unknown and taken as enough"
    needed = sequence.policies.minimum_stable_days
    note = "" if entry.value in (R.SD, R.NON_CR_NON_PD) else f" ({entry.value}, not confirmed)"
    return f"no progression on {entry.when}, {days} days after the start (needs {needed}){note}"


def _best(value: Response, entry: Dated, reason: str) -> BestResponse:
    return BestResponse(
        value=value, date=entry.date, time_point=entry.time_point, reason=f"{value}: {reason}"
    )


def _first(entries: Sequence[Dated], fits: Callable[[Dated], bool]) -> Dated | None:
    return next((entry for entry in entries if fits(entry)), None)


# ---------------------------------------------------------------- events and durations


def _confirmed_pair(sequence: Sequence11, wanted: frozenset[Response]) -> tuple[Dated, Dated] | None:
    for index, entry in enumerate(sequence.proven):
        if entry.value in wanted:
            by = confirming(sequence.proven, index, sequence.policies)
            if by is not None:
                return entry, sequence.proven[by]
    return None


def response_event(sequence: Sequence11) -> Event:
    """Whether there was a CR or PR up to first progression, and the day of the first one."""
    found = _first(sequence.shown, lambda e: e.value in _RESPONDING)
    if found is None:
        return Event(happened=False, reason="neither CR nor PR before progression")
    return _event(found, f"first {found.value} on {found.when}")


def confirmed_response_event(sequence: Sequence11) -> Event:
    """Whether a CR or PR was confirmed, and the day of the response (not of its confirmation)."""
    pair = _confirmed_pair(sequence, _RESPONDING)
    if pair is None:
        return Event(happened=False, reason="no CR or PR was confirmed")
    first, second = pair
    return _event(first, f"{first.value} on {first.when}, confirmed on {second.when}")


def progression_event(sequence: Sequence11) -> Event:
    """Whether there was progression, and the day of the first."""
    found = sequence.progression
    if found is None:
        return Event(happened=False, reason="no progression up to the last assessment")
    return _event(found, f"progression on {found.when}")


def clinical_benefit_event(sequence: Sequence11, response: Event) -> Event:
    """Response, or control for the minimum duration; the earlier day of the two (admiralonco)."""
    wanted = _CONTROLLED | {R.NON_CR_NON_PD}
    stable = _first(sequence.shown, lambda e: e.value in wanted and sequence.is_long_enough(e))
    if response.happened and (stable is None or not _is_before(stable.date, response.date)):
        return response
    if stable is not None:
        return _event(stable, _stable_reason(sequence, stable))
    days = sequence.policies.minimum_stable_days
    return Event(happened=False, reason=f"neither a response nor {days} days without progression")


def disease_control_event(best: BestResponse) -> Event:
    """Whether the best overall response is CR, PR, SD or Non-CR/Non-PD."""
    happened = best.value in _CONTROLLED or best.value is R.NON_CR_NON_PD
    return Event(
        happened=happened,
        date=best.date if happened else None,
        time_point=best.time_point if happened else None,
        reason=f"best overall response {best.value}",
    )


def time_to_response(sequence: Sequence11, response: Event) -> Duration | None:
    """Days from the start to the first response."""
    return _duration(sequence.start, response.date) if response.happened else None


def duration_of_response(sequence: Sequence11, response: Event) -> Duration | None:
    """Days from the response to progression, or to the last evaluable assessment before it (censored)."""
    if not response.happened:
        return None
    if sequence.progression is not None:
        return _duration(response.date, sequence.progression.date)
    last = [e.date for e in sequence.shown if e.value in _EVALUABLE and e.date is not None]
    return _duration(response.date, last[-1] if last else None, is_censored=True)


def _duration(start: date | None, end: date | None, *, is_censored: bool = False) -> Duration | None:
    if start is None or end is None:
        return None
    return Duration(days=(end - start).days, start=start, end=end, is_censored=is_censored)


def _event(entry: Dated, reason: str) -> Event:
    return Event(happened=True, date=entry.date, time_point=entry.time_point, reason=reason)


def _is_before(one: date | None, other: date | None) -> bool:
    return one is not None and other is not None and one < other
