"""The form of a new job: each field is checked as soon as it has arrived."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.errors import Problem
from app.settings import get_settings
from app.storage import evaluation_key, get_storage, model_key, samples_key
from app.uploads import remote
from app.uploads.multipart import FieldParser, Form, Sink
from app.uploads.upload import Part, Upload, check_room, display_name, too_large
from app.webhooks import url as webhook_url
from convpress import evaluation, formats, labels
from convpress.gate import samples
from convpress.gate.identify import identify
from convpress.gate.required_shape import require_shape
from convpress.options import (
    ADVICE,
    ADVICE_FIELDS,
    COMPRESSION,
    FIELD_PARSERS,
    JobOptions,
    Kind,
)
from convpress.precision import require_onnx
from convpress.refusal import Code, Refusal

SHA256 = "model_sha256"
SOURCES = (formats.FIELD, SHA256, remote.FIELD)
"""The fields that can carry the model; a form has exactly one of them."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Hashing and writing happen off the event loop, in batches of this size: a change of thread costs
# more than a small chunk.
_BATCH_BYTES = 1024**2
# Containers are checked one after another, by one thread: the costliest takes a second, and 20 MB,
# which the C library keeps for each thread. Requests that wait hold no thread.
_checker = ThreadPoolExecutor(1, "container-check")
# The most that boundaries, headers and text fields add to the files of a form.
_FRAMING_BYTES = 64 * 1024


@dataclass(frozen=True)
class Submission:
    """A parsed request for a job: the model, the options, and the files that arrived with it.

    `upload`, `samples` and `evaluation` are None where the file is stored already; `sha256` is the
    SHA-256 of the model, those of the others are in `options`.
    """

    sha256: str
    filename: str
    options: JobOptions
    labels: dict[str, str] = field(default_factory=dict)
    webhook_url: str | None = None
    upload: Upload | None = None
    samples: Upload | None = None
    evaluation: Upload | None = None

    def fingerprint(self) -> str:
        """Return the SHA-256 by which a repeated request is recognised.

        The source (file, SHA-256 or URI) is not part of it.
        """
        members = self.options.fingerprint_members()
        members |= {
            "sha256": self.sha256,
            "filename": self.filename,
            "labels": self.labels,
            "webhook_url": self.webhook_url,
            "upload": None,  # older versions wrote this member, and keys outlive versions
        }
        return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()


@asynccontextmanager
async def receive_submission(
    request: Request,
    parsers: Mapping[str, FieldParser] | None = None,
    *,
    kind: Kind = COMPRESSION,
) -> AsyncIterator[Submission]:
    """Receive the form of a new job; `parsers` read their fields in place of the usual ones.

    The form of an advice has no budgets, no precision and no evaluation. Files without a key in the
    store are deleted when the block ends or fails.

    Raises:
        Problem: `upload_too_large`, `storage_full`, an error of `app.uploads.multipart`, or an
            invalid field.
        Refusal: the options, labels, samples or model are invalid.
        ClientDisconnect: the client closed the connection.
    """
    announced = int(request.headers.get("content-length", 0))
    content_type = request.headers.get("content-type", "")
    receiver = await run_in_threadpool(
        _Receiver, content_type, announced, parsers or {}, kind
    )
    try:
        async for batch in _batches(request):
            await run_in_threadpool(receiver.feed, batch)
        await run_in_threadpool(receiver.finish)
        await asyncio.get_running_loop().run_in_executor(_checker, receiver.check)
        yield await run_in_threadpool(receiver.submission)
    finally:
        # Shielded, so that a cancelled request leaves no staged file either.
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(receiver.discard)


async def _batches(request: Request) -> AsyncIterator[list[bytes]]:
    """Group the chunks of a body into batches of `_BATCH_BYTES`.

    The first chunk is a batch of its own.
    """
    batch: list[bytes] = []
    size = 0
    threshold = 1
    async for chunk in request.stream():
        batch.append(chunk)
        size += len(chunk)
        if size >= threshold:
            yield batch
            batch = []
            size = 0
            threshold = _BATCH_BYTES
    yield batch


class _Receiver:
    """Feeds a form to its parser and its files into staged files. Its methods block."""

    def __init__(
        self,
        content_type: str,
        announced: int,
        parsers: Mapping[str, FieldParser],
        kind: Kind,
    ) -> None:
        self._parsers = parsers
        self._kind = kind
        self._storage = get_storage()
        self._settings = get_settings()
        self._limit = self._settings.max_upload_bytes
        self._received = 0
        self._parts: list[Part] = []
        self._format: formats.Format | None = None
        if announced > self._limit + _FRAMING_BYTES:
            raise too_large(formats.FIELD, self._limit, f"{announced} bytes announced")
        check_room(self._storage, formats.FIELD, announced)
        try:
            self._model = self._part(formats.FIELD, self._limit)
            self._samples = self._part(
                samples.FIELD, min(self._limit, samples.LARGEST_BYTES)
            )
            self._evaluation = self._part(
                evaluation.FIELD, min(self._limit, samples.LARGEST_BYTES)
            )
            self._form = Form(content_type, self._files(), self._texts())
        except BaseException:
            self.discard()
            raise

    def _part(self, name: str, limit: int) -> Part:
        part = Part(self._storage, name, limit)
        self._parts.append(part)
        return part

    def _files(self) -> dict[str, Sink]:
        files: dict[str, Sink] = {
            formats.FIELD: self._model.write,
            samples.FIELD: self._samples.write,
        }
        if self._kind == COMPRESSION:
            files[evaluation.FIELD] = self._evaluation.write
        return files

    def _texts(self) -> dict[str, FieldParser]:
        options = FIELD_PARSERS
        if self._kind == ADVICE:
            options = {name: FIELD_PARSERS[name] for name in ADVICE_FIELDS}
        return {
            **options,
            labels.FIELD: labels.parse_labels,
            SHA256: parse_sha256,
            remote.FIELD: self._parse_uri,
            webhook_url.FIELD: self._parse_webhook,
            **self._parsers,
        }

    def feed(self, batch: list[bytes]) -> None:
        """Take the next chunks of the body."""
        for chunk in batch:
            self._received += len(chunk)
            if self._received > self._limit + _FRAMING_BYTES:
                raise too_large(
                    formats.FIELD, self._limit, f"more than {self._limit} bytes"
                )
            self._form.feed(chunk)

    def finish(self) -> None:
        """Check the fields against each other, and fetch the model if it came as an address."""
        self._form.finish()
        samples_sha256 = self._samples.sha256 if self._form.has(samples.FIELD) else None
        has_evaluation = self._form.has(evaluation.FIELD)
        options = JobOptions.combine(
            self._form.values,
            samples_sha256=samples_sha256,
            evaluation_sha256=self._evaluation.sha256 if has_evaluation else None,
            needs_budget=self._kind == COMPRESSION,
        )
        self._options = options.for_advice() if self._kind == ADVICE else options
        self._filename = self._resolve_source()

    def check(self) -> None:
        """Check the containers of the files."""
        if not self._form.has(SHA256):
            self._format = self._model.check(self._identify)
        if self._form.has(samples.FIELD):
            self._samples.check(samples.check)
        if self._form.has(evaluation.FIELD):
            metric = self._options.evaluation_metric or evaluation.DEFAULT
            self._evaluation.check(
                lambda path: samples.evaluation_headers(path, metric)
            )

    def _identify(self, path: Path) -> formats.Format:
        """Return the format of the model; one that stores no shapes needs the field."""
        model_format = identify(path)
        require_onnx(self._options.precision, model_format)
        require_shape(model_format, self._options.input_shape, path)
        return model_format

    def submission(self) -> Submission:
        """Prepare the files for the store, and return the submission."""
        values = self._form.values
        upload = None
        if self._format is not None:
            upload = self._model.prepare(self._format, model_key)
        samples_upload = None
        if self._form.has(samples.FIELD):
            samples_upload = self._samples.prepare(None, samples_key)
        evaluation_upload = None
        if self._form.has(evaluation.FIELD):
            evaluation_upload = self._evaluation.prepare(None, evaluation_key)
        return Submission(
            sha256=upload.sha256 if upload else values[SHA256],
            filename=display_name(self._filename),
            options=self._options,
            labels=values.get(labels.FIELD, {}),
            webhook_url=values.get(webhook_url.FIELD),
            upload=upload,
            samples=samples_upload,
            evaluation=evaluation_upload,
        )

    def _resolve_source(self) -> str:
        """Check that there is one model, fetch it if it came as an address, and return its name."""
        sources = [name for name in SOURCES if self._form.has(name)]
        if not sources:
            raise Refusal(
                Code.MODEL_MISSING,
                "the form has no model",
                field=formats.FIELD,
                expected=f"{formats.EXPECTED}; or {SHA256} of a stored model; or {remote.FIELD}",
                got="no such field",
            )
        if len(sources) > 1:
            raise Problem(
                "model_ambiguous",
                f"the form has both {' and '.join(sources)}",
                field=sources[-1],
                expected=f"one of {', '.join(SOURCES)}",
                got=" and ".join(sources),
            )
        uri = self._form.values.get(remote.FIELD)
        if not uri:
            return self._form.filenames.get(formats.FIELD, "")
        remote.fetch(uri, self._model, self._settings, self._storage)
        return str(uri)

    def _parse_uri(self, text: str) -> str:
        remote.check_uri(text, self._settings)
        return text

    def _parse_webhook(self, text: str) -> str:
        enabled = self._settings.webhook_secret is not None
        return webhook_url.check_url(
            text, enabled=enabled, private=self._settings.webhook_private_targets
        )

    def discard(self) -> None:
        """Delete the files that have no key in the store."""
        for part in self._parts:
            part.discard()


def parse_sha256(text: str) -> str:
    """Read a SHA-256.

    Raises:
        Problem: `sha256_invalid`.
    """
    if not _SHA256.fullmatch(text):
        raise Problem(
            "sha256_invalid",
            "a SHA-256 is 64 hexadecimal digits",
            field=SHA256,
            expected="64 digits of 0-9 and a-f",
            got=text[:80],
        )
    return text
