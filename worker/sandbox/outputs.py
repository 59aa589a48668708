"""The files that a child writes, read without trust: plain files only, with a schema and limits."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from convpress.formats import Format
from convpress.gate.check import require_safe
from convpress.limits import Limits
from convpress.refusal import Refusal
from worker.sandbox.account import Account, largest_bytes, read
from worker.sandbox.messages import MalformedOutput


def take(
    kind: type[Account], path: Path, limits: Limits, largest: int | None = None
) -> tuple[bytes, Account]:
    """Read the report or inspection that a child wrote, and return its bytes and the parsed record.

    Raises:
        MalformedOutput: it is not a plain file, is larger than `largest` bytes or than a report of
            a model within the limits, or has another schema.
    """
    with open_plain(path, largest_bytes(limits) if largest is None else largest) as file:
        content = file.read()
    return content, read(kind, content, limits)


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


def check_artifact(path: Path, model_format: Format, limits: Limits) -> None:
    """Check a model that a child wrote in the same way as an uploaded one.

    Raises:
        MalformedOutput: as an upload it would be refused.
    """
    try:
        require_safe(path, model_format, limits)
    except Refusal as refusal:
        raise MalformedOutput(f"the artifact is not a valid model: {refusal.detail}") from refusal
