"""Reception: a row per instance, whichever way it came; nothing slow, no pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workflow.domain.errors import UnsuitableInputError
from workflow.engine.context import Context


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What an import did."""

    new: int
    known: int
    rejected: tuple[tuple[str, str], ...]


def import_files(
    paths: list[Path],
    context: Context,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> ImportResult:
    """Take files in as if they had come over the network; what is not DICOM is named and left out."""
    new = known = 0
    rejected = []
    for done, path in enumerate(paths, start=1):
        try:
            is_new = context.reception.receive(context.keep(path.read_bytes(), "IMPORT"))
        except UnsuitableInputError as error:
            rejected.append((str(path), str(error)))
        else:
            new, known = new + is_new, known + (not is_new)
        progress(done, len(paths))
    return ImportResult(new=new, known=known, rejected=tuple(rejected))


def dicom_files(inputs: list[Path]) -> Iterator[Path]:
    """Files below the inputs that claim to be DICOM (DICM prefix), sorted; a file named itself, always."""
    for given in inputs:
        if given.is_file():
            yield given
            continue
        for path in sorted(p for p in given.rglob("*") if p.is_file()):
            with path.open("rb") as file:
                if file.read(132)[128:] == b"DICM":
                    yield path
