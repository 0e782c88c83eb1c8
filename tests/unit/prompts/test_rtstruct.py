"""RTSTRUCT prompts against the masks that others made of the same contours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from skimage.measure import points_in_poly

from dicom_io.prompts import LesionRules, ProblemKind, read_prompts
from dicom_io.prompts.contours import fill
from tests.unit.prompts.support import Images, load_series, on_grid, phantom_images
from workflow.domain.lesion import LinePrompt, MaskPrompt, OutlinePrompt, PointPrompt


def nifti_on_grid(path: Path, images: Images) -> np.ndarray:
    """A NIfTI mask's voxels (RAS) on a series' grid."""
    image = nibabel.load(path)
    index = np.argwhere(np.asarray(image.dataobj) > 0)
    ras = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    ijk = np.round(images.volume.ijk(ras * [-1, -1, 1])).astype(int)
    whole = np.zeros(images.volume.shape, dtype=bool)
    whole[tuple(ijk.T)] = True
    return whole


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


@pytest.fixture(scope="module")
def lung_ct(real_cases):
    return load_series(real_cases / "fourd_lung_p4" / "ct")


def test_tumour_and_node_are_taken_and_landmarks_are_left_with_the_reason(real_cases, lung_ct):
    reading = read_prompts(real_cases / "fourd_lung_p4" / "rtstruct" / "1-1.dcm", [lung_ct])
    assert [(p.label, p.is_nodal, p.organ) for p in reading.prompts] == [
        ("Tumor_c40", False, ""),
        ("LN_c40", True, "lymph node"),
    ]
    assert [(p.item, p.kind) for p in reading.problems] == [
        ("ROI 19 Carina_c40", ProblemKind.NOT_A_LESION),
        ("ROI 20 Vertebra_c40", ProblemKind.NOT_A_LESION),
    ]
    assert reading.prompts[0].created_by == "ADAC Pinnacle3"
    assert str(reading.prompts[0].created_at) == "1999-11-26 22:16:04"
    assert [placement.by for placement in reading.placements] == [
        "frame of reference and geometry and listed UIDs"
    ] * 2


def test_contours_become_the_voxels_of_the_derived_masks(real_cases, lung_ct):
    case = real_cases / "fourd_lung_p4"
    for prompt in read_prompts(case / "rtstruct" / "1-1.dcm", [lung_ct]).prompts:
        mine = on_grid(prompt.shapes[0].volume, lung_ct.volume)
        theirs = nifti_on_grid(case / "derived_masks" / f"{prompt.label}.nii.gz", lung_ct)
        assert overlap(mine, theirs) > 0.99


@pytest.mark.parametrize("patient", ["STS_002", "STS_008", "STS_025"])
@pytest.mark.parametrize("modality", ["CT", "MR_T1", "PET"])
def test_dangling_references_are_matched_by_frame_of_reference_and_geometry(real_cases, patient, modality):
    case = real_cases / "ibsi_sts"
    images = load_series(case / "dicom" / patient / modality / "image")
    reading = read_prompts(case / "dicom" / patient / modality / "mask" / "RS.dcm", [images])
    assert reading.placements[0].by.startswith("frame of reference and geometry")
    mine = on_grid(reading.prompts[0].shapes[0].volume, images.volume)
    theirs = nifti_on_grid(case / "nifti_masks" / patient / f"{modality}_mask.nii.gz", images)
    assert overlap(mine, theirs) > 0.99


def test_the_phantom_patients_tumour_is_the_published_mask(real_cases):
    case = real_cases / "ibsi_ct_phantom"
    images = load_series(case / "dicom" / "image")
    (prompt,) = read_prompts(case / "dicom" / "mask" / "DCM_RS_00060.dcm", [images]).prompts
    mine = on_grid(prompt.shapes[0].volume, images.volume)
    theirs = nifti_on_grid(case / "nifti" / "mask" / "mask.nii.gz", images)
    assert overlap(mine, theirs) > 0.999


def test_a_structure_set_of_another_frame_of_reference_says_why_it_is_not_placed(real_cases, lung_ct):
    path = real_cases / "ibsi_sts" / "dicom" / "STS_002" / "CT" / "mask" / "RS.dcm"
    reading = read_prompts(path, [lung_ct])
    (problem,) = reading.problems
    assert (problem.item, problem.kind) == ("ROI 1 GTV_Mass_CT", ProblemKind.NOT_PLACED)
    assert "1.3.6.1.4.1.14519.5.2.1.5168.1900.114679355310645018817373178374" in problem.reason


def test_a_structure_set_of_a_made_up_frame_of_reference_is_not_placed_by_the_images_it_lists(real_cases):
    folder = real_cases / "ref_objects" / "rt_utils" / "mock_data"
    rules = LesionRules(always=frozenset({"ROI-1"}))
    (problem,) = read_prompts(folder / "rt.dcm", [load_series(folder, "ct_*")], rules=rules).problems
    assert problem.kind is ProblemKind.NOT_PLACED
    assert "although it lists images of" in problem.reason


def test_every_roi_has_the_voxels_whose_centres_its_contours_enclose(real_cases):
    folder = real_cases / "ref_objects" / "rt_utils" / "mock_data"
    images = load_series(folder, "ct_*")
    dataset = pydicom.dcmread(folder / "non_existent_reference_rt.dcm")
    names = frozenset(str(roi.ROIName) for roi in dataset.StructureSetROISequence)
    prompts = read_prompts(dataset, [images], rules=LesionRules(always=names)).prompts
    assert len(prompts) == len(names)
    for prompt, roi in zip(prompts, dataset.ROIContourSequence, strict=True):
        mine = on_grid(prompt.shapes[0].volume, images.volume)
        assert overlap(mine, points_in_contours(roi, images)) > 0.98


def points_in_contours(roi: Dataset, images: Images) -> np.ndarray:
    """The same by scikit-image, pixel by pixel."""
    whole = np.zeros(images.volume.shape, dtype=bool)
    centres = np.indices(images.volume.shape[1:]).reshape(2, -1).T
    for contour in roi.ContourSequence:
        index = images.volume.ijk(np.array(contour.ContourData, dtype=float).reshape(-1, 3))
        k = round(index[0, 0])
        if 0 <= k < images.volume.shape[0]:
            whole[k] ^= points_in_poly(centres, index[:, 1:]).reshape(whole[k].shape)
    return whole


# ---------------------------------------------------------------- phantoms


def structure_set(*contours: tuple[str, list[tuple[float, float, float]]], name: str = "GTV") -> Dataset:
    """One ROI in frame of reference 1.2.3.4, its contours (type, points in LPS mm)."""
    roi, entry, dataset = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, name, "1.2.3.4"
    entry.ReferencedROINumber, entry.ContourSequence = 1, []
    for kind, points in contours:
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
        contour.ContourData = [f"{value:.4f}" for point in points for value in point]
        entry.ContourSequence.append(contour)
    dataset.Modality, dataset.SOPInstanceUID = "RTSTRUCT", "1.2.3.66"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [roi], [entry]
    return dataset


def square(z: float, half_mm: float, centre: tuple[float, float] = (-85.0, 60.0)) -> tuple[str, list]:
    x, y = centre
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return "CLOSED_PLANAR", [(x + a * half_mm, y + b * half_mm, z) for a, b in corners]


def mask_of(dataset: Dataset, images: Images):
    (prompt,) = read_prompts(dataset, [images]).prompts
    (shape,) = prompt.shapes
    assert isinstance(shape, MaskPrompt)
    return shape.volume


PIXEL_MM2 = 0.8 * 0.5


@pytest.mark.parametrize(
    ("kinds", "area_mm2", "is_doubtful"),
    [
        (("CLOSED_PLANAR", "CLOSED_PLANAR"), 20.2**2, True),
        (("CLOSEDPLANAR_XOR", "CLOSEDPLANAR_XOR"), 20.2**2 - 8.2**2, False),
        (("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"), 20.2**2 - 8.2**2, False),
    ],
    ids=["plain", "XOR", "the inner one XOR"],
)
def test_a_contour_inside_another_is_a_hole_only_where_its_type_says_so(kinds, area_mm2, is_doubtful):
    outer, inner = square(-294, 10.1), square(-294, 4.1)
    reading = read_prompts(structure_set((kinds[0], outer[1]), (kinds[1], inner[1])), [phantom_images()])
    mask = reading.prompts[0].shapes[0].volume
    assert np.count_nonzero(mask.array) * PIXEL_MM2 == pytest.approx(area_mm2, rel=0.03)
    assert any("lies inside another one" in doubt for doubt in reading.doubts) is is_doubtful


def test_contours_that_overlap_add_up():
    mask = mask_of(
        structure_set(square(-294, 5.1, (-88.0, 60.0)), square(-294, 5.1, (-82.0, 60.0))), phantom_images()
    )
    assert np.count_nonzero(mask.array) * PIXEL_MM2 == pytest.approx(16.2 * 10.2, rel=0.05)


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
@pytest.mark.parametrize(
    "again",
    [
        lambda points: points,
        lambda points: points[2:] + points[:2],
        lambda points: points[::-1],
        lambda points: [*points, points[0]],
    ],
    ids=["as it is", "from another point on", "the other way round", "closed"],
)
def test_an_equal_contour_says_nothing_new(kind, again):
    _, points = square(-294, 6.1)
    once = mask_of(structure_set((kind, points)), phantom_images())
    twice = mask_of(structure_set((kind, points), (kind, again(points))), phantom_images())
    np.testing.assert_array_equal(twice.array, once.array)


def ball(
    heights: Sequence[float],
    radius_mm: float = 12.0,
    centre: tuple[float, float, float] = (-85.0, 60.0, -285.0),
) -> list[tuple[str, list]]:
    """The contours of a ball where planes at these heights (LPS z, mm) cut it."""
    x, y, z = centre
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    cuts = [(height, np.sqrt(max(radius_mm**2 - (height - z) ** 2, 0.01))) for height in heights]
    return [
        ("CLOSED_PLANAR", [(x + r * np.cos(a), y + r * np.sin(a), height) for a in angle])
        for height, r in cuts
    ]


BALL_MM3 = 4 / 3 * np.pi * 12.0**3


@pytest.mark.parametrize(
    ("heights", "tolerance"),
    [
        (np.arange(-297, -272, 3.0), 0.03),
        (np.arange(-295.5, -274, 3.0), 0.05),
        (np.arange(-297, -272, 1.0), 0.04),
        (np.arange(-296.25, -273, 1.5), 0.05),
        (np.arange(-294, -275, 6.0), 0.08),
        ((-294, -291, -282, -279, -276), 0.08),
    ],
    ids=["on slices", "between slices", "finer", "finer and off", "every second", "some skipped"],
)
def test_a_ball_keeps_its_volume_and_diameter_on_whichever_planes_it_is_drawn(heights, tolerance):
    images = phantom_images()
    mask = mask_of(structure_set(*ball(heights)), images)
    assert mask.spacing_mm == pytest.approx(images.volume.spacing_mm)
    corner = images.volume.ijk(mask.lps(np.zeros(3)))
    np.testing.assert_allclose(corner, np.round(corner), atol=1e-6)
    assert np.count_nonzero(mask.array) * mask.voxel_volume_mm3 == pytest.approx(BALL_MM3, rel=tolerance)
    widest = max(np.ptp(np.flatnonzero(plane.any(axis=0))) for plane in mask.array)
    assert widest * 0.5 == pytest.approx(24.0, abs=1.01)
    assert mask.array.any(axis=(1, 2)).all()


def test_slices_that_nobody_drew_are_interpolated_and_said():
    reading = read_prompts(structure_set(*ball((-294, -288, -285, -279))), [phantom_images()])
    assert any("2 undrawn slices between drawn ones are interpolated" in note for note in reading.notes)


def test_two_lesions_of_one_roi_are_not_joined_across_the_slices_between_them():
    low = ball(np.arange(-297, -290, 3.0), 4.0, (-85.0, 60.0, -294.0))
    high = ball(np.arange(-282, -275, 3.0), 4.0, (-85.0, 60.0, -279.0))
    reading = read_prompts(structure_set(*low, *high), [phantom_images()])
    mask = reading.prompts[0].shapes[0].volume
    drawn = mask.array.any(axis=(1, 2))
    heights = [round(float(mask.lps(np.array([k, 0, 0]))[2])) for k in np.flatnonzero(drawn)]
    assert heights == [-297, -294, -291, -282, -279, -276]
    assert not any("interpolated" in note for note in reading.notes)


def test_a_lesion_between_two_slices_is_not_lost():
    images = phantom_images()
    mask = mask_of(structure_set(square(-298.7, 3.1), square(-298.3, 3.1)), images)
    assert np.count_nonzero(mask.array) * PIXEL_MM2 == pytest.approx(6.2**2, rel=0.1)


def test_a_contour_beyond_the_images_is_left_out_and_the_others_count():
    drawn = [*ball(np.arange(-297, -272, 3.0)), square(-320, 6.0)]
    reading = read_prompts(structure_set(*drawn), [phantom_images()])
    mask = reading.prompts[0].shapes[0].volume
    assert np.count_nonzero(mask.array) * mask.voxel_volume_mm3 == pytest.approx(BALL_MM3, rel=0.03)
    (doubt,) = reading.doubts
    assert "1 of 10 contours lie beyond" in doubt


def test_a_contour_within_the_first_slices_half_thickness_is_on_that_slice():
    mask = mask_of(structure_set(square(-301.4, 6.0), square(-297, 6.0)), phantom_images())
    assert mask.lps(np.zeros(3))[2] == pytest.approx(-300.0)
    assert mask.array.any(axis=(1, 2)).tolist() == [True, True]


def test_all_items_of_one_roi_number_count():
    dataset = structure_set(*ball(np.arange(-297, -272, 3.0)))
    (entry,) = dataset.ROIContourSequence
    second = Dataset()
    second.ReferencedROINumber, second.ContourSequence = 1, entry.ContourSequence[4:]
    entry.ContourSequence = entry.ContourSequence[:4]
    dataset.ROIContourSequence.append(second)
    mask = mask_of(dataset, phantom_images())
    assert np.count_nonzero(mask.array) * mask.voxel_volume_mm3 == pytest.approx(BALL_MM3, rel=0.03)


def test_an_roi_in_which_nothing_is_drawn_is_no_doubt():
    dataset = structure_set(square(-294, 6.0))
    dataset.ROIContourSequence = []
    reading = read_prompts(dataset, [phantom_images()])
    assert (reading.prompts, reading.problems, reading.doubts) == ((), (), ())
    assert reading.notes == ("ROI 1 GTV: nothing is drawn in it",)


@pytest.mark.parametrize(("volume_cm3", "is_doubtful"), [(7.2, False), (0, False), (3.0, True), (7238, True)])
def test_a_stated_volume_that_the_contours_contradict_is_a_doubt(volume_cm3, is_doubtful):
    dataset = structure_set(*ball(np.arange(-297, -272, 3.0)))
    dataset.StructureSetROISequence[0].ROIVolume = volume_cm3
    reading = read_prompts(dataset, [phantom_images()])
    assert len(reading.prompts) == 1
    assert any("mm³ and what is drawn has" in doubt for doubt in reading.doubts) is is_doubtful


def test_a_contour_smaller_than_a_pixel_is_the_pixel_under_it():
    mask = mask_of(structure_set(square(-294, 0.1, (-90.1, 60.1))), phantom_images())
    assert np.count_nonzero(mask.array) == 1
    np.testing.assert_allclose(mask.lps(np.argwhere(mask.array))[0], (-90, 60, -294), atol=1e-6)


@pytest.mark.parametrize("turn", ["sagittal", "coronal", "oblique"])
def test_a_ball_drawn_across_the_slices_is_the_same_ball(turn):
    centre = np.array([-85.0, 60.0, -285.0])
    sine, cosine = np.sin(np.radians(30)), np.cos(np.radians(30))
    axes = {
        "sagittal": np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
        "coronal": np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]]),
        "oblique": np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]]),
    }[turn]  # fmt: skip
    drawn = [
        (kind, [tuple(centre + (np.array(point) - centre) @ axes) for point in points])
        for kind, points in ball(np.arange(-296, -273, 2.0))
    ]
    mask = mask_of(structure_set(*drawn), phantom_images())
    assert np.count_nonzero(mask.array) * mask.voxel_volume_mm3 == pytest.approx(BALL_MM3, rel=0.04)
    np.testing.assert_allclose(mask.lps(np.argwhere(mask.array)).mean(axis=0), centre, atol=0.5)


def test_contours_that_are_not_flat_stay_outlines_and_a_person_is_asked():
    bent = [(-85, 50, -299), (-80, 60, -299), (-85, 60, -280), (-95, 50, -280)]
    reading = read_prompts(structure_set(("CLOSED_PLANAR", bent)), [phantom_images()])
    assert [type(shape) for shape in reading.prompts[0].shapes] == [OutlinePrompt]
    assert any("given as outlines" in doubt for doubt in reading.doubts)


def test_points_and_lines_of_an_roi_are_points_and_lines():
    point, line = [(-85, 60, -294)], [(-90, 60, -294), (-80, 60, -294)]
    (prompt,) = read_prompts(
        structure_set(("POINT", point), ("OPEN_PLANAR", line)), [phantom_images()]
    ).prompts
    assert prompt.shapes == (
        PointPrompt(position_lps=(-85, 60, -294)),
        LinePrompt(start_lps=(-90, 60, -294), end_lps=(-80, 60, -294)),
    )


def test_contours_outside_the_images_say_so():
    (problem,) = read_prompts(structure_set(square(500, 6.0)), [phantom_images()]).problems
    assert (problem.kind, "lies outside all series" in problem.reason) == (ProblemKind.NOT_PLACED, True)


def test_of_two_series_in_one_frame_of_reference_the_one_whose_slices_fit_is_taken():
    shifted = phantom_images(origin=(-100, 40, -301.5), series_instance_uid="1.2.3.8")
    drawn_on = phantom_images(series_instance_uid="1.2.3.9")
    reading = read_prompts(structure_set(square(-294, 6.0), square(-291, 6.0)), [shifted, drawn_on])
    assert reading.placements[0].drawn_on.series_instance_uid == "1.2.3.9"


@pytest.mark.parametrize(
    ("contour", "pixels"),
    [
        ([(1, 1), (1, 4), (4, 4), (4, 1)], {(r, c) for r in (1, 2, 3) for c in (1, 2, 3)}),
        ([(0.5, 0.5), (0.5, 2.5), (2.5, 2.5), (2.5, 0.5)], {(1, 1), (1, 2), (2, 1), (2, 2)}),
        ([(1, 1), (1, 4), (4, 1)], {(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1)}),
    ],
    ids=["corners on centres: top and left count", "corners on edges", "triangle"],
)
def test_a_centre_on_the_contour_counts_on_the_top_and_left_only(contour, pixels):
    filled = fill([np.array(contour, dtype=float)], [], (6, 6))
    assert {(int(r), int(c)) for r, c in np.argwhere(filled)} == pixels


def test_neighbouring_contours_share_no_pixel():
    one = np.array([(0, 0), (0, 5), (5, 5), (5, 0)], dtype=float)
    other = one + np.array([0, 5])
    assert not (fill([one], [], (12, 12)) & fill([other], [], (12, 12))).any()


def test_a_plane_a_little_off_its_slice_is_that_slice_as_drawn():
    drawn = [square(z, half) for z, half in ((-294.5, 3.0), (-291.6, 7.0), (-288.4, 4.0))]
    exact = [square(z, half) for z, half in ((-294.0, 3.0), (-291.0, 7.0), (-288.0, 4.0))]
    off, on = (mask_of(structure_set(*contours), phantom_images()) for contours in (drawn, exact))
    np.testing.assert_array_equal(off.array, on.array)


@pytest.mark.parametrize("kind", ["OPEN_PLANAR", ""])
def test_a_contour_that_comes_back_to_where_it_began_is_closed_whatever_its_type(kind):
    _, points = square(-294, 6.1)
    mask = mask_of(structure_set((kind, [*points, points[0]])), phantom_images())
    assert np.count_nonzero(mask.array) * PIXEL_MM2 == pytest.approx(12.2**2, rel=0.05)


def test_contours_that_no_roi_describes_are_said():
    dataset = structure_set(square(-294, 6.0))
    stray = Dataset()
    stray.ReferencedROINumber, stray.ContourSequence = 7, dataset.ROIContourSequence[0].ContourSequence
    dataset.ROIContourSequence.append(stray)
    reading = read_prompts(dataset, [phantom_images()])
    assert len(reading.prompts) == 1
    assert any("ROI 7: contours are there and nothing says" in doubt for doubt in reading.doubts)


def test_one_number_for_two_names_is_a_doubt():
    dataset = structure_set(square(-294, 6.0))
    second = Dataset()
    second.ROINumber, second.ROIName = 1, "Lung"
    dataset.StructureSetROISequence.append(second)
    reading = read_prompts(dataset, [phantom_images()])
    assert [prompt.label for prompt in reading.prompts] == ["GTV"]
    assert any("its number is also that of 'Lung'" in doubt for doubt in reading.doubts)


def test_a_contour_that_leaves_the_images_at_the_side_is_cut_off_and_said():
    images = phantom_images()  # x from -100 to -68.5
    reading = read_prompts(structure_set(square(-294, 6.1, (-99.0, 60.0))), [images])
    mask = reading.prompts[0].shapes[0].volume
    assert np.count_nonzero(mask.array) * PIXEL_MM2 == pytest.approx(7.35 * 12.2, rel=0.05)
    assert any("leave series" in doubt and "cut off" in doubt for doubt in reading.doubts)
