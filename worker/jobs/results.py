"""What a child leaves behind, taken over without trust: only plain files, measured and hashed by the worker."""

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
from convpress.gate import check as gate
from convpress.limits import Limits
from convpress.refusal import Refusal
from convpress.report import Report
from worker.jobs.report import LARGEST_BYTES, Account, read
from worker.queue.lease import Result
from worker.sandbox.messages import MalformedOutput

_CHUNK = 1024**2


def take(kind: type[Account], path: Path, largest: int = LARGEST_BYTES) -> tuple[bytes, Account]:
    """Read the report or inspection that a child wrote: its bytes, and what they say.

    Raises:
        MalformedOutput: it is no plain file, is too large or says something else.
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
    """Put what the child made into the store, and return what the job's row has to say of it.

    Raises:
        MalformedOutput: a file is missing, no plain file, larger than `largest` bytes or not what it should be.
    """
    content, account = take(Report, report)
    key_of = partial(artifact_key, job_id)
    with open_plain(artifact, largest) as file:
        chunks = iter(lambda: file.read(_CHUNK), b"")
        sha256, size = keep(
            storage, chunks, key_of, lambda path: check_artifact(path, model_format, limits)
        )
    report_sha256, _ = keep(storage, iter([content]), key_of)
    return Result(account.before.macs, account.after.macs, sha256, size, report_sha256)


def open_plain(path: Path, largest: int) -> BinaryIO:
    """Open a file that a child wrote, refusing links of both kinds, devices and pipes.

    Raises:
        MalformedOutput: it is something else, or larger than `largest` bytes.
    """
    try:
        if path.parent.is_symlink():
            raise MalformedOutput(f"{path.parent.name}/ has become a link")
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise MalformedOutput(f"{path.name} cannot be opened: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_size > largest:
        os.close(descriptor)
        raise MalformedOutput(
            f"{path.name} is no plain file, in one place alone, of at most {largest} bytes"
        )
    return os.fdopen(descriptor, "rb")


def keep(
    storage: Storage,
    chunks: Iterator[bytes],
    key_of: Callable[[str], str],
    check: Callable[[Path], None] = lambda _: None,
) -> tuple[str, int]:
    """Put bytes into the store, under the key that their SHA-256 gives them, and return that sum and their number."""
    digest, size = hashlib.sha256(), 0
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


def check_artifact(path: Path, wanted: Format, limits: Limits) -> None:
    """Hold a model that a child made to what an uploaded one is held to.

    Raises:
        MalformedOutput: it would not be let in.
    """
    try:
        gate.check(path, wanted, limits)
    except Refusal as refusal:
        raise MalformedOutput(
            f"the artifact is no model to give away: {refusal.detail}"
        ) from refusal
