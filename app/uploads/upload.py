"""A file on its way to the store: one pass over its bytes, hashed and written as they arrive."""

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.errors import Problem
from app.storage import Storage
from convpress import formats

_RESERVE_BYTES = 64 * 1024**2  # what an upload leaves free: the database writes to the same disk
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Upload:
    """A file that has arrived whole, staged but without its key yet; `format` is that of a model."""

    staged: Path
    sha256: str
    bytes: int
    format: formats.Format | None


class Part:
    """A file that is arriving, at most `limit` bytes long. Its methods block."""

    def __init__(self, storage: Storage, field: str, limit: int) -> None:
        self._storage, self._field, self._limit = storage, field, limit
        self._size = 0
        self._hash = hashlib.sha256()
        self._file = storage.stage()

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            Problem: `upload_too_large`.
        """
        self._size += len(memoryview(data))
        if self._size > self._limit:
            raise too_large(self._field, self._limit, f"more than {self._limit} bytes")
        self._hash.update(data)
        self._file.write(data)

    def finish(
        self, identify: Callable[[Path], formats.Format | None], key: Callable[[str], str]
    ) -> Upload:
        """Take note that all has come, see what it is and bring it to the disk.

        Raises:
            Refusal: it is not what it has to be.
        """
        self._file.flush()
        staged, sha256 = Path(self._file.name), self._hash.hexdigest()
        found = identify(staged)
        self._storage.prepare(staged, key(sha256))
        return Upload(staged, sha256, self._size, found)

    def discard(self) -> None:
        """Delete what has no key."""
        Path(self._file.name).unlink(missing_ok=True)
        with suppress(
            OSError
        ):  # on a full disk, closing tries once more to write what nobody wants
            self._file.close()


def check_room(storage: Storage, field: str, announced: int) -> None:
    """Refuse what the disk has no room for.

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
    """Say how much a file may be."""
    return Problem(
        "upload_too_large",
        f"a {field} is at most {limit} bytes",
        field=field,
        expected=f"at most {limit} bytes",
        got=got,
    )


def display_name(given: str) -> str:
    r"""Return what of a client's file name is fit to be shown; it never names a file on this side.

    >>> display_name("..\\..\\models/resnet\n20.onnx")
    'resnet20.onnx'
    >>> display_name("../")
    'model'
    """
    name = re.split(r"[/\\]", given)[-1]
    name = "".join(character for character in name if character.isprintable()).strip()
    return name[:_LONGEST_NAME] if name.strip(".") else "model"
