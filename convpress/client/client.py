"""The client of a service: `Client` blocks, `AsyncClient` does not, and the same code serves both.

    with Client("http://127.0.0.1:8000") as client:
        job = client.wait(client.submit("net.onnx", "0.5"))
        client.download(job, "net.convpress.onnx")

What the network breaks and what the service or a proxy puts off (429, 502, 503, 504) is tried again for as long as
`patience` says, by `Retry-After` where that is told. A job is posted under an idempotency key, so that no try makes a
second one.
"""

import json
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from convpress.client.downloads import Arriving, Corrupt, OnBytes, opened
from convpress.client.transport import (
    Blocking,
    ClientError,
    Line,
    Patience,
    Refused,
    Suspending,
    Unavailable,
    call,
    finish,
    read,
    stranger,
)
from convpress.options import form_text
from convpress.schemas import Job, JobPage
from convpress.states import TERMINAL, State

__all__ = [
    "AsyncClient", "Client", "ClientError", "Corrupt", "Filter", "JobFailed", "Options", "Point", "Refused", "TooLate",
    "Unavailable",
]  # fmt: skip

PATIENCE_SECONDS = 60.0
_HELD_SECONDS = 30.0  # the longest that the service is asked to hold an answer
_PAGE = 200

StrPath = str | os.PathLike[str]
JobRef = Job | uuid.UUID | str

T = TypeVar("T")
Answer = TypeVar("Answer", bound=BaseModel)


class JobFailed(ClientError):
    """The job has ended and has made nothing; `job.error` says why, where it was not cancelled."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            f"{job.error.code}: {job.error.detail}" if job.error else f"the job has {job.state}"
        )
        self.job = job


class TooLate(ClientError):
    """The job had not ended when the time to wait was over; `job` is how it stood."""

    def __init__(self, job: Job, seconds: float) -> None:
        super().__init__(f"the job is still {job.state} after {seconds:g} seconds")
        self.job = job


class Options(TypedDict, total=False):
    """What may be said of a new job beside its FLOPs budget; docs/api.md has the meaning of each."""

    params_budget: str | float
    bytes_budget: str | float
    latency_budget: str | float
    flops_at_any_price: bool
    input_shape: str
    calibration: str
    input_range: str
    input_mean: str
    input_std: str
    webhook_url: str
    labels: Mapping[str, str]
    samples: StrPath


class Filter(TypedDict, total=False):
    """Which jobs to list; docs/api.md has the meaning of each."""

    state: Sequence[State]
    model_sha256: str
    labels: Mapping[str, str]
    created_from: datetime
    created_before: datetime


class Point(NamedTuple):
    """What another budget would give: the predicted relative error of the outputs, squared, at a cost."""

    macs: int
    keep: float
    predicted_error: float


class _Api:
    """What both clients do, over a line."""

    def __init__(self, line: Line, patience: float) -> None:
        self._line = line
        self._patience = patience

    async def submit(
        self,
        model: StrPath,
        flops_budget: str | float | None = None,
        *,
        idempotency_key: str | None = None,
        on_upload: OnBytes | None = None,
        **options: Unpack[Options],
    ) -> Job:
        fields: dict[str, Any] = dict(options)
        if flops_budget is not None:
            fields["flops_budget"] = flops_budget
        paths = {
            name: Path(path)
            for name, path in (("samples", fields.pop("samples", None)), ("model", model))
            if path
        }
        if labels := fields.pop("labels", None):
            fields["labels"] = ",".join(f"{name}={value}" for name, value in labels.items())
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        with opened(paths, on_upload) as files:
            texts = [(name, (None, form_text(value))) for name, value in fields.items()]
            return await self._get(Job, "POST", "/jobs", headers=headers, files=[*texts, *files])

    async def wait(
        self,
        job: JobRef,
        *,
        on_progress: Callable[[Job], object] | None = None,
        timeout: float | None = None,
    ) -> Job:
        began, left = time.monotonic(), 0.0
        known, tag = await self._look(job, None, left)
        while True:
            if known is not None:
                last = known
                if on_progress is not None:
                    on_progress(last)
            if last.state == "succeeded":
                return last
            if last.state in TERMINAL:
                raise JobFailed(last)
            left = (
                _HELD_SECONDS
                if timeout is None
                else min(_HELD_SECONDS, began + timeout - time.monotonic())
            )
            if timeout is not None and left <= 0:
                raise TooLate(last, timeout)
            known, tag = await self._look(job, tag, left)

    async def download(
        self, job: JobRef, path: StrPath, *, on_download: OnBytes | None = None
    ) -> Path:
        known = await self.wait(job)
        if known.result is None:
            raise Corrupt(f"job {known.id} has succeeded and names no artifact")
        artifact, patience = known.result.artifact, Patience(self._patience)
        with Arriving(Path(path), artifact.sha256, artifact.bytes, on_download) as file:

            def rest() -> httpx.Request:
                span = {"Range": f"bytes={file.have}-"} if file.have else {}
                return self._request(
                    "GET",
                    _path(known, "/artifact"),
                    headers={"Accept-Encoding": "identity", **span},
                )

            async def receive(response: httpx.Response) -> None:
                if not response.headers.get("content-range", "").startswith(f"bytes {file.have}-"):
                    file.begin_again()
                async for chunk in self._line.chunks(response):
                    file.write(chunk)
                    patience.renew()
                    if file.have > artifact.bytes:
                        return  # whatever it is

            if not file.whole:
                await call(self._line, rest, receive, patience)
            return file.keep()

    async def job(self, job: JobRef) -> Job:
        return await self._get(Job, "GET", _path(job))

    async def cancel(self, job: JobRef) -> Job:
        return await self._get(Job, "POST", _path(job, "/cancel"))

    async def report(self, job: JobRef) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(
            await self._call(self._content, "GET", _path(job, "/report"))
        )
        return report

    async def frontier(self, job: JobRef) -> Sequence[Point]:
        frontier = (await self.report(job))["frontier"]
        return [Point(point["macs"], point["keep"], point["predicted_error"]) for point in frontier]

    async def list(self, *, limit: int = 50, **which: Unpack[Filter]) -> Sequence[Job]:
        params: dict[str, Any] = {**which}
        params |= {
            name: value.isoformat() for name, value in params.items() if isinstance(value, datetime)
        }
        params["label"] = [f"{name}={value}" for name, value in params.pop("labels", {}).items()]
        found: list[Job] = []
        while len(found) < limit:
            params["limit"] = min(_PAGE, limit - len(found))
            page = await self._get(JobPage, "GET", "/jobs", params=params)
            found += page.jobs
            if page.next_cursor is None:
                break
            params["cursor"] = page.next_cursor
        return found

    async def _look(
        self, job: JobRef, tag: str | None, seconds: float
    ) -> tuple[Job | None, str | None]:
        """Return the job, or None where it is the same as under `tag` for so long; and its tag."""

        async def receive(response: httpx.Response) -> tuple[Job | None, str | None]:
            if response.status_code == httpx.codes.NOT_MODIFIED:
                return None, tag
            return _read(Job, response, await self._content(response)), response.headers.get("etag")

        headers = {"If-None-Match": tag} if tag else {}
        return await self._call(
            receive, "GET", _path(job), headers=headers, params={"wait": f"{seconds:.3f}"}
        )

    async def _get(self, kind: type[Answer], method: str, path: str, **parts: Any) -> Answer:  # noqa: ANN401 - httpx's
        async def receive(response: httpx.Response) -> Answer:
            return _read(kind, response, await self._content(response))

        return await self._call(receive, method, path, **parts)

    async def _call(
        self,
        receive: Callable[[httpx.Response], Awaitable[T]],
        method: str,
        path: str,
        **parts: Any,  # noqa: ANN401 - httpx's
    ) -> T:
        return await call(
            self._line,
            lambda: self._request(method, path, **parts),
            receive,
            Patience(self._patience),
        )

    def _request(self, method: str, path: str, **parts: Any) -> httpx.Request:  # noqa: ANN401 - httpx's
        return self._line.http.build_request(method, path, **parts)

    async def _content(self, response: httpx.Response) -> bytes:
        return await read(self._line, response)


class Client:
    """A client whose calls block.

    `server` is the service's address; `key` an API key, where the service asks for one; `patience` for how many seconds
    what fails is tried again. Every call raises `Refused` or `Unavailable`.
    """

    def __init__(
        self, server: str, key: str | None = None, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._line = Blocking(_address(server), _headers(key))
        self._api = _Api(self._line, patience)

    def submit(
        self,
        model: StrPath,
        flops_budget: str | float | None = None,
        *,
        idempotency_key: str | None = None,
        on_upload: OnBytes | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Post a model file and return its job; the same idempotency key with the same form gives the same job."""
        return finish(
            self._api.submit(
                model, flops_budget, idempotency_key=idempotency_key, on_upload=on_upload, **options
            )
        )

    def wait(
        self,
        job: JobRef,
        *,
        on_progress: Callable[[Job], object] | None = None,
        timeout: float | None = None,
    ) -> Job:
        """Return the job when it has succeeded; `on_progress` is told of every change.

        Raises:
            JobFailed: it has failed or was cancelled.
            TooLate: it has not ended within `timeout` seconds.
        """
        return finish(self._api.wait(job, on_progress=on_progress, timeout=timeout))

    def download(self, job: JobRef, path: StrPath, *, on_download: OnBytes | None = None) -> Path:
        """Write the artifact to `path` when the job has made it.

        The file appears whole and verified, or not at all. What a broken download left beside it is not sent again,
        even where another process began it.

        Raises:
            JobFailed: there is none.
            Corrupt: its SHA-256 is not the one that the job names.
            OSError: it cannot be written.
        """
        return finish(self._api.download(job, path, on_download=on_download))

    def job(self, job: JobRef) -> Job:
        """Return the job as it is now."""
        return finish(self._api.job(job))

    def cancel(self, job: JobRef) -> Job:
        """Stop the job."""
        return finish(self._api.cancel(job))

    def report(self, job: JobRef) -> dict[str, Any]:
        """Return the account of every FLOP; docs/api.md has its fields."""
        return finish(self._api.report(job))

    def frontier(self, job: JobRef) -> Sequence[Point]:
        """Return what other budgets would give."""
        return finish(self._api.frontier(job))

    def list(self, *, limit: int = 50, **which: Unpack[Filter]) -> Sequence[Job]:
        """Return up to `limit` jobs, newest first."""
        return finish(self._api.list(limit=limit, **which))

    def close(self) -> None:
        """Close the connections."""
        self._line.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Api):
    """A client whose calls are awaited; they are those of `Client`."""

    def __init__(
        self, server: str, key: str | None = None, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._http = Suspending(_address(server), _headers(key))
        super().__init__(self._http, patience)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _read(kind: type[Answer], response: httpx.Response, content: bytes) -> Answer:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise stranger(response) from error


def _path(job: JobRef, part: str = "") -> str:
    return f"/jobs/{quote(str(job.id if isinstance(job, Job) else job), safe='')}{part}"


def _address(server: str) -> str:
    """Check a service's address.

    Raises:
        ValueError: it is none.

    >>> _address("localhost:8000")
    Traceback (most recent call last):
    ValueError: a service's address is such as http://127.0.0.1:8000, not 'localhost:8000'
    """
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"a service's address is such as http://127.0.0.1:8000, not {server!r}")
    return server


def _headers(key: str | None) -> dict[str, str]:
    headers = {"User-Agent": f"convpress/{version('convpress')}"}
    return headers if key is None else {**headers, "Authorization": f"Bearer {key}"}
