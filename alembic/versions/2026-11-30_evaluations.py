"""Add a job's evaluation and its largest loss, and the files of labels that may be uploaded.

What comes before the index is committed when it is built, so all of it can be run again.

Revision ID: 0018
Revises: 0017
Create Date: 2026-11-30 09:40:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_INDEX = "ix_jobs_evaluation_sha256"


def upgrade() -> None:
    op.create_table(
        "evaluations",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_evaluations")),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_evaluations_expired_at_used_at"),
        "evaluations",
        ["expired_at", "used_at"],
        if_not_exists=True,
    )
    again = (
        op.get_context().dialect.name == "postgresql"
    )  # SQLite migrates at once or not at all
    for column in (
        sa.Column("max_loss", sa.String(length=40), nullable=True),
        sa.Column("evaluation_sha256", sa.String(length=64), nullable=True),
        sa.Column("evaluation_metric", sa.String(length=16), nullable=True),
        sa.Column("evaluation_output", sa.String(length=1000), nullable=True),
        sa.Column("evaluation", sa.JSON(), nullable=True),
    ):
        op.add_column("jobs", column, if_not_exists=again)
    with op.get_context().autocommit_block():
        op.drop_index(_INDEX, "jobs", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            _INDEX, "jobs", ["evaluation_sha256"], postgresql_concurrently=True
        )


def downgrade() -> None:
    op.drop_index(_INDEX, "jobs")
    for name in (
        "evaluation",
        "evaluation_output",
        "evaluation_metric",
        "evaluation_sha256",
        "max_loss",
    ):
        op.drop_column("jobs", name)
    op.drop_table("evaluations")
