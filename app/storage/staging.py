"""Files on their way to a key: each under a lock, so that those of killed processes can be told apart and removed."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import BinaryIO


def stage(folder: Path) -> BinaryIO:
    """Open a new file in `folder`; `name` is its path, and it is its maker's until it is closed or given a key."""
    while True:
        file = tempfile.NamedTemporaryFile(dir=folder, delete=False)  # noqa: SIM115 - the caller's to close
        if _lock(file.fileno()) and os.fstat(file.fileno()).st_nlink:
            return file  # type: ignore[return-value]  # what a NamedTemporaryFile wraps
        file.close()  # a sweep came between making and locking


def remove_abandoned(folder: Path) -> int:
    """Remove the files whose makers have died, and return how many there were."""
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
    """Whether this process holds the file's lock now; the kernel drops it with the process."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
