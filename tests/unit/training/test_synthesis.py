"""Synthetic lesions: repeatable, as varied in shape as real ones, and visible."""

from __future__ import annotations

import numpy as np
import pytest

from models.open_lesion.encoding import CHANNELS, SIDE, PromptCode
from models.training import shapes
from models.training.backgrounds import Look, Scan
from models.training.config import SynthesisConfig
from models.training.synthesis import make_sample
from workflow.domain.geometry import Volume

BOXES = SynthesisConfig(prompt_shares=(0, 0, 0, 1, 0, 0))


@pytest.fixture(scope="module")
def scan():
    """A body of 60 HU with noise of 12 HU in air."""
    rng = np.random.default_rng(0)
    array = np.full((24, 60, 60), -1000.0)
    array[:, 8:52, 8:52] = 60
    array += rng.normal(0, 12, array.shape)
    return Scan.of(Volume(array=array.astype(np.float32), affine=np.diag([4.0, 2.0, 2.0, 1.0])), Look.CT)


@pytest.fixture(scope="module")
def boxed():
    return [make_sample(BOXES, [], 7, number) for number in range(60)]


def box_fill(label):
    found = np.argwhere(label > 0.5)
    return (label > 0.5).sum() / np.prod(found.max(axis=0) - found.min(axis=0) + 1)


def test_a_number_gives_the_same_sample_and_another_number_or_seed_another_one():
    one, again, next_, other = (
        make_sample(SynthesisConfig(), [], seed, number) for seed, number in ((1, 4), (1, 4), (1, 5), (2, 4))
    )
    assert np.array_equal(one.patch, again.patch)
    assert np.array_equal(one.label, again.label)
    assert not np.array_equal(one.image, next_.image)
    assert not np.array_equal(one.image, other.image)


def test_lesions_fill_their_boxes_as_little_and_as_differently_as_real_ones(boxed):
    # 77 real lesions: 0.40 +- 0.10, from 0.11 to 0.65.
    fills = np.array([box_fill(one.label) for one in boxed])
    assert 0.33 < fills.mean() < 0.5
    assert fills.std() > 0.08
    assert fills.min() < 0.25
    assert np.median(fills) < np.pi / 6  # less than an ellipsoid along the axes


def test_most_lesions_differ_from_what_touches_them(boxed):
    from scipy import ndimage

    seen = 0
    for one in boxed:
        mask = one.label > 0.5
        shell = ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_dilation(mask)
        apart = abs(np.median(one.image[mask]) - np.median(one.image[shell]))
        seen += apart > 0.5 * one.image[shell].std()
    assert seen > 0.6 * len(boxed)


def test_every_prompt_and_every_look_comes_up():
    made = [make_sample(SynthesisConfig(), [], 3, number) for number in range(80)]
    assert {one.code for one in made} == set(PromptCode)
    assert {one.look for one in made} == set(Look)
    assert all(one.patch.shape == (len(CHANNELS), SIDE, SIDE, SIDE) for one in made)
    assert all(np.isfinite(one.patch).all() for one in made)


def test_a_click_is_in_the_lesion_and_its_patch_may_be_too_small_for_it():
    clicks = SynthesisConfig(prompt_shares=(1, 0, 0, 0, 0, 0))
    made = [make_sample(clicks, [], 5, number) for number in range(40)]
    for one in made:
        marked = one.patch[CHANNELS.index("clicks in the lesion")]
        assert one.label[np.unravel_index(marked.argmax(), marked.shape)] > 0.3
    assert any(one.whole_voxels > 1.1 * one.label.sum() for one in made)
    assert any(one.label.sum() < 0.02 * one.label.size for one in made)


def test_a_real_scan_lends_its_tissue_and_its_coarseness(scan):
    config = SynthesisConfig(share_real=1.0, prompt_shares=(0, 0, 0, 1, 0, 0), diameters_mm=(4, 12))
    made = [make_sample(config, [scan], 1, number) for number in range(10)]
    assert all(one.look is Look.CT for one in made)
    # Its slices of 4 mm, stretched by 0.8 at least, can't show lesions of 4 mm.
    assert all(one.diameter_mm > 4 for one in made)
    middles = [np.median(one.image[one.label == 0]) for one in made]
    assert np.median(middles) == pytest.approx(60, abs=30)


def test_a_scan_without_a_body_is_refused():
    with pytest.raises(ValueError, match="no body"):
        Scan.of(Volume(array=np.zeros((5, 20, 20), dtype=np.float32), affine=np.eye(4)), Look.CT)


@pytest.mark.parametrize("family", list(shapes.Family))
def test_each_family_has_an_inside_about_as_large_as_asked(family):
    sizes = []
    for seed in range(8):
        level = shapes.draw(np.random.default_rng(seed), family, 10.0)
        at = np.linspace(-25, 25, 40, dtype=np.float32)
        positions = np.stack(np.meshgrid(at, at, at, indexing="ij"), axis=-1).reshape(-1, 3)
        sizes.append(((level(positions) > 0).mean() * 50.0**3 * 3 / (4 * np.pi)) ** (1 / 3))
    assert 5 < np.mean(sizes) < 13


def test_a_scan_that_ends_in_the_patch_shows_its_last_slice_on_and_no_lesion_there():
    from models.training.synthesis import _ended

    image = np.random.default_rng(0).normal(size=(SIDE,) * 3).astype(np.float32)
    label = np.zeros_like(image)
    label[4:28, 8:24, 8:24] = 1
    ended = 0
    for seed in range(40):
        shown, kept, lost = _ended(np.random.default_rng(seed), image, label)
        assert lost == label.sum() - kept.sum()
        assert kept.sum() >= 0.7 * label.sum()
        beyond = np.abs(np.diff(shown, axis=0)).max(axis=(1, 2)) == 0
        ended += bool(beyond.any())
        # Where the last slice goes on, the lesion does not.
        assert not any(kept[i].any() and kept[i + 1].any() for i in np.flatnonzero(beyond))
    assert ended > 2
