"""Staged files: files without a key yet, each under a lock that its process holds.

The kernel drops the lock when the process dies, so abandoned files can be recognised and removed.
"""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import BinaryIO


def stage(folder: Path) -> BinaryIO:
    """Open a new file in `folder`, locked until it is closed; `name` is its path."""
    while True:
        file = tempfile.NamedTemporaryFile(dir=folder, delete=False)  # noqa: SIM115 - the caller's to close
        if _lock(file.fileno()) and os.fstat(file.fileno()).st_nlink:
            return file  # type: ignore[return-value]  # what a NamedTemporaryFile wraps
        file.close()  # remove_abandoned came between creation and lock


def remove_abandoned(folder: Path) -> int:
    """Remove the files whose processes have died, and return their number."""
    removed = 0
    for path in folder.iterdir():
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        if _lock(descriptor):
            path.unlink(missing_ok=True)
            removed += 1
        os.close(descriptor)
    return removed


def _lock(descriptor: int) -> bool:
    """Try to lock a file, and tell whether this process holds the lock now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
