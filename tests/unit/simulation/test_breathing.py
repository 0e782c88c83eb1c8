"""A breath moves tissue, never folds it, and can be undone."""

from __future__ import annotations

import numpy as np
import pytest

from workflow.domain.geometry import Volume, affine_from_axes
from workflow.simulation.breathing import Breathing, breathing_of
from workflow.simulation.nodules import Nodule, implant, truth_mask


def chest() -> Volume:
    return Volume(
        array=np.full((50, 90, 100), -800, dtype=np.int16),
        affine=affine_from_axes(
            origin_lps=(-150.0, -140.0, -300.0),
            slice_step=(0.0, 0.0, 5.0),
            row_step=(0.0, 3.0, 0.0),
            column_step=(3.0, 0.0, 0.0),
        ),
    )


def positions(volume: Volume, count: int = 500) -> np.ndarray:
    return volume.lps(np.random.default_rng(0).uniform(0, 1, (count, 3)) * (np.asarray(volume.shape) - 1))


@pytest.mark.parametrize("seed", range(5))
def test_there_and_back_is_where_it_started(seed: int) -> None:
    volume = chest()
    breath = breathing_of(volume, seed=seed, diaphragm_mm=12.0)
    points = positions(volume)
    assert np.abs(breath.to_old(breath.to_new(points)) - points).max() < 1e-6
    assert np.abs(breath.to_new(breath.to_old(points)) - points).max() < 1e-6


def test_no_tissue_folds() -> None:
    volume = chest()
    breath = breathing_of(volume, seed=3, diaphragm_mm=12.0)
    points, step = positions(volume, 2000), 0.01
    columns = [
        (breath.to_old(points + step * e) - breath.to_old(points - step * e)) / (2 * step) for e in np.eye(3)
    ]
    assert np.linalg.det(np.stack(columns, axis=-1)).min() > 0.3


def test_the_diaphragm_moves_by_about_what_was_asked_and_the_apex_hardly() -> None:
    volume = chest()
    breath = breathing_of(volume, seed=1, diaphragm_mm=10.0)
    middle = np.asarray(volume.shape) / 2
    base, apex = volume.lps(np.array([[5, *middle[1:]], [48, *middle[1:]]]))
    assert breath.displacement(base)[2] == pytest.approx(10.0, abs=3.5)
    assert abs(breath.displacement(apex)[2]) < 3.5


def test_a_nodule_in_the_image_moves_to_where_the_map_says() -> None:
    volume = chest()
    breath = breathing_of(volume, seed=2, diaphragm_mm=10.0)
    x, y, z = volume.lps(np.array([14.0, 45.0, 50.0])).tolist()
    one = Nodule(centre_lps=(x, y, z), long_axis_mm=36, short_axis_mm=30, height_mm=32)
    mask = truth_mask(one, volume)
    expected = breath.to_new(np.array([x, y, z]))
    warped = breath.warp(implant(volume, [one]))
    bright = volume.lps(np.argwhere(warped.array > -385)).mean(axis=0)
    moved = breath.warp_mask(mask, volume)
    assert np.linalg.norm(expected - [x, y, z]) > 5
    assert np.linalg.norm(bright - expected) < 1.0
    assert np.linalg.norm(volume.lps(moved.centroid_ijk()) - expected) < 1.0
    assert moved.voxel_count == pytest.approx(mask.voxel_count, rel=0.2)


def test_a_deformation_that_might_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="it may fold"):
        Breathing(
            centres_lps=np.zeros((1, 3)), shifts_mm=np.array([[20.0, 0, 0]]), widths_mm=np.array([10.0])
        )
