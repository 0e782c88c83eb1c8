"""Orientation, windows and the map between scans."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.lesionlocator.fields import Field, folding_fraction
from models.lesionlocator.orientation import Orientation
from models.lesionlocator.plans import read_plan
from models.lesionlocator.preprocessing import NetworkImage
from models.lesionlocator.registration import identity_map
from models.lesionlocator.tracknet import overlapping_slices, patch_around, warp_mask
from models.lesionlocator.windows import padding_before, windows_for
from workflow.domain.geometry import Mask, Volume

AXES = list(product(permutations(range(3)), product((1.0, -1.0), repeat=3)))


def volume_along(order, signs):
    """A volume whose axis k runs along patient axis `order[k]` (x, y, z), with spacings 3, 2 and 1 mm."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for k, (axis, sign, mm) in enumerate(zip(order, signs, (3.0, 2.0, 1.0), strict=True)):
        affine[axis, k] = sign * mm
    affine[:3, 3] = (11.0, -7.0, 100.0)
    return Volume(array=np.random.default_rng(0).normal(size=(4, 5, 6)), affine=affine)


@pytest.mark.parametrize(("order", "signs"), AXES)
def test_every_orientation_is_turned_upright_without_moving_a_voxel(order, signs):
    volume = volume_along(order, signs)
    orientation = Orientation.of(volume)
    view = orientation.view(volume)
    assert np.allclose(view.directions, np.eye(3)[:, ::-1])
    for index in ((0, 0, 0), (3, 4, 5), (1, 2, 3)):
        at = view.ijk(volume.lps(np.array(index))).round().astype(int)
        assert view.array[tuple(at)] == volume.array[index]


@pytest.mark.parametrize(("order", "signs"), AXES)
def test_a_mask_turned_upright_and_back_is_the_mask(order, signs):
    volume = volume_along(order, signs)
    orientation = Orientation.of(volume)
    mask = Mask.from_array(volume.array > 1)
    turned = orientation.mask_to_view(mask)
    assert np.array_equal(turned.array(), orientation.view(volume).array > 1)
    assert np.array_equal(orientation.mask_from_view(turned).array(), mask.array())


def test_an_upright_volume_passes_unchanged():
    volume = volume_along((2, 1, 0), (1, 1, 1))
    view = Orientation.of(volume).view(volume)
    assert np.shares_memory(view.array, volume.array)
    assert np.array_equal(view.affine, volume.affine)


@pytest.mark.parametrize("noise", [0, 1e-9, -1e-9])
def test_rounding_errors_of_a_header_change_neither_the_grid_nor_the_interpolation(noise, fixtures):
    plan = read_plan(fixtures / "lesionlocator" / "plans_seg_tiny_default.json", "3d_fullres")
    scan = np.ones((38, 20, 20), dtype=np.int16)
    # 38 slices of 2.5 mm are 47.5 of 2 mm; 3 mm to 1 mm is just not anisotropic.
    assert NetworkImage.of(scan, (2.5 + noise, 1.25, 1.25), plan).shape == (48, 20, 20)
    assert NetworkImage.of(scan, (3.0 + noise, 1.0, 1.0), plan).forward.separate_axis is None


boxes = st.tuples(*[st.integers(1, 90)] * 3)


@given(shape=boxes, seed=st.integers(0, 99), size=st.tuples(*[st.integers(1, 80)] * 3))
def test_windows_lie_in_the_padded_volume_and_cover_the_prompt(shape, seed, size):
    patch = (16, 32, 32)
    rng = np.random.default_rng(seed)
    extent = [min(k, n) for k, n in zip(size, shape, strict=True)]
    start = [int(rng.integers(0, n - k + 1)) for n, k in zip(shape, extent, strict=True)]
    prompt = Mask(voxels=np.ones(extent, dtype=bool), start_ijk=tuple(start), shape=shape)
    windows = windows_for(prompt, patch)
    padded = [max(n, p) for n, p in zip(shape, patch, strict=True)]
    seen = np.zeros(padded, dtype=bool)
    for window in windows:
        assert all(a >= 0 and b <= n for a, b, n in zip(window.start, window.stop, padded, strict=True))
        seen[tuple(slice(a, b) for a, b in zip(window.start, window.stop, strict=True))] = True
    before = padding_before(shape, patch)
    inner = tuple(slice(s + b, s + b + k) for s, b, k in zip(start, before, extent, strict=True))
    assert seen[inner].all()
    assert (len(windows) == 1) or any(k >= p for k, p in zip(extent, patch, strict=True))


# ---------------------------------------------------------------- the map between scans


def field_with(phi, prior_shape, shape):
    image = torch.zeros(1, 1, *phi.shape[2:])
    return Field(phi, image, image, (0, prior_shape[0]), (0, shape[0]), shape)


def test_a_lesion_lost_between_the_registrations_samples_is_still_carried_over():
    phi = identity_map((75, 75, 75))
    prior = torch.zeros((300, 40, 40), dtype=torch.bool)
    prior[152, 20, 20] = True
    assert not warp_mask(prior, phi, (300, 40, 40)).any()
    warped = field_with(phi, prior.shape, (300, 40, 40)).warp(prior)
    assert torch.nonzero(warped).tolist() == [[152, 20, 20]]


def test_a_shifted_view_shifts_the_lesion_the_other_way():
    phi = identity_map((75, 75, 75))
    phi[:, 0] += 10 / 74
    prior = torch.zeros((75, 75, 75), dtype=torch.bool)
    prior[40:43, 30:33, 30:33] = True
    warped = field_with(phi, prior.shape, (75, 75, 75)).warp(prior)
    assert torch.nonzero(warped).amin(dim=0).tolist() == [30, 30, 30]


def test_a_lesion_led_out_of_the_view_leaves_nothing():
    phi = identity_map((75, 75, 75))
    phi[:, 0] = phi[:, 0] * 0.4
    prior = torch.zeros((75, 75, 75), dtype=torch.bool)
    prior[70:73, 30:33, 30:33] = True
    assert not field_with(phi, prior.shape, (75, 75, 75)).warp(prior).any()


def test_no_patch_is_made_up_for_an_empty_mask():
    with pytest.raises(ValueError, match="no centre"):
        patch_around(torch.zeros((20, 20, 20), dtype=torch.bool), (8, 8, 8))


def test_a_patch_stays_in_the_volume_and_is_short_where_the_volume_is():
    mask = torch.zeros((20, 6, 20), dtype=torch.bool)
    mask[19, 5, 0] = True
    assert patch_around(mask, (8, 8, 8)) == ((12, 0, 0), (20, 6, 8))


def test_a_shorter_scan_is_found_in_a_longer_one_whichever_is_the_prior():
    body = torch.nn.functional.avg_pool3d(torch.randn(1, 1, 74, 40, 40), 5, stride=1, padding=2)[0, 0]
    part = body[44:74].clone()
    assert overlapping_slices(part, body, grid=32) == ((0, 30), (44, 74))
    assert overlapping_slices(body, part, grid=32) == ((44, 74), (0, 30))
    assert overlapping_slices(body[:40], part, grid=32) == ((0, 40), (0, 30))


def test_folding_is_the_share_of_space_turned_inside_out():
    phi = identity_map((20, 20, 20))[0]
    assert folding_fraction(phi) == 0
    assert folding_fraction(torch.flip(phi, (1,))) == 1


def test_a_scan_registered_to_itself_is_alike_everywhere():
    phi = identity_map((75, 75, 75))
    image = torch.randn(1, 1, 75, 75, 75)
    field = Field(phi, image, image, (0, 75), (0, 75), (75, 75, 75))
    mask = torch.zeros((75, 75, 75), dtype=torch.bool)
    mask[30:33, 30:33, 30:33] = True
    similarity, folding = field.quality(mask)
    assert similarity == pytest.approx(1, abs=1e-6)
    assert folding == 0
