"""Add what statistics are read from: tallies that outlive jobs, workers, an index of the events.

What comes before the indexes is committed when they are built, so all of it can be run again.

Revision ID: 0006
Revises: 0005
Create Date: 2026-11-24 13:30:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INDEX = "ix_events_state_at_detail"


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", "label", name=op.f("pk_tallies")),
        if_not_exists=True,
    )
    op.execute(
        "INSERT INTO tallies (name, label, value) "
        "SELECT 'flops_saved', '', 2.0 * sum(macs_before - macs_after) "
        "FROM jobs WHERE state = 'succeeded' HAVING sum(macs_before - macs_after) IS NOT NULL "
        "ON CONFLICT DO NOTHING"
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("slots", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
        if_not_exists=True,
    )
    with op.get_context().autocommit_block():
        op.drop_index(_INDEX, "events", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            _INDEX, "events", ["state", "at", "detail"], postgresql_concurrently=True
        )


def downgrade() -> None:
    op.drop_index(_INDEX, "events")
    op.drop_table("workers")
    op.drop_table("tallies")
