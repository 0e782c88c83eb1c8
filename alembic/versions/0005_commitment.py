"""commitment: what the PACS was asked to commit itself to, and its answers

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "commitment",
        sa.Column("transaction_uid", sa.String(64), primary_key=True),
        sa.Column("report_identity", sa.String(64), nullable=False),
        sa.Column("sop_instance_uids", sa.JSON(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed", sa.JSON(), nullable=False),
    )
    op.create_index("ix_commitment_report_identity", "commitment", ["report_identity"])


def downgrade() -> None:
    op.drop_table("commitment")
