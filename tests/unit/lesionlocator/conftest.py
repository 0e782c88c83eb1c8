"""Fixtures of numbers that the original program gave, and what regenerates its weights."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="session")
def fixtures(shared_dir: Path) -> Path:
    folder = shared_dir / "fixtures"
    if not (folder / "lesionlocator").is_dir():
        pytest.skip(f"the parity fixtures are not here ({folder})")
    return folder


@pytest.fixture(scope="session")
def parity(fixtures: Path) -> ModuleType:
    """compare_parity.py: reads the fixtures and holds the tolerances."""
    return _load(fixtures / "compare_parity.py")


@pytest.fixture(scope="session")
def recipe(fixtures: Path) -> ModuleType:
    """weights_recipe.py: spec and seed to a state dict."""
    return _load(fixtures / "weights_recipe.py")


@pytest.fixture(autouse=True)
def two_threads():
    """The tolerances were measured on one and two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    yield
    torch.set_num_threads(before)


def _load(path: Path) -> ModuleType:
    # By path: on sys.path the folder would be a namespace package that shadows installed ones.
    spec = importlib.util.spec_from_file_location(f"parity_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
