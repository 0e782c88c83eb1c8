"""`tumorline doctor` sees what is lost, doubled or forgotten, says what to do, and changes nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hospital import LEFT, Hospital, Sphere, Study, rows
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from db.jobs import claim, database_now, enqueue
from db.tables import InstanceRow, JobRow, ReportRow, ResultObjectRow, StudyRow, TimePointRow
from workflow.bootstrap import build
from workflow.cli import app
from workflow.engine.context import Context
from workflow.settings import load_settings
from workflow.use_cases import doctor
from workflow.use_cases.doctor import Finding, Verdict, examine

BASELINE = Study(day=date(2024, 3, 4), spheres=(Sphere(centre_lps=LEFT, diameter_mm=16, is_prompted=True),))
FOLLOW_UP = Study(day=date(2024, 5, 6), spheres=(Sphere(centre_lps=LEFT, diameter_mm=8),))
WITHOUT_MARK = Study(day=date(2024, 7, 1), patient_id="P-2")


@pytest.fixture(scope="module")
def worked_on(tmp_path_factory) -> Hospital:
    """A patient with a baseline, a follow-up and all results, and one whose study has no mark."""
    hospital = Hospital(tmp_path_factory.mktemp("hospital"))
    hospital.process(BASELINE, FOLLOW_UP, WITHOUT_MARK)
    return hospital


@pytest.fixture
def context(worked_on, tmp_path) -> Context:
    """Its database, copied: a test may spoil it."""
    home = tmp_path / "home"
    home.mkdir()
    source = sqlite3.connect(worked_on.settings.home / "tumorline.db")
    target = sqlite3.connect(home / "tumorline.db")
    source.backup(target)
    source.close()
    target.close()
    return build(load_settings(None, home=home))


def _findings(context: Context, check: str, **options: bool) -> list[Finding]:
    return [one for one in examine(context, **options) if one.check == check]


def test_a_sound_installation_is_sound(context):
    verdicts = {one.check: one.verdict for one in examine(context, digests=True)}
    assert verdicts.pop("destination") is Verdict.NOT_THERE  # no archive runs here
    assert set(verdicts) == {"versions", "studies", "files", "jobs", "disk", "broker"}
    assert set(verdicts.values()) == {Verdict.SOUND}


def _an_object(session: Session) -> ResultObjectRow:
    return session.scalars(sa.select(ResultObjectRow).order_by(ResultObjectRow.id)).first()


def _first(session: Session, table: type) -> object:
    return session.scalars(sa.select(table).order_by(table.id)).first()


def _undelivered(session: Session) -> None:
    _an_object(session).state = "SENT"


def _refused_without_a_word(session: Session) -> None:
    _an_object(session).state = "REFUSED"


def _forgotten_by_ingest(session: Session) -> None:
    _first(session, StudyRow).state = "INGESTING"


def _quarantined_without_a_word(session: Session) -> None:
    study = _first(session, StudyRow)
    study.state, study.reason = "QUARANTINED", ""


def _on_no_timeline(session: Session) -> None:
    _first(session, StudyRow).time_point_id = None


def _failed_without_a_word(session: Session) -> None:
    visit = _first(session, TimePointRow)
    visit.state, visit.reason = "FAILED", ""


def _worked_on_by_nobody(session: Session) -> None:
    _first(session, TimePointRow).state = "PROCESSING"


def _reported_without_a_report(session: Session) -> None:
    _first(session, TimePointRow).report_id = None


def _reported_twice(session: Session) -> None:
    made = _an_object(session)
    columns = {c.name: getattr(made, c.name) for c in ResultObjectRow.__table__.columns if c.name != "id"}
    session.add(ResultObjectRow(**{**columns, "sop_instance_uid": "1.2.3"}))


def _reported_by_nothing(session: Session) -> None:
    report = _first(session, ReportRow)
    session.execute(sa.delete(ResultObjectRow).where(ResultObjectRow.report_id == report.id))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_undelivered, "has its seg SENT, and nobody delivers it"),
        (_refused_without_a_word, "has its seg REFUSED without a reason"),
        (_forgotten_by_ingest, "is to be ingested, and nobody will"),
        (_quarantined_without_a_word, "is kept for a person without a reason"),
        (_on_no_timeline, "is on no timeline, and nobody will put it there"),
        (_failed_without_a_word, "is FAILED without a reason"),
        (_worked_on_by_nobody, "is PROCESSING, and nobody works on it"),
        (_reported_without_a_report, "is reported without a report"),
        (_reported_twice, "has its seg twice"),
        (_reported_by_nothing, "has a report without a result object"),
    ],
)
def test_a_study_without_one_set_of_results_or_a_named_reason_is_found(
    context, spoil: Callable[[Session], None], words: str
):
    with rows(context) as session:
        spoil(session)
    (finding, *_) = _findings(context, "studies")
    assert finding.verdict is Verdict.NEEDS_A_PERSON
    assert finding.what.endswith(words)
    assert finding.advice


def test_a_study_that_somebody_will_work_on_is_in_order(context):
    with rows(context) as session:
        _worked_on_by_nobody(session)
        _undelivered(session)
        visit = _first(session, TimePointRow)
        report = _first(session, ReportRow)
        enqueue(session, stage="infer", subject=str(visit.id), lane="patient:1")
        enqueue(session, stage="deliver", subject=report.identity, lane="report:1")
    assert [one.verdict for one in _findings(context, "studies")] == [Verdict.SOUND]


def test_a_file_that_is_gone_is_found(context, tmp_path):
    with rows(context) as session:
        _first(session, InstanceRow).path = str(tmp_path / "gone.dcm")
    (finding,) = _findings(context, "files")
    assert finding.verdict is Verdict.NEEDS_A_PERSON
    assert "1 of " in finding.what
    assert "gone.dcm" in finding.what


def test_a_file_that_was_changed_is_found_by_its_digest_and_only_if_asked_for(context):
    with rows(context) as session:
        _an_object(session).sha256 = "0" * 64
    assert [one.verdict for one in _findings(context, "files")] == [Verdict.SOUND]
    (finding,) = _findings(context, "files", digests=True)
    assert "not what was received or written" in finding.what


def test_a_file_that_was_cut_is_found_by_its_digest(context, tmp_path):
    with rows(context) as session:
        row = _first(session, InstanceRow)
        for name, share in (("half.dcm", 2), ("empty.dcm", 10**9)):
            content = Path(row.path).read_bytes()
            (tmp_path / name).write_bytes(content[: len(content) // share])
        one, other = session.scalars(sa.select(InstanceRow).limit(2)).all()
        one.path, other.path = str(tmp_path / "half.dcm"), str(tmp_path / "empty.dcm")
    (finding,) = _findings(context, "files", digests=True)
    assert finding.what.startswith("2 of ")


def test_two_rows_of_one_file_are_found(context):
    with rows(context) as session:
        one, other = session.scalars(sa.select(InstanceRow).limit(2)).all()
        one.path = other.path
    (finding,) = _findings(context, "files")
    assert "are spoken of twice" in finding.what


def test_a_silent_worker_and_a_queue_that_nobody_serves_are_found(context):
    with rows(context) as session:
        enqueue(session, stage="timeline", subject="1", lane="patient:1")
        enqueue(session, stage="infer", subject="9", lane="patient:9")
    (job,) = context.jobs.due(("timeline",), limit=1)
    assert claim(context.records.unit, job.id, 60) is not None
    with rows(context) as session:
        long_ago = database_now(session) - timedelta(hours=1)
        session.execute(sa.update(JobRow).values(lease_until=long_ago, due_at=long_ago))
    silent, unserved = _findings(context, "jobs")
    assert "1 jobs run whose worker is silent" in silent.what
    assert unserved.what == "a job of the queue inference has waited for 60 minutes"


def test_a_job_that_was_given_up_is_said(context):
    with rows(context) as session:
        job = _first(session, JobRow)
        job.state, job.outcome = "CANCELED", "lost"
    (finding,) = _findings(context, "jobs")
    assert finding.what == "1 jobs were given up"


def test_a_full_disk_is_said_before_senders_are_refused(context, monkeypatch):
    usage = doctor.shutil.disk_usage(Path("/"))
    for free, verdict in ((10**6, Verdict.NEEDS_A_PERSON), (2 * 2**30, Verdict.NOTE), (2**40, Verdict.SOUND)):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path, free=free: usage._replace(free=free))
        assert [one.verdict for one in doctor._disk(context)] == [verdict]


def test_a_broker_that_is_not_there_is_said_and_the_command_asks_to_try_again(context, monkeypatch):
    from workflow.use_cases.demo import free_port

    monkeypatch.setenv("TUMORLINE_HOME", str(context.settings.home))
    monkeypatch.setenv("TUMORLINE_BROKER_URL", f"redis://127.0.0.1:{free_port()}/0")
    result = CliRunner().invoke(app, ["doctor", "--json"])
    told = json.loads(result.stdout)
    assert result.exit_code == told["exit_code"] == 3
    (broker,) = [one for one in told["findings"] if one["check"] == "broker"]
    assert broker["verdict"] == "not there"
    assert "nothing is lost" in broker["advice"]


def test_looking_changes_nothing(context):
    def dump() -> list[str]:
        with sqlite3.connect(context.settings.home / "tumorline.db") as connection:
            return list(connection.iterdump())

    before = dump()
    examine(context, digests=True)
    assert dump() == before
