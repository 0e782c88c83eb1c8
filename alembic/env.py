"""Alembic's way into the schema; `tumorline` calls it with the settings' database."""

from __future__ import annotations

from alembic import context
from db.session import open_engine
from db.tables import Table
from workflow.settings import load_settings

url = context.config.attributes.get("url") or load_settings().resolved_database_url

if context.is_offline_mode():
    context.configure(url=url, target_metadata=Table.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            context.configure(
                connection=connection,
                target_metadata=Table.metadata,
                render_as_batch=connection.dialect.name == "sqlite",
            )
            with context.begin_transaction():
                if connection.dialect.name == "postgresql":
                    # Services of one site start together: the first migrates, the others wait (SQLite
                    # takes its write lock with BEGIN).
                    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7464269)")
                context.run_migrations()
            connection.commit()
    finally:
        engine.dispose()
