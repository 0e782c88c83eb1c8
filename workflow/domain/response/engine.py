"""The entry point: a timeline and a protocol in, the course of the disease out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from workflow.domain.response import best_response, lugano, mrecist, percist, recist11
from workflow.domain.response.course import Assessment, Course
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
    return _ENGINES[chosen.criteria](timeline, chosen)


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
}
