"""Index what retention and idempotency ask for, without keeping writers out of large tables.

A build that was interrupted leaves an index that is not valid: running this again replaces it.

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-24 07:25:00.000000+00:00
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = [
    ("ix_models_expired_at_used_at", "models", ["expired_at", "used_at"], False),
    ("ix_jobs_expired_at_finished_at", "jobs", ["expired_at", "finished_at"], False),
    ("ix_jobs_idempotency_key", "jobs", ["idempotency_key"], True),
]


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, table, columns, unique in INDEXES:
            op.drop_index(
                op.f(name), table, if_exists=True, postgresql_concurrently=True
            )
            op.create_index(
                op.f(name), table, columns, unique=unique, postgresql_concurrently=True
            )


def downgrade() -> None:
    for name, table, _, _ in INDEXES:
        op.drop_index(op.f(name), table)
