"""`tumorline board` lists, adds, and makes packets without a worker."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from hospital import LEFT, Hospital, Sphere, Study
from typer.testing import CliRunner

from workflow.cli import app
from workflow.domain.errors import UnsuitableInputError


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("command")
    hospital = Hospital(folder)
    sphere = Sphere(centre_lps=LEFT, diameter_mm=16, is_prompted=True, label="left lung")
    hospital.process(Study(day=date(2024, 3, 4), spheres=(sphere,)))
    return hospital.settings.home


@pytest.fixture
def run(home, monkeypatch):
    monkeypatch.setenv("TUMORLINE_HOME", str(home))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["board", *arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_a_board_is_prepared_from_the_command_line(run, tmp_path):
    day = ("--date", "2026-12-01")
    run("add", *day, "--patient", "P-1", "--by", "roe", "--priority", "urgent", "--question", "Resection?")
    assert json.loads(run("list", "--json")) == [{"day": "2026-12-01", "patients": 1, "urgent": 1}]
    (entry,) = json.loads(run("list", *day, "--json"))["entries"]
    assert (entry["patient_id"], entry["question"]) == ("P-1", "Resection?")
    assert "Resection?" in run("list", *day)
    paths = [
        Path(p) for p in json.loads(run("packet", *day, "--by", "roe", "--out", str(tmp_path), "--json"))
    ]
    assert len(paths) == 12
    assert all(path.parent == tmp_path and path.stat().st_size for path in paths)
    assert {path.name.split(".", 1)[1] for path in paths} == {
        "pdf",
        "pptx",
        "xlsx",
        "csv",
        "fhir.json",
        "json",
    }


def test_what_can_not_be_done_says_what_to_do(run):
    with pytest.raises(UnsuitableInputError, match="tumorline status"):
        run("add", "--date", "2026-12-01", "--patient", "P-9", "--by", "roe")
    with pytest.raises(UnsuitableInputError, match="add a patient first"):
        run("packet", "--date", "2020-01-01", "--by", "roe")
