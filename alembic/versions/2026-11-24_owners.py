"""Give jobs owners, and owners keys; an idempotency key is its owner's.

What comes before the indexes is committed when they are built, so all of it can be run again.

Revision ID: 0004
Revises: 0003
Create Date: 2026-11-24 08:45:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = [
    ("ix_jobs_owner_idempotency_key", ["owner", "idempotency_key"], True),
    ("ix_jobs_owner_created_at_id", ["owner", "created_at", "id"], False),
]


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=63), nullable=False),
        sa.Column("scopes", sa.String(length=64), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_api_keys_owner"), "api_keys", ["owner"], if_not_exists=True
    )
    again = (
        op.get_context().dialect.name == "postgresql"
    )  # SQLite migrates at once or not at all
    owner = sa.Column("owner", sa.String(length=63), nullable=False, server_default="")
    op.add_column("jobs", owner, if_not_exists=again)
    with op.get_context().autocommit_block():
        for name, columns, unique in INDEXES:
            op.drop_index(
                op.f(name), "jobs", if_exists=True, postgresql_concurrently=True
            )
            op.create_index(
                op.f(name), "jobs", columns, unique=unique, postgresql_concurrently=True
            )
        op.drop_index(
            op.f("ix_jobs_idempotency_key"),
            "jobs",
            if_exists=True,
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    for name, _, _ in INDEXES:
        op.drop_index(op.f(name), "jobs")
    op.drop_column("jobs", "owner")
    op.create_index(
        op.f("ix_jobs_idempotency_key"), "jobs", ["idempotency_key"], unique=True
    )
    op.drop_table("api_keys")
