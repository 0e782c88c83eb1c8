"""Which other things an object names: enough to know whose prompt it may be, without understanding it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydicom import Dataset

from dicom_io.parsing import parse, quiet, reading
from workflow.domain.errors import UnsuitableInputError

_NAMING = frozenset(
    {
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "ReferencedSOPInstanceUID",
        "FrameOfReferenceUID",
        "ReferencedFrameOfReferenceUID",
    }
)
# Deeper nesting than any template has: a hostile tree must not exhaust the stack.
_DEEPEST = 64


def referenced_uids(path: Path) -> frozenset[str]:
    """Every study, series, instance and frame of reference that an object names, itself included.

    An object that can't be parsed names nothing; reading its prompts will say why.
    """
    try:
        with quiet(), reading(path):
            dataset, _ = parse(path)
            return frozenset(_uids(dataset, 0))
    except UnsuitableInputError:
        return frozenset()


def _uids(dataset: Dataset, depth: int) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ" and depth < _DEEPEST:
            for item in element.value:
                yield from _uids(item, depth + 1)
        elif element.keyword in _NAMING and element.value:
            yield str(element.value)
