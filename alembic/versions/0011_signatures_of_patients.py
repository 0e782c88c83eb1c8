"""signatures name their patient

A reader signs what is said, which may not be written as a report yet: a signature is found by its patient,
and not by the reports that there are.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("signature") as table:
        table.add_column(sa.Column("patient_key", sa.Integer(), nullable=True))
        table.create_foreign_key("fk_signature_patient_key_patient", "patient", ["patient_key"], ["id"])
        table.create_index(op.f("ix_signature_patient_key"), ["patient_key"])
    signature = sa.table("signature", sa.column("report_identity"), sa.column("patient_key"))
    report = sa.table("report", sa.column("draft_identity"), sa.column("time_point_id"))
    point = sa.table("time_point", sa.column("id"), sa.column("patient_key"))
    op.execute(
        signature.update().values(
            patient_key=sa.select(sa.func.max(point.c.patient_key))
            .where(
                report.c.time_point_id == point.c.id, report.c.draft_identity == signature.c.report_identity
            )
            .scalar_subquery()
        )
    )


def downgrade() -> None:
    with op.batch_alter_table("signature") as table:
        table.drop_index(op.f("ix_signature_patient_key"))
        table.drop_constraint("fk_signature_patient_key_patient", type_="foreignkey")
        table.drop_column("patient_key")
