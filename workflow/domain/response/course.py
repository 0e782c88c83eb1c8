"""What is concluded: the assessment of each time point and of the whole course, each with its reason."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from workflow.domain.response.policy import Protocol
from workflow.domain.response.quantities import percent_change
from workflow.domain.response.values import NewLesion, Response


@dataclass(frozen=True, kw_only=True)
class LesionContribution:
    """What one target lesion puts into the sum; `diameter_um` is None where it can't be evaluated."""

    lesion: str
    diameter_um: int | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """The response at one time point. Lengths are whole µm.

    Attributes
    ----------
    sum_um
        Sum of the target diameters; None where a target is not evaluable.
    nadir_um, nadir_date
        The smallest sum before this time point, baseline included: what progression is judged against.
    target, non_target, new_lesion
        None where the patient has no such lesions, at the baseline, or where `overall` was given alone.
    date
        The day that the time point counts as: `Policies.visit_date` where it took several.
    overall
        None at the baseline.
    computed_overall, computed_target
        What the levels below give where `overall` or `target` was given over them, by the document or by a
        reader's decision; None where nobody said otherwise, or nothing lies below.
    is_carried
        The target response is PR only because one was assigned before (carry_partial_response_forward).
    is_back_dated
        Progression rests on a lesion that a later time point proved to be new.
    reason
        Of the overall response, for a tumour board; `target_reason` and so on speak of one level.
    components
        The responses that criteria combine beyond target and non-target, by name ("bone", "CA-125").
    """

    time_point: str
    date: datetime.date | None = None
    is_baseline: bool = False
    sum_um: int | None = None
    baseline_sum_um: int | None = None
    nadir_um: int | None = None
    nadir_date: datetime.date | None = None
    target: Response | None = None
    non_target: Response | None = None
    new_lesion: NewLesion | None = None
    overall: Response | None = None
    reason: str = ""
    target_reason: str = ""
    non_target_reason: str = ""
    new_lesion_reason: str = ""
    contributions: tuple[LesionContribution, ...] = ()
    is_carried: bool = False
    is_back_dated: bool = False
    computed_overall: Response | None = None
    computed_target: Response | None = None
    warnings: tuple[str, ...] = ()
    components: tuple[tuple[str, Response], ...] = ()

    @property
    def change_from_baseline_percent(self) -> float | None:
        """Of the sum, signed; None without both."""
        if self.sum_um is None or self.baseline_sum_um is None or self.is_baseline:
            return None
        return percent_change(self.sum_um, self.baseline_sum_um)

    @property
    def change_from_nadir_percent(self) -> float | None:
        """Of the sum, signed; None without both or from a nadir of zero."""
        if self.sum_um is None or self.nadir_um is None:
            return None
        return percent_change(self.sum_um, self.nadir_um)

    @property
    def change_from_nadir_um(self) -> int | None:
        """Of the sum, signed; None without both."""
        if self.sum_um is None or self.nadir_um is None:
            return None
        return self.sum_um - self.nadir_um


@dataclass(frozen=True, kw_only=True)
class BestResponse:
    """A best overall response, the day it was first reached, and why it is this one."""

    value: Response
    date: datetime.date | None = None
    time_point: str | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Whether something happened, and on which day first."""

    happened: bool
    date: datetime.date | None = None
    time_point: str | None = None
    reason: str = ""

    @property
    def value(self) -> str:
        """ "Y" or "N", as CDISC writes it."""
        return "Y" if self.happened else "N"


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Days between two days; `is_censored` where the last evaluable day stands for an end not seen."""

    days: int
    start: datetime.date
    end: datetime.date
    is_censored: bool = False
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Course:
    """A patient's whole course under one protocol."""

    protocol: Protocol
    assessments: tuple[Assessment, ...] = ()
    best_overall_response: BestResponse
    confirmed_best_overall_response: BestResponse
    response: Event
    confirmed_response: Event
    progression: Event
    clinical_benefit: Event
    confirmed_clinical_benefit: Event
    disease_control: Event
    time_to_response: Duration | None = None
    duration_of_response: Duration | None = None
    confirmed_duration_of_response: Duration | None = None
    progression_free_survival: Duration | None = None
    icpd: Event | None = None
    iupd: Event | None = None
    warnings: tuple[str, ...] = field(default_factory=tuple)
    name: str = ""

    @property
    def headline(self) -> BestResponse:
        """The best response that the protocol reports: the confirmed one where it requires confirmation."""
        if self.protocol.policies.confirmation_required:
            return self.confirmed_best_overall_response
        return self.best_overall_response

    def assessment_of(self, time_point: str) -> Assessment:
        """The assessment of a time point.

        Raises
        ------
        KeyError
            If the course has no such time point.
        """
        for assessment in self.assessments:
            if assessment.time_point == time_point:
                return assessment
        raise KeyError(time_point)
