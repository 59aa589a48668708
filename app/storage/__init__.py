"""The artifact store: each key holds a whole file or none.

Keys are `models/<sha256>`, `samples/<sha256>` and `evaluations/<sha256>` for uploads,
`artifacts/<job id>/<sha256>` for what a job made, and `analyses/<model's sha256>/<settings>` for
the analysis of a model.
"""

import hashlib
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO, Protocol

from app.settings import get_settings
from app.storage.local import FileInfo, LocalStorage
from app.storage.objects import ObjectStorage, StorageUnavailable

__all__ = [
    "FileInfo",
    "LocalStorage",
    "ObjectStorage",
    "Storage",
    "StorageUnavailable",
    "analyses_folder",
    "analysis_key",
    "analysis_owner_is",
    "artifact_key",
    "evaluation_key",
    "get_storage",
    "model_key",
    "samples_key",
]


class Storage(Protocol):
    """The operations of every store; each class says how it does them."""

    @property
    def staging(self) -> Path:
        """The local folder of files that have no key yet."""

    def stage(self) -> BinaryIO:
        """Open a new local file to fill and keep, or to close and unlink; `name` is its path."""

    def prepare(self, staged: Path, key: str) -> None:
        """Do the slow part of `keep` ahead, so that `keep` can stand in a transaction."""

    def keep(self, staged: Path, key: str) -> None:
        """Give a prepared file its key, durably, in place of its own name."""

    def info(self, key: str) -> FileInfo | None:
        """Return the size and time of a key's file, or None without a file."""

    def size(self, key: str) -> int | None:
        """Return the bytes of a key's file, or None without a file."""

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Read a key's file in pieces, from byte `start` up to but not including `end`.

        Raises:
            FileNotFoundError: the key has no file.
        """

    def content(self, key: str) -> bytes:
        """Return the content of a key's file.

        Raises:
            FileNotFoundError: the key has no file.
        """

    def fetch(self, key: str, target: Path) -> None:
        """Put a key's file at `target`.

        Raises:
            FileNotFoundError: the key has no file.
        """

    def delete(self, key: str) -> None:
        """Remove a key's file, if there is one."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Return the keys that begin with `prefix`, a folder such as `models/`."""

    def free_bytes(self) -> int:
        """Return the free bytes of the disk of staged files."""


def model_key(sha256: str) -> str:
    """Return the key of an uploaded model."""
    return f"models/{sha256}"


def samples_key(sha256: str) -> str:
    """Return the key of uploaded samples."""
    return f"samples/{sha256}"


def evaluation_key(sha256: str) -> str:
    """Return the key of uploaded labels or targets."""
    return f"evaluations/{sha256}"


def artifact_key(job_id: uuid.UUID, sha256: str) -> str:
    """Return the key of a file that a job made.

    Jobs share no artifact, so one can be deleted without a look at the others.
    """
    return f"artifacts/{job_id}/{sha256}"


def analysis_key(model_sha256: str, owner: str, settings: str) -> str:
    """Return the key of an owner's analysis of a model under some settings.

    Owners share none: whether an analysis is there would tell of another's upload.
    """
    return f"{analyses_folder(model_sha256)}{_digest(owner)}-{settings}"


def analyses_folder(model_sha256: str) -> str:
    """Return the folder of the keys of a model's analyses, those of all owners."""
    return f"analyses/{model_sha256}/"


def analysis_owner_is(key: str, owner: str) -> bool:
    """Tell whether a key is that of an owner's analysis."""
    return key.rpartition("/")[2].startswith(f"{_digest(owner)}-")


def _digest(owner: str) -> str:
    # An owner may be empty, or have a name that a store does not take.
    return hashlib.sha256(owner.encode()).hexdigest()[:32]


def get_storage() -> Storage:
    """Return the store that the settings name."""
    settings = get_settings()
    folder = settings.data_dir.absolute() / "storage"
    if settings.storage_url is None:
        return LocalStorage(folder)
    return _bucket(settings.storage_url, folder / "staging")


# One client a process, because it keeps its connections open.
@cache
def _bucket(url: str, staging_folder: Path) -> ObjectStorage:
    return ObjectStorage(url, staging_folder)
