"""priors: what was looked for in the PACS, and how far it is

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "prior_search",
        sa.Column("study_id", sa.Integer(), sa.ForeignKey("study.id"), primary_key=True),
        sa.Column("patient_key", sa.Integer(), sa.ForeignKey("patient.id"), nullable=False),
        sa.Column("source", sa.String(128), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("passed_over", sa.JSON(), nullable=False),
    )
    op.create_index("ix_prior_search_patient_key", "prior_search", ["patient_key"])
    op.create_table(
        "prior_study",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("patient_key", sa.Integer(), sa.ForeignKey("patient.id"), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("study_date", sa.Date(), nullable=True),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("instance_count", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("wanted_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("patient_key", "study_instance_uid", name="uq_prior_study"),
    )
    op.create_index("ix_prior_study_study_instance_uid", "prior_study", ["study_instance_uid"])


def downgrade() -> None:
    op.drop_table("prior_study")
    op.drop_table("prior_search")
