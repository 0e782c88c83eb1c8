"""Content items in one line each, on highdicom's, with text made fit for the source's character set."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from math import isfinite
from typing import Any

from pydicom import Dataset
from pydicom.sr.coding import Code

from dicom_io.results.source import InstanceReference, SliceReference
from dicom_io.results.text import plain


def container(name: Code, relationship: str | None = None, template: str | None = None) -> Any:
    """A CONTAINER without children yet; see `extend`.

    SEPARATE: of a CONTINUOUS one readers print the values as one running text, without their names.
    """
    from highdicom.sr import ContainerContentItem

    return ContainerContentItem(
        name, is_content_continuous=False, template_id=template, relationship_type=relationship
    )


def extend(parent: Any, children: Iterable[Dataset]) -> Any:
    """Append children to an item's Content Sequence and give the item back."""
    from highdicom.sr import ContentSequence

    if "ContentSequence" not in parent:
        parent.ContentSequence = ContentSequence(is_root="RelationshipType" not in parent)
    parent.ContentSequence.extend(children)
    return parent


def text_item(name: Code, value: str, relationship: str = "CONTAINS") -> Any:
    """A TEXT item; the value must not be empty."""
    from highdicom.sr import TextContentItem

    return TextContentItem(name, plain(value), relationship)


def code_item(name: Code, value: Any, relationship: str = "CONTAINS") -> Any:
    """A CODE item."""
    from highdicom.sr import CodeContentItem

    return CodeContentItem(name, value, relationship)


def num_item(name: Code, value: float, unit: Code, relationship: str = "CONTAINS", decimals: int = 3) -> Any:
    """A NUM item, rounded: three decimals of a millimetre are far below what any image resolves."""
    from highdicom.sr import NumContentItem

    rounded = round(float(value), decimals)
    item = NumContentItem(name, rounded, unit, relationship_type=relationship)
    if rounded.is_integer():  # people read "56 days", not "56.0 days"
        item.MeasuredValueSequence[0].NumericValue = str(int(rounded))
    return item


def optional_num(name: Code, value: float | None, unit: Code, relationship: str = "CONTAINS") -> list[Any]:
    """A NUM item in a list, or none where the value is not known: DICOM has no way to write a NaN."""
    return [] if value is None or not isfinite(value) else [num_item(name, value, unit, relationship)]


def date_item(name: Code, value: date, relationship: str = "CONTAINS") -> Any:
    """A DATE item."""
    from highdicom.sr import DateContentItem

    return DateContentItem(name, value, relationship)


def uid_item(name: Code, value: str, relationship: str = "CONTAINS") -> Any:
    """A UIDREF item."""
    from highdicom.sr import UIDRefContentItem

    return UIDRefContentItem(name, value, relationship)


def image_item(name: Code, image: SliceReference, relationship: str) -> Any:
    """An IMAGE item on one image, or one frame of a multi-frame one."""
    from highdicom.sr import ImageContentItem

    frames = None if image.frame_number is None else [image.frame_number]
    return ImageContentItem(
        name,
        image.sop_class_uid,
        image.sop_instance_uid,
        referenced_frame_numbers=frames,
        relationship_type=relationship,
    )


def composite_items(name: Code, instance: InstanceReference, words: str) -> list[Any]:
    """A COMPOSITE item on another object, after a TEXT that tells people which: readers show UIDs at most."""
    from highdicom.sr import CompositeContentItem

    reference = CompositeContentItem(name, instance.sop_class_uid, instance.sop_instance_uid, "CONTAINS")
    return [text_item(name, words), reference]
