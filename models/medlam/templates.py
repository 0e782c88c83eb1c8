"""Template scans: what 3 to 10 scans with a known structure say about where its six extreme points are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from models.medlam.network import PATCH, LoadedNetwork
from models.medlam.view import body_view
from workflow.domain.errors import ConfigurationError, UnsuitableInputError
from workflow.domain.geometry import FloatArray, Mask, Volume

MINIMUM, MAXIMUM = 3, 10
CENTRE = 8
"""Voxels at full resolution that a point is recognised by; 4 and 2 at the coarser scales."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Template:
    """One structure as the template scans show it.

    Attributes
    ----------
    positions
        Position head at the six extreme points (lowest z, y, x, then highest), mean over the scans, (6, 3).
    features
        For each scale (1/4, 1/2, full): unit features around the points, mean over the scans,
        float32, (6, 96, k, k, k) with k = 2, 4, 8.
    scans
        How many scans it was made from.
    """

    positions: NDArray[np.float64]
    features: tuple[NDArray[np.float32], ...]
    scans: int


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateStore:
    """Templates by structure name, and the digest of the weights that they were made with."""

    templates: Mapping[str, Template]
    weights_sha256: str

    def save(self, file: Path) -> None:
        """Write to a .npz file."""
        arrays: dict[str, NDArray[np.generic]] = {"weights_sha256": np.array(self.weights_sha256)}
        for name, one in self.templates.items():
            arrays[f"{name}/positions"] = one.positions
            arrays[f"{name}/scans"] = np.array(one.scans)
            arrays |= {f"{name}/features{scale}": array for scale, array in enumerate(one.features)}
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, file: Path) -> TemplateStore:
        """Read what `save` wrote.

        Raises
        ------
        ConfigurationError
            If the file is missing or is no template store.
        """
        if not file.is_file():
            raise ConfigurationError(
                f"the templates are not at {file}: make them from 3 to 10 scans with "
                "models.medlam.templates.build (docs/models.md)"
            )
        with np.load(file, allow_pickle=False) as stored:
            names = sorted({key.partition("/")[0] for key in stored.files if key.endswith("/positions")})
            if "weights_sha256" not in stored.files or not names:
                raise ConfigurationError(
                    f"{file} is no template store; make it with models.medlam.templates.build"
                )
            templates = {
                name: Template(
                    positions=stored[f"{name}/positions"],
                    features=tuple(stored[f"{name}/features{scale}"] for scale in range(3)),
                    scans=int(stored[f"{name}/scans"]),
                )
                for name in names
            }
            return cls(templates=MappingProxyType(templates), weights_sha256=str(stored["weights_sha256"]))


def build(
    network: LoadedNetwork, name: str, scans: Sequence[tuple[Volume, Mask]], *, batch: int = 2
) -> Template:
    """Make a structure's template from scans with its mask.

    Raises
    ------
    UnsuitableInputError
        If there are not 3 to 10 scans, or a mask is empty.
    """
    if not MINIMUM <= len(scans) <= MAXIMUM:
        raise UnsuitableInputError(
            f"'{name}' has {len(scans)} template scans; {MINIMUM} to {MAXIMUM} are needed (5 in the paper)"
        )
    positions: list[NDArray[np.float64]] = []
    features: list[list[NDArray[np.float32]]] = []
    for index, (volume, mask) in enumerate(scans):
        if mask.is_empty:
            raise UnsuitableInputError(f"template scan {index} of '{name}' has an empty mask; leave it out")
        view = body_view(volume)
        centres = np.rint(view.voxels(extreme_points(volume, mask))).astype(np.int64)
        found, maps = network.positions_and_features(view.patches(centres), batch)
        positions.append(found)
        features.append([_centre(scale).numpy() for scale in maps])
    return Template(
        positions=np.mean(positions, axis=0),
        features=tuple(np.mean(scale, axis=0, dtype=np.float32) for scale in zip(*features, strict=True)),
        scans=len(scans),
    )


def extreme_points(volume: Volume, mask: Mask) -> FloatArray:
    """The lowest point along z, y, x of MedLAM's axes, then the highest, LPS mm, (6, 3).

    Along the other two axes it is the middle one of the voxels there, so that it lies in the structure.
    """
    places = volume.lps(mask.indices())
    upright = np.stack([places[:, 2], -places[:, 1], places[:, 0]], axis=1)
    points = []
    for end in (np.min, np.max):
        for axis in range(3):
            # A hair's width: voxels of one slice have the same coordinate up to rounding.
            there = places[np.abs(upright[:, axis] - end(upright[:, axis])) < 1e-3]
            order = np.lexsort(there.T)
            points.append(there[order[len(there) // 2]])
    return np.stack(points)


def _centre(features: torch.Tensor) -> torch.Tensor:
    size = features.shape[-1] * CENTRE // PATCH
    start = (features.shape[-1] - size) // 2
    part = slice(start, start + size)
    return features[:, :, part, part, part]
