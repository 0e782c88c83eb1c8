"""A volume comes back from its slices as it was, whatever their orientation, order and encoding."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dicom_io.series import describe_study
from dicom_io.volumes import read_folder, read_volume
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Volume

from .support import AXIAL, grid_affine, image, random_array, save, uid, write_slices

ANGLES = st.floats(-180.0, 180.0)
SPACINGS = st.tuples(st.floats(0.4, 8.0), st.floats(0.3, 3.0), st.floats(0.3, 3.0))
SHAPES = st.tuples(st.integers(2, 6), st.integers(2, 6), st.integers(2, 6))
ORIGINS = st.tuples(*[st.floats(-900.0, 900.0)] * 3)


def written(volume: Volume, folder: Path, order: list[int]) -> list[Path]:
    """The volume slice by slice, the files named in the order given."""
    along, down = volume.directions[:, 2], volume.directions[:, 1]
    paths = []
    for name, k in enumerate(order):
        plane = image(
            SOPInstanceUID=uid("slice", k),
            InstanceNumber=name + 1,
            ImagePositionPatient=[round(float(x), 9) for x in volume.lps(np.array([k, 0, 0]))],
            ImageOrientationPatient=[round(float(x), 12) for x in (*along, *down)],
            PixelSpacing=[round(mm, 9) for mm in volume.spacing_mm[1:]],
            Rows=volume.shape[1],
            Columns=volume.shape[2],
            PixelData=volume.array[k].tobytes(),
        )
        paths.append(save(plane, folder / f"{name:02d}.dcm"))
    return paths


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.tuples(ANGLES, ANGLES, ANGLES), SPACINGS, SHAPES, ORIGINS, st.randoms(use_true_random=False))
def test_a_volume_written_slice_by_slice_comes_back_voxel_for_voxel(angles, spacing, shape, origin, random):
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    volume = Volume(array=random_array(shape), affine=grid_affine(spacing, turn, origin))
    order = list(range(shape[0]))
    random.shuffle(order)
    with tempfile.TemporaryDirectory() as folder:
        paths = written(volume, Path(folder), order)
        random.shuffle(paths)
        read = read_volume(paths)
    np.testing.assert_array_equal(read.volume.array, volume.array)
    np.testing.assert_allclose(read.volume.affine, volume.affine, atol=1e-5)
    assert [source.sop_instance_uid for source in read.slices] == [uid("slice", k) for k in range(shape[0])]


@pytest.mark.parametrize(
    ("orientation", "name"),
    [
        (AXIAL, "axial"),
        ((1, 0, 0, 0, 0, -1), "coronal"),
        ((0, 1, 0, 0, 0, -1), "sagittal"),
        ((-1, 0, 0, 0, 1, 0), "axial"),  # prone or feet first: still axial
        ((1, 0, 0, 0, 0.9397, 0.3420), "axial"),  # 20° towards coronal
        ((1, 0, 0, 0, 0.7071, 0.7071), "oblique"),
    ],
)
def test_an_orientation_is_named_after_the_patients_plane(tmp_path, orientation, name):
    normal = np.cross(orientation[:3], orientation[3:])
    paths = write_slices(
        tmp_path,
        random_array((3, 4, 5)),
        [2.0 * k * normal for k in range(3)],
        ImageOrientationPatient=list(orientation),
    )
    assert [series.orientation for series in describe_study(paths)] == [name]


def test_spacing_comes_from_positions_and_not_from_slice_thickness(tmp_path):
    paths = write_slices(tmp_path, random_array((4, 3, 3)), step_mm=1.25, SliceThickness=5.0)
    read = read_volume(paths)
    assert read.series.spacing_mm == pytest.approx((1.25, 0.75, 0.5))
    assert "slices overlap: 5 mm thick every 1.25 mm" in read.notes


def test_gaps_between_thin_slices_are_named(tmp_path):
    read = read_volume(write_slices(tmp_path, random_array((4, 3, 3)), step_mm=7.0, SliceThickness=5.0))
    assert "gaps between slices: 5 mm thick every 7.00 mm" in read.notes


def test_the_extent_reaches_to_the_outer_faces_of_the_voxels(tmp_path):
    (series,) = describe_study(write_slices(tmp_path, random_array((3, 4, 5))))
    assert series.extent_lps == ((-0.25, -0.375, -1.0), (2.25, 2.625, 5.0))
    assert series.coverage_mm == pytest.approx(6.0)


def test_a_single_slice_takes_its_thickness_as_spacing_and_says_so(tmp_path):
    read = read_volume([save(image(), tmp_path / "one.dcm")])
    assert read.volume.spacing_mm == pytest.approx((2.0, 0.75, 0.5))
    assert "a single slice; its thickness is taken as the slice spacing" in read.notes


# ---------------------------------------------------------------- tilt


def ball(positions: np.ndarray) -> np.ndarray:
    """A smooth blob in the patient, HU by position (LPS mm); smooth so that interpolation is nearly exact."""
    distance = np.linalg.norm(positions - np.array([12.0, 14.0, 12.0]), axis=-1)
    return 1000.0 * np.exp(-((distance / 9.0) ** 2)) - 500.0


@pytest.mark.parametrize("degrees", [18.5, -18.5, 30.0])
def test_a_tilted_gantry_is_resampled_so_that_the_anatomy_stays_in_place(tmp_path, degrees):
    angle = np.radians(degrees)
    orientation = (1.0, 0.0, 0.0, 0.0, np.cos(angle), np.sin(angle))
    down = np.array(orientation[3:])
    rows, columns, spacing = 60, 50, 0.5
    positions, planes = [], []
    for k in range(13):
        first = np.array([0.0, 0.0, 2.0 * k])  # the table moves along z, the planes lean
        r, c = np.mgrid[:rows, :columns] * spacing
        places = first + r[..., None] * down + c[..., None] * np.array([1.0, 0, 0])
        positions.append(first)
        planes.append(np.rint(ball(places)))
    paths = write_slices(
        tmp_path,
        np.array(planes, dtype=np.int16),
        positions,
        ImageOrientationPatient=[round(x, 9) for x in orientation],
        PixelSpacing=[spacing, spacing],
    )
    read = read_volume(paths)
    assert any(note.startswith(f"gantry tilt of {abs(degrees):.1f}°") for note in read.notes)
    directions = read.volume.directions
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-6)
    measured = read.volume.array.astype(float)
    index = np.argwhere(measured > -1000)
    expected = ball(read.volume.lps(index))
    inside = measured[tuple(index.T)] > -400
    assert inside.sum() > 5000
    assert np.abs(measured[tuple(index.T)] - expected)[inside].max() < 8.0


def test_direction_cosines_of_three_digits_are_no_tilt(tmp_path):
    turn = Rotation.from_euler("xyz", (3.1, -7.7, 11.3), degrees=True).as_matrix()
    volume = Volume(array=random_array((200, 4, 5)), affine=grid_affine((2.0, 0.7, 0.7), turn))
    paths = write_slices(
        tmp_path,
        volume.array,
        [volume.lps(np.array([k, 0, 0])) for k in range(200)],
        ImageOrientationPatient=[
            round(float(x), 3) for x in (*volume.directions[:, 2], *volume.directions[:, 1])
        ],
        PixelSpacing=[0.7, 0.7],
    )
    read = read_volume(paths)
    assert read.notes == ()
    np.testing.assert_array_equal(read.volume.array, volume.array)
    np.testing.assert_allclose(read.volume.directions.T @ read.volume.directions, np.eye(3), atol=1e-9)
    ends = np.array([[0, 0, 0], [199, 0, 0], [199, 3, 4]])
    np.testing.assert_allclose(read.volume.lps(ends), volume.lps(ends), atol=0.02)


def test_a_displacement_too_steep_for_a_gantry_is_refused(tmp_path):
    paths = write_slices(tmp_path, random_array((4, 8, 8)), [(0.0, 3.0 * k, 2.0 * k) for k in range(4)])
    with pytest.raises(UnsuitableInputError, match=r"displaced by 56° in their plane"):
        read_volume(paths)


def test_a_field_of_view_that_jumps_is_refused(tmp_path):
    positions = [(0.0, 0.0, 0.0), (0.0, 0.0, 2.0), (5.0, 0.0, 4.0), (0.0, 0.0, 6.0)]
    with pytest.raises(UnsuitableInputError, match="shifted irregularly"):
        read_volume(write_slices(tmp_path, random_array((4, 8, 8)), positions))


# ---------------------------------------------------------------- gaps


def at_heights(folder: Path, heights: list[float], **attributes: object) -> list[Path]:
    array = random_array((len(heights), 3, 3))
    return write_slices(folder, array, [(0.0, 0.0, z) for z in heights], **attributes)


def test_one_thin_slice_missing_of_many_is_interpolated_and_marked(tmp_path):
    heights = [1.5 * k for k in range(30) if k != 11]
    read = read_volume(at_heights(tmp_path, heights))
    assert read.volume.shape[0] == 30
    assert [k for k, source in enumerate(read.slices) if source.is_interpolated] == [11]
    below, above = (read.volume.array[k].astype(float) for k in (10, 12))
    np.testing.assert_allclose(read.volume.array[11], (below + above) / 2, atol=0.5)
    assert any("1 of 30 slices missing, interpolated" in note for note in read.notes)


@pytest.mark.parametrize(
    ("heights", "reason"),
    [
        ([0, 2, 4, 8, 10, 12], "1 slice is missing"),  # 1 of 7 is too large a share
        ([5.0 * k for k in range(40) if k != 7], "1 slice is missing"),  # a gap of 10 mm is too wide
        ([1.0 * k for k in range(60) if k not in (7, 8)], "2 slices are missing"),  # two in a row
        ([0, 2, 5, 11, 12, 20], "unevenly spaced, 1.00 to 8.00 mm"),
    ],
)
def test_missing_slices_are_refused_with_the_place(tmp_path, heights, reason):
    with pytest.raises(UnsuitableInputError, match=reason):
        read_volume(at_heights(tmp_path, heights))


def test_jitter_of_the_table_is_accepted_and_said(tmp_path):
    read = read_volume(at_heights(tmp_path, [0.0, 2.0, 4.15, 6.0, 8.0]))
    assert any("slices lie up to 0.15 mm off an even spacing of 2.000 mm" in note for note in read.notes)


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_one_even_stack(tmp_path):
    paths = at_heights(tmp_path, [round(0.675 * k, 1) for k in range(40)])
    (series,) = describe_study(paths)
    assert series.refusal is None
    assert series.spacing_mm[0] == pytest.approx(0.675, abs=0.002)


def test_two_acquisitions_with_untouched_tissue_between_them_are_two_stacks(tmp_path):
    heights = [0.0, 5.0, 10.0, 15.0, 60.0, 65.0, 70.0, 75.0]
    stored = random_array((8, 3, 3))
    per_slice = [{"AcquisitionNumber": 1 + (k > 3)} for k in range(8)]
    paths = write_slices(tmp_path, stored, [(0.0, 0.0, z) for z in heights], per_slice=per_slice)
    assert [series.shape for series in describe_study(paths)] == [(4, 3, 3), (4, 3, 3)]


def test_the_same_jump_within_one_acquisition_is_a_gap(tmp_path):
    heights = [0.0, 5.0, 10.0, 15.0, 60.0, 65.0, 70.0, 75.0]
    (series,) = describe_study(at_heights(tmp_path, heights, AcquisitionNumber=1))
    assert "8 slices are missing" in (series.refusal or "")


def test_a_change_of_spacing_splits_the_series_into_two_stacks(tmp_path):
    paths = at_heights(tmp_path, [0, 4, 8, 12, 16, 23, 30, 37])
    stacks = describe_study(paths)
    assert [(stack.stack, stack.shape[0], stack.spacing_mm[0]) for stack in stacks] == [
        (0, 5, 4.0),
        (1, 3, 7.0),
    ]
    upper = read_volume(paths, stacks[1])
    assert upper.volume.affine[:3, 3] == pytest.approx((0, 0, 23))


# ---------------------------------------------------------------- positions


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"ImagePositionPatient": None}, "no ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "no ImageOrientationPatient"),
        ({"PixelSpacing": None}, "no PixelSpacing"),
        ({"PixelSpacing": [0.0, 1.0]}, "PixelSpacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "not two perpendicular unit vectors"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "not two perpendicular unit vectors"),
        ({"SliceThickness": None}, "single slice without SliceThickness"),
    ],
)
def test_an_image_that_cannot_be_placed_is_refused(tmp_path, attributes, reason):
    with pytest.raises(UnsuitableInputError, match=reason):
        read_volume([save(image(**attributes), tmp_path / "one.dcm")])


def test_a_time_series_at_one_place_is_no_volume(tmp_path):
    with pytest.raises(UnsuitableInputError, match="all 4 images lie at one place"):
        read_volume(write_slices(tmp_path, random_array((4, 3, 3)), [(0, 0, 0)] * 4))


def test_the_best_series_of_a_folder_is_read_and_its_other_files_ignored(tmp_path):
    write_slices(tmp_path / "thin", random_array((9, 3, 3)), SeriesInstanceUID=uid("thin"))
    write_slices(
        tmp_path / "scout", random_array((2, 3, 3)), SeriesInstanceUID=uid("s"), SeriesDescription="Scout"
    )
    (tmp_path / "README").write_text("no image")
    assert read_folder(tmp_path).series.series_instance_uid == uid("thin")


def test_a_folder_without_images_says_so(tmp_path):
    for name in ("README", "LICENSE"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(UnsuitableInputError, match="none of them is a DICOM file"):
        read_folder(tmp_path)
