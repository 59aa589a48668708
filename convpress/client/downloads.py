"""Files between client and service: uploads are counted, broken downloads are resumed."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from convpress.client.errors import Corrupt

_CHUNK = 1024**2

OnBytes = Callable[[int, int], object]
"""Called with the number of bytes that were transferred, and the total."""

FormFile = tuple[str, tuple[str, BinaryIO]]
"""A file of a multipart form: its field, its name and its content."""


class CountingFile(io.FileIO):
    """A file that reports how much of it was read; `before` bytes of other files precede it."""

    def __init__(
        self, path: Path, before: int, total: int, on_bytes: OnBytes | None
    ) -> None:
        super().__init__(path)
        self._before = before
        self._total = total
        self._on_bytes = on_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and report."""
        data = super().read(size)
        if self._on_bytes is not None and data:
            # httpx reads a file of a form while it sends it, so the position is what was sent.
            self._on_bytes(self._before + self.tell(), self._total)
        return data


@contextmanager
def open_form_files(
    paths: Mapping[str, Path], on_bytes: OnBytes | None
) -> Iterator[Sequence[FormFile]]:
    """Open files, by form field, as the files of a form."""
    total = sum(path.stat().st_size for path in paths.values())
    before = 0
    files: list[FormFile] = []
    with ExitStack() as stack:
        for field, path in paths.items():
            file = stack.enter_context(CountingFile(path, before, total, on_bytes))
            files.append((field, (path.name, file)))
            before += path.stat().st_size
        yield files


class PartialDownload:
    """A download in a file beside its target; it starts with what an earlier attempt left there.

    The name of that file holds the artifact's SHA-256, so that no other artifact is continued.
    """

    def __init__(
        self, target: Path, sha256: str, size: int, on_bytes: OnBytes | None
    ) -> None:
        self._target = target
        self._sha256 = sha256
        self._size = size
        self._on_bytes = on_bytes
        # In the folder of the target: a rename within one file system is atomic.
        self._path = target.with_name(f".{target.name}.{sha256[:16]}.part")
        # Append mode keeps the bytes of an earlier attempt.
        self._file = self._path.open("a+b")
        self._digest = hashlib.sha256()
        # A digest cannot be stored, so bytes that are there already are hashed again.
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            self._digest.update(chunk)

    @property
    def received(self) -> int:
        """The number of bytes that are there."""
        return self._file.tell()

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there."""
        return self.received >= self._size

    def restart(self) -> None:
        """Drop all bytes."""
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Append bytes, and report."""
        self._file.write(chunk)
        self._digest.update(chunk)
        if self._on_bytes is not None:
            self._on_bytes(self.received, self._size)

    def finish(self) -> Path:
        """Verify the file and give it the name of its target.

        Raises:
            Corrupt: its SHA-256 is another one.
        """
        self._file.close()
        sha256 = self._digest.hexdigest()
        if sha256 != self._sha256:
            # Otherwise each later attempt would resume the corrupt bytes.
            self._path.unlink()
            raise Corrupt(f"expected SHA-256 {self._sha256}, received {sha256}")
        return self._path.replace(self._target)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
