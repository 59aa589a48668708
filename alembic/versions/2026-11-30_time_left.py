"""Keep about how long a running job takes yet.

Revision ID: 0019
Revises: 0018
Create Date: 2026-11-30 09:45:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("eta_seconds", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "eta_seconds")
