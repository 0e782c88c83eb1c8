"""One registration of a pair of scans: the map, how good it is, and masks carried along it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.lesionlocator.plans import Triple
from models.lesionlocator.registration import sample
from models.lesionlocator.tracknet import overlapping_slices, registration_input, warp_mask

_NEIGHBOURHOOD = 6
"""Samples of the registration grid around a lesion that its similarity is taken over."""


@dataclass(frozen=True, eq=False)
class Field:
    """The map from a new scan to a prior one, on a cubic grid over the slices that both show.

    Attributes
    ----------
    phi
        Float32, (1, 3, g, g, g): for each sample of the new view the point of the prior view, axis
        order (z, y, x), 0 to 1 from the first to the last sample.
    moving, fixed
        The prior and the new image on that grid, (1, 1, g, g, g).
    prior_slices, slices
        Half-open ranges of the views in the prior and the new scan.
    shape
        Of the new scan on the network's grid.
    """

    phi: Tensor
    moving: Tensor
    fixed: Tensor
    prior_slices: tuple[int, int]
    slices: tuple[int, int]
    shape: Triple

    @property
    def view_shape(self) -> Triple:
        """The new view's shape on the network's grid."""
        return (self.slices[1] - self.slices[0], *self.shape[1:])

    def prior_view(self, mask: Tensor) -> Tensor:
        """The part of a mask of the prior scan, (z, y, x), that the field speaks about."""
        return mask[self.prior_slices[0] : self.prior_slices[1]]

    def warp(self, mask: Tensor) -> Tensor:
        """A mask of the prior scan (bool, (z, y, x) on the network's grid) in the new view.

        First as the network was trained, through the registration grid. A lesion too small for that
        grid's samples is looked up voxel by voxel instead; empty only if the map leads it nowhere.
        """
        viewed = self.prior_view(mask)
        if not viewed.any():
            return torch.zeros(self.view_shape, dtype=torch.bool)
        warped = warp_mask(viewed, self.phi, self.view_shape)
        return warped if warped.any() else self._warp_finely(viewed)

    def _warp_finely(self, viewed: Tensor) -> Tensor:
        out = torch.zeros(self.view_shape, dtype=torch.bool)
        near = self._samples_near(viewed)
        if near is None:
            return out
        grid = self.phi.shape[2]
        axes = []
        for axis, n in enumerate(self.view_shape):
            first = max(0, int((near[0][axis] - 1) * n / grid))
            last = min(n, int((near[1][axis] + 2) * n / grid) + 1)
            axes.append(torch.arange(first, last))
        at = [(a + 0.5) * grid / n - 0.5 for a, n in zip(axes, self.view_shape, strict=True)]
        place = torch.stack(torch.meshgrid(*at, indexing="ij"))[None] / (grid - 1)
        target = sample(self.phi, place)[0]
        shape = torch.tensor(viewed.shape).view(3, 1, 1, 1)
        index = torch.floor((target * (grid - 1) + 0.5) * shape / grid).to(torch.int64)
        inside = ((index >= 0) & (index < shape)).all(dim=0)
        index = torch.minimum(index.clamp_min(0), shape - 1)
        box = tuple(slice(int(a[0]), int(a[-1]) + 1) for a in axes)
        out[box] = viewed[index[0], index[1], index[2]] & inside
        return out

    def _samples_near(self, viewed: Tensor) -> tuple[list[int], list[int]] | None:
        """First and last samples of the new view that are led to the mask's surroundings."""
        found = torch.nonzero(viewed)
        shape = torch.tensor(viewed.shape)
        margin = 2 / (self.phi.shape[2] - 1)
        low = found.amin(dim=0) / shape - margin
        high = (found.amax(dim=0) + 1) / shape + margin
        phi = self.phi[0]
        is_near = torch.stack([(phi[a] >= low[a]) & (phi[a] <= high[a]) for a in range(3)]).all(dim=0)
        led = torch.nonzero(is_near)
        return (led.amin(dim=0).tolist(), led.amax(dim=0).tolist()) if len(led) else None

    def quality(self, warped: Tensor) -> tuple[float, float]:
        """Similarity (-1 to 1) and folding (0 to 1) around a warped mask of the new view, not empty.

        Similarity is the normalised cross-correlation of the new image and the warped prior in the
        mask's surroundings; folding the share of samples there whose Jacobian determinant is not positive.
        """
        grid = self.phi.shape[2]
        found = torch.nonzero(warped)
        scale = grid / torch.tensor(warped.shape)
        low = (found.amin(dim=0) * scale).floor().to(torch.int64) - _NEIGHBOURHOOD
        high = ((found.amax(dim=0) + 1) * scale).ceil().to(torch.int64) + _NEIGHBOURHOOD
        box = tuple(slice(max(0, int(a)), min(grid, int(b))) for a, b in zip(low, high, strict=True))
        phi = self.phi[(slice(None), slice(None), *box)]
        moved = sample(self.moving, phi)[0, 0].double()
        return _correlation(moved, self.fixed[0, 0][box].double()), folding_fraction(phi[0])


def register(
    network: torch.nn.Module, prior: Tensor, new: Tensor, *, grid: int, device: torch.device
) -> Field:
    """Register two normalised scans, (z, y, x) on the network's grid; only the map that is needed.

    Raises
    ------
    ValueError
        If the grid is too small for the network.
    """
    prior_slices, slices = overlapping_slices(prior, new, grid)
    moving = registration_input(prior[slice(*prior_slices)], grid)
    fixed = registration_input(new[slice(*slices)], grid)
    phi = network(moving.to(device), fixed.to(device)).float().cpu()
    z, y, x = new.shape
    return Field(phi, moving, fixed, prior_slices, slices, (z, y, x))


def folding_fraction(phi: Tensor) -> float:
    """Share of samples of a map (3, z, y, x) at which it turns space inside out."""
    if min(phi.shape[1:]) < 2:
        return 0.0
    base = phi[:, :-1, :-1, :-1]
    steps = (
        phi[:, 1:, :-1, :-1] - base,
        phi[:, :-1, 1:, :-1] - base,
        phi[:, :-1, :-1, 1:] - base,
    )
    determinant = torch.linalg.det(torch.stack(steps, dim=-1).permute(1, 2, 3, 0, 4))
    return float((determinant <= 0).double().mean())


def _correlation(one: Tensor, other: Tensor) -> float:
    a, b = one - one.mean(), other - other.mean()
    scale = float(torch.sqrt((a * a).sum() * (b * b).sum()))
    # Two flat regions say nothing about how well they fit.
    return float(np.clip(float((a * b).sum()) / scale, -1, 1)) if scale > 1e-12 else 0.0


def flip(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """A tensor mirrored along some axes."""
    return torch.flip(x, axes) if axes else x
