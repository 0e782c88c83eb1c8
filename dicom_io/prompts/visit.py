"""All prompts of a visit, each on the stack of images that it was drawn on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from dicom_io.prompts.at_hand import images_at_hand
from dicom_io.prompts.reading import ProblemKind, PromptReading
from dicom_io.prompts.rules import LesionRules
from dicom_io.prompts.study import read_study_prompts
from workflow.domain.lesion import PlacedPrompt, PromptsRead
from workflow.ports import Recognise


def read_visit_prompts(
    objects: Sequence[Path],
    images: Iterable[Path],
    *,
    rules: LesionRules | None = None,
    recognise: Recognise | None = None,
) -> PromptsRead:
    """Read every object that speaks of a visit against the headers of all its images.

    Parameters
    ----------
    objects
        SR, presentation states, RTSTRUCT, SEG and key objects of one or several studies.
    images
        All image files of these studies: any number of series and frames of reference. Only their headers
        are read.
    recognise
        See `workflow.ports.PromptReader.read`.
    """
    if not objects:
        return PromptsRead()
    reading = read_study_prompts(objects, images_at_hand(images), rules=rules, recognise=recognise)
    prompts = tuple(
        PlacedPrompt(prompt=prompt, drawn_on=placement.drawn_on, by=placement.by)
        for prompt, placement in zip(reading.prompts, reading.placements, strict=True)
    )
    return PromptsRead(prompts=prompts, doubts=_doubts(reading), notes=_notes(reading))


def _doubts(reading: PromptReading) -> tuple[str, ...]:
    lost = [f"{problem}; {problem.next_step}" for problem in reading.problems if problem.is_doubt]
    return (*lost, *reading.doubts)


def _notes(reading: PromptReading) -> tuple[str, ...]:
    certain = [problem for problem in reading.problems if not problem.is_doubt]
    others = [problem.item for problem in certain if problem.kind is ProblemKind.NOT_A_LESION]
    notes = [str(problem) for problem in certain if problem.kind is not ProblemKind.NOT_A_LESION]
    if others:
        notes.append(f"not taken for lesions: {', '.join(others)}")
    notes += [
        f"key image marked by a reader: {hint.title} {hint.description}".strip() for hint in reading.hints
    ]
    return (*notes, *reading.notes)
