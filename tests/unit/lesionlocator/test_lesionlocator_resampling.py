"""A window has the numbers that the library gives for the whole volume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from models.lesionlocator.plans import Resampling
from models.lesionlocator.resampling import GridChange, apply_weights, resample_labels, resample_mask

shapes = st.tuples(*[st.integers(3, 70)] * 3)


def change_between(old, new, family=Resampling.SPLINE, separate=None):
    order = 3 if family is Resampling.SPLINE else 1
    return GridChange(old_shape=old, new_shape=new, family=family, image_order=order, separate_axis=separate)


def window_of(new, data):
    start = tuple(data.draw(st.integers(0, n - 1)) for n in new)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, new, strict=True))
    return start, stop, tuple(slice(a, b) for a, b in zip(start, stop, strict=True))


def image_window(volume, change, start, stop):
    weights = [change.image_weights(axis, start[axis], stop[axis]) for axis in range(3)]
    return apply_weights(volume[tuple(slice(w.start, w.stop) for w in weights)], weights)


@settings(max_examples=25, deadline=None)
@given(old=shapes, new=shapes, seed=st.integers(0, 9), data=st.data())
def test_a_cubic_window_is_cut_from_skimages_volume(old, new, seed, data):
    volume = np.random.default_rng(seed).normal(size=old)
    whole = resize(volume, new, order=3, mode="edge", clip=False, anti_aliasing=False)
    start, stop, window = window_of(new, data)
    if old != new:
        found = image_window(volume, change_between(old, new), start, stop)
        np.testing.assert_allclose(found, whole[window], atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(old=shapes, new=shapes, seed=st.integers(0, 9), data=st.data())
def test_a_trilinear_window_is_cut_from_torchs_volume(old, new, seed, data):
    volume = np.random.default_rng(seed).normal(size=old).astype(np.float32)
    whole = torch.nn.functional.interpolate(torch.from_numpy(volume)[None, None], new, mode="trilinear")
    start, stop, window = window_of(new, data)
    found = image_window(volume, change_between(old, new, Resampling.TRILINEAR), start, stop)
    np.testing.assert_allclose(found, whole[0, 0].numpy()[window], atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(old=shapes, new=shapes, seed=st.integers(0, 9), data=st.data())
def test_labels_go_to_the_largest_share_and_ties_to_the_nearest_voxel(old, new, seed, data):
    labels = np.random.default_rng(seed).integers(0, 3, size=old)
    shares = np.stack(
        [
            resize((labels == k).astype(float), new, order=1, mode="edge", anti_aliasing=False)
            for k in range(3)
        ]
    )
    nearest = resize(labels.astype(float), new, order=0, mode="edge", anti_aliasing=False).astype(int)
    of_nearest = np.take_along_axis(shares, nearest[None], 0)[0]
    expected = np.where(of_nearest == shares.max(axis=0), nearest, shares.argmax(axis=0))
    start, stop, window = window_of(new, data)
    if old != new:
        found = resample_labels(labels, change_between(old, new), start, stop)
        assert np.array_equal(found, expected[window])


def test_a_coarse_axis_is_taken_by_nearest_neighbour_and_the_slices_are_cubic():
    volume = np.random.default_rng(0).normal(size=(7, 31, 29))
    slices = np.stack([resize(one, (40, 50), order=3, mode="edge", clip=False) for one in volume])
    nearest = np.floor((np.arange(17) + 0.5) * 7 / 17).astype(int)
    found = image_window(
        volume, change_between((7, 31, 29), (17, 40, 50), separate=0), (0, 0, 0), (17, 40, 50)
    )
    np.testing.assert_allclose(found, slices[nearest], atol=1e-9)


@pytest.mark.parametrize("family", list(Resampling))
def test_a_mask_moved_alone_is_the_mask_moved_with_its_volume(family):
    rng = np.random.default_rng(1)
    block = rng.random((9, 11, 6)) > 0.4
    change = change_between((40, 50, 60), (33, 71, 45), family)
    whole = np.zeros(change.old_shape, dtype=bool)
    whole[20:29, 30:41, 54:60] = block
    moved, start = resample_mask(block, (20, 30, 54), change)
    expected = resample_labels(whole, change, (0, 0, 0), change.new_shape)
    box = tuple(slice(s, s + n) for s, n in zip(start, moved.shape, strict=True))
    assert np.array_equal(expected[box], moved)
    assert expected.sum() == moved.sum()
