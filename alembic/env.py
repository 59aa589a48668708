"""Runs migrations on the database that the caller or the settings name."""

from contextlib import nullcontext
from pathlib import Path

from alembic import context
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, make_url

from app.auth import keys  # noqa: F401 - its table belongs to the schema as well
from app.db.models import Base, UtcDateTime
from app.settings import get_settings

# A change that cannot have its lock gives up, instead of holding up everybody who comes after it.
LOCK_TIMEOUT = {"options": "-c lock_timeout=10s"}


def render_item(kind, item, _autogenerate_context):
    """Keep migrations free of the application's own types, which will change after them."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def open_sqlite(url: str) -> Engine:
    """Open a database, created if it does not exist, with transactions that hold DDL as well.

    pysqlite by itself begins no transaction for DDL.
    """
    if file := make_url(url).database:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def leave_transactions_alone(connection, _record) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def run() -> None:
    """Configure the context and migrate.

    PostgreSQL migrates in a transaction a migration. SQLite migrates in one for all, and copies a
    table where it cannot alter it.
    """
    url = context.config.attributes.get("url") or get_settings().sql_url
    options = {
        "target_metadata": Base.metadata,
        "render_as_batch": True,
        "render_item": render_item,
    }
    if context.is_offline_mode():
        context.configure(url=url, literal_binds=True, **options)
        with context.begin_transaction():
            context.run_migrations()
        return
    sqlite = make_url(url).get_backend_name() == "sqlite"
    engine = (
        open_sqlite(url)
        if sqlite
        else create_engine(url, poolclass=NullPool, connect_args=LOCK_TIMEOUT)
    )
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            transactional_ddl=True,
            # Locks that one transaction for all would gather, writers may hold the other way round.
            transaction_per_migration=not sqlite,
            **options,
        )
        if sqlite:
            context.get_context().autocommit_block = nullcontext
        with context.begin_transaction():
            context.run_migrations()


run()
