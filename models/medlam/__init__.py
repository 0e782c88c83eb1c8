"""MedLAM: where in the body a patch is (arXiv 2306.14752), own implementation of openmedlab/MedLSAM 4144407.

No weights come with it. `open_localizer` gives body coordinates; `open_detector` boxes of the structures that
a site's template scans show; `structures.MedLsam` segments those boxes with any segmenter that takes boxes.
"""

from __future__ import annotations

from pathlib import Path

from models.medlam.detector import MedLamDetector
from models.medlam.localizer import MedLamLocalizer
from models.medlam.network import load_network
from models.weights import load_state_dict, save_safetensors, single_file

_NAMES = ("medlam.pth",)


def open_localizer(weights: Path, *, device: str = "auto", batch: int = 4) -> MedLamLocalizer:
    """Open the localizer.

    Parameters
    ----------
    weights
        `medlam.pth` (names with or without `module.`), its safetensors, or a folder with one of them.
    batch
        Patches of 64 x 64 x 64 that go through the network at once.
    """
    return MedLamLocalizer(network=load_network(single_file(Path(weights), _NAMES), device), batch=batch)


def open_detector(
    weights: Path, *, device: str = "auto", templates: Path | None = None, batch: int = 2
) -> MedLamDetector:
    """Open the detector.

    Parameters
    ----------
    weights
        As `open_localizer`.
    templates
        The file that `models.medlam.templates.TemplateStore.save` wrote; if left out, `templates.npz` beside
        the weights.
    """
    from models.medlam.templates import TemplateStore

    file = single_file(Path(weights), _NAMES)
    store = TemplateStore.load(Path(templates) if templates else file.parent / "templates.npz")
    return MedLamDetector(network=load_network(file, device), templates=store, batch=batch)


def convert(source: Path, target: Path) -> None:
    """Rewrite a published checkpoint as safetensors."""
    save_safetensors(load_state_dict(source), target, source=source)
