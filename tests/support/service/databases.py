"""SQLite databases of the newest schema: migrated once in each process that tests, then copied."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from app.db.migrations import migrate


def put_migrated_database(path: Path) -> None:
    """Put an empty database of the newest schema to `path`, where there is none."""
    if not path.exists():
        shutil.copy(_migrated(), path)


@cache
def _migrated() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="convpress-migrated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "convpress.db"
    migrate(f"sqlite:///{path}")
    return path
