"""Keep the target and the threads of the timing that a job asks for.

Revision ID: 0022
Revises: 0021
Create Date: 2026-11-30 14:20:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("target", sa.String(40), nullable=True))
    op.add_column("jobs", sa.Column("threads", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "threads")
    op.drop_column("jobs", "target")
