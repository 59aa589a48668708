"""Keep the precision that a job asks for.

Revision ID: 0021
Revises: 0020
Create Date: 2026-11-30 10:10:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    precision = sa.Column(
        "precision", sa.String(8), nullable=False, server_default="float"
    )
    op.add_column("jobs", precision)


def downgrade() -> None:
    op.drop_column("jobs", "precision")
