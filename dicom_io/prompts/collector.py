"""Collects what reading one object gives, so that a bad item becomes a problem and the others still count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dicom_io.prompts.placement import Home, NotPlacedError
from dicom_io.prompts.reading import (
    KeyImageHint,
    ProblemKind,
    PromptPlacement,
    PromptProblem,
    PromptReading,
)
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.lesion import LesionPrompt

# A hostile object can be wrong in a million places; a person reads a few.
MAX_PROBLEMS = 500


class MissingObjectError(Exception):
    """An item needs another object that is not here; becomes a `PromptProblem`."""


class UnreadItemError(Exception):
    """An item may show a lesion and is of a kind that is not read; becomes a `PromptProblem`."""


class UnsupportedItemError(Exception):
    """An item is well formed but shows no lesion; becomes a `PromptProblem`."""


@dataclass
class Collector:
    """The prompts, problems, hints and notes of one object, as they come."""

    sop_instance_uid: str
    kind: str = "object"
    prompts: list[LesionPrompt] = field(default_factory=list)
    placements: list[PromptPlacement] = field(default_factory=list)
    problems: list[PromptProblem] = field(default_factory=list)
    hints: list[KeyImageHint] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    used_segments: set[tuple[str, str]] = field(default_factory=set)

    def place(self, prompt: LesionPrompt, home: Home) -> None:
        """Keep a prompt on the stack that it was drawn on, and what there is to say of that choice."""
        series = home.images.series
        self.prompts.append(prompt)
        self.placements.append(
            PromptPlacement(
                drawn_on=series.key,
                frame_of_reference_uid=series.frame_of_reference_uid,
                by=home.by,
                modality=series.modality,
            )
        )
        if home.doubt:
            self.doubt(f"{prompt.item or 'object'}: {home.doubt}")
        if home.note:
            self.note(f"{prompt.item or 'object'}: {home.note}")

    def doubt(self, text: str) -> None:
        """Keep what a person has to look at, though something was taken."""
        if len(self.doubts) < MAX_PROBLEMS:
            self.doubts.append(f"{text} ({self.kind} {self.sop_instance_uid})")

    def note(self, text: str) -> None:
        """Keep a remark for the worksheet."""
        if len(self.notes) < MAX_PROBLEMS:
            self.notes.append(text)

    def problem(self, item: str, kind: ProblemKind, reason: str) -> None:
        """Keep why an item gave nothing."""
        if len(self.problems) < MAX_PROBLEMS:
            problem = PromptProblem(
                sop_instance_uid=self.sop_instance_uid, item=item, kind=kind, reason=reason
            )
            self.problems.append(problem)

    @contextmanager
    def item(self, name: str) -> Iterator[None]:
        """Read one item: what is wrong with it becomes its problem."""
        try:
            yield
        except NotPlacedError as error:
            self.problem(name, ProblemKind.NOT_PLACED, str(error))
        except MissingObjectError as error:
            self.problem(name, ProblemKind.MISSING_OBJECT, str(error))
        except UnreadItemError as error:
            self.problem(name, ProblemKind.UNREAD, str(error))
        except UnsupportedItemError as error:
            self.problem(name, ProblemKind.UNSUPPORTED, str(error))
        except UnsuitableInputError as error:
            self.problem(name, ProblemKind.MALFORMED, str(error))

    def reading(self) -> PromptReading:
        """What was collected."""
        return PromptReading(
            prompts=tuple(self.prompts),
            placements=tuple(self.placements),
            problems=tuple(self.problems),
            hints=tuple(self.hints),
            doubts=tuple(self.doubts),
            notes=tuple(self.notes),
            used_segments=frozenset(self.used_segments),
        )
