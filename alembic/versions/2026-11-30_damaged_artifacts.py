"""Mark jobs whose stored artifact has changed on its disk.

Revision ID: 0015
Revises: 0014
Create Date: 2026-11-30 06:10:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("artifact_damaged_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("jobs", "artifact_damaged_at")
