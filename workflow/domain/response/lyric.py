"""LYRIC: Lugano under immunomodulatory therapy, where a first progression may be a flare (Cheson 2016).

What Lugano calls PD is first an indeterminate response, and followed:

IR1
    the sum of products 50 % above its least within the first twelve weeks, without clinical deterioration;
IR2
    a new lesion, or a lesion that grew by 50 %, at any time while the sum has not grown by 50 %;
IR3
    more uptake without growth that would be progression.

It becomes PD by further growth: after IR1 the sum 10 % above that at the IR and a lesion 5 mm (if at most
20 mm) or 10 mm longer; after IR2 the sum of the targets and of the new lesions (six in all) 50 % above its
least; after IR3 growth is judged like a first one. The day of PD is that of the first IR, unless an
objective response lies between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from workflow.domain.response import lugano
from workflow.domain.response.confirmation import days_between
from workflow.domain.response.course import Assessment
from workflow.domain.response.perpendicular import (
    Size,
    area_text,
    change_text,
    product,
    size_text,
    sizes_at,
    sum_of_products,
)
from workflow.domain.response.quantities import mm_text
from workflow.domain.response.timeline import ClinicalStatus, Lesion, Timeline, TimePoint
from workflow.domain.response.values import NOT_EVALUABLE, Response

R = Response

FIRST_WEEKS_DAYS = 84
MAXIMUM_LESIONS = 6
_INDETERMINATE = frozenset({R.IR1, R.IR2, R.IR3})


@dataclass(frozen=True, kw_only=True)
class _Open:
    """An indeterminate response that is being followed.

    `sizes` are those of the followed lesions at the first IR; `least_spd` is the least sum of their products
    (µm²), lesions that were new taken at the size at which they were first measured.
    """

    kind: Response
    began: str
    followed: tuple[Lesion, ...]
    sizes: Mapping[str, Size | None]
    least_spd: int | None


def assess_time_points(timeline: Timeline) -> tuple[Assessment, ...]:
    """The response of every time point: Lugano's, or IR1, IR2, IR3 where that is PD for the first time."""
    targets = lugano.targets_of(timeline)
    history = lugano.history_of(targets, timeline.baseline)
    assessments = [lugano.assess_baseline(timeline.baseline, history)] if timeline.baseline else []
    pending: _Open | None = None
    progressed = ""
    for point in timeline.follow_ups:
        plain = lugano.assess_point(timeline, targets, point, history)
        assessment, pending = _judge(timeline, targets, point, plain, history, pending)
        if progressed and assessment.overall in _INDETERMINATE:
            reason = f"PD since {progressed}, not indeterminate again; {plain.reason}"
            assessment, pending = replace(plain, reason=reason), None
        if assessment.overall is R.PD:
            progressed = progressed or point.when
        assessments.append(assessment)
        history = history.after(sizes_at(targets, point), point.spleen_um)
    return tuple(assessments)


def dated_back(assessments: Sequence[Assessment]) -> tuple[Assessment, ...]:
    """The assessments for best response: a confirmed PD is dated to the first IR of its block."""
    dated = list(assessments)
    block: list[int] = []
    for index, assessment in enumerate(assessments):
        if assessment.overall in _INDETERMINATE:
            block.append(index)
        elif assessment.overall is R.PD and block:
            dated[block[0]] = replace(dated[block[0]], overall=R.PD)
            block = []
        elif assessment.overall in (R.CR, R.PR):
            block = []
    return tuple(dated)


def _judge(
    timeline: Timeline,
    targets: Sequence[Lesion],
    point: TimePoint,
    plain: Assessment,
    history: lugano.History,
    pending: _Open | None,
) -> tuple[Assessment, _Open | None]:
    if point.overall is not None:
        return _given(plain, pending)
    if pending is not None:
        return _followed(timeline, targets, point, plain, history, pending)
    if plain.overall is not R.PD:
        return plain, None
    kind, reason = _kind(timeline, targets, point, plain, history)
    if kind is R.PD:
        return replace(plain, reason=f"PD: {reason}; {_without_word(plain)}"), None
    opened = _opened(timeline, targets, point, history, kind)
    return replace(plain, overall=kind, reason=f"{kind}: {reason}; {_without_word(plain)}"), opened


def _given(plain: Assessment, pending: _Open | None) -> tuple[Assessment, _Open | None]:
    keeps = plain.overall in _INDETERMINATE or plain.overall in NOT_EVALUABLE
    return plain, pending if keeps else None


def _kind(
    timeline: Timeline,
    targets: Sequence[Lesion],
    point: TimePoint,
    plain: Assessment,
    history: lugano.History,
) -> tuple[Response, str]:
    """Which indeterminate response a first progression is, or PD; IR1 and IR2 go before IR3."""
    sizes = sizes_at(targets, point)
    has_grown = _is_half_more(sum_of_products(sizes), history.smallest_spd)
    if has_grown:
        return _first_pattern(timeline, point, sizes, history)
    if plain.target is R.PMD:
        return R.IR3, "more uptake without growth that would be progression"
    new = lugano.new_lesions(timeline, point)
    if lugano.has_new_lesion(point, new):
        return R.IR2, "new lesion while the sum of products has not grown by half"
    if lugano.grown_lesions(targets, sizes, history):
        return R.IR2, "growth of single lesions while the sum of products has not grown by half"
    return R.PD, "none of the indeterminate patterns"


def _first_pattern(
    timeline: Timeline, point: TimePoint, sizes: Mapping[str, Size | None], history: lugano.History
) -> tuple[Response, str]:
    grown = change_text(sum_of_products(sizes) or 0, history.smallest_spd or 0, "least")
    if point.clinical_status is ClinicalStatus.WORSE:
        return R.PD, f"{grown}, with clinical deterioration"
    days = days_between(timeline.start, point.date)
    if days is None:
        return R.PD, f"{grown}; the days from the start are unknown"
    if days > FIRST_WEEKS_DAYS:
        return R.PD, f"{grown}, {days} days after the start"
    return R.IR1, f"{grown}, {days} days after the start"


def _is_half_more(now: int | None, least: int | None) -> bool:
    return now is not None and least is not None and now > least and 2 * now >= 3 * least


def _opened(
    timeline: Timeline,
    targets: Sequence[Lesion],
    point: TimePoint,
    history: lugano.History,
    kind: Response,
) -> _Open:
    """What is followed: the targets, and with IR2 the new lesions beside them."""
    opened = _Open(
        kind=kind,
        began=point.when,
        followed=tuple(targets),
        sizes=sizes_at(targets, point),
        least_spd=history.smallest_spd,
    )
    return _with_new_lesions(timeline, point, opened) if kind is R.IR2 else opened


def _with_new_lesions(timeline: Timeline, point: TimePoint, pending: _Open) -> _Open:
    """The largest of the lesions that are new at this time point, as long as there are no more than six."""
    known = {lesion.id for lesion in pending.followed}
    found = [name for name in lugano.new_lesions(timeline, point) if name not in known]
    measured = sizes_at([x for x in timeline.lesions if x.id in found], point)
    areas = {name: product(size) for name, size in measured.items() if size is not None}
    room = max(MAXIMUM_LESIONS - len(pending.followed), 0)
    chosen = sorted(areas, key=lambda name: (-areas[name], name))[:room]
    added = sum(areas[name] for name in chosen)
    has_least = pending.least_spd is not None or not pending.followed
    return replace(
        pending,
        followed=(*pending.followed, *(x for x in timeline.lesions if x.id in chosen)),
        # The least of the new set: a new lesion starts at the size at which it was first measured.
        least_spd=(pending.least_spd or 0) + added if has_least and chosen else pending.least_spd,
    )


def _followed(
    timeline: Timeline,
    targets: Sequence[Lesion],
    point: TimePoint,
    plain: Assessment,
    history: lugano.History,
    pending: _Open,
) -> tuple[Assessment, _Open | None]:
    since = f"{pending.kind} of {pending.began}"
    if plain.overall in NOT_EVALUABLE:
        return plain, pending
    if plain.overall is not R.PD and not (reason := _progression(point, plain, pending)):
        return replace(plain, reason=f"{plain.reason}; the {since} is not confirmed"), None
    if pending.kind is R.IR3:
        # Uptake alone never confirms itself; growth after it is judged like a first one.
        kind, reason = _kind(timeline, targets, point, plain, history)
        if kind is R.PD:
            return replace(plain, reason=f"PD: confirms the {since}: {reason}"), None
        kept = pending if kind is R.IR3 else _opened(timeline, targets, point, history, kind)
        kept = replace(kept, began=pending.began)
    else:
        if pending.kind is R.IR2:
            pending = _with_new_lesions(timeline, point, pending)
        if reason := _progression(point, plain, pending):
            return replace(plain, overall=R.PD, reason=f"PD: confirms the {since}: {reason}"), None
        kind, kept = pending.kind, pending
        now = sum_of_products(sizes_at(kept.followed, point))
        kept = replace(kept, least_spd=lugano.least(kept.least_spd, now))
    reason = f"{kind}: since {pending.began}, not confirmed: {_without_word(plain)}"
    return replace(plain, overall=kind, reason=reason), kept


def _progression(point: TimePoint, plain: Assessment, pending: _Open) -> str:
    """Why an indeterminate response is progression, or ""."""
    if plain.overall is R.PD and point.clinical_status is ClinicalStatus.WORSE:
        return "still progression, with clinical deterioration"
    sizes = sizes_at(pending.followed, point)
    now = sum_of_products(sizes)
    if pending.kind is R.IR1:
        return _after_first_pattern(now, sizes, pending)
    if pending.kind is R.IR2 and _is_half_more(now, pending.least_spd):
        grown = change_text(now or 0, pending.least_spd or 0, "least")
        return f"{grown}, lesions of the IR included"
    return ""


def _after_first_pattern(now: int | None, sizes: Mapping[str, Size | None], pending: _Open) -> str:
    then = sum_of_products(pending.sizes)
    longer = _longer(sizes, pending.sizes)
    if now is None or not then or 10 * now < 11 * then or not longer:
        return ""
    return f"sum of products {area_text(now)}, from {area_text(then)} at the IR; {longer}"


def _longer(sizes: Mapping[str, Size | None], before: Mapping[str, Size | None]) -> str:
    """The first lesion of which a diameter is 5 mm (10 mm if it was above 20 mm) longer than before."""
    for name, now in sizes.items():
        then = before.get(name)
        if now is None or then is None:
            continue
        rise = max(now[0] - then[0], now[1] - then[1])
        if rise >= (5_000 if then[0] <= lugano.LARGE_UM else 10_000):
            return f"{name} {size_text(now)}, {mm_text(rise)} more"
    return ""


def _without_word(assessment: Assessment) -> str:
    return assessment.reason.removeprefix(f"{assessment.overall}: ")
