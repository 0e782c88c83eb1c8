"""Engine, sessions and the unit of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from workflow.domain.errors import ConfigurationError, TransientError

UnitOfWork = Callable[[], AbstractContextManager[Session]]


def open_engine(url: str) -> Engine:
    """Open the database; SQLite in WAL mode with real transactions and a patient lock wait."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # Take the write lock at once: a read that later writes would fail where it could have waited.
        reads = connection.get_execution_options().get("tumorline_reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def reading(engine: Engine) -> UnitOfWork:
    """Make a unit for reading only: on SQLite it never waits for, or stops, a writer."""
    return unit_of_work(engine.execution_options(tumorline_reads=True))


def unit_of_work(engine: Engine) -> UnitOfWork:
    """Make the unit of work: `with unit() as session:` commits at the end or rolls everything back.

    A database that can't be reached raises `TransientError`, so that the job is tried again.
    """
    sessions = sessionmaker(engine, expire_on_commit=False)

    @contextmanager
    def unit() -> Iterator[Session]:
        try:
            with sessions.begin() as session:
                yield session
        except OperationalError as error:
            raise TransientError(f"the database did not answer: {error.orig}") from error

    return unit


def migrations_folder() -> Path:
    """Where the Alembic migrations are: beside the packages, in a checkout and in an installation.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "migrations", here.parent / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise ConfigurationError(f"the migrations are missing: neither {here}/migrations nor alembic/ has env.py")


def migrate(url: str, revision: str = "head") -> None:
    """Bring the database to a revision of the schema."""
    from alembic.config import Config

    from alembic import command

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["url"] = url
    command.upgrade(config, revision)
