"""What LesionLocator costs on this machine: seconds per lesion and the most memory held.

    python -m benchmarks.lesionlocator                  # both parts, published size, one fold
    python -m benchmarks.lesionlocator --part track --lesions 1 3 --device cuda

The networks have the published topology and random weights; time and memory do not depend on
their values. The scan is synthetic: 200 slices of 512 x 512, 0.8 x 0.8 x 2.0 mm.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from workflow.domain.geometry import Mask, Volume
from workflow.domain.lesion import LesionPrompt, PointPrompt, PriorLesion, PromptSource

SHAPE, SPACING = (200, 512, 512), (2.0, 0.8, 0.8)
PARTS = {"seg": "LesionLocatorSeg/point_optimized", "track": "LesionLocatorTrack"}
# arXiv 2502.20985's release: the tracking network's topology is what nnU-Net plans for its spacing and patch.
TOPOLOGY: dict[str, dict[str, Any]] = {
    "seg": {
        "spacing": [1.0, 0.8, 0.8],
        "patch": [160, 224, 224],
        "features": [32, 64, 128, 256, 320, 320],
        "kernels": [[3, 3, 3]] * 6,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * 5,
        "blocks": [1, 3, 4, 6, 6, 6],
    },
    "track": {
        "spacing": [3.0, 0.8418, 0.8418],
        "patch": [96, 256, 256],
        "features": [32, 64, 128, 256, 320, 320, 320],
        "kernels": [[1, 3, 3]] + [[3, 3, 3]] * 6,
        "strides": [[1, 1, 1], [1, 2, 2]] + [[2, 2, 2]] * 4 + [[1, 2, 2]],
        "blocks": [1, 3, 4, 6, 6, 6, 6],
    },
}


def write_release(folder: Path, part: str, topology: dict[str, Any], *, resampling: str = "torch") -> Path:
    """Write one part of a release with random weights, one fold, in the published layout."""
    import torch

    from models.lesionlocator.networks import ResidualEncoderUNet
    from models.lesionlocator.plans import read_plan
    from models.lesionlocator.tracknet import TrackNet

    target = folder / PARTS[part]
    (target / "fold_0").mkdir(parents=True)
    (target / "plans.json").write_text(json.dumps(_plans(topology, resampling)), encoding="utf-8")
    architecture = read_plan(target / "plans.json", "3d_fullres").architecture
    torch.manual_seed(0)
    network = TrackNet(architecture) if part == "track" else ResidualEncoderUNet(architecture)
    checkpoint = {"network_weights": network.state_dict(), "init_args": {"configuration": "3d_fullres"}}
    torch.save(checkpoint, target / "fold_0" / "checkpoint_final.pth")
    return folder


def _plans(topology: dict[str, Any], resampling: str) -> dict[str, Any]:
    name, arguments = {
        "torch": ("resample_torch_fornnunet", {"force_separate_z": False}),
        "default": (
            "resample_data_or_seg_to_shape",
            {"order": 1, "order_z": 0, "force_separate_z": None},
        ),
    }[resampling]
    stages = len(topology["features"])
    architecture = {
        "n_stages": stages,
        "features_per_stage": topology["features"],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": topology["kernels"],
        "strides": topology["strides"],
        "n_blocks_per_stage": topology["blocks"],
        "n_conv_per_stage_decoder": [1] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    configuration: dict[str, Any] = {
        "patch_size": topology["patch"],
        "spacing": topology["spacing"],
        "normalization_schemes": ["CTNormalization"],
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
            "arch_kwargs": architecture,
        },
    }
    for what in ("data", "seg", "probabilities"):
        configuration[f"resampling_fn_{what}"] = name
        order = {"order": 3} if what == "data" and resampling == "default" else {}
        configuration[f"resampling_fn_{what}_kwargs"] = {**arguments, **order}
    intensities = {"percentile_00_5": -918.0, "percentile_99_5": 723.0, "mean": -63.0, "std": 282.4}
    return {
        "configurations": {"3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }


def body(seed: int) -> Volume:
    """An oval of soft tissue in air, with noise."""
    z, y, x = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    oval = ((y - 256) / 170) ** 2 + ((x - 256) / 220) ** 2 + ((z - 100) / 400) ** 2 < 1
    noise = np.random.default_rng(seed).normal(0, 20, SHAPE).astype(np.float32)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = SPACING
    affine[3, 3] = 1
    return Volume(array=np.where(oval, 40 + noise, -1000).astype(np.int16), affine=affine)


def centres(count: int) -> list[tuple[int, int, int]]:
    """Places for lesions, apart from each other."""
    return [(60 + 10 * i, 200 + 12 * i, 180 + 15 * i) for i in range(count)]


def measure(part: str, arguments: argparse.Namespace) -> None:
    """Run one part and print a row per number of lesions."""
    from models.lesionlocator import open_segmenter, open_tracker

    options = {"device": arguments.device, "precision": arguments.precision, "clean_up": False}
    with tempfile.TemporaryDirectory() as folder:
        weights = write_release(Path(folder), part, TOPOLOGY[part], resampling=arguments.resampling)
        scan = body(0)
        for count in arguments.lesions:
            if part == "seg":
                segmenter = open_segmenter(weights, prompt_kind="point", **options)
                prompts = [
                    LesionPrompt(
                        shapes=(PointPrompt(position_lps=_lps(scan, centre)),), source=PromptSource.READER
                    )
                    for centre in centres(count)
                ]
                started = time.perf_counter()
                segmenter.segment(scan, prompts)
            else:
                tracker = open_tracker(weights, **options)
                lesions = [_lesion(scan, centre, i) for i, centre in enumerate(centres(count))]
                started = time.perf_counter()
                tracker.track(scan, lesions, body(1))
            _print(part, count, time.perf_counter() - started)


def _lps(scan: Volume, index: tuple[int, int, int]) -> tuple[float, float, float]:
    x, y, z = scan.lps(np.array(index))
    return float(x), float(y), float(z)


def _lesion(scan: Volume, centre: tuple[int, int, int], number: int) -> PriorLesion:
    voxels = np.ones((8, 20, 20), dtype=bool)
    start = (centre[0] - 4, centre[1] - 10, centre[2] - 10)
    return PriorLesion(
        tracking_uid=f"2.25.{number}", mask=Mask(voxels=voxels, start_ijk=start, shape=scan.shape)
    )


def _print(part: str, count: int, seconds: float) -> None:
    import torch

    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row = f"| {part} | {count} | {seconds:.1f} s | {held:.1f} GiB |"
    if torch.cuda.is_available():
        row += f" {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on {torch.cuda.get_device_name()} |"
    print(row, flush=True)


def main() -> None:
    """Read the arguments and measure each part in a process of its own, for its own peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", choices=(*PARTS, "both"), default="both")
    parser.add_argument("--lesions", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--resampling", choices=("torch", "default"), default="torch")
    arguments = parser.parse_args()
    if arguments.part != "both":
        measure(arguments.part, arguments)
        return
    print("| part | lesions | time | most memory |")
    print("|---|---|---|---|", flush=True)
    for part in PARTS:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.lesionlocator", "--part", part, *sys.argv[1:]], check=True
        )


if __name__ == "__main__":
    main()
