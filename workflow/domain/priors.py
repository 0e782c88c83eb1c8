"""Which earlier studies of a patient are fetched from the PACS, and why the others are not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from workflow.domain.patient import PatientIdentity, compare
from workflow.domain.regions import regions_in
from workflow.domain.series import PROMPT_MODALITIES

# What lesions are measured on. PET is followed on PET, and its CT is a CT.
_MEASURED = frozenset({"CT", "MR", "PT"})


class PriorState(StrEnum):
    """How far an earlier study is on its way from the PACS to us."""

    WANTED = "WANTED"
    FETCHED = "FETCHED"
    FAILED = "FAILED"


PRIOR_WORDS: Mapping[PriorState, str] = {
    PriorState.WANTED: "asked for",
    PriorState.FETCHED: "fetched",
    PriorState.FAILED: "could not be fetched",
}


@dataclass(frozen=True, kw_only=True)
class ListedStudy:
    """A study as the PACS lists it. Empty modalities and an unknown count are what it did not say."""

    study_instance_uid: str
    patient: PatientIdentity
    day: date | None = None
    description: str = ""
    modalities: frozenset[str] = frozenset()
    instance_count: int | None = None


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """The study that priors are sought for: `words` are its descriptions and body parts."""

    study_instance_uid: str
    patient: PatientIdentity
    day: date
    modalities: frozenset[str]
    words: str


@dataclass(frozen=True, kw_only=True)
class PriorRule:
    """How much of the past is fetched."""

    at_most: int = 3
    within_days: int = 1826
    at_most_instances: int = 5000


@dataclass(frozen=True, kw_only=True)
class PriorChoice:
    """A listed study with why it is fetched, or, in `refusal`, why not. Neither names the patient."""

    study: ListedStudy
    reason: str = ""
    refusal: str = ""


def choose_priors(
    arrived: Arrived, listed: Sequence[ListedStudy], held: Collection[str], rule: PriorRule
) -> tuple[PriorChoice, ...]:
    """Judge every listed study but those that we hold; the ones to fetch come first, in the order to fetch.

    The newest comes first (a follow-up is tracked from it), then the oldest (the baseline), then the rest
    from new to old. Studies that hold nothing but marks belong to none of the places: they are small.
    """
    candidates: list[ListedStudy] = []
    marks: list[PriorChoice] = []
    refused: list[PriorChoice] = []
    for study in listed:
        if study.study_instance_uid in held or study.study_instance_uid == arrived.study_instance_uid:
            continue
        if refusal := _refusal(arrived, study, rule):
            refused.append(PriorChoice(study=study, refusal=refusal))
        elif study.modalities and study.modalities <= PROMPT_MODALITIES:
            marks.append(PriorChoice(study=study, reason="it holds marks"))
        else:
            candidates.append(study)
    from_new = sorted(candidates, key=_age, reverse=True)
    ordered = from_new[:1] + from_new[:0:-1][:1] + from_new[1:-1]
    chosen = [
        PriorChoice(study=study, reason=_place(study, from_new)) for study in ordered[: max(rule.at_most, 0)]
    ]
    over = [
        PriorChoice(study=study, refusal=f"{rule.at_most} other priors come before it")
        for study in ordered[max(rule.at_most, 0) :]
    ]
    return (*chosen, *marks, *over, *refused)


def _age(study: ListedStudy) -> tuple[date, str]:
    return study.day or date.min, study.study_instance_uid


def _place(study: ListedStudy, from_new: Sequence[ListedStudy]) -> str:
    if study is from_new[0]:
        return "the newest earlier study of the region"
    return "the oldest one: the baseline" if study is from_new[-1] else "between baseline and the newest one"


def _refusal(arrived: Arrived, study: ListedStudy, rule: PriorRule) -> str:
    """Why a study is no prior of the one that arrived, "" if it is."""
    match = compare(arrived.patient, study.patient)
    if not match.is_one_person:
        return match.reason
    if study.day is None:
        return "it bears no date"
    if study.day > arrived.day:
        return "it is later"
    if (arrived.day - study.day).days > rule.within_days:
        return f"it is older than {rule.within_days} days"
    if study.instance_count is not None and study.instance_count > rule.at_most_instances:
        return f"it has {study.instance_count} instances, more than {rule.at_most_instances}"
    if not study.modalities or study.modalities <= PROMPT_MODALITIES:
        return ""
    if not study.modalities & arrived.modalities & _MEASURED:
        theirs, ours = "/".join(sorted(study.modalities)), "/".join(sorted(arrived.modalities))
        return f"{theirs} is not compared with {ours}"
    there, here = regions_in(study.description), regions_in(arrived.words)
    if there and here and not there & here:
        return f"it shows another region ({', '.join(sorted(there))})"
    return ""
