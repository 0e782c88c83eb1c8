"""What an installation needs is listed, and the command line teaches."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import tomllib
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from workflow.cli import app

ROOT = Path(__file__).resolve().parents[2]


def test_every_package_is_listed_for_installation():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("workflow", "dicom_io", "models", "db")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert listed - {"db.migrations", "db.migrations.versions"} == there


def test_no_package_shadows_alembic():
    assert not list(ROOT.glob("alembic/**/__init__.py"))
    assert not list(ROOT.glob("docker/**/__init__.py"))


COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_verbs_are_there():
    assert {
        "up", "demo", "simulate", "import", "run", "segment", "track", "send", "status", "config",
        "recist", "models", "decide", "sign",
    } <= set(COMMANDS)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_with_an_example(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    if command != "models":  # a group: its commands have the examples
        assert f"tumorline {command}" in result.output


def test_the_gpl_library_is_imported_by_one_module_only():
    importing = [
        path.relative_to(ROOT).as_posix()
        for top in ("workflow", "dicom_io", "models", "db")
        for path in (ROOT / top).rglob("*.py")
        if "orthanc_rest_client" in path.read_text()
    ]
    assert importing == ["dicom_io/orthanc.py"]


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_what_a_benchmark_imports_of_ours_is_there(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in (
            "workflow", "dicom_io", "models", "db",
        ):  # fmt: skip
            module = importlib.import_module(str(node.module))
            for name in node.names:
                assert hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}")
