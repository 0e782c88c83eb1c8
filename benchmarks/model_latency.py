"""What a lesion costs with MedSAM, MedSAM2 and MedLAM: seconds, CPU and GPU, as a Markdown table.

    python -m benchmarks.model_latency                     # everything that is installed, on every device
    python -m benchmarks.model_latency --model medsam2 --device cpu --threads 4

The networks have the published sizes and random weights; time does not depend on their values. The scan is
synthetic: 200 slices of 512 x 512, 0.8 x 0.8 x 2.0 mm; the lesion a RECIST line of 24 mm (13 slices).
"Next" is a second lesion on the same slices: its slices are embedded already.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from workflow.domain.geometry import Volume
from workflow.domain.lesion import LesionPrompt, LinePrompt, PromptSource

SHAPE, SPACING = (200, 512, 512), (2.0, 0.8, 0.8)


def a_scan() -> Volume:
    """Noise in soft tissue, int16 HU."""
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = SPACING
    affine[3, 3] = 1
    array = np.random.default_rng(0).normal(40, 30, SHAPE).astype(np.int16)
    return Volume(array=array, affine=affine)


def a_line(shift_mm: float = 0.0) -> LesionPrompt:
    """A long axis of 24 mm in the middle of the scan."""
    y, z = 200.0 + shift_mm, 200.0
    line = LinePrompt(start_lps=(190.0, y, z), end_lps=(214.0, y, z))
    return LesionPrompt(shapes=(line,), source=PromptSource.READER)


def open_medsam(device: str, file: Path) -> Any:
    """MedSAM at its published size."""
    import torch
    from transformers import SamConfig, SamModel

    from models.medsam import MedSam, MedSamNetwork

    torch.manual_seed(0)
    model = SamModel(SamConfig()).to(device).eval()
    return MedSam(network=MedSamNetwork(model, torch.device(device)), weights=file)


def open_medsam2(device: str, file: Path) -> Any:
    """MedSAM2 at its published size; told that the lesion is on every slice, so that it goes all the way."""
    import torch
    from transformers import Sam2VideoModel

    from models.medsam2 import MedSam2, MedSam2Network, configuration

    torch.manual_seed(0)
    model = Sam2VideoModel(configuration())
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(20.0)
        for head in model.mask_decoder.output_hypernetworks_mlps:
            head.proj_out.bias.normal_()
    return MedSam2(
        network=MedSam2Network(model.to(device).eval(), torch.device(device)), weights=file, reach_factor=1.0
    )


def time_segmenter(opened: Callable[[str, Path], Any], device: str) -> tuple[float, float]:
    """Seconds of a first lesion and of a second one on the same slices."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pth"
        file.write_bytes(b"random")
        segmenter = opened(device, file)
        scan = a_scan()
        if device != "cpu":
            segmenter.segment(a_scan(), [a_line()])  # kernels are chosen at the first call
        first = _seconds(lambda: segmenter.segment(scan, [a_line()]))
        return first, _seconds(lambda: segmenter.segment(scan, [a_line(6.0)]))


def time_medlam(device: str) -> tuple[float, float]:
    """Seconds of the body coordinates of one position, and of one more."""
    import torch

    from models.medlam.localizer import MedLamLocalizer
    from models.medlam.network import LoadedNetwork, MedLam

    network = LoadedNetwork(module=MedLam().to(device).eval(), device=torch.device(device), weights=Path())
    localizer, scan = MedLamLocalizer(network=network), a_scan()
    first = _seconds(lambda: localizer.body_coordinates(scan, [(200.0, 200.0, 200.0)]))
    return first, _seconds(lambda: localizer.body_coordinates(scan, [(180.0, 210.0, 150.0)]))


def rows(models: list[str], devices: list[str]) -> Iterator[tuple[str, str, float, float]]:
    """(model, device, seconds of the first, seconds of the next)."""
    timers: dict[str, Callable[[str], tuple[float, float]]] = {
        "medsam": lambda device: time_segmenter(open_medsam, device),
        "medsam2": lambda device: time_segmenter(open_medsam2, device),
        "medlam": time_medlam,
    }
    for model in models:
        for device in devices:
            first, following = timers[model](device)
            yield model, device, first, following


def _seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    """Print the table."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", nargs="+", choices=["medsam", "medsam2", "medlam"], default=["medsam", "medsam2", "medlam"]
    )
    parser.add_argument(
        "--device", nargs="+", default=["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{given.threads} CPU threads, torch {torch.__version__}\n")
    print("| model | device | first lesion, s | next, s |\n|---|---|---|---|")
    for model, device, first, following in rows(given.model, given.device):
        print(f"| {model} | {device} | {first:.1f} | {following:.1f} |", flush=True)


if __name__ == "__main__":
    main()
