"""`tumorline simulate` as a script would call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workflow.cli import app


def test_json_names_folders_studies_and_truth_that_exist(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["simulate", "lung-pair", "--out", str(tmp_path), "--prompts", "none", "--json"]
    )
    assert result.exit_code == 0, result.output
    (patient,) = json.loads(result.stdout)["patients"]
    assert patient["patient_id"] == "SIM-LUNG-0001"
    assert [len(list(Path(study["folder"]).glob("*.dcm"))) for study in patient["studies"]] == [129, 131]
    truth = json.loads(Path(patient["truth"]).read_text())
    assert [s["study_instance_uid"] for s in truth["studies"]] == [
        s["study_instance_uid"] for s in patient["studies"]
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lung-pair", "--prompts", "pencil"], "none of sr, rtstruct"),
        (["lung-pair", "--cases", "2", "--time-points", "3"], "two time points"),
        (["breathing", "--factor", "1.4"], "less than or equal to 1"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["simulate", *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_without_the_example_images_the_error_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workflow.domain.errors import UnsuitableInputError
    from workflow.simulation import sources

    with pytest.raises(UnsuitableInputError, match="need the repository's examples/data"):
        sources.load_lung_pair(tmp_path)
