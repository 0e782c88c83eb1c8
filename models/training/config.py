"""How a network is trained: one value, from one TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from models.open_lesion.encoding import PromptCode
from workflow.domain.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """What synthetic lesions are like.

    Attributes
    ----------
    prompt_shares
        Probability of each `PromptCode`, in their order.
    share_real
        Of the surroundings, how many come from real scans (if any are given).
    diameters_mm
        Smallest and largest.
    """

    prompt_shares: tuple[float, ...] = (0.28, 0.2, 0.08, 0.28, 0.07, 0.09)
    share_real: float = 0.5
    diameters_mm: tuple[float, float] = (4.0, 110.0)

    def __post_init__(self) -> None:
        if len(self.prompt_shares) != len(PromptCode) or abs(sum(self.prompt_shares) - 1) > 1e-6:
            raise ConfigurationError(
                f"prompt_shares are {len(PromptCode)} shares that add up to 1, not {self.prompt_shares}"
            )
        low, high = self.diameters_mm
        if not 0 < low <= high:
            raise ConfigurationError(
                f"diameters_mm {self.diameters_mm} are not a smallest and a largest length"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides what a training computes, beside its background scans.

    Attributes
    ----------
    seed
        Of the first weights and of every sample.
    widths
        Features of the network by resolution.
    samples
        How many to train on in all.
    cooldown
        Share of them, at the end, in which the learning rate falls to nothing. Before that it is constant, so
        a training can be given more samples, or its cooldown, later.
    batch
        Samples a step.
    learning_rate, weight_decay, clip
        Of AdamW; the gradient's norm is cut at `clip`.
    averaging
        Decay of the running mean of the weights, which is what is kept.
    easy_samples
        Number of the sample from which on lesions are as hard as they get.
    threads
        Of the processor. Another number sums in another order and gives another curve.
    bfloat16
        Compute convolutions in it.
    """

    seed: int = 1
    widths: tuple[int, ...] = (16, 32, 64, 128)
    samples: int = 60_000
    cooldown: float = 0.25
    batch: int = 4
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-4
    clip: float = 2.0
    averaging: float = 0.998
    easy_samples: int = 3_000
    threads: int = 1
    bfloat16: bool = True
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)

    def __post_init__(self) -> None:
        for name in ("samples", "batch", "threads"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it has to be at least 1")
        if not 0 <= self.averaging < 1:
            raise ConfigurationError(f"averaging is {self.averaging}; it lies between 0 and 1")

    def with_samples(self, samples: int | None) -> TrainingConfig:
        """The same with another number of samples, if one is given."""
        return self if samples is None else replace(self, samples=samples)

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint and for JSON."""
        return asdict(self)


def from_dict(values: dict[str, Any]) -> TrainingConfig:
    """The configuration with these values, the others as they are by default.

    Raises
    ------
    ConfigurationError
        Naming what is unknown or out of range.
    """
    inner = dict(values.get("synthesis", {}))
    outer = {name: value for name, value in values.items() if name != "synthesis"}
    return TrainingConfig(
        **_known(outer, TrainingConfig), synthesis=SynthesisConfig(**_known(inner, SynthesisConfig))
    )


def read_config(path: Path) -> TrainingConfig:
    """Read a TOML file; `[synthesis]` is a table of it.

    Raises
    ------
    ConfigurationError
        If there is no such file, or as `from_dict`.
    """
    try:
        return from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"the training configuration {path} can't be read: {error}") from error


def _known(values: dict[str, Any], kind: type) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    unknown = sorted(set(values) - names)
    if unknown:
        raise ConfigurationError(
            f"the training configuration knows no {', '.join(unknown)}; it knows {', '.join(sorted(names))}"
        )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
