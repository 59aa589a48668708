"""The clients of a service: the calls of `Client` block, those of `AsyncClient` are awaited.

    with Client("http://127.0.0.1:8000") as client:
        job = client.wait(client.submit("net.onnx", "0.5"))
        client.download(job, "net.convpress.onnx")

Faults of the network and answers that put a request off (429, 502, 503, 504) are retried for
`patience` seconds, after the pause that `Retry-After` names where there is one.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self, Unpack

import httpx

from convpress.client.api import Api
from convpress.client.arguments import (
    AdviceOptions,
    Filter,
    JobRef,
    Options,
    Point,
    StrPath,
)
from convpress.client.downloads import OnBytes
from convpress.client.transport import AsyncTransport, SyncTransport, run_blocking
from convpress.report.advice import Advice
from convpress.schemas import Job

PATIENCE_SECONDS = 60.0


class Client:
    """A client whose calls block.

    `server` is the service's address, `key` an API key where the service needs one, and `patience`
    the seconds for which a call is retried. Every call raises `Refused` or `Unavailable`.
    """

    def __init__(
        self, server: str, key: str | None = None, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._transport = SyncTransport(_address(server), _headers(key))
        # Both clients share the code of the calls: the coroutines of `Api`.
        self._api = Api(self._transport, patience)

    def submit(
        self,
        model: StrPath,
        flops_budget: str | float | None = None,
        *,
        idempotency_key: str | None = None,
        on_upload: OnBytes | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Post a model file and return its job.

        An ONNX model whose weights lie in files beside it is sent with them, as one zip archive,
        and its artifact is one.
        The same idempotency key with the same form gives the same job.
        """
        return run_blocking(
            self._api.submit(
                model,
                flops_budget,
                idempotency_key=idempotency_key,
                on_upload=on_upload,
                **options,
            )
        )

    def advise(
        self,
        model: StrPath | Job,
        *,
        idempotency_key: str | None = None,
        on_upload: OnBytes | None = None,
        **options: Unpack[AdviceOptions],
    ) -> Job:
        """Post a model file for advice on how to compress it, and return the job.

        A job in the place of the file names its model, which is not sent again. `advice` returns
        the result.
        """
        return run_blocking(
            self._api.advise(
                model, idempotency_key=idempotency_key, on_upload=on_upload, **options
            )
        )

    def advice(self, job: JobRef) -> Advice:
        """Return the advice when its job has succeeded.

        Raises:
            JobFailed: the job failed or was cancelled.
            ValueError: it is no job of an advice.
        """
        return run_blocking(self._api.advice(job))

    def wait(
        self,
        job: JobRef,
        *,
        on_progress: Callable[[Job], object] | None = None,
        timeout: float | None = None,
    ) -> Job:
        """Return the job when it has succeeded; `on_progress` is called with every change.

        Raises:
            JobFailed: the job failed or was cancelled.
            TooLate: the job did not end within `timeout` seconds.
        """
        return run_blocking(
            self._api.wait(job, on_progress=on_progress, timeout=timeout)
        )

    def download(
        self, job: JobRef, path: StrPath, *, on_download: OnBytes | None = None
    ) -> Path:
        """Write the artifact to `path` when the job has succeeded.

        The file appears whole and verified, or not at all. A broken download is resumed, even one
        of another process.

        Raises:
            JobFailed: there is no artifact.
            Corrupt: its SHA-256 is not the one that the job names.
            OSError: it cannot be written.
        """
        return run_blocking(self._api.download(job, path, on_download=on_download))

    def job(self, job: JobRef) -> Job:
        """Return the job as it is now."""
        return run_blocking(self._api.job(job))

    def cancel(self, job: JobRef) -> Job:
        """Stop the job."""
        return run_blocking(self._api.cancel(job))

    def annotate(
        self,
        job: JobRef,
        *,
        labels: Mapping[str, str] | None = None,
        note: str | None = None,
    ) -> Job:
        """Replace the labels or the note of a job; None leaves them, an empty note removes it."""
        return run_blocking(self._api.annotate(job, labels=labels, note=note))

    def log(self, job: JobRef) -> str:
        """Return the job's events and what its process wrote, as text."""
        return run_blocking(self._api.log(job))

    def report(self, job: JobRef) -> dict[str, Any]:
        """Return the report, an account of every FLOP; docs/api.md has its fields."""
        return run_blocking(self._api.report(job))

    def frontier(self, job: JobRef) -> Sequence[Point]:
        """Return the predicted error at other budgets."""
        return run_blocking(self._api.frontier(job))

    def list(self, *, limit: int = 50, **which: Unpack[Filter]) -> Sequence[Job]:
        """Return up to `limit` jobs, newest first."""
        return run_blocking(self._api.list(limit=limit, **which))

    def close(self) -> None:
        """Close the connections."""
        self._transport.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(Api):
    """A client whose calls are awaited; they are those of `Client`."""

    def __init__(
        self, server: str, key: str | None = None, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        transport = AsyncTransport(_address(server), _headers(key))
        self._http = transport.http
        super().__init__(transport, patience)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _address(server: str) -> str:
    """Check a service's address.

    Raises:
        ValueError: it is no HTTP address.

    >>> _address("localhost:8000")
    Traceback (most recent call last):
    ValueError: the address of a service looks like http://127.0.0.1:8000, not 'localhost:8000'
    """
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL:
        url = httpx.URL()
    # httpx takes `localhost:8000` for the scheme `localhost`, and fails at the first call alone.
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(
            f"the address of a service looks like http://127.0.0.1:8000, not {server!r}"
        )
    return server


def _headers(key: str | None) -> dict[str, str]:
    headers = {"User-Agent": f"convpress/{version('convpress')}"}
    return headers if key is None else {**headers, "Authorization": f"Bearer {key}"}
