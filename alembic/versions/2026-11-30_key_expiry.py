"""Give keys an expiry and the time of their last use.

Both columns are nullable, so an API of the version before goes on to work; it does not refuse
expired keys.

Revision ID: 0013
Revises: 0012
Create Date: 2026-11-30 05:40:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_COLUMNS = ("expires_at", "used_at")


def upgrade() -> None:
    again = (
        op.get_context().dialect.name == "postgresql"
    )  # SQLite migrates at once or not at all
    for name in _COLUMNS:
        column = sa.Column(name, sa.DateTime(timezone=True), nullable=True)
        op.add_column("api_keys", column, if_not_exists=again)


def downgrade() -> None:
    for name in _COLUMNS:
        op.drop_column("api_keys", name)
