"""Masks after a model: holes, components, the body, neighbours, and what is said about them."""

from __future__ import annotations

import numpy as np
import pytest
from shapes import a_mask, a_volume

from models.postprocess import (
    UNTOUCHED,
    CleanUp,
    Fill,
    Keep,
    clean,
    clip_to_body,
    fill_holes,
    has_skipped_slices,
    keep_component,
    position_flags,
    separate,
    touches_border,
)
from workflow.domain.geometry import Mask, dice
from workflow.domain.lesion import Flag

SHAPE = (12, 40, 50)
VOLUME = a_volume(SHAPE)
S = slice


def same(one: Mask, other: Mask) -> bool:
    return np.array_equal(one.array(), other.array())


def test_a_hole_in_a_slice_is_filled_and_an_open_bay_is_not():
    ring = np.zeros(SHAPE, dtype=bool)
    ring[5, 10:20, 10:20] = True
    ring[5, 14, 14] = False
    ring[5, 10, 12] = False
    filled = fill_holes(Mask.from_array(ring)).array()
    assert filled[5, 14, 14]
    assert not filled[5, 10, 12]


def test_a_cavity_open_to_the_next_slice_is_filled_by_slices_only():
    shell = np.zeros(SHAPE, dtype=bool)
    shell[4:7, 10:20, 10:20] = True
    shell[5:7, 14:16, 14:16] = False  # open at the top
    mask = Mask.from_array(shell)
    assert fill_holes(mask, Fill.SLICES).array()[5:7, 14:16, 14:16].all()
    assert same(fill_holes(mask, Fill.VOLUME), mask)
    assert same(fill_holes(mask, Fill.NONE), mask)


def test_the_component_at_the_prompt_stays_even_if_another_is_larger():
    small, large = (S(2, 4), S(2, 5), S(2, 5)), (S(7, 11), S(20, 30), S(20, 30))
    mask = a_mask(SHAPE, small, large)
    assert same(keep_component(mask), a_mask(SHAPE, large))
    assert same(keep_component(mask, np.array([[3.0, 3.2, 2.9]])), a_mask(SHAPE, small))
    assert same(keep_component(mask, np.array([[0.0, 0.0, 49.0]])), a_mask(SHAPE, large))


def test_voxels_that_meet_at_a_corner_are_one_component():
    mask = a_mask(SHAPE, (S(2, 4), S(2, 5), S(2, 5)), (S(4, 6), S(5, 8), S(5, 8)))
    assert same(keep_component(mask), mask)


@pytest.mark.parametrize(
    ("box", "is_cut"),
    [
        ((S(1, 4), S(5, 9), S(5, 9)), False),
        ((S(0, 4), S(5, 9), S(5, 9)), True),
        ((S(9, 12), S(5, 9), S(5, 9)), True),
        ((S(3, 5), S(5, 40), S(5, 9)), True),
    ],
    ids=["inside", "first slice", "last slice", "last row"],
)
def test_a_mask_at_the_volumes_end_is_truncated(box, is_cut):
    assert (Flag.TRUNCATED_AT_VOLUME_END in position_flags(a_mask(SHAPE, box))) is is_cut


def test_an_empty_mask_is_flagged_empty_and_nothing_else():
    mask, flags = clean(a_mask(SHAPE), VOLUME)
    assert mask.is_empty
    assert flags == {Flag.EMPTY}


def test_skipped_slices_are_reported_as_the_model_left_them():
    mask = a_mask(SHAPE, (S(3, 5), S(5, 9), S(5, 9)), (S(6, 8), S(5, 9), S(5, 9)))
    assert has_skipped_slices(mask)
    cleaned, flags = clean(mask, VOLUME, seeds_ijk=np.array([[3, 6, 6]]))
    assert flags == {Flag.SKIPPED_SLICES}
    assert same(cleaned, a_mask(SHAPE, (S(3, 5), S(5, 9), S(5, 9))))


def test_untouched_leaves_everything_as_it_is():
    mask = a_mask(SHAPE, (S(3, 5), S(5, 9), S(5, 9)), (S(6, 8), S(5, 9), S(5, 9)))
    assert same(clean(mask, VOLUME, how=UNTOUCHED)[0], mask)


def body_in_air():
    """A body of 30 x 40 pixels with a lung, in air."""
    array = np.full(SHAPE, -1000.0, dtype=np.float32)
    array[:, 5:35, 5:45] = 40.0
    array[:, 12:28, 12:24] = -850.0
    return VOLUME.with_array(array)


def test_what_leaks_into_the_air_around_the_patient_is_clipped_and_flagged():
    leaking = a_mask(SHAPE, (S(4, 7), S(0, 10), S(10, 20)))
    cleaned, flags = clean(leaking, body_in_air())
    assert flags == {Flag.OUTSIDE_BODY}
    assert same(cleaned, a_mask(SHAPE, (S(4, 7), S(5, 10), S(10, 20))))


def test_lung_inside_the_chest_is_body():
    in_lung = a_mask(SHAPE, (S(4, 7), S(14, 20), S(14, 20)))
    assert same(clip_to_body(in_lung, body_in_air()), in_lung)


def test_lung_that_a_narrow_field_of_view_cuts_open_is_body():
    array = np.full(SHAPE, -850.0, dtype=np.float32)
    array[:, 30:, :] = 40.0
    array[0, 0, 0] = -1000.0
    at_the_border = a_mask(SHAPE, (S(0, 3), S(0, 5), S(0, 5)))
    assert same(clip_to_body(at_the_border, VOLUME.with_array(array)), at_the_border)


def test_a_volume_without_air_is_not_clipped():
    mask = a_mask(SHAPE, (S(0, 3), S(0, 5), S(0, 5)))
    assert same(clip_to_body(mask, a_volume(SHAPE, value=0.0)), mask)


def test_the_field_of_views_border_counts_only_where_the_volume_goes_on():
    mask = a_mask(SHAPE, (S(0, 4), S(10, 20), S(10, 20)))
    assert not touches_border(mask, (0, 5, 5), (8, 30, 30))
    assert touches_border(mask, (0, 10, 5), (8, 30, 30))
    assert touches_border(mask, (0, 5, 5), (4, 30, 30))
    assert not touches_border(a_mask(SHAPE), (0, 0, 0), (1, 1, 1))


def test_a_disputed_voxel_goes_to_the_nearer_lesion_in_mm():
    one = a_mask(SHAPE, (S(4, 8), S(10, 20), S(10, 24)))
    other = a_mask(SHAPE, (S(4, 8), S(10, 20), S(18, 32)))
    (left, left_flags), (right, right_flags) = separate([one, other], VOLUME)
    assert left_flags == right_flags == {Flag.TOUCHES_NEIGHBOUR}
    assert same(left, a_mask(SHAPE, (S(4, 8), S(10, 20), S(10, 21))))
    assert same(right, a_mask(SHAPE, (S(4, 8), S(10, 20), S(21, 32))))


def test_nearer_means_millimetres_not_voxels():
    # Two slices of 3 mm up, or five columns of 0.5 mm to the side.
    one = a_mask(SHAPE, (S(6, 7), S(20, 21), S(25, 26)), (S(4, 5), S(20, 21), S(25, 26)))
    other = a_mask(SHAPE, (S(6, 7), S(20, 21), S(25, 26)), (S(6, 7), S(20, 21), S(30, 31)))
    (left, _), (right, _) = separate([one, other], VOLUME)
    assert right.array()[6, 20, 25]
    assert not left.array()[6, 20, 25]


def test_lesions_that_touch_are_flagged_and_keep_their_voxels():
    one = a_mask(SHAPE, (S(4, 8), S(10, 20), S(10, 20)))
    other = a_mask(SHAPE, (S(8, 9), S(20, 25), S(20, 25)))
    assert [flags for _, flags in separate([one, other], VOLUME)] == [{Flag.TOUCHES_NEIGHBOUR}] * 2
    apart = a_mask(SHAPE, (S(8, 9), S(21, 25), S(20, 25)))
    assert [flags for _, flags in separate([one, apart], VOLUME)] == [frozenset()] * 2


def test_the_same_mask_for_two_prompts_is_divided_at_the_middle_between_them():
    both = a_mask(SHAPE, (S(4, 8), S(10, 20), S(10, 30)))
    centres = [np.array([5.5, 14.5, 13.0]), np.array([5.5, 14.5, 26.0])]
    (left, _), (right, _) = separate([both, both], VOLUME, centres)
    assert same(left, a_mask(SHAPE, (S(4, 8), S(10, 20), S(10, 20))))
    assert same(right, a_mask(SHAPE, (S(4, 8), S(10, 20), S(20, 30))))


def test_three_in_a_row_end_up_disjoint_and_complete():
    masks = [a_mask(SHAPE, (S(4, 8), S(10, 20), S(start, start + 14))) for start in (4, 14, 24)]
    divided = [mask for mask, _ in separate(masks, VOLUME)]
    total = sum(mask.array().astype(int) for mask in divided)
    assert total.max() == 1
    assert np.array_equal(total > 0, np.logical_or.reduce([mask.array() for mask in masks]))


def test_separating_changes_nothing_where_nothing_is_disputed():
    masks = [a_mask(SHAPE, (S(1, 3), S(1, 3), S(1, 3))), a_mask(SHAPE)]
    assert all(
        dice(before, after) == 1.0 for before, (after, _) in zip(masks, separate(masks, VOLUME), strict=True)
    )


def test_what_is_done_can_be_put_into_the_provenance():
    assert CleanUp(keep=Keep.LARGEST).describe() == "holes: slices, components: largest, clipped to body"
