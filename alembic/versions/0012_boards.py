"""tumour boards: lists of patients by day, and their frozen packets

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "board_entry",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("board_day", sa.Date(), nullable=False),
        sa.Column("patient_key", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("priority", sa.String(16), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("added_by", sa.String(64), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["patient_key"], ["patient.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("board_day", "patient_key"),
    )
    op.create_index("ix_board_entry_board_day", "board_entry", ["board_day"])
    op.create_index("ix_board_entry_patient_key", "board_entry", ["patient_key"])
    op.create_table(
        "board_packet",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("board_day", sa.Date(), nullable=False),
        sa.Column("subject", sa.String(24), nullable=False),
        sa.Column("patient_key", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("frozen", sa.JSON(), nullable=False),
        sa.Column("made_by", sa.String(64), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["patient_key"], ["patient.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("board_day", "subject", "version"),
    )
    op.create_index("ix_board_packet_board_day", "board_packet", ["board_day"])


def downgrade() -> None:
    op.drop_table("board_packet")
    op.drop_table("board_entry")
