"""A patient's timeline: the order of studies, and which earlier ones a study is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time

from workflow.domain.regions import regions_in


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
        """Regions that its texts name; empty if they name none.

        A study without one is compared with everything: a wrong "not comparable" makes old lesions look new.
        """
        return regions_in(self.region_text)


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
