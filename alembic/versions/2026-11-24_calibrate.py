"""Add how a job learns what its model's inputs are like.

Revision ID: 0005
Revises: 0004
Create Date: 2026-11-24 08:45:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TOLD = ("input_range", "input_mean", "input_std")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("calibration", sa.String(length=16), nullable=False, server_default="synthetic"))
    for name in _TOLD:
        op.add_column("jobs", sa.Column(name, sa.String(length=2000), nullable=True))


def downgrade() -> None:
    for name in (*_TOLD, "calibration"):
        op.drop_column("jobs", name)
