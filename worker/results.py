"""What a child leaves behind, taken over without trust: only plain files, measured and hashed by the worker."""

import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from app.storage import Storage, artifact_key
from contract.container import Format, identify
from contract.refusal import Refusal
from worker.lease import Result
from worker.messages import MalformedOutput
from worker.report import LARGEST_BYTES, Account, Report, read

_CHUNK = 1024**2


def take(kind: type[Account], path: Path) -> tuple[bytes, Account]:
    """Read the report or inspection that a child wrote: its bytes, and what they say.

    Raises:
        MalformedOutput: it is no plain file, is too large or says something else.
    """
    with open_plain(path, LARGEST_BYTES) as file:
        content = file.read()
    return content, read(kind, content)


def store(
    job_id: uuid.UUID,
    artifact: Path,
    report: Path,
    model_format: Format,
    *,
    largest: int,
    storage: Storage,
    beat: Callable[[], object],
) -> Result:
    """Put what the child made into the store, calling `beat` all along, and return what the job's row has to say of it.

    Raises:
        MalformedOutput: a file is missing, no plain file, larger than `largest` bytes or not what it should be.
    """
    content, account = take(Report, report)
    with open_plain(artifact, largest) as file:
        sha256, size = _keep(storage, job_id, iter(lambda: file.read(_CHUNK), b""), beat, model_format)
    report_sha256, _ = _keep(storage, job_id, iter([content]), beat, None)
    return Result(account.before.macs, account.after.macs, sha256, size, report_sha256)


def open_plain(path: Path, largest: int) -> BinaryIO:
    """Open a file that a child wrote, refusing links, devices and pipes.

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
    if not stat.S_ISREG(status.st_mode) or status.st_size > largest:
        os.close(descriptor)
        raise MalformedOutput(f"{path.name} is no plain file of at most {largest} bytes")
    return os.fdopen(descriptor, "rb")


def _keep(
    storage: Storage,
    job_id: uuid.UUID,
    chunks: Iterator[bytes],
    beat: Callable[[], object],
    model_format: Format | None,
) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with storage.stage() as staged:
        path = Path(staged.name)
        try:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                staged.write(chunk)
                beat()
            staged.flush()
            if model_format:
                _check_format(path, model_format)
            key = artifact_key(job_id, digest.hexdigest())
            storage.prepare(path, key)
            storage.keep(path, key)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return digest.hexdigest(), size


def _check_format(path: Path, wanted: Format) -> None:
    try:
        found = identify(path)
    except Refusal as refusal:
        raise MalformedOutput(f"the artifact is no model: {refusal.detail}") from refusal
    if found != wanted:
        raise MalformedOutput(f"the artifact is {found}, not {wanted}")
