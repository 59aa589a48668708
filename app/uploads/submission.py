"""The form of a new job: received as it arrives, checked as soon as it can be, and understood as an order."""

import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.errors import Problem
from app.settings import get_settings
from app.storage import get_storage, model_key, samples_key
from app.uploads import remote
from app.uploads.multipart import Form, Sink, TextCheck
from app.uploads.upload import Part, Upload, check_room, display_name, too_large
from app.webhooks import call
from convpress import budgets as budget
from convpress import calibration, formats, labels, shapes
from convpress.calibration import Calibration
from convpress.gate import samples
from convpress.gate.identify import identify
from convpress.refusal import Code, Refusal

SHA256 = "model_sha256"
SOURCES = (formats.FIELD, SHA256, remote.FIELD)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BATCH_BYTES = 1024**2  # what is hashed and written off the event loop at a time
_FRAMING_BYTES = 64 * 1024  # what a form may weigh beyond its file


@dataclass(frozen=True)
class Order:
    """What a client asks for: a model, come with the order or stored already, what to make of it, and real samples."""

    sha256: str
    filename: str
    budgets: dict[str, str]
    flops_at_any_price: bool = False
    input_shape: str | None = None
    calibration: Calibration = "synthetic"
    input_range: str | None = None
    input_mean: str | None = None
    input_std: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    webhook_url: str | None = None
    upload: Upload | None = None
    samples: Upload | None = None
    samples_sha256: str | None = None  # of samples that are stored already

    def fingerprint(self) -> str:
        """Return what tells this order from any other, however its model came."""
        files = {
            "upload": None,
            "samples": self.samples.sha256 if self.samples else self.samples_sha256,
        }
        apart = (*files, "samples_sha256", "budgets", budget.AT_ANY_PRICE)
        asked = {
            member.name: getattr(self, member.name)
            for member in fields(self)
            if member.name not in apart
        }
        asked |= (
            files | self.budgets
        )  # what was not asked for adds nothing: keys outlive the versions that know it
        if self.flops_at_any_price:
            asked[budget.AT_ANY_PRICE] = True
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@asynccontextmanager
async def receive_order(request: Request) -> AsyncIterator[Order]:
    """Receive the form of a new job; what is still staged when the block ends, or fails, is deleted.

    Raises:
        Problem: `upload_too_large`, `storage_full`, what `app.uploads.multipart` raises, and what is
            wrong with a field.
        Refusal: what is wrong with budget, input shape, calibration, samples or model.
        ClientDisconnect: the client went away.
    """
    announced = int(request.headers.get("content-length", 0))
    incoming = await run_in_threadpool(
        _Incoming, request.headers.get("content-type", ""), announced
    )
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
    """The receiving end: a form whose files go into staged files. Its methods block."""

    def __init__(self, content_type: str, announced: int) -> None:
        self._storage, self._settings = get_storage(), get_settings()
        self._limit = self._settings.max_upload_bytes
        if announced > self._limit + _FRAMING_BYTES:
            raise too_large(formats.FIELD, self._limit, f"{announced} bytes announced")
        check_room(self._storage, formats.FIELD, announced)
        self._received = 0
        texts: dict[str, TextCheck] = {
            **{field: _unless_empty(kind.parse) for field, kind in budget.KINDS.items()},
            budget.AT_ANY_PRICE: budget.parse_at_any_price,
            shapes.FIELD: shapes.parse_input_shape,
            calibration.FIELD: calibration.parse_calibration,
            calibration.RANGE: _unless_empty(calibration.parse_range),
            calibration.MEAN: _unless_empty(calibration.parse_mean),
            calibration.DEVIATION: _unless_empty(calibration.parse_deviation),
            labels.FIELD: labels.parse_labels,
            SHA256: parse_sha256,
            remote.FIELD: self._check_reference,
            call.FIELD: self._check_webhook,
        }
        self._parts: list[Part] = []
        try:
            self._model = self._part(formats.FIELD, self._limit)
            self._samples = self._part(samples.FIELD, min(self._limit, samples.LARGEST_BYTES))
            files: dict[str, Sink] = {
                formats.FIELD: self._model.write,
                samples.FIELD: self._samples.write,
            }
            self._form = Form(content_type, files, texts)
        except BaseException:
            self.discard()
            raise

    def _part(self, field: str, limit: int) -> Part:
        part = Part(self._storage, field, limit)
        self._parts.append(part)
        return part

    def take(self, batch: list[bytes]) -> None:
        for chunk in batch:
            self._received += len(chunk)
            if self._received > self._limit + _FRAMING_BYTES:
                raise too_large(formats.FIELD, self._limit, f"more than {self._limit} bytes")
            self._form.feed(chunk)

    def finish(self) -> Order:
        self._form.finish()
        values = self._form.values
        budgets = budget.parse_budgets(values)
        at_any_price = budget.parse_at_any_price(values.get(budget.AT_ANY_PRICE))
        budget.require_consistent(budgets, at_any_price=at_any_price)
        told = [
            values.get(name) or None
            for name in (calibration.RANGE, calibration.MEAN, calibration.DEVIATION)
        ]
        calibration.parse_input_values(*told)
        has_samples = self._form.has(samples.FIELD)
        kind = calibration.choose_calibration(
            calibration.parse_calibration(values.get(calibration.FIELD)), samples=has_samples
        )
        self._check_source()
        filename = self._form.filenames.get(formats.FIELD, "")
        if uri := values.get(remote.FIELD):
            remote.fetch(uri, self._model, self._settings, self._storage)
            filename = uri
        upload = None if self._form.has(SHA256) else self._model.finish(identify, model_key)
        return Order(
            sha256=upload.sha256 if upload else values[SHA256],
            filename=display_name(filename),
            budgets={asked.kind.field: asked.text for asked in budgets},
            flops_at_any_price=at_any_price,
            input_shape=values.get(shapes.FIELD) or None,
            calibration=kind,
            input_range=told[0],
            input_mean=told[1],
            input_std=told[2],
            labels=labels.parse_labels(values.get(labels.FIELD, "")),
            webhook_url=values.get(call.FIELD) or None,
            upload=upload,
            samples=self._samples.finish(samples.check, samples_key) if has_samples else None,
        )

    def _check_source(self) -> None:
        given = [name for name in SOURCES if self._form.has(name)]
        if not given:
            raise Refusal(
                Code.MODEL_MISSING,
                "the form has no model",
                field=formats.FIELD,
                expected=f"{formats.EXPECTED}; or {SHA256} of one that is stored; or {remote.FIELD}",
                got="no such field",
            )
        if len(given) > 1:
            raise Problem(
                "model_ambiguous",
                f"{' and '.join(given)} are given",
                field=given[-1],
                expected=f"one of {', '.join(SOURCES)}",
                got=" and ".join(given),
            )

    def _check_reference(self, text: str) -> None:
        remote.check_uri(text, self._settings)

    def _check_webhook(self, text: str) -> str:
        enabled = self._settings.webhook_secret is not None
        return call.check_url(text, enabled=enabled, private=self._settings.webhook_private_targets)

    def discard(self) -> None:
        for part in self._parts:
            part.discard()


def _unless_empty(check: TextCheck) -> TextCheck:
    """Let pass what a form sends of a field that was not filled in."""
    return lambda text: text.strip() and check(text)


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
