"""From a volume to a patch and back, and what the network is shown of a prompt."""

from __future__ import annotations

import numpy as np
import pytest

from models.open_lesion.encoding import (
    CHANNELS,
    FILL,
    PRIOR_CHANNEL,
    SIDE,
    PromptCode,
    cube,
    draw_box,
    draw_click,
    draw_filled,
    draw_line,
    encode,
    window_of_box,
)
from models.open_lesion.sampling import overlap_weights, paint, sample

START = np.zeros(3)


def test_a_coarse_patch_voxel_is_the_mean_of_the_voxels_in_it():
    row = np.arange(8.0)
    weights, part = overlap_weights(np.array([1.5, 5.5]), 4.0, 0.0, 1.0, 8)
    assert weights @ row[part] == pytest.approx([np.mean(row[:4]), np.mean(row[4:])])


def test_a_fine_patch_voxel_is_interpolated_between_two_voxels():
    weights, part = overlap_weights(np.array([2.25, 2.5]), 0.25, 0.0, 1.0, 8)
    assert weights @ (10 * np.arange(8.0))[part] == pytest.approx([22.5, 25.0])


def test_beyond_the_volume_its_last_value_goes_on():
    array = np.full((4, 4, 4), 7.0, dtype=np.float32)
    far = sample(array, START, np.ones(3), cube(np.full(3, 100.0), 10.0))
    assert far == pytest.approx(np.full((SIDE,) * 3, 7.0))


@pytest.mark.parametrize("spacing", [(1, 1, 1), (5, 0.8, 0.8), (0.5, 2, 2)], ids=["cubes", "thick", "thin"])
def test_a_ball_painted_on_a_patch_and_back_is_the_ball(spacing):
    spacing = np.array(spacing, dtype=float)
    shape = tuple(int(n) for n in np.ceil(60 / spacing))
    places = np.moveaxis(np.indices(shape), 0, -1) * spacing
    ball = np.linalg.norm(places - 30, axis=-1) < 18
    window = window_of_box(np.full(3, 12.0), np.full(3, 48.0))
    patch = sample(ball.astype(np.float32), START, spacing, window)
    values, start = paint(patch - 0.5, window, START, spacing, shape)
    back = np.zeros(shape, dtype=bool)
    back[tuple(slice(a, a + n) for a, n in zip(start, values.shape, strict=True))] = values > 0
    assert 2 * (back & ball).sum() / (back.sum() + ball.sum()) > 0.95


def test_a_box_fills_its_share_of_the_patch_and_a_flat_one_keeps_surroundings():
    window = window_of_box(np.array([0.0, 0.0, 0.0]), np.array([2.0, 20.0, 30.0]))
    assert window.sides_mm == pytest.approx(np.array([15.0, 20.0, 30.0]) / FILL)
    assert window.centre_mm == pytest.approx([1.0, 10.0, 15.0])


def value_at(window, field, position):
    index = np.rint((np.asarray(position) - window.centre_mm) / window.spacing_mm + (SIDE - 1) / 2).astype(
        int
    )
    return field[tuple(index)]


def test_a_boxs_prior_is_its_inscribed_ellipsoid():
    low, high = np.array([-10.0, -20.0, -20.0]), np.array([10.0, 20.0, 20.0])
    window = window_of_box(low, high)
    drawing = draw_box(window, low, high)
    share = (drawing.prior > 0).mean() * np.prod(window.sides_mm) / np.prod(high - low)
    assert share == pytest.approx(np.pi / 6, rel=0.02)
    assert drawing.shape.mean() * np.prod(window.sides_mm) == pytest.approx(np.prod(high - low), rel=0.01)


def test_a_lines_prior_is_the_ball_on_it_and_both_axes_make_an_ellipsoid():
    start, end = np.array([0.0, -15.0, 0.0]), np.array([0.0, 15.0, 0.0])
    window = cube(np.zeros(3), 50.0)
    ball = draw_line(window, start, end)
    volume = (ball.prior > 0).mean() * 50.0**3
    assert volume == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.03)
    narrow = draw_line(window, start, end, (np.array([0.0, 0.0, -6.0]), np.array([0.0, 0.0, 6.0])))
    volume = (narrow.prior > 0).mean() * 50.0**3
    assert volume == pytest.approx(4 / 3 * np.pi * 15 * 6 * 6, rel=0.05)
    assert (ball.code, narrow.code) == (PromptCode.LINE, PromptCode.BOTH_AXES)


def test_an_outline_is_drawn_on_its_slice_and_its_prior_reaches_beyond():
    window = cube(np.zeros(3), 40.0)
    rows, columns = np.meshgrid(*window.axes_mm()[1:], indexing="ij")
    drawing = draw_filled(window, np.hypot(rows, columns) < 12, plane_mm=window.axes_mm()[0][16])
    assert np.flatnonzero(drawing.shape.any(axis=(1, 2))).tolist() == [16]
    reach_mm = (drawing.prior > 0).any(axis=(1, 2)).sum() * window.spacing_mm[0]
    assert reach_mm == pytest.approx(24, abs=2.5)


def test_a_masks_prior_is_positive_in_it_and_nowhere_else():
    window = cube(np.zeros(3), 40.0)
    filled = np.linalg.norm(window.positions_mm(), axis=-1) < 9
    assert np.array_equal(draw_filled(window, filled).prior > 0, filled)


def test_clicks_are_marked_where_they_are_and_on_their_own_channel():
    window = cube(np.zeros(3), 32.0)
    inside, beside = np.array([[2.5, 0.5, 0.5]]), np.array([[-7.5, 3.5, 0.5]])
    image = np.random.default_rng(0).normal(size=(SIDE,) * 3).astype(np.float32)
    patch = encode(image, window, draw_click(window, inside, beside))
    for channel, places in (("clicks in the lesion", inside), ("clicks beside it", beside)):
        heat = patch[CHANNELS.index(channel)]
        assert value_at(window, heat, places[0]) == heat.max() > 0.9


def test_brighter_and_wider_scales_of_an_image_look_the_same():
    rng = np.random.default_rng(3)
    window = cube(np.zeros(3), 40.0)
    image = rng.normal(100, 20, (SIDE,) * 3).astype(np.float32)
    image[np.linalg.norm(window.positions_mm(), axis=-1) < 10] += 80
    low, high = np.full(3, -10.0), np.full(3, 10.0)
    one = encode(image, window, draw_box(window, low, high))
    other = encode(0.01 * image - 7, window, draw_box(window, low, high))
    # A value on the border of two bins of the histogram may fall into either.
    assert np.quantile(np.abs(one - other), 0.999) < 1e-3
    assert one.shape == (len(CHANNELS), SIDE, SIDE, SIDE)


def test_the_likelihood_is_positive_where_the_intensity_is_the_lesions():
    window = cube(np.zeros(3), 40.0)
    ball = np.linalg.norm(window.positions_mm(), axis=-1) < 9
    image = np.where(ball, 100, 20) + np.random.default_rng(1).normal(0, 5, ball.shape)
    low, high = np.full(3, -12.0), np.full(3, 12.0)
    odds = encode(image.astype(np.float32), window, draw_box(window, low, high))[3]
    assert (odds[ball] > 0).mean() > 0.99
    assert (odds[~ball] < 0).mean() > 0.99


def test_an_even_image_is_no_reason_to_fail():
    window = cube(np.zeros(3), 40.0)
    patch = encode(np.full((SIDE,) * 3, 40, dtype=np.float32), window, draw_click(window, np.zeros((1, 3))))
    assert np.isfinite(patch).all()
    assert patch[PRIOR_CHANNEL].max() > 0.9
