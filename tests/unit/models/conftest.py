"""The recipe of random weights and the comparison with upstream's numbers, from the reference material."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from types import ModuleType

import pytest
import torch
from weight_server import WeightServer


def _by_path(path: Path) -> ModuleType:
    # By path: the folder on sys.path would make its sub-folders importable packages.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fixtures(shared_dir: Path) -> Path:
    return shared_dir / "fixtures"


@pytest.fixture(scope="session")
def parity(fixtures: Path) -> ModuleType:
    return _by_path(fixtures / "compare_parity.py")


@pytest.fixture(scope="session")
def recipe(fixtures: Path) -> ModuleType:
    return _by_path(fixtures / "weights_recipe.py")


@pytest.fixture
def one_thread():
    """One thread, as the expected numbers were recorded: the order of sums is the only freedom left."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def server():
    """A server of one weight file on this machine."""
    running = WeightServer()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()
