"""The weight-free segmenter on phantoms: every prompt kind, any grid, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from models.weight_free import open_segmenter
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Mask, Volume, dice
from workflow.domain.lesion import (
    BoxPrompt,
    Flag,
    LesionPrompt,
    LinePrompt,
    MaskPrompt,
    OutlinePrompt,
    PointPrompt,
    PromptShape,
    PromptSource,
)
from workflow.domain.measurement import measure

CENTRE = np.array([12.0, -30.0, 250.0])
RADII = np.array([11.0, 8.0, 7.0])


def lung_with_lesion(
    *, spacing_mm=(1.5, 1.0, 1.0), turn: np.ndarray | None = None, is_ct: bool = True
) -> tuple[Volume, Mask]:
    """A lesion at CENTRE on a vessel that runs to the chest wall, on a grid that may be turned; its mask."""
    shape = np.ceil(np.array([60.0, 72.0, 72.0]) / spacing_mm).astype(int)
    affine = np.eye(4)
    axes = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ axes * np.asarray(spacing_mm)
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((shape - 1) / 2)
    parts = 3  # each voxel is the mean of 27 points, as a scanner averages
    steps = (np.arange(parts) - (parts - 1) / 2) / parts
    index = np.moveaxis(np.indices(tuple(shape)), 0, -1).astype(float)
    total = np.zeros(tuple(shape))
    for offset in np.array(np.meshgrid(steps, steps, steps)).reshape(3, -1).T:
        where = (index + offset) @ affine[:3, :3].T + affine[:3, 3]
        local = where - CENTRE
        tissue = np.linalg.norm(local / RADII, axis=-1) <= 1
        vessel = np.hypot(local[..., 1] - 0.2 * local[..., 0], local[..., 2]) < 1.8
        total += tissue | vessel | (local[..., 0] > 20)
    share = total / parts**3
    image = -850 + share * 890 if is_ct else 200 + share * 600
    noise = np.random.default_rng(5).normal(0, 20, image.shape)
    local = index @ affine[:3, :3].T + affine[:3, 3] - CENTRE
    mask = Mask.from_array(np.linalg.norm(local / RADII, axis=-1) <= 1)
    return Volume(array=(image + noise).astype(np.float32), affine=affine), mask


def prompt(*shapes: PromptShape, source: PromptSource = PromptSource.READER) -> LesionPrompt:
    return LesionPrompt(shapes=shapes, source=source)


def at(x: float, y: float, z: float) -> tuple[float, float, float]:
    a, b, c = (float(value) for value in np.add(CENTRE, (x, y, z)))
    return a, b, c


ANGLES = np.linspace(0, 2 * np.pi, 40, endpoint=False)
PROMPTS: dict[str, PromptShape] = {
    "point": PointPrompt(position_lps=at(1, 1, 0)),
    "line": LinePrompt(start_lps=at(-10.5, 0, 0), end_lps=at(10.5, 0, 0)),
    "both axes": LinePrompt(
        start_lps=at(-10.5, 0, 0), end_lps=at(10.5, 0, 0), short_axis_lps=(at(0, -7.5, 0), at(0, 7.5, 0))
    ),
    "box": BoxPrompt(minimum_lps=at(-11, -8, -7), maximum_lps=at(11, 8, 7)),
    "outline": OutlinePrompt(points_lps=tuple(at(11 * np.cos(a), 8 * np.sin(a), 0) for a in ANGLES)),
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_every_kind_of_prompt_finds_the_lesion_and_leaves_vessel_and_wall(kind):
    volume, truth = lung_with_lesion()
    (found,) = open_segmenter().segment(volume, [prompt(PROMPTS[kind])])
    assert dice(found.mask, truth) > 0.85
    assert measure(volume, found.mask).long_axis.length_mm == pytest.approx(
        22, abs=2.5
    )  # the vessel leaves at its ends
    assert found.confidence > 0.7


def turned(degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return about_x @ about_z


@pytest.mark.parametrize(
    ("spacing_mm", "turn", "is_ct"),
    [
        ((4.0, 0.9, 0.9), None, True),
        ((1.5, 1.5, 1.0), turned(35), True),
        ((2.0, 1.2, 1.2), np.diag([-1.0, 1.0, -1.0]), False),
    ],
    ids=["thick slices", "oblique", "MR, axes reversed"],
)
def test_the_grid_makes_no_difference(spacing_mm, turn, is_ct):
    volume, truth = lung_with_lesion(spacing_mm=spacing_mm, turn=turn, is_ct=is_ct)
    (found,) = open_segmenter().segment(volume, [prompt(PROMPTS["both axes"])])
    assert dice(found.mask, truth) > 0.8


def test_a_mask_that_a_reader_drew_is_taken_as_it_is():
    volume, _ = lung_with_lesion()
    drawn = np.zeros(volume.shape, dtype=bool)
    drawn[20, 30:33, 30:36] = True
    (found,) = open_segmenter().segment(
        volume, [prompt(MaskPrompt(volume=volume.with_array(drawn)), source=PromptSource.SEGMENTATION)]
    )
    np.testing.assert_array_equal(found.mask.array(), drawn)
    assert found.confidence == 1.0


def test_a_mask_from_a_prior_is_a_hint_that_is_drawn_anew():
    volume, truth = lung_with_lesion()
    moved = np.roll(truth.array(), (1, 2, -2), axis=(0, 1, 2))
    (found,) = open_segmenter().segment(
        volume, [prompt(MaskPrompt(volume=volume.with_array(moved)), source=PromptSource.PRIOR)]
    )
    assert dice(found.mask, truth) > max(0.85, dice(Mask.from_array(moved), truth))


def test_a_point_beside_the_lesion_takes_that_place_out():
    volume, _ = lung_with_lesion()
    beside = PointPrompt(position_lps=at(8, 0, 0), is_positive=False)
    (found,) = open_segmenter().segment(volume, [prompt(PROMPTS["box"], beside)])
    i, j, k = np.round(volume.ijk(np.asarray(beside.position_lps))).astype(int)
    assert not found.mask.array()[i, j, k]
    assert not found.mask.is_empty


def test_lesions_that_touch_are_flagged_and_others_are_not():
    volume, _ = lung_with_lesion()
    left = BoxPrompt(minimum_lps=at(-11, -8, -7), maximum_lps=at(0.6, 8, 7))
    right = BoxPrompt(minimum_lps=at(-0.6, -8, -7), maximum_lps=at(11, 8, 7))
    found = open_segmenter().segment(volume, [prompt(left), prompt(right)])
    assert all(Flag.TOUCHES_NEIGHBOUR in one.flags for one in found)
    assert [one.index for one in found] == [0, 1]
    (alone,) = open_segmenter().segment(volume, [prompt(left)])
    assert Flag.TOUCHES_NEIGHBOUR not in alone.flags


def test_a_lesion_at_the_last_slice_is_flagged_as_cut_off():
    volume, truth = lung_with_lesion()
    half = volume.crop((int(truth.centroid_ijk()[0]), 0, 0), volume.shape)
    (found,) = open_segmenter().segment(half, [prompt(PROMPTS["box"])])
    assert Flag.TRUNCATED_AT_VOLUME_END in found.flags


def test_the_same_call_gives_the_same_voxels():
    volume, _ = lung_with_lesion()
    one, other = (open_segmenter().segment(volume, [prompt(PROMPTS["line"])])[0] for _ in range(2))
    np.testing.assert_array_equal(one.mask.voxels, other.mask.voxels)
    assert one.mask.start_ijk == other.mask.start_ijk
    assert one.confidence == other.confidence


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (PointPrompt(position_lps=at(500, 0, 0)), "outside the volume"),
        (BoxPrompt(minimum_lps=at(400, 0, 0), maximum_lps=at(420, 9, 9)), "outside the volume"),
        (PointPrompt(position_lps=at(0, 0, 0), is_positive=False), "only points beside"),
    ],
)
def test_a_prompt_that_shows_nothing_in_the_volume_is_refused(shape, words):
    volume, _ = lung_with_lesion()
    with pytest.raises(UnsuitableInputError, match=words):
        open_segmenter().segment(volume, [prompt(shape)])


def test_an_empty_mask_is_refused():
    volume, _ = lung_with_lesion()
    empty = MaskPrompt(volume=volume.with_array(np.zeros(volume.shape, dtype=bool)))
    with pytest.raises(UnsuitableInputError, match="mask prompt is empty"):
        open_segmenter().segment(volume, [prompt(empty)])


def test_the_identity_names_every_parameter():
    identity = open_segmenter(appearance_weight=0.5).identity
    assert identity.parameters["appearance_weight"] == "0.5"
    assert identity.weights_sha256 is None


def test_a_loose_box_holds_neither_lung_nor_the_rib_that_it_takes_in():
    volume, truth = lung_with_lesion(spacing_mm=(2.0, 1.0, 1.0))
    image = volume.array.copy()
    positions = volume.lps(np.moveaxis(np.indices(volume.shape), 0, -1))
    rib = positions[..., 1] > CENTRE[1] + 8.5
    image[rib] = 700
    box = BoxPrompt(minimum_lps=at(-14, -11, -10), maximum_lps=at(14, 11, 10))
    (found,) = open_segmenter().segment(volume.with_array(image), [prompt(box)])
    values = image[found.mask.array()]
    assert np.mean(values < -405) == 0.0  # half of the way from the lesion to lung
    assert not (found.mask.array() & rib).any()
    assert dice(found.mask, truth) > 0.85


def test_ground_glass_in_lung_is_a_lesion_and_not_lung():
    volume, truth = lung_with_lesion(spacing_mm=(2.0, 1.0, 1.0))
    glass = volume.with_array((-850 + (volume.array + 850) * 0.25).astype(np.float32))  # -630 HU
    (found,) = open_segmenter().segment(glass, [prompt(PROMPTS["box"])])
    assert dice(found.mask, truth) > 0.7
