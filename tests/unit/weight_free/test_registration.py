"""Registration recovers known motions, on any pair of grids, and refuses what has nothing in common."""

from __future__ import annotations

import numpy as np
import pytest

from models.weight_free.registration import Registration, register
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Volume
from workflow.simulation.breathing import breathing_of
from workflow.simulation.sources import load_lung_pair
from workflow.use_cases.images import read_image


def chest(
    *, spacing_mm: float = 5.0, matrix: FloatArray | None = None, stretch: float = 0.0, gain: float = 1.0
) -> Volume:
    """A chest-like phantom (about 200 mm), seen through a motion of the patient: p' = matrix @ p."""
    shape = (int(180 / spacing_mm), int(190 / spacing_mm), int(210 / spacing_mm))
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = spacing_mm
    affine[:3, 3], affine[3, 3] = (-105, -95, -90), 1
    index = np.moveaxis(np.indices(shape), 0, -1)
    where = index @ affine[:3, :3].T + affine[:3, 3]
    if matrix is not None:
        back = np.linalg.inv(matrix)
        where = where @ back[:3, :3].T + back[:3, 3]
    x, y, z = np.moveaxis(where, -1, 0)
    # The lower part moves most, as under the diaphragm.
    z = z - stretch * np.exp(-(((z + 60) / 50) ** 2))
    image = np.where((x / 90) ** 2 + (y / 70) ** 2 < 1, 40.0, -1000.0)
    for side in (-1, 1):
        lung = ((x - side * 42) / 33) ** 2 + (y / 48) ** 2 + ((z - 8) / (62 + 4 * side)) ** 2 < 1
        image[lung] = -850
        for k in range(6):
            angle = 1.1 * k + side
            tube = (
                np.hypot(x - side * 42 - 20 * np.cos(angle) - 0.2 * z, y - 28 * np.sin(angle) + 0.1 * z) < 4
            )
            image[tube & lung] = 30
    image[(x + 10) ** 2 + (y - 55) ** 2 < 14**2] = 400
    return Volume(array=(image * gain).astype(np.float32), affine=affine)


def motion(degrees: float, shift: tuple[float, float, float]) -> FloatArray:
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = shift
    return matrix


POINTS = np.array([[40.0, 10, 20], [-35, -15, -10], [30, 20, -20], [-45, 5, 35], [0, 40, 0]])


def errors_mm(registration: Registration, expected: FloatArray) -> FloatArray:
    errors: FloatArray = np.linalg.norm(registration.map(POINTS) - expected, axis=1)
    return errors


@pytest.mark.parametrize("degrees", [0.0, 7.0])
def test_a_patient_who_lies_elsewhere_is_found(degrees):
    moved = motion(degrees, (12.0, -9.0, 31.0))
    registration = register(chest(), chest(matrix=moved), largest_voxel_count=8e4)
    assert errors_mm(registration, POINTS @ moved[:3, :3].T + moved[:3, 3]).max() < 4.0  # voxels of 5 mm
    assert registration.similarity > 0.9


def test_breathing_is_followed():
    registration = register(chest(), chest(stretch=12.0), largest_voxel_count=8e4)
    expected = POINTS.copy()
    for _ in range(20):  # z' - stretch(z') = z
        expected[:, 2] = POINTS[:, 2] + 12.0 * np.exp(-(((expected[:, 2] + 60) / 50) ** 2))
    assert np.median(errors_mm(registration, expected)) < 2.0
    assert registration.around(POINTS[1], 20.0)[1] == 0.0


def test_slices_may_run_the_other_way_and_planes_may_be_sagittal():
    volume = chest()
    sagittal = np.transpose(volume.array[::-1], (2, 0, 1))
    affine = volume.affine.copy()
    affine[:3, 3] = volume.lps(np.array([volume.shape[0] - 1, 0, 0]))
    affine[:3, :3] = np.column_stack([volume.affine[:3, 2], -volume.affine[:3, 0], volume.affine[:3, 1]])
    registration = register(volume, Volume(array=sagittal, affine=affine), largest_voxel_count=8e4)
    assert errors_mm(registration, POINTS).max() < 1.0


def test_images_that_are_not_ct_are_brought_to_one_scale():
    one, other = chest(gain=1.0), chest(matrix=motion(0, (8.0, 4.0, -12.0)))
    mr_one, mr_other = (
        v.with_array(np.clip(v.array + 1000, 0, None) * g) for v, g in ((one, 0.2), (other, 3.0))
    )
    registration = register(mr_one, mr_other, largest_voxel_count=8e4)
    assert errors_mm(registration, np.add(POINTS, (8.0, 4.0, -12.0))).max() < 2.5


def test_what_has_nothing_in_common_is_refused_with_the_figures():
    noise = np.random.default_rng(0).normal(0, 300, (40, 40, 40)) - 400
    other = Volume(array=noise.astype(np.float32), affine=np.diag([4.0, 4.0, 4.0, 1.0]))
    with pytest.raises(UnsuitableInputError, match=r"no common region \(similarity .*overlap"):
        register(chest(), other, largest_voxel_count=8e4)


def head() -> Volume:
    """Brain in a skull, on the chest's grid."""
    volume = chest()
    x, y, z = np.moveaxis(volume.lps(np.moveaxis(np.indices(volume.shape), 0, -1)), -1, 0)
    radius = np.sqrt((x / 75) ** 2 + (y / 90) ** 2 + (np.maximum(z, 0) / 85) ** 2)
    image = np.where(radius < 1, 900.0, -1000.0)
    image[radius < 0.88] = 35.0
    image[(abs(x) < 12) & (abs(y) < 30) & (abs(z) < 15)] = 5.0
    return volume.with_array(image.astype(np.float32))


def test_another_part_of_the_body_is_refused():
    with pytest.raises(UnsuitableInputError, match="no common region"):
        register(chest(), head(), largest_voxel_count=8e4)


def test_a_deep_breath_is_no_other_region():
    deep = register(chest(), chest(stretch=40.0), largest_voxel_count=8e4)
    assert deep.affine_similarity > 0.5


def test_another_person_s_chest_is_no_other_region():
    build = np.diag([1.12, 0.9, 1.08, 1.0])
    registration = register(chest(), chest(matrix=build, stretch=10.0), largest_voxel_count=8e4)
    assert registration.affine_similarity > 0.5


def test_the_local_affine_leaves_out_what_lies_within():
    volume = chest()
    registration = register(volume, volume, largest_voxel_count=8e4)
    affine = registration.local_affine(POINTS[0], 6.0, 18.0)
    np.testing.assert_allclose(affine, np.eye(4), atol=0.05)


def seen_at_four_millimetres(volume: Volume) -> Volume:
    """Every n-th voxel, so that real pairs are registered in seconds."""
    steps = [max(1, int(3.5 / spacing)) for spacing in volume.spacing_mm]
    affine = volume.affine.copy()
    affine[:3, :3] *= steps
    return Volume(
        array=np.ascontiguousarray(volume.array[:: steps[0], :: steps[1], :: steps[2]]), affine=affine
    )


@pytest.mark.slow
@pytest.mark.parametrize("is_other", [False, True], ids=["same person", "abdomen of another person"])
def test_a_real_chest_is_told_from_an_abdomen_but_not_from_itself_at_another_breath(real_cases, is_other):
    first = read_image(real_cases / "fourd_lung_p4" / "ct")
    breath = breathing_of(first, seed=5, diaphragm_mm=25.0)
    other = read_image(real_cases / "crlm_ct" / "CRLM-CT-1004" / "ct") if is_other else breath.warp(first)
    pair = [seen_at_four_millimetres(volume) for volume in (first, other)]
    if is_other:
        with pytest.raises(UnsuitableInputError, match="no common region"):
            register(*pair, largest_voxel_count=2e5)
    else:
        assert register(*pair, largest_voxel_count=2e5).affine_similarity > 0.7


@pytest.mark.slow
def test_real_chests_of_two_persons_are_one_region_but_not_one_person(real_cases):
    other = read_image(real_cases / "pyradiomics" / "lung1_image.nrrd")
    registration = register(load_lung_pair().baseline, other, largest_voxel_count=2e5)
    assert registration.affine_similarity > 0.4
    assert registration.identity.similarity < 0.6
    assert registration.identity.is_in_doubt


@pytest.mark.slow
def test_landmarks_of_a_real_lung_are_carried_to_within_two_millimetres_and_always_the_same_way():
    import SimpleITK as sitk  # noqa: N813

    pair = load_lung_pair()
    registration = register(pair.baseline, pair.follow_up)
    errors = np.linalg.norm(
        registration.map(pair.baseline_points_lps) - pair.follow_up_points_lps, axis=1
    )  # fmt: skip
    assert np.median(errors) < 2.0
    assert np.percentile(errors, 95) < 5.0

    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1 if threads > 1 else 2)
    try:
        again = register(pair.baseline, pair.follow_up)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    np.testing.assert_array_equal(again.displacement, registration.displacement)


def test_a_head_that_lies_still_is_not_moved():
    volume = head()
    noise = np.random.default_rng(3).normal(0, 25, volume.shape)
    registration = register(volume, volume.with_array(volume.array + noise), largest_voxel_count=8e4)
    np.testing.assert_array_equal(registration.affine, np.eye(4))
    assert np.abs(registration.displacement).max() < 1.0
