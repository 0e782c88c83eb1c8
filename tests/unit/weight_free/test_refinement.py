"""The search around a lesion finds its size from the lesion's own shape."""

from __future__ import annotations

import numpy as np
import pytest

from models.weight_free.hints import mask_hint
from models.weight_free.refinement import find_nearby
from workflow.domain.geometry import Volume


def long_lesion(scale: float, *, hu: float = 40.0) -> tuple[Volume, np.ndarray]:
    """An ellipsoid of 60 x 16 x 16 mm, made smaller or larger, in noisy tissue; voxels of 2 mm."""
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = 2.0
    affine[:3, 3], affine[3, 3] = (-50, -50, -50), 1
    x, y, z = np.moveaxis(np.moveaxis(np.indices((51, 51, 51)), 0, -1) @ affine[:3, :3].T - 50, -1, 0)
    inside = (x / 30) ** 2 + (y / 8) ** 2 + (z / 8) ** 2 < scale**2
    noise = np.random.default_rng(3).normal(0, 20, inside.shape)
    return Volume(array=(np.where(inside, hu, -800.0) + noise).astype(np.float32), affine=affine), inside


@pytest.mark.parametrize("scale", [0.58, 1.0, 1.38])
def test_a_long_lesion_keeps_its_shape_when_it_shrinks_or_grows(scale):
    prior, inside = long_lesion(1.0)
    later, _ = long_lesion(scale)
    hint = mask_hint(prior.with_array(inside), slope=0.6, limit=0.8)
    finding = find_nearby(prior, hint, later, np.eye(4))
    assert finding.scale == pytest.approx(scale, rel=0.25)  # one step of the search
    assert np.linalg.norm(finding.shift_lps) < 3.0


def test_nothing_is_left_where_the_lesion_has_gone():
    prior, inside = long_lesion(1.0)
    gone, _ = long_lesion(1.0, hu=-800.0)
    hint = mask_hint(prior.with_array(inside), slope=0.6, limit=0.8)
    assert find_nearby(prior, hint, gone, np.eye(4)).evidence < 0.2
