"""iBOR and the days that go with it, from iRECIST time point responses (Seymour 2017, Table 3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from workflow.domain.response import best_response as best
from workflow.domain.response.confirmation import Dated
from workflow.domain.response.course import Assessment, BestResponse, Course, Duration, Event
from workflow.domain.response.irecist import assess_time_points, confirmed_progression, open_progression
from workflow.domain.response.policy import Protocol
from workflow.domain.response.timeline import Timeline
from workflow.domain.response.values import PROGRESSION, Response, immune, plain

R = Response


def assess_irecist(timeline: Timeline, protocol: Protocol) -> Course:
    """iRECIST from time points to iBOR. Responses count up to the first iCPD; an iUPD ends nothing."""
    assessments = assess_time_points(timeline, protocol.policies)
    icpd = _icpd_event(assessments)
    iupd = _iupd_event(assessments)
    sequence = _sequence(assessments, timeline, protocol)
    response = best.response_event(sequence)
    confirmed = best.confirmed_response_event(sequence)
    headline = _best(best.first_response(sequence), sequence, sequence.shown, icpd, assessments)
    return Course(
        protocol=protocol,
        assessments=assessments,
        best_overall_response=headline,
        confirmed_best_overall_response=_best(
            best.first_confirmed_response(sequence), sequence, sequence.proven, icpd, assessments
        ),
        response=_immune_event(response),
        confirmed_response=_immune_event(confirmed),
        progression=icpd,
        clinical_benefit=_immune_event(best.clinical_benefit_event(sequence, response)),
        confirmed_clinical_benefit=_immune_event(best.clinical_benefit_event(sequence, confirmed)),
        disease_control=_control(headline),
        time_to_response=best.time_to_response(sequence, response),
        duration_of_response=_duration(sequence, response, icpd),
        confirmed_duration_of_response=_duration(sequence, confirmed, icpd),
        icpd=icpd,
        iupd=iupd,
        name=timeline.name,
    )


def _sequence(assessments: Sequence[Assessment], timeline: Timeline, protocol: Protocol) -> best.Sequence11:
    """Up to and including the first iCPD; plain words, but iUPD and iCPD stay what they are."""
    shown: list[Dated] = []
    proven: list[Dated] = []
    for assessment in assessments:
        if assessment.is_baseline or assessment.overall is None:
            continue
        overall = assessment.overall
        value = overall if overall in PROGRESSION else plain(overall)
        entry = Dated(value=value, date=assessment.date, time_point=assessment.time_point)
        shown.append(entry)
        is_only_carried = assessment.is_carried and value is R.PR
        proven.append(replace(entry, value=R.SD) if is_only_carried else entry)
        if overall is R.ICPD:
            break
    return best.Sequence11(
        shown=tuple(shown), proven=tuple(proven), start=timeline.start, policies=protocol.policies
    )


def _best(
    response: BestResponse | None,
    sequence: best.Sequence11,
    entries: Sequence[Dated],
    icpd: Event,
    assessments: Sequence[Assessment],
) -> BestResponse:
    """iCR, iPR, iSD, Non-iCR/Non-iUPD, then iCPD, iUPD, NE."""
    found = response or best.stable_or_free(sequence, entries)
    if found is None and icpd.happened:
        return BestResponse(
            value=R.ICPD, date=icpd.date, time_point=icpd.time_point, reason=f"iCPD: {icpd.reason}"
        )
    if found is None:
        first = next((e for e in entries if e.value is R.IUPD), None)
        if first is not None:
            reason = f"iUPD: on {first.when}, never confirmed, with no better response"
            return BestResponse(value=R.IUPD, date=first.date, time_point=first.time_point, reason=reason)
        found = best.not_evaluable(sequence, entries)
    value = immune(found.value)
    reason = found.reason if value is found.value else _in_words(found.reason)
    return replace(found, value=value, reason=reason)


def _icpd_event(assessments: Sequence[Assessment]) -> Event:
    pair = confirmed_progression(assessments)
    if pair is None:
        return Event(happened=False, reason="no progression was confirmed")
    began, confirmed = pair
    reason = f"progression on {_when(began)}, confirmed on {_when(confirmed)}"
    return Event(happened=True, date=began.date, time_point=began.time_point, reason=reason)


def _iupd_event(assessments: Sequence[Assessment]) -> Event:
    """Progression that was neither confirmed nor taken back; dated to the first iUPD of its block."""
    began = open_progression(assessments)
    if began is None or confirmed_progression(assessments) is not None:
        return Event(happened=False, reason="no unconfirmed progression is open")
    return Event(
        happened=True,
        date=began.date,
        time_point=began.time_point,
        reason=f"iUPD since {_when(began)}, neither confirmed nor taken back",
    )


def _when(assessment: Assessment) -> str:
    return assessment.date.isoformat() if assessment.date else assessment.time_point


def _immune_event(event: Event) -> Event:
    return replace(event, reason=_in_words(event.reason))


def _in_words(reason: str) -> str:
    """A reason of best_response.py in iRECIST's words."""
    return re.sub(r"\b(CR|PR|SD)\b(?!/)", r"i\1", reason)


def _control(found: BestResponse) -> Event:
    happened = found.value in (R.ICR, R.IPR, R.ISD, R.NON_ICR_NON_IUPD)
    return Event(
        happened=happened,
        date=found.date if happened else None,
        time_point=found.time_point if happened else None,
        reason=f"best overall response {found.value}",
    )


def _duration(sequence: best.Sequence11, response: Event, icpd: Event) -> Duration | None:
    """From the first response to progression as iCPD dates it, or to the last evaluable assessment."""
    if not response.happened or response.date is None:
        return None
    if icpd.happened and icpd.date is not None and icpd.date >= response.date:
        return Duration(days=(icpd.date - response.date).days, start=response.date, end=icpd.date)
    return best.duration_of_response(sequence, response)
