"""The files that a child writes, read without trust: plain files only, with a schema and limits."""

import json
import os
import stat
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from convpress.formats import Format
from convpress.limits import Limits
from worker.sandbox import doctor, gate
from worker.sandbox import run as sandbox
from worker.sandbox.account_parser import Account, largest_bytes, read
from worker.sandbox.messages import Failed, MalformedOutput, Succeeded

# The gate needs a second for the largest model; this is for a busy machine.
_CHECK_SECONDS = 300.0
# The gate maps the file into memory, and needs this beside it.
_CHECK_BYTES = 2 * 1024**3


def take(
    kind: type[Account], path: Path, limits: Limits, largest: int | None = None
) -> tuple[bytes, Account]:
    """Read the report or inspection that a child wrote, and return its bytes and the parsed record.

    Raises:
        MalformedOutput: it is not a plain file, is larger than `largest` bytes or than a report of
            a model within the limits, or has another schema.
    """
    with open_plain(
        path, largest_bytes(limits) if largest is None else largest
    ) as file:
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
        raise MalformedOutput(
            f"{path.name} cannot be opened: {error.strerror}"
        ) from error
    status = os.fstat(descriptor)
    if (
        not stat.S_ISREG(status.st_mode)
        or status.st_nlink > 1
        or status.st_size > largest
    ):
        os.close(descriptor)
        raise MalformedOutput(
            f"{path.name} is not a plain file with one name and at most {largest} bytes"
        )
    return os.fdopen(descriptor, "rb")


def check_artifact(path: Path, model_format: Format, limits: Limits) -> None:
    """Check a model that a child wrote in the same way as an uploaded one, in a child of its own.

    That child has limits of time and memory: whatever the file does to the gate, this process goes
    on.

    Raises:
        MalformedOutput: as an upload it would be refused, or the check did not end.
    """
    with tempfile.TemporaryDirectory(prefix="convpress-check-") as home:
        confinement = doctor.confined(
            Path(home),
            readable=(path.absolute(),),
            memory_bytes=_CHECK_BYTES + path.stat().st_size,
        )
        outcome = sandbox.run(
            gate.COMMAND,
            [model_format, str(path.absolute()), json.dumps(asdict(limits))],
            confinement,
            seconds=_CHECK_SECONDS,
            on_progress=lambda _: None,
            is_wanted=lambda: True,
        )
    if isinstance(outcome, Failed):
        raise MalformedOutput(
            f"the artifact is not a valid model: {outcome.error['detail']}"
        )
    if not isinstance(outcome, Succeeded):
        raise MalformedOutput(f"the check of the artifact did not end: {outcome}")
