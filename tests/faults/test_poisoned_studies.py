"""Studies that kill, hang or fill what works on them are given up with their reasons; nobody else waits."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date

import pytest
from hospital import LEFT, Sphere, Study, rows
from sqlalchemy import select
from whole_stack import BASELINE, FOLLOW_UP, Stack, with_poison

from db.tables import JobRow
from workflow.use_cases.doctor import Verdict, examine

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.xdist_group("stack 1"),
]

REASONS = {
    "die": "its process was killed by signal 9 (as is done where memory runs out) while segmenting",
    "hang": "it took longer than 6 s; at the end it was segmenting",
    "fill": "it used more than 600 MB of memory while segmenting",
}


def _poisoned(label: str) -> Study:
    sphere = Sphere(centre_lps=LEFT, diameter_mm=16, is_prompted=True, label=label)
    return Study(day=date(2024, 3, 4), patient_id=f"P-{label}", spheres=(sphere,))


def test_poisoned_studies_are_given_up_with_their_reasons_and_hold_up_nobody(tmp_path):
    stack = Stack(
        tmp_path / "home",
        {
            **with_poison(tmp_path / "gate"),
            "TUMORLINE_WORKER__MAXIMUM_LOSSES": "2",
            "TUMORLINE_WORKER__RETRY_BASE_S": "0.2",
            "TUMORLINE_WORKER__MEMORY_LIMIT_MB": "600",
            "TUMORLINE_WORKER__TIME_LIMIT_S__INFER": "6",
        },
    ).start()
    try:
        for label in (*REASONS, "panic"):
            stack.send(_poisoned(label), folder=tmp_path / label)
        stack.send(BASELINE, FOLLOW_UP, folder=tmp_path)
        workers = {name: stack.pid(name) for name in ("worker@pipeline", "worker@inference")}
        stack.wait_until_done(reports=2)
        assert {name: stack.pid(name) for name in workers} == workers  # no worker died of it
        courses = {c["patient_id"]: c["time_points"] for c in stack.context.overview.courses()}
        for label, reason in REASONS.items():
            (point,) = courses[f"P-{label}"]
            assert (point["state"], point["reason"]) == ("FAILED", f"{reason}; given up after 2 times")
        (point,) = courses["P-panic"]
        assert point["state"] == "FAILED"
        assert point["reason"].startswith("a defect of the software")
        assert [p["state"] for p in courses["P-1"]] == ["DRAFT", "DRAFT"]
        with rows(stack.context) as session:
            ended = {
                job.outcome: job for job in session.scalars(select(JobRow).where(JobRow.stage == "infer"))
            }
        assert "Panic: index out of bounds" in ended["dead"].error
        assert [one.verdict for one in examine(stack.context) if one.check == "studies"] == [Verdict.SOUND]
    finally:
        code, _ = stack.stop()
    assert code == 0


@pytest.mark.long_fault
def test_a_worker_told_to_end_puts_its_inference_back_and_takes_its_process_along(tmp_path):
    gate = tmp_path / "gate"
    slow = replace(
        BASELINE, spheres=(Sphere(centre_lps=LEFT, diameter_mm=16, is_prompted=True, label="wait"),)
    )
    environment = {**with_poison(gate), "TUMORLINE_WORKER__LEASE_S": "600"}
    stack = Stack(tmp_path / "home", environment).start()
    try:
        stack.send(slow, folder=tmp_path)
        stack.wait_until((tmp_path / "gate.reached").exists, "the inference to run")
        (tmp_path / "gate.reached").unlink()
        former = stack.pid("worker@inference")
        stack.terminate("worker@inference")
        # Within its lease of ten minutes only what was put back in order can be done by another.
        stack.wait_until((tmp_path / "gate.reached").exists, "another worker to take it")
        assert stack.pid("worker@inference") != former
        gate.touch()
        stack.wait_until_done(reports=1)
        with rows(stack.context) as session:
            (job,) = session.scalars(select(JobRow).where(JobRow.stage == "infer"))
            assert (job.state, job.attempts, job.losses) == ("COMPLETED", 1, 0)
    finally:
        code, seconds = stack.stop()
    assert (code, seconds < 20) == (0, True)


@pytest.mark.long_fault
def test_uploads_and_reports_go_on_while_every_inference_worker_is_busy(tmp_path):
    gate = tmp_path / "gate"
    spheres = (Sphere(centre_lps=LEFT, diameter_mm=16, is_prompted=True, label="wait"),)
    stack = Stack(tmp_path / "home", with_poison(gate)).start()
    try:
        for number in range(3):
            study = Study(day=date(2024, 3, 4), patient_id=f"P-{number}", spheres=spheres)
            stack.send(study, folder=tmp_path / str(number))
        stack.wait_until((tmp_path / "gate.reached").exists, "the first inference to run")
        stack.send(Study(day=date(2024, 3, 4), patient_id="P-9"), folder=tmp_path / "9")
        stack.wait_until(
            lambda: "P-9" in {c["patient_id"] for c in stack.context.overview.courses()}, "P-9's timeline"
        )
        time.sleep(1)
        assert stack.is_running("infer")
        gate.touch()
        stack.wait_until_done(reports=3)
    finally:
        stack.stop()
