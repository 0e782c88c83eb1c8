"""What reading an object for prompts gives: prompts, where each was placed, and what was left out and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from workflow.domain.lesion import LesionPrompt
from workflow.domain.series import StackKey


class ProblemKind(StrEnum):
    """What stood in the way of a prompt."""

    NOT_A_LESION = "not chosen as a lesion"
    DOUBTFUL_LESION = "not taken for a lesion, though somebody measured it"
    NOT_PLACED = "could not be placed on the images"
    MISSING_OBJECT = "needs an object that is not here"
    MALFORMED = "is malformed"
    UNREAD = "is of a kind that is not read"
    UNSUPPORTED = "is of a kind that shows no lesion"
    REPEATED = "repeats what another object shows"


_NEXT_STEPS = {
    ProblemKind.DOUBTFUL_LESION: "add the name to the rules' `always` or `never`, or mark the lesion by hand",
    ProblemKind.NOT_PLACED: "have the images sent that it was drawn on, or mark the lesion by hand",
    ProblemKind.MISSING_OBJECT: "have that object sent, or mark the lesion by hand",
    ProblemKind.MALFORMED: "have it exported again, or mark the lesion by hand",
    ProblemKind.UNREAD: "mark the lesion by hand",
}


@dataclass(frozen=True, kw_only=True)
class PromptProblem:
    """One item of an object that gave no prompt, or a poorer one, and why.

    Attributes
    ----------
    sop_instance_uid
        The object.
    item
        The place in it: "ROI 17 Tumor_c40", "group 2", "segment 3 Liver", or "object" for all of it.
    reason
        For a person: what is wrong and what would help.
    """

    sop_instance_uid: str
    item: str
    kind: ProblemKind
    reason: str

    @property
    def is_doubt(self) -> bool:
        """Whether a person has to look: something was drawn or measured and is not taken along."""
        return self.kind in _NEXT_STEPS

    @property
    def next_step(self) -> str:
        """What a person can do about it; "" where nothing is to be done."""
        return _NEXT_STEPS.get(self.kind, "")

    def __str__(self) -> str:
        where = f"{self.item} of {self.sop_instance_uid}" if self.sop_instance_uid else self.item
        return f"{where} {self.kind}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class PromptPlacement:
    """The stack that a prompt was drawn on, and by what evidence.

    Positions of the prompt hold in the stack's frame of reference; `by` is for the worksheet.
    """

    drawn_on: StackKey
    frame_of_reference_uid: str | None
    by: str
    modality: str = ""


@dataclass(frozen=True, kw_only=True)
class KeyImageHint:
    """An image that a person marked as key (Key Object Selection, TID 2010): where to look.

    `slice_index` is the image's slice in the volume of its series.
    """

    key_object_sop_instance_uid: str
    sop_instance_uid: str
    frame_number: int | None
    series_instance_uid: str
    slice_index: int
    title: str
    description: str


@dataclass(frozen=True, kw_only=True)
class PromptReading:
    """All that one object gave.

    Attributes
    ----------
    placements
        One per prompt, in the prompts' order.
    problems
        Items that gave no prompt, each with its reason.
    hints
        Key images: where a person says to look.
    doubts
        What was taken and still needs a person's look, each naming its item and the next step.
    notes
        What was decided on the way (why an ROI was taken, what was left out of it), for the worksheet.
    used_segments
        (SOP Instance UID, "segment n") of each segment that a report's lesions took over.
    """

    prompts: tuple[LesionPrompt, ...] = ()
    placements: tuple[PromptPlacement, ...] = ()
    problems: tuple[PromptProblem, ...] = ()
    hints: tuple[KeyImageHint, ...] = ()
    doubts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    used_segments: frozenset[tuple[str, str]] = frozenset()

    def __post_init__(self) -> None:
        if len(self.prompts) != len(self.placements):
            raise ValueError(f"{len(self.prompts)} prompts have {len(self.placements)} placements")
