"""The life of a lesion: its states over time, and what a reader decided about it.

A reader's decision is a value with an author, a time and a reason. It names lesions by tracking UID and time
points by id, never by a place in a list, so it holds when the pipeline runs again; it is never edited, only
withdrawn by another one. Applying the decisions to what the pipeline saw is a pure function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response import (
    Intervention,
    InterventionEffect,
    InterventionKind,
    NewLesion,
    Observation,
    Response,
    Timeline,
    TimePoint,
)

S = LesionState

# ---------------------------------------------------------------- states and transitions


class Passage(StrEnum):
    """How a change of state from one time point to the next is taken."""

    EXPECTED = "expected"
    NEEDS_READER = "needs a reader"  # possible, but worth a second look before it counts


_UNSEEN = (S.NOT_EVALUABLE, S.TRACKING_FAILED)
_EXPECTED: Mapping[LesionState, tuple[LesionState, ...]] = {
    S.PRESENT: (S.PRESENT, S.TOO_SMALL, S.DISAPPEARED),
    S.TOO_SMALL: (S.PRESENT, S.TOO_SMALL, S.DISAPPEARED),
    S.DISAPPEARED: (S.DISAPPEARED,),
    S.MERGED: (S.MERGED, S.DISAPPEARED),
    S.SPLIT: (S.SPLIT, S.TOO_SMALL, S.DISAPPEARED),
    S.NOT_EVALUABLE: tuple(S),
    S.TRACKING_FAILED: tuple(S),
}
_WHY: Mapping[tuple[LesionState, LesionState], str] = {
    (S.DISAPPEARED, S.PRESENT): "the lesion is seen again: reappearance can be progression",
    (S.DISAPPEARED, S.TOO_SMALL): "the lesion is seen again: reappearance can be progression",
    (S.DISAPPEARED, S.MERGED): "a lesion that was gone can't merge; was it gone?",
    (S.DISAPPEARED, S.SPLIT): "a lesion that was gone can't split; was it gone?",
    (S.PRESENT, S.MERGED): "one diameter now stands for several lesions",
    (S.TOO_SMALL, S.MERGED): "one diameter now stands for several lesions",
    (S.SPLIT, S.MERGED): "the parts, or other lesions, have joined: one diameter stands for them",
    (S.PRESENT, S.SPLIT): "the diameters of the parts are added",
    (S.TOO_SMALL, S.SPLIT): "a lesion too small to measure has parts: check the outline",
    (S.MERGED, S.PRESENT): "merged lesions are apart again: check which is which",
    (S.MERGED, S.TOO_SMALL): "merged lesions are apart again: check which is which",
    (S.MERGED, S.SPLIT): "merged lesions are apart again: check which is which",
    (S.SPLIT, S.PRESENT): "the parts have joined again",
}


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One row of the table of changes of state."""

    before: LesionState
    after: LesionState
    passage: Passage
    reason: str = ""


def transition(before: LesionState, after: LesionState) -> Transition:
    """How a change of state is taken; total."""
    if after in _UNSEEN or after in _EXPECTED[before]:
        return Transition(before=before, after=after, passage=Passage.EXPECTED)
    return Transition(
        before=before,
        after=after,
        passage=Passage.NEEDS_READER,
        reason=_WHY.get((before, after), "unusual change"),
    )


TRANSITIONS: tuple[Transition, ...] = tuple(transition(before, after) for before in S for after in S)
"""The whole table: every state to every state."""


def doubtful_transitions(states: Sequence[LesionState | None]) -> tuple[tuple[int, Transition], ...]:
    """The changes in a lesion's states over time that need a reader, each with the index of its later state.

    A time point where the lesion was not seen (None, not evaluable, tracking failed) is looked past: what
    counts is the last state that was seen.
    """
    found: list[tuple[int, Transition]] = []
    last: LesionState | None = None
    for index, state in enumerate(states):
        if state is None or state in _UNSEEN:
            continue
        if last is not None:
            change = transition(last, state)
            if change.passage is Passage.NEEDS_READER:
                found.append((index, change))
        last = state
    return tuple(found)


# ---------------------------------------------------------------- a reader's decisions


class Decision(StrEnum):
    """What a reader can decide about a lesion, or about the disease as a whole."""

    SET_ROLE = "set role"
    SET_STATE = "set state"
    SET_DIAMETER = "set diameter"
    MERGE = "merge"  # the lesion has merged into `other`
    SPLIT = "split"  # the lesion and `other` are parts of one; `other` is counted with it
    EXCLUDE = "exclude"  # leave out of the assessment, e.g. after local treatment
    NOT_A_LESION = "not a lesion"
    NOT_EVALUABLE = "not evaluable"  # at one time point, for the reason given
    INTERVENTION = "intervention"  # surgery, radiotherapy, biopsy ... of the lesion
    UNEQUIVOCAL_PROGRESSION = (
        "unequivocal progression"  # of a non-target lesion, or of all non-target disease
    )
    NEW_LESION = "new lesion"  # definite or equivocal: `finding`
    SET_OVERALL = "set overall response"  # stands over the computed one, which is kept beside it
    CONFIRM = "confirm"  # looked at and right as it is: `state` and `diameter_um` say what was seen
    WITHDRAW = "withdraw"  # takes the decision `other` back


_NEEDS: Mapping[Decision, tuple[str, ...]] = MappingProxyType(
    {
        Decision.SET_ROLE: ("lesion", "role"),
        Decision.SET_STATE: ("lesion", "state", "time_point"),
        Decision.SET_DIAMETER: ("lesion", "diameter_um", "time_point"),
        Decision.MERGE: ("lesion", "other", "time_point"),
        Decision.SPLIT: ("lesion", "other", "time_point"),
        Decision.EXCLUDE: ("lesion",),
        Decision.NOT_A_LESION: ("lesion",),
        Decision.NOT_EVALUABLE: ("lesion", "time_point"),
        Decision.INTERVENTION: ("lesion", "intervention", "time_point"),
        Decision.UNEQUIVOCAL_PROGRESSION: ("time_point",),
        Decision.NEW_LESION: ("finding", "time_point"),
        Decision.SET_OVERALL: ("overall", "time_point"),
        Decision.CONFIRM: ("lesion", "state", "time_point"),
        Decision.WITHDRAW: ("other",),
    }
)
# What changes something says why; that a finding is right needs no reason.
NEEDS_NO_REASON = frozenset({Decision.CONFIRM})
# What is said of a follow-up and can't be said of a baseline.
_OF_FOLLOW_UPS = frozenset({Decision.UNEQUIVOCAL_PROGRESSION, Decision.NEW_LESION, Decision.SET_OVERALL})


@dataclass(frozen=True, kw_only=True)
class Override:
    """A reader's decision; an immutable row of the audit.

    Attributes
    ----------
    id
        Unique; what a withdrawal names.
    lesion
        The lesion's tracking UID (for a withdrawal, that of the decision taken back). None where the decision
        is about the whole: an overall response, progression of non-target disease, a new lesion that
        nobody has outlined.
    time_point
        Where it holds: this one and all later ones for merge, split, exclusion and an intervention that
        excludes, else this one. None: everywhere.
    other
        The other lesion's tracking UID of a merge or split, or the id of the decision that is withdrawn.
    finding
        Of a new lesion: YES (definite) or EQUIVOCAL.
    intervention
        What was done, on which day, and what that does to the assessment.
    overall
        The response that the reader sets over the computed one.

    Raises
    ------
    ValueError
        If the decision lacks what it needs, or has no author, or no reason where it changes something.
    """

    id: str
    decision: Decision
    by: str
    at: datetime
    reason: str
    lesion: str | None = None
    time_point: str | None = None
    role: LesionRole | None = None
    state: LesionState | None = None
    diameter_um: int | None = None
    other: str | None = None
    finding: NewLesion | None = None
    intervention: Intervention | None = None
    overall: Response | None = None

    def __post_init__(self) -> None:
        for name in ("by",) if self.decision in NEEDS_NO_REASON else ("by", "reason"):
            if not getattr(self, name).strip():
                raise ValueError(
                    f"the decision {self.id!r} ({self.decision}) has no {name!r}; say who and why"
                )
        for name in _NEEDS[self.decision]:
            if getattr(self, name) is None:
                raise ValueError(f"the decision {self.id!r} ({self.decision}) needs {name!r}")
        if self.diameter_um is not None and self.diameter_um < 0:
            raise ValueError(f"the decision {self.id!r}: {self.diameter_um} µm is negative")
        if self.other == self.lesion and self.decision in (Decision.MERGE, Decision.SPLIT):
            raise ValueError(f"the decision {self.id!r} joins lesion {self.lesion} with itself")
        if self.lesion is not None and self.decision is Decision.SET_OVERALL:
            raise ValueError(f"the decision {self.id!r}: an overall response is of no single lesion")
        if self.finding not in (None, NewLesion.YES, NewLesion.EQUIVOCAL):
            raise ValueError(
                f"the decision {self.id!r}: a new lesion is definite (yes) or equivocal, not "
                f"{self.finding.value!r}; what is none is {Decision.NOT_A_LESION.value!r}"
            )

    @property
    def subject(self) -> str:
        """The lesion that it is about, or the time point as a whole; for people."""
        return self.lesion or self.time_point or "the whole"

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["at"] = self.at.isoformat()
        if self.intervention is not None:
            done = self.intervention
            stored = {"kind": done.kind, "effect": done.effect, "date": done.date and done.date.isoformat()}
            values["intervention"] = {name: value for name, value in stored.items() if value is not None}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Override:
        """The decision that `to_dict` wrote."""
        values = dict(stored)
        values["decision"] = Decision(values["decision"])
        values["at"] = datetime.fromisoformat(values["at"])
        for name, kind in _KINDS:
            if values.get(name) is not None:
                values[name] = kind(values[name])
        if values.get("intervention") is not None:
            values["intervention"] = _intervention(values["intervention"])
        return cls(**values)


_KINDS: tuple[tuple[str, type[StrEnum]], ...] = (
    ("role", LesionRole),
    ("state", LesionState),
    ("finding", NewLesion),
    ("overall", Response),
)


def _intervention(stored: Mapping[str, Any]) -> Intervention:
    day, effect = stored.get("date"), stored.get("effect")
    return Intervention(
        kind=InterventionKind(stored["kind"]),
        effect=None if effect is None else InterventionEffect(effect),
        date=None if day is None else date.fromisoformat(day),
    )


@dataclass(frozen=True, kw_only=True)
class Overridden:
    """A timeline with the decisions in it, those in force, and a note for each that has to wait."""

    timeline: Timeline
    in_force: tuple[Override, ...]
    notes: tuple[str, ...] = ()


def in_force(overrides: Iterable[Override]) -> tuple[Override, ...]:
    """The decisions that nobody took back, oldest first. A withdrawal can itself be withdrawn."""
    return tuple(o for o in _standing(overrides) if o.decision is not Decision.WITHDRAW)


def _standing(overrides: Iterable[Override]) -> tuple[Override, ...]:
    """What nobody took back, oldest first, the withdrawals among them."""
    ordered = sorted(overrides, key=lambda o: (o.at, o.id))
    gone: set[str] = set()
    for override in reversed(ordered):
        if override.decision is Decision.WITHDRAW and override.id not in gone and override.other is not None:
            gone.add(override.other)
    return tuple(o for o in ordered if o.id not in gone)


def last_of(overrides: Iterable[Override], *, by: str, time_point: str) -> tuple[Override, ...]:
    """What undo takes back: a reader's latest decisions, made in one go, at a time point or on the whole."""
    own = [o for o in in_force(overrides) if o.by == by and o.time_point in (None, time_point)]
    return tuple(o for o in own if o.at == own[-1].at)


def confirmation_of(
    overrides: Iterable[Override],
    *,
    lesion: str,
    time_point: str,
    state: LesionState | None,
    diameter_um: int | None,
) -> Override | None:
    """Who confirmed what is seen of a lesion at a time point, or None.

    A confirmation is of what was seen then: it lapses when the lesion gets another state or size.
    """
    latest: Override | None = None
    for override in in_force(overrides):
        if override.lesion == lesion and override.time_point == time_point:
            latest = override if override.decision is Decision.CONFIRM else latest
    is_same = latest is not None and (latest.state, latest.diameter_um) == (state, diameter_um)
    return latest if is_same else None


def refusal(override: Override, others: Iterable[Override]) -> str:
    """Why a decision can't stand beside those that hold, or "".

    A merge must not lead back to its lesion, and only what holds can be withdrawn. What asks a reader for a
    decision asks this first; `apply_overrides` leaves such a merge out.
    """
    if override.decision is Decision.WITHDRAW:
        return _why_not_withdrawn(override, list(others))
    if override.decision is not Decision.MERGE or override.lesion is None:
        return ""
    into = {o.lesion: o.other for o in in_force(others) if o.decision is Decision.MERGE}
    chain, next_one = [override.lesion], override.other
    while next_one is not None and next_one not in chain:
        chain.append(next_one)
        next_one = into.get(next_one)
    if next_one != override.lesion:
        return ""
    return f"lesions would merge in a ring: {' into '.join((*chain, override.lesion))}"


def _why_not_withdrawn(override: Override, others: Sequence[Override]) -> str:
    if override.other not in {o.id for o in others}:
        return f"there is no decision {override.other}"
    holding = {o.id for o in _standing(others)}
    return "" if override.other in holding else f"decision {override.other} has been withdrawn already"


def apply_overrides(timeline: Timeline, overrides: Iterable[Override]) -> Overridden:
    """What the pipeline saw, as the readers see it; later decisions go over earlier ones.

    A decision whose lesion or time point is not in this run changes nothing and is kept: it holds again
    when they come back. An overall response that a reader set stands in the time point as a given one, so
    that `assess` keeps the computed one beside it and warns where they differ.
    """
    kept = in_force(overrides)
    notes: list[str] = []
    applied: list[Override] = []
    for override in kept:
        if override.decision is Decision.CONFIRM:
            continue
        missing = _missing(timeline, override) or refusal(override, applied)
        if missing:
            notes.append(f"{override.decision} of {override.subject} by {override.by} waits: {missing}")
            continue
        timeline = _apply(timeline, override)
        applied.append(override)
    return Overridden(timeline=timeline, in_force=kept, notes=tuple(notes))


def _missing(timeline: Timeline, override: Override) -> str:
    lesions = {lesion.id for lesion in timeline.lesions}
    if override.lesion is not None and override.lesion not in lesions:
        return f"lesion {override.lesion} is not in this run"
    if override.decision in (Decision.MERGE, Decision.SPLIT) and override.other not in lesions:
        return f"lesion {override.other} is not in this run"
    if override.time_point is not None and override.time_point not in {p.id for p in timeline.time_points}:
        return f"time point {override.time_point} is not in this run"
    baseline = timeline.baseline
    if override.decision in _OF_FOLLOW_UPS and baseline is not None and override.time_point == baseline.id:
        return f"{override.time_point} is the baseline, which has no response"
    return ""


def _apply(timeline: Timeline, override: Override) -> Timeline:
    match override.decision:
        case Decision.SET_ROLE:
            return _with_role(timeline, override.lesion, override.role or LesionRole.TARGET)
        case Decision.SET_STATE:
            return _observed(timeline, override, _with_state, only_here=True)
        case Decision.SET_DIAMETER:
            return _observed(timeline, override, _with_diameter, only_here=True)
        case Decision.MERGE:
            return _observed(timeline, override, _merged)
        case Decision.SPLIT:
            return _joined_parts(timeline, override)
        case Decision.NOT_EVALUABLE:
            return _observed(timeline, override, _not_evaluable, only_here=True)
        case Decision.INTERVENTION:
            # The engine carries the effect on to later time points.
            return _observed(timeline, override, _treated, only_here=True)
        case Decision.UNEQUIVOCAL_PROGRESSION if override.lesion is None:
            return _at(timeline, override, non_target=Response.PD)
        case Decision.UNEQUIVOCAL_PROGRESSION:
            return _observed(timeline, override, _progressed, only_here=True)
        case Decision.NEW_LESION if override.lesion is None:
            return _at(timeline, override, new_lesion=override.finding)
        case Decision.NEW_LESION:
            new = _with_role(timeline, override.lesion, LesionRole.NEW)
            return _observed(new, override, _found, only_here=True)
        case Decision.SET_OVERALL:
            return _at(timeline, override, overall=override.overall)
        case Decision.EXCLUDE if override.time_point is not None:
            return _observed(timeline, override, _not_evaluable)
        case _:
            return _without(timeline, override.lesion)


def _at(timeline: Timeline, override: Override, **levels: Any) -> Timeline:
    """The timeline with a level given at the decision's time point."""
    points = tuple(
        replace(point, **levels) if point.id == override.time_point else point
        for point in timeline.time_points
    )
    return replace(timeline, time_points=points)


_Change = Callable[[Observation | None, Override], Observation | None]


def _with_role(timeline: Timeline, lesion: str | None, role: LesionRole) -> Timeline:
    lesions = tuple(replace(x, role=role) if x.id == lesion else x for x in timeline.lesions)
    return replace(timeline, lesions=lesions)


def _without(timeline: Timeline, lesion: str | None) -> Timeline:
    points = tuple(_replaced(point, lesion, None) for point in timeline.time_points)
    return replace(timeline, lesions=tuple(x for x in timeline.lesions if x.id != lesion), time_points=points)


def _affected(timeline: Timeline, override: Override, *, only_here: bool) -> frozenset[str]:
    """Ids of the time points that a decision reaches."""
    ids = [point.id for point in timeline.time_points]
    if override.time_point is None:
        return frozenset(ids)
    start = ids.index(override.time_point)
    return frozenset(ids[start : start + 1] if only_here else ids[start:])


def _observed(
    timeline: Timeline, override: Override, change: _Change, *, only_here: bool = False
) -> Timeline:
    reached, lesion = _affected(timeline, override, only_here=only_here), override.lesion or ""
    points = tuple(
        _replaced(point, lesion, change(point.observation_of(lesion), override))
        if point.id in reached
        else point
        for point in timeline.time_points
    )
    return replace(timeline, time_points=points)


def _replaced(point: TimePoint, lesion: str | None, observation: Observation | None) -> TimePoint:
    if lesion is None or (observation is None and point.observation_of(lesion) is None):
        return point
    others = [o for o in point.observations if o.lesion != lesion]
    return replace(point, observations=(*others, *(() if observation is None else (observation,))))


def _seen(seen: Observation | None, override: Override) -> Observation:
    """What was seen of the lesion; nothing, where it was not."""
    return seen or Observation(lesion=override.lesion or "")


def _with_state(seen: Observation | None, override: Override) -> Observation:
    """The state alone; what was measured stays only where the state has a measurement."""
    keeps = override.state in (S.PRESENT, S.SPLIT, S.MERGED)
    return replace(_seen(seen if keeps else None, override), state=override.state)


def _with_diameter(seen: Observation | None, override: Override) -> Observation:
    base = _seen(seen, override)
    has_place = base.state in (S.PRESENT, S.SPLIT, S.MERGED, S.TOO_SMALL)
    state = base.state if has_place else S.PRESENT
    return replace(base, state=state, diameter_um=override.diameter_um, fragments_um=())


def _merged(seen: Observation | None, override: Override) -> Observation | None:
    """Merged into another lesion, which carries the one diameter; a visit that nobody read stays unread."""
    if seen is None or seen.state in _UNSEEN or seen.state is S.DISAPPEARED:
        return seen
    return replace(_seen(None, override), state=S.MERGED, merged_into=override.other)


def _not_evaluable(seen: Observation | None, override: Override) -> Observation:
    return replace(_seen(None, override), state=S.NOT_EVALUABLE, reason=override.reason)


def _treated(seen: Observation | None, override: Override) -> Observation:
    return replace(_seen(seen, override), intervention=override.intervention)


def _progressed(seen: Observation | None, override: Override) -> Observation:
    """Progression is seen on a lesion that is there, whatever the pipeline made of it."""
    is_there = seen is not None and seen.state not in (*_UNSEEN, S.DISAPPEARED)
    base = _seen(seen if is_there else None, override)
    return replace(base, state=base.state or S.PRESENT, has_progressed=True)


def _found(seen: Observation | None, override: Override) -> Observation:
    """Definite or equivocal; a lesion that the pipeline did not see here is there by the reader's word."""
    is_there = seen is not None and seen.state not in (*_UNSEEN, S.DISAPPEARED)
    base = _seen(seen if is_there else None, override)
    is_equivocal = override.finding is NewLesion.EQUIVOCAL
    return replace(base, state=base.state or S.PRESENT, is_equivocal=is_equivocal)


def _joined_parts(timeline: Timeline, override: Override) -> Timeline:
    """`other` is a part of the lesion: its diameter is added, and it is no lesion of its own any more."""
    nodal = {lesion.id: lesion.is_nodal for lesion in timeline.lesions}
    reached = _affected(timeline, override, only_here=False)
    lesion, other = override.lesion or "", override.other or ""
    points = []
    for point in timeline.time_points:
        whole, part = point.observation_of(lesion), point.observation_of(other)
        if point.id in reached and part is not None:
            sizes = (*_sizes(whole, nodal[lesion]), *_sizes(part, nodal[other]))
            joined = Observation(lesion=lesion, state=S.SPLIT, fragments_um=sizes) if sizes else whole
            point = _replaced(point, lesion, joined)
        points.append(_replaced(point, other, None))
    lesions = tuple(x for x in timeline.lesions if x.id != other)
    return replace(timeline, lesions=lesions, time_points=tuple(points))


def _sizes(seen: Observation | None, is_nodal: bool) -> tuple[int, ...]:
    if seen is None or seen.state in _UNSEEN:
        return ()
    if seen.fragments_um:
        return seen.fragments_um
    measured = seen.diameter_um
    if measured is None:
        measured = seen.short_axis_um if is_nodal else seen.long_axis_um
    return () if measured is None else (measured,)
