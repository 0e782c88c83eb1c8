"""Weights on disk: the released folder layout, read without running code from it, converted once.

    LesionLocatorCheckpoint/
        LesionLocatorSeg/bbox_optimized/    plans.json  dataset.json  fold_0..4/checkpoint_final.pth
        LesionLocatorSeg/point_optimized/   (the same)
        LesionLocatorTrack/                 (the same)

A `.pth` file is a pickle; it is opened with `weights_only=True`, which admits tensors and plain
values and nothing that runs. At first use `checkpoint_final.safetensors` is written beside it: no pickle,
no optimizer state, each tensor once. That is what is read from then on, as long as it was made from
the `.pth` that lies beside it. Where the folder is read-only the `.pth` is read each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.lesionlocator.plans import Plan, read_plan
from models.weights import sha256_of
from workflow.domain.errors import ConfigurationError

PICKLE = "checkpoint_final.pth"
SAFETENSORS = "checkpoint_final.safetensors"


class Part(StrEnum):
    """A network of the release; the value is its folder."""

    BOX = "LesionLocatorSeg/bbox_optimized"
    POINT = "LesionLocatorSeg/point_optimized"
    TRACK = "LesionLocatorTrack"


_CONFIGURATION = {Part.BOX: "3d_fullres_bs3", Part.POINT: "3d_fullres_bs3", Part.TRACK: "3d_fullres"}


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One trained network of an ensemble.

    `sha256` is that of the released `.pth`, also where its conversion is read.
    """

    number: int
    path: Path
    sha256: str
    configuration: str
    mirroring_axes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One part of the release: its plan and the folds that are used, in ascending order."""

    part: Part
    folder: Path
    plan: Plan
    folds: tuple[Fold, ...]

    @property
    def sha256(self) -> str:
        """One digest for all that decides the numbers: plans.json and each fold's file."""
        digest = hashlib.sha256((self.folder / "plans.json").read_bytes())
        for fold in self.folds:
            digest.update(f"fold_{fold.number}:{fold.sha256}".encode())
        return digest.hexdigest()


def find_root(weights: Path) -> Path:
    """The folder that holds `LesionLocatorSeg` and `LesionLocatorTrack`: this one or one below it.

    Raises
    ------
    ConfigurationError
        If neither is the case.
    """
    for candidate in (weights, weights / "LesionLocatorCheckpoint"):
        if any((candidate / part).is_dir() for part in Part):
            return candidate
    raise ConfigurationError(
        f"{weights} holds no LesionLocator weights: expected {', '.join(Part)} in it; "
        "unpack the released LesionLocatorCheckpoint archive there"
    )


def available_parts(weights: Path) -> tuple[Part, ...]:
    """The parts whose folder is there."""
    root = find_root(weights)
    return tuple(part for part in Part if (root / part).is_dir())


def open_checkpoint(weights: Path, part: Part, folds: Iterable[int] | None = None) -> Checkpoint:
    """Read plan and fold headers of one part; weights stay on disk.

    Parameters
    ----------
    weights
        Folder of the release, or the one above it.
    folds
        Numbers of the folds to use; None for all that are there.

    Raises
    ------
    ConfigurationError
        If the part or a fold is missing, or a file can't be read safely.
    """
    folder = find_root(weights) / part
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is missing; these weights hold only {available_parts(weights)}")
    there = sorted(
        int(match[1])
        for path in folder.iterdir()
        if (match := re.fullmatch(r"fold_(\d+)", path.name))
        and ((path / PICKLE).is_file() or (path / SAFETENSORS).is_file())
    )
    wanted = sorted(set(folds)) if folds is not None else there
    missing = set(wanted) - set(there)
    if missing or not wanted:
        raise ConfigurationError(f"{folder} has folds {there}, wanted {wanted or 'at least one'}")
    opened = tuple(_open_fold(folder / f"fold_{number}", number, part) for number in wanted)
    configurations = {fold.configuration for fold in opened}
    if len(configurations) != 1:
        raise ConfigurationError(f"{folder}: the folds declare different configurations {configurations}")
    plan = read_plan(folder / "plans.json", configurations.pop())
    return Checkpoint(part=part, folder=folder, plan=plan, folds=opened)


def _open_fold(folder: Path, number: int, part: Part) -> Fold:
    path = folder / SAFETENSORS
    if not path.is_file() or _is_stale(folder):
        try:
            convert_fold(folder / PICKLE, path, part)
        except OSError:
            # A read-only folder: the weights are read from the pickle each time instead.
            path = folder / PICKLE
    header = _metadata(path) if path.suffix == ".safetensors" else _header(path, _read_pickle(path), part)
    return Fold(
        number=number,
        path=path,
        sha256=header["source_sha256"],
        configuration=header["configuration"],
        mirroring_axes=tuple(json.loads(header["mirroring_axes"])),
    )


def _is_stale(folder: Path) -> bool:
    """Whether the `.pth` beside a conversion is another one than it was made from."""
    pickled = folder / PICKLE
    if not pickled.is_file():
        return False
    recorded = _metadata(folder / SAFETENSORS)
    status = pickled.stat()
    return recorded.get("source_size") != str(status.st_size) or (
        recorded.get("source_mtime_ns") != str(status.st_mtime_ns)
        and recorded.get("source_sha256") != sha256_of(pickled)
    )


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise ConfigurationError(f"{path} is damaged ({error}); delete it, it is made again") from error


def convert(source: Path, target: Path) -> None:
    """Rewrite a release as safetensors: every part and fold, with its plans.json and dataset.json.

    `target` may be `source`. Raises what `convert_fold` raises.
    """
    root = find_root(source)
    for part in available_parts(source):
        for name in ("plans.json", "dataset.json"):
            if (root / part / name).is_file() and root != target:
                (target / part).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / part / name, target / part / name)
        for pickled in sorted((root / part).glob(f"fold_*/{PICKLE}")):
            fold = target / part / pickled.parent.name
            fold.mkdir(parents=True, exist_ok=True)
            convert_fold(pickled, fold / SAFETENSORS, part)


def convert_fold(source: Path, target: Path, part: Part) -> None:
    """Write a fold's `.pth` as safetensors, through a temporary file in the target's folder.

    Raises
    ------
    ConfigurationError
        If the `.pth` is damaged, holds more than weights and plain values, or is no checkpoint.
    OSError
        If nothing can be written there.
    """
    from safetensors.torch import save_file

    checkpoint = _read_pickle(source)
    weights = canonical(checkpoint["network_weights"])
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"{target.parent} can't be written to")
    try:
        # Each tensor gets memory of its own: views of a mapped file are refused.
        save_file(
            {name: tensor.clone().contiguous() for name, tensor in weights.items()},
            temporary,
            _header(source, checkpoint, part),
        )
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _header(source: Path, checkpoint: Mapping[str, Any], part: Part) -> dict[str, str]:
    """What is kept of a checkpoint beside its weights."""
    status = source.stat()
    axes = checkpoint.get("inference_allowed_mirroring_axes")
    return {
        "source_sha256": sha256_of(source),
        "source_size": str(status.st_size),
        "source_mtime_ns": str(status.st_mtime_ns),
        "configuration": str(checkpoint.get("init_args", {}).get("configuration", _CONFIGURATION[part])),
        # The release tracks with all three axes whatever the file says.
        "mirroring_axes": json.dumps([0, 1, 2] if part is Part.TRACK else list(axes or ())),
    }


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals(_numpy_values()):
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise ConfigurationError(f"{path} is missing; unpack the released weights again") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ConfigurationError(
            f"{path} was refused: it is damaged or holds more than weights ({str(error).splitlines()[0]}). "
            "Compare its checksum with the publisher's"
        ) from error
    if not isinstance(loaded, dict) or not isinstance(loaded.get("network_weights"), dict):
        raise ConfigurationError(f"{path} is not a LesionLocator checkpoint: it has no network_weights")
    return loaded


def _numpy_values() -> list[Any]:
    """Numpy numbers and arrays, which a training log leaves in a checkpoint: values, nothing that runs."""
    from numpy._core.multiarray import _reconstruct, scalar

    numbers = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "b1")]
    old_names = [(f, f"numpy.core.multiarray.{f.__name__}") for f in (scalar, _reconstruct)]
    return [scalar, _reconstruct, np.ndarray, np.dtype, *numbers, *old_names]


def canonical(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name each tensor once.

    The release registers modules under several names (`all_modules.0`, `decoder.encoder`) and may
    carry the prefix of a wrapper.

    Raises
    ------
    ConfigurationError
        If two names of one tensor hold different values.
    """
    named: dict[str, Tensor] = {}
    for given, tensor in weights.items():
        name = re.sub(r"^(module\.|_orig_mod\.)+", "", given)
        name = name.replace("decoder.encoder.", "encoder.")
        name = name.replace(".all_modules.0.", ".conv.").replace(".all_modules.1.", ".norm.")
        if name not in named:
            named[name] = tensor
        elif named[name] is not tensor and not torch.equal(named[name], tensor):
            raise ConfigurationError(f"the checkpoint holds two different tensors for {name} (also {given})")
    return named


def load_fold(network: nn.Module, fold: Fold) -> None:
    """Put a fold's weights into a network, strictly.

    Raises
    ------
    ConfigurationError
        If names or shapes do not fit; the message names the first of them.
    """
    from safetensors.torch import load_file

    is_converted = fold.path.suffix == ".safetensors"
    weights = load_file(fold.path) if is_converted else _read_pickle(fold.path)["network_weights"]
    load_weights(network, weights, origin=str(fold.path))


def load_weights(
    network: nn.Module, weights: Mapping[str, Tensor], *, origin: str = "the state dict"
) -> None:
    """Put weights, under any of their names, into a network, strictly; see `load_fold`."""
    try:
        network.load_state_dict(canonical(weights), strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise ConfigurationError(
            f"{origin} does not fit the topology in plans.json: {' '.join(lines)[:400]}"
        ) from error
