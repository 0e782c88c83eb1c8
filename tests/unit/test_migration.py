"""A database that the former release wrote (schema 0002) is brought to the present one, and nothing is lost.

It holds P-1 with three time points, a decision and a signature, and P-2 with chest and abdomen on two days.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from former_database import write_former_sqlite

from alembic import command
from db.jobs import due_job_ids
from db.overview import patient_course, worklist
from db.records import StoredRecords
from db.session import migrate, migrations_folder, open_engine, unit_of_work
from db.tables import InstanceRow, JobRow, ReportRow, ResultObjectRow, TimePointRow
from workflow.domain.record import PatientRecord
from workflow.domain.states import VisitState
from workflow.response import assess_visit, placed_decisions, protocol_of
from workflow.settings import load_settings
from workflow.timeline import plan_patient


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def former(tmp_path) -> Path:
    """The database as the former release left it."""
    path = tmp_path / "tumorline.db"
    write_former_sqlite(path, tmp_path)
    return path


@pytest.fixture
def url(former) -> str:
    """The same database, migrated."""
    migrate(f"sqlite:///{former}")
    return f"sqlite:///{former}"


@pytest.fixture
def unit(url):
    engine = open_engine(url)
    yield unit_of_work(engine)
    engine.dispose()


@pytest.fixture
def records(unit) -> StoredRecords:
    return StoredRecords(unit=unit, reading=unit, clock=_now)


def _record(records: StoredRecords, patient_id: str) -> PatientRecord:
    (key,) = records.patient_keys(patient_id)
    return records.load(key)


def _counts(path: Path) -> dict[str, int]:
    with sqlite3.connect(path) as connection:
        names = [n for (n,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {n: connection.execute(f'SELECT count(*) FROM "{n}"').fetchone()[0] for n in names}
    connection.close()
    return found


def test_the_dump_is_of_the_former_release_and_holds_what_is_promised(former):
    counts = _counts(former)
    with sqlite3.connect(former) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0002",)]
    connection.close()
    assert (counts["patient"], counts["study"], counts["override"], counts["signature"]) == (2, 5, 1, 1)


def test_no_row_is_lost(former):
    before = _counts(former)
    migrate(f"sqlite:///{former}")
    after = _counts(former)
    assert {table: after[table] for table in before} == before
    assert not any(after[table] for table in after.keys() - before.keys())


def test_the_migrated_schema_is_what_the_tables_say(url):
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["url"] = url
    command.check(config)  # raises if a table and its migration differ


def test_references_hold_after_the_migration(url, former):
    with sqlite3.connect(former) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_every_instance_keeps_its_file_and_its_key(unit, former, tmp_path):
    with unit() as session:
        rows = session.scalars(sa.select(InstanceRow)).all()
        assert len({(r.study_instance_uid, r.series_instance_uid, r.sop_instance_uid) for r in rows}) == len(
            rows
        )
        assert all(r.path.startswith(str(tmp_path)) for r in rows)


def test_records_load_with_every_lesion_on_the_series_that_it_was_measured_on(records):
    first = _record(records, "P-1")
    assert [len(v.observations) for v in first.standing] == [2, 2, 2]
    for visit in first.standing:
        stacks = first.stacks_of(visit)
        outlined = [o for o in visit.observations if o.mask is not None]
        assert outlined
        for seen in outlined:
            assert seen.measured_on in stacks
            assert seen.mask is not None
            assert seen.mask.shape == stacks[seen.measured_on].shape


def test_responses_and_sums_are_those_that_the_stored_reports_say(records, unit):
    protocol = protocol_of(load_settings(None).response)
    # P-2's second time point was taken into the baseline at its assessment; it becomes one with it (below).
    for patient_id, visits in (("P-1", 3), ("P-2", 1)):
        record = _record(records, patient_id)
        for visit in record.reported[:visits]:
            with unit() as session:
                said = session.scalars(
                    sa.select(ReportRow.document).where(ReportRow.identity == visit.current_report)
                ).one()["assessment"]
            told = assess_visit(record, visit, protocol, placed_decisions(record)).reported()
            assert (told.overall, told.sum_mm) == (said["overall"], said["sum_mm"])
            assert told.sum_mm is not None


def test_the_course_shows_what_it_showed(records, unit):
    with unit() as session:
        keys = {p["patient_id"]: p["patient_key"] for p in worklist(session)}
        course = patient_course(session, keys["P-1"])
    overall = [p["report"]["assessment"]["overall"] for p in course["time_points"]]
    assert overall == ["baseline", "SD", "PD"]
    assert [p["state"] for p in course["time_points"]] == ["SIGNED", "DRAFT", "DRAFT"]
    assert [len(p["studies"]) for p in course["time_points"]] == [1, 1, 1]


def test_decisions_and_signatures_hold(records):
    record = _record(records, "P-1")
    (decision,) = record.decisions
    assert (decision.by, decision.time_point) == ("Dr. A", "2024-05-06")
    baseline, second, _ = record.standing
    assert decision.lesion in {o.tracking_uid for o in second.observations}
    assert baseline.report is not None
    assert record.signatures[baseline.report.draft_identity].signed_by == "Dr. A"
    told = assess_visit(record, second, protocol_of(load_settings(None).response), record.decisions)
    assert told.lesions[decision.lesion].diameter_um == decision.diameter_um


def test_work_that_waits_goes_on_and_asks_for_reports_by_their_identity(former):
    with sqlite3.connect(former) as connection:
        (report, identity) = connection.execute("SELECT id, identity FROM report ORDER BY id DESC").fetchone()
        connection.execute(
            "INSERT INTO job SELECT max(id) + 1, 'deliver', ?, ?, 'SCHEDULED', '', 0, 0,"
            " '2024-01-01 00:00:00', NULL, '', 0.0, '', '', '2024-01-01 00:00:00', NULL, NULL FROM job",
            (str(report), f"report:{report}"),
        )
        connection.execute(
            "INSERT INTO job SELECT max(id) + 1, 'timeline', '1', 'patient:1', 'SCHEDULED', '', 0, 0,"
            " '2024-01-01 00:00:00', NULL, '', 0.0, '', '', '2024-01-01 00:00:00', NULL, NULL FROM job"
        )
    connection.close()
    migrate(f"sqlite:///{former}")
    engine = open_engine(f"sqlite:///{former}")
    with unit_of_work(engine)() as session:
        jobs = [session.get_one(JobRow, i) for i in due_job_ids(session, _now())]
        waiting = {(j.stage, j.subject, j.lane) for j in jobs}
    engine.dispose()
    assert {("deliver", identity, f"report:{identity}"), ("timeline", "1", "patient:1")} <= waiting


def _after_a_timeline_run(records: StoredRecords, patient_id: str) -> PatientRecord:
    from workflow.ports import Changed

    settings = load_settings(None)
    (key,) = records.patient_keys(patient_id)
    return records.change(key, lambda record: Changed(record=plan_patient(record, settings).record))


def test_after_a_timeline_run_chest_and_abdomen_of_two_days_are_one_visit(records):
    before = _record(records, "P-2")
    after = _after_a_timeline_run(records, "P-2")
    (visit,) = after.standing
    assert visit.studies == tuple(v.anchor for v in before.standing)
    (left,) = [v for v in after.visits if not v.studies]
    assert (left.state, left.anchor) == (VisitState.JOINED, before.standing[1].anchor)
    assert "2024-03-04" in left.reason


@pytest.mark.parametrize("patient_id", ["P-1", "P-2"])
def test_after_a_timeline_run_nothing_is_lost(records, unit, patient_id):
    before = _record(records, patient_id)
    after = _after_a_timeline_run(records, patient_id)

    def known(record: PatientRecord) -> dict[str, object]:
        visits = {v.anchor: v for v in record.visits}
        return {
            anchor: (
                [(a.identity, len(a.observations)) for a in v.analyses],
                [(r.identity, r.version, len(r.objects)) for r in v.reports],
            )
            for anchor, v in visits.items()
        }

    assert known(after) == known(before)
    assert after.lesions == before.lesions
    assert after.decisions == before.decisions
    assert after.signatures == before.signatures
    with unit() as session:
        assert (
            session.scalar(sa.select(sa.func.count(ResultObjectRow.id)).where(ResultObjectRow.error != ""))
            == 0
        )
        assert session.scalar(sa.select(sa.func.count(TimePointRow.id))) == 5
