"""The command's exit code says what to do next."""

from __future__ import annotations

import sys
from datetime import date
from typing import Any

import pytest
import typer
from hospital import Study

from workflow import cli
from workflow.bootstrap import build
from workflow.commands._exit import EPILOG, ExitCode
from workflow.settings import load_settings
from workflow.use_cases.attention import needs_a_person
from workflow.use_cases.demo import free_port


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TUMORLINE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _code(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["tumorline", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_0_is_done(home, monkeypatch):
    assert _code(monkeypatch, "status") == 0


def test_1_is_done_but_a_person_is_needed(home, monkeypatch, capsys):
    build(load_settings()).reception.reject("CT1", "it is no DICOM")
    assert _code(monkeypatch, "status") == 1
    assert "it is no DICOM" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [("status", "--no-such-option"), ("status", "--config", "no-such.toml"), ("status", "--replay", 7)],
    ids=["option", "configuration", "input"],
)
def test_2_is_wrong_use(home, monkeypatch, arguments):
    assert _code(monkeypatch, *arguments) == 2


def test_3_is_a_database_that_does_not_answer(home, monkeypatch, capsys):
    monkeypatch.setenv("TUMORLINE_DATABASE_URL", f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")
    assert _code(monkeypatch, "status") == 3
    assert "did not answer" in capsys.readouterr().err


def test_3_is_a_destination_that_does_not_answer(home, monkeypatch, tmp_path, capsys):
    Study(day=date(2024, 1, 2)).write(tmp_path / "study")
    assert _code(monkeypatch, "send", tmp_path / "study", "--to", f"PACS@127.0.0.1:{free_port()}") == 3
    assert "is not there" in capsys.readouterr().err


def test_70_is_a_defect_and_never_taken_for_a_result(home, monkeypatch, capsys):
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("workflow.settings.load_settings", broken)
    assert _code(monkeypatch, "status") == 70
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_help_and_docs_have_every_code(pytestconfig):
    site = (pytestconfig.rootpath / "docs" / "site.md").read_text()
    for code in ExitCode:
        assert f"**{code:d}**" in EPILOG
        assert f"| {code:d} |" in site
    assert typer.main.get_command(cli.app).epilog == EPILOG


QUIET = {"quarantine": [], "attention": [], "stopped": [], "outbox": {"VERIFIED": 3, "PENDING": 1}}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"quarantine": [{"what": "study 1.2", "reason": "two persons"}]}, "study 1.2: two persons"),
        ({"attention": [{"study_instance_uid": "1.2", "text": "a doubt"}]}, "study 1.2: a doubt"),
        (
            {"stopped": [{"stage": "infer", "subject": "7", "id": 3, "error": "gaps"}]},
            "infer 7 (job 3): gaps",
        ),
        ({"outbox": {"HELD": 2}}, "2 result objects were not sent, as validation failed"),
        ({"outbox": {"REFUSED": 1}}, "1 result objects were refused by the destination"),
    ],
    ids=["quarantine", "attention", "stopped", "held", "refused"],
)
def test_each_thing_that_somebody_must_look_at_is_said(state, words):
    assert needs_a_person({**QUIET, **state}) == [words]


def test_work_that_goes_on_by_itself_needs_nobody():
    assert needs_a_person(QUIET) == []


def test_a_study_whose_ingest_stopped_is_said_once():
    kept = {"what": "study 1.2", "reason": "no date"}
    stopped = {"stage": "ingest", "subject": "1", "id": 1, "error": "no date"}
    assert needs_a_person({**QUIET, "quarantine": [kept], "stopped": [stopped]}) == ["study 1.2: no date"]
