"""Give jobs owners, and owners keys.

Revision ID: 0002_owners
Revises: 0001
Create Date: 2026-11-24 08:20:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0002_owners"
down_revision = "0001"
branch_labels = None
depends_on = None


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
    )
    op.create_index(op.f("ix_api_keys_owner"), "api_keys", ["owner"])
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("owner", sa.String(length=63), nullable=False, server_default=""))
        jobs.create_index(op.f("ix_jobs_owner"), ["owner"])
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("owner", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_index(op.f("ix_jobs_owner"))
        jobs.drop_column("owner")
    op.drop_table("api_keys")
