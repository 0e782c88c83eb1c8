"""The outline of a follow-up is moved by as much as the reader drew beside the segmenter's edge."""

from __future__ import annotations

import numpy as np
import pytest

from models.weight_free.yardstick import moved_outline, offset_mm, radius_mm
from workflow.domain.geometry import Mask, Volume
from workflow.domain.measurement import measure


def ball(radius: float, *, centre: float = 30.0, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)):
    """A ball's mask and the volume that it is on; mm."""
    shape = tuple(round(60 / mm) for mm in spacing_mm)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = spacing_mm
    affine[3, 3] = 1
    volume = Volume(array=np.zeros(shape, dtype=np.float32), affine=affine)
    places = volume.lps(np.indices(shape).reshape(3, -1).T)
    return Mask.from_array((np.linalg.norm(places - centre, axis=1) <= radius).reshape(shape)), volume


def test_the_offset_is_the_distance_of_the_outlines_and_rather_too_small():
    drawn, volume = ball(12.0)
    segmented, _ = ball(10.5)
    assert offset_mm(drawn, segmented, volume) == pytest.approx(1.5, abs=0.75)
    assert offset_mm(segmented, drawn, volume) == pytest.approx(-1.5, abs=0.75)


def test_nothing_is_learnt_where_the_segmenter_saw_something_else():
    drawn, volume = ball(12.0)
    assert offset_mm(drawn, ball(4.0)[0], volume) == 0.0
    assert offset_mm(drawn, ball(12.0, centre=45.0)[0], volume) == 0.0


@pytest.mark.parametrize("offset", [-1.5, -0.3, 0.3, 1.5])
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (5.0, 0.8, 0.8)])
def test_the_outline_moves_by_parts_of_a_voxel(offset, spacing_mm):
    mask, volume = ball(10.0, spacing_mm=spacing_mm)
    moved = moved_outline(mask, volume, offset)
    assert radius_mm(moved, volume) == pytest.approx(radius_mm(mask, volume) + offset, abs=0.05)
    expected = measure(volume, mask).long_axis.length_mm + 2 * offset
    assert measure(volume, moved).long_axis.length_mm == pytest.approx(expected, abs=1.7)


def test_a_small_lesion_does_not_vanish_and_an_empty_mask_stays_empty():
    mask, volume = ball(1.0)
    assert moved_outline(mask, volume, -3.0).voxel_count >= 1
    empty = Mask.empty(volume.shape)
    assert moved_outline(empty, volume, 2.0).is_empty
