"""Weights on disk: the released folder layout, read without running code from it, converted once.

    LesionLocatorCheckpoint/
        LesionLocatorSeg/bbox_optimized/    plans.json  dataset.json  fold_0..4/checkpoint_final.pth
        LesionLocatorSeg/point_optimized/   (the same)
        LesionLocatorTrack/                 (the same)

A `.pth` file is a pickle; it is opened with `weights_only=True`, which admits tensors and plain
values and nothing that runs. `convert` writes `checkpoint_final.safetensors` beside it: no pickle, no
optimizer state, each tensor once, mapped into memory instead of read. It is used where it is there,
as long as it was made from the `.pth` that lies beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.lesionlocator.plans import Plan, read_plan
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
    if not (folder / SAFETENSORS).is_file() or _is_stale(folder):
        convert_fold(folder, part)
    metadata = _metadata(folder / SAFETENSORS)
    return Fold(
        number=number,
        path=folder / SAFETENSORS,
        sha256=metadata["source_sha256"],
        configuration=metadata["configuration"],
        mirroring_axes=tuple(json.loads(metadata["mirroring_axes"])),
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
        and recorded.get("source_sha256") != file_sha256(pickled)
    )


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise ConfigurationError(f"{path} is damaged ({error}); delete it, it is made again") from error


def convert_fold(folder: Path, part: Part) -> Path:
    """Write a fold's `.pth` as safetensors beside it, through a temporary file; returns its path.

    Raises
    ------
    ConfigurationError
        If the `.pth` is damaged, holds more than weights and plain values, or is no checkpoint.
    """
    from safetensors.torch import save_file

    source, target = folder / PICKLE, folder / SAFETENSORS
    checkpoint = _read_pickle(source)
    try:
        weights = canonical(checkpoint["network_weights"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{source} is not a LesionLocator checkpoint: no network_weights") from error
    status = source.stat()
    axes = checkpoint.get("inference_allowed_mirroring_axes")
    metadata = {
        "source_sha256": file_sha256(source),
        "source_size": str(status.st_size),
        "source_mtime_ns": str(status.st_mtime_ns),
        "configuration": str(checkpoint.get("init_args", {}).get("configuration", _CONFIGURATION[part])),
        # The release tracks with all three axes whatever the file says.
        "mirroring_axes": json.dumps([0, 1, 2] if part is Part.TRACK else list(axes or ())),
    }
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        save_file({k: v.contiguous() for k, v in weights.items()}, temporary, metadata)
        temporary.replace(target)
    except OSError as error:
        raise ConfigurationError(
            f"{target} can't be written ({error}); convert the weights once as a user who may write there: "
            "tumorline models convert"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigurationError(f"{path} is missing; unpack the released weights again") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ConfigurationError(
            f"{path} was refused: it is damaged or holds more than weights ({str(error).splitlines()[0]}). "
            "Compare its checksum with the publisher's"
        ) from error
    if not isinstance(loaded, dict):
        raise ConfigurationError(f"{path} holds a {type(loaded).__name__}, not a checkpoint")
    return loaded


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

    load_weights(network, load_file(fold.path), origin=str(fold.path))


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


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
