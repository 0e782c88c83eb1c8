"""The checkpoint that comes with the package."""

from __future__ import annotations

import numpy as np
import pytest

from models import registry
from models.training.evaluation import Case
from models.training.prompting import PromptKind, prompt_of
from models.weights import sha256_of
from workflow.domain.geometry import Mask, Volume, affine_from_axes, dice

ENTRY = registry.entry("open-lesion")


@pytest.fixture(scope="module")
def segmenter():
    return registry.open_segmenter("open-lesion", device="cpu")


@pytest.fixture(scope="module")
def nodule():
    """A lobulated nodule of 30 HU in lung of -850 HU, 1.5 x 0.7 x 0.7 mm."""
    affine = affine_from_axes(
        origin_lps=(0.0, 0.0, 0.0),
        slice_step=(0.0, 0.0, 1.5),
        row_step=(0.0, 0.7, 0.0),
        column_step=(0.7, 0.0, 0.0),
    )
    shape = (32, 70, 70)
    places = np.moveaxis(np.indices(shape), 0, -1) * [1.5, 0.7, 0.7]
    mask = np.zeros(shape, dtype=bool)
    for middle, radius in (((24, 24, 24), 8.0), ((27, 30, 22), 6.0), ((20, 22, 30), 5.0)):
        mask |= np.linalg.norm(places - np.array(middle), axis=-1) < radius
    image = np.where(mask, 30, -850) + np.random.default_rng(0).normal(0, 25, shape)
    volume = Volume(array=image.astype(np.float32), affine=affine)
    return Case(name="nodule", patient="A", modality="CT", volume=volume, mask=Mask.from_array(mask))


def test_its_digest_is_the_catalogues_and_it_is_small():
    file = registry.bundled_weights(ENTRY)
    assert file is not None
    assert sha256_of(file) == ENTRY.weights[0].sha256
    assert file.stat().st_size == ENTRY.weights[0].size_bytes < 40e6


@pytest.mark.parametrize("kind", list(PromptKind))
def test_it_outlines_a_clear_nodule_from_any_prompt(segmenter, nodule, kind):
    (found,) = segmenter.segment(nodule.volume, [prompt_of(kind, nodule.volume, nodule.mask)])
    assert dice(found.mask, nodule.mask) > 0.85
    assert found.model.weights_sha256 == ENTRY.weights[0].sha256
    assert found.confidence > 0.6


def test_a_click_beside_takes_a_neighbour_out(segmenter, nodule):
    from workflow.domain.lesion import BoxPrompt, LesionPrompt, PointPrompt, PromptSource

    # Two equal balls that touch; the box holds both.
    places = np.moveaxis(np.indices((32, 70, 70)), 0, -1) * [1.5, 0.7, 0.7]
    left, right = (np.linalg.norm(places - np.array([24, 24, x]), axis=-1) < 6 for x in (18, 29.5))
    image = np.where(left | right, 30, -850) + np.random.default_rng(0).normal(0, 25, left.shape)
    volume = Volume(array=image.astype(np.float32), affine=nodule.volume.affine)
    box = BoxPrompt(minimum_lps=(12.0, 18.0, 18.0), maximum_lps=(30.0, 30.0, 30.0))
    inside = PointPrompt(position_lps=(18.0, 24.0, 24.0))
    beside = PointPrompt(position_lps=(29.0, 24.0, 24.0), is_positive=False)

    def right_share(*shapes):
        (found,) = segmenter.segment(volume, [LesionPrompt(shapes=shapes, source=PromptSource.READER)])
        return (found.mask.array() & right).sum() / right.sum()

    assert right_share(box, inside, beside) < right_share(box, inside)
