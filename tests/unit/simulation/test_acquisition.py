"""Another protocol shows the same anatomy at the same place in the patient."""

from __future__ import annotations

import numpy as np
import pytest

from workflow.domain.geometry import Volume, affine_from_axes
from workflow.simulation.acquisition import reslice
from workflow.simulation.course import DEMO_PLAN, lung_case


def block() -> Volume:
    array = np.full((40, 50, 60), -800, dtype=np.int16)
    array[15:25, 20:35, 22:40] = 50
    affine = affine_from_axes(
        origin_lps=(-40.0, 10.0, -500.0),
        slice_step=(0, 0, 2.0),
        row_step=(0, 1.5, 0),
        column_step=(1.5, 0, 0),
    )
    return Volume(array=array, affine=affine)


def centre_and_volume(volume: Volume) -> tuple[np.ndarray, float]:
    share = np.clip((volume.array + 800.0) / 850, 0, 1)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), axis=-1)
    centre = (volume.lps(index.reshape(-1, 3)) * share.reshape(-1, 1)).sum(axis=0) / share.sum()
    return centre, float(share.sum()) * volume.voxel_volume_mm3


@pytest.mark.parametrize(("slice_mm", "tilt_deg"), [(6.0, 0.0), (None, 20.0), (5.0, -15.0)])
def test_a_block_keeps_its_place_and_its_size(slice_mm: float | None, tilt_deg: float) -> None:
    before, after = block(), reslice(block(), slice_mm=slice_mm, tilt_deg=tilt_deg)
    (centre, size), (new_centre, new_size) = centre_and_volume(before), centre_and_volume(after)
    assert np.linalg.norm(centre - new_centre) < 0.3
    assert new_size == pytest.approx(size, rel=0.03)
    assert after.spacing_mm[0] == pytest.approx(slice_mm or 2.0)
    normal = np.cross(after.directions[:, 2], after.directions[:, 1])
    assert np.degrees(np.arccos(abs(normal[2]))) == pytest.approx(abs(tilt_deg), abs=1e-6)


def test_turned_planes_stay_perpendicular_to_their_slices_and_lean_forward_to_the_feet() -> None:
    turned = reslice(block(), tilt_deg=20.0)
    assert np.allclose(turned.directions.T @ turned.directions, np.eye(3))
    to_the_back = turned.directions[:, 1]
    assert np.allclose(to_the_back, [0.0, np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20))])


def test_thinner_slices_are_refused() -> None:
    with pytest.raises(ValueError, match="ask for thicker ones"):
        reslice(block(), slice_mm=1.0)


def test_lesions_of_a_thick_and_tilted_course_have_their_axis_in_the_tilted_plane() -> None:
    case = lung_case(2, plan=DEMO_PLAN, slice_mm=5.0, tilt_deg=12.0)
    truth = case.lesions[0].at[0].truth
    assert truth is not None
    ends = case.baseline.ijk(np.array([truth.long_axis.start_lps, truth.long_axis.end_lps]))
    assert np.allclose(ends[:, 0], truth.slice_index, atol=1e-6)
    assert truth.long_axis.length_mm == pytest.approx(22.0, abs=1.5)
