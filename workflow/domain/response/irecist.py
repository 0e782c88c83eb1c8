"""iRECIST: progression is unconfirmed (iUPD) until it goes on (iCPD), or is taken back (Seymour 2017).

The categories themselves are judged by RECIST 1.1. On top of them runs a state: a block of iUPD
time points that ends with a confirmation or with a response against baseline, which resets the bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from workflow.domain.response.confirmation import days_between
from workflow.domain.response.course import Assessment
from workflow.domain.response.new_lesion_burden import KnownNewLesions, NewLesionBurden, burden_at
from workflow.domain.response.other_lesions import is_assessed, new_lesions_at
from workflow.domain.response.overall import overall_response
from workflow.domain.response.policy import Policies
from workflow.domain.response.quantities import mm_text
from workflow.domain.response.recist11 import assess_point, begin, disease_of, history_after, plain_or_none
from workflow.domain.response.target import PROGRESSION_UM
from workflow.domain.response.timeline import Timeline, TimePoint
from workflow.domain.response.values import NOT_EVALUABLE, PROGRESSION, NewLesion, Response, immune

R = Response

TARGET, NON_TARGET, NEW = "target lesions", "non-target lesions", "new lesions"
_RANK = {R.PD: 0, R.NON_CR_NON_PD: 1, R.SD: 2, R.PR: 3, R.CR: 4}


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A block of unconfirmed progression.

    `causes` are the categories that progressed; `known` the response that the old lesions alone had when it
    began; `lowest_um` and `lowest_new_um` the smallest sums of targets and of new targets since, because
    successive increases add up (EORTC FAQ).
    """

    began: TimePoint
    causes: frozenset[str]
    known: Response
    sum_um: int | None
    lowest_um: int | None
    lowest_new_um: int | None


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One time point as RECIST 1.1 sees it, and its new lesions apart."""

    point: TimePoint
    base: Assessment
    burden: NewLesionBurden
    old: Response  # of target and non-target lesions alone

    @cached_property
    def causes(self) -> frozenset[str]:
        """The categories that progress at this time point."""
        found = set()
        if plain_or_none(self.base.target) is R.PD:
            found.add(TARGET)
        if plain_or_none(self.base.non_target) is R.PD:
            found.add(NON_TARGET)
        if self.burden.has_progressed:
            found.add(NEW)
        if self.reappeared:
            found.add(self.reappeared)
        return frozenset(found)

    @cached_property
    def reappeared(self) -> str:
        """The category that is PD only because disease is seen again after a complete response, or ""."""
        target, non_target = plain_or_none(self.base.target), plain_or_none(self.base.non_target)
        is_level = R.PD in (target, non_target) or self.burden.has_progressed
        if is_level or self.base.overall is not R.PD or self.base.new_lesion is NewLesion.YES:
            return ""
        return TARGET if target in (R.PR, R.SD) else NON_TARGET


def assess_time_points(timeline: Timeline, policies: Policies) -> tuple[Assessment, ...]:
    """The iRECIST response of every time point, in order; the baseline gets its sum and no response."""
    disease = disease_of(timeline)
    found = new_lesions_at(disease.new, timeline.follow_ups)
    known = KnownNewLesions()
    assessments, history = begin(disease, timeline)
    pending: Pending | None = None
    confirmed: TimePoint | None = None
    for point in timeline.follow_ups:
        base = assess_point(disease, point, history, found[point.id], policies)
        old = overall_response(
            plain_or_none(base.target), plain_or_none(base.non_target), has_new_lesion=False
        )
        burden, known_next = burden_at(point, found[point.id], known, disease.new, policies)
        seen = _Seen(point=point, base=base, burden=burden, old=old)
        if point.overall is not None:
            overall, reason, pending = _given(seen, pending)
        elif confirmed is not None:
            overall, reason = R.ICPD, f"iCPD since {confirmed.when}; {base.reason}"
        elif pending is not None and _is_too_early(pending, point, policies):
            if further := _early_confirmation(seen):
                assessments.append(_in_words(base, R.ICPD, _confirmed_early(further, pending)))
                confirmed, pending, known = point, None, known_next
                history = history_after(history, point, _as_history(R.ICPD, base))
                continue
            assessments.append(_in_words(base, R.IUPD, _disregarded(seen, pending, policies)))
            continue
        else:
            overall, reason, pending = _judge(seen, pending)
        if overall is R.ICPD and confirmed is None:
            confirmed = point
        if overall not in NOT_EVALUABLE:
            # An NE visit reaches neither the nadir nor what the next visit is compared with.
            history = history_after(history, point, _as_history(overall, base))
            pending = _lowered(pending, seen)
            known = known_next
        assessments.append(_in_words(base, overall, reason))
    return tuple(assessments)


def _in_words(base: Assessment, overall: Response, reason: str) -> Assessment:
    """The assessment in iRECIST's words."""
    return replace(
        base,
        target=None if base.target is None else immune(base.target),
        non_target=None if base.non_target is None else immune(base.non_target),
        overall=immune(overall),
        reason=reason,
    )


def _as_history(overall: Response, base: Assessment) -> Assessment:
    """What RECIST's history learns: an overall CR counts as one only where iRECIST calls it iCR."""
    if base.overall is R.CR and overall is not R.ICR:
        return replace(base, overall=R.PR)
    if overall is R.ICR and base.overall is not R.CR:
        return replace(base, overall=R.CR)
    return base


_Judged = tuple[Response, str, Pending | None]


def _given(seen: _Seen, pending: Pending | None) -> _Judged:
    overall = immune(seen.point.overall or R.NE)
    reason = f"{overall}: given"
    if overall is R.IUPD:
        return overall, reason, pending or _pending(seen)
    return overall, reason, pending if overall in NOT_EVALUABLE else None


def _pending(seen: _Seen) -> Pending:
    return Pending(
        began=seen.point,
        causes=seen.causes,
        known=seen.old,
        sum_um=seen.base.sum_um,
        lowest_um=seen.base.sum_um,
        lowest_new_um=seen.burden.sum_um,
    )


def _lowered(pending: Pending | None, seen: _Seen) -> Pending | None:
    if pending is None or pending.began is seen.point:
        return pending
    return replace(
        pending,
        lowest_um=_lowest(pending.lowest_um, seen.base.sum_um),
        lowest_new_um=_lowest(pending.lowest_new_um, seen.burden.sum_um),
    )


def _lowest(one: int | None, other: int | None) -> int | None:
    known = [value for value in (one, other) if value is not None]
    return min(known) if known else None


# ---------------------------------------------------------------- too early


def _is_too_early(pending: Pending, point: TimePoint, policies: Policies) -> bool:
    days = days_between(pending.began.date, point.date)
    return days is not None and days < policies.iupd_confirmation_days


def _early_confirmation(seen: _Seen) -> str:
    """What lets an early scan confirm: made for a new symptom or sign, and showing one more new lesion."""
    if not (seen.point.has_new_symptoms and seen.burden.additional):
        return ""
    return f"further new lesion {', '.join(seen.burden.additional)}".strip()


def _confirmed_early(further: str, pending: Pending) -> str:
    return (
        f"iCPD: confirms the iUPD of {pending.began.when}: {further}, on an early scan made for a new symptom"
    )


def _disregarded(seen: _Seen, pending: Pending, policies: Policies) -> str:
    """Why a scan less than four weeks after iUPD neither confirms nor resets (EORTC FAQ)."""
    days = days_between(pending.began.date, seen.point.date)
    return (
        f"iUPD: {days} days after the iUPD of {pending.began.when}; a scan before "
        f"{policies.iupd_confirmation_days} days is disregarded and repeated ({seen.base.reason})"
    )


# ---------------------------------------------------------------- judgement


def _judge(seen: _Seen, pending: Pending | None) -> _Judged:
    if pending is None:
        return _judge_first(seen)
    confirmations = _confirmations(seen, pending)
    since = pending.began.when
    if confirmations:
        return R.ICPD, f"iCPD: confirms the iUPD of {since}: {'; '.join(confirmations)}", None
    if seen.causes:
        return R.IUPD, f"iUPD: since {since}, not confirmed: {_no_further(seen)}", pending
    if _is_unseen(seen):
        also = f"iUPD of {since} is neither confirmed nor taken back"
        return R.NE, f"{_not_evaluable(seen)}; {also}", pending
    if _resets(seen, pending):
        word = _word(seen)
        return word, f"{word}: the iUPD of {since} is not confirmed; {_plain_reason(seen)}", None
    return R.IUPD, f"iUPD: since {since}; nothing has changed since: neither growth nor shrinkage", pending


def _judge_first(seen: _Seen) -> _Judged:
    if seen.causes:
        return R.IUPD, f"iUPD: {'; '.join(_progression_reasons(seen))}", _pending(seen)
    if _is_unseen(seen):
        return R.NE, _not_evaluable(seen), None
    word = _word(seen)
    return word, f"{word}: {_plain_reason(seen)}", None


def _is_unseen(seen: _Seen) -> bool:
    if seen.old in NOT_EVALUABLE or not is_assessed(seen.point):
        return True
    return bool(seen.burden.unseen)


def _not_evaluable(seen: _Seen) -> str:
    unseen = ", ".join(seen.burden.unseen)
    return f"NE: not evaluated: {unseen}" if unseen else f"NE: {_plain_reason(seen)}"


def _word(seen: _Seen) -> Response:
    """The response of the old lesions; with new lesions still there a CR of the old ones is no iCR."""
    if seen.old is R.CR and seen.burden.is_present:
        return R.IPR
    return immune(seen.old)


def _confirmations(seen: _Seen, pending: Pending) -> list[str]:
    """What confirms the pending progression: further growth where it began, or progression elsewhere."""
    found: list[str] = []
    if TARGET in pending.causes:
        found += _further_sum("sum of target lesions", seen.base.sum_um, pending.lowest_um)
        if seen.base.target is R.ICPD:
            found.append("target lesions iCPD (given)")
    if NON_TARGET in pending.causes and _non_target_increased(seen):
        found.append("further increase of non-target lesions")
    if NEW in pending.causes:
        found += _further_sum("sum of new target lesions", seen.burden.sum_um, pending.lowest_new_um)
        if seen.burden.increased:
            found.append(f"growth of new lesions ({', '.join(seen.burden.increased)})")
    if seen.burden.additional:
        found.append(f"further new lesion {', '.join(seen.burden.additional)}".strip())
    for category in sorted(seen.causes - pending.causes):
        if category is NEW and seen.burden.additional:
            continue
        found.append(f"progression now of {category} too")
    return found


def _further_sum(what: str, sum_um: int | None, lowest_um: int | None) -> list[str]:
    if sum_um is None or lowest_um is None or sum_um - lowest_um < PROGRESSION_UM:
        return []
    return [
        f"{what} {mm_text(sum_um)}, {mm_text(sum_um - lowest_um)} more than {mm_text(lowest_um)} since iUPD"
    ]


def _non_target_increased(seen: _Seen) -> bool:
    if seen.base.non_target is R.ICPD or seen.point.non_target_increase:
        return True
    new = set(seen.burden.lesions)
    return any(o.has_increased and o.lesion not in new for o in seen.point.observations)


def _resets(seen: _Seen, pending: Pending) -> bool:
    """Whether the bar is reset: no progression any more and, beside persisting new lesions, shrinkage."""
    if NEW not in pending.causes or not seen.burden.is_present:
        return True
    # Scenario B against scenario F of the EORTC FAQ: shrinkage must follow the new lesion.
    if pending.known in PROGRESSION or _RANK.get(seen.old, -1) > _RANK.get(pending.known, -1):
        return True
    return _shrank(pending.sum_um, seen.base.sum_um) and _RANK.get(seen.old, -1) == _RANK.get(
        pending.known, -1
    )


def _shrank(before_um: int | None, now_um: int | None) -> bool:
    return before_um is not None and now_um is not None and before_um - now_um >= PROGRESSION_UM


# ---------------------------------------------------------------- reasons


def _progression_reasons(seen: _Seen) -> list[str]:
    reasons = []
    for category, reason in (
        (TARGET, seen.base.target_reason),
        (NON_TARGET, seen.base.non_target_reason),
    ):
        if category == seen.reappeared:
            reasons.append(f"{category} seen again after a complete response ({reason or 'given'})")
        elif category in seen.causes:
            reasons.append(_level_reason(category, reason))
    if NEW in seen.causes:
        reasons.append(seen.burden.reason or seen.base.new_lesion_reason)
    return reasons


def _level_reason(category: str, reason: str) -> str:
    return f"progression of {category} (given)" if reason in ("given", "") else reason


def _no_further(seen: _Seen) -> str:
    return f"no further growth ({'; '.join(_progression_reasons(seen))})"


def _plain_reason(seen: _Seen) -> str:
    parts = []
    if seen.base.target is not None:
        parts.append(f"target {immune(seen.base.target)} ({seen.base.target_reason})")
    if seen.base.non_target is not None:
        parts.append(f"non-target {immune(seen.base.non_target)} ({seen.base.non_target_reason})")
    if seen.burden.is_present:
        parts.append("new lesions have not grown")
    elif seen.base.new_lesion is not None:
        parts.append(seen.base.new_lesion_reason)
    return "; ".join(parts) or "nothing was assessed"


def confirmed_progression(assessments: Sequence[Assessment]) -> tuple[Assessment, Assessment] | None:
    """The first iCPD and the iUPD that it dates back to: the first of its uninterrupted block."""
    began: Assessment | None = None
    for assessment in assessments:
        if assessment.overall is R.IUPD:
            began = began or assessment
        elif assessment.overall is R.ICPD:
            return began or assessment, assessment
        elif assessment.overall not in NOT_EVALUABLE and assessment.overall is not None:
            began = None
    return None


def open_progression(assessments: Sequence[Assessment]) -> Assessment | None:
    """The first iUPD of a block that was neither confirmed nor taken back."""
    began: Assessment | None = None
    for assessment in assessments:
        if assessment.overall is R.IUPD:
            began = began or assessment
        elif assessment.overall not in NOT_EVALUABLE and assessment.overall is not None:
            began = None
    return began
