"""The artifact store: files by key, whole or not there at all.

Keys are `models/<sha256>` for uploads and `artifacts/<sha256>` for what the service made.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from app.settings import get_settings


class Storage:
    """A local directory. Files appear under their key by rename, after their bytes have reached the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._staging = root / "staging"
        self._staging.mkdir(parents=True, exist_ok=True)

    def stage(self) -> BinaryIO:
        """Open a new file to be filled and then given to `keep`, or closed and unlinked; `name` is its path."""
        return tempfile.NamedTemporaryFile(dir=self._staging, delete=False)  # type: ignore[return-value]

    def keep(self, staged: Path, key: str) -> None:
        """Give a staged file its key, durably; replaces a file of the same key, whose bytes are the same by design."""
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def put(self, path: Path, key: str) -> None:
        """Copy a finished file into the store under its key, durably."""
        with self.stage() as staged, path.open("rb") as source:
            shutil.copyfileobj(source, staged, 1024**2)
        self.keep(Path(staged.name), key)

    def path(self, key: str) -> Path:
        """Return where the file of a key lies."""
        return self.root / key

    def free_bytes(self) -> int:
        """Return how much more the disk can take."""
        return shutil.disk_usage(self.root).free


def get_storage() -> Storage:
    """Return the store that the settings name."""
    return Storage(get_settings().data_dir.absolute() / "storage")
