"""The tracking network: a registration net and a U-Net in one state dict, and the steps between them.

The prior time point enters in two ways only: as the moving image of the registration and, warped,
as the mask channel of the U-Net. The steps are functions of their own, so that a pair is registered
once, whatever the number of lesions, and each lesion then costs one pass of the U-Net.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.lesionlocator.networks import ResidualEncoderUNet
from models.lesionlocator.plans import Architecture, Triple
from models.lesionlocator.registration import RegistrationNet, sample

REGISTRATION_GRID = 175
"""Samples per axis that the registration net was trained on."""

SHIFT_THRESHOLD = 20
"""Slices by which two volumes may differ in depth before the shorter one is slid along the longer."""


class TrackNet(nn.Module):
    """`reg_net` finds the map between two scans, `unet` the lesion in a patch of the newer one."""

    unet_patch_size: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.reg_net = RegistrationNet()
        self.unet = ResidualEncoderUNet(architecture)
        self.register_buffer("unet_patch_size", torch.zeros(3, dtype=torch.int64))


def overlapping_slices(
    moving: Tensor, fixed: Tensor, grid: int = REGISTRATION_GRID
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Find the slices of two scans that show the same part of the body.

    Scans whose depth differs by no more than `SHIFT_THRESHOLD` slices are taken whole. Otherwise the
    shorter is slid over the longer, both reduced to `grid` samples in plane, and the place of the
    least mean squared difference wins.

    Parameters
    ----------
    moving, fixed
        Normalised images, shape (z, y, x), of one spacing.

    Returns
    -------
    tuple
        Half-open slice ranges in `moving` and in `fixed`.
    """
    depths = moving.shape[0], fixed.shape[0]
    if abs(depths[0] - depths[1]) <= SHIFT_THRESHOLD:
        return (0, depths[0]), (0, depths[1])
    reduced = [
        functional.interpolate(image[None, None], (image.shape[0], grid, grid), mode="trilinear")[0, 0]
        for image in (moving, fixed)
    ]
    short, long = sorted(reduced, key=len)
    depth = short.shape[0]
    errors = [
        float(torch.mean((long[start : start + depth] - short) ** 2))
        for start in range(long.shape[0] - depth + 1)
    ]
    start = min(range(len(errors)), key=errors.__getitem__)
    window = (start, start + depth)
    return ((0, depth), window) if depths[0] < depths[1] else (window, (0, depth))


def registration_input(image: Tensor, grid: int = REGISTRATION_GRID) -> Tensor:
    """An image (z, y, x) on the registration grid, (1, 1, grid, grid, grid), trilinear."""
    return functional.interpolate(
        image[None, None], (grid, grid, grid), mode="trilinear", align_corners=False
    )


def warp_mask(mask: Tensor, field: Tensor, shape: Triple) -> Tensor:
    """Carry a mask of the moving scan to the fixed scan.

    Parameters
    ----------
    mask
        Bool, shape (z, y, x) on the moving scan's grid.
    field
        The map, (1, 3, g, g, g), of the fixed view's samples to the moving view, 0 to 1.
    shape
        (z, y, x) of the fixed scan's grid.

    Returns
    -------
    torch.Tensor
        Bool, shape `shape`. May be empty: the lesion is then too small for the registration grid or
        lies outside the fixed view.
    """
    reduced = functional.interpolate(mask[None, None].to(field.dtype), field.shape[2:], mode="nearest-exact")
    warped = sample(reduced, field, mode="nearest", outside="zeros")
    return functional.interpolate(warped, shape, mode="nearest-exact")[0, 0] > 0.5


def patch_around(mask: Tensor, patch: Triple) -> tuple[Triple, Triple]:
    """The U-Net's window: of the patch's size, centred on the mask, inside the volume.

    On an axis shorter than the patch the window is the whole axis.

    Parameters
    ----------
    mask
        Bool, shape (z, y, x), not empty.

    Returns
    -------
    tuple
        Start and stop index.

    Raises
    ------
    ValueError
        If the mask is empty: there is no place to look at, and none is made up.
    """
    found = torch.nonzero(mask)
    if len(found) == 0:
        raise ValueError("an empty mask has no centre to put a patch around")
    centre = found.to(torch.float32).mean(dim=0).round().to(torch.int64).tolist()
    start = [
        min(max(0, c - p // 2), max(0, n - p)) for c, p, n in zip(centre, patch, mask.shape, strict=True)
    ]
    stop = [min(n, s + p) for s, p, n in zip(start, patch, mask.shape, strict=True)]
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def pad_to(x: Tensor, patch: Triple) -> tuple[Tensor, tuple[slice, ...]]:
    """Pad (..., z, y, x) with zeros on both sides, the smaller half first, to at least the patch.

    Returns the padded tensor and the slices of its last three axes that hold the original.
    """
    missing = [max(0, p - n) for p, n in zip(patch, x.shape[-3:], strict=True)]
    before = [m // 2 for m in missing]
    padding = [value for m, b in zip(missing[::-1], before[::-1], strict=True) for value in (b, m - b)]
    inner = tuple(slice(b, b + n) for b, n in zip(before, x.shape[-3:], strict=True))
    return functional.pad(x, padding), inner
