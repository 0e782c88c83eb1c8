"""The colours of lesions and of the lines that decide: one palette for SEG, key images, PDF and page.

Each part in the assessment has a hue, lesions of a part alternate between two lightnesses of it. Every
colour is told from every grey of a CT, and the parts from each other, also with protanopia, deuteranopia
or tritanopia (CIEDE2000 of 13 and more; tests/unit/results/test_results_palette.py measures it).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from workflow.domain.report import LesionRole

RGB = tuple[int, int, int]
"""Red, green, blue, 0 to 255 (sRGB)."""

COLOURS: Final[Mapping[LesionRole, tuple[RGB, ...]]] = MappingProxyType(
    {
        LesionRole.TARGET: ((255, 176, 0), (240, 228, 66)),
        LesionRole.NON_TARGET: ((86, 180, 233), (130, 205, 255)),
        LesionRole.NEW: ((255, 68, 0), (238, 51, 34)),
    }
)

PROGRESSION: Final[RGB] = (192, 57, 43)
RESPONSE: Final[RGB] = (30, 132, 73)
"""What counts as progression and as response, on white."""


def colour_of(role: LesionRole, label: str) -> RGB:
    """A lesion's colour: by its part and the number in its label ("T02"), so the same at every time point."""
    return COLOURS[role][shade_of(role, label)]


def shade_of(role: LesionRole, label: str) -> int:
    """Which of its part's colours a lesion has, from 0."""
    digits = "".join(character for character in label if character.isdecimal())
    return (int(digits or 1) - 1) % len(COLOURS[role])


def css(colour: RGB) -> str:
    """The colour as web pages and PDF write it: "#ffb000"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
