"""The files that a child writes, read without trust: plain files only, hashed by the worker."""

import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from app.storage import Storage, artifact_key
from convpress.formats import Format
from convpress.gate.check import require_safe
from convpress.limits import Limits
from convpress.refusal import Refusal
from convpress.report import Report
from worker.jobs.report import LARGEST_BYTES, Account, read
from worker.queue.lease import Result
from worker.sandbox.messages import MalformedOutput

_CHUNK = 1024**2


def take(kind: type[Account], path: Path, largest: int = LARGEST_BYTES) -> tuple[bytes, Account]:
    """Read the report or inspection that a child wrote, and return its bytes and the parsed record.

    Raises:
        MalformedOutput: it is not a plain file, is larger than `largest` bytes, or has another
            schema.
    """
    with open_plain(path, largest) as file:
        content = file.read()
    return content, read(kind, content)


def store(
    job_id: uuid.UUID,
    artifact: Path,
    report: Path,
    model_format: Format,
    *,
    largest: int,
    limits: Limits,
    storage: Storage,
) -> Result:
    """Put the artifact and the report of a child into the store, and return the job's result.

    Raises:
        MalformedOutput: a file is missing, not a plain file, larger than `largest` bytes, or
            invalid.
    """
    content, account = take(Report, report)
    key_of = partial(artifact_key, job_id)
    check = partial(check_artifact, model_format=model_format, limits=limits)
    with open_plain(artifact, largest) as file:
        chunks = iter(lambda: file.read(_CHUNK), b"")
        sha256, size = keep(storage, chunks, key_of, check)
    report_sha256, _ = keep(storage, iter([content]), key_of)
    return Result(account.before.macs, account.after.macs, sha256, size, report_sha256)


def open_plain(path: Path, largest: int) -> BinaryIO:
    """Open a file that a child wrote; refuse symbolic and hard links, devices and pipes.

    Raises:
        MalformedOutput: it is not a plain file, or larger than `largest` bytes.
    """
    try:
        # O_NOFOLLOW looks at the last step of a path alone.
        if path.parent.is_symlink():
            raise MalformedOutput(f"{path.parent.name}/ has become a link")
        # Opening a pipe would wait for its writer, were it not for O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise MalformedOutput(f"{path.name} cannot be opened: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_size > largest:
        os.close(descriptor)
        raise MalformedOutput(
            f"{path.name} is not a plain file with one name and at most {largest} bytes"
        )
    return os.fdopen(descriptor, "rb")


def keep(
    storage: Storage,
    chunks: Iterator[bytes],
    key_of: Callable[[str], str],
    check: Callable[[Path], None] = lambda _: None,
) -> tuple[str, int]:
    """Put bytes into the store, under the key for their SHA-256.

    Return the SHA-256 and the size.
    """
    digest = hashlib.sha256()
    size = 0
    with storage.stage() as staged:
        path = Path(staged.name)
        try:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                staged.write(chunk)
            staged.flush()
            check(path)
            key = key_of(digest.hexdigest())
            storage.prepare(path, key)
            storage.keep(path, key)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return digest.hexdigest(), size


def check_artifact(path: Path, model_format: Format, limits: Limits) -> None:
    """Check a model that a child wrote in the same way as an uploaded one.

    Raises:
        MalformedOutput: as an upload it would be refused.
    """
    try:
        require_safe(path, model_format, limits)
    except Refusal as refusal:
        raise MalformedOutput(f"the artifact is not a valid model: {refusal.detail}") from refusal
