"""LesionLocator on a GPU: the CPU's numbers in single precision, its masks in half precision."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from models.lesionlocator import open_segmenter, open_tracker
from workflow.domain.geometry import Mask, Volume, dice
from workflow.domain.lesion import LesionPrompt, PointPrompt, PriorLesion, PromptSource

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "lesionlocator.py"
TINY = {
    "patch": [32, 64, 64],
    "features": [8, 12, 16, 24, 32, 32],
    "kernels": [[3, 3, 3]] * 6,
    "strides": [[1, 1, 1]] + [[2, 2, 2]] * 5,
    "blocks": [1, 2, 2, 1, 1, 1],
}


@pytest.fixture(scope="module")
def benchmark():
    """The benchmark's writer of releases with random weights."""
    spec = importlib.util.spec_from_file_location("benchmark_lesionlocator", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def weights(benchmark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    benchmark.write_release(folder, "seg", {**TINY, "spacing": [2.0, 1.25, 1.25]})
    return benchmark.write_release(folder, "track", {**TINY, "spacing": [3.0, 1.4, 1.4]})


@pytest.fixture(scope="module")
def scan() -> Volume:
    coarse = torch.from_numpy(np.random.default_rng(0).normal(0, 300, (1, 1, 8, 12, 12)))
    smooth = torch.nn.functional.interpolate(coarse, (40, 128, 128), mode="trilinear")
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = (2.5, 1.0, 1.0)
    affine[3, 3] = 1
    return Volume(array=smooth[0, 0].numpy().astype(np.int16), affine=affine)


def prompts(scan):
    positions = [scan.lps(np.array(index)) for index in ((15, 60, 60), (25, 80, 40), (20, 40, 90))]
    return [
        LesionPrompt(shapes=(PointPrompt(position_lps=tuple(p)),), source=PromptSource.READER)
        for p in positions
    ]


def lesion(scan) -> PriorLesion:
    mask = Mask(voxels=np.ones((4, 10, 10), dtype=bool), start_ijk=(18, 50, 50), shape=scan.shape)
    return PriorLesion(tracking_uid="2.25.1", mask=mask)


@pytest.mark.parametrize(("precision", "least"), [("float32", 0.9999), ("float16", 0.97), ("bfloat16", 0.9)])
def test_segmentation_on_the_gpu_agrees_with_the_cpu(precision, least, weights, scan):
    options = {"prompt_kind": "point", "clean_up": False}
    on_cpu = open_segmenter(weights, device="cpu", **options).segment(scan, prompts(scan))
    on_gpu = open_segmenter(weights, device="cuda", precision=precision, **options).segment(
        scan, prompts(scan)
    )
    for one, other in zip(on_cpu, on_gpu, strict=True):
        assert dice(one.mask, other.mask) >= least


@pytest.mark.parametrize(("precision", "least"), [("float32", 0.999), ("float16", 0.95)])
def test_tracking_on_the_gpu_agrees_with_the_cpu(precision, least, weights, scan):
    moved = scan.with_array(np.roll(scan.array, (1, 3, -2), axis=(0, 1, 2)))
    options = {"registration_grid": 75, "clean_up": False}
    (on_cpu,) = open_tracker(weights, device="cpu", **options).track(scan, [lesion(scan)], moved)
    tracker = open_tracker(weights, device="cuda", precision=precision, **options)
    (on_gpu,) = tracker.track(scan, [lesion(scan)], moved)
    assert dice(on_cpu.mask, on_gpu.mask) >= least


def test_a_lesion_at_full_size_takes_seconds(benchmark, tmp_path):
    weights = benchmark.write_release(tmp_path, "seg", benchmark.TOPOLOGY["seg"])
    scan = benchmark.body(0)
    segmenter = open_segmenter(weights, prompt_kind="point", device="cuda", clean_up=False)
    point = PointPrompt(position_lps=tuple(scan.lps(np.array((100, 256, 256)))))
    shown = [LesionPrompt(shapes=(point,), source=PromptSource.READER)]
    segmenter.segment(scan, shown)
    torch.cuda.synchronize()
    started = time.perf_counter()
    segmenter.segment(scan, shown)
    assert time.perf_counter() - started < 20
