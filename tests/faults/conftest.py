"""The tests of faults: short ones always, the long ones by `make faults` (TUMORLINE_FAULTS=all)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# The servers are those of the integration tests.
sys.path.append(str(Path(__file__).resolve().parent.parent / "integration"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("TUMORLINE_FAULTS") == "all":
        return
    skip = pytest.mark.skip(reason="takes long; `make faults` runs it")
    for item in items:
        if item.get_closest_marker("long_fault"):
            item.add_marker(skip)
