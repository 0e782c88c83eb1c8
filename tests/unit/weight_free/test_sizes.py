"""The size of a clicked lesion is the one that the image bears out, and doubt about it is said."""

from __future__ import annotations

import numpy as np
import pytest

from models.weight_free import open_segmenter
from models.weight_free.calibration import expected_dice, is_steady
from models.weight_free.patch import cut_patch
from models.weight_free.sizes import edge_strength
from workflow.domain.geometry import Mask, Volume, dice
from workflow.domain.lesion import Flag, LesionPrompt, PointPrompt, PromptSource

SHAPE = (50, 64, 64)


def scene(radius: float, *, contrast: float = 60.0) -> tuple[Volume, Mask]:
    """A ball in tissue of the same texture, voxels of 1.5 mm, noise of 12."""
    index = np.moveaxis(np.indices(SHAPE), 0, -1) * 1.5
    inside = np.linalg.norm(index - np.array(SHAPE) * 0.75, axis=-1) <= radius
    noise = np.random.default_rng(2).normal(0, 12, SHAPE)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = 1.5
    affine[3, 3] = 1
    image = 100 + contrast * inside + noise
    return Volume(array=image.astype(np.float32), affine=affine), Mask.from_array(inside)


def clicked(volume: Volume, offset_mm: float = 0.0):
    z, y, x = np.array(SHAPE) * 0.75
    click = PointPrompt(position_lps=(float(x) + offset_mm, float(y), float(z)))
    return open_segmenter().segment(volume, [LesionPrompt(shapes=(click,), source=PromptSource.READER)])[0]


@pytest.mark.parametrize("radius", [7.0, 12.0, 20.0])
@pytest.mark.parametrize("offset_share", [0.0, 0.4])
def test_a_homogeneous_mass_is_found_whole_and_not_as_a_blob_in_it(radius, offset_share):
    volume, truth = scene(radius)
    found = clicked(volume, offset_share * radius)
    assert dice(found.mask, truth) > 0.85
    assert found.confidence > 0.6
    assert Flag.LOW_CONFIDENCE not in found.flags


def test_a_core_within_a_rim_is_said_to_be_of_uncertain_size():
    volume, _ = scene(25.0, contrast=20.0)
    index = np.moveaxis(np.indices(SHAPE), 0, -1) * 1.5
    core = np.linalg.norm(index - np.array(SHAPE) * 0.75, axis=-1) <= 10.0
    found = clicked(volume.with_array(volume.array + 60 * core.astype(np.float32)))
    assert Flag.SIZE_UNCERTAIN in found.flags


def test_a_click_on_nothing_is_of_low_confidence():
    volume, _ = scene(10.0, contrast=0.0)
    assert Flag.LOW_CONFIDENCE in clicked(volume).flags


def test_an_edge_on_every_side_is_strong_and_one_open_side_makes_it_weak():
    volume, truth = scene(12.0)
    low, high = np.zeros(3), volume.lps(np.array(SHAPE) - 1)
    patch = cut_patch(volume, low, high, largest_voxel_count=10**6)
    body = patch.of_mask(truth)
    assert body.sum() == truth.voxel_count
    half = body.copy()
    half[:, :, SHAPE[2] // 2 :] = False
    assert edge_strength(patch, body) > 1.0
    assert edge_strength(patch, half) < 0.5 * edge_strength(patch, body)


def test_a_result_that_depends_on_the_prompt_or_has_no_edge_is_expected_to_be_worse():
    assert expected_dice(0.95, 1.5) > expected_dice(0.85, 1.5) > expected_dice(0.85, 0.0)
    assert is_steady(0.95, 0.0)
    assert not is_steady(0.83, 0.0)
    assert 0.0 <= expected_dice(0.0, 0.0) <= expected_dice(1.0, 9.0) <= 1.0
