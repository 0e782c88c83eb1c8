"""The network's file: safetensors in half precision, with the widths that it was built with."""

from __future__ import annotations

import json
from pathlib import Path

from models.open_lesion.network import LesionNet
from models.weights import load_state_dict, single_file
from workflow.domain.errors import ConfigurationError


def save_network(network: LesionNet, target: Path, *, origin: dict[str, str]) -> None:
    """Write a network in float16; `origin` says how it was trained and stands in the file's metadata."""
    from safetensors.torch import save_file

    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, target, {"widths": json.dumps(network.widths), "format": "pt", **origin})


def load_network(path: Path) -> LesionNet:
    """Read a network that `save_network` wrote; the file can run no code.

    Raises
    ------
    ConfigurationError
        If the file is missing or is another model's; the message names what does not fit.
    """
    file = single_file(path, ())
    try:
        from safetensors import SafetensorError, safe_open

        with safe_open(file, framework="pt") as opened:
            said = opened.metadata() or {}
        network = LesionNet(json.loads(said["widths"]))
        network.load_state_dict(
            {
                name: one.float() if one.is_floating_point() else one
                for name, one in load_state_dict(file).items()
            }
        )
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"the file {file} holds no open-lesion network ({error}); train one with `tumorline train`"
        ) from error
    return network
