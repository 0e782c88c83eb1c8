"""Visits of several series and studies with the product's own models, by `run` and `up` into the archive."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from datetime import date
from pathlib import Path

import pydicom
import pytest
from hospital import LEFT, Series, Sphere, Study
from whole_stack import Stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("stack 3"),
    # pynetdicom leaves the socket of a lost connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"),
]
FIRST, SECOND = date(2024, 3, 4), date(2024, 5, 6)
LIVER, FROM_LIVER_MM = (24.0, 24.0, -60.0), -90.0
TWO_SERIES, TWO_DAYS, PET_CT = "P-1", "P-2", "P-3"
# Long axes of the first lesion and of the second, at baseline and at follow-up, mm.
SIZES = {FIRST: (18, 20), SECOND: (10, 11)}


def _lung(day: date) -> Sphere:
    return Sphere(centre_lps=LEFT, diameter_mm=SIZES[day][0], is_prompted=day == FIRST, label="left lung")


def _liver(day: date) -> Sphere:
    return Sphere(centre_lps=LIVER, diameter_mm=SIZES[day][1], is_prompted=day == FIRST, label="liver")


def _studies(day: date) -> list[Study]:
    abdomen = {"body_part": "ABDOMEN", "description": "CT abdomen", "from_mm": FROM_LIVER_MM}
    return [
        Study(
            day=day, patient_id=TWO_SERIES, spheres=(_lung(day),), description="CT chest",
            more=(Series(key="abdomen", spheres=(_liver(day),), **abdomen),),
        ),
        Study(day=day, patient_id=TWO_DAYS, spheres=(_lung(day),)),
        Study(
            day=day.replace(day=day.day + 2), patient_id=TWO_DAYS, spheres=(_liver(day),), key="abdomen",
            **abdomen,
        ),
        Study(
            day=day, patient_id=PET_CT, spheres=(_lung(day),), description="PET/CT",
            more=(Series(key="pet", modality="PT", description="PET", spheres=(_hot(day),)),),
        ),
    ]  # fmt: skip


def _hot(day: date) -> Sphere:
    """The same lesion on the PET, drawn a little larger there."""
    return Sphere(centre_lps=LEFT, diameter_mm=SIZES[day][0] + 4, is_prompted=day == FIRST, label="hot spot")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    for number, study in enumerate([*_studies(SECOND), *_studies(FIRST)]):
        study.write(folder / f"{number:02d}")
    return folder


def _check(courses: dict[str, list[dict]], archive: Path) -> None:
    """One visit, one response; in the archive a SEG per measured series and an SR per study."""
    held: dict[str, list[pydicom.Dataset]] = defaultdict(list)
    for path in archive.rglob("*.dcm"):
        made = pydicom.dcmread(path)
        held[str(made.SOPInstanceUID)].append(made)
    assert all(len(copies) == 1 for copies in held.values())
    for patient, studies, lesions in ((TWO_SERIES, 1, 2), (TWO_DAYS, 2, 2), (PET_CT, 1, 1)):
        assert len(courses[patient]) == 2
        for point, day in zip(courses[patient], (FIRST, SECOND), strict=True):
            report = point["report"]
            assert (point["study_date"], len(point["studies"])) == (day.isoformat(), studies)
            sizes = sorted(o["diameter_mm"] for o in report["lesions"])
            assert sizes == pytest.approx(sorted(SIZES[day][:lesions]), abs=2)
            assert report["assessment"]["sum_mm"] == pytest.approx(sum(sizes), abs=0.2)
            assert {o["state"] for o in point["objects"]} == {"VERIFIED"}
            own = [held[o["sop_instance_uid"]][0] for o in point["objects"]]
            segs, srs = ([d for d in own if d.Modality == kind] for kind in ("SEG", "SR"))
            assert (
                len({d.ReferencedSeriesSequence[0].SeriesInstanceUID for d in segs}) == len(segs) == lesions
            )
            assert {s.TrackingUID for d in segs for s in d.SegmentSequence} == {
                o["tracking_uid"] for o in report["lesions"]
            }
            per_study = [d for d in srs if "ourse" not in d.get("SeriesDescription", "")]
            assert {d.StudyInstanceUID for d in per_study} == {
                s["study_instance_uid"] for s in point["studies"]
            }
            assert {d.PatientID for d in own} == {patient}
        overall = [p["report"]["assessment"]["overall"] for p in courses[patient]]
        assert overall == ["baseline", "PR"]
        modalities = {d["modality"] for p in courses[patient] for d in p["series_choice"]}
        assert modalities == ({"CT", "PT"} if patient == PET_CT else {"CT"})


def test_a_run_gives_one_response_to_each_visit(folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "workflow", "run", str(folder), "--out", str(tmp_path / "out"), "--json"],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    value = json.loads(done.stdout)
    courses = {c["patient_id"]: c["time_points"] for c in value["patients"]}
    _check(courses, tmp_path / "out" / ".tumorline" / "archive")


def test_the_stack_gives_one_response_to_each_visit(folder, tmp_path):
    stack = Stack(tmp_path / "home").start()
    try:
        stack.node.store(sorted(folder.rglob("*.dcm")))
        stack.wait_until_done(reports=6)
        courses = {c["patient_id"]: c["time_points"] for c in stack.context.overview.courses()}
        _check(courses, stack.settings.home / "archive")
    finally:
        stack.stop()
