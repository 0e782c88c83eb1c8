"""A job whose patient, study, visit or report is not there ends by itself, and nobody has to look at it."""

from __future__ import annotations

import pytest
from hospital import Hospital, rows
from sqlalchemy import select

from db.jobs import enqueue
from db.tables import JobRow


@pytest.mark.parametrize(
    ("stage", "outcome", "error"),
    [
        ("ingest", "gone", "study 99 is not here (any more)"),
        ("timeline", "gone", "patient 99 is not here (any more)"),
        ("report", "gone", "patient 99 is not here (any more)"),
        ("infer", "", ""),
        ("deliver", "", ""),
    ],
)
def test_a_job_about_nothing_ends_quietly(tmp_path, stage, outcome, error):
    hospital = Hospital(tmp_path)
    with rows(hospital.context) as session:
        enqueue(session, stage=stage, subject="99", lane="x:99")
    hospital.work()
    with rows(hospital.context) as session:
        (job,) = session.scalars(select(JobRow))
        assert (job.outcome, job.error, job.losses) == (outcome, error, 0)
        assert job.state == ("CANCELED" if outcome else "COMPLETED")
    status = hospital.status()
    assert (status["stopped"], status["quarantine"], status["attention"]) == ([], [], [])
