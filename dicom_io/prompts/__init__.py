"""Prompts out of other people's DICOM objects: SR, presentation states, RTSTRUCT, SEG, key objects.

`read_prompts` is the one entry point. Nothing is guessed silently: what gives no prompt is a problem with
its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset

from dicom_io.parsing import Attributes, parse, quiet
from dicom_io.prompts.collector import Collector
from dicom_io.prompts.gsps import read_gsps
from dicom_io.prompts.key_objects import read_key_objects
from dicom_io.prompts.placement import ImageIndex, ReferencedImages
from dicom_io.prompts.reading import (
    KeyImageHint,
    ProblemKind,
    PromptPlacement,
    PromptProblem,
    PromptReading,
)
from dicom_io.prompts.rtstruct import read_rtstruct
from dicom_io.prompts.rules import LesionRules
from dicom_io.prompts.seg import read_seg
from dicom_io.prompts.sr import read_sr
from workflow.domain.errors import UnsuitableInputError

__all__ = [
    "KeyImageHint",
    "LesionRules",
    "ProblemKind",
    "PromptPlacement",
    "PromptProblem",
    "PromptReading",
    "ReferencedImages",
    "read_prompts",
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
        attributes = _open(source)
        modality = attributes.text("Modality")
        collector = Collector(sop_instance_uid=attributes.text("SOPInstanceUID"))
        index = ImageIndex(images=tuple(images))
        used = rules or LesionRules()
        if modality == "RTSTRUCT":
            read_rtstruct(attributes, index, used, collector)
        elif modality == "SEG":
            read_seg(attributes, index, used, collector)
        elif modality == "SR":
            read_sr(attributes, index, used, collector, [_open(one) for one in related])
        elif modality == "PR":
            read_gsps(attributes, index, used, collector)
        elif modality == "KO":
            read_key_objects(attributes, index, collector)
        else:
            raise UnsuitableInputError(
                f"{attributes.where}: modality {modality or '(none)'} holds no prompts; "
                "SR, PR, RTSTRUCT, SEG and KO do"
            )
        return collector.reading()


def _open(source: Dataset | str | Path) -> Attributes:
    if isinstance(source, Dataset):
        return Attributes(source, f"object {source.get('SOPInstanceUID', '(no SOP Instance UID)')}")
    path = Path(source)
    return Attributes(parse(path, with_pixels=True)[0], str(path))
