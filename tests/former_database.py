"""A database that the former release wrote (schema 0002), for SQLite and for PostgreSQL."""

from __future__ import annotations

import gzip
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from db.session import migrate, open_engine

_DUMP = Path(__file__).parent / "data" / "database_0002.sql.gz"


def write_former_sqlite(path: Path, root: Path) -> None:
    """Write the database as a SQLite file; its paths lead into `root`."""
    dump = gzip.decompress(_DUMP.read_bytes()).decode()
    with sqlite3.connect(path) as connection:
        connection.executescript(dump.replace("{HOME}", str(root / "home")).replace("{ROOT}", str(root)))
    connection.close()


def copy_to_postgresql(path: Path, url: str) -> None:
    """Fill an empty PostgreSQL database with the schema and rows of that file."""
    migrate(url, "0002")
    source, target = sa.create_engine(f"sqlite:///{path}"), open_engine(url)
    there, here = sa.MetaData(), sa.MetaData()
    there.reflect(source)
    here.reflect(target)
    with source.connect() as reading, target.begin() as writing:
        # Tables refer to each other in rings: references are looked at again once all rows are there.
        writing.exec_driver_sql("SET session_replication_role = replica")
        for name, table in here.tables.items():
            if name == "alembic_version":
                continue
            rows = [dict(row) for row in reading.execute(sa.select(there.tables[name])).mappings()]
            if rows:
                writing.execute(table.insert(), rows)
            if "id" in table.c and isinstance(table.c.id.type, sa.Integer):
                writing.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('\"{name}\"', 'id'), "
                    f'(SELECT coalesce(max(id), 1) FROM "{name}"))'
                )
        writing.exec_driver_sql("SET session_replication_role = DEFAULT")
    source.dispose()
    target.dispose()
