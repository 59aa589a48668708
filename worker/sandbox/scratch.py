"""Scratch folders: one for each child, removed with its files, also after the worker's death."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "convpress-"


def scratch_root(data_dir: Path) -> Path:
    """Return the parent of the scratch folders; uploads can be linked on the store's disk."""
    return data_dir.absolute() / "scratch"


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """Make a folder under `root` with the folders `input`, `output` and `work`.

    Remove it when the block ends.

    A lock on the folder shows `remove_orphans` that its process is alive; the kernel drops it with
    the process.
    """
    root.mkdir(exist_ok=True)
    folder, lock = _make(root)
    try:
        (folder / "input").mkdir()
        (folder / "output").mkdir()
        (folder / "work").mkdir()
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def remove_orphans(root: Path) -> int:
    """Remove the folders whose processes have died, and return their number."""
    removed = 0
    for folder in root.glob(f"{_PREFIX}*"):
        lock = _lock(folder)
        if lock is None:
            continue
        _remove(folder)
        os.close(lock)
        removed += 1
    return removed


def _make(root: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        lock = _lock(folder)
        if lock is not None and folder.exists():
            return folder, lock
        # A sweep removed the folder before it was locked.
        if lock is not None:
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder and return the lock.

    Return None where another process holds it or the folder is gone.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(folder: Path) -> None:
    """Remove a tree in which a child may have removed rights or nested folders very deeply.

    Inner folders are moved to the top before their turn comes, so that no path exceeds the system's
    limit.
    """
    with suppress(FileNotFoundError):  # another sweep was faster
        folders = [folder]
        # The list grows meanwhile: `_empty` returns the folders in a folder.
        for number, inner in enumerate(folders):
            folders += _empty(inner, top=folder, prefix=f"{number}.")
        for inner in reversed(folders):
            inner.rmdir()


def _empty(inner: Path, top: Path, prefix: str) -> list[Path]:
    """Delete the files in a folder, move its folders to the top, and return these."""
    moved: list[Path] = []
    inner.chmod(0o700)
    with os.scandir(inner) as entries:
        for entry in entries:
            path = Path(entry.path)
            if not entry.is_dir(follow_symlinks=False):
                path.unlink()
            elif inner == top:
                moved.append(path)
            else:
                moved.append(path.rename(top / f"{prefix}{len(moved)}"))
    return moved
