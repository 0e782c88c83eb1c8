"""visits: several studies and several measured stacks to a time point

A time point was a study with one measured series; now it is a visit. Every time point of an old database
becomes the visit of its one study, and each observation says on which stack it was measured. Instances are
named by study, series and SOP Instance UID together.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NEW_COLUMNS = (
    ("patient", sa.Column("version", sa.Integer(), nullable=False, server_default="0")),
    ("study", sa.Column("dated_by", sa.String(32), nullable=False, server_default="StudyDate")),
    ("study", sa.Column("copy_of", sa.String(64), nullable=True)),
    ("study_revision", sa.Column("described", sa.JSON(), nullable=True)),
    ("study_revision", sa.Column("doubts", sa.JSON(), nullable=True)),
    ("time_point", sa.Column("attention", sa.JSON(), nullable=True)),
    ("analysis", sa.Column("doubts", sa.JSON(), nullable=True)),
    ("lesion", sa.Column("finding", sa.String(16), nullable=True)),
    ("lesion", sa.Column("finding_meaning", sa.String(64), nullable=True)),
    ("observation", sa.Column("series_instance_uid", sa.String(64), nullable=True)),
    ("observation", sa.Column("series_stack", sa.Integer(), nullable=False, server_default="0")),
    ("instance", sa.Column("pixel_sha256", sa.String(64), nullable=True)),
)
_KEY = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")


def upgrade() -> None:
    is_sqlite = op.get_context().dialect.name == "sqlite"
    for table, column in _NEW_COLUMNS:
        op.add_column(table, column)
    if is_sqlite:  # with a reference, SQLite can only be told so: the table is not written anew
        op.execute("ALTER TABLE study ADD COLUMN time_point_id INTEGER REFERENCES time_point (id)")
    else:
        op.add_column("study", sa.Column("time_point_id", sa.Integer(), nullable=True))
        op.create_foreign_key("study_time_point_id_fkey", "study", "time_point", ["time_point_id"], ["id"])
    op.create_index("ix_study_time_point_id", "study", ["time_point_id"])
    op.execute(
        "UPDATE study SET time_point_id = (SELECT id FROM time_point WHERE time_point.study_id = study.id)"
    )
    for column in ("series_instance_uid", "series_stack"):
        op.execute(
            f"""
            UPDATE observation SET {column} = (
                SELECT study_revision.{column} FROM analysis
                JOIN time_point ON time_point.id = analysis.time_point_id
                JOIN study_revision ON study_revision.id = time_point.revision_id
                WHERE analysis.id = observation.analysis_id
            ) WHERE mask IS NOT NULL
            """  # noqa: S608
        )
    # Deliveries were asked for by row, now by the report's identity.
    waiting = "stage = 'deliver' AND state IN ('SCHEDULED', 'IN PROGRESS')"
    identity = "(SELECT identity FROM report WHERE CAST(report.id AS VARCHAR(64)) = job.subject)"
    op.execute(f"UPDATE job SET lane = 'report:' || {identity}, subject = {identity} WHERE {waiting}")  # noqa: S608
    _key_instances(is_sqlite)


def _key_instances(is_sqlite: bool) -> None:
    if is_sqlite:
        # Unnamed there, so that it can't be dropped by name.
        naming = {"uq": "uq_%(table_name)s_%(column_0_name)s"}
        with op.batch_alter_table("instance", naming_convention=naming) as instance:
            instance.drop_constraint("uq_instance_sop_instance_uid", type_="unique")
            instance.create_unique_constraint("uq_instance_key", list(_KEY))
    else:
        op.drop_constraint("instance_sop_instance_uid_key", "instance", type_="unique")
        op.create_unique_constraint("uq_instance_key", "instance", list(_KEY))
    op.create_index("ix_instance_sop_instance_uid", "instance", ["sop_instance_uid"])
    op.create_index("ix_instance_pixel_sha256", "instance", ["pixel_sha256"])


def downgrade() -> None:
    raise NotImplementedError("visits of several studies can't become time points of one study each again")
