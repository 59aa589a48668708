"""The store as a local folder."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from app.storage import staging

_PIECE_BYTES = 256 * 1024


class FileInfo(NamedTuple):
    """The size of a stored file in bytes, and when it was stored, in UTC."""

    size: int
    modified_at: datetime


class LocalStorage:
    """Files appear under their key by rename, after their bytes have reached the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / "staging"
        # Not the parents: a data folder that was deleted does not come back empty.
        root.mkdir(exist_ok=True)
        self.staging.mkdir(exist_ok=True)

    def stage(self) -> BinaryIO:
        """Open a new file to fill and keep, or to close and unlink; `name` is its path."""
        return staging.stage(self.staging)

    def prepare(self, staged: Path, key: str) -> None:  # noqa: ARG002 - another store needs the key
        """Write the bytes through to the disk, which takes long for a large file."""
        with staged.open("rb") as file:
            os.fsync(file.fileno())

    def keep(self, staged: Path, key: str) -> None:
        """Give a prepared file its key, durably; a file of the same key has the same bytes."""
        target = self.root / key
        # As above: only the folders below the root are made.
        *below, _root = Path(key).parents
        for folder in reversed(below):
            (self.root / folder).mkdir(exist_ok=True)
        staged.replace(target)
        # A rename survives a power cut only when its folder is on the disk as well.
        _sync(target.parent)
        if target.parent.parent != self.root:
            _sync(target.parent.parent)

    def info(self, key: str) -> FileInfo | None:
        """Return the size and time of a key's file, or None without a file."""
        try:
            status = self.path(key).stat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            # somebody has put a folder there, or a device
            return None
        return FileInfo(status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def size(self, key: str) -> int | None:
        """Return the bytes of a key's file, or None without a file."""
        info = self.info(key)
        return None if info is None else info.size

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Read a key's file in pieces, from byte `start` up to but not including `end`.

        The file is open when this returns, so it stays readable if the key is deleted.

        Raises:
            FileNotFoundError: the key has no file.
        """
        pieces = _pieces(self.path(key), start, end)
        return chain([next(pieces, b"")], pieces)

    def content(self, key: str) -> bytes:
        """Return the content of a key's file.

        Raises:
            FileNotFoundError: the key has no file.
        """
        return self.path(key).read_bytes()

    def path(self, key: str) -> Path:
        """Return the path of a key's file."""
        return self.root / key

    def fetch(self, key: str, target: Path) -> None:
        """Put a key's file at `target`: as a link where both are on one disk, else as a copy.

        Raises:
            FileNotFoundError: the key has no file.
        """
        try:
            os.link(self.path(key), target)
        except OSError:
            # Also where `keep` replaces the file between the look-up of its name and the link.
            shutil.copyfile(self.path(key), target)

    def delete(self, key: str) -> None:
        """Remove a key's file, if there is one."""
        path = self.path(key)
        path.unlink(missing_ok=True)
        if path.parent.parent != self.root:
            with suppress(OSError):  # the folder holds more files, or is gone
                path.parent.rmdir()

    def keys(self, prefix: str) -> Iterator[str]:
        """Return the keys that begin with `prefix`, a folder such as `models/`."""
        # os.walk passes over what is deleted meanwhile; Path.rglob would raise.
        for folder, _, names in os.walk(self.root / prefix):
            for name in names:
                yield str(Path(folder, name).relative_to(self.root))

    def free_bytes(self) -> int:
        """Return the free bytes of the store's disk."""
        return free_bytes(self.root)


def free_bytes(folder: Path) -> int:
    """Return the free bytes of a folder's disk."""
    return shutil.disk_usage(folder).free


def _pieces(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        left = end - start
        while left > 0 and (piece := file.read(min(left, _PIECE_BYTES))):
            left -= len(piece)
            yield piece


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
