"""The registration network of GradICON: four displacement nets from a quarter of the grid to all of it.

Only the forward map is computed. Training also needs the map back, both warped images and the
loss; the map between them is the same without (measured upstream: a quarter of the time).

Coordinates run from 0 to 1 over the view, first to last sample, in axis order (z, y, x).
Greer et al., ICON (2021); Tian et al., GradICON (2023), uniGradICON (2024).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Transform = Callable[[Tensor, bool], Tensor]
"""Maps coordinates (n, 3, z, y, x); the flag says that they are the identity of their own grid."""

MINIMUM_GRID = 65
"""Fewest samples per axis that the four resolutions with five halvings each can take."""

_DOWN = (2, 16, 32, 64, 256, 512)
_UP = (16, 32, 64, 128, 256)


class _Step(Protocol):
    def __call__(self, moving: Tensor, fixed: Tensor) -> Transform: ...


def identity_map(shape: tuple[int, ...]) -> Tensor:
    """Coordinates of each sample of a grid, (1, 3, z, y, x) float32, 0 to 1."""
    axes = [torch.arange(n, dtype=torch.float32) * _spacing(n) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def sample(image: Tensor, coordinates: Tensor, *, mode: str = "bilinear", outside: str = "border") -> Tensor:
    """Read an image (n, c, z, y, x) at coordinates (n, 3, ...): values (n, c, ...).

    `mode` and `outside` are those of `torch.nn.functional.grid_sample`.
    """
    scaled = [coordinates[:, axis] * _scale(n) - 1 for axis, n in enumerate(image.shape[2:])]
    values: Tensor = functional.grid_sample(
        image, torch.stack(scaled[::-1], dim=-1), mode=mode, padding_mode=outside, align_corners=True
    )
    return values


def _spacing(n: int) -> float:
    return float(np.float32(1) / np.float32(n - 1))


def _scale(n: int) -> float:
    # In single precision, as the trained network saw it: 2 up to the last bit.
    return float(np.float32(2 / (n - 1)) / np.float32(_spacing(n)))


def _match_channels(x: Tensor, channels: int) -> Tensor:
    """The first `channels` channels, or zeros in front of all of them."""
    missing = channels - x.shape[1]
    return x[:, :channels] if missing <= 0 else functional.pad(x, (0, 0, 0, 0, 0, 0, missing, 0))


class DisplacementNet(nn.Module):
    """A U-Net from two images (n, 1, z, y, x) to displacements (n, 3, z, y, x) in units of the view."""

    def __init__(self) -> None:
        super().__init__()
        inner = [d + u for d, u in zip(_DOWN[1:], (*_UP[1:], 0), strict=True)]
        self.downConvs = nn.ModuleList(nn.Conv3d(a, b, 3, stride=2, padding=1) for a, b in pairwise(_DOWN))
        self.upConvs = nn.ModuleList(
            nn.ConvTranspose3d(a, b, 4, stride=2, padding=1) for a, b in zip(inner, _UP, strict=True)
        )
        self.batchNorms = nn.ModuleList(nn.BatchNorm3d(n) for n in _UP)
        self.lastConv = nn.Conv3d(_DOWN[0] + _UP[0], 3, 3, padding=1)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Displacements that take the fixed image's samples to the moving image."""
        x = torch.cat((moving, fixed), 1)
        skips = []
        for convolution in self.downConvs:
            skips.append(x)
            y = convolution(functional.leaky_relu(x))
            x = y + _match_channels(functional.avg_pool3d(x, 2, ceil_mode=True), y.shape[1])
        levels = list(zip(self.upConvs, self.batchNorms, strict=True))
        for convolution, norm in reversed(levels):
            y = convolution(functional.leaky_relu(x))
            doubled = functional.interpolate(
                _match_channels(x, y.shape[1]), scale_factor=2, mode="trilinear", align_corners=False
            )
            skip = skips.pop()
            depth, height, width = skip.shape[2:]
            x = torch.cat((norm(y + doubled)[:, :, :depth, :height, :width], skip), 1)
        displacements: Tensor = self.lastConv(x) / 10
        return displacements


class _Displace(nn.Module):
    """Add a net's displacements to the coordinates."""

    def __init__(self) -> None:
        super().__init__()
        self.net = DisplacementNet()

    def forward(self, moving: Tensor, fixed: Tensor) -> Transform:
        displacements: Tensor = self.net(moving, fixed)

        def transform(coordinates: Tensor, is_identity: bool) -> Tensor:
            if is_identity and coordinates.shape == displacements.shape:
                return coordinates + displacements
            return coordinates + sample(displacements, coordinates)

        return transform


class _Halve(nn.Module):
    """Register at half the resolution."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, moving: Tensor, fixed: Tensor) -> Transform:
        halved = (functional.avg_pool3d(image, 2, ceil_mode=True) for image in (moving, fixed))
        transform: Transform = self.net(*halved)
        return transform


class _TwoSteps(nn.Module):
    """Register, warp, and register what is left."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.netPhi = first
        self.netPsi = second

    def forward(self, moving: Tensor, fixed: Tensor) -> Transform:
        identity = identity_map(tuple(moving.shape[2:])).to(moving.device)
        first: Transform = self.netPhi(moving, fixed)
        second: Transform = self.netPsi(sample(moving, first(identity, True)), fixed)

        def transform(coordinates: Tensor, is_identity: bool) -> Tensor:
            return first(second(coordinates, is_identity), False)

        return transform


class RegistrationNet(nn.Module):
    """Maps a fixed image's grid to a moving image.

    `forward` takes two images (1, 1, g, g, g), g at least `MINIMUM_GRID`, and returns the map
    (1, 3, g, g, g): for each sample of the fixed grid the point of the moving view, 0 to 1.
    """

    def __init__(self) -> None:
        super().__init__()
        half: nn.Module = _TwoSteps(_Halve(_Displace()), _Displace())
        self.regis_net = _TwoSteps(_TwoSteps(_Halve(half), _Displace()), _Displace())

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """The map from the fixed grid to the moving view."""
        if min(moving.shape[2:]) < MINIMUM_GRID:
            raise ValueError(
                f"a registration grid {tuple(moving.shape[2:])} is below {MINIMUM_GRID} samples per axis"
            )
        transform: Transform = self.regis_net(moving, fixed)
        return transform(identity_map(tuple(fixed.shape[2:])).to(fixed.device), True)
