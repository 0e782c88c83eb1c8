"""Long and short axis between pixel centres, volume and mean: exact on small masks, true on ellipsoids."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow.domain.geometry import FloatArray, Mask, Volume
from workflow.domain.measurement import measure


def volume_of(array: np.ndarray, spacing_mm=(1.0, 1.0, 1.0), rotation: FloatArray | None = None) -> Volume:
    affine = np.eye(4)
    # (slice, row, column) along (z, y, x) of the patient, as an axial CT has it.
    axes = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) @ axes * np.asarray(spacing_mm)
    affine[:3, 3] = (-120.0, 35.5, 700.25)
    return Volume(array=array, affine=affine)


def measured(array: np.ndarray, spacing_mm=(1.0, 1.0, 1.0), rotation: FloatArray | None = None):
    volume = volume_of(array.astype(np.int16), spacing_mm, rotation)
    return measure(volume, Mask.from_array(array)), volume


def test_a_bar_is_measured_between_the_centres_of_its_end_pixels():
    array = np.zeros((3, 6, 12), dtype=bool)
    array[1, 2:5, 1:11] = True
    measurement, _ = measured(array, spacing_mm=(5.0, 0.5, 2.0))
    assert measurement.long_axis.length_mm == pytest.approx(np.hypot(9 * 2.0, 2 * 0.5))
    assert measurement.slice_index == 1
    assert measurement.volume_mm3 == pytest.approx(30 * 5.0)


def test_the_long_axis_is_the_longest_of_all_slices_and_never_leaves_one():
    array = np.zeros((9, 8, 8), dtype=bool)
    array[:, 4, 4] = True  # 8 slices long, one pixel wide
    array[6, 4, 2:6] = True
    measurement, volume = measured(array, spacing_mm=(3.0, 1.0, 1.0))
    assert measurement.slice_index == 6
    assert measurement.long_axis.length_mm == pytest.approx(3.0)
    ends = volume.ijk(np.array([measurement.long_axis.start_lps, measurement.long_axis.end_lps]))
    np.testing.assert_allclose(sorted(map(tuple, ends)), [(6, 4, 2), (6, 4, 5)], atol=1e-9)


def test_a_single_pixel_has_axes_of_length_zero_at_its_centre():
    array = np.zeros((2, 3, 4), dtype=bool)
    array[1, 2, 3] = True
    measurement, volume = measured(array)
    centre = tuple(volume.lps(np.array([1, 2, 3])))
    assert measurement.long_axis.length_mm == measurement.short_axis.length_mm == 0
    assert measurement.long_axis.start_lps == measurement.short_axis.end_lps == pytest.approx(centre)


def test_the_short_axis_of_a_concave_lesion_is_a_chord_not_the_width_of_its_hull():
    # An L: two arms of 21 pixels, 3 wide. The hull is 10 mm deep across the long axis, each arm far less.
    array = np.zeros((1, 21, 21), dtype=bool)
    array[0, :, :3] = True
    array[0, -3:, :] = True
    measurement, _ = measured(array)
    assert measurement.long_axis.length_mm == pytest.approx(np.hypot(20, 20))
    # From the corner (20, 0) to the inner edge; the hull would reach the diagonal, 14.1 mm.
    assert measurement.short_axis.length_mm == pytest.approx(np.hypot(2, 2), abs=0.8)


def test_the_mean_is_taken_over_the_lesion_alone():
    array = np.full((4, 5, 6), -900, dtype=np.int16)
    mask = np.zeros(array.shape, dtype=bool)
    mask[1:3, 2, 2:4] = True
    array[mask] = [10, 20, 30, 60]
    assert measure(volume_of(array), Mask.from_array(mask)).mean_hu == 30.0


@pytest.mark.parametrize(
    ("value", "unit", "mean"),
    [(30.0, "HU", 30.0), (30.0, "g/ml", 30.0), (30.0, "", None), (np.inf, "HU", None), (np.nan, "HU", None)],
)
def test_there_is_no_mean_without_a_unit_and_none_that_is_no_number(value, unit, mean):
    mask = np.zeros((2, 3, 4), dtype=bool)
    mask[1, 1, 1:3] = True
    volume = volume_of(np.full(mask.shape, value, dtype=np.float32))
    assert measure(volume, Mask.from_array(mask), value_unit=unit).mean_hu == mean


def test_an_empty_mask_has_no_size():
    array = np.zeros((2, 2, 2), dtype=bool)
    with pytest.raises(ValueError, match="empty mask"):
        measured(array)


def test_a_mask_on_another_grid_is_refused_with_both_shapes():
    mask = Mask.from_array(np.ones((2, 2, 2), dtype=bool))
    with pytest.raises(ValueError, match=r"\(2, 2, 2\).*\(2, 2, 3\)"):
        measure(volume_of(np.zeros((2, 2, 3))), mask)


masks = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).random((2, 6, 7)) < np.random.default_rng(seed + 1).random()
)
spacings = st.tuples(*[st.floats(0.3, 6.0)] * 3)


@settings(max_examples=60, deadline=None)
@given(masks.filter(np.any), spacings)
def test_axes_are_those_of_a_search_over_all_pairs_of_pixels(array, spacing_mm):
    measurement, volume = measured(array, spacing_mm)
    centres = volume.lps(np.argwhere(array))
    slices = np.argwhere(array)[:, 0]
    pairs = [(a, b) for a, b in itertools.product(range(len(centres)), repeat=2) if slices[a] == slices[b]]
    longest = max(np.linalg.norm(centres[a] - centres[b]) for a, b in pairs)
    assert measurement.long_axis.length_mm == pytest.approx(longest)

    if longest > 0:
        along = np.subtract(measurement.long_axis.end_lps, measurement.long_axis.start_lps) / longest
        plane = [centres[i] for i in range(len(centres)) if slices[i] == measurement.slice_index]
        tolerance = max(spacing_mm[1:]) / 2 + 1e-6
        chords = [a - b for a in plane for b in plane if abs((a - b) @ along) <= tolerance]
        widest = max(np.linalg.norm(c - (c @ along) * along) for c in chords)
        short = np.subtract(measurement.short_axis.end_lps, measurement.short_axis.start_lps)
        assert np.linalg.norm(short - (short @ along) * along) == pytest.approx(widest, abs=1e-5)
        assert measurement.short_axis.length_mm == pytest.approx(np.linalg.norm(short))


@settings(max_examples=60, deadline=None)
@given(
    radii=st.tuples(*[st.floats(4.0, 16.0)] * 3),
    spacing_mm=st.tuples(st.floats(0.6, 4.0), st.floats(0.4, 1.5), st.floats(0.4, 1.5)),
    seed=st.integers(0, 10_000),
)
def test_an_ellipsoid_of_any_orientation_has_its_true_in_plane_diameters(radii, spacing_mm, seed):
    random = np.random.default_rng(seed)
    orientation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    patient, _ = np.linalg.qr(random.normal(size=(3, 3)))
    shape = np.ceil(2 * max(radii) / np.asarray(spacing_mm)).astype(int) + 3
    volume = volume_of(np.zeros(shape, dtype=np.int16), spacing_mm, patient)
    form = orientation @ np.diag(1 / np.square(radii)) @ orientation.T
    centre = volume.lps(shape / 2 + random.uniform(-0.5, 0.5, 3))
    offsets = volume.lps(np.indices(shape).reshape(3, -1).T) - centre
    inside = (np.einsum("ni,ij,nj->n", offsets, form, offsets) <= 1).reshape(shape)
    measurement = measure(volume, Mask.from_array(inside))

    # Parallel sections of an ellipsoid are similar; the one through the centre is the largest.
    in_plane = volume.directions[:, 1:]
    smallest, largest = np.linalg.eigvalsh(in_plane.T @ form @ in_plane)
    true_long, true_short = 2 / np.sqrt(smallest), 2 / np.sqrt(largest)
    normal = volume.directions[:, 0]
    half_height = np.sqrt(normal @ np.linalg.inv(form) @ normal)
    missed = np.sqrt(1 - min(1.0, (spacing_mm[0] / 2 / half_height) ** 2))  # no slice through the centre
    pixel = np.hypot(*spacing_mm[1:])
    assert missed * true_long - 2 * pixel <= measurement.long_axis.length_mm <= true_long + 1e-6
    # The measured long axis leans by up to a pixel at its ends, and the chord across with it.
    assert missed * true_short - 3 * pixel <= measurement.short_axis.length_mm
    if true_short < 0.8 * true_long:  # else the two axes are interchangeable
        assert measurement.short_axis.length_mm <= true_short + 3 * pixel
