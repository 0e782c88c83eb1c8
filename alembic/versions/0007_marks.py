"""marks: who stored an object here, and who marked a lesion

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instance", sa.Column("stored_by", sa.String(64), nullable=False, server_default=""))
    op.add_column("observation", sa.Column("marked_by", sa.String(64), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("observation", "marked_by")
    op.drop_column("instance", "stored_by")
