"""NUM content items: what a report says in numbers (PS3.3 C.18.1)."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_io import codes
from dicom_io.prompts.origin import code_of, is_one_of
from dicom_io.prompts.plausibility import in_mm, in_mm2, in_mm3
from dicom_io.prompts.sr_tree import Node


@dataclass(frozen=True, kw_only=True)
class Numeric:
    """A number with its unit, converted where the unit is one of length, area or volume.

    Attributes
    ----------
    rounding_mm
        Half of the last digit that was written, of a length.
    is_axis
        Whether its concept is a length, a long axis or a diameter.
    """

    length_mm: float | None
    area_mm2: float | None
    volume_mm3: float | None
    rounding_mm: float
    is_axis: bool


def numeric_of(node: Node) -> Numeric | None:
    """The value of a NUM item; None of any other item, or without value or unit.

    Raises
    ------
    UnsuitableInputError
        If the value is no finite number.
    """
    measured = node.attributes.item("MeasuredValueSequence") if node.value_type == "NUM" else None
    unit = code_of(measured, "MeasurementUnitsCodeSequence") if measured is not None else None
    value = measured.number("NumericValue") if measured is not None else None
    if measured is None or unit is None or value is None:
        return None
    digit = 10.0 ** -len(measured.values("NumericValue")[0].partition(".")[2].rstrip("eE"))
    return Numeric(
        length_mm=in_mm(value, unit.value),
        area_mm2=in_mm2(value, unit.value),
        volume_mm3=in_mm3(value, unit.value),
        rounding_mm=(in_mm(digit, unit.value) or 0.0) / 2,
        is_axis=is_one_of(node.concept, *codes.LONG_AXES, *codes.LENGTHS),
    )
