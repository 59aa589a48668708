"""Add whose request a job was, and the trace it belongs to.

Revision ID: 0007
Revises: 0006
Create Date: 2026-11-24 14:00:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ORIGIN = ("request_id", "traceparent")


def upgrade() -> None:
    for name in _ORIGIN:
        op.add_column("jobs", sa.Column(name, sa.String(length=64), nullable=True))


def downgrade() -> None:
    for name in _ORIGIN:
        op.drop_column("jobs", name)
