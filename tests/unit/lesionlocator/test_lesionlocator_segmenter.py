"""The segmenter as a stage of the pipeline uses it: volumes and prompts in the patient, masks back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from models.lesionlocator import open_segmenter
from models.lesionlocator.inference import mirrorings
from models.lesionlocator.networks import ResidualEncoderUNet
from models.lesionlocator.orientation import Orientation
from models.lesionlocator.preprocessing import NetworkImage
from models.lesionlocator.prompts import Drawing, mask_to_network, masks_to_network
from models.lesionlocator.reading import box_of, draw
from workflow.domain.errors import ConfigurationError, UnsuitableInputError
from workflow.domain.geometry import Mask, Volume
from workflow.domain.lesion import (
    BoxPrompt,
    Flag,
    LesionPrompt,
    LinePrompt,
    MaskPrompt,
    OutlinePrompt,
    PointPrompt,
    PromptSource,
)
from workflow.ports import Segmenter


@pytest.fixture(scope="module")
def weights(fixtures, recipe, tmp_path_factory):
    return recipe.write_lesionlocator_checkpoint(
        tmp_path_factory.mktemp("seg"),
        fixtures / "lesionlocator",
        seed=1,
        folds=(0, 1),
        parts=("seg_box", "seg_point"),
    )


@pytest.fixture(scope="module")
def case(fixtures, parity):
    return lambda name: parity.load(fixtures / "lesionlocator" / "open" / f"{name}.npz")


def volume_of(scan) -> Volume:
    """A fixture's scan, axial, somewhere in the patient."""
    affine = np.zeros((4, 4))
    for k, (axis, mm) in enumerate(zip((2, 1, 0), scan["spacing_zyx"], strict=True)):
        affine[axis, k] = mm
    affine[:, 3] = (-63.7, 20.1, 411.3, 1)
    return Volume(array=scan["image"], affine=affine)


def prompt(*shapes) -> LesionPrompt:
    return LesionPrompt(shapes=shapes, source=PromptSource.READER)


def prompts_of(case, volume) -> list[LesionPrompt]:
    """The prompts of a case, voxel indices, as a reader's in mm."""
    found = []
    for given in case["meta"]["prompts"].values():
        if "point" in given:
            point = volume.lps(np.array(given["point"], dtype=float))
            found.append(prompt(PointPrompt(position_lps=tuple(point))))
        else:
            z0, z1, y0, y1, x0, x1 = (int(v) for v in given["box"])
            faces = volume.lps(np.array([[z0, y0, x0], [z1, y1, x1]]) - 0.5)
            found.append(prompt(box_prompt(faces)))
    return found


def box_prompt(corners) -> BoxPrompt:
    return BoxPrompt(minimum_lps=tuple(corners.min(axis=0)), maximum_lps=tuple(corners.max(axis=0)))


def expected_masks(case, parity):
    shape = case["meta"]["original_shape"]
    return [parity.unpack(case[f"L{les['id']}_mask_bits"], shape) for les in case["meta"]["lesions"]]


@pytest.mark.parametrize("name", ["seg_std_point", "seg_aniso_box", "seg_crop_point", "seg_crop_box"])
def test_prompts_in_mm_give_upstreams_masks(name, case, weights, parity):
    loaded = case(name)
    volume = volume_of(loaded["volume"])
    segmenter = open_segmenter(weights, folds=[0], device="cpu", clean_up=False)
    assert isinstance(segmenter, Segmenter)
    found = segmenter.segment(volume, prompts_of(loaded, volume))
    for lesion, expected in zip(found, expected_masks(loaded, parity), strict=True):
        different = (lesion.mask.array() != expected).sum()
        assert different <= parity.TOL["seg_mask_fraction"] * expected.sum()
        assert 0 < lesion.confidence <= 1
        assert lesion.model.weights_sha256 is not None


def turned(volume, order, flips) -> Volume:
    """The same voxels at the same places, stored along other axes."""
    stored = Orientation(order=order, reverse=flips, shape=volume.shape).view(volume)
    return Volume(array=np.ascontiguousarray(stored.array), affine=stored.affine)


@pytest.mark.parametrize(
    ("order", "flips"), [((2, 0, 1), (False, False, False)), ((0, 1, 2), (True, False, True))]
)
def test_a_volume_stored_along_other_axes_gives_the_same_lesion(order, flips, case, weights):
    loaded = case("seg_small_box")
    volume = volume_of(loaded["volume"])
    segmenter = open_segmenter(weights, folds=[0], device="cpu", clean_up=False)
    shown = prompts_of(loaded, volume)[:1]
    (upright,) = segmenter.segment(volume, shown)
    other = turned(volume, order, flips)
    (found,) = segmenter.segment(other, shown)
    assert found.mask.shape == other.shape
    brought_back = Orientation(order=order, reverse=flips, shape=volume.shape).mask_from_view(found.mask)
    assert np.array_equal(brought_back.array(), upright.mask.array())


def test_a_weight_changed_by_a_percent_is_seen_in_the_mask(case, fixtures, recipe, parity, tmp_path):
    loaded = case("seg_small_box")
    folder = recipe.write_lesionlocator_checkpoint(
        tmp_path, fixtures / "lesionlocator", seed=1, folds=(0,), parts=("seg_box",)
    )
    path = folder / "LesionLocatorSeg/bbox_optimized/fold_0/checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["network_weights"]["decoder.transpconvs.4.weight"] *= 1.01
    torch.save(checkpoint, path)
    volume = volume_of(loaded["volume"])
    segmenter = open_segmenter(folder, device="cpu", clean_up=False)
    (found, _) = segmenter.segment(volume, prompts_of(loaded, volume))
    assert (found.mask.array() != expected_masks(loaded, parity)[0]).any()


def test_each_fold_and_mirroring_costs_one_pass_per_lesion(case, weights, monkeypatch):
    passes = []
    monkeypatch.setattr(ResidualEncoderUNet, "forward", lambda net, x: passes.append(len(x)) or x)
    loaded = case("seg_small_box")
    volume = volume_of(loaded["volume"])
    shown = prompts_of(loaded, volume)
    for folds, mirror, expected in (([0], False, 2), ([0, 1], False, 4), ([1], True, 16)):
        passes.clear()
        open_segmenter(weights, folds=folds, mirror=mirror, device="cpu").segment(volume, shown)
        assert sum(passes) == expected
    assert len(mirrorings((0, 1, 2))) == 8


def test_many_lesions_keep_their_order_and_progress_never_goes_back(small, weights, monkeypatch):
    monkeypatch.setattr(ResidualEncoderUNet, "forward", lambda net, x: x)
    places = np.array([(4, 20 + k, 20 + k) for k in range(20)])
    shown = [prompt(PointPrompt(position_lps=tuple(small.lps(place)))) for place in places]
    shares = []
    found = open_segmenter(weights, folds=[0], device="cpu").segment(
        small, shown, progress=lambda share, what: shares.append(share)
    )
    assert [lesion.index for lesion in found] == list(range(20))
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_lesions_that_go_through_together_are_those_that_go_through_alone(case, weights):
    loaded = case("seg_small_box")
    volume = volume_of(loaded["volume"])
    shown = prompts_of(loaded, volume)
    one, two = (
        open_segmenter(weights, folds=[0], device="cpu", clean_up=False, batch=n).segment(volume, shown)
        for n in (1, 2)
    )
    for alone, together in zip(one, two, strict=True):
        assert (alone.mask.array() != together.mask.array()).mean() < 1e-4


# ---------------------------------------------------------------- prompts


@pytest.fixture(scope="module")
def small(case):
    return volume_of(case("seg_small_box")["volume"])


def drawn(shape, volume, weights, drawing=Drawing.BOX):
    from models.lesionlocator.checkpoints import Part, open_checkpoint

    plan = open_checkpoint(weights, Part.BOX, [0]).plan
    image = NetworkImage.of(volume.array, volume.spacing_mm, plan)
    return draw(0, prompt(shape), volume, image, drawing), image


def test_a_line_becomes_a_box_around_the_lesion_it_measures(small, weights):
    ends = small.lps(np.array([[4, 20, 20], [4, 20, 40]]))
    start, stop = box_of(prompt(LinePrompt(start_lps=tuple(ends[0]), end_lps=tuple(ends[1]))), small)
    assert (start[2], stop[2]) == (20, 41)  # as long as the line
    assert (start[1], stop[1]) == (10, 31)  # as wide as long: the short axis is not known
    # 10 mm up and down from slice 4, in slices of 3 mm.
    assert (start[0], stop[0]) == (1, 8)


def test_an_outline_becomes_the_box_that_holds_it(small):
    corners = small.lps(np.array([[4, 20, 20], [4, 20, 40], [4, 30, 40], [4, 30, 20]]))
    outline = OutlinePrompt(points_lps=tuple(tuple(p) for p in corners))
    start, stop = box_of(prompt(outline), small)
    assert (start[1], stop[1], start[2], stop[2]) == (20, 31, 20, 41)


def test_a_mask_is_drawn_as_its_box_or_as_a_ball_at_its_middle(small, weights):
    voxels = np.zeros(small.shape, dtype=bool)
    voxels[3:6, 20:30, 25:37] = True
    shape = MaskPrompt(volume=small.with_array(voxels))
    box, image = drawn(shape, small, weights)
    assert box.voxel_count == np.prod(np.subtract(box.stop_ijk, box.start_ijk))
    ball, _ = drawn(shape, small, weights, Drawing.POINT)
    middle = image.index_on_scan(ball.centroid_ijk())
    assert np.allclose(middle, (4, 24.5, 30.5), atol=1)


def test_a_mask_too_thin_for_the_networks_grid_still_shows_its_place(small, weights):
    voxels = np.zeros(small.shape, dtype=bool)
    voxels[4, 25, 30] = True
    box, image = drawn(MaskPrompt(volume=small.with_array(voxels)), small, weights)
    assert not box.is_empty
    assert np.allclose(image.index_on_scan(box.centroid_ijk()), (4, 25, 30), atol=1)


def test_touching_lesions_share_no_voxel_and_overlapping_ones_lose_none(small, weights):
    _, image = drawn(PointPrompt(position_lps=(-30, 50, 420)), small, weights, Drawing.POINT)

    def block(*box):
        voxels = np.zeros(small.shape, dtype=bool)
        voxels[tuple(slice(*ends) for ends in box)] = True
        return Mask.from_array(voxels)

    left, right = block((2, 7), (10, 30), (10, 30)), block((2, 7), (10, 30), (30, 41))
    across = block((2, 7), (10, 30), (20, 41))
    one, other = (m.array() for m in masks_to_network([left, right], image))
    assert not (one & other).any()
    for mask, moved in zip((left, across), masks_to_network([left, across], image), strict=True):
        assert np.array_equal(moved.array(), mask_to_network(mask, image).array())


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ([PointPrompt(position_lps=(0.0, 0.0, 0.0))], "prompt 0 lies outside the volume"),
        ([BoxPrompt(minimum_lps=(900, 0, 0), maximum_lps=(901, 1, 1))], "lies outside the volume"),
        (
            [
                PointPrompt(position_lps=(-30, 50, 420)),
                PointPrompt(position_lps=(-30, 50, 421), is_positive=False),
            ],
            "negative point",
        ),
    ],
)
def test_a_prompt_that_cant_be_used_is_refused_with_its_number(shapes, reason, small, weights):
    with pytest.raises(UnsuitableInputError, match=reason):
        open_segmenter(weights, folds=[0], device="cpu").segment(small, [prompt(*shapes)])


def test_a_bare_point_needs_the_point_weights(small, weights):
    segmenter = open_segmenter(weights, prompt_kind="box", folds=[0], device="cpu")
    with pytest.raises(UnsuitableInputError, match="point_optimized"):
        segmenter.segment(small, [prompt(PointPrompt(position_lps=(-30, 50, 420)))])


def test_a_volume_without_an_image_or_without_numbers_is_refused(small, weights):
    segmenter = open_segmenter(weights, folds=[0], device="cpu")
    shown = [prompt(PointPrompt(position_lps=(-30, 50, 420)))]
    with pytest.raises(UnsuitableInputError, match="every voxel"):
        segmenter.segment(small.with_array(np.zeros(small.shape)), shown)
    broken = small.array.astype(float)
    broken[1, 2, 3] = np.nan
    with pytest.raises(UnsuitableInputError, match=r"no number at voxel \(1, 2, 3\)"):
        segmenter.segment(small.with_array(broken), shown)


def test_no_prompts_give_no_lesions(small, weights):
    assert open_segmenter(weights, folds=[0], device="cpu").segment(small, []) == []


def test_a_mask_at_the_border_of_the_view_or_of_the_volume_is_flagged(case, weights):
    loaded = case("seg_corner_point")
    volume = volume_of(loaded["volume"])
    # Random weights fill the whole window with speckle, and this one lies in a corner of the volume.
    (found,) = open_segmenter(weights, folds=[0], device="cpu", clean_up=False).segment(
        volume, prompts_of(loaded, volume)[:1]
    )
    assert {Flag.TOUCHES_PATCH_BORDER, Flag.TRUNCATED_AT_VOLUME_END} <= found.flags


def test_an_empty_result_is_flagged_and_has_no_confidence(small, weights, monkeypatch):
    monkeypatch.setattr(ResidualEncoderUNet, "forward", lambda net, x: torch.zeros_like(x))
    shown = [prompt(PointPrompt(position_lps=(-30, 50, 420)))]
    (found,) = open_segmenter(weights, folds=[0], device="cpu").segment(small, shown)
    assert found.mask.is_empty
    assert Flag.EMPTY in found.flags
    assert found.confidence == 0


def test_clean_up_leaves_one_lesion_without_holes(small, weights):
    shown = [prompt(PointPrompt(position_lps=(-30, 50, 420)))]
    raw, cleaned = (
        open_segmenter(weights, folds=[0], device="cpu", clean_up=on).segment(small, shown)[0]
        for on in (False, True)
    )
    assert label(raw.mask.array(), np.ones((3, 3, 3)))[1] > 1
    assert label(cleaned.mask.array(), np.ones((3, 3, 3)))[1] == 1


def test_the_identity_names_all_that_decides_the_result(weights):
    box = open_segmenter(weights, prompt_kind="box", folds=[0], device="cpu").identity
    other = open_segmenter(weights, prompt_kind="box", folds=[1], device="cpu").identity
    assert box.weights_sha256 != other.weights_sha256
    both = open_segmenter(weights, folds=[0], device="cpu").identity
    assert len({both.weights_sha256, box.weights_sha256, other.weights_sha256}) == 3
    assert both.parameters["network"] == "LesionLocatorSeg/bbox_optimized LesionLocatorSeg/point_optimized"
    assert box.parameters["folds"] == "0"
    assert box.parameters["resampling"] == "default"
    assert box.parameters["precision"] == "float32"


def test_weights_of_the_wanted_kind_must_be_there(weights, tmp_path):
    (tmp_path / "LesionLocatorTrack").mkdir()
    with pytest.raises(ConfigurationError, match="holds no LesionLocatorSeg"):
        open_segmenter(tmp_path, device="cpu")
