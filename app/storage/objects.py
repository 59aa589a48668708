"""The store as a bucket: S3, Google Cloud Storage or Azure Blob Storage, by URL."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from app.storage import staging
from app.storage.local import FileInfo, free_bytes

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import RetryConfig

# obstore ends a request after 30 seconds, even while bytes arrive. Pieces of this size arrive in
# time from a slow store, and no request stays open while a slow client reads.
_PIECE_BYTES = 4 * 1024**2
_RETRY: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=15)}
_LONGEST_ERROR = 300


class StorageUnavailable(OSError):
    """The store did not do what it was asked to; another try may succeed."""


class ObjectStorage:
    """Objects appear whole under their key; staged files are on the local disk.

    Credentials and endpoints come from the environment, in the names of the provider's own tools.
    """

    def __init__(self, url: str, staging_folder: Path) -> None:
        self._store = open_store(url)
        self.staging = staging_folder
        # Not all parents: a data folder that was deleted does not come back empty.
        self.staging.parent.mkdir(exist_ok=True)
        self.staging.mkdir(exist_ok=True)

    def stage(self) -> BinaryIO:
        """Open a new local file to fill and keep, or to close and unlink; `name` is its path."""
        return staging.stage(self.staging)

    def prepare(self, staged: Path, key: str) -> None:
        """Send the bytes, unless the key holds as many already: its bytes are the same."""
        if self.size(key) != staged.stat().st_size:
            with _translated_errors():
                obstore.put(self._store, key, staged)

    def keep(self, staged: Path, key: str) -> None:
        """Make sure that the key holds the bytes, and remove the local file."""
        self.prepare(staged, key)
        staged.unlink()

    def info(self, key: str) -> FileInfo | None:
        """Return the size and time of a key's object, or None without an object."""
        try:
            with _translated_errors():
                head = obstore.head(self._store, key)
        except FileNotFoundError:
            return None
        return FileInfo(int(head["size"]), head["last_modified"])

    def size(self, key: str) -> int | None:
        """Return the bytes of a key's object, or None without an object."""
        info = self.info(key)
        return None if info is None else info.size

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Read a key's object in pieces, from byte `start` up to but not including `end`.

        Raises:
            FileNotFoundError: the key has no object.
        """
        return read_object(self._store, key, start, end)

    def content(self, key: str) -> bytes:
        """Return the content of a key's object.

        Raises:
            FileNotFoundError: the key has no object.
        """
        return b"".join(self._read_all(key))

    def fetch(self, key: str, target: Path) -> None:
        """Copy a key's object to `target`.

        Raises:
            FileNotFoundError: the key has no object.
        """
        pieces = self._read_all(key)
        with target.open("wb") as file:
            for piece in pieces:
                file.write(piece)

    def sign(self, key: str, seconds: float) -> str:
        """Return an address at which anyone can read a key for some seconds."""
        with _translated_errors():
            return obstore.sign(self._store, "GET", key, timedelta(seconds=seconds))  # type: ignore[call-overload,no-any-return]  # typed for the stores that can sign, and all buckets can

    def delete(self, key: str) -> None:
        """Remove a key's object, if there is one."""
        with suppress(FileNotFoundError), _translated_errors():
            obstore.delete(self._store, key)

    def keys(self, prefix: str) -> Iterator[str]:
        """Return the keys that begin with `prefix`, a folder such as `models/`."""
        with _translated_errors():
            for batch in obstore.list(self._store, prefix.rstrip("/")):
                for meta in batch:
                    yield meta["path"]

    def free_bytes(self) -> int:
        """Return the free bytes of the disk of staged files."""
        return free_bytes(self.staging)

    def _read_all(self, key: str) -> Iterator[bytes]:
        size = self.size(key)
        if size is None:
            raise FileNotFoundError(key)
        return self.read(key, 0, size)


def open_store(url: str) -> ObjectStore:
    """Return the bucket, or the folder of a bucket, at a URL; no request is sent yet."""
    store: ObjectStore = from_url(url, retry_config=_RETRY)
    return store


def read_object(
    store: ObjectStore, key: str, start: int, end: int, tag: str | None = None
) -> Iterator[bytes]:
    """Read a part of an object in pieces; with a `tag`, every piece is from that version.

    Raises:
        FileNotFoundError: the key has no object.
    """
    starts = range(start, end, _PIECE_BYTES)
    pieces = (_read(store, key, at, min(at + _PIECE_BYTES, end), tag) for at in starts)
    # The first piece is read at once, so that a missing object raises here and not in the reader.
    return chain([next(pieces, b"")], pieces)


def _read(store: ObjectStore, key: str, start: int, end: int, tag: str | None) -> bytes:
    options: GetOptions = {"range": (start, end)}
    if tag is not None:
        options["if_match"] = tag
    with _translated_errors():
        return bytes(obstore.get(store, key, options=options).bytes())


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise the library's errors as `StorageUnavailable`, but not FileNotFoundError."""
    try:
        yield
    except BaseError as error:
        # The lines after the first are the request's internals.
        first_line, _, _ = str(error).partition("\n")
        raise StorageUnavailable(first_line[:_LONGEST_ERROR]) from error
