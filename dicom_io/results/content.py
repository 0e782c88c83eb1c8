"""Walking through an SR's content tree, whoever wrote it: plain datasets, no library classes."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.sr.coding import Code

from dicom_io import codes


def children(item: Dataset, name: Code | None = None, value_type: str | None = None) -> list[Dataset]:
    """The direct children of an item with this concept name and value type, in order."""
    return [
        child
        for child in item.get("ContentSequence", [])
        if (name is None or is_named(child, name)) and value_type in (None, child.get("ValueType"))
    ]


def is_named(item: Dataset, name: Code) -> bool:
    """Whether an item's concept name has this code."""
    concept = item.get("ConceptNameCodeSequence")
    if not concept:
        return False
    value, scheme = concept[0].get("CodeValue"), concept[0].get("CodingSchemeDesignator")
    return bool(value == name.value and scheme == name.scheme_designator)


def descendants(item: Dataset) -> Iterator[Dataset]:
    """Every item below an item, parents before their children."""
    for child in item.get("ContentSequence", []):
        yield child
        yield from descendants(child)


def measurement_groups(document: Dataset) -> list[Dataset]:
    """The measurement groups of a TID 1500 document, in order."""
    return [
        group
        for part in children(document, codes.IMAGING_MEASUREMENTS, "CONTAINER")
        for group in children(part, codes.MEASUREMENT_GROUP, "CONTAINER")
    ]


def text_of(item: Dataset, name: Code) -> str | None:
    """The text or UID of the first child with this name."""
    for child in children(item, name):
        value = child.get("TextValue") or child.get("UID")
        if value:
            return str(value)
    return None
