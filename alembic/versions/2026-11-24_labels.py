"""Index the labels of jobs, and the jobs of a model by time.

The labels of the jobs that are there come in batches of their own: each keeps its jobs from being
deleted until it is committed. What was interrupted can be run again.

Revision ID: 0010
Revises: 0009
Create Date: 2026-11-24 19:15:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import context, op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_BATCH = 5000
_BY_MODEL = ("ix_jobs_model_sha256_created_at_id", ["model_sha256", "created_at", "id"])
_BEFORE = ("ix_jobs_model_sha256", ["model_sha256"])

_EDGE = (
    "SELECT created_at, id FROM"
    " (SELECT created_at, id FROM jobs WHERE {} ORDER BY created_at, id LIMIT :batch)"
    " AS batch ORDER BY created_at DESC, id DESC LIMIT 1"
)
_FILL = (
    "INSERT INTO job_labels (job_id, name, value, created_at)"
    " SELECT jobs.id, label.key, label.value, jobs.created_at"
    " FROM jobs, {} AS label WHERE {} {} ON CONFLICT DO NOTHING"
)
_LABELS = {
    "postgresql": "json_each_text(jobs.labels)",
    "sqlite": "json_each(jobs.labels)",
}
_LOCK = {
    "postgresql": "FOR KEY SHARE OF jobs",
    "sqlite": "",
}  # or a job might be deleted before its labels are there


def upgrade() -> None:
    op.create_table(
        "job_labels",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("value", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
            name=op.f("fk_job_labels_job_id_jobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_job_labels")),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_job_labels_name_value_created_at_job_id"),
        "job_labels",
        ["name", "value", "created_at", "job_id"],
        if_not_exists=True,
    )
    with op.get_context().autocommit_block():
        _replace_index(_BEFORE, _BY_MODEL)
        _fill()
        if op.get_context().dialect.name == "postgresql":
            op.execute(
                "ANALYZE job_labels"
            )  # or several labels at once are slow to find until it comes by itself


def _replace_index(before: tuple[str, list[str]], after: tuple[str, list[str]]) -> None:
    name, columns = after
    op.drop_index(op.f(name), "jobs", if_exists=True, postgresql_concurrently=True)
    op.create_index(op.f(name), "jobs", columns, postgresql_concurrently=True)
    op.drop_index(op.f(before[0]), "jobs", if_exists=True, postgresql_concurrently=True)


def _fill() -> None:
    dialect = op.get_context().dialect.name
    labels, lock = _LABELS[dialect], _LOCK[dialect]
    if context.is_offline_mode():
        op.execute(_FILL.format(labels, "true", lock))
        return
    connection, behind, edge = op.get_bind(), "true", {}
    while last := connection.execute(
        sa.text(_EDGE.format(behind)), edge | {"batch": _BATCH}
    ).one_or_none():
        batch = (
            f"{behind} AND (jobs.created_at, jobs.id) <= (:last_created_at, :last_id)"
        )
        edge |= {"last_created_at": last.created_at, "last_id": last.id}
        connection.execute(sa.text(_FILL.format(labels, batch, lock)), edge)
        behind, edge = (
            "(jobs.created_at, jobs.id) > (:created_at, :id)",
            {"created_at": last.created_at, "id": last.id},
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        _replace_index(_BY_MODEL, _BEFORE)
    op.drop_table("job_labels")
