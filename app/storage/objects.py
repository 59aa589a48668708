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
from app.storage.local import free_bytes

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import RetryConfig

_PIECE = 4 * 1024**2
_RETRY: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=15)}


class StorageUnavailable(OSError):
    """The store did not do what it was asked; it may in a moment."""


class ObjectStorage:
    """Objects are whole as soon as they are there; what is staged lies on the local disk.

    Credentials and endpoints come from the environment, in the names of the provider's own tools.
    """

    def __init__(self, url: str, staging_folder: Path) -> None:
        self._store = open_store(url)
        self.staging = staging_folder
        self.staging.mkdir(parents=True, exist_ok=True)

    def stage(self) -> BinaryIO:
        """Open a new local file to be filled and kept, or closed and unlinked; `name` is its path."""
        return staging.stage(self.staging)

    def prepare(self, staged: Path, key: str) -> None:
        """Send the bytes, unless they are there."""
        if self.size(key) != staged.stat().st_size:
            with _told():
                obstore.put(self._store, key, staged)

    def keep(self, staged: Path, key: str) -> None:
        """See that the bytes are there, and forget the local file."""
        self.prepare(staged, key)
        staged.unlink()

    def size(self, key: str) -> int | None:
        """Return how many bytes a key holds, or None."""
        try:
            with _told():
                return int(obstore.head(self._store, key)["size"])
        except FileNotFoundError:
            return None

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Read the bytes of a key from `start` up to, but without, `end`.

        Raises:
            FileNotFoundError: the key holds nothing.
        """
        return read_object(self._store, key, start, end)

    def content(self, key: str) -> bytes:
        """Return the bytes of a key.

        Raises:
            FileNotFoundError: the key holds nothing.
        """
        size = self.size(key)
        if size is None:
            raise FileNotFoundError(key)
        return b"".join(self.read(key, 0, size))

    def fetch(self, key: str, target: Path) -> None:
        """Copy the bytes of a key to `target`.

        Raises:
            FileNotFoundError: the key holds nothing.
        """
        size = self.size(key)
        if size is None:
            raise FileNotFoundError(key)
        with target.open("wb") as file:
            for chunk in self.read(key, 0, size):
                file.write(chunk)

    def sign(self, key: str, seconds: float) -> str:
        """Return an address at which the key can be read for a while by who has no right to the store."""
        with _told():
            return obstore.sign(self._store, "GET", key, timedelta(seconds=seconds))  # type: ignore[call-overload,no-any-return]  # its types name the stores that can sign, which buckets are

    def delete(self, key: str) -> None:
        """Remove a key, if it is there."""
        with suppress(FileNotFoundError), _told():
            obstore.delete(self._store, key)

    def keys(self, prefix: str) -> Iterator[str]:
        """Return the keys that begin with `prefix`, a folder such as `models/`."""
        with _told():
            for batch in obstore.list(self._store, prefix.rstrip("/")):
                for meta in batch:
                    yield meta["path"]

    def free_bytes(self) -> int:
        """Return how much more the disk of staged files can take."""
        return free_bytes(self.staging)


def open_store(url: str) -> ObjectStore:
    """Return the bucket, or the part of one, that a URL names; nothing is asked of it yet."""
    store: ObjectStore = from_url(url, retry_config=_RETRY)
    return store


def read_object(
    store: ObjectStore, key: str, start: int, end: int, tag: str | None = None
) -> Iterator[bytes]:
    """Read a part of an object, piece by piece; it exists when this returns, and all is of one `tag` if that is given.

    A request of the library's ends after half a minute, whatever still comes: the pieces are small enough for a slow
    store, and none waits for a slow reader.
    """
    pieces = (_read(store, key, at, min(at + _PIECE, end), tag) for at in range(start, end, _PIECE))
    return chain([next(pieces, b"")], pieces)


def _read(store: ObjectStore, key: str, start: int, end: int, tag: str | None) -> bytes:
    options: GetOptions = {"range": (start, end)}
    if tag is not None:
        options["if_match"] = tag
    with _told():
        return bytes(obstore.get(store, key, options=options).bytes())


@contextmanager
def _told() -> Iterator[None]:
    """Tell of a store's failure in one kind of error, by its first line: the rest is for the store's authors."""
    try:
        yield
    except BaseError as error:
        raise StorageUnavailable(str(error).partition("\n")[0][:300]) from error
