"""Lesions measured in two dimensions: the longest diameter, its perpendicular, and sums of their products.

Lugano, LYRIC, RANO 2.0 and WHO share them. Lengths are whole µm, products µm², both exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workflow.domain.lesion import LesionState
from workflow.domain.response.quantities import mm_text, percent_text
from workflow.domain.response.timeline import Lesion, Observation, TimePoint

TOO_SMALL_UM = 5_000

Size = tuple[int, int]  # longest diameter and its perpendicular, µm


def sizes_at(lesions: Sequence[Lesion], point: TimePoint) -> dict[str, Size | None]:
    """Each lesion's size by id; None where it was not measured in two dimensions."""
    return {lesion.id: size_of(point.observation_of(lesion.id)) for lesion in lesions}


def size_of(seen: Observation | None) -> Size | None:
    """Both diameters, longest first: 0 x 0 if gone, 5 x 5 mm if too small to measure (Cheson 2014)."""
    if seen is None or seen.state in (LesionState.NOT_EVALUABLE, LesionState.TRACKING_FAILED):
        return None
    if seen.state is LesionState.DISAPPEARED:
        return 0, 0
    if seen.long_axis_um is not None and seen.short_axis_um is not None:
        return max(seen.long_axis_um, seen.short_axis_um), min(seen.long_axis_um, seen.short_axis_um)
    if seen.state is LesionState.TOO_SMALL:
        return TOO_SMALL_UM, TOO_SMALL_UM
    # One diameter of zero leaves nothing to be perpendicular to it.
    return (0, 0) if 0 in (seen.long_axis_um, seen.diameter_um) else None


def product(size: Size) -> int:
    """The product of both diameters, µm²."""
    return size[0] * size[1]


def sum_of_products(sizes: Mapping[str, Size | None]) -> int | None:
    """The sum of products, µm²; None without lesions or with one not measured."""
    known = [size for size in sizes.values() if size is not None]
    return sum(product(size) for size in known) if known and len(known) == len(sizes) else None


def smaller(smallest: Mapping[str, Size], sizes: Mapping[str, Size | None]) -> dict[str, Size]:
    """Each lesion's smallest size so far, by product."""
    kept = dict(smallest)
    for name, size in sizes.items():
        if size is not None and (name not in kept or product(size) < product(kept[name])):
            kept[name] = size
    return kept


def size_text(size: Size) -> str:
    """ "30 x 20 mm"."""
    return f"{mm_text(size[0]).removesuffix(' mm')} x {mm_text(size[1])}"


def area_text(um2: int) -> str:
    """ "600 mm²"."""
    return f"{um2 / 1e6:g} mm²"


def change_text(now: int, then: int, name: str) -> str:
    """ "sum of products 300 mm² is 50 % below the baseline's 600 mm²"."""
    text = f"sum of products {area_text(now)}"
    if not then:
        return text
    if now == then:
        return f"{text} equals the {name}'s"
    side = "above" if now > then else "below"
    return f"{text} is {percent_text(now, then)} {side} the {name}'s {area_text(then)}"
