"""What every test may ask for: the shared folder beside the project, the real cases in it, programs."""

from __future__ import annotations

import fcntl
import os
import shutil
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("TUMORLINE_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference material beside the project; the test is skipped where there is none."""
    if not SHARED.is_dir():
        pytest.skip(f"the reference material is not here ({SHARED}); set TUMORLINE_SHARED to its folder")
    return SHARED


@pytest.fixture(scope="session")
def real_cases(shared_dir: Path) -> Path:
    """The real cases, unpacked once into .cache/real_cases, whichever worker comes first."""
    archive = shared_dir / "data" / "real_cases.tar.xz"
    if not archive.is_file():
        pytest.skip(f"the real cases are not here ({archive})")
    target = ROOT / ".cache" / "real_cases"
    target.parent.mkdir(exist_ok=True)
    with (target.parent / "real_cases.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / ".complete").is_file():
            shutil.rmtree(target, ignore_errors=True)
            with tarfile.open(archive) as cases:
                cases.extractall(target, filter="data")
            (target / ".complete").touch()
    return target
