"""Prompts drawn in the patient, as boxes on the slices of a volume."""

from __future__ import annotations

import numpy as np
import pytest
from shapes import a_prompt, a_volume, at

from models.prompt_geometry import centre_ijk, require_inside, resample_mask, slice_plan
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Volume
from workflow.domain.lesion import BoxPrompt, LinePrompt, MaskPrompt, OutlinePrompt, PointPrompt

VOLUME = a_volume()  # 12 x 40 x 50 at 3 x 0.8 x 0.5 mm


def test_a_box_keeps_its_pixels_and_reaches_as_far_as_it_was_drawn():
    box = BoxPrompt(minimum_lps=at(VOLUME, 3, 10, 20), maximum_lps=at(VOLUME, 7, 16, 30))
    plan = slice_plan(VOLUME, a_prompt(box))
    assert plan.key_slice == 5
    assert plan.markers[5] == pytest.approx((20, 10, 30, 16))
    assert (plan.first, plan.last) == (3, 7)


def test_a_flat_box_reaches_half_its_size_up_and_down():
    # 24 pixels of 0.5 mm are 12 mm: 6 mm, two slices of 3 mm.
    box = BoxPrompt(minimum_lps=at(VOLUME, 5, 10, 13), maximum_lps=at(VOLUME, 5, 16, 37))
    plan = slice_plan(VOLUME, a_prompt(box))
    assert (plan.first, plan.key_slice, plan.last) == (3, 5, 7)
    assert slice_plan(VOLUME, a_prompt(box), reach_factor=2.0).last == 9


@pytest.mark.parametrize("degrees", range(0, 180, 15))
def test_a_long_axis_alone_is_a_square_of_its_length_whatever_its_direction(degrees):
    # Upstream takes the first and last pixel of the drawn line in raster order: at 175 degrees half the size.
    centre = np.array(at(VOLUME, 5, 20, 25))
    half = 6.0 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0.0])
    line = LinePrompt(start_lps=tuple(centre - half), end_lps=tuple(centre + half))
    x0, y0, x1, y1 = slice_plan(VOLUME, a_prompt(line)).markers[5]
    assert ((x1 - x0) * 0.5, (y1 - y0) * 0.8) == pytest.approx((12.0, 12.0))
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((25.0, 20.0))


def test_both_axes_are_the_box_around_their_ellipse():
    line = LinePrompt(
        start_lps=at(VOLUME, 5, 20, 13),
        end_lps=at(VOLUME, 5, 20, 37),
        short_axis_lps=(at(VOLUME, 5, 15, 25), at(VOLUME, 5, 25, 25)),
    )
    plan = slice_plan(VOLUME, a_prompt(line))
    assert plan.markers[5] == pytest.approx((13, 15, 37, 25))
    # 8 mm short axis: 4 mm up and down is one slice of 3 mm.
    assert (plan.first, plan.last) == (4, 6)


def test_a_line_through_several_slices_is_taken_as_a_ball():
    # Drawn on a coronal view: 4 slices of 3 mm are 12 mm.
    line = LinePrompt(start_lps=at(VOLUME, 3, 20, 25), end_lps=at(VOLUME, 7, 20, 25))
    plan = slice_plan(VOLUME, a_prompt(line))
    assert plan.markers == {5: pytest.approx((13, 12.5, 37, 27.5))}
    assert (plan.first, plan.last) == (3, 7)


def test_outlines_on_several_slices_are_markers_with_boxes_interpolated_between():
    def outline(slice_, size):
        corners = [
            (20 - size, 25 - size),
            (20 - size, 25 + size),
            (20 + size, 25 + size),
            (20 + size, 25 - size),
        ]
        return OutlinePrompt(points_lps=tuple(at(VOLUME, slice_, row, column) for row, column in corners))

    plan = slice_plan(VOLUME, a_prompt(outline(2, 2), outline(6, 6)))
    assert plan.key_slice == 6
    assert plan.box_between(4) == pytest.approx((21, 16, 29, 24))
    assert plan.box_between(2) == plan.markers[2]
    assert plan.box_between(7) is None
    assert (plan.first, plan.last) == (2, 6)
    assert plan.nearest(8) == plan.markers[6]


def test_a_mask_gives_its_bounding_box_on_every_slice_it_is_on():
    drawn = np.zeros(VOLUME.shape, dtype=bool)
    drawn[4, 10:13, 20:22] = True
    drawn[5, 9:15, 18:27] = True
    plan = slice_plan(VOLUME, a_prompt(MaskPrompt(volume=VOLUME.with_array(drawn))))
    assert plan.markers == {4: (20.0, 10.0, 21.0, 12.0), 5: (18.0, 9.0, 26.0, 14.0)}
    assert (plan.key_slice, plan.first, plan.last) == (5, 4, 5)


def test_a_mask_on_another_grid_lands_where_it_was_drawn():
    fine = a_volume(shape=(24, 40, 50), spacing_mm=(1.5, 0.8, 0.5))
    drawn = np.zeros(fine.shape, dtype=bool)
    drawn[8:12, 10:14, 20:24] = True
    flipped = Volume(
        array=drawn[:, ::-1],
        affine=fine.affine @ np.array([[1, 0, 0, 0], [0, -1, 0, 39], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    )
    want = np.zeros(VOLUME.shape, dtype=bool)
    want[4:6, 10:14, 20:24] = True
    assert np.array_equal(resample_mask(flipped, VOLUME), want)


def test_points_alone_make_no_boxes():
    assert slice_plan(VOLUME, a_prompt(PointPrompt(position_lps=at(VOLUME, 5, 20, 25)))) is None


def test_boxes_end_with_the_volume():
    box = BoxPrompt(minimum_lps=at(VOLUME, -4, -8, -9), maximum_lps=at(VOLUME, 2, 5, 6))
    plan = slice_plan(VOLUME, a_prompt(box))
    assert plan.markers == {0: pytest.approx((0, 0, 6, 5))}
    assert plan.first == 0


@pytest.mark.parametrize(
    "shape",
    [
        PointPrompt(position_lps=at(VOLUME, 5, 20, 50.6)),
        PointPrompt(position_lps=at(VOLUME, 5, 20, -3), is_positive=False),
        LinePrompt(start_lps=at(VOLUME, 15, 20, 20), end_lps=at(VOLUME, 15, 20, 30)),
        BoxPrompt(minimum_lps=at(VOLUME, 13, 1, 1), maximum_lps=at(VOLUME, 14, 5, 5)),
        OutlinePrompt(points_lps=(at(VOLUME, 5, 60, 1), at(VOLUME, 5, 60, 9), at(VOLUME, 5, 70, 5))),
    ],
    ids=["point", "negative point", "line", "box", "outline"],
)
def test_a_prompt_outside_is_named_with_its_place(shape):
    inside = a_prompt(PointPrompt(position_lps=at(VOLUME, 5, 20, 25)))
    with pytest.raises(
        UnsuitableInputError, match=r"prompt 1 \('liver 2'\) lies outside the volume: its \w+ is at \("
    ):
        require_inside(VOLUME, [inside, a_prompt(shape, label="liver 2")])


def test_a_mask_outside_is_refused():
    elsewhere = Volume(
        array=np.ones((2, 2, 2), dtype=bool),
        affine=VOLUME.affine + np.array([[0, 0, 0, 900.0]] + [[0] * 4] * 3),
    )
    with pytest.raises(UnsuitableInputError, match="MaskPrompt"):
        require_inside(VOLUME, [a_prompt(MaskPrompt(volume=elsewhere))])


def test_a_point_on_the_outermost_face_is_inside():
    require_inside(VOLUME, [a_prompt(PointPrompt(position_lps=at(VOLUME, -0.5, 39.5, 49.5)))])


def test_the_centre_leaves_negative_points_out():
    prompt = a_prompt(
        PointPrompt(position_lps=at(VOLUME, 5, 20, 25)),
        PointPrompt(position_lps=at(VOLUME, 1, 1, 1), is_positive=False),
    )
    assert centre_ijk(VOLUME, prompt) == pytest.approx([5, 20, 25])
    with pytest.raises(UnsuitableInputError, match="negative points only"):
        centre_ijk(VOLUME, a_prompt(PointPrompt(position_lps=at(VOLUME, 5, 20, 25), is_positive=False)))
