"""One object: opened, and given to the reader of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset

from dicom_io.parsing import Attributes, parse
from dicom_io.prompts.collector import Collector
from dicom_io.prompts.gsps import read_gsps
from dicom_io.prompts.image_planes import ReferencedImages
from dicom_io.prompts.key_objects import read_key_objects
from dicom_io.prompts.placement import ImageIndex
from dicom_io.prompts.reading import PromptReading
from dicom_io.prompts.rtstruct import read_rtstruct
from dicom_io.prompts.rules import LesionRules
from dicom_io.prompts.seg import read_seg
from dicom_io.prompts.sr import read_sr
from workflow.domain.errors import UnsuitableInputError


def open_object(source: Dataset | str | Path) -> Attributes:
    """An object with its pixel data, from its file or as it is.

    Raises
    ------
    UnsuitableInputError
        If the file can't be read.
    """
    if isinstance(source, Dataset):
        return Attributes(source, f"object {source.get('SOPInstanceUID', '(no SOP Instance UID)')}")
    path = Path(source)
    return Attributes(parse(path, with_pixels=True)[0], str(path))


def read_object(
    entry: Attributes,
    images: ImageIndex | Sequence[ReferencedImages],
    rules: LesionRules,
    related: Sequence[Attributes],
) -> PromptReading:
    """Read one opened object; `related` are the segmentations at hand.

    Raises
    ------
    UnsuitableInputError
        If it is of a kind that holds no prompts, or too damaged to be walked.
    """
    index = images if isinstance(images, ImageIndex) else ImageIndex(images=tuple(images))
    modality = entry.text("Modality")
    collector = Collector(sop_instance_uid=entry.text("SOPInstanceUID"), kind=modality)
    if modality == "RTSTRUCT":
        read_rtstruct(entry, index, rules, collector)
    elif modality == "SEG":
        read_seg(entry, index, rules, collector)
    elif modality == "SR":
        read_sr(entry, index, rules, collector, related)
    elif modality == "PR":
        read_gsps(entry, index, rules, collector)
    elif modality == "KO":
        read_key_objects(entry, index, collector)
    else:
        raise UnsuitableInputError(
            f"{entry.where}: modality {modality or '(none)'} holds no prompts; SR, PR, RTSTRUCT, SEG, KO do"
        )
    return collector.reading()
