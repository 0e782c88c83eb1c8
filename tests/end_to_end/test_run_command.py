"""`tumorline run` over folders, with the product's own models: what a stranger does first."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import highdicom
import pytest
from hospital import LEFT, Sphere, Study, diameters
from result_cases import program


def _tumorline(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workflow", *map(str, arguments)], capture_output=True, text=True, timeout=200
    )


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    baseline = Study(
        day=date(2024, 3, 4), spheres=(Sphere(centre_lps=LEFT, diameter_mm=18, is_prompted=True),)
    )
    follow_up = Study(day=date(2024, 5, 6), spheres=(Sphere(centre_lps=LEFT, diameter_mm=11),))
    baseline.write(folder / "baseline")
    follow_up.write(folder / "follow-up")
    return folder


@pytest.fixture(scope="module")
def results(studies, tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("results")
    done = _tumorline("run", studies / "follow-up", studies / "baseline", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_results_lie_by_patient_and_study(results):
    out, value = results
    points = value["patients"][0]["time_points"]
    for point in points:
        folder = out / "P-1" / f"{point['study_date']}_{point['study_instance_uid']}"
        assert {"seg.dcm", "sr.dcm", "report.json"} <= {path.name for path in folder.iterdir()}
        assert json.loads((folder / "report.json").read_text()) == point["report"]
    timeline = json.loads((out / "P-1" / "timeline.json").read_text())
    assert [p["study_date"] for p in timeline["time_points"]] == ["2024-03-04", "2024-05-06"]


def test_the_weight_free_models_measure_and_track_to_within_two_millimetres(results):
    baseline, follow_up = results[1]["patients"][0]["time_points"]
    assert diameters(baseline)["T01"] == pytest.approx(18, abs=2)
    assert diameters(follow_up)["T01"] == pytest.approx(11, abs=2)
    assert follow_up["report"]["assessment"]["overall"] == "PR"
    assert {m["name"] for m in follow_up["report"]["models"]} == {"weight-free tracker"}


def test_one_tracking_uid_goes_through_every_seg_and_sr(results):
    uids = set()
    for path in sorted(results[0].glob("P-1/*/seg.dcm")):
        uids |= {description.tracking_uid for description in highdicom.seg.segread(path).SegmentSequence}
    for path in sorted(results[0].glob("P-1/*/sr.dcm")):
        report = highdicom.sr.srread(path)
        uids |= {g.tracking_uid for g in report.content.get_planar_roi_measurement_groups()}
        uids |= {g.tracking_uid for g in report.content.get_image_measurement_groups()}
        uids |= {g.tracking_uid for g in report.content.get_volumetric_roi_measurement_groups()}
    assert len(uids) == 1


def test_dciodvfy_finds_no_error(results):
    validator = program("dciodvfy")
    for path in sorted(results[0].glob("P-1/*/*.dcm")):
        said = subprocess.run([validator, "-new", path], capture_output=True, text=True).stderr
        assert "Error" not in said, f"{path.name}: {said}"


def test_running_again_adds_nothing(results, studies):
    out, before = results
    done = _tumorline("run", studies, "--out", out, "--json")
    after = json.loads(done.stdout)
    assert after["imported"]["new"] == 0
    assert after["patients"] == before["patients"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "NOWHERE", "--out", "x"), 2, "does not exist"),
        (("run", "EMPTY", "--out", "x"), 2, "no DICOM file below"),
        (("send", "EMPTY", "--to", "nonsense"), 2, "write AE@HOST:PORT"),
        (("up", "--only", "nothing"), 2, "there is no service nothing"),
        (("config", "--config", "EMPTY/none.toml"), 2, "no configuration file"),
        (("segment", "EMPTY", "--prompt", "point:1,2", "--out", "x.nii.gz"), 2, "point"),
    ],
)
def test_a_wrong_call_says_what_is_wrong_in_one_line(tmp_path, arguments, code, message):
    (tmp_path / "EMPTY").mkdir()
    given = [str(tmp_path / a) if a.startswith(("EMPTY", "NOWHERE", "x")) else a for a in arguments]
    done = _tumorline(*given)
    assert done.returncode == code
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
