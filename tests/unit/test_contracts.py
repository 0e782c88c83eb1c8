"""Who may import whom: the contracts hold, and each finds the breach that is planted in a copy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("workflow", "dicom_io", "models", "db")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = {c["id"]: c for c in PROJECT["tool"]["importlinter"]["contracts"]}

# What must not be loaded by a process that only answers `--help`, shows pages or receives images.
HEAVY = (
    "torch", "transformers", "SimpleITK", "scipy", "skimage", "highdicom", "matplotlib", "reportlab",
    "nnInteractive", "pynetdicom", "pydicom", "celery", "pptx", "openpyxl",
)  # fmt: skip
ENTRIES = ("cli", "use_cases.api", "bootstrap", "engine.services", "web")

# Contract, file, and the line that breaks it.
BREACHES = [
    ("domain", "workflow/domain/record.py", "import pydantic"),
    ("domain", "workflow/domain/visit.py", "import scipy.ndimage"),
    ("domain", "workflow/domain/report.py", "from workflow.ports import Job"),
    ("domain", "workflow/domain/response/engine.py", "def judge():\n    import time"),
    ("layers", "workflow/ports/store.py", "from workflow.engine.context import Context"),
    ("layers", "workflow/settings.py", "import workflow.ports"),
    ("layers", "workflow/ingest.py", "from workflow import timeline"),
    ("layers", "workflow/report.py", "from workflow.bootstrap import build"),
    ("layers", "workflow/report.py", "from workflow import review"),
    ("layers", "workflow/use_cases/run.py", "from workflow.commands._shared import print_json"),
    ("layers", "workflow/web/view.py", "from workflow.engine.services import last_line"),
    ("adapters", "dicom_io/volumes.py", "from models.windows import CT_WINDOWS"),
    ("adapters", "db/records.py", "def late():\n    import dicom_io.uids"),
    ("upwards", "models/recent.py", "from workflow.measurement import compared_with"),
    ("upwards", "db/outbox.py", "from workflow.engine.context import Context"),
    ("bootstrap", "workflow/report.py", "from dicom_io.uids import uid_of"),
    ("bootstrap", "workflow/web/app.py", "def late():\n    from db.overview import worklist"),
    ("rows", "workflow/bootstrap.py", "from db.tables import JobRow"),
    ("sql", "workflow/engine/jobs.py", "from sqlalchemy.exc import IntegrityError"),
    ("dicom", "workflow/listener.py", "def late():\n    import pydicom"),
    ("dicom", "workflow/board.py", "def late():\n    import pptx"),
    ("torch", "dicom_io/pixels.py", "import torch"),
    ("celery", "workflow/engine/reconciler.py", "import celery"),
    ("pages", "workflow/commands/up.py", "from fastapi import FastAPI"),
    ("pages", "dicom_io/scp.py", "def late():\n    from fastapi import APIRouter"),
    ("typer", "workflow/use_cases/segment.py", "import typer"),
]

# Lints the packages in the working folder with each breach planted in turn; prints the broken contracts.
_LINT = """
import json, pathlib, sys
from importlinter import configuration
from importlinter.application import use_cases
configuration.configure()
options = use_cases.read_user_options("pyproject.toml")
use_cases._register_contract_types(options)
found = []
for file, line in json.load(sys.stdin):
    path = pathlib.Path(file)
    whole = path.read_text()
    path.write_text(whole + "\\n" + line + "\\n")
    report = use_cases.create_report(options, cache_dir="cache")
    path.write_text(whole)
    found.append([contract.contract_options["id"] for contract, check in report.get_contracts_and_checks()
                  if not check.kept])
print("found", json.dumps(found))
"""

_LOADED = """
import importlib, json, sys
for entry in json.loads(sys.argv[1]):
    importlib.import_module("workflow." + entry)
print("found", json.dumps([name for name in json.loads(sys.argv[2]) if name in sys.modules]))
"""


def _found(arguments: Sequence[str], folder: Path, given: str = "") -> list:
    done = subprocess.run(
        [sys.executable, "-c", *arguments], cwd=folder, input=given, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("found ")[2])


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Iterator[Path]:
    """A copy of the packages that may be spoiled."""
    folder = tmp_path_factory.mktemp("contracts")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def broken(copy) -> list[list[str]]:
    """Which contracts are broken: by nothing first, then by each of the breaches."""
    first = ("workflow/__init__.py", "")
    planted = [first, *((file, line) for _, file, line in BREACHES)]
    return _found([_LINT], copy, json.dumps(planted))


def test_every_contract_holds(broken):
    assert broken[0] == []


@pytest.mark.parametrize("number", range(len(BREACHES)), ids=[f"{c}: {f}" for c, f, _ in BREACHES])
def test_a_breach_is_found_by_its_contract(broken, number):
    assert BREACHES[number][0] in broken[number + 1]


def test_every_contract_has_a_breach_that_shows_that_it_bites():
    assert {contract for contract, _, _ in BREACHES} == set(CONTRACTS)


def test_every_part_of_workflow_has_its_layer():
    named = {
        name.strip().split(".")[0] for layer in CONTRACTS["layers"]["layers"] for name in layer.split("|")
    }
    there = {path.stem for path in (ROOT / "workflow").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__init__", "__main__", "__pycache__"} == named
    engine = {path.stem for path in (ROOT / "workflow/engine").glob("*.py")} - {"__init__"}
    assert {f"engine.{part}" for part in engine} <= {
        name.strip() for layer in CONTRACTS["layers"]["layers"] for name in layer.split("|")
    }


def test_every_stage_is_kept_out_of_the_adapters():
    stages = {path.stem for path in (ROOT / "workflow").glob("*.py")}
    stages -= {"__init__", "__main__", "ports", "settings"}
    assert {f"workflow.{stage}" for stage in stages} <= set(CONTRACTS["upwards"]["forbidden_modules"])


def test_all_that_is_installed_with_us_is_kept_out_of_the_domain():
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *(d for e in ("orthanc", "postgres", "redis", "sam", "nninteractive")
                                          for d in project["optional-dependencies"][e])]  # fmt: skip
    names = {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in wanted} - {"numpy"}
    modules = {
        module
        for module, owners in packages_distributions().items()
        if {owner.lower().replace("_", "-") for owner in owners} & names
    }
    # What some wheels leave at the top beside their package.
    modules = {m for m in modules if not m.startswith("_")} - {"docs", "tests", "cmake", "functorch"}
    assert modules <= set(CONTRACTS["domain"]["forbidden_modules"])


def test_the_domain_asks_no_clock():
    for path in (ROOT / "workflow/domain").rglob("*.py"):
        assert not re.findall(r"\.(?:now|today|utcnow)\(|\bopen\(", path.read_text()), path


def test_nothing_heavy_is_loaded_before_it_is_needed():
    assert _found([_LOADED, json.dumps(ENTRIES), json.dumps(HEAVY)], ROOT) == []


def test_a_heavy_import_at_the_head_of_a_file_is_seen(copy):
    path = copy / "dicom_io" / "adapters.py"
    whole = path.read_text()
    path.write_text(whole + "\nimport pydicom\n")
    assert "pydicom" in _found([_LOADED, json.dumps(ENTRIES), json.dumps(HEAVY)], copy)
    path.write_text(whole)
