"""Implanted nodules have the size they say, in the shape, in the mask and in the voxels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from workflow.domain.geometry import Volume, affine_from_axes
from workflow.domain.measurement import measure
from workflow.simulation.nodules import (
    Nodule,
    Noise,
    erase,
    estimate_noise,
    implant,
    outline_in_slice,
    truth_mask,
    truth_of,
)

PIXEL_MM = 0.8


def lung(slice_mm: float = 1.25, slices: int = 60, fill: int = -850, turned_deg: float = 0.0) -> Volume:
    angle = np.deg2rad(turned_deg)
    return Volume(
        array=np.full((slices, 80, 90), fill, dtype=np.int16),
        affine=affine_from_axes(
            origin_lps=(-30.0, -40.0, -700.0),
            slice_step=(0.0, -slice_mm * np.sin(angle), slice_mm * np.cos(angle)),
            row_step=(0.0, PIXEL_MM * np.cos(angle), PIXEL_MM * np.sin(angle)),
            column_step=(PIXEL_MM, 0.0, 0.0),
        ),
    )


def middle_of(
    volume: Volume, shift_ijk: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> tuple[float, float, float]:
    x, y, z = volume.lps(np.asarray(volume.shape) / 2 + shift_ijk).tolist()
    return x, y, z


def nodule(volume: Volume, **changes: object) -> Nodule:
    values: dict[str, object] = {
        "centre_lps": middle_of(volume, (0.3, 0.2, 0.4)),
        "long_axis_mm": 18.0,
        "short_axis_mm": 13.0,
        "height_mm": 15.0,
        "angle_deg": 35.0,
    }
    return Nodule(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("long_mm", [6.0, 10.0, 18.0, 30.0])
@pytest.mark.parametrize("lobulation", [0.0, 0.15])
def test_the_long_axis_of_the_shape_is_the_one_asked_for(long_mm: float, lobulation: float) -> None:
    volume = lung(slice_mm=0.5, slices=120)
    one = nodule(
        volume,
        centre_lps=middle_of(volume),
        long_axis_mm=long_mm,
        short_axis_mm=0.8 * long_mm,
        height_mm=long_mm,
        lobulation=lobulation,
    )
    truth = truth_of(one, volume)
    # The exact cut is the central one; a lobe above it may reach a little further.
    assert truth.long_axis.length_mm == pytest.approx(long_mm, rel=0.001 if lobulation == 0 else 0.05)
    assert truth.long_axis.length_mm >= long_mm * 0.999


@pytest.mark.parametrize("angle_deg", [0.0, 35.0, 90.0, 150.0])
@pytest.mark.parametrize("lobulation", [0.0, 0.12])
def test_a_reader_of_the_perfect_mask_measures_the_truth_to_half_a_pixel(
    angle_deg: float, lobulation: float
) -> None:
    volume = lung()
    one = nodule(volume, angle_deg=angle_deg, lobulation=lobulation, seed=4)
    truth = truth_of(one, volume)
    measured = measure(volume, truth_mask(one, volume))
    # Outermost pixel centres lie between nothing and one pixel inside the surface: half a pixel on average.
    assert measured.long_axis.length_mm + PIXEL_MM / 2 == pytest.approx(
        truth.long_axis.length_mm, abs=PIXEL_MM / 2
    )
    # Few pairs lie exactly across, so the short axis has another half a pixel to lose.
    assert measured.short_axis.length_mm + PIXEL_MM / 2 == pytest.approx(truth.short_axis_mm, abs=PIXEL_MM)


def test_an_ellipsoid_cut_by_tilted_planes_has_the_diameters_that_geometry_gives() -> None:
    volume = lung(slice_mm=0.25, slices=160, turned_deg=30.0)
    one = nodule(
        volume, centre_lps=middle_of(volume), angle_deg=0.0, long_axis_mm=18, short_axis_mm=10, height_mm=14
    )
    truth = truth_of(one, volume)
    # The plane holds x and leans by 30 degrees from y towards z: radius of that ellipse there.
    across = 2 / np.sqrt((np.cos(np.pi / 6) / 5) ** 2 + (np.sin(np.pi / 6) / 7) ** 2)
    assert truth.long_axis.length_mm == pytest.approx(18.0, rel=0.001)
    assert truth.short_axis_mm == pytest.approx(across, rel=0.002)


@pytest.mark.parametrize("lobulation", [0.0, 0.15])
def test_shares_of_voxels_add_up_to_the_volume(lobulation: float) -> None:
    volume = lung(fill=0)
    one = nodule(volume, lobulation=lobulation, attenuation_hu=1000.0, seed=2)
    bright = implant(volume, [one], noise=Noise(sigma_hu=0.0))
    got = float(bright.array.sum()) / 1000 * volume.voxel_volume_mm3
    assert got == pytest.approx(one.volume_mm3, rel=0.015)
    if lobulation == 0:
        assert one.volume_mm3 == pytest.approx(np.pi / 6 * 18 * 13 * 15, rel=1e-3)


def test_the_outline_lies_on_the_half_height_of_the_edge() -> None:
    volume = lung()
    one = nodule(volume, attenuation_hu=50.0)
    bright = implant(volume, [one], noise=Noise(sigma_hu=0.0))
    truth = truth_of(one, volume)
    outline = outline_in_slice(one, volume, truth.slice_index)
    assert outline is not None
    hu = ndimage.map_coordinates(bright.array.astype(float), volume.ijk(outline).T, order=1)
    assert np.median(hu) == pytest.approx((50 - 850) / 2, abs=70)


def test_a_part_solid_nodule_has_a_dense_core_in_ground_glass() -> None:
    volume = lung()
    one = nodule(volume, solid_share=0.5, angle_deg=0.0, long_axis_mm=20, short_axis_mm=20, height_mm=20)
    array = implant(volume, [one], noise=Noise(sigma_hu=0.0)).array
    i, j, k = np.rint(volume.ijk(np.asarray(one.centre_lps))).astype(int)
    assert array[i, j, k] == pytest.approx(30, abs=40)
    assert array[i, j, k + round(7.5 / PIXEL_MM)] == pytest.approx(-580, abs=60)


def test_the_texture_of_a_nodule_has_the_noise_of_the_volume() -> None:
    rng = np.random.default_rng(0)
    quiet = lung(fill=40)
    wanted = Noise(sigma_hu=20.0, blur_voxels=(0.0, 0.6, 0.6))
    noisy = quiet.with_array(np.rint(quiet.array + wanted.field(quiet.shape, rng)).astype(np.int16))
    found = estimate_noise(noisy)
    assert found.sigma_hu == pytest.approx(20.0, rel=0.15)
    assert found.blur_voxels[1] == pytest.approx(0.6, abs=0.15)
    one = nodule(quiet, long_axis_mm=30, short_axis_mm=28, height_mm=28)
    inside = implant(noisy, [one]).array[truth_mask(one, quiet).array()]
    assert inside.std() == pytest.approx(20.0, rel=0.25)


def test_implanting_changes_nothing_away_from_the_nodule_and_is_repeatable() -> None:
    volume = lung()
    one = nodule(volume, lobulation=0.1)
    first, again = implant(volume, [one]), implant(volume, [one])
    assert first.array.dtype == volume.array.dtype
    assert np.array_equal(first.array, again.array)
    far = ndimage.binary_dilation(truth_mask(one, volume).array(), iterations=6)
    assert np.array_equal(first.array[~far], volume.array[~far])


def test_a_nodule_outside_the_volume_is_refused_with_its_place() -> None:
    volume = lung()
    with pytest.raises(ValueError, match="does not fit into the volume"):
        implant(volume, [nodule(volume, centre_lps=(500.0, 0.0, 0.0))])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"short_axis_mm": 20.0}, "short axis 20.0 mm"),
        ({"height_mm": 0.0}, "height 0.0 mm"),
        ({"solid_share": 1.5}, "solid share 1.5"),
        ({"lobulation": 0.5}, "lobulation 0.5"),
    ],
)
def test_an_impossible_nodule_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nodule(lung(), **changes)


def test_an_erased_nodule_leaves_lung_behind() -> None:
    rng = np.random.default_rng(1)
    volume = lung()
    volume = volume.with_array((volume.array + rng.normal(0, 25, volume.shape)).astype(np.int16))
    one = nodule(volume)
    diseased = implant(volume, [one])
    mask = truth_mask(one, volume)
    healed = erase(diseased, mask)
    inside = mask.array()
    assert diseased.array[inside].mean() > -150
    assert healed.array[inside].mean() == pytest.approx(-850, abs=15)
    assert healed.array[inside].std() == pytest.approx(25, rel=0.2)
