"""What the stages ask of models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from workflow.domain.geometry import Point, Volume
from workflow.domain.lesion import (
    DetectedLesion,
    LesionPrompt,
    ModelIdentity,
    PriorLesion,
    SegmentedLesion,
    TrackedLesion,
)

Progress = Callable[[float, str], None]
"""Called with the share done (0 to 1) and what is being done."""


def no_progress(share: float, what: str) -> None:
    """Report to nobody."""


@runtime_checkable
class Segmenter(Protocol):
    """Turns prompts into lesions on one volume."""

    @property
    def identity(self) -> ModelIdentity:
        """Who did it."""
        ...

    def segment(
        self, volume: Volume, prompts: Sequence[LesionPrompt], *, progress: Progress = no_progress
    ) -> list[SegmentedLesion]:
        """Segment each prompt on its own; one result per prompt, in the prompts' order.

        Raises
        ------
        UnsuitableInputError
            If the model can't take this volume or a prompt lies outside it; the message names which.
        """
        ...


@runtime_checkable
class Tracker(Protocol):
    """Finds the lesions of a prior volume again on a new one."""

    @property
    def identity(self) -> ModelIdentity:
        """Who did it."""
        ...

    def track(
        self,
        prior: Volume,
        prior_lesions: Sequence[PriorLesion],
        volume: Volume,
        *,
        progress: Progress = no_progress,
    ) -> list[TrackedLesion]:
        """One result per prior lesion, in their order, with their tracking UIDs.

        The pair is registered once, whatever the number of lesions. A pair that can't be
        registered gives TRACKING_FAILED for each lesion with the reason, not an exception.
        """
        ...


@runtime_checkable
class Localizer(Protocol):
    """Says where in the body positions of a volume are."""

    def body_coordinates(self, volume: Volume, positions_lps: Sequence[Point]) -> list[Point]:
        """Positions (LPS mm) of `volume` in a body frame shared by all patients, mm, (x, y, z) as LPS."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Proposes lesions without a prompt."""

    def detect(self, volume: Volume) -> list[DetectedLesion]:
        """Proposals, best first."""
        ...
