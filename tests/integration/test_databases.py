"""The same course and the same races on SQLite and on PostgreSQL; migrations up, checked, and refused."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from former_database import copy_to_postgresql, write_former_sqlite
from hospital import Hospital, diameters, rows
from studies import BASELINE, FOLLOW_UP

from alembic import command
from db.jobs import StoredJobs, claim, database_now, due_job_ids, enqueue
from db.reception import StoredReception
from db.session import migrate, migrations_folder, open_engine, unit_of_work
from db.tables import JobRow, PatientRow, StudyRow
from dicom_io.conflicts import compare_files
from workflow.board import add_to_board, remove_from_board
from workflow.domain.board import BoardDay, BoardPriority, PacketState
from workflow.domain.errors import ConfigurationError, TransientError
from workflow.engine.jobs import Runner
from workflow.ports import Changed, Placement
from workflow.settings import Worker
from workflow.timeline import plan_patient
from workflow.use_cases.board import make_packets

pytestmark = pytest.mark.xdist_group("postgresql")

LANES, JOBS_PER_LANE, PROCESSES = 3, 6, 4


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    return request.getfixturevalue("postgresql_database")


@pytest.fixture
def engine(database_url):
    migrate(database_url)
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def _close(hospital: Hospital) -> None:
    """End the hospital's connections: psycopg warns of those that are left."""
    with rows(hospital.context) as session:
        engine = session.get_bind()
    engine.dispose()


def _now() -> datetime:
    return datetime.now(UTC)


def test_the_course_of_a_patient_is_the_same_on_every_database(database_url, tmp_path):
    hospital = Hospital(tmp_path, {"database_url": database_url})
    hospital.process(FOLLOW_UP, BASELINE)
    hospital.process(BASELINE, FOLLOW_UP)
    baseline, follow_up = hospital.time_points()
    assert diameters(baseline) == pytest.approx({"T01": 16, "T02": 12}, abs=1.5)
    assert follow_up["report"]["assessment"]["overall"] == "PR"
    objects = [o for point in hospital.time_points() for o in point["objects"]]
    assert {o["sop_instance_uid"] for o in objects} == hospital.archived()
    assert {o["state"] for o in objects} == {"VERIFIED"}
    _close(hospital)


def test_a_board_is_prepared_the_same_on_every_database(database_url, tmp_path):
    hospital = Hospital(tmp_path, {"database_url": database_url})
    hospital.process(BASELINE, FOLLOW_UP)
    boards, day = hospital.context.boards, date(2026, 12, 1)
    (patient,) = boards.find("test, PERS")
    for _ in range(2):
        if boards.days_of(patient.key):
            remove_from_board(hospital.context, day=day, patient_key=patient.key, by="roe")
        add_to_board(
            hospital.context, day=day, patient_key=patient.key, by="roe", priority=BoardPriority.URGENT
        )
    assert boards.days() == (BoardDay(day=day, patients=1, urgent=1),)
    made = make_packets(hospital.context, day=day, by="roe")
    assert [(p.state, len(p.files)) for p in made] == [(PacketState.READY, 6)] * 2
    assert [p.id for p in make_packets(hospital.context, day=day, by="roe")] == [p.id for p in made]
    assert [(v.is_baseline, v.overall) for v in boards.cohort()] == [(True, "baseline"), (False, "PR")]
    _close(hospital)


def test_the_schema_is_what_the_tables_say(engine, database_url):
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["url"] = database_url
    command.check(config)  # raises if a table and its migration differ


def _migrate(url: str) -> None:
    migrate(url)


def test_services_that_start_together_migrate_once(database_url):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(_migrate, [database_url] * 3)
    engine = open_engine(database_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar() == 1
    engine.dispose()


def test_an_older_schema_is_brought_to_the_newest_with_what_is_in_it(database_url, tmp_path):
    migrate(database_url, "0001")
    engine = open_engine(database_url)
    with unit_of_work(engine)() as session:
        session.execute(
            sa.text(
                "INSERT INTO patient (patient_id, issuer_of_patient_id, patient_name, sex)"
                " VALUES ('P-7', '', '', '')"
            )
        )
    _close(Hospital(tmp_path, {"database_url": database_url}))
    with unit_of_work(engine)() as session:
        assert session.scalars(sa.select(PatientRow.patient_id)).all() == ["P-7"]
        newest = session.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    engine.dispose()
    assert newest == ScriptDirectory(str(migrations_folder())).get_current_head() != "0001"


def test_a_schema_that_is_newer_than_the_program_is_refused_by_name(engine, database_url):
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match=r"a schema that this version does not know.*9999"):
        migrate(database_url)


# ------------------------------------------------------------------ who does what


def _work(url: str) -> list[tuple[str, float, float]]:
    """Be a worker: carry out jobs until none is left; give lane, start and end of each."""
    engine = open_engine(url)
    unit, done = unit_of_work(engine), []
    jobs = StoredJobs(unit=unit, reading=unit, settings=Worker())

    def stage(job) -> None:
        import time

        started = time.time()
        time.sleep(0.02)
        done.append((job.subject.split("/")[0], started, time.time()))

    while True:
        with unit() as session:
            left = session.scalar(sa.select(sa.func.count(JobRow.id)).where(JobRow.state != "COMPLETED"))
            due = due_job_ids(session, database_now(session))
        if not left:
            engine.dispose()
            return done
        for job_id in due:
            Runner(stages={"infer": stage}, failures={}, jobs=jobs, settings=Worker()).run(job_id)


def test_processes_share_the_jobs_and_no_lane_runs_two_at_once(engine, database_url):
    unit = unit_of_work(engine)
    for lane in range(LANES):
        for number in range(JOBS_PER_LANE):
            with unit() as session:
                enqueue(session, stage="infer", subject=f"{lane}/{number}", lane=f"l{lane}")
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        done = [job for part in pool.map(_work, [database_url] * PROCESSES) for job in part]
    assert Counter(lane for lane, _, _ in done) == {str(lane): JOBS_PER_LANE for lane in range(LANES)}
    for lane in range(LANES):
        spans = sorted(span for name, *span in done if name == str(lane))
        assert all(former[1] <= later[0] for former, later in pairwise(spans))


def test_of_many_claims_of_one_job_one_wins(engine):
    unit = unit_of_work(engine)
    with unit() as session:
        enqueue(session, stage="infer", subject="1", lane="l")
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: claim(unit, 1, 60), range(8)))
    assert len([c for c in claims if c is not None]) == 1


def test_the_database_tells_its_own_time_whatever_zone_it_is_set_to(engine):
    with unit_of_work(engine)() as session:
        if engine.dialect.name == "postgresql":
            session.execute(sa.text("SET TIME ZONE 'Asia/Tokyo'"))
        told = database_now(session)
        assert told.utcoffset() == timedelta(0)
        assert abs((told - _now()).total_seconds()) < 5


def test_a_lease_is_kept_by_the_databases_clock_on_every_database(engine):
    unit = unit_of_work(engine)
    with unit() as session:
        enqueue(session, stage="infer", subject="1", lane="l", delay_s=-1)
    jobs = StoredJobs(unit=unit, reading=unit, settings=Worker(lease_s=60))
    job = jobs.claim(1)
    assert job is not None
    assert jobs.take_over_expired() == 0
    assert jobs.beat(job, 0.5, "working")
    with unit() as session:
        left = session.get_one(JobRow, 1).lease_until - database_now(session)
        assert timedelta(seconds=50) < left <= timedelta(seconds=60)
        session.get_one(JobRow, 1).lease_until -= timedelta(seconds=61)
    assert jobs.take_over_expired() == 1
    assert jobs.claim(1) is not None


def test_work_that_many_ask_for_at_once_waits_once(engine):
    unit = unit_of_work(engine)

    def ask(_: int) -> None:
        with unit() as session:
            enqueue(session, stage="timeline", subject="1", lane="l")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(32)))
    with unit() as session:
        assert session.scalar(sa.select(sa.func.count(JobRow.id))) == 1


def test_two_studies_of_a_new_patient_make_one_patient(engine):
    from workflow.domain.patient import PatientIdentity

    unit = unit_of_work(engine)
    reception = StoredReception(unit=unit, reading=unit, clock=_now, compare=compare_files)
    placement = Placement(
        identity=PatientIdentity(
            patient_id="P-9", issuer_of_patient_id="", patient_name="A^B", birth_date=None, sex=""
        ),
        patient=None, study_date=None, study_time=None, dated_by="", references={}, pixel_digests={},
        revision=None, best=None,
    )  # fmt: skip
    with unit() as session:
        session.add_all(
            StudyRow(
                study_instance_uid=f"1.{n}",
                first_received_at=_now(),
                last_received_at=_now(),
                state="INGESTING",
            )
            for n in range(12)
        )

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda key: reception.place(key, placement), range(1, 13)))
    with unit() as session:
        assert session.scalar(sa.select(sa.func.count(PatientRow.id))) == 1
        assert set(session.scalars(sa.select(StudyRow.patient_key))) == {1}
        assert set(session.scalars(sa.select(StudyRow.state))) == {"INGESTED"}


def test_a_database_of_the_former_release_goes_on_in_postgresql(postgresql_database, tmp_path):
    write_former_sqlite(tmp_path / "former.db", tmp_path)
    copy_to_postgresql(tmp_path / "former.db", postgresql_database)
    hospital = Hospital(tmp_path, {"database_url": postgresql_database})
    courses = [hospital.time_points(patient) for patient in ("P-1", "P-2")]
    overall = [[p["report"]["assessment"]["overall"] for p in course] for course in courses]
    assert overall == [["baseline", "SD", "PD"], ["baseline", "baseline"]]
    (key,) = hospital.context.records.patient_keys("P-2")
    plan = hospital.context.records.change(
        key, lambda record: Changed(record=plan_patient(record, hospital.settings).record)
    )
    assert [len(v.studies) for v in plan.visits] == [2, 0]
    assert hospital.context.records.load(1).decisions
    assert hospital.context.records.load(1).signatures
    _close(hospital)


# ------------------------------------------------------------------ what is wrong


def test_a_column_that_is_missing_is_a_bug_and_not_tried_again(engine):
    with pytest.raises(sa.exc.DBAPIError), unit_of_work(engine)() as session:
        session.execute(sa.text("SELECT no_such_column FROM job"))


def test_a_sqlite_file_that_is_locked_for_too_long_is_tried_again(tmp_path):
    url = f"sqlite:///{tmp_path / 'test.db'}"
    migrate(url)
    holder, waiter = open_engine(url), sa.create_engine(url, connect_args={"timeout": 0.1})
    with holder.begin() as connection:
        connection.exec_driver_sql("DELETE FROM job")
        with pytest.raises(TransientError, match="database is locked"), unit_of_work(waiter)() as session:
            session.execute(sa.text("DELETE FROM job"))
    holder.dispose()
    waiter.dispose()


def test_a_database_server_that_is_not_there_is_tried_again():
    from workflow.use_cases.demo import free_port

    url = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none"
    with pytest.raises(TransientError, match="did not answer"):
        migrate(url)
    with pytest.raises(TransientError, match="did not answer"), unit_of_work(open_engine(url))() as session:
        session.execute(sa.text("SELECT 1"))


def test_connections_that_the_server_ended_are_opened_again(postgresql_server):
    engine = open_engine(postgresql_server)
    other = sa.create_engine(postgresql_server)
    unit = unit_of_work(engine)
    end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"

    def is_interrupted() -> None:
        with unit() as session:
            session.execute(sa.text("SELECT 1"))
            with other.connect() as connection:
                connection.exec_driver_sql(f"{end_all} AND datname IS NOT NULL")
            session.execute(sa.text("SELECT 1"))

    with pytest.raises(TransientError):
        is_interrupted()
    with unit() as session:
        assert session.execute(sa.text("SELECT 1")).scalar() == 1
    engine.dispose()
    other.dispose()
