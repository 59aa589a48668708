"""Keep what the child said of a model that opened it last.

Revision ID: 0009
Revises: 0008
Create Date: 2026-11-24 17:15:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("models", sa.Column("inspection", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("models", "inspection")
