"""An upload on its way from the socket to the store: one pass over its bytes, hashed and written as they arrive."""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.errors import Problem
from app.form import Form
from app.settings import get_settings
from app.storage import Storage, get_storage, model_key
from contract import budget, container, shapes
from contract.refusal import Code, Refusal

_BATCH_BYTES = 1024**2  # what is hashed and written off the event loop at a time
_FRAMING_BYTES = 64 * 1024  # what a form may weigh beyond its file
_RESERVE_BYTES = 64 * 1024**2  # what an upload leaves free: the database writes to the same disk
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Upload:
    """A model that has arrived whole, staged but without its key yet, and what is asked of it."""

    staged: Path
    sha256: str
    bytes: int
    format: container.Format
    filename: str
    flops_budget: str
    input_shape: str | None

    @property
    def key(self) -> str:
        """Where the store keeps it."""
        return model_key(self.sha256)


@asynccontextmanager
async def receive_upload(request: Request) -> AsyncIterator[Upload]:
    """Receive the form of a new job; what is still staged when the block ends, or fails, is deleted.

    Raises:
        Problem: `upload_too_large`, `storage_full`, and what `app.form` raises.
        Refusal: what is wrong with budget, input shape or model.
        ClientDisconnect: the client went away.
    """
    announced = int(request.headers.get("content-length", 0))
    incoming = await run_in_threadpool(_Incoming, request.headers.get("content-type", ""), announced)
    try:
        async for batch in _batches(request):
            await run_in_threadpool(incoming.take, batch)
        yield await run_in_threadpool(incoming.finish)
    finally:
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(incoming.discard)


async def _batches(request: Request) -> AsyncIterator[list[bytes]]:
    """Gather what the socket yields, so that a large upload costs few changes of thread; its beginning goes at once."""
    batch: list[bytes] = []
    size, enough = 0, 1
    async for chunk in request.stream():
        batch.append(chunk)
        size += len(chunk)
        if size >= enough:
            yield batch
            batch, size, enough = [], 0, _BATCH_BYTES
    yield batch


class _Incoming:
    """The receiving end: a form whose file goes into a staged file and a hash. Its methods block."""

    def __init__(self, content_type: str, announced: int) -> None:
        self._storage = get_storage()
        self._limit = get_settings().max_upload_bytes
        _check_room(announced, self._limit, self._storage)
        checks = {budget.FIELD: budget.parse_budget, shapes.FIELD: shapes.parse_input_shape}
        self._form = Form(content_type, container.FIELD, checks, self._write)
        self._received = self._written = 0
        self._hash = hashlib.sha256()
        self._file = self._storage.stage()

    def take(self, batch: list[bytes]) -> None:
        for chunk in batch:
            self._received += len(chunk)
            if self._received > self._limit + _FRAMING_BYTES:
                raise _too_large(self._limit, f"more than {self._limit} bytes")
            self._form.feed(chunk)

    def _write(self, data: memoryview) -> None:
        self._written += len(data)
        if self._written > self._limit:
            raise _too_large(self._limit, f"more than {self._limit} bytes")
        self._hash.update(data)
        self._file.write(data)

    def finish(self) -> Upload:
        self._form.finish()
        self._file.flush()
        values = self._form.values
        asked = budget.parse_budget(values.get(budget.FIELD))
        if not self._form.has(container.FIELD):
            raise Refusal(
                Code.MODEL_MISSING,
                "the form has no model",
                field=container.FIELD,
                expected=container.EXPECTED,
                got="no such field",
            )
        staged = Path(self._file.name)
        model_format = container.identify(staged)
        sha256 = self._hash.hexdigest()
        self._storage.prepare(staged, model_key(sha256))
        return Upload(
            staged=staged,
            sha256=sha256,
            bytes=self._written,
            format=model_format,
            filename=display_name(self._form.filename or ""),
            flops_budget=asked.text,
            input_shape=values.get(shapes.FIELD) or None,
        )

    def discard(self) -> None:
        Path(self._file.name).unlink(missing_ok=True)
        with suppress(OSError):  # on a full disk, closing tries once more to write what nobody wants
            self._file.close()


def _check_room(announced: int, limit: int, storage: Storage) -> None:
    if announced > limit + _FRAMING_BYTES:
        raise _too_large(limit, f"{announced} bytes announced")
    free = storage.free_bytes()
    if free < announced + _RESERVE_BYTES:
        raise Problem(
            "storage_full",
            "there is no room for this upload",
            field=container.FIELD,
            expected=f"at most {max(0, free - _RESERVE_BYTES)} bytes",
            got=f"{announced} bytes announced",
        )


def display_name(given: str) -> str:
    r"""Return what of a client's file name is fit to be shown; it never names a file on this side.

    >>> display_name("..\\..\\models/resnet\n20.onnx")
    'resnet20.onnx'
    >>> display_name("../")
    'model'
    """
    name = re.split(r"[/\\]", given)[-1]
    name = "".join(character for character in name if character.isprintable()).strip()
    return name[:_LONGEST_NAME] if name.strip(".") else "model"


def _too_large(limit: int, got: str) -> Problem:
    return Problem(
        "upload_too_large",
        f"a model is at most {limit} bytes",
        field=container.FIELD,
        expected=f"at most {limit} bytes",
        got=got,
    )
