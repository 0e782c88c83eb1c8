"""What was seen: lesions, time points and the observations in them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole
from workflow.domain.response.policy import VisitDate
from workflow.domain.response.values import NewLesion, Response, TimelineError


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """A lesion followed over time.

    Attributes
    ----------
    id
        The name that observations call it by; unique in a timeline.
    organ
        The RECIST organ, for the rules of two per organ; "" if not said.
    is_nodal
        Whether it is a lymph node: measured by its short axis, normal below 10 mm.
    is_measurable
        Of a new lesion under iRECIST: whether it is followed as a new target (NLT); None: by its size.
    is_enhancing
        RANO 2.0: False for a lesion that is measured on T2/FLAIR because it does not enhance.
    """

    id: str
    role: LesionRole = LesionRole.TARGET
    organ: str = ""
    is_nodal: bool = False
    is_measurable: bool | None = None
    is_enhancing: bool = True


class InterventionKind(StrEnum):
    """What was done to one lesion."""

    SURGERY = "surgery"
    RADIOTHERAPY = "radiotherapy"
    ABLATION = "ablation"
    EMBOLISATION = "embolisation"
    BIOPSY = "biopsy"


class InterventionEffect(StrEnum):
    """What an intervention does to the assessment."""

    EXCLUDED = "excluded"  # not evaluable from this time point on
    NOT_EVALUABLE = "not evaluable"  # not evaluable at this time point
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """Treatment of one lesion, whose size then says nothing of the systemic therapy (EORTC Q&A).

    `effect` is what a reader decided; None takes the usual one: a biopsy has none, the others exclude.
    """

    kind: InterventionKind
    effect: InterventionEffect | None = None
    date: datetime.date | None = None

    @property
    def taken_effect(self) -> InterventionEffect:
        """The effect that counts."""
        if self.effect is not None:
            return self.effect
        is_biopsy = self.kind is InterventionKind.BIOPSY
        return InterventionEffect.NONE if is_biopsy else InterventionEffect.EXCLUDED

    @property
    def text(self) -> str:
        """In words: "radiotherapy on 2024-02-01"."""
        return f"{self.kind} on {self.date}" if self.date else self.kind.value


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One lesion at one time point. Lengths are whole µm.

    Attributes
    ----------
    state
        None leaves it to the numbers: a diameter of 0 is DISAPPEARED, any other PRESENT, none NOT_EVALUABLE.
    diameter_um
        What the criteria sum. Where it is None, the short axis of a node or the long axis of another lesion.
    fragments_um
        Diameters of the parts of a SPLIT lesion; they are added (EORTC).
    has_progressed
        Of a non-target lesion: the reader calls its growth unequivocal progression.
    has_increased
        Of a non-target or new non-target lesion: any growth since the time point before (iRECIST).
    is_equivocal
        Of a new lesion: it may be something else, and is followed before it counts. False says that it is
        certain; None says nothing, and leaves a doubt of an earlier time point as it was.
    merged_into
        Of a MERGED lesion: the lesion that carries the common diameter.
    intervention
        What was done to the lesion since the time point before.
    reason
        Why it can't be evaluated, in a reader's words.
    slice_interval_um
        Distance of the slices that it was measured on, for the least size of a target.
    viable_um
        mRECIST: longest diameter of the part that enhances in the arterial phase; 0 if nothing does.
    sul_peak_milli
        PERCIST: SULpeak in thousandths.
    attenuation_milli_hu
        Choi: mean attenuation in the portal venous phase, thousandths of HU.
    has_intratumoral_nodule
        Choi: the reader sees a new or a growing nodule inside the lesion.
    """

    lesion: str
    state: LesionState | None = None
    diameter_um: int | None = None
    long_axis_um: int | None = None
    short_axis_um: int | None = None
    fragments_um: tuple[int, ...] = ()
    has_progressed: bool = False
    has_increased: bool = False
    is_equivocal: bool | None = None
    merged_into: str | None = None
    intervention: Intervention | None = None
    reason: str = ""
    slice_interval_um: int | None = None
    viable_um: int | None = None
    sul_peak_milli: int | None = None
    attenuation_milli_hu: int | None = None
    has_intratumoral_nodule: bool = False

    def __post_init__(self) -> None:
        lengths = (self.diameter_um, self.long_axis_um, self.short_axis_um, *self.fragments_um)
        for length in lengths:
            if length is not None and length < 0:
                raise TimelineError(
                    f"lesion {self.lesion}: {length / 1000} mm is negative; a length is 0 mm or more"
                )


class Uptake(StrEnum):
    """How FDG uptake compares with baseline."""

    DECREASED = "decreased"
    UNCHANGED = "unchanged"
    INCREASED = "increased"


class ClinicalStatus(StrEnum):
    """How the patient does, apart from the images, compared with baseline (RANO 2.0, LYRIC)."""

    IMPROVED = "improved"
    STABLE = "stable"
    WORSE = "worse"


class Corticosteroids(StrEnum):
    """The corticosteroid dose compared with baseline (RANO 2.0); physiological replacement is none."""

    NONE = "none"
    DECREASED = "decreased"
    STABLE = "stable"
    INCREASED = "increased"


@dataclass(frozen=True, kw_only=True)
class TimePoint:
    """One visit. A level that is given stands in place of what would be derived from those below it.

    Attributes
    ----------
    date, last_date
        First and last day (None: the same) of its scans. No date: rules on days take the interval as long
        enough and say so.
    is_date_partial
        Only the month or the year is known, and `date` and `last_date` are its first and last day.
    is_baseline
        None leaves it to the timeline: the first time point, unless it is judged already.
    sum_um
        Sum of the target diameters, µm, in place of observations.
    non_target_increase, new_lesion_increase, additional_new_lesion, new_lesion_sum_um
        What iRECIST's confirmation asks for, where no observations tell it: any growth of non-target
        disease or of new non-target lesions since iUPD, a further new lesion, and the new targets' sum in µm.
    is_tumour_marker_raised
        Whether a tumour marker is above its normal limit; None if not measured.
    deauville, uptake, spleen_um
        Lugano: five-point score, change of uptake since baseline, and the spleen's craniocaudal length.
    has_unrelated_uptake
        Lugano: score X, new uptake that is unlikely to be lymphoma.
    has_new_symptoms
        iRECIST: the scan was made for a new symptom or sign.
    clinical_status, corticosteroids
        RANO 2.0 (the status also LYRIC): what a CR or PR needs beside the images.
    liver_sul_mean_milli, liver_sul_deviation_milli
        PERCIST: mean and standard deviation of SUL in the normal liver, thousandths.
    new_bone_lesions, bone
        PCWG3: how many lesions the bone scan shows that were not there at baseline, and the bone response.
    ca125_milli, ca125_upper_limit_milli
        GCIG: serum CA-125 and the upper limit of its reference range, thousandths of U/ml.
    is_ca125_evaluable
        GCIG: False after mouse antibodies, or surgery on peritoneum or pleura in the 28 days before.
    """

    id: str
    date: datetime.date | None = None
    last_date: datetime.date | None = None
    is_date_partial: bool = False
    observations: tuple[Observation, ...] = ()
    is_baseline: bool | None = None
    sum_um: int | None = None
    target: Response | None = None
    non_target: Response | None = None
    new_lesion: NewLesion | None = None
    overall: Response | None = None
    non_target_increase: bool | None = None
    new_lesion_increase: bool | None = None
    additional_new_lesion: bool | None = None
    new_lesion_sum_um: int | None = None
    is_tumour_marker_raised: bool | None = None
    deauville: int | None = None
    uptake: Uptake | None = None
    spleen_um: int | None = None
    has_unrelated_uptake: bool = False
    has_new_symptoms: bool = False
    clinical_status: ClinicalStatus | None = None
    corticosteroids: Corticosteroids | None = None
    liver_sul_mean_milli: int | None = None
    liver_sul_deviation_milli: int | None = None
    new_bone_lesions: int | None = None
    bone: Response | None = None
    ca125_milli: int | None = None
    ca125_upper_limit_milli: int | None = None
    is_ca125_evaluable: bool = True

    def __post_init__(self) -> None:
        if self.last_date is not None and (self.date is None or self.last_date < self.date):
            raise TimelineError(
                f"time point {self.id!r}: its last day {self.last_date} is before {self.date}"
            )

    def day(self, rule: VisitDate, *, has_progressed: bool) -> datetime.date | None:
        """The day that the time point counts as."""
        if self.last_date is None or rule is VisitDate.EARLIEST:
            return self.date
        return self.date if has_progressed and rule is VisitDate.BY_RESPONSE else self.last_date

    @property
    def when(self) -> str:
        """The date to read, or the id where there is none."""
        return self.date.isoformat() if self.date else self.id

    @property
    def has_response(self) -> bool:
        """Whether a response is given, at any level."""
        is_level = self.target is not None or self.non_target is not None or self.new_lesion is not None
        return is_level or self.overall is not None

    def observation_of(self, lesion: str) -> Observation | None:
        """The observation of a lesion, if there is one."""
        index: dict[str, Observation] | None = self.__dict__.get("_index")
        if index is None:
            index = self.__dict__["_index"] = {o.lesion: o for o in self.observations}
        return index.get(lesion)


BASELINE_NAMES = frozenset({"BL", "BASE", "BASELINE", "SCREENING", "SCREEN", "SCR"})


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """A patient's lesions and time points, in order of time.

    Attributes
    ----------
    reference_date
        The day that durations count from (randomisation or start of treatment); None takes the baseline's.
    new_therapy_date
        Start of another anticancer therapy: what is seen after this day counts for no best response.
    death_date
        An event of progression-free survival.
    `reference_date` is the day that durations count from (randomisation or start of treatment);
    None takes the baseline's date. `radiotherapy_end` is the last day of radiotherapy (RANO 2.0).

    Raises
    ------
    TimelineError
        If it contradicts itself: two lesions or time points of one name, an observation of an unknown
        lesion or a second one of the same lesion, lesions that merge into each other in a ring, dates out
        of order, two baselines.
    """

    lesions: tuple[Lesion, ...] = ()
    time_points: tuple[TimePoint, ...] = ()
    reference_date: datetime.date | None = None
    new_therapy_date: datetime.date | None = None
    death_date: datetime.date | None = None
    name: str = ""
    radiotherapy_end: datetime.date | None = None
    _baseline: int | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        _require_unique("lesion", (lesion.id for lesion in self.lesions))
        _require_unique("time point", (point.id for point in self.time_points))
        known = {lesion.id for lesion in self.lesions}
        for point in self.time_points:
            _require_known_lesions(point, known)
            if any(observation.merged_into is not None for observation in point.observations):
                _require_no_ring(point)
        _require_order(self.time_points)
        object.__setattr__(self, "_baseline", _find_baseline(self.time_points))

    @property
    def baseline(self) -> TimePoint | None:
        """The baseline, if the timeline has one."""
        return None if self._baseline is None else self.time_points[self._baseline]

    @property
    def follow_ups(self) -> tuple[TimePoint, ...]:
        """The time points that get a response: those after the baseline."""
        return self.time_points if self._baseline is None else self.time_points[self._baseline + 1 :]

    def renamed(self, names: Mapping[str, str]) -> Timeline:
        """The same timeline with its lesions called by other names, e.g. by labels for people.

        Parameters
        ----------
        names
            The new name of every lesion, by its id.
        """
        return replace(
            self,
            lesions=tuple(replace(lesion, id=names[lesion.id]) for lesion in self.lesions),
            time_points=tuple(
                replace(
                    point,
                    observations=tuple(
                        replace(
                            seen,
                            lesion=names[seen.lesion],
                            merged_into=None if seen.merged_into is None else names[seen.merged_into],
                        )
                        for seen in point.observations
                    ),
                )
                for point in self.time_points
            ),
        )

    @property
    def start(self) -> datetime.date | None:
        """The day that durations count from, if it is known."""
        if self.reference_date is not None:
            return self.reference_date
        return self.baseline.date if self.baseline else None


def _require_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise TimelineError(f"{what} {name!r} is there twice; give each {what} an id of its own")
        seen.add(name)


def _require_known_lesions(point: TimePoint, known: set[str]) -> None:
    seen: set[str] = set()
    for observation in point.observations:
        if observation.lesion not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise TimelineError(
                f"time point {point.id!r}: lesion {observation.lesion!r} is unknown; "
                f"add it to the lesions (there: {listed})"
            )
        if observation.lesion in seen:
            raise TimelineError(
                f"time point {point.id!r}: lesion {observation.lesion!r} is observed twice; "
                "give the parts of a split lesion as its fragments"
            )
        seen.add(observation.lesion)


def _require_no_ring(point: TimePoint) -> None:
    """Merged lesions lead to one that carries the diameter; where that one is left out, it is unknown."""
    merged = {o.lesion: o.merged_into for o in point.observations if o.merged_into is not None}
    for name, into in merged.items():
        chain: list[str] = [name]
        carrier: str | None = into
        while carrier is not None:
            if carrier in chain:
                ring = " into ".join(repr(x) for x in (*chain, carrier))
                raise TimelineError(
                    f"time point {point.id!r}: lesions merge in a ring ({ring}); say which one is measured"
                )
            chain.append(carrier)
            carrier = merged.get(carrier)


def _require_order(points: tuple[TimePoint, ...]) -> None:
    last: TimePoint | None = None
    for point in points:
        if point.date is None:
            continue
        if last is not None and last.date is not None and (point.last_date or point.date) < last.date:
            raise TimelineError(
                f"time point {point.id!r} of {point.date} comes after {last.id!r} of {last.date}; "
                "put the time points in order of their dates"
            )
        last = point


def _is_named_so(point: TimePoint) -> bool:
    return point.id.strip().upper() in BASELINE_NAMES


def _find_baseline(points: tuple[TimePoint, ...]) -> int | None:
    """The one marked or named so; else the first, unless it is judged already."""
    marked = [i for i, p in enumerate(points) if p.is_baseline or (p.is_baseline is None and _is_named_so(p))]
    if len(marked) > 1:
        one, other = points[marked[0]].id, points[marked[1]].id
        raise TimelineError(f"time points {one!r} and {other!r} are both the baseline; mark one of them")
    if marked:
        if marked[0] != 0:
            raise TimelineError(
                f"the baseline {points[marked[0]].id!r} is not the first time point; "
                f"leave out {points[0].id!r} or mark it as the baseline"
            )
        return 0
    if points and points[0].is_baseline is None and not _is_judged(points[0]):
        return 0
    return None


def _is_judged(point: TimePoint) -> bool:
    """Whether a first time point is a follow-up: it has a response, or levels without any measurement.

    Measurements with the state of other disease beside them are a baseline.
    """
    if point.overall is not None or point.target is not None:
        return True
    is_measured = point.sum_um is not None or bool(point.observations)
    return point.has_response and not is_measured
