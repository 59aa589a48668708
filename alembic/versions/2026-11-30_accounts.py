"""Keep which operators the account of a job leaves out, and whether its budget may.

Revision ID: 0014
Revises: 0013
Create Date: 2026-11-30 05:50:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    allowed = sa.Column(
        "allow_incomplete_account",
        sa.Boolean(),
        nullable=False,
        server_default=sa.false(),
    )
    op.add_column("jobs", allowed)
    op.add_column("jobs", sa.Column("unaccounted", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "unaccounted")
    op.drop_column("jobs", "allow_incomplete_account")
