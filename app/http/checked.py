"""Stored files checked on their way out: a file that has changed on its disk is not sent whole.

The SHA-256 of every file is known since the job made it.
"""

import hashlib
from collections.abc import Iterator

from app.storage import FileInfo, ObjectStorage, Storage

# The number of checked files that a process remembers; it sends their parts without hashing again.
_MOST_KNOWN = 1000


class Damaged(Exception):
    """A stored file does not have the SHA-256 that it was stored with."""


def passed_on(pieces: Iterator[bytes], sha256: str) -> Iterator[bytes]:
    """Pass the pieces of a whole file on, the last one only if all have the SHA-256 together.

    Raises:
        Damaged: they have another one.
    """
    digest = hashlib.sha256()
    held = b""
    for piece in pieces:
        digest.update(piece)
        if held:
            yield held
        held = piece
    if digest.hexdigest() != sha256:
        raise Damaged(sha256)
    yield held


def require_whole(
    storage: Storage, key: str, sha256: str, info: FileInfo, *, again: bool = False
) -> None:
    """Read a file and check its SHA-256, so that parts of it can be sent.

    A file that has kept its size and time is checked once, unless `again` is set. Objects in a
    bucket are not read: the bucket has checksums of its own.

    Raises:
        Damaged: it has another one.
    """
    seen = (key, sha256, info)
    if isinstance(storage, ObjectStorage) or (seen in _known and not again):
        return
    for _ in passed_on(storage.read(key, 0, info.size), sha256):
        pass
    # The oldest goes first; a process that forgets a file checks it once more.
    while len(_known) >= _MOST_KNOWN:
        _known.pop(next(iter(_known)), None)
    _known[seen] = None


_known: dict[tuple[str, str, FileInfo], None] = {}
