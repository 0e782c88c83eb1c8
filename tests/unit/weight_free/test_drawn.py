"""What a reader drew holds on its slice, whatever the image shows."""

from __future__ import annotations

import numpy as np
import pytest

from models.weight_free import open_segmenter
from tests.unit.weight_free.test_segmenter import PROMPTS, at, lung_with_lesion, prompt
from workflow.domain.geometry import Mask, Volume
from workflow.domain.lesion import LinePrompt, OutlinePrompt, PointPrompt, PromptShape
from workflow.domain.measurement import measure


def segmented(volume: Volume, *shapes: PromptShape) -> Mask:
    return open_segmenter().segment(volume, [prompt(*shapes)])[0].mask


def lobed(volume: Volume, slice_index: int) -> OutlinePrompt:
    """An outline that no edge of the image follows, around the lesion's middle on a slice."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = 7 + 2 * np.cos(3 * angles)
    z = float(volume.lps(np.array([slice_index, 0, 0]))[2])
    middle = at(0, 0, 0)
    return OutlinePrompt(
        points_lps=tuple(
            (middle[0] + float(r * np.cos(a)), middle[1] + float(r * np.sin(a)), z)
            for r, a in zip(radius, angles, strict=True)
        )
    )


def within(volume: Volume, outline: OutlinePrompt, slice_index: int) -> np.ndarray:
    """By the rule of crossings, pixel centre by pixel centre: the region that was drawn."""
    corners = np.asarray(outline.points_lps)[:, :2]
    rows, columns = np.indices(volume.shape[1:])
    indices = np.stack([np.full_like(rows, slice_index), rows, columns], axis=-1).reshape(-1, 3)
    x, y = volume.lps(indices)[:, :2].T
    inside = np.zeros(len(x), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return inside.reshape(volume.shape[1:])


@pytest.mark.parametrize("slice_mm", [1.5, 4.0])
def test_the_drawn_slice_is_exactly_the_drawn_region(slice_mm):
    volume, truth = lung_with_lesion(spacing_mm=(slice_mm, 1.0, 1.0))
    drawn_on = round(float(truth.centroid_ijk()[0]))
    outline = lobed(volume, drawn_on)
    found = segmented(volume, outline).array()
    np.testing.assert_array_equal(found[drawn_on], within(volume, outline, drawn_on))
    assert found[drawn_on - 1].any()
    assert found[drawn_on + 1].any()


def test_each_of_several_outlines_holds_on_its_own_slice():
    volume, truth = lung_with_lesion()
    middle = round(float(truth.centroid_ijk()[0]))
    outlines = {index: lobed(volume, index) for index in (middle - 2, middle + 2)}
    found = segmented(volume, *outlines.values()).array()
    for index, outline in outlines.items():
        np.testing.assert_array_equal(found[index], within(volume, outline, index))


@pytest.mark.parametrize(("long_mm", "short_mm"), [(21.0, 15.0), (26.0, 9.0), (15.0, 12.0)])
def test_both_axes_come_back_as_drawn_even_where_the_image_says_otherwise(long_mm, short_mm):
    volume, truth = lung_with_lesion()
    half, other = long_mm / 2, short_mm / 2
    z = float(volume.lps(np.round(truth.centroid_ijk()))[2])
    ends = [(x, y, z) for x, y, _ in (at(-half, 0, 0), at(half, 0, 0), at(2, -other, 0), at(2, other, 0))]
    axes = LinePrompt(start_lps=ends[0], end_lps=ends[1], short_axis_lps=(ends[2], ends[3]))
    size = measure(volume, segmented(volume, axes))
    assert size.long_axis.length_mm == pytest.approx(long_mm, abs=1.0)
    assert size.short_axis.length_mm == pytest.approx(short_mm, abs=1.0)


def test_one_axis_is_the_longest_diameter_of_all_slices():
    volume, _ = lung_with_lesion()
    line = LinePrompt(start_lps=at(-8, 0, 3), end_lps=at(8, 0, 3))
    assert measure(volume, segmented(volume, line)).long_axis.length_mm == pytest.approx(16.0, abs=1.0)


def test_a_click_beside_the_lesion_counts_more_than_the_outline():
    volume, truth = lung_with_lesion()
    outline = lobed(volume, round(float(truth.centroid_ijk()[0])))
    beside = PointPrompt(position_lps=at(6, 0, 0), is_positive=False)
    found = segmented(volume, outline, beside).array()
    assert not found[tuple(np.round(volume.ijk(np.asarray(beside.position_lps))).astype(int))]
    assert found.any()


def test_an_outline_on_a_reformat_still_finds_the_lesion():
    volume, _ = lung_with_lesion()
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    sagittal = OutlinePrompt(points_lps=tuple(at(0, 8 * np.cos(a), 7 * np.sin(a)) for a in angles))
    one, other = (segmented(volume, shape) for shape in (sagittal, PROMPTS["outline"]))
    assert one.voxel_count == pytest.approx(other.voxel_count, rel=0.5)
