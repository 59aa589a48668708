"""Name the event of each webhook delivery.

The column is nullable: an API of the version before goes on to write rows without it. The rows
that exist come in batches, and what was interrupted can be run again.

Revision ID: 0012
Revises: 0011
Create Date: 2026-11-30 01:20:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import context, op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_BATCH = 5000
# Webhooks were called for the end of a job only, so its state names the event.
_NAME = (
    "UPDATE deliveries"
    " SET event = (SELECT 'job.' || jobs.state FROM jobs WHERE jobs.id = deliveries.job_id)"
    " WHERE event IS NULL"
)
_OF_BATCH = " AND id IN (SELECT id FROM deliveries WHERE event IS NULL LIMIT :batch)"


def upgrade() -> None:
    again = (
        op.get_context().dialect.name == "postgresql"
    )  # SQLite migrates at once or not at all
    event = sa.Column("event", sa.String(length=32), nullable=True)
    with op.get_context().autocommit_block():
        op.add_column("deliveries", event, if_not_exists=again)
        _name_events()


def _name_events() -> None:
    if context.is_offline_mode():
        op.execute(_NAME)
        return
    batch = sa.text(_NAME + _OF_BATCH).bindparams(batch=_BATCH)
    while op.get_bind().execute(batch).rowcount:
        pass


def downgrade() -> None:
    # Alone: a transaction that held this lock and then changed `jobs` would block a process that
    # deletes a job, and be blocked by it.
    with op.get_context().autocommit_block():
        op.drop_column("deliveries", "event")
