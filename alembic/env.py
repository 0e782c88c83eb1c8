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
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Table.metadata,
            render_as_batch=connection.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()
