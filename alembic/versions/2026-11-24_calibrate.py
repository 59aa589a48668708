"""Add a job's calibration, and the samples that may be uploaded for it.

What comes before the indexes is committed when they are built, so all of it can be run again.

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

_INDEX = "ix_jobs_samples_sha256"
_TOLD = ("input_range", "input_mean", "input_std")


def upgrade() -> None:
    op.create_table(
        "samples",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_samples")),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_samples_expired_at_used_at"),
        "samples",
        ["expired_at", "used_at"],
        if_not_exists=True,
    )
    again = (
        op.get_context().dialect.name == "postgresql"
    )  # SQLite migrates at once or not at all
    for column in (
        sa.Column("samples_sha256", sa.String(length=64), nullable=True),
        sa.Column(
            "calibration",
            sa.String(length=16),
            nullable=False,
            server_default="synthetic",
        ),
        *(sa.Column(name, sa.String(length=2000), nullable=True) for name in _TOLD),
    ):
        op.add_column("jobs", column, if_not_exists=again)
    with op.get_context().autocommit_block():
        op.drop_index(_INDEX, "jobs", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            _INDEX, "jobs", ["samples_sha256"], postgresql_concurrently=True
        )


def downgrade() -> None:
    op.drop_index(_INDEX, "jobs")
    for name in (*_TOLD, "calibration", "samples_sha256"):
        op.drop_column("jobs", name)
    op.drop_table("samples")
