"""The store as a local directory."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from app.storage import staging


class LocalStorage:
    """Files appear under their key by rename, after their bytes have reached the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / "staging"
        self.staging.mkdir(parents=True, exist_ok=True)

    def stage(self) -> BinaryIO:
        """Open a new file to be filled and kept, or closed and unlinked; `name` is its path."""
        return staging.stage(self.staging)

    def prepare(self, staged: Path, key: str) -> None:  # noqa: ARG002 - another store needs the key
        """Bring the bytes to the disk, which takes as long as there are many."""
        with staged.open("rb") as file:
            os.fsync(file.fileno())

    def keep(self, staged: Path, key: str) -> None:
        """Give a prepared file its key, durably; a file of the same key is replaced: its bytes are the same."""
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(target)
        _sync(target.parent)
        if target.parent.parent != self.root:
            _sync(target.parent.parent)

    def size(self, key: str) -> int | None:
        """Return how many bytes a key holds, or None."""
        try:
            return (self.root / key).stat().st_size
        except FileNotFoundError:
            return None

    def content(self, key: str) -> bytes:
        """Return the bytes of a key.

        Raises:
            FileNotFoundError: the key holds nothing.
        """
        return self.path(key).read_bytes()

    def path(self, key: str) -> Path:
        """Return where the file of a key lies."""
        return self.root / key

    def fetch(self, key: str, target: Path) -> None:
        """Put the file of a key at `target`: by a link where both share a disk, else by a copy.

        While the same bytes are kept once more a link may find no file, though there always is one: a copy finds it.

        Raises:
            FileNotFoundError: the key holds nothing.
        """
        try:
            os.link(self.root / key, target)
        except OSError:
            shutil.copyfile(self.root / key, target)

    def delete(self, key: str) -> None:
        """Remove a key, if it is there, and the folder that this leaves empty."""
        path = self.root / key
        path.unlink(missing_ok=True)
        if path.parent.parent != self.root:
            with suppress(OSError):  # it holds more, or is gone
                path.parent.rmdir()

    def keys(self, prefix: str) -> Iterator[str]:
        """Return the keys that begin with `prefix`, a folder such as `models/`."""
        for folder, _, names in os.walk(
            self.root / prefix
        ):  # what vanishes meanwhile is passed over
            for name in names:
                yield str(Path(folder, name).relative_to(self.root))

    def free_bytes(self) -> int:
        """Return how much more the disk can take."""
        return free_bytes(self.root)


def free_bytes(folder: Path) -> int:
    """Return how much more the disk of a folder can take."""
    return shutil.disk_usage(folder).free


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
