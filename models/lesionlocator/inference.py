"""Running the networks: device, precision, folds and mirroring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.devices import pick_device
from models.lesionlocator.checkpoints import Checkpoint, Fold, load_fold
from workflow.domain.errors import TransientError


class Precision(StrEnum):
    """Number format of the networks; "auto" is half precision on a GPU and single elsewhere."""

    AUTO = "auto"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and how networks run. `autocast` is the half precision format, None for float32 throughout."""

    device: torch.device
    autocast: torch.dtype | None
    batch: int

    @classmethod
    def choose(
        cls, device: str = "auto", precision: str = Precision.AUTO, batch: int | None = None
    ) -> Compute:
        """Pick device and precision; `batch` windows go through at once (default: 1 on CPU, 2 on a GPU)."""
        picked = pick_device(device)
        wanted = Precision(precision)
        if wanted is Precision.AUTO:
            wanted = Precision.FLOAT16 if picked.type == "cuda" else Precision.FLOAT32
        formats = {Precision.FLOAT16: torch.float16, Precision.BFLOAT16: torch.bfloat16}
        if batch is not None and batch < 1:
            raise ValueError(f"a batch of {batch} windows is none; give 1 or more")
        return cls(
            device=picked,
            autocast=formats.get(wanted),
            batch=batch or (2 if picked.type == "cuda" else 1),
        )

    @property
    def precision(self) -> str:
        """For the provenance: "float32", "float16" or "bfloat16"."""
        return str(self.autocast or torch.float32).removeprefix("torch.")

    @contextmanager
    def running(self) -> Iterator[None]:
        """No gradients; the chosen precision, and in float32 no TF32 shortcut."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.autocast is not None:
                stack.enter_context(torch.autocast(self.device.type, dtype=self.autocast))
            elif self.device.type == "cuda":
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            try:
                yield
            except torch.OutOfMemoryError as error:
                raise TransientError(
                    f"the memory of {self.device} is used up ({str(error).splitlines()[0]}); "
                    "it is tried again, with batch=1 it needs the least"
                ) from error


class Ensemble:
    """The folds of one part of the release, one after the other in one network.

    Memory holds one fold's weights at a time; with a single fold they stay.
    """

    def __init__(
        self, checkpoint: Checkpoint, build: Callable[[Checkpoint], nn.Module], compute: Compute
    ) -> None:
        self.checkpoint = checkpoint
        self.compute = compute
        self._build = build
        self._network: Any = None
        self._loaded: Fold | None = None

    def __len__(self) -> int:
        return len(self.checkpoint.folds)

    def networks(self) -> Iterator[tuple[Fold, Any]]:
        """Each fold with the network that now holds its weights; use it before asking for the next."""
        for fold in self.checkpoint.folds:
            if self._network is None:
                self._network = self._build(self.checkpoint).eval()
            if self._loaded is not fold:
                load_fold(self._network, fold)
                self._network.to(self.compute.device)
                self._loaded = fold
            yield fold, self._network


def mirrorings(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """All sets of the given axes, the empty one first."""
    return [flips for count in range(len(axes) + 1) for flips in combinations(sorted(axes), count)]


def predict_logits(
    network: Callable[[Tensor], Tensor], windows: Tensor, mirroring: Sequence[int], compute: Compute
) -> NDArray[np.float32]:
    """Logits of windows, averaged over mirrorings.

    Parameters
    ----------
    windows
        Shape (n, 2, z, y, x): image and prompt.
    mirroring
        Axes 0 to 2 (z, y, x) along which the window is also shown in the mirror; 2 ** len passes.

    Returns
    -------
    numpy.ndarray
        float32, shape (n, 2, z, y, x).
    """
    sets = mirrorings(mirroring)
    with compute.running():
        shown = windows.to(compute.device)
        total: Tensor | None = None
        for flips in sets:
            axes = [axis + 2 for axis in flips]
            seen = network(torch.flip(shown, axes) if axes else shown).float()
            back = torch.flip(seen, axes) if axes else seen
            total = back if total is None else total.add_(back)
        assert total is not None
        mean: NDArray[np.float32] = (total / len(sets)).cpu().numpy()
    return mean
