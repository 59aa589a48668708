"""Count the bytes of the analysis that is kept beside a model.

Revision ID: 0008
Revises: 0007
Create Date: 2026-11-24 14:00:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "models",
        sa.Column(
            "analysis_bytes", sa.BigInteger(), nullable=False, server_default="0"
        ),
    )


def downgrade() -> None:
    op.drop_column("models", "analysis_bytes")
