"""Edit checks: where what was written down contradicts itself or RECIST, or a response rests on little.

None of them changes a response. Each finding is a question to a person, and names its check: `CHECKS` is
the one table of them, docs/recist.md prints it, and `tumorline recist` and the pipeline get the same ones
from `assess`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from workflow.domain.anatomy import LYMPH_NODE
from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response.confirmation import Dated, has_confirmed_complete_response
from workflow.domain.response.course import Assessment
from workflow.domain.response.eligibility import (
    PATHOLOGICAL_NODE_UM,
    TARGET_NODE_UM,
    Candidate,
    baseline_warning,
)
from workflow.domain.response.organs import organ_of_words
from workflow.domain.response.other_lesions import Seen, assess_non_target, seen_of
from workflow.domain.response.policy import Criteria, Protocol
from workflow.domain.response.quantities import mm_text, percent_text, rises_by
from workflow.domain.response.selection import check_choice
from workflow.domain.response.survival import before_new_therapy
from workflow.domain.response.target import (
    PROGRESSION_PERCENT,
    PROGRESSION_UM,
    TOO_SMALL_UM,
    contributions_of,
    diameter_um,
    is_gone,
)
from workflow.domain.response.timeline import (
    Intervention,
    InterventionEffect,
    Lesion,
    Observation,
    Timeline,
    TimePoint,
)
from workflow.domain.response.values import NewLesion, Response, plain
from workflow.domain.states import LESION_WORDS

CHECKS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "state_against_diameter": (
            "a lesion called disappeared measures something, one called present measures 0 mm, one called "
            "too small measures more than 5 mm, one called not evaluable has a size (which is not used)",
            "CDISC TR: state and diameter agree",
        ),
        "axes": ("the short axis is longer than the long axis", "RECIST 1.1, 3.1"),
        "sum_against_lesions": (
            "the given sum is not that of the lesions; the given one counts",
            "RECIST 1.1, 4.2",
        ),
        "target_against_measured": (
            "the given target response is not what the measurements give; the given one counts",
            "RECIST 1.1, 4.3.1",
        ),
        "non_target_against_seen": (
            "the given non-target response is not what the lesions' states give; the given one counts",
            "RECIST 1.1, 4.3.3",
        ),
        "new_lesion_against_seen": (
            "no new lesion, or an equivocal one, is given, but one is observed without doubt; the given "
            "finding counts",
            "RECIST 1.1, 4.3.5",
        ),
        "overall_against_computed": (
            "the given overall response, a document's or a reader's, is not what the levels below give; "
            "the given one counts",
            "RECIST 1.1, Tables 1 and 2",
        ),
        "too_many_targets": ("more target lesions than the protocol takes (five)", "RECIST 1.1, 4.2"),
        "too_many_targets_in_organ": ("more in one organ than it takes (two)", "RECIST 1.1, 4.2"),
        "target_not_measurable": (
            "a target below its least size at baseline: a node 15 mm short axis, another lesion 10 mm or "
            "twice the slice interval",
            "RECIST 1.1, 3.1",
        ),
        "normal_node": ("a node below 10 mm is called non-target or new", "RECIST 1.1, 3.1"),
        "no_target": ("measurable disease at baseline and no target lesion", "RECIST 1.1, 4.2"),
        "target_not_measured": (
            "a target without a measurement at baseline, which leaves no baseline sum",
            "RECIST 1.1, 4.2",
        ),
        "absent_at_baseline": ("a target of 0 mm at baseline; it is left out", "RECIST 1.1, 4.2"),
        "new_at_baseline": (
            "a lesion called new is seen at baseline; it is ignored there",
            "RECIST 1.1, 4.3.5",
        ),
        "treated_target": (
            "a target was treated locally before baseline: measurable only if it has grown since",
            "RECIST 1.1, 3.1",
        ),
        "node_not_nodal": (
            "the organ is a lymph node, but the lesion is not nodal and its long axis counts",
            "RECIST 1.1, 3.1",
        ),
        "baseline_date": (
            "the baseline is older than four weeks at the start of treatment, or after it",
            "RECIST 1.1, 4.1",
        ),
        "partial_date": ("only the month or the year of a time point is known", "CDISC SDTM: partial dates"),
        "same_day": ("two time points are of one day: one visit?", "CDISC ADaM: one record per date"),
        "visit_days": ("the scans of one visit are more than a week apart", "a visit's usual window"),
        "intervention": (
            "a lesion was treated locally: what it measures is not used (or, a reader says, is)",
            "EORTC Q&A: surgery and radiotherapy",
        ),
        "visit_order": (
            "the visits of a table, put in order of their dates, are not in the order of their numbers",
            "CDISC SDTM: VISITNUM",
        ),
        "tenfold_change": (
            "a lesion measures ten times what it did, or a tenth: mm or cm?",
            "edit checks of reading laboratories",
        ),
        "small_node": (
            "progression rests on nodes of 10 to 15 mm alone, new ones or ones seen again after a CR",
            "EORTC Q&A: new lymph node lesions",
        ),
        "non_target_growth": (
            "a non-target lesion has grown by 20 % and 5 mm from its smallest, and nobody says whether "
            "that is unequivocal progression",
            "RECIST 1.1, 4.3.4",
        ),
        "unconfirmed_complete_response": (
            "progression is disease seen again after a CR that was not confirmed: was it gone? If not, PR "
            "may be right for both",
            "RECIST 1.1, Table 3 note a, and EORTC Q&A",
        ),
        "after_progression": (
            "a response after progression, which ended the course: it counts for no best response",
            "RECIST 1.1, 4.6; the policy progression_is_final",
        ),
        "equivocal_new_lesion": (
            "a possible new lesion is still possible at a later time point; nobody has decided",
            "RECIST 1.1, 4.3.5",
        ),
        "tumour_marker": (
            "a tumour marker that was normal at baseline is raised; it decides nothing",
            "RECIST 1.1, 4.3.3",
        ),
        "new_therapy": (
            "time points after the start of another therapy, which count for no best response or event",
            "FDA, Clinical Trial Endpoints (2018)",
        ),
    }
)
"""Meaning and source of each check, by name."""

VISIT_DAYS = 7
_UNSEEN = (LesionState.NOT_EVALUABLE, LesionState.TRACKING_FAILED)
# Criteria that share RECIST 1.1's targets, sizes and nodes.
_RECIST_LIKE = frozenset(
    {
        Criteria.RECIST_1_1,
        Criteria.IRECIST,
        Criteria.IMRECIST,
        Criteria.MRECIST,
        Criteria.PCWG3,
        Criteria.GCIG,
    }
)
# By uptake a lesion may have disappeared and keep its size.
_BY_UPTAKE = frozenset({Criteria.PERCIST, Criteria.LUGANO, Criteria.LYRIC})
# Progression that need not be confirmed ends the course.
_ENDING = frozenset({Criteria.RECIST_1_1, Criteria.MRECIST, Criteria.GCIG})


class Finding(NamedTuple):
    """What one check found; `time_point` is None where it is about the course as a whole."""

    check: str
    text: str
    time_point: str | None = None

    @property
    def warning(self) -> str:
        """As results show it: "axes: T1: the short axis ..."."""
        return f"{self.check}: {self.text}"


def is_finding(warning: str) -> bool:
    """Whether a warning of a result comes from an edit check."""
    return warning.split(":", 1)[0] in CHECKS


_Found = Iterator[tuple[str, str]]


def edit_checks(
    timeline: Timeline, protocol: Protocol, assessments: Sequence[Assessment]
) -> tuple[Finding, ...]:
    """What a person should look at in a course.

    Parameters
    ----------
    timeline
        As it was written down.
    protocol
        Checks of RECIST's own sizes and evidence run only under criteria that share them.
    assessments
        Of every time point of the timeline, in order.
    """
    is_recist = protocol.criteria in _RECIST_LIKE
    lesions = {lesion.id: lesion for lesion in timeline.lesions}
    found = [Finding(check, text) for check, text in _of_the_whole(timeline)]
    if timeline.baseline is not None:
        found += [
            Finding(check, text, timeline.baseline.id)
            for check, text in _at_baseline(timeline, timeline.baseline, protocol, is_recist=is_recist)
        ]
    evidence, sizes = _Evidence(timeline, protocol), dict[str, int]()
    before: Assessment | None = None
    for point, assessment in zip(timeline.time_points, assessments, strict=True):
        here = [*_dates(point), *_observations(point, lesions, protocol.criteria)]
        here += _sizes(point, lesions, sizes)
        if not assessment.is_baseline:
            here += _given(point, assessment, timeline)
            here += _doubts(point, assessment, before, timeline)
        if is_recist:
            here += evidence.at(point, assessment)
        found += [Finding(check, text, point.id) for check, text in here]
        before = assessment
    return tuple(found)


def _of_the_whole(timeline: Timeline) -> _Found:
    for lesion in timeline.lesions:
        if not lesion.is_nodal and organ_of_words(lesion.organ) == LYMPH_NODE:
            yield "node_not_nodal", f"{lesion.id} is in {lesion.organ!r}, but is not called nodal"
    if timeline.reference_date is not None and timeline.baseline and timeline.baseline.date:
        warning = baseline_warning(timeline.baseline.date, timeline.reference_date)
        if warning:
            yield "baseline_date", warning
    last: TimePoint | None = None
    for point in timeline.time_points:
        is_dated = point.date is not None and not point.is_date_partial
        if is_dated and last is not None and point.date == last.date and not last.is_date_partial:
            yield "same_day", f"{last.id} and {point.id} are both of {point.date}: one visit?"
        last = point
    after = timeline.time_points[len(before_new_therapy(timeline)) :]
    if after:
        names = ", ".join(point.id for point in after)
        yield "new_therapy", f"{names} after the other therapy of {timeline.new_therapy_date}: not counted"


# ---------------------------------------------------------------- the baseline


def _at_baseline(timeline: Timeline, point: TimePoint, protocol: Protocol, *, is_recist: bool) -> _Found:
    for lesion in timeline.lesions:
        seen = point.observation_of(lesion.id)
        size = contributions_of((lesion,), point)[0].diameter_um
        if lesion.role is LesionRole.NEW and seen is not None and size != 0:
            yield "new_at_baseline", f"{lesion.id} is called new but is seen at baseline, which is ignored"
        if lesion.role is not LesionRole.TARGET or not point.observations or not is_recist:
            continue
        if size == 0:
            yield (
                "absent_at_baseline",
                f"{lesion.id} measures 0 mm at baseline and is left out of the targets",
            )
        elif size is None and point.sum_um is None and (seen is None or seen.viable_um is None):
            yield (
                "target_not_measured",
                f"{lesion.id} has no measurement at baseline: there is no baseline sum",
            )
        done = None if seen is None else seen.intervention
        if done is not None and done.taken_effect is not InterventionEffect.NONE:
            yield "treated_target", f"{lesion.id} had {done.text} before baseline; grown since?"
    if is_recist:
        yield from check_choice(_candidates(timeline, point), protocol.policies)


def _candidates(timeline: Timeline, point: TimePoint) -> list[Candidate]:
    candidates = []
    for lesion in timeline.lesions:
        seen = point.observation_of(lesion.id)
        if lesion.role is LesionRole.NEW or seen is None:
            continue
        size = seen.viable_um if seen.viable_um is not None else diameter_um(seen, is_nodal=lesion.is_nodal)
        candidates.append(
            Candidate(
                lesion=lesion,
                long_axis_um=size or None,  # 0 mm at baseline is said already
                short_axis_um=size or None,
                slice_interval_um=seen.slice_interval_um,
            )
        )
    return candidates


# ---------------------------------------------------------------- one time point


def _dates(point: TimePoint) -> _Found:
    if point.date is None or point.last_date is None:
        return
    if point.is_date_partial:
        yield (
            "partial_date",
            f"only that it lies from {point.date} to {point.last_date} is known; see the policy visit_date",
        )
    elif (days := (point.last_date - point.date).days) > VISIT_DAYS:
        yield "visit_days", f"scans from {point.date} to {point.last_date}, {days} days apart: one visit?"


def _observations(point: TimePoint, lesions: Mapping[str, Lesion], criteria: Criteria) -> _Found:
    has_state, is_recist = criteria not in _BY_UPTAKE, criteria in _RECIST_LIKE
    for seen in point.observations:
        lesion, state = lesions[seen.lesion], seen.state
        if has_state and state is not None and seen.viable_um is None:
            problem = _state_problem(lesion, seen, state)
            if problem:
                yield "state_against_diameter", f"{lesion.id} is called {problem}"
        if seen.long_axis_um is not None and (seen.short_axis_um or 0) > seen.long_axis_um:
            short, long = mm_text(seen.short_axis_um or 0), mm_text(seen.long_axis_um)
            yield "axes", f"{lesion.id}: the short axis {short} is longer than the long axis {long}"
        if seen.intervention is not None:
            yield "intervention", f"{lesion.id}: {_intervention(seen.intervention)}"
        if is_recist and lesion.is_nodal and lesion.role is LesionRole.NEW and state not in _UNSEEN:
            size = diameter_um(seen, is_nodal=True)
            if size is not None and 0 < size < PATHOLOGICAL_NODE_UM:
                yield "normal_node", f"{lesion.id} is called new, but {mm_text(size)} is a normal node"


def _sizes(point: TimePoint, lesions: Mapping[str, Lesion], before: dict[str, int]) -> _Found:
    """Sizes against those of the last time point that had one; `before` learns the new ones."""
    for seen in point.observations:
        size = diameter_um(seen, is_nodal=lesions[seen.lesion].is_nodal)
        if not size:
            continue
        last = before.get(seen.lesion, size)
        before[seen.lesion] = size
        # 5 mm is what a lesion too small to measure is written down as.
        if size >= 10 * last or (10 * size <= last and size != TOO_SMALL_UM):
            yield (
                "tenfold_change",
                f"{seen.lesion} measured {mm_text(last)} and now {mm_text(size)}: mm or cm?",
            )


def _state_problem(lesion: Lesion, seen: Observation, state: LesionState) -> str:
    size = diameter_um(seen, is_nodal=lesion.is_nodal)
    if size is None:
        return ""
    word = LESION_WORDS[state]
    if state is LesionState.DISAPPEARED:
        return "" if is_gone(lesion, size) else f"{word} but measures {mm_text(size)}"
    if state is LesionState.TOO_SMALL:
        return f"{word} but measures {mm_text(size)}" if size > TOO_SMALL_UM else ""
    if state in _UNSEEN:
        return f"{word} but measures {mm_text(size)}, which is not used"
    return f"{word} but measures 0 mm" if size == 0 else ""


def _intervention(done: Intervention) -> str:
    return f"{done.text}: {_THEN[done.taken_effect]}"


_THEN = {
    InterventionEffect.EXCLUDED: "it is not evaluable from here on",
    InterventionEffect.NOT_EVALUABLE: "it is not evaluable here",
    InterventionEffect.NONE: "its size counts all the same",
}


# ---------------------------------------------------------------- given against seen

_SAME = {
    Response.CMR: Response.CR,
    Response.PMR: Response.PR,
    Response.SMD: Response.SD,
    Response.NMR: Response.SD,
    Response.PMD: Response.PD,
    Response.ND: Response.NE,
}


# What may be given of non-target disease for what its lesions show. Progression of the disease as a whole is
# a verdict that no single lesion need show; PR and SD are other words for Non-CR/Non-PD.
_PERSISTING = frozenset({Response.NON_CR_NON_PD, Response.PD, Response.PR, Response.SD})
_FITS: Mapping[Response, frozenset[Response]] = {
    Response.CR: frozenset({Response.CR}),
    Response.NON_CR_NON_PD: _PERSISTING,
    Response.NE: _PERSISTING | {Response.NE, Response.ND},
    Response.PD: frozenset({Response.PD}),
}


def _is_same(one: Response, other: Response) -> bool:
    return one is other or _SAME.get(one, one) is _SAME.get(other, other)


def _given(point: TimePoint, assessment: Assessment, timeline: Timeline) -> _Found:
    total = sum(part.diameter_um or 0 for part in assessment.contributions)
    is_whole = assessment.contributions and all(p.diameter_um is not None for p in assessment.contributions)
    if point.sum_um is not None and is_whole and total != point.sum_um:
        yield (
            "sum_against_lesions",
            f"the given sum of {mm_text(point.sum_um)} is not the {mm_text(total)} of the lesions",
        )
    target, computed = assessment.target, assessment.computed_target
    if target is not None and computed is not None and not _is_same(target, computed):
        yield "target_against_measured", f"{target} is given, but the measurements give {computed}"
    overall, computed = assessment.overall, assessment.computed_overall
    if overall is not None and computed is not None and not _is_same(overall, computed):
        yield "overall_against_computed", f"{overall} is given, but the levels below give {computed}"
    if point.non_target is not None:
        yield from _given_non_target(point, plain(point.non_target), timeline)
    if point.new_lesion in (NewLesion.NO, NewLesion.EQUIVOCAL):
        certain = [
            lesion.id
            for lesion in timeline.lesions
            if lesion.role is LesionRole.NEW
            and (seen := point.observation_of(lesion.id)) is not None
            and not seen.is_equivocal
            and seen_of(lesion, seen) in (Seen.PRESENT, Seen.PROGRESSED)
        ]
        if certain:
            yield (
                "new_lesion_against_seen",
                f"{point.new_lesion.value} is given, but {', '.join(certain)} is seen",
            )


def _given_non_target(point: TimePoint, given: Response, timeline: Timeline) -> _Found:
    others = [x for x in timeline.lesions if x.role is LesionRole.NON_TARGET]
    if not any(point.observation_of(lesion.id) for lesion in others):
        return
    seen = assess_non_target(others, replace(point, non_target=None), has_non_target=True).response
    if seen is not None and given not in _FITS.get(seen, ()):
        yield "non_target_against_seen", f"{given} is given, but the lesions' states give {seen}"


# ---------------------------------------------------------------- doubts and evidence


def _doubts(
    point: TimePoint, assessment: Assessment, before: Assessment | None, timeline: Timeline
) -> _Found:
    is_doubtful = assessment.new_lesion is NewLesion.EQUIVOCAL and not assessment.is_back_dated
    if is_doubtful and before is not None and before.new_lesion is NewLesion.EQUIVOCAL:
        yield "equivocal_new_lesion", f"{assessment.new_lesion_reason} still waits for a decision"
    baseline = timeline.baseline
    was_normal = baseline is not None and baseline.is_tumour_marker_raised is False
    if was_normal and point.is_tumour_marker_raised:
        yield "tumour_marker", "a tumour marker, normal at baseline, is raised"


class _Evidence:
    """What progression rests on, told from one time point to the next."""

    def __init__(self, timeline: Timeline, protocol: Protocol) -> None:
        self._lesions = timeline.lesions
        self._non_targets = [x for x in timeline.lesions if x.role is LesionRole.NON_TARGET]
        self._policies = protocol.policies
        self._smallest: dict[str, int] = {}
        self._overalls: list[Dated] = []
        self._ended = ""
        self._ends = protocol.criteria in _ENDING

    def at(self, point: TimePoint, assessment: Assessment) -> _Found:
        yield from self._growth(point, assessment)
        if assessment.overall is None:
            return
        overall = plain(assessment.overall)
        if overall is Response.PD:
            yield from self._progression(point, assessment)
            self._overalls.clear()
            self._ended = self._ended or point.when
        else:
            if self._ends and self._ended and overall in _BETTER:
                yield "after_progression", f"{overall} after the progression of {self._ended}"
            self._overalls.append(Dated(value=overall, date=assessment.date, time_point=point.id))

    def _growth(self, point: TimePoint, assessment: Assessment) -> _Found:
        for lesion in self._non_targets:
            seen = point.observation_of(lesion.id)
            if seen is None or seen.state in _UNSEEN:
                continue
            size = diameter_um(seen, is_nodal=lesion.is_nodal)
            if size is None:
                continue
            least = self._smallest.setdefault(lesion.id, size)
            if size < least:
                self._smallest[lesion.id] = size
            elif (
                rises_by(size, least, percent=PROGRESSION_PERCENT, at_least=PROGRESSION_UM)
                and point.non_target is None
                and not _is_progression(assessment.non_target)
            ):
                more = percent_text(size, least) if least else "all of it"
                yield (
                    "non_target_growth",
                    f"{lesion.id} has grown from {mm_text(least)} to {mm_text(size)} ({more}): "
                    "is that unequivocal progression?",
                )

    def _progression(self, point: TimePoint, assessment: Assessment) -> _Found:
        """Progression that neither the sum nor the non-target lesions show by themselves."""
        if _is_progression(assessment.non_target) or point.overall is not None:
            return
        new = self._present(point, LesionRole.NEW)
        is_new = assessment.new_lesion is NewLesion.YES or assessment.is_back_dated
        had_complete = any(o.value is Response.CR for o in self._overalls)
        if is_new and not _is_progression(assessment.target) and _are_small_nodes(new):
            yield "small_node", f"the only evidence of progression is {_named(new)}; look again next time"
        if is_new or not had_complete:
            return
        if not has_confirmed_complete_response(self._overalls, self._policies):
            first = next(o for o in self._overalls if o.value is Response.CR)
            yield (
                "unconfirmed_complete_response",
                f"the CR of {first.when} was not confirmed: was the disease gone? "
                "If not, PR may be right for both",
            )
        back = [*self._present(point, LesionRole.TARGET), *self._present(point, LesionRole.NON_TARGET)]
        if _are_small_nodes(back):
            yield "small_node", f"the only disease after a CR is {_named(back)}; look again next time"

    def _present(self, point: TimePoint, role: LesionRole) -> list[tuple[Lesion, int | None]]:
        found = []
        for lesion in self._lesions:
            seen = point.observation_of(lesion.id) if lesion.role is role else None
            if seen is None or seen_of(lesion, seen) not in (Seen.PRESENT, Seen.PROGRESSED):
                continue
            found.append((lesion, diameter_um(seen, is_nodal=lesion.is_nodal)))
        return found


_BETTER = frozenset({Response.CR, Response.PR, Response.SD, Response.NON_CR_NON_PD})


def _is_progression(response: Response | None) -> bool:
    return response is not None and plain(response) is Response.PD


def _are_small_nodes(lesions: Sequence[tuple[Lesion, int | None]]) -> bool:
    return bool(lesions) and all(x.is_nodal and mm is not None and mm < TARGET_NODE_UM for x, mm in lesions)


def _named(lesions: Sequence[tuple[Lesion, int | None]]) -> str:
    return ", ".join(f"the node {lesion.id} of {mm_text(mm or 0)}" for lesion, mm in lesions)
