"""Let jobs have budgets of parameters, bytes and time, beside that of FLOPs or in its place.

Revision ID: 0011
Revises: 0010
Create Date: 2026-11-24 19:20:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_BUDGETS = ("params_budget", "bytes_budget", "latency_budget")


def upgrade() -> None:
    for name in _BUDGETS:
        op.add_column(
            "jobs", sa.Column(name, sa.String(40), nullable=False, server_default="")
        )
    op.add_column(
        "jobs",
        sa.Column(
            "flops_at_any_price",
            sa.Boolean(),
            nullable=False,
            server_default=sa.false(),
        ),
    )


def downgrade() -> None:
    for name in ("flops_at_any_price", *reversed(_BUDGETS)):
        op.drop_column("jobs", name)
