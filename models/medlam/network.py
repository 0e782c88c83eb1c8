"""MedLAM's network: a 3-D U-Net on 64 x 64 x 64 patches with a position head and features at three scales."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.devices import pick_device
from models.sam_names import load_strictly
from models.weights import load_state_dict

PATCH = 64
BASE = 24
POSITION_RANGE_MM = (1500.0, 600.0, 600.0)
"""What an offset of 1 in front of the tanh stands for, (z, y, x) (section "network" of the paper's code)."""


class _Unit(nn.Module):
    """Convolution, instance norm without weights, ReLU; the nesting is the checkpoint's."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        convolution = nn.Module()
        convolution.Conv = nn.Conv3d(channels_in, channels_out, 3, padding=1)
        self.model = nn.ModuleDict(OrderedDict(conv1_1=convolution))
        self.norm = nn.InstanceNorm3d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        convolution = self.model["conv1_1"].get_submodule("Conv")
        normed: Tensor = self.norm(convolution(x))
        return torch.relu(normed)


class MedLam(nn.Module):
    """The network; attribute names are those of the published checkpoint (44 tensors, 15.07 M numbers)."""

    def __init__(self, classes: int = 1, base: int = BASE) -> None:
        """Take the number of outputs of the unused classification layer, and the width."""
        super().__init__()
        widths_in = (1, 2, 2, 2, 2, 2, 4, 4, 8, 8, 24, 8, 12, 4, 6, 4, 6, 4)
        widths_out = (2, 2, 2, 2, 2, 4, 4, 8, 8, 16, 8, 8, 4, 4, 4, 4, 4, 4)
        for index, (wide_in, wide_out) in enumerate(zip(widths_in, widths_out, strict=True)):
            name = f"conv{index // 2}_{index % 2 + 1}"
            setattr(self, name, _Unit(1 if index == 0 else wide_in * base, wide_out * base))
        self.classification = nn.Sequential(nn.Conv3d(4 * base, classes, 1))
        self.fc1 = nn.Linear((PATCH // 16) ** 3 * 16 * base, 8 * base)
        self.fc2 = nn.Linear(8 * base, 4 * base)
        self.fc3 = nn.Linear(4 * base, 3)

    def encode(self, patches: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Patches (n, 1, 64, 64, 64) to the deepest features and those of the four levels above."""
        skips = []
        x = patches
        for level in range(4):
            x = self._level(level, x)
            skips.append(x)
            x = nn.functional.max_pool3d(x, 2)
        return self._level(4, x), skips

    def position(self, deepest: Tensor) -> Tensor:
        """The position head: (n, 3), in the order (z, y, x), without a unit; linear throughout."""
        places: Tensor = self.fc3(self.fc2(self.fc1(deepest.flatten(1))))
        return places

    def features(self, deepest: Tensor, skips: Sequence[Tensor]) -> list[Tensor]:
        """Unit feature vectors at 1/4, 1/2 and full resolution, (n, 96, d, d, d) each."""
        found = []
        x = deepest
        for level, skip in zip(range(5, 9), reversed(skips), strict=True):
            # The trained network upsamples with half-pixel centres (torch's default for trilinear).
            x = nn.functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
            x = self._level(level, torch.cat([x, skip], dim=1))
            found.append(nn.functional.normalize(x, dim=1))
        return found[1:]

    def _level(self, level: int, x: Tensor) -> Tensor:
        first, second = getattr(self, f"conv{level}_1"), getattr(self, f"conv{level}_2")
        done: Tensor = second(first(x))
        return done


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedNetwork:
    """The network with its weights, where it runs, and the file they came from."""

    module: MedLam
    device: Any
    weights: Path

    def positions(self, patches: NDArray[np.float32], batch: int) -> NDArray[np.float64]:
        """Position head of patches (n, 64, 64, 64): (n, 3), float64."""
        found = []
        with torch.inference_mode():
            for part in self._parts(patches, batch):
                deepest, _ = self.module.encode(part)
                found.append(self.module.position(deepest).double().cpu().numpy())
        return np.concatenate(found)

    def positions_and_features(
        self, patches: NDArray[np.float32], batch: int
    ) -> tuple[NDArray[np.float64], list[Tensor]]:
        """Position head, and features at the three scales on the CPU, of patches (n, 64, 64, 64)."""
        places, features = [], []
        with torch.inference_mode():
            for part in self._parts(patches, batch):
                deepest, skips = self.module.encode(part)
                places.append(self.module.position(deepest).double().cpu().numpy())
                features.append([one.float().cpu() for one in self.module.features(deepest, skips)])
        return np.concatenate(places), [torch.cat(scale) for scale in zip(*features, strict=True)]

    def _parts(self, patches: NDArray[np.float32], batch: int) -> list[Tensor]:
        whole = torch.from_numpy(np.ascontiguousarray(patches))[:, None]
        return [part.to(self.device) for part in torch.split(whole, batch)]


def load_network(weights: Path, device: str = "auto") -> LoadedNetwork:
    """Build the network and load a checkpoint strictly; half-precision weights are widened.

    Raises
    ------
    ConfigurationError
        If a name or a shape is not the architecture's.
    """
    state = {name: tensor.float() for name, tensor in load_state_dict(weights).items()}
    last = state.get("classification.0.bias")
    module = MedLam(classes=len(last) if last is not None else 1)
    load_strictly(module, state, what=str(weights))
    picked = pick_device(device)
    return LoadedNetwork(module=module.to(picked).eval(), device=picked, weights=weights)
