"""Add what follows a job: events, webhooks, labels, idempotency keys and what retention needs.

Every step is short on a large table: columns are nullable or have a constant default. Indexes
follow in 0003.

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-24 07:20:00.000000+00:00
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    zone = "" if op.get_context().dialect.name == "sqlite" else "+00"
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f") + zone
    op.add_column(
        "models",
        sa.Column(
            "used_at", sa.DateTime(timezone=True), nullable=False, server_default=now
        ),
    )
    op.add_column(
        "models", sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column(
        "jobs",
        sa.Column(
            "labels", sa.JSON(none_as_null=True), nullable=False, server_default="{}"
        ),
    )
    op.add_column(
        "jobs", sa.Column("webhook_url", sa.String(length=2000), nullable=True)
    )
    op.add_column(
        "jobs", sa.Column("idempotency_key", sa.String(length=255), nullable=True)
    )
    op.add_column("jobs", sa.Column("fingerprint", sa.String(length=64), nullable=True))
    op.add_column(
        "jobs", sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.create_table(
        "events",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=True),
        sa.Column("detail", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
            name=op.f("fk_events_job_id_jobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_job_id_id"), "events", ["job_id", "id"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(length=255), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
            name=op.f("fk_deliveries_job_id_jobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index(op.f("ix_deliveries_due_at"), "deliveries", ["due_at"])
    op.create_index(op.f("ix_deliveries_job_id"), "deliveries", ["job_id"])


def downgrade() -> None:
    op.drop_table("deliveries")
    op.drop_table("events")
    for name in (
        "expired_at",
        "fingerprint",
        "idempotency_key",
        "webhook_url",
        "labels",
    ):
        op.drop_column("jobs", name)
    for name in ("expired_at", "used_at"):
        op.drop_column("models", name)
