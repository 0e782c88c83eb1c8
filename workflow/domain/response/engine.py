"""The entry point: a timeline and a protocol in, the course of the disease out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

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
from workflow.domain.response.inputs import inputs_of, missing_inputs
from workflow.domain.response.irecist_best import assess_irecist
from workflow.domain.response.policy import Criteria, Protocol
from workflow.domain.response.timeline import Timeline

Engine = Callable[[Timeline, Protocol], Course]


def assess(timeline: Timeline, protocol: Protocol | None = None) -> Course:
    """Assess every time point and the whole course.

    Pure and total: any timeline that could be built gets an answer, and the same one each time.
    `protocol` is RECIST 1.1 with the default policies unless given.
    """
    chosen = protocol or Protocol()
    course = _ENGINES[chosen.criteria](timeline, chosen)
    available = inputs_of(timeline)
    lacking = missing_inputs(chosen.criteria, available) if available else ""
    return replace(course, warnings=(*course.warnings, lacking)) if lacking else course


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
    return unconfirmed.in_own_words(course, shown)


def course_of(assessments: Sequence[Assessment], timeline: Timeline, protocol: Protocol) -> Course:
    """The whole course from time points in RECIST's words."""
    sequence = best_response.sequence_of(assessments, timeline.start, protocol.policies)
    best = best_response.best_overall_response(sequence)
    response = best_response.response_event(sequence)
    confirmed = best_response.confirmed_response_event(sequence)
    return Course(
        protocol=protocol,
        assessments=tuple(assessments),
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
