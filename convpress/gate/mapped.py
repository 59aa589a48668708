"""The bytes of a file without a copy of them in memory."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """Give the bytes of a file, whose pages are read when they are looked at.

    Raises:
        ValueError: the file is empty, which cannot be mapped.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        yield view
