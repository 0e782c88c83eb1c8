"""Engine, sessions and the unit of work."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from workflow.domain.errors import ConfigurationError, ConflictError, TransientError

UnitOfWork = Callable[[], AbstractContextManager[Session]]


def open_engine(url: str) -> Engine:
    """Open the database; SQLite in WAL mode with real transactions and a patient lock wait."""
    parsed = _usable(url)
    # RFC 8259 knows no NaN and no infinity: none is written, and what an older version wrote is "not known".
    options: dict[str, Any] = {
        "hide_parameters": True,  # errors quote no patient
        "json_serializer": partial(json.dumps, allow_nan=False),
        "json_deserializer": partial(json.loads, parse_constant=lambda _: None),
    }
    if parsed.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, **options)
    if parsed.database and parsed.database != ":memory:":
        try:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the folder of {parsed.database} can't be made: {error.strerror}"
            ) from error
    engine = create_engine(url, connect_args={"timeout": 30}, **options)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        # FULL: what was committed outlives a power cut; the listener has answered success for it.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # Take the write lock at once: a read that later writes would fail where it could have waited.
        reads = connection.get_execution_options().get("tumorline_reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _usable(url: str) -> URL:
    """A database URL as SQLAlchemy takes it. The URL itself is not repeated: a password may be in it.

    Raises
    ------
    ConfigurationError
        If it is none, or of a database that is not spoken to.
    """
    write = "write sqlite:///FILE, or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # a port that is no number
        raise ConfigurationError(f"database_url is no database's URL; {write}") from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigurationError(f"database_url: there is no {parsed.drivername}://; {write}")
    try:
        parsed.get_dialect().import_dbapi()
    except (NoSuchModuleError, ImportError) as error:
        raise ConfigurationError(
            f"database_url: {parsed.drivername}:// needs a driver that is not installed; {write} "
            "(pip install 'tumorline[postgres]')"
        ) from error
    return parsed


def reading(engine: Engine) -> UnitOfWork:
    """Make a unit for reading only: on SQLite it never waits for, or stops, a writer."""
    return unit_of_work(engine.execution_options(tumorline_reads=True))


def unit_of_work(engine: Engine) -> UnitOfWork:
    """Make the unit of work: `with unit() as session:` commits at the end or rolls everything back.

    A database that can't be reached, or is locked for too long, raises `TransientError`, so that the work
    is tried again; a constraint that another writer was first at raises `ConflictError`. What is wrong for
    good (a missing column) stays SQLAlchemy's error.
    """
    sessions = sessionmaker(engine, expire_on_commit=False)

    @contextmanager
    def unit() -> Iterator[Session]:
        try:
            with sessions.begin() as session:
                yield session
        except IntegrityError as error:
            raise ConflictError(f"written twice at once ({type(error.orig).__name__})") from error
        except DBAPIError as error:
            if is_transient(error):
                raise TransientError(f"the database did not answer: {error.orig}") from error
            raise

    return unit


# SQLite's primary result codes (sqlite.org/rescode.html) that another try may not meet again.
_SQLITE_TRANSIENT = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
# PostgreSQL's classes of SQLSTATE (manual, appendix A): connection, rolled back (deadlock), out of
# resources, lock not available, told to end.
_POSTGRESQL_TRANSIENT = ("08", "40", "53", "55", "57")


def is_transient(error: DBAPIError) -> bool:
    """Whether the same statement may work later: the database was away, locked or out of room."""
    if error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_TRANSIENT  # the rest of the code is detail
    state = getattr(error.orig, "sqlstate", None)
    # No state: the server could not be asked at all.
    return state is None or state.startswith(_POSTGRESQL_TRANSIENT)


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
    """Bring the database to a revision of the schema; several processes may do so at once.

    Raises
    ------
    TransientError
        If the database is not there.
    ConfigurationError
        If its schema is newer than this version of the program knows.
    """
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    from alembic import command

    _usable(url)
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["url"] = url
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        newest = ScriptDirectory.from_config(config).get_current_head()
        where = make_url(url).render_as_string(hide_password=True)
        raise ConfigurationError(
            f"{where} has a schema that this version does not know (its newest is {newest}): {error}; "
            "install the version that wrote it, or a newer one"
        ) from error
    except DBAPIError as error:
        if is_transient(error):
            raise TransientError(f"the database did not answer: {error.orig}") from error
        raise
