"""What an object says of its own drawing against the drawing itself: a contradiction is a doubt."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from workflow.domain.lesion import MaskPrompt

# Viewers measure with more digits than they draw with; a length off by less is rounding, mm.
LENGTH_ROUNDING_MM = 1.0
LENGTH_SHARE = 0.03
# Voxels and contours enclose volumes that differ by a layer of half a pixel.
VOLUME_SHARE = 0.25
VOLUME_ROUNDING_MM3 = 100.0
AREA_SHARE = 0.15
AREA_ROUNDING_MM2 = 15.0

# UCUM units, and what people write for them, as powers of a millimetre.
_LENGTH_MM = {
    "mm": 1.0,
    "millimeter": 1.0,
    "millimetre": 1.0,
    "cm": 10.0,
    "centimeter": 10.0,
    "um": 0.001,
    "m": 1000.0,
}
_AREA_MM2 = {"mm2": 1.0, "cm2": 100.0}
_VOLUME_MM3 = {"mm3": 1.0, "cm3": 1000.0, "ml": 1000.0, "cc": 1000.0, "dm3": 1e6, "l": 1e6}
# A length that somebody typed beside a drawing: "24 mm", "3,2cm", "24 x 18 mm".
_TYPED = re.compile(
    r"(?P<numbers>\d+(?:[.,]\d+)?(?:\s*[x×*/]\s*\d+(?:[.,]\d+)?)*)\s*(?P<unit>mm|cm)(?![a-z0-9²³^])", re.I
)


def in_mm(value: float, unit: str) -> float | None:
    """A length in mm; None where the unit is none of length."""
    return _converted(value, unit, _LENGTH_MM)


def in_mm2(value: float, unit: str) -> float | None:
    """An area in mm²; None where the unit is none of area."""
    return _converted(value, unit, _AREA_MM2)


def in_mm3(value: float, unit: str) -> float | None:
    """A volume in mm³; None where the unit is none of volume."""
    return _converted(value, unit, _VOLUME_MM3)


def _converted(value: float, unit: str, factors: dict[str, float]) -> float | None:
    factor = factors.get(unit.strip().lower().replace("²", "2").replace("³", "3").replace("^", ""))
    return None if factor is None else value * factor


def volume_mm3(mask: MaskPrompt) -> float:
    """Volume of a mask's voxels."""
    return float(np.count_nonzero(mask.volume.array) * mask.volume.voxel_volume_mm3)


def length_contradiction(said_mm: float, drawn_mm: float, *, rounding_mm: float = 0.0) -> str:
    """How a stated length contradicts the drawn one, by more than rounding; "" if it doesn't.

    Parameters
    ----------
    rounding_mm
        Half of the last digit that was written ("2 cm": 5 mm).
    """
    slack = max(LENGTH_ROUNDING_MM, LENGTH_SHARE * drawn_mm) + rounding_mm
    if abs(said_mm - drawn_mm) <= slack:
        return ""
    return (
        f"it says {said_mm:.1f} mm and its own end points are {drawn_mm:.1f} mm apart; the end points are "
        "taken, so measure it again"
    )


def area_contradiction(said_mm2: float, drawn_mm2: float) -> str:
    """How a stated area contradicts the drawn one; "" if it doesn't."""
    if abs(said_mm2 - drawn_mm2) <= AREA_SHARE * max(said_mm2, drawn_mm2) + AREA_ROUNDING_MM2:
        return ""
    return (
        f"it says {said_mm2:.0f} mm² and its own outline encloses {drawn_mm2:.0f} mm²; the outline is taken, "
        "so measure it again"
    )


def volume_contradiction(said_mm3: float, drawn_mm3: float) -> str:
    """How a stated volume contradicts the drawn one; "" if it doesn't."""
    if abs(said_mm3 - drawn_mm3) <= VOLUME_SHARE * max(said_mm3, drawn_mm3) + VOLUME_ROUNDING_MM3:
        return ""
    return (
        f"it says {said_mm3:.0f} mm³ and what is drawn has {drawn_mm3:.0f} mm³; the drawing is taken, "
        "so look whether it is complete"
    )


def typed_lengths_mm(text: str) -> tuple[float, ...]:
    """The lengths that a text beside a drawing gives, mm: "24 x 18 mm" gives two."""
    lengths = []
    for found in _TYPED.finditer(text):
        factor = _LENGTH_MM[found["unit"].lower()]
        lengths += [float(n.replace(",", ".")) * factor for n in re.split(r"\s*[x×*/]\s*", found["numbers"])]
    return tuple(lengths)


def typed_contradiction(text: str, drawn_mm: Sequence[float]) -> str:
    """How the lengths typed beside lines contradict all of them; "" if one agrees or none is typed."""
    typed = typed_lengths_mm(text)
    # Two digits are typed at best: 3.2 cm is 31.5 to 32.5 mm.
    if not typed or not drawn_mm:
        return ""
    verdicts = [length_contradiction(said, drawn, rounding_mm=0.5) for said in typed for drawn in drawn_mm]
    return verdicts[0] if all(verdicts) else ""


def polygon_area_mm2(points_lps: np.ndarray) -> float:
    """Area of a closed planar outline, points (n, 3) in LPS mm."""
    centred = points_lps - points_lps.mean(axis=0)
    crosses = np.cross(centred, np.roll(centred, -1, axis=0))
    return float(np.linalg.norm(crosses.sum(axis=0)) / 2)
