"""Visits: which studies of a patient are judged together, and what each visit is compared with.

A patient is often looked at in parts: chest on one day, abdomen on the next, PET and CT, two studies of one
examination. RECIST judges the patient, not the part, so the parts are one time point (design, decision 14).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from workflow.domain.geometry import Mask
from workflow.domain.record import PatientRecord, PromptObject, Study, Visit
from workflow.domain.regions import regions_in
from workflow.domain.series import SeriesDescription, StackKey
from workflow.domain.series_choice import comparability


@dataclass(frozen=True, kw_only=True)
class VisitRules:
    """What a site takes for one visit.

    Attributes
    ----------
    window_days
        Studies that show other parts of the body within so many days of the first one are one visit.
    baseline_window_days
        The same for the first visit: RECIST 1.1 (3.1) gives a baseline four weeks.
    """

    window_days: int = 7
    baseline_window_days: int = 28


@dataclass(frozen=True, kw_only=True)
class StudyGroup:
    """Studies that are one visit, in order, and what a person should know of their being one."""

    studies: tuple[Study, ...]
    doubts: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """The first study names the visit."""
        return self.studies[0].study_instance_uid


def usable_stacks(study: Study) -> tuple[SeriesDescription, ...]:
    """The stacks of a study that can become volumes."""
    return tuple(s for s in study.series if s.refusal is None)


def shown_by(study: Study) -> frozenset[tuple[str, str]]:
    """What a study shows, as (modality, region); empty if its words name no region."""
    return frozenset(
        (series.modality, region)
        for series in usable_stacks(study)
        for region in regions_in(_words(study, series))
    )


def _words(study: Study, series: SeriesDescription) -> str:
    # A series that names its region knows better than the study that it is one of several series of.
    own = " ".join((series.body_part, series.description, series.protocol))
    return own if regions_in(own) else f"{own} {study.description}"


def group_into_visits(studies: Iterable[Study], rules: VisitRules | None = None) -> list[StudyGroup]:
    """Put studies into visits, in order.

    Studies of one day are one visit. Within the window a study joins the visit before it if it shows
    something else (another region or modality) than what other days of that visit show; one that shows the
    same again is a visit of its own. Where the headers don't say what is shown, studies of a window are one
    visit, and a person is asked.
    """
    rules = rules or VisitRules()
    groups: list[StudyGroup] = []
    for day, same_day in groupby(_usable(studies), key=_day):
        today = tuple(same_day)
        doubts = _why_joined(groups[-1], today, day, rules, is_first=len(groups) == 1) if groups else None
        if doubts is None:
            groups.append(StudyGroup(studies=today))
        else:
            before = groups[-1]
            groups[-1] = StudyGroup(studies=(*before.studies, *today), doubts=(*before.doubts, *doubts))
    return groups


def _day(study: Study) -> date:
    return study.place_in_time[0]


def _usable(studies: Iterable[Study]) -> list[Study]:
    """Those that can be part of a visit, in order; of a study and its copies one.

    Where the original is not there any more (quarantined, given to another patient), a copy stands for it.
    """
    usable = sorted((s for s in studies if s.is_usable), key=lambda s: s.place_in_time)
    taken = {s.study_instance_uid for s in usable}
    kept = []
    for study in usable:
        if study.copy_of is None or study.copy_of not in taken:
            kept.append(study)
            taken.add(study.copy_of or study.study_instance_uid)
    return kept


def _why_joined(
    group: StudyGroup, today: Sequence[Study], day: date, rules: VisitRules, *, is_first: bool
) -> tuple[str, ...] | None:
    """None if the studies of a day are no part of the visit before; else what is doubtful about it."""
    days = (day - _day(group.studies[0])).days
    if days > (max(rules.window_days, rules.baseline_window_days) if is_first else rules.window_days):
        return None
    if any(_repeats(former, study) for former in group.studies for study in today):
        return None
    unknown = [s for s in (*group.studies, *today) if not shown_by(s)]
    if not unknown:
        return ()
    if all(_differ_in_modality(former, study) for former in group.studies for study in today):
        return ()
    if days > rules.window_days:
        return None
    return (
        f"the studies of {_day(group.studies[-1])} and {day} are taken for one visit, though their headers "
        "do not say which parts of the body they show; set response.visit_window_days if they are two",
    )


def _differ_in_modality(one: Study, other: Study) -> bool:
    return not {s.modality for s in usable_stacks(one)} & {s.modality for s in usable_stacks(other)}


def _repeats(one: Study, other: Study) -> bool:
    """Whether two studies show one part of the body with one modality."""
    if shown_by(one) & shown_by(other):
        return True
    return any(
        _share_place(a, b)
        for a in usable_stacks(one)
        for b in usable_stacks(other)
        if a.modality == b.modality
    )


def _share_place(one: SeriesDescription, other: SeriesDescription) -> bool:
    if not one.frame_of_reference_uid or one.frame_of_reference_uid != other.frame_of_reference_uid:
        return False
    if one.extent_lps is None or other.extent_lps is None:
        return False
    (low, high), (low_too, high_too) = one.extent_lps, other.extent_lps
    shared = [min(a, b) - max(c, d) for a, b, c, d in zip(high, high_too, low, low_too, strict=True)]
    smaller = [min(a - c, b - d) for a, b, c, d in zip(high, high_too, low, low_too, strict=True)]
    return all(part > 0.5 * whole for part, whole in zip(shared, smaller, strict=True))


# ---------------------------------------------------------------- comparing


def why_not_comparable(
    earlier: SeriesDescription, earlier_study: Study, later: SeriesDescription, later_study: Study
) -> str | None:
    """Why a lesion of one stack can't be looked for on another, or None if it can."""
    if earlier.modality != later.modality:
        return f"{earlier.modality} can't be compared with {later.modality}"
    if earlier.frame_of_reference_uid and earlier.frame_of_reference_uid == later.frame_of_reference_uid:
        return None
    there, here = regions_in(_words(earlier_study, earlier)), regions_in(_words(later_study, later))
    if there and here and not there & here:
        return f"{', '.join(sorted(there))} is not {', '.join(sorted(here))}"
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownLesion:
    """A lesion of the roster, from where it was last seen.

    `visit` (the anchor), `stack` and `mask` are None for a lesion that was never outlined.
    """

    tracking_uid: str
    label: str
    visit: str | None = None
    stack: StackKey | None = None
    mask: Mask | None = None


def earlier_visits(record: PatientRecord, visit: Visit) -> tuple[Visit, ...]:
    """The visits before one, nearest first."""
    standing = record.standing
    place = next(i for i, v in enumerate(standing) if v.anchor == visit.anchor)
    return tuple(reversed(standing[:place]))


def roster_of(record: PatientRecord, visit: Visit) -> list[KnownLesion]:
    """Every lesion that is known before a visit, from the nearest earlier visit that outlines it."""
    roster: dict[str, KnownLesion] = {}
    for earlier in earlier_visits(record, visit):
        for seen in earlier.observations:
            known = roster.get(seen.tracking_uid)
            if known is not None and known.mask is not None:
                continue
            has_mask = seen.mask is not None and not seen.mask.is_empty
            roster[seen.tracking_uid] = KnownLesion(
                tracking_uid=seen.tracking_uid,
                label=record.lesions[seen.tracking_uid].label,
                visit=earlier.anchor if has_mask else None,
                stack=seen.measured_on if has_mask else None,
                mask=seen.mask if has_mask else None,
            )
    return sorted(roster.values(), key=lambda known: (known.label, known.tracking_uid))


def stack_with_study(
    record: PatientRecord, visit: Visit, key: StackKey
) -> tuple[SeriesDescription, Study] | None:
    """A stack of a visit with the study that holds it, None if the visit has no such stack."""
    for study in record.studies_of(visit):
        for series in study.series:
            if series.key == key:
                return series, study
    return None


def homes_for(
    record: PatientRecord, visit: Visit, lesion: KnownLesion, stacks: Sequence[SeriesDescription]
) -> list[SeriesDescription]:
    """The stacks of a visit on which a lesion can be looked for, the likest to its own first.

    Among equally like ones that at the likest height: a table often counts from one place.
    """
    if lesion.visit is None or lesion.stack is None:
        return []
    own = stack_with_study(record, record.visit(lesion.visit), lesion.stack)
    if own is None:
        return []
    series, study = own
    holders = {s.key: owner for owner in record.studies_of(visit) for s in owner.series}
    fitting = [s for s in stacks if why_not_comparable(series, study, s, holders[s.key]) is None]
    places = {s.key: place for place, s in enumerate(stacks)}
    return sorted(
        fitting, key=lambda s: (len(comparability(series, s)), _heights_apart_mm(series, s), places[s.key])
    )


def _heights_apart_mm(one: SeriesDescription, other: SeriesDescription) -> float:
    if one.extent_lps is None or other.extent_lps is None:
        return 0.0
    middles = [(low[2] + high[2]) / 2 for low, high in (one.extent_lps, other.extent_lps)]
    # Two stacks of one place differ by a few slices: that must not decide.
    return round(abs(middles[0] - middles[1]), -2)


def is_sure_home(record: PatientRecord, visit: Visit, lesion: KnownLesion, key: StackKey) -> bool:
    """Whether a stack surely shows a lesion's place: it shares its frame of reference or its region."""
    if lesion.visit is None or lesion.stack is None:
        return False
    own = stack_with_study(record, record.visit(lesion.visit), lesion.stack)
    here = stack_with_study(record, visit, key)
    if own is None or here is None:
        return False
    frame = own[0].frame_of_reference_uid
    if frame and frame == here[0].frame_of_reference_uid:
        return True
    return bool(regions_in(_words(own[1], own[0])) & regions_in(_words(here[1], here[0])))


def why_no_prior(record: PatientRecord, visit: Visit, earlier: Visit) -> str | None:
    """Why nothing of a visit can be compared with an earlier one, or None if something can."""
    reasons = [
        why_not_comparable(former, study, series, own)
        for study in record.studies_of(earlier)
        for former in usable_stacks(study)
        for own in record.studies_of(visit)
        for series in usable_stacks(own)
    ]
    return None if None in reasons or not reasons else reasons[0]


def prior_of(record: PatientRecord, visit: Visit) -> Visit | None:
    """The nearest earlier visit that something of a visit can be compared with."""
    earlier = earlier_visits(record, visit)
    return next((v for v in earlier if why_no_prior(record, visit, v) is None), None)


def was_looked_at(record: PatientRecord, visit: Visit, series: SeriesDescription) -> bool:
    """Whether an earlier visit shows, with the same modality, the part of the body that a stack shows."""
    here = stack_with_study(record, visit, series.key)
    if here is None:
        return False
    return any(
        why_not_comparable(former, study, *here) is None
        for earlier in earlier_visits(record, visit)
        for study in record.studies_of(earlier)
        for former in usable_stacks(study)
    )


# ---------------------------------------------------------------- prompts


def prompt_objects_of(record: PatientRecord, visit: Visit) -> tuple[PromptObject, ...]:
    """The objects that lie in one of a visit's studies, or name a study, series or frame of it."""
    names = {uid for study in record.studies_of(visit) for uid in _names(study)}
    return tuple(
        p for p in record.prompt_objects if p.study_instance_uid in visit.studies or names & p.refers_to
    )


def _names(study: Study) -> set[str]:
    own = {study.study_instance_uid}
    for series in study.series:
        own.add(series.series_instance_uid)
        if series.frame_of_reference_uid:
            own.add(series.frame_of_reference_uid)
    return own


def speaks_of_others(record: PatientRecord, visit: Visit, prompt: PromptObject) -> bool:
    """Whether an object also names images of the patient's other visits."""
    others = {
        uid
        for other in record.standing
        if other.anchor != visit.anchor
        for study in record.studies_of(other)
        for uid in _names(study)
    }
    return bool(others & prompt.refers_to)
