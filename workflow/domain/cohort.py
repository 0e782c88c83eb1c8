"""Many patients at once: best change (waterfall), change over time (spider), time on study (swimmer), rates.

Conventions are those of RECIST 1.1, section 4.8: every patient with a baseline is in the denominator, and one
without an assessment counts as not evaluable. docs/board.md says what each figure shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from workflow.domain.response.values import NOT_EVALUABLE, PROGRESSION, Response, plain

CONFIDENCE = 0.95
"""Of the intervals of response rates."""

COMPLETE, PARTIAL, STABLE, PROGRESSIVE, NO_ASSESSMENT = "CR", "PR", "SD", "PD", "NE"
CATEGORIES = (COMPLETE, PARTIAL, STABLE, PROGRESSIVE, NO_ASSESSMENT)
"""What best responses of all criteria are counted as: RECIST 1.1's own five (4.8)."""


@dataclass(frozen=True, kw_only=True)
class CohortVisit:
    """A visit's response in short; the change (%) is of the target sum from baseline."""

    patient_key: int
    patient_id: str
    day: date
    days_from_baseline: int
    is_baseline: bool
    is_signed: bool
    criteria: str
    overall: str
    best_overall_response: str | None = None
    new_lesion: str | None = None
    sum_mm: float | None = None
    change_from_baseline_percent: float | None = None


@dataclass(frozen=True, kw_only=True)
class CohortFilter:
    """Which visits and patients are shown; `since` and `until` are about the day of the baseline."""

    criteria: str = ""
    since: date | None = None
    until: date | None = None
    is_signed_only: bool = False


@dataclass(frozen=True, kw_only=True)
class CohortPatient:
    """A patient's course as the figures show it; `visits` begin with the baseline.

    Attributes
    ----------
    category
        The best overall response as one of `CATEGORIES`; `best_response` is the criteria's own word.
    best_change_percent
        The lowest change of the target sum from baseline, up to and including the first progression; None if
        no sum was measured after the baseline.
    has_new_lesion
        Whether a new lesion was definite at any visit up to and including the first progression.
    progression_day
        Days from baseline to the first progression (iUPD too), None without.
    """

    patient_key: int
    patient_id: str
    criteria: str
    visits: tuple[CohortVisit, ...]
    category: str
    best_response: str
    best_change_percent: float | None
    has_new_lesion: bool
    progression_day: int | None

    @property
    def last_day(self) -> int:
        """Days from baseline to the latest visit."""
        return self.visits[-1].days_from_baseline


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share of patients with its exact (Clopper-Pearson) 95 % interval; None of nobody."""

    count: int
    of: int

    @property
    def share(self) -> float | None:
        """From 0 to 1."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Lower and upper limit, 0 to 1."""
        return clopper_pearson(self.count, self.of) if self.of else None


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Patients in the order of their numbers, and what they come to."""

    patients: tuple[CohortPatient, ...]
    without_baseline: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many patients have each category as their best response."""
        return {name: sum(p.category == name for p in self.patients) for name in CATEGORIES}

    @property
    def objective_response(self) -> Rate:
        """ORR: complete and partial responses."""
        return self._rate(COMPLETE, PARTIAL)

    @property
    def disease_control(self) -> Rate:
        """DCR: complete and partial responses and stable disease."""
        return self._rate(COMPLETE, PARTIAL, STABLE)

    def _rate(self, *categories: str) -> Rate:
        return Rate(count=sum(self.counts[name] for name in categories), of=len(self.patients))

    @property
    def waterfall(self) -> tuple[CohortPatient, ...]:
        """The patients with a best change, from the largest growth to the largest shrinkage."""
        changed = [p for p in self.patients if p.best_change_percent is not None]
        return tuple(sorted(changed, key=lambda p: (-(p.best_change_percent or 0.0), p.patient_id)))

    @property
    def swimmer(self) -> tuple[CohortPatient, ...]:
        """The patients by their time on study, the longest first."""
        return tuple(sorted(self.patients, key=lambda p: (-p.last_day, p.patient_id)))


def cohort_of(visits: Iterable[CohortVisit], wanted: CohortFilter) -> Cohort:
    """The patients that a filter leaves.

    Parameters
    ----------
    visits
        Visits with a report, those of a patient in order.
    """
    by_patient: dict[int, list[CohortVisit]] = {}
    for visit in visits:
        if wanted.is_signed_only and not visit.is_signed:
            continue
        by_patient.setdefault(visit.patient_key, []).append(visit)
    found, without_baseline = [], 0
    for own in by_patient.values():
        if wanted.criteria and own[-1].criteria != wanted.criteria:
            continue
        if not own[0].is_baseline:
            without_baseline += 1
            continue
        day = own[0].day
        if (wanted.since and day < wanted.since) or (wanted.until and day > wanted.until):
            continue
        found.append(_patient(own))
    found.sort(key=lambda patient: (patient.patient_id, patient.patient_key))
    return Cohort(patients=tuple(found), without_baseline=without_baseline)


def _patient(visits: Sequence[CohortVisit]) -> CohortPatient:
    after = [visit for visit in visits if not visit.is_baseline]
    progressed = next((i for i, visit in enumerate(after) if is_progression(visit.overall)), None)
    counted = after if progressed is None else after[: progressed + 1]
    changes = [v.change_from_baseline_percent for v in counted if v.change_from_baseline_percent is not None]
    best = after[-1].best_overall_response if after else None
    return CohortPatient(
        patient_key=visits[0].patient_key,
        patient_id=visits[0].patient_id,
        criteria=visits[-1].criteria,
        visits=tuple(visits),
        category=category_of(best),
        best_response=best or Response.NE.value,
        best_change_percent=min(changes, default=None),
        has_new_lesion=any(visit.new_lesion == "yes" for visit in counted),
        progression_day=None if progressed is None else after[progressed].days_from_baseline,
    )


def is_progression(response: str) -> bool:
    """Whether an overall response is progression, by any criteria."""
    return response in PROGRESSION


_STABLE = frozenset({Response.SD, Response.NON_CR_NON_PD, Response.NED, Response.MR})


def category_of(response: str | None) -> str:
    """A best response of any criteria as RECIST 1.1's own five; without one: not evaluable.

    RANO's minor response (MR) is counted as stable: it is no objective response there.
    """
    try:
        word = plain(Response(response or Response.NE.value))
    except ValueError:
        return NO_ASSESSMENT
    if word in _STABLE:
        return STABLE
    if word in NOT_EVALUABLE or word.value not in CATEGORIES:
        return NO_ASSESSMENT
    return word.value


# ---------------------------------------------------------------- exact intervals

_STEPS = 200  # halvings: far below what a double can tell


def clopper_pearson(count: int, of: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a binomial share (Clopper and Pearson, Biometrika 1934;26:404).

    The lower limit is the share at which `count` or more would be seen with half the error's probability, the
    upper the one at which `count` or fewer would.

    Raises
    ------
    ValueError
        If it is no count of so many, or the confidence is not between 0 and 1.
    """
    if not 0 <= count <= of or of < 1:
        raise ValueError(f"{count} of {of} is no share")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    tail = (1 - confidence) / 2
    lower = 0.0 if count == 0 else _root(lambda share: 1 - _at_most(count - 1, of, share) - tail)
    upper = 1.0 if count == of else _root(lambda share: tail - _at_most(count, of, share))
    return lower, upper


def _root(rising: Callable[[float], float]) -> float:
    """Where a function that rises from below 0 to above 0 on (0, 1) is 0."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _at_most(count: int, of: int, share: float) -> float:
    """Probability of `count` or fewer of `of`, each with a probability of `share` (0 < share < 1)."""
    log_yes, log_no = math.log(share), math.log1p(-share)
    terms = (
        math.exp(
            math.lgamma(of + 1)
            - math.lgamma(k + 1)
            - math.lgamma(of - k + 1)
            + k * log_yes
            + (of - k) * log_no
        )
        for k in range(count + 1)
    )
    return math.fsum(terms)
