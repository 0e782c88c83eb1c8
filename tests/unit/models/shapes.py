"""Volumes and prompts for tests of models."""

from __future__ import annotations

from typing import Any

import numpy as np

from workflow.domain.geometry import Mask, Volume, affine_from_axes
from workflow.domain.lesion import LesionPrompt, PromptShape, PromptSource


def a_volume(
    shape: tuple[int, int, int] = (12, 40, 50),
    spacing_mm: tuple[float, float, float] = (3.0, 0.8, 0.5),
    value: float = 40.0,
) -> Volume:
    """An axial volume of one value, float32; the first voxel is at (10, 20, 30) mm."""
    slice_mm, row_mm, column_mm = spacing_mm
    affine = affine_from_axes(
        origin_lps=(10.0, 20.0, 30.0),
        slice_step=(0.0, 0.0, slice_mm),
        row_step=(0.0, row_mm, 0.0),
        column_step=(column_mm, 0.0, 0.0),
    )
    return Volume(array=np.full(shape, value, dtype=np.float32), affine=affine)


def at(volume: Volume, *index: float) -> tuple[float, float, float]:
    """Position of an index (slice, row, column), LPS mm."""
    x, y, z = volume.lps(np.array(index))
    return float(x), float(y), float(z)


def a_prompt(*shapes: PromptShape, **given: Any) -> LesionPrompt:
    return LesionPrompt(shapes=shapes, source=PromptSource.READER, **given)


def a_mask(shape: tuple[int, int, int], *boxes: tuple[slice, slice, slice]) -> Mask:
    array = np.zeros(shape, dtype=bool)
    for box in boxes:
        array[box] = True
    return Mask.from_array(array)
