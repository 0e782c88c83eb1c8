"""Pipeline tests work in a hospital of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hospital import Hospital


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)
