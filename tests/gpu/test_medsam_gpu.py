"""MedSAM and MedSAM2 on a GPU: the CPU's masks, and repeatably."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_models import tiny_medsam, tiny_medsam2

from workflow.domain.geometry import Volume, dice
from workflow.domain.lesion import LesionPrompt, LinePrompt, PromptSource

pytest.importorskip("transformers", reason="the extra 'sam' is not installed")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]


@pytest.fixture(autouse=True)
def full_precision():
    """No TF32: its rounding is not what is compared here."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture(scope="module")
def scan() -> Volume:
    array = np.random.default_rng(2).normal(40, 60, (5, 96, 112)).astype(np.float32)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = (3.0, 0.8, 0.8)
    affine[3, 3] = 1
    return Volume(array=array, affine=affine)


LINE = LesionPrompt(
    shapes=(LinePrompt(start_lps=(30.0, 40.0, 6.0), end_lps=(52.0, 40.0, 6.0)),), source=PromptSource.READER
)


@pytest.mark.parametrize("open_tiny", [tiny_medsam, tiny_medsam2], ids=["medsam", "medsam2"])
def test_the_gpu_finds_what_the_cpu_finds(open_tiny, scan, tmp_path):
    (on_cpu,) = open_tiny(tmp_path / "w.pth", "cpu").segment(scan, [LINE])
    (on_gpu,) = open_tiny(tmp_path / "w.pth", "cuda").segment(scan, [LINE])
    # Memory is kept in bfloat16, so speckle may differ in a few voxels.
    assert dice(on_cpu.mask, on_gpu.mask) > 0.98
    assert on_gpu.confidence == pytest.approx(on_cpu.confidence, abs=0.01)


@pytest.mark.parametrize("open_tiny", [tiny_medsam, tiny_medsam2], ids=["medsam", "medsam2"])
def test_the_gpu_repeats_itself(open_tiny, scan, tmp_path):
    model = open_tiny(tmp_path / "w.pth", "cuda")
    one, other = (model.segment(Volume(array=scan.array, affine=scan.affine), [LINE])[0] for _ in range(2))
    assert dice(one.mask, other.mask) > 0.999
