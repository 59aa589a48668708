"""Runs migrations on the database that the caller or the settings name."""

from pathlib import Path

from alembic import context
from sqlalchemy import NullPool, create_engine, make_url

from app import keys  # noqa: F401 - its table belongs to the schema as well
from app.models import Base, UtcDateTime
from app.settings import get_settings

# A change that cannot have its lock gives up, instead of holding up everybody who comes after it.
LOCK_TIMEOUT = {"options": "-c lock_timeout=10s"}


def render_item(kind, item, _autogenerate_context):
    """Keep migrations free of the application's own types, which will change after them."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def run() -> None:
    """Configure the context and migrate, in SQLite by copying tables, which is all it can do."""
    url = context.config.attributes.get("url") or get_settings().sql_url
    options = {"target_metadata": Base.metadata, "render_as_batch": True, "render_item": render_item}
    if context.is_offline_mode():
        context.configure(url=url, literal_binds=True, **options)
        with context.begin_transaction():
            context.run_migrations()
        return
    sqlite = (file := make_url(url)).get_backend_name() == "sqlite"
    if sqlite and file.database:
        Path(file.database).parent.mkdir(parents=True, exist_ok=True)
    with create_engine(url, poolclass=NullPool, connect_args={} if sqlite else LOCK_TIMEOUT).connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()


run()
