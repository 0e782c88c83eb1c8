"""The segmenter around the network: a stand-in that knows only intensities finds what differs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.open_lesion.encoding import CHANNELS, PRIOR_CHANNEL
from models.open_lesion.segmenter import OpenLesionSegmenter, Settings, most_expected
from models.training.prompting import PromptKind, prompt_of
from workflow.domain.errors import ConfigurationError
from workflow.domain.geometry import Mask, Volume, affine_from_axes, dice
from workflow.domain.lesion import Flag, LesionPrompt, LinePrompt, PromptSource
from workflow.domain.measurement import measure

LIKELIHOOD = CHANNELS.index("log odds of the intensity: core against surroundings")


class Intensities(torch.nn.Module):
    """Lesion is what has the core's intensity and is not far away; good if it fills a tenth of the patch."""

    def forward(self, patch, prompt):
        log_odds = torch.minimum(6 * patch[:, LIKELIHOOD], 4 * patch[:, PRIOR_CHANNEL] + 3)
        share = (log_odds > 0).float().mean(dim=(1, 2, 3))
        return log_odds, 3 - 3 * (share / 0.1 + 1e-6).log().abs(), torch.zeros(len(patch), 3)


@pytest.fixture(scope="module")
def lesion():
    """An ellipsoid of 28 x 20 x 24 mm, brighter than what is around it, on slices of 2.5 mm."""
    affine = affine_from_axes(
        origin_lps=(-60.0, -60.0, 0.0),
        slice_step=(0.0, 0.0, 2.5),
        row_step=(0.0, 1.0, 0.0),
        column_step=(1.0, 0.0, 0.0),
    )
    shape = (48, 120, 120)
    offsets = (np.moveaxis(np.indices(shape), 0, -1) * [2.5, 1, 1] - [60, 57, 63]) / [14.0, 10.0, 12.0]
    mask = (offsets**2).sum(axis=-1) <= 1
    image = np.where(mask, 100, 20) + np.random.default_rng(0).normal(0, 8, shape)
    return Volume(array=image.astype(np.float32), affine=affine), Mask.from_array(mask)


@pytest.fixture(scope="module")
def segmenter():
    return OpenLesionSegmenter(Intensities(), "0" * 64, settings=Settings(mirrored=2))


@pytest.mark.parametrize("kind", list(PromptKind))
def test_what_the_network_says_of_a_patch_comes_back_in_its_place(segmenter, lesion, kind):
    volume, mask = lesion
    (found,) = segmenter.segment(volume, [prompt_of(kind, volume, mask)])
    assert dice(found.mask, mask) > 0.9
    assert found.model.weights_sha256 == "0" * 64


def test_a_lesion_is_about_as_long_as_its_line(segmenter, lesion):
    volume, mask = lesion
    axis = measure(volume, mask).long_axis
    middle = (np.array(axis.start_lps) + np.array(axis.end_lps)) / 2
    lengths = []
    for share in (0.85, 1.0):
        ends = [middle + share * (np.array(end) - middle) for end in (axis.start_lps, axis.end_lps)]
        line = LinePrompt(start_lps=tuple(ends[0].tolist()), end_lps=tuple(ends[1].tolist()))
        (found,) = segmenter.segment(volume, [LesionPrompt(shapes=(line,), source=PromptSource.READER)])
        lengths.append(measure(volume, found.mask).long_axis.length_mm)
    assert lengths[1] == pytest.approx(axis.length_mm, rel=0.06)
    assert lengths[0] < lengths[1] + 0.5


def test_a_poor_expectation_is_flagged(lesion):
    class Doubtful(Intensities):
        def forward(self, patch, prompt):
            log_odds, quality, sizes = super().forward(patch, prompt)
            return log_odds, torch.full_like(quality, -1.0), sizes

    volume, mask = lesion
    (found,) = OpenLesionSegmenter(Doubtful(), None).segment(
        volume, [prompt_of(PromptKind.BOX, volume, mask)]
    )
    assert found.confidence == pytest.approx(1 / (1 + np.e))
    assert Flag.LOW_CONFIDENCE in found.flags


def ball(radius, centre=(20, 20, 20)):
    places = np.moveaxis(np.indices((40, 40, 40)), 0, -1)
    return Mask.from_array(np.linalg.norm(places - np.array(centre), axis=-1) < radius)


def test_of_a_clicks_finds_the_one_is_taken_that_others_bear_out():
    alone, one, other = ball(3), ball(10), ball(11)
    assert most_expected([(alone, 0.55), (one, 0.5), (other, 0.45)])[0] is one
    # One that is believed in far more wins alone.
    assert most_expected([(alone, 0.95), (one, 0.3), (other, 0.25)])[0] is alone


def test_a_number_of_mirror_images_that_there_is_not_is_refused():
    with pytest.raises(ConfigurationError, match="1 to 8"):
        Settings(mirrored=9)
