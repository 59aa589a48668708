"""The bytes of a file without a copy of them in memory."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convpress.gate import protobuf
from convpress.gate.protobuf import Buffer, Field

# Fields or members between two times: the kernel maps up to 64 KiB around each byte that is read.
EVERY = 128


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


def forget(content: Buffer) -> None:
    """Let the kernel take back the pages of a mapped file that were read so far.

    They count as memory of this process, and stay in the cache of the disk. Other bytes stay.
    """
    if isinstance(content, memoryview) and isinstance(content.obj, mmap.mmap):
        content.obj.madvise(mmap.MADV_DONTNEED)


def fields(content: Buffer, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of a message as `protobuf.fields`, and keep few pages of it in memory.

    Raises:
        MalformedMessage: as `protobuf.fields`.
    """
    for number, field in enumerate(protobuf.fields(content, start, end)):
        if number % EVERY == 0:
            forget(content)
        yield field
