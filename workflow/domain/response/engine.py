"""The entry point: a timeline and a protocol in, the course of the disease out."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import replace

from workflow.domain.report import LesionRole
from workflow.domain.response import (
    best_response,
    choi,
    gcig,
    imrecist,
    lugano,
    lyric,
    mrecist,
    pcwg3,
    percist,
    rano,
    recist10,
    recist11,
    unconfirmed,
    who,
)
from workflow.domain.response.course import Assessment, Course
from workflow.domain.response.edit_checks import Finding, edit_checks
from workflow.domain.response.inputs import inputs_of, missing_inputs
from workflow.domain.response.irecist_best import assess_irecist
from workflow.domain.response.judged import as_judged, with_lasting_doubts
from workflow.domain.response.other_lesions import says_something
from workflow.domain.response.policy import Criteria, Protocol
from workflow.domain.response.survival import before_new_therapy, progression_free_survival
from workflow.domain.response.timeline import Timeline, TimePoint
from workflow.domain.response.values import NewLesion, Response, plain

Engine = Callable[[Timeline, Protocol], Course]


def assess(timeline: Timeline, protocol: Protocol | None = None) -> Course:
    """Assess every time point and the whole course, with what the edit checks find in it.

    Pure and total: any timeline that could be built gets an answer, and the same one each time.
    `protocol` is RECIST 1.1 with the default policies unless given.
    """
    chosen = protocol or Protocol()
    timeline = with_lasting_doubts(timeline)
    judged = as_judged(timeline, chosen.policies)
    course = _until_new_therapy(judged, chosen)
    assessments = tuple(
        _beside_computed(assessment, point, judged, chosen)
        for assessment, point in zip(course.assessments, judged.time_points, strict=True)
    )
    found = edit_checks(timeline, chosen, assessments)
    available = inputs_of(timeline)
    lacking = missing_inputs(chosen.criteria, available) if available else ""
    return replace(
        course,
        assessments=_with_warnings(assessments, found),
        progression_free_survival=progression_free_survival(judged, course),
        warnings=(
            *course.warnings,
            *([lacking] if lacking else []),
            *(f.warning for f in found if f.time_point is None),
        ),
    )


def _until_new_therapy(timeline: Timeline, protocol: Protocol) -> Course:
    """The course whose best response and events end with another therapy, and every time point's response."""
    engine = _ENGINES[protocol.criteria]
    counted = before_new_therapy(timeline)
    if len(counted) == len(timeline.time_points):
        return engine(timeline, protocol)
    course = engine(replace(timeline, time_points=counted), protocol)
    later = engine(timeline, protocol).assessments[len(counted) :]
    return replace(course, assessments=(*course.assessments, *later))


def _beside_computed(
    assessment: Assessment, point: TimePoint, timeline: Timeline, protocol: Protocol
) -> Assessment:
    """The assessment and, where a response was given over what was seen, what the criteria make of that."""
    if assessment.is_baseline or (point.overall is None and point.target is None):
        return assessment
    targets = {lesion.id for lesion in timeline.lesions if lesion.role is LesionRole.TARGET}
    told = {o.lesion for o in point.observations if says_something(o)}
    is_target_given = point.target is not None and (point.sum_um is not None or not targets.isdisjoint(told))
    # A level alone is no basis for the overall response, unless it is progression.
    has_below = point.sum_um is not None or bool(told) or point.target is not None
    has_below |= point.non_target is Response.PD or point.new_lesion is NewLesion.YES
    is_overall_given = point.overall is not None and has_below
    if not is_target_given and not is_overall_given:
        return assessment
    bare = replace(point, overall=None, target=None if is_target_given else point.target, is_baseline=False)
    points = tuple(bare if p is point else p for p in timeline.time_points)
    computed = _ENGINES[protocol.criteria](replace(timeline, time_points=points), protocol).assessment_of(
        point.id
    )
    return replace(
        assessment,
        computed_overall=computed.overall if is_overall_given else None,
        computed_target=computed.target if is_target_given else None,
    )


def _with_warnings(assessments: tuple[Assessment, ...], found: Sequence[Finding]) -> tuple[Assessment, ...]:
    by_point: dict[str, list[str]] = {}
    for finding in found:
        if finding.time_point is not None:
            by_point.setdefault(finding.time_point, []).append(finding.warning)
    return tuple(
        replace(a, warnings=(*a.warnings, *by_point[a.time_point])) if a.time_point in by_point else a
        for a in assessments
    )


def assess_recist11(timeline: Timeline, protocol: Protocol) -> Course:
    """RECIST 1.1 from time points to best response."""
    return course_of(recist11.assess_time_points(timeline, protocol.policies), timeline, protocol)


def assess_mrecist(timeline: Timeline, protocol: Protocol) -> Course:
    """mRECIST: RECIST on viable diameters."""
    policies = mrecist.policies_of(protocol.policies)
    return course_of(
        recist11.assess_time_points(mrecist.viable_timeline(timeline), policies), timeline, protocol
    )


def assess_percist(timeline: Timeline, protocol: Protocol) -> Course:
    """PERCIST 1.0: SULpeak of the hottest lesion, in PERCIST's words."""
    course = course_of(percist.assess_time_points(timeline), timeline, protocol)
    best, confirmed = course.best_overall_response, course.confirmed_best_overall_response
    return replace(
        course,
        assessments=tuple(
            replace(a, overall=None if a.overall is None else percist.WORDS.get(a.overall, a.overall))
            for a in course.assessments
        ),
        best_overall_response=replace(best, value=percist.WORDS.get(best.value, best.value)),
        confirmed_best_overall_response=replace(
            confirmed, value=percist.WORDS.get(confirmed.value, confirmed.value)
        ),
    )


def assess_lugano(timeline: Timeline, protocol: Protocol) -> Course:
    """Lugano 2014: PET where there is a Deauville score, else CT."""
    return course_of(lugano.assess_time_points(timeline), timeline, protocol)


def assess_lyric(timeline: Timeline, protocol: Protocol) -> Course:
    """LYRIC: Lugano with indeterminate responses."""
    shown = lyric.assess_time_points(timeline)
    return _course_of_open(shown, lyric.dated_back(shown), timeline, protocol)


def assess_rano(timeline: Timeline, protocol: Protocol) -> Course:
    """RANO 2.0, with progression after radiotherapy to be confirmed."""
    shown = rano.assess_time_points(timeline, protocol.policies)
    return _course_of_open(shown, shown, timeline, protocol)


def assess_imrecist(timeline: Timeline, protocol: Protocol) -> Course:
    """imRECIST: new lesions in the sum, and a response may come after progression that is taken back."""
    shown = imrecist.assess_time_points(timeline, protocol.policies)
    return _course_of_open(shown, shown, timeline, protocol)


def assess_pcwg3(timeline: Timeline, protocol: Protocol) -> Course:
    """PCWG3: RECIST 1.1 on soft tissue and the 2+2 rule on bone scans."""
    shown = pcwg3.assess_time_points(timeline, protocol.policies)
    return _course_of_open(shown, shown, timeline, protocol)


def assess_gcig(timeline: Timeline, protocol: Protocol) -> Course:
    """GCIG: RECIST 1.1 and CA-125."""
    return course_of(gcig.assess_time_points(timeline, protocol.policies), timeline, protocol)


def assess_choi(timeline: Timeline, protocol: Protocol) -> Course:
    """Choi: size and attenuation."""
    return course_of(choi.assess_time_points(timeline), timeline, protocol)


def assess_recist10(timeline: Timeline, protocol: Protocol) -> Course:
    """RECIST 1.0: longest diameters and 20 % alone."""
    policies = recist10.policies_of(protocol.policies)
    longest = recist10.longest_timeline(timeline)
    return course_of(recist11.assess_time_points(longest, policies), timeline, protocol)


def assess_who(timeline: Timeline, protocol: Protocol) -> Course:
    """WHO: products of perpendicular diameters."""
    return course_of(who.assess_time_points(timeline), timeline, protocol)


def _course_of_open(
    shown: Sequence[Assessment], dated: Sequence[Assessment], timeline: Timeline, protocol: Protocol
) -> Course:
    """The course where single time points are open; `dated` has each progression on its own day."""
    course = course_of(unconfirmed.counted(dated), timeline, protocol)
    return unconfirmed.in_own_words(course, _on_their_days(shown, timeline, protocol))


def _on_their_days(
    assessments: Sequence[Assessment], timeline: Timeline, protocol: Protocol
) -> tuple[Assessment, ...]:
    """The assessments with the day that a visit of several days counts as, by policy."""
    points = {point.id: point for point in timeline.time_points}
    return tuple(
        assessment
        if assessment.is_baseline
        else replace(assessment, date=_day(points[assessment.time_point], assessment, protocol))
        for assessment in assessments
    )


def _day(point: TimePoint, assessment: Assessment, protocol: Protocol) -> datetime.date | None:
    has_progressed = assessment.overall is not None and plain(assessment.overall) is Response.PD
    return point.day(protocol.policies.visit_date, has_progressed=has_progressed)


def course_of(assessments: Sequence[Assessment], timeline: Timeline, protocol: Protocol) -> Course:
    """The whole course from time points in RECIST's words."""
    dated = _on_their_days(assessments, timeline, protocol)
    sequence = best_response.sequence_of(dated, timeline.start, protocol.policies)
    best = best_response.best_overall_response(sequence)
    response = best_response.response_event(sequence)
    confirmed = best_response.confirmed_response_event(sequence)
    return Course(
        protocol=protocol,
        assessments=dated,
        best_overall_response=best,
        confirmed_best_overall_response=best_response.confirmed_best_overall_response(sequence),
        response=response,
        confirmed_response=confirmed,
        progression=best_response.progression_event(sequence),
        clinical_benefit=best_response.clinical_benefit_event(sequence, response),
        confirmed_clinical_benefit=best_response.clinical_benefit_event(sequence, confirmed),
        disease_control=best_response.disease_control_event(best),
        time_to_response=best_response.time_to_response(sequence, response),
        duration_of_response=best_response.duration_of_response(sequence, response),
        confirmed_duration_of_response=best_response.duration_of_response(sequence, confirmed),
        name=timeline.name,
    )


_ENGINES: dict[Criteria, Engine] = {
    Criteria.RECIST_1_1: assess_recist11,
    Criteria.IRECIST: assess_irecist,
    Criteria.MRECIST: assess_mrecist,
    Criteria.PERCIST: assess_percist,
    Criteria.LUGANO: assess_lugano,
    Criteria.RANO: assess_rano,
    Criteria.CHOI: assess_choi,
    Criteria.PCWG3: assess_pcwg3,
    Criteria.GCIG: assess_gcig,
    Criteria.IMRECIST: assess_imrecist,
    Criteria.LYRIC: assess_lyric,
    Criteria.RECIST_1_0: assess_recist10,
    Criteria.WHO: assess_who,
}
