"""A small network of Tumorline's own, trained on synthetic lesions alone (`models.training`), Apache-2.0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workflow.ports import Segmenter


def open_segmenter(weights: Path, *, device: str = "auto", **parameters: Any) -> Segmenter:
    """Open the segmenter.

    Parameters
    ----------
    weights
        The safetensors file that `tumorline train` writes, or a folder with one.
    device
        "auto", "cpu", "cuda" or "cuda:<n>".
    **parameters
        Fields of `models.open_lesion.segmenter.Settings`.
    """
    from models.devices import pick_device
    from models.open_lesion.segmenter import OpenLesionSegmenter, Settings
    from models.open_lesion.weights import load_network
    from models.weights import sha256_of, single_file

    file = single_file(Path(weights), ())
    return OpenLesionSegmenter(
        load_network(file), sha256_of(file), device=str(pick_device(device)), settings=Settings(**parameters)
    )
