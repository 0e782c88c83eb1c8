"""time points refer to their analysis and report

The first schema makes `time_point` before the tables that it points to, and left these two references
out. SQLite has them in the table's own definition; there is nothing to do there.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REFERENCES = (
    ("time_point_analysis_id_fkey", "analysis", "analysis_id"),
    ("time_point_report_id_fkey", "report", "report_id"),
)


def upgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        for name, table, column in _REFERENCES:
            op.create_foreign_key(name, "time_point", table, [column], ["id"])


def downgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        for name, _, _ in _REFERENCES:
            op.drop_constraint(name, "time_point", type_="foreignkey")
