"""Scratch folders: one a child process, removed with what it left there, also after the death of the worker."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "convpress-"


def scratch_root(data_dir: Path) -> Path:
    """Return where a worker's scratch folders lie: on the disk of the store, so that uploads can be linked."""
    return data_dir.absolute() / "scratch"


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """Make a folder with `input/`, `output/` and `work/` in it under `root`; it is gone when the block ends.

    A lock on the folder tells `remove_orphans` that its maker lives; the kernel drops it with the process.
    """
    root.mkdir(parents=True, exist_ok=True)
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
    """Remove the folders whose makers have died, and return how many there were."""
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
        if lock is not None:  # a sweep came between making and locking
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder, or return None where another process holds it or it is gone."""
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
    """Remove a tree in which a child may have taken its owner's rights away, or nested folders without end.

    Inner folders are moved to the top before their turn comes, so that no path grows longer than the system takes.
    """
    with suppress(FileNotFoundError):  # another sweep was faster
        waiting = [folder]
        for number, inner in enumerate(waiting):  # which grows meanwhile
            inner.chmod(0o700)
            with os.scandir(inner) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        Path(entry.path).unlink()
                    elif inner == folder:
                        waiting.append(Path(entry.path))
                    else:
                        waiting.append(Path(entry.path).rename(folder / f"{number}.{len(waiting)}"))
        for inner in reversed(waiting):
            inner.rmdir()
