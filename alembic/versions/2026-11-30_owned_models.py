"""Keep the analysis and the inspection of a model for each owner.

Rows are copied for models with jobs of one owner alone. Of the others nobody knows whose they are,
and the next job makes them again. The columns of `models` stay as those of the whole service, and
an API of the version before goes on to read them.

Revision ID: 0016
Revises: 0015
Create Date: 2026-11-30 06:30:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_COPY = (
    "INSERT INTO owned_models (model_sha256, owner, analysis_bytes, inspection)"
    " SELECT models.sha256, single.owner, models.analysis_bytes, models.inspection"
    " FROM models JOIN (SELECT model_sha256, min(owner) AS owner FROM jobs"
    " GROUP BY model_sha256 HAVING min(owner) = max(owner)) AS single"
    " ON single.model_sha256 = models.sha256"
    " ON CONFLICT DO NOTHING"
)


def upgrade() -> None:
    op.create_table(
        "owned_models",
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=63), nullable=False),
        sa.Column(
            "analysis_bytes", sa.BigInteger(), server_default="0", nullable=False
        ),
        sa.Column("inspection", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["model_sha256"],
            ["models.sha256"],
            name=op.f("fk_owned_models_model_sha256_models"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_sha256", "owner", name=op.f("pk_owned_models")),
        if_not_exists=True,
    )
    op.execute(_COPY)


def downgrade() -> None:
    op.drop_table("owned_models")
