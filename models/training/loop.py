"""Trains the network on synthetic lesions: seeded, resumable to the last digit, with its curve as CSV."""

from __future__ import annotations

import csv
import json
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.open_lesion.encoding import PRIOR_CHANNEL, PromptCode
from models.open_lesion.network import LesionNet
from models.training.backgrounds import Scan
from models.training.config import TrainingConfig, from_dict
from models.training.synthesis import Sample, make_sample
from workflow.domain.errors import ConfigurationError

CHECKPOINT = "checkpoint.pt"
CURVE = "curve.csv"
# Not the name of the network that comes with the package: that one has to have the published digest.
NETWORK = "network.safetensors"
_COLUMNS = (
    "samples",
    "learning_rate",
    "loss",
    "mask_loss",
    "quality_error",
    "size_error",
    "dice",
    "prior_dice",
    *(f"dice_{code.name.lower()}" for code in PromptCode),
)
_WARM_UP_STEPS = 200

Told = Callable[[int, int, float, float], None]


class Training:
    """A network in training, with all that is needed to go on where it stopped."""

    def __init__(self, config: TrainingConfig, scans: Sequence[Scan] = (), device: str = "cpu") -> None:
        """Begin at the first sample.

        Parameters
        ----------
        config
            Decides, with the scans, everything that is computed.
        scans
            Surroundings; without any, all are procedural.
        device
            "cpu" or a torch device.
        """
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.scans = list(scans)
        self.device = torch.device(device)
        self.network = LesionNet(config.widths).to(self.device)
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.averaged = LesionNet(config.widths).to(self.device)
        self.averaged.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.done = 0

    # ------------------------------------------------------------ steps

    def run(
        self,
        folder: Path,
        *,
        row_every: int = 400,
        save_every: int = 2_000,
        told: Told | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to the last sample, or until `stopped`; writes the curve and the checkpoint to a folder.

        Parameters
        ----------
        folder
            For `curve.csv` and `checkpoint.pt`; a curve that is there is continued from the sample reached.
        row_every, save_every
            Samples between two rows of the curve and between two checkpoints.
        told
            Called with (samples done, samples in all, Dice, the prior's Dice) at each row.
        """
        folder.mkdir(parents=True, exist_ok=True)
        _cut_curve(folder / CURVE, self.done)
        rows: list[dict[str, float]] = []
        while self.done < self.config.samples:
            before = self.done
            rows.append(self.step())
            if self.done // row_every == before // row_every and self.done < self.config.samples:
                continue
            # It saves and stops between rows only: a continued curve has the rows of an unbroken one.
            mean = _mean(rows)
            rows = []
            _append(folder / CURVE, {"samples": self.done, "learning_rate": self._rate(), **mean})
            if told is not None:
                told(self.done, self.config.samples, mean["dice"], mean["prior_dice"])
            if stopped():
                break
            if self.done // save_every > before // save_every:
                self.save(folder / CHECKPOINT)
        self.save(folder / CHECKPOINT)

    def step(self) -> dict[str, float]:
        """Train on the next batch; returns what the curve shows of it."""
        config = self.config
        last = min(self.done + config.batch, config.samples)
        samples = [self.sample(number) for number in range(self.done, last)]
        patch, code, label, whole, sizes = self._tensors(samples)
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bfloat16):
            log_odds, quality, log_sizes = self.network(patch, code)
        reached = dice_of(log_odds > 0, label, whole)
        mask_loss = _mask_loss(log_odds, label)
        quality_loss = functional.binary_cross_entropy_with_logits(quality, reached)
        size_loss = functional.smooth_l1_loss(log_sizes, sizes, beta=0.2)
        loss = mask_loss + 0.2 * quality_loss + 0.2 * size_loss
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimiser.step()
        self.done = last
        self._average()
        prior = dice_of(patch[:, PRIOR_CHANNEL] > 0, label, whole)
        return {
            "loss": float(loss.detach()),
            "mask_loss": float(mask_loss.detach()),
            "quality_error": float((torch.sigmoid(quality.detach()) - reached).abs().mean()),
            "size_error": float((log_sizes.detach() - sizes).abs().mean()),
            "dice": float(reached.mean()),
            "prior_dice": float(prior.mean()),
            **_by_code(code, reached),
        }

    def sample(self, number: int) -> Sample:
        """The synthetic lesion of that number, easy ones first."""
        hardness = min(number / max(self.config.easy_samples, 1), 1.0)
        return make_sample(self.config.synthesis, self.scans, self.config.seed, number, hardness)

    def _tensors(self, samples: list[Sample]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        patch = torch.from_numpy(np.stack([one.patch for one in samples])).to(
            self.device, memory_format=torch.channels_last_3d
        )
        code = torch.tensor([int(one.code) for one in samples], device=self.device)
        label = torch.from_numpy(np.stack([one.label for one in samples])).to(self.device)
        whole = torch.tensor([one.whole_voxels for one in samples], device=self.device)
        sizes = torch.from_numpy(np.stack([one.log_sizes for one in samples])).to(self.device)
        return patch, code, label, whole, sizes

    def _rate(self) -> float:
        config = self.config
        warm = min((self.done / config.batch + 1) / _WARM_UP_STEPS, 1.0)
        left = (config.samples - self.done) / max(config.cooldown * config.samples, 1)
        return config.learning_rate * warm * min(left, 1.0)

    @torch.no_grad()
    def _average(self) -> None:
        # Young averages forget faster, or the first weights would stay in them.
        steps = self.done / self.config.batch
        decay = min(self.config.averaging, (1 + steps) / (10 + steps))
        current = self.network.state_dict()
        for name, kept in self.averaged.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(current[name].to(kept.dtype), 1 - decay)
            else:
                kept.copy_(current[name])

    # ------------------------------------------------------------ files

    def save(self, path: Path) -> None:
        """Write the checkpoint; a reader sees the old one or the new one, never half of it."""
        state = {
            "config": self.config.as_dict(),
            "done": self.done,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        waiting = path.with_suffix(".new")
        torch.save(state, waiting)
        os.replace(waiting, path)

    def origin(self) -> dict[str, str]:
        """How the network was made, for its file's metadata."""
        return {
            "samples": str(self.done),
            "background_scans": str(len(self.scans)),
            "config": json.dumps(self.config.as_dict()),
        }

    @classmethod
    def resumed(
        cls, path: Path, scans: Sequence[Scan] = (), device: str = "cpu", samples: int | None = None
    ) -> Training:
        """Go on from a checkpoint, to its own number of samples or another one.

        The scans have to be those of the beginning, in the same order, for the curve to be the same.

        Raises
        ------
        ConfigurationError
            If the checkpoint is not there, is damaged or belongs to something else.
        """
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            training = cls(from_dict(state["config"]).with_samples(samples), scans, device)
            training.network.load_state_dict(state["network"])
            training.averaged.load_state_dict(state["averaged"])
            training.optimiser.load_state_dict(state["optimiser"])
            training.done = int(state["done"])
        except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
            raise ConfigurationError(f"the checkpoint {path} can't be continued: {error}") from error
        return training


def dice_of(mask: Tensor, label: Tensor, whole_voxels: Tensor) -> Tensor:
    """Dice with the whole lesion, of which the patch may show a part only; shape (n,)."""
    drawn = label > 0.5
    common = (mask & drawn).sum(dim=(1, 2, 3)).float()
    total: Tensor = 2 * common / (mask.sum(dim=(1, 2, 3)) + whole_voxels).clamp(min=1)
    return total.clamp(max=1)


def _mask_loss(log_odds: Tensor, label: Tensor) -> Tensor:
    soft = torch.sigmoid(log_odds)
    common = (soft * label).sum(dim=(1, 2, 3))
    overlap = 1 - (2 * common + 1) / (soft.sum(dim=(1, 2, 3)) + label.sum(dim=(1, 2, 3)) + 1)
    return overlap.mean() + functional.binary_cross_entropy_with_logits(log_odds, label)


def _by_code(code: Tensor, reached: Tensor) -> dict[str, float]:
    return {
        f"dice_{one.name.lower()}": float(reached[code == int(one)].mean())
        for one in PromptCode
        if bool((code == int(one)).any())
    }


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _append(path: Path, row: dict[str, float]) -> None:
    if not path.is_file():
        _write(path, [])
    with path.open("a", newline="", encoding="utf-8") as stream:
        csv.DictWriter(stream, _COLUMNS, lineterminator="\n").writerow(
            {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
        )


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _cut_curve(path: Path, done: int) -> None:
    """Leave only the rows up to a sample: what was computed after the checkpoint is computed again."""
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as stream:
        kept = [row for row in csv.DictReader(stream) if int(row["samples"]) <= done]
    _write(path, kept)
