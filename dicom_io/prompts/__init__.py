"""Prompts out of other people's DICOM objects: SR, presentation states, RTSTRUCT, SEG, key objects.

`read_prompts` reads one object, `read_study_prompts` many objects and gives each lesion once,
`read_visit_prompts` does so from files. Nothing is guessed silently: what gives no prompt is a problem with
its reason, what was taken and is implausible a doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset

from dicom_io.parsing import quiet
from dicom_io.prompts.at_hand import images_at_hand
from dicom_io.prompts.image_planes import ReferencedImages
from dicom_io.prompts.reading import (
    KeyImageHint,
    ProblemKind,
    PromptPlacement,
    PromptProblem,
    PromptReading,
)
from dicom_io.prompts.rules import LesionRules
from dicom_io.prompts.single import open_object, read_object
from dicom_io.prompts.study import read_study_prompts
from dicom_io.prompts.visit import read_visit_prompts

__all__ = [
    "KeyImageHint",
    "LesionRules",
    "ProblemKind",
    "PromptPlacement",
    "PromptProblem",
    "PromptReading",
    "ReferencedImages",
    "images_at_hand",
    "read_prompts",
    "read_study_prompts",
    "read_visit_prompts",
]


def read_prompts(
    source: Dataset | str | Path,
    images: Sequence[ReferencedImages],
    *,
    rules: LesionRules | None = None,
    related: Sequence[Dataset | str | Path] = (),
) -> PromptReading:
    """Read one object's prompts for lesions on these images.

    Parameters
    ----------
    source
        The object, or its file.
    images
        The study's series as volumes, with the images behind their slices. Prompts come out in LPS mm, in
        the frame of reference of the series that each was placed on (`PromptReading.placements`).
    rules
        Which ROIs and segments are lesions; the defaults know the usual names.
    related
        Segmentations that an SR may refer to; a group that needs one which isn't here is a problem.

    Raises
    ------
    UnsuitableInputError
        If the object can't be read at all, or is of a class that holds no prompts.
    """
    with quiet():
        segmentations = [open_object(one) for one in related]
        return read_object(open_object(source), images, rules or LesionRules(), segmentations)
