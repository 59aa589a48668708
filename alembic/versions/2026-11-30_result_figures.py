"""Keep the measured error and the level of risk of a job's result, for lists sorted by them.

Revision ID: 0017
Revises: 0016
Create Date: 2026-11-30 07:05:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("measured_error", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("risk_level", sa.String(length=16), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "risk_level")
    op.drop_column("jobs", "measured_error")
