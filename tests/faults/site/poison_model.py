"""A site's model that does what a mark's label says: dies, hangs, eats up the memory, or waits for a file.

Everything else it finds as the phantoms' own model does.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from hospital import SphereFinder

from models.catalogue import ALL_POSITIVE_PROMPTS, CatalogueEntry, Kind
from workflow.domain.geometry import Volume
from workflow.domain.lesion import LesionPrompt, SegmentedLesion
from workflow.ports import Progress, no_progress

ENTRY = CatalogueEntry(
    name="poison",
    version="1",
    title="A model that misbehaves",
    licence="Apache-2.0",
    factories={Kind.SEGMENTER: "poison_model:open_model", Kind.TRACKER: "poison_model:open_model"},
    prompts=ALL_POSITIVE_PROMPTS,
    limits=("For tests of faults.",),
    origin="poison-model",
)


class Panic(BaseException):
    """What an extension in Rust raises: no `Exception`."""


class Poison(SphereFinder):
    """Looks at the labels before it looks at the lesions."""

    def segment(
        self, volume: Volume, prompts: Sequence[LesionPrompt], *, progress: Progress = no_progress
    ) -> list[SegmentedLesion]:
        """Do what the labels say, then segment."""
        progress(0.5, "segmenting")
        for prompt in prompts:
            _obey(prompt.label or "")
        return super().segment(volume, prompts, progress=progress)


def _obey(label: str) -> None:
    match label:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(10_000)
        case "panic":
            raise Panic("index out of bounds: the len is 7 but the index is 7")
        case "fill":
            filled = bytearray(os.urandom(2**20)) * 1024
            time.sleep(10_000)
            del filled
        case "wait":
            Path(os.environ["POISON_GATE"] + ".reached").touch()
            while not Path(os.environ["POISON_GATE"]).exists():
                time.sleep(0.05)


def open_model(**_: object) -> Poison:
    """Open it."""
    return Poison()
