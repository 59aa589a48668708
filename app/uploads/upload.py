"""An uploaded file on its way to the store: hashed and written in one pass as its bytes arrive."""

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from app.errors import Problem
from app.storage import Storage
from convpress import formats

# An upload leaves this much free, because the database writes to the same disk.
_RESERVE_BYTES = 64 * 1024**2
_LONGEST_NAME = 255

Checked = TypeVar("Checked")


@dataclass(frozen=True)
class Upload:
    """A file that arrived completely: staged, but not under its key yet.

    `format` is None for samples and evaluations.
    """

    staged: Path
    sha256: str
    bytes: int
    format: formats.Format | None


class Part:
    """A file that is arriving, at most `limit` bytes long. Its methods block."""

    def __init__(self, storage: Storage, field: str, limit: int) -> None:
        self._storage = storage
        self._field = field
        self._limit = limit
        self._size = 0
        self._hash = hashlib.sha256()
        self._file = storage.stage()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Append the next bytes.

        Raises:
            Problem: `upload_too_large`.
        """
        self._size += len(memoryview(data))
        if self._size > self._limit:
            raise too_large(self._field, self._limit, f"more than {self._limit} bytes")
        self._hash.update(data)
        self._file.write(data)

    def check(self, identify: Callable[[Path], Checked]) -> Checked:
        """Return the verdict of `identify` on the complete file.

        Raises:
            Refusal: `identify` refuses the file.
        """
        self._file.flush()
        return identify(Path(self._file.name))

    def prepare(
        self, file_format: formats.Format | None, key: Callable[[str], str]
    ) -> Upload:
        """Prepare the complete file for its key in the store; slow for a large file."""
        staged = Path(self._file.name)
        self._storage.prepare(staged, key(self.sha256))
        return Upload(staged, self.sha256, self._size, file_format)

    def discard(self) -> None:
        """Delete the staged file, unless the store has moved it to its key."""
        Path(self._file.name).unlink(missing_ok=True)
        # On a full disk, closing tries to write the buffer once more; the file is deleted anyway.
        with suppress(OSError):
            self._file.close()


def check_room(storage: Storage, field: str, announced: int) -> None:
    """Check that the disk has room for an upload of `announced` bytes.

    Raises:
        Problem: `storage_full`.
    """
    free = storage.free_bytes()
    if free < announced + _RESERVE_BYTES:
        raise Problem(
            "storage_full",
            "there is no room for this upload",
            field=field,
            expected=f"at most {max(0, free - _RESERVE_BYTES)} bytes",
            got=f"{announced} bytes announced",
        )


def too_large(field: str, limit: int, got: str) -> Problem:
    """Return the problem of a file that is larger than `limit` bytes."""
    return Problem(
        "upload_too_large",
        f"a {field} is at most {limit} bytes",
        field=field,
        expected=f"at most {limit} bytes",
        got=got,
    )


def display_name(name: str) -> str:
    r"""Return a display-safe version of a client's file name; never used as a path.

    >>> display_name("..\\..\\models/resnet\n20.onnx")
    'resnet20.onnx'
    >>> display_name("../")
    'model'
    """
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(
        character for character in last if character.isprintable()
    ).strip()
    # "." and ".." are names of folders.
    if not printable.strip("."):
        return "model"
    return printable[:_LONGEST_NAME]
