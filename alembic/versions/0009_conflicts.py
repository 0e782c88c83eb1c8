"""conflicts: other content for what was received is kept for a person

A study remembers whose its first instance said that it is; old studies go by their patient. Header values
that are longer than DICOM allows are kept as they are.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_WIDENED = (
    ("patient", "patient_id", 64),
    ("patient", "issuer_of_patient_id", 64),
    ("patient", "sex", 1),
    ("study", "accession_number", 64),
    ("instance", "modality", 16),
)


def upgrade() -> None:
    op.add_column("study", sa.Column("identity", sa.JSON(), nullable=True))
    op.add_column("quarantine", sa.Column("difference", sa.String(32), nullable=False, server_default=""))
    op.create_table(
        "conflict",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("quarantine_id", sa.Integer(), sa.ForeignKey("quarantine.id"), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("received", sa.JSON(), nullable=False),
        sa.Column("identity", sa.JSON(), nullable=False),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.Column("keywords", sa.JSON(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index("ix_conflict_quarantine_id", "conflict", ["quarantine_id"])
    op.create_index("ix_conflict_sop_instance_uid", "conflict", ["sop_instance_uid"])
    if op.get_context().dialect.name != "sqlite":  # SQLite keeps to no length
        for table, column, length in _WIDENED:
            op.alter_column(table, column, existing_type=sa.String(length), type_=sa.Text())


def downgrade() -> None:
    raise NotImplementedError("what was kept for a person can't be put back")
