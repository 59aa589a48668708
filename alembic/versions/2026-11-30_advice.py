"""Keep the kind of a job, and the advice of one that compares.

Revision ID: 0023
Revises: 0022
Create Date: 2026-11-30 14:10:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kind = sa.Column(
        "kind", sa.String(16), nullable=False, server_default="compression"
    )
    op.add_column("jobs", kind)
    op.add_column("jobs", sa.Column("advice", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "advice")
    op.drop_column("jobs", "kind")
