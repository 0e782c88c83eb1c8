"""Boxes of structures: a coarse guess from the position head, refined by the look of the extreme points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.medlam.network import PATCH, POSITION_RANGE_MM, LoadedNetwork
from models.medlam.templates import Template, TemplateStore
from models.medlam.view import SPACING_MM, BodyView, body_view
from models.weights import sha256_of
from workflow.domain.errors import ConfigurationError, UnsuitableInputError
from workflow.domain.geometry import FloatArray, Volume
from workflow.domain.lesion import BoxPrompt, DetectedLesion

COARSE_PATCHES = 10
_SPREAD = 10  # voxels of 3 mm around the middle, as in training's evaluation
_AIR = 0.1  # of 0 .. 1: -600 HU


@dataclass(frozen=True, kw_only=True, eq=False)
class MedLamDetector:
    """Finds the box of every structure that the templates know; `score` is the mean likeness of its points.

    The likeness is the mean cosine between the template's features and those found (-1 to 1, cut at 0). A box
    whose opposite points come out in the wrong order is not proposed.
    """

    network: LoadedNetwork
    templates: TemplateStore
    batch: int = 2

    def __post_init__(self) -> None:
        digest = sha256_of(self.network.weights)
        if self.templates.weights_sha256 != digest:
            raise ConfigurationError(
                f"the templates were made with the weights {self.templates.weights_sha256[:12]} and those in "
                f"use are {digest[:12]}: make the templates again"
            )

    def detect(self, volume: Volume) -> list[DetectedLesion]:
        """Boxes of the structures, most alike first, each with its structure's name as label.

        Raises
        ------
        UnsuitableInputError
            If there is nothing but air around the middle of the volume.
        """
        view = body_view(volume)
        coarse = self._coarse(view)
        found = []
        for name, template in self.templates.templates.items():
            points, score = self._points(view, coarse, template)
            box = _box(points)
            if box is not None:
                found.append(DetectedLesion(box=box, score=score, label=name))
        return sorted(found, key=lambda one: -one.score)

    def _coarse(self, view: BodyView) -> tuple[FloatArray, FloatArray]:
        """Mean place (voxels) and mean position head of patches around the volume's middle."""
        centres = _patch_centres(view)
        return centres.mean(axis=0), self.network.positions(view.patches(centres), self.batch).mean(axis=0)

    def _points(
        self, view: BodyView, coarse: tuple[FloatArray, FloatArray], template: Template
    ) -> tuple[FloatArray, float]:
        """The six extreme points, LPS mm, (6, 3), and their mean likeness."""
        place, head = coarse
        offset = np.asarray(POSITION_RANGE_MM) * np.tanh(template.positions - head)
        guess = np.rint(place + offset / SPACING_MM).astype(np.int64)
        guess = np.clip(guess, 0, np.asarray(view.array.shape) - 1)
        _, maps = self.network.positions_and_features(view.patches(guess), self.batch)
        steps, likeness = _best_match(maps, template)
        points = np.clip(guess + steps, 0, np.asarray(view.array.shape) - 1)
        return view.positions(points.astype(np.float64)), float(np.clip(likeness.mean(), 0, 1))


def _patch_centres(view: BodyView) -> NDArray[np.int64]:
    # A fixed pattern in place of upstream's random one: the same scan has the same boxes.
    middle = np.asarray(view.array.shape) // 2
    corners = np.array(np.meshgrid(*[(-_SPREAD, _SPREAD)] * 3)).reshape(3, -1).T // 2
    candidates = np.vstack([[0, 0, 0], corners, [_SPREAD, 0, 0]])[:COARSE_PATCHES] + middle
    candidates = np.clip(candidates, 0, np.asarray(view.array.shape) - 1).astype(np.int64)
    inside = view.array[tuple(candidates.T)] > _AIR
    if not inside.any():
        raise UnsuitableInputError(
            "there is nothing but air around the middle of the volume; is it a body CT?"
        )
    chosen: NDArray[np.int64] = candidates[inside]
    return chosen


def _best_match(maps: list[torch.Tensor], template: Template) -> tuple[NDArray[np.int64], FloatArray]:
    """For each point the step (voxels) from the patch's middle to what looks most like it, and how much."""
    total = torch.zeros(len(maps[0]), PATCH, PATCH, PATCH)
    for features, wanted in zip(maps, template.features, strict=True):
        total += _likeness(features, torch.from_numpy(wanted)) / len(maps)
    flat = total.flatten(1).argmax(dim=1).numpy()
    best = np.stack(np.unravel_index(flat, (PATCH,) * 3), axis=1)
    return best - PATCH // 2, total.flatten(1).max(dim=1).values.double().numpy()


def _likeness(features: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean cosine at every voxel of the full-resolution patch, (n, 64, 64, 64).

    An even kernel has no middle voxel: its value belongs to the corner in front of a voxel, so it is put
    there and stays on the grid instead of being stretched by half a voxel. It is the plain sum without a
    bias, so its size means something. By Fourier transform: with 96 channels and 512 taps for each of six
    points, a convolution takes a minute on a CPU.
    """
    size, width = wanted.shape[-1], features.shape[-1]
    padded, axes = (width + size,) * 3, (1, 2, 3)
    found = []
    for around, kernel in zip(features, wanted, strict=True):
        product = torch.fft.rfftn(around, padded, dim=axes) * torch.fft.rfftn(kernel, padded, dim=axes).conj()
        matched = torch.fft.irfftn(product.sum(dim=0), padded)
        centred = torch.roll(matched, (size // 2,) * 3, dims=(0, 1, 2))
        found.append(centred[:width, :width, :width] / size**3)
    likeness = torch.stack(found)
    return likeness if width == PATCH else _smooth(likeness)


def _smooth(coarse: torch.Tensor) -> torch.Tensor:
    """Linear between coarse voxels; a value stands at the corner of its block, as the kernel's does."""
    grid = torch.arange(PATCH, dtype=torch.float32) * (coarse.shape[-1] / PATCH)
    for axis in (1, 2, 3):
        low = grid.floor().long()
        high = (low + 1).clamp(max=coarse.shape[axis] - 1)
        shape = [1] * 4
        shape[axis] = PATCH
        share = (grid - low).reshape(shape)
        coarse = coarse.index_select(axis, low) * (1 - share) + coarse.index_select(axis, high) * share
    return coarse


def _box(points: FloatArray) -> BoxPrompt | None:
    """The box that three pairs of extreme points span: lowest z, y, x of MedLAM's axes, then highest."""
    low = (points[2, 0], points[4, 1], points[0, 2])  # y runs forwards there and backwards in LPS
    high = (points[5, 0], points[1, 1], points[3, 2])
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return None
    return BoxPrompt(
        minimum_lps=(float(low[0]), float(low[1]), float(low[2])),
        maximum_lps=(float(high[0]), float(high[1]), float(high[2])),
    )
