"""notes of what happened to a patient, and what a page of the worklist is read from

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "patient_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient_key", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["patient_key"], ["patient.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_patient_event_patient_key", "patient_event", ["patient_key"])
    op.create_index("studies_of_patient_by_day", "study", ["patient_key", "study_date"])
    op.create_index("reports_of_patient", "time_point", ["patient_key", "report_id"])


def downgrade() -> None:
    op.drop_index("reports_of_patient", "time_point")
    op.drop_index("studies_of_patient_by_day", "study")
    op.drop_table("patient_event")
