"""Files between a client and a service: counted on the way up, taken up again where they broke off on the way down."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from convpress.client.transport import ClientError

_CHUNK = 1024**2

OnBytes = Callable[[int, int], object]
"""Told how many bytes are over, and of how many."""


class Corrupt(ClientError):
    """What came is not the file that was asked for; nothing of it is kept."""


class Counted(io.FileIO):
    """A file that tells how much of it, and of those before it, has been read."""

    def __init__(self, path: Path, before: int, total: int, told: OnBytes | None) -> None:
        super().__init__(path)
        self._before, self._total, self._told = before, total, told

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and tell."""
        data = super().read(size)
        if self._told is not None and data:
            self._told(self._before + self.tell(), self._total)
        return data


@contextmanager
def opened(
    paths: Mapping[str, Path], told: OnBytes | None
) -> Iterator[Sequence[tuple[str, tuple[str, BinaryIO]]]]:
    """Open files as the parts of a form."""
    sizes = [path.stat().st_size for path in paths.values()]
    with ExitStack() as stack:
        yield [
            (
                name,
                (
                    path.name,
                    stack.enter_context(Counted(path, sum(sizes[:number]), sum(sizes), told)),
                ),
            )
            for number, (name, path) in enumerate(paths.items())
        ]


class Arriving:
    """A file that is coming, beside its target until it is whole; begins with what an earlier try has left of it."""

    def __init__(self, target: Path, sha256: str, size: int, told: OnBytes | None) -> None:
        self._target, self._sha256, self._size, self._told = target, sha256, size, told
        self._path = target.with_name(f".{target.name}.{sha256[:16]}.part")
        self._file = self._path.open("a+b")
        self._digest = hashlib.sha256()
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            self._digest.update(chunk)

    @property
    def have(self) -> int:
        """How many bytes are there."""
        return self._file.tell()

    @property
    def whole(self) -> bool:
        """Whether no more is to come."""
        return self.have >= self._size

    def begin_again(self) -> None:
        """Drop what is there."""
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._file.write(chunk)
        self._digest.update(chunk)
        if self._told is not None:
            self._told(self.have, self._size)

    def keep(self) -> Path:
        """Give the file its name.

        Raises:
            Corrupt: it is another one.
        """
        self._file.close()
        if self._digest.hexdigest() != self._sha256:
            self._path.unlink()
            raise Corrupt(
                f"the file should have SHA-256 {self._sha256}, what came has {self._digest.hexdigest()}"
            )
        return self._path.replace(self._target)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
