"""A patient's timeline: the order of studies, and which earlier ones a study is compared with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time

# Words in BodyPartExamined (PS3.16 annex L) and descriptions, English and German, that tell the region.
# Whole words only: "Beurteilung" is no lung. A study can show several regions; an unknown one is compared
# with everything, because a wrong "not comparable" makes old lesions look new.
_REGION_WORDS: dict[str, str] = {
    "head": "brain head skull cranium cerebrum kopf schaedel schädel hirn ccthirn neurocranium nnh",
    "neck": "neck hals larynx thyroid headneck",
    "chest": "chest thorax lung lungs pulmonary mediastinum breast heart thx lunge brust cap tap tabd "
    "chestabdpelvis chestabdomen thoraxabdomen",
    "abdomen": "abdomen abdominal abd liver kidney pancreas spleen leber oberbauch bauch cap tap ap tabd "
    "chestabdpelvis chestabdomen thoraxabdomen abdomenpelvis",
    "pelvis": "pelvis pelvic prostate bladder rectum uterus becken cap tap ap chestabdpelvis abdomenpelvis",
    "limb": "leg arm thigh knee hand foot ankle shoulder extremity femur bein oberschenkel",
}
_REGIONS_OF: dict[str, frozenset[str]] = {
    word: frozenset(region for region, words in _REGION_WORDS.items() if word in words.split())
    for words in _REGION_WORDS.values()
    for word in words.split()
}
_WHOLE_BODY = ("whole body", "wholebody", "ganzkoerper", "ganzkörper", "skullbase to thigh", "wb")


@dataclass(frozen=True, kw_only=True)
class TimelineStudy:
    """A study as the timeline sees it."""

    study_instance_uid: str
    study_date: date
    study_time: time | None
    modality: str
    region_text: str  # BodyPartExamined, study and series description, protocol
    frame_of_reference_uid: str | None = None

    @property
    def sort_key(self) -> tuple[date, time, str]:
        """Date, then time; studies of one minute keep one order by their UID."""
        return self.study_date, self.study_time or time.min, self.study_instance_uid

    @property
    def regions(self) -> frozenset[str]:
        """Regions that its texts name; empty if they name none."""
        words = re.findall(r"[a-zäöüß]+", self.region_text.lower())
        text = f" {' '.join(words)} "
        if any(f" {name} " in text for name in _WHOLE_BODY):
            return frozenset(_REGION_WORDS)
        return frozenset(region for word in words for region in _REGIONS_OF.get(word, ()))


@dataclass(frozen=True, kw_only=True)
class PriorChoice:
    """The earlier studies that a study can be compared with, nearest first, and why (not)."""

    study_instance_uids: tuple[str, ...]
    reason: str

    @property
    def nearest(self) -> str | None:
        """The prior to track from."""
        return self.study_instance_uids[0] if self.study_instance_uids else None


def in_order(studies: Sequence[TimelineStudy]) -> list[TimelineStudy]:
    """Studies by study date and time, whatever order they arrived in."""
    return sorted(studies, key=lambda study: study.sort_key)


def why_not_comparable(earlier: TimelineStudy, later: TimelineStudy) -> str | None:
    """Why two studies can't be compared, or None if they can."""
    if earlier.modality != later.modality:
        return f"{earlier.modality} can't be compared with {later.modality}"
    if (
        earlier.frame_of_reference_uid is not None
        and earlier.frame_of_reference_uid == later.frame_of_reference_uid
    ):
        return None
    if earlier.regions and later.regions and not earlier.regions & later.regions:
        return f"{', '.join(sorted(earlier.regions))} is not {', '.join(sorted(later.regions))}"
    return None


def choose_priors(studies: Sequence[TimelineStudy], study_instance_uid: str) -> PriorChoice:
    """The comparable earlier studies of one study, nearest first.

    Studies of an earlier date come before studies of the same day: two examinations of one day
    are compared with the past, not with each other, unless there is no past.
    """
    ordered = in_order(studies)
    place = next(i for i, s in enumerate(ordered) if s.study_instance_uid == study_instance_uid)
    study, earlier = ordered[place], ordered[:place]
    if not earlier:
        return PriorChoice(study_instance_uids=(), reason="first study of this patient")
    refusals = {s.study_instance_uid: why_not_comparable(s, study) for s in earlier}
    fitting = [s for s in earlier if refusals[s.study_instance_uid] is None]
    if not fitting:
        last = ordered[place - 1]
        return PriorChoice(
            study_instance_uids=(),
            reason=f"no comparable prior: {refusals[last.study_instance_uid]} ({last.study_date:%Y-%m-%d})",
        )
    past = [s for s in fitting if s.study_date < study.study_date]
    same_day = [s for s in fitting if s.study_date == study.study_date]
    nearest = [*reversed(past), *reversed(same_day)]
    return PriorChoice(
        study_instance_uids=tuple(s.study_instance_uid for s in nearest),
        reason=f"compared with {nearest[0].study_date.isoformat()}",
    )
