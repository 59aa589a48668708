"""The artifact store: files by key, whole or not there at all.

Keys are `models/<sha256>` and `samples/<sha256>` for uploads, `artifacts/<job id>/<sha256>` for what the service made,
and `analyses/<model's sha256>/<settings>` for what it has learned of a model on the way.
"""

import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO, Protocol

from app.settings import get_settings
from app.storage.local import LocalStorage
from app.storage.objects import ObjectStorage, StorageUnavailable

__all__ = [
    "LocalStorage",
    "ObjectStorage",
    "Storage",
    "StorageUnavailable",
    "analysis_key",
    "artifact_key",
    "get_storage",
    "model_key",
    "samples_key",
]


class Storage(Protocol):
    """What every store can do; each says how."""

    @property
    def staging(self) -> Path:
        """The local folder of files that have no key yet."""

    def stage(self) -> BinaryIO:
        """Open a new local file to be filled and kept, or closed and unlinked; `name` is its path."""

    def prepare(self, staged: Path, key: str) -> None:
        """Do ahead of `keep` what takes long, so that `keep` can stand in a transaction."""

    def keep(self, staged: Path, key: str) -> None:
        """Give a prepared file its key, durably; it has lost its own name then."""

    def size(self, key: str) -> int | None:
        """Return how many bytes a key holds, or None."""

    def content(self, key: str) -> bytes:
        """Return the bytes of a key.

        Raises:
            FileNotFoundError: the key holds nothing.
        """

    def fetch(self, key: str, target: Path) -> None:
        """Put the file of a key at `target`.

        Raises:
            FileNotFoundError: the key holds nothing.
        """

    def delete(self, key: str) -> None:
        """Remove a key, if it is there."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Return the keys that begin with `prefix`, a folder such as `models/`."""

    def free_bytes(self) -> int:
        """Return how much more the disk of staged files can take."""


def model_key(sha256: str) -> str:
    """Name the place of an uploaded model."""
    return f"models/{sha256}"


def samples_key(sha256: str) -> str:
    """Name the place of uploaded samples."""
    return f"samples/{sha256}"


def artifact_key(job_id: uuid.UUID, sha256: str) -> str:
    """Name the place of a file that a job made; no two jobs share one, so that none waits for another to be deleted."""
    return f"artifacts/{job_id}/{sha256}"


def analysis_key(model_sha256: str, settings: str) -> str:
    """Name the place of what was learned of a model under some settings."""
    return f"analyses/{model_sha256}/{settings}"


def get_storage() -> Storage:
    """Return the store that the settings name."""
    settings = get_settings()
    folder = settings.data_dir.absolute() / "storage"
    return (
        LocalStorage(folder)
        if settings.storage_url is None
        else _bucket(settings.storage_url, folder / "staging")
    )


@cache
def _bucket(url: str, staging_folder: Path) -> ObjectStorage:
    """Keep one client a process, with its connections."""
    return ObjectStorage(url, staging_folder)
