"""Weight files: fetched with a checksum, verified, read without running code, rewritten as safetensors.

A publisher's digest stands in the catalogue where there is one. For the others a site pins the digest of
its own copy in `SHA256SUMS` beside the file, in the format of the program `sha256sum`.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from models.catalogue import CatalogueEntry
from workflow.domain.errors import ConfigurationError

SUMS_NAME = "SHA256SUMS"
WEIGHT_SUFFIXES = (".pth", ".pt", ".safetensors", ".npz", ".json")
_WRAPPERS = ("model", "state_dict", "model_state_dict", "network_weights")
_CHUNK = 1 << 20


class WeightState(StrEnum):
    """What a digest says about a file."""

    PUBLISHED = "has the publisher's digest"
    PINNED = "has the digest that this site recorded"
    UNKNOWN = "has no recorded digest"
    DIFFERS = "differs from the recorded digest"
    MISSING = "is not there"

    @property
    def is_bad(self) -> bool:
        """Whether the file must not be used."""
        return self in (WeightState.DIFFERS, WeightState.MISSING)


@dataclass(frozen=True, kw_only=True)
class FileCheck:
    """One weight file, its digest (empty if the file is missing) and what that says."""

    path: Path
    sha256: str
    state: WeightState


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder: then of its weight files' names and digests in order of name.

    Raises
    ------
    ConfigurationError
        If nothing is there, or a folder holds no weight file.
    """
    if path.is_file():
        status = path.stat()
        return _file_digest(path.resolve(), status.st_size, status.st_mtime_ns)
    files = weight_files(path)
    if not files:
        raise ConfigurationError(f"no weight file ({', '.join(WEIGHT_SUFFIXES)}) is at {path}")
    lines = "".join(f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


@lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, mtime_ns: int) -> str:
    # Size and time are part of the key: a replaced file is read again, an unchanged one is not.
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The weight files below a folder (or the file itself), in order of name."""
    if folder.is_file():
        return [folder]
    return sorted(file for file in folder.rglob("*") if file.suffix in WEIGHT_SUFFIXES and file.is_file())


# ---------------------------------------------------------------- verify and pin


def verify(path: Path, known: CatalogueEntry) -> list[FileCheck]:
    """Compare every weight file at `path` with the catalogue's digest or the site's pinned one."""
    pins = read_pins(path)
    published = {Path(one.path).name: one.sha256 for one in known.weights if one.sha256}
    found = weight_files(path)
    checks = [_check(file, pins, published) for file in found]
    base = _folder(path)
    lost = sorted(set(pins) - {file.relative_to(base).as_posix() for file in found}) if path.is_dir() else []
    checks += [FileCheck(path=base / name, sha256="", state=WeightState.MISSING) for name in lost]
    if not checks:
        raise ConfigurationError(
            f"no weights of '{known.name}' are at {path}; "
            f"`tumorline models show {known.name}` says where to get them"
        )
    return checks


def require_verified(path: Path, known: CatalogueEntry) -> None:
    """Refuse weights of which a file differs from its recorded digest or is gone.

    Raises
    ------
    ConfigurationError
        Naming the file and the digest. Files without a recorded digest pass.
    """
    for check in verify(path, known):
        if check.state.is_bad:
            raise ConfigurationError(
                f"the weight file {check.path} of '{known.name}' {check.state}"
                f"{f' (it has {check.sha256})' if check.sha256 else ''}; fetch it again, or, if the change "
                "is meant, record it with `tumorline models verify --record`"
            )


def pin(path: Path) -> Path:
    """Record the digests of the weight files at `path` in `SHA256SUMS` beside them; returns that file."""
    base = _folder(path)
    pins = read_pins(path) if path.is_file() else {}
    pins |= {file.relative_to(base).as_posix(): sha256_of(file) for file in weight_files(path)}
    target = base / SUMS_NAME
    target.write_text(
        "".join(f"{digest}  {name}\n" for name, digest in sorted(pins.items())), encoding="utf-8"
    )
    return target


def read_pins(path: Path) -> dict[str, str]:
    """Digests by file name from `SHA256SUMS` at or beside `path`; empty if there is none.

    Raises
    ------
    ConfigurationError
        If a line is not "<digest>  <name>".
    """
    source = _folder(path) / SUMS_NAME
    if not source.is_file():
        return {}
    pins: dict[str, str] = {}
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1):
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64:
            raise ConfigurationError(
                f"line {number} of {source} is not '<sha256>  <name>'; record the weights again"
            )
        pins[name] = digest
    return pins


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _check(file: Path, pins: Mapping[str, str], published: Mapping[str, str | None]) -> FileCheck:
    digest = sha256_of(file)
    pinned = next((value for name, value in pins.items() if file.as_posix().endswith("/" + name)), None)
    if published.get(file.name) is not None:
        state = WeightState.PUBLISHED if digest == published[file.name] else WeightState.DIFFERS
    elif pinned is not None:
        state = WeightState.PINNED if digest == pinned else WeightState.DIFFERS
    else:
        state = WeightState.UNKNOWN
    return FileCheck(path=file, sha256=digest, state=state)


# ---------------------------------------------------------------- read and convert


def load_state_dict(path: Path) -> dict[str, Any]:
    """The tensors of a checkpoint by name: `.safetensors`, or a torch file read with `weights_only=True`.

    Wrappers of training programs are taken off: `{"model": ...}`, `{"state_dict": ...}`,
    `{"network_weights": ...}`, and the prefix `module.` that data-parallel training leaves on every name.

    Raises
    ------
    ConfigurationError
        If the file is missing, needs to run code to be read, or holds anything but tensors.
    """
    import torch

    if not path.is_file():
        raise ConfigurationError(f"the weight file {path} is not there")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ConfigurationError(
            f"the weight file {path} is damaged or holds more than tensors and is not opened, because that "
            f"could run code ({str(error).splitlines()[0]}); check its SHA-256 and fetch it again"
        ) from error
    return _unwrap(loaded, path)


def _unwrap(loaded: Any, path: Path) -> dict[str, Any]:
    import torch

    while isinstance(loaded, Mapping):
        wrapper = next((key for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)), None)
        if wrapper is None:
            break
        loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(one, torch.Tensor) for one in loaded.values()):
        raise ConfigurationError(f"the weight file {path} holds no state dict (tensors by name)")
    if loaded and all(name.startswith("module.") for name in loaded):
        return {name.removeprefix("module."): tensor for name, tensor in loaded.items()}
    return dict(loaded)


def save_safetensors(state: Mapping[str, Any], target: Path, *, source: Path) -> None:
    """Write tensors as safetensors, with the name and SHA-256 of the file that they come from."""
    from safetensors.torch import save_file

    target.parent.mkdir(parents=True, exist_ok=True)
    origin = {"source": source.name, "source_sha256": sha256_of(source), "format": "pt"}
    # Two names of one tensor share memory, which safetensors refuses: each gets its own copy.
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in state.items()}, target, origin)


def single_file(path: Path, names: Iterable[str]) -> Path:
    """The weight file at `path`: itself, or in a folder a safetensors file, else the first of `names`.

    Raises
    ------
    ConfigurationError
        If the folder holds none or several candidates.
    """
    if path.is_file():
        return path
    found = sorted(path.glob("*.safetensors")) or [path / name for name in names if (path / name).is_file()]
    if len(found) != 1:
        held = ", ".join(one.name for one in found) or "none"
        raise ConfigurationError(
            f"the folder {path} should hold one weight file ({', '.join(names)} or one .safetensors), "
            f"it holds {held}; name the file itself"
        )
    return found[0]
