"""Which device a network runs on."""

from __future__ import annotations

from typing import Any

from workflow.domain.errors import ConfigurationError, TransientError


def pick_device(device: str = "auto") -> Any:
    """The torch device that a name means: "auto" is a GPU if there is one, else the CPU.

    Raises
    ------
    TransientError
        If a GPU is asked for by name and none is there: another worker may have one.
    ConfigurationError
        If the name means nothing to torch.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ConfigurationError(f"there is no device '{device}'; use auto, cpu, cuda or cuda:<n>") from error
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise TransientError(f"the device '{device}' is asked for and this machine has no usable GPU")
    return picked
