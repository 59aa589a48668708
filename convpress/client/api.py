"""The calls of a service, as coroutines over a transport; both clients are made of them."""

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, Unpack
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from convpress.bundling import bundled
from convpress.client.arguments import (
    AdviceOptions,
    Filter,
    JobRef,
    Options,
    Point,
    StrPath,
)
from convpress.client.downloads import OnBytes, PartialDownload, open_form_files
from convpress.client.errors import Corrupt, JobFailed, Refused, TooLate
from convpress.client.transport import (
    RetryBudget,
    Transport,
    call,
    not_the_service,
    read_body,
)
from convpress.options import ADVICE, form_text
from convpress.report.advice import Advice
from convpress.schemas import Frontier, Job, JobPage
from convpress.states import TERMINAL

_LONGEST_WAIT_SECONDS = 30.0  # for which the service is asked to hold one answer
_PAGE = 200

T = TypeVar("T")


class _Readable(Protocol):
    """A record of the API or of a report."""

    @classmethod
    def model_validate_json(cls, content: bytes, /) -> Self:
        """Read a record from JSON."""


Answer = TypeVar("Answer", bound=_Readable)


class Api:
    """The calls of a service."""

    def __init__(self, transport: Transport, patience: float) -> None:
        self._transport = transport
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
        """Post a model file, with the files of its weights beside it, and return its job."""
        fields = _form_fields({"flops_budget": flops_budget, **options})
        with ExitStack() as stack:
            files = {"model": stack.enter_context(bundled(Path(model)))}
            # These come first: a fault in them is reported before the model is sent.
            if evaluation := options.get("evaluation"):
                files = {"evaluation": Path(evaluation), **files}
            if samples := options.get("samples"):
                files = {"samples": Path(samples), **files}
            return await self._post("/jobs", fields, files, idempotency_key, on_upload)

    async def advise(
        self,
        model: StrPath | Job,
        *,
        idempotency_key: str | None = None,
        on_upload: OnBytes | None = None,
        **options: Unpack[AdviceOptions],
    ) -> Job:
        """Post a model file, or name that of an earlier job, and return the job of the advice."""
        fields = _form_fields(options)
        files: dict[str, Path] = {}
        if samples := options.get("samples"):
            files["samples"] = Path(samples)
        with ExitStack() as stack:
            if isinstance(model, Job):
                fields["model_sha256"] = model.model.sha256
            else:
                files["model"] = stack.enter_context(bundled(Path(model)))
            return await self._post(
                "/advice", fields, files, idempotency_key, on_upload
            )

    async def advice(self, job: JobRef) -> Advice:
        """Return the advice of a job when it has succeeded."""
        finished = await self.wait(job)
        if finished.kind != ADVICE:
            raise ValueError(f"job {finished.id} compresses, and gives no advice")
        return await self._get(Advice, "GET", _path(finished, "/report"))

    async def _post(
        self,
        path: str,
        fields: Mapping[str, str],
        files: Mapping[str, Path],
        idempotency_key: str | None,
        on_upload: OnBytes | None,
    ) -> Job:
        # A job is always posted under a key, so that a retry makes no second one.
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        with open_form_files(files, on_upload) as parts:
            texts = [(name, (None, text)) for name, text in fields.items()]
            return await self._get(
                Job, "POST", path, headers=headers, files=[*texts, *parts]
            )

    async def wait(
        self,
        job: JobRef,
        *,
        on_progress: Callable[[Job], object] | None = None,
        timeout: float | None = None,
    ) -> Job:
        """Return the job when it has succeeded."""
        start = time.monotonic()
        # The first answer comes at once, so that `on_progress` shows the state at the start.
        state, tag = await self._poll(job, None, 0.0)
        while True:
            if state is not None:
                last = state
                if on_progress is not None:
                    on_progress(last)
            if last.state == "succeeded":
                return last
            if last.state in TERMINAL:
                raise JobFailed(last)
            wait_seconds = _LONGEST_WAIT_SECONDS
            if timeout is not None:
                remaining = start + timeout - time.monotonic()
                if remaining <= 0:
                    raise TooLate(last, timeout)
                wait_seconds = min(wait_seconds, remaining)
            state, tag = await self._poll(job, tag, wait_seconds)

    async def download(
        self, job: JobRef, path: StrPath, *, on_download: OnBytes | None = None
    ) -> Path:
        """Write the artifact to `path` when the job has succeeded."""
        finished = await self.wait(job)
        if finished.result is None:
            raise Corrupt(f"job {finished.id} has succeeded but names no artifact")
        artifact = finished.result.artifact
        retries = RetryBudget(self._patience)
        target = Path(path)
        with PartialDownload(
            target, artifact.sha256, artifact.bytes, on_download
        ) as file:

            def build_request() -> httpx.Request:
                # Ranges and the SHA-256 are of the stored bytes, and not of a compressed transfer.
                headers = {"Accept-Encoding": "identity"}
                if file.received:
                    headers["Range"] = f"bytes={file.received}-"
                return self._request(
                    "GET", _path(finished, "/artifact"), headers=headers
                )

            async def receive(response: httpx.Response) -> None:
                content_range = response.headers.get("content-range", "")
                # A proxy may ignore the range, and send the file from its start.
                if not content_range.startswith(f"bytes {file.received}-"):
                    file.restart()
                async for chunk in self._transport.chunks(response):
                    file.write(chunk)
                    # A large file over a poor line breaks off often: only time without progress
                    # counts.
                    retries.renew()
                    if file.received > artifact.bytes:
                        return  # another file; `finish` refuses it

            # An earlier process may have received all bytes, and ended before it verified them.
            if not file.is_complete:
                await call(self._transport, build_request, receive, retries)
            return file.finish()

    async def job(self, job: JobRef) -> Job:
        """Return the job as it is now."""
        return await self._get(Job, "GET", _path(job))

    async def cancel(self, job: JobRef) -> Job:
        """Stop the job."""
        return await self._get(Job, "POST", _path(job, "/cancel"))

    async def annotate(
        self,
        job: JobRef,
        *,
        labels: Mapping[str, str] | None = None,
        note: str | None = None,
    ) -> Job:
        """Replace the labels or the note of a job; None leaves them, an empty note removes it."""
        changes = {"labels": labels, "note": note}
        body = {name: value for name, value in changes.items() if value is not None}
        return await self._get(Job, "PATCH", _path(job), json=body)

    async def log(self, job: JobRef) -> str:
        """Return the job's events and what its process wrote, as text."""
        return (await self._call(self._body, "GET", _path(job, "/log"))).decode()

    async def report(self, job: JobRef) -> dict[str, Any]:
        """Return the report of a job; docs/api.md has its fields."""
        content = await self._call(self._body, "GET", _path(job, "/report"))
        report: dict[str, Any] = json.loads(content)
        return report

    async def frontier(self, job: JobRef) -> Sequence[Point]:
        """Return the predicted error at other budgets."""
        try:
            frontier = await self._get(Frontier, "GET", _path(job, "/frontier"))
        except Refused as error:
            # A service of an earlier version has no such path.
            if error.problem.code not in ("not_found", "report_unreadable"):
                raise
            report = await self.report(job)
            points = report["frontier"]
        else:
            points = [point.model_dump() for point in frontier.points]
        return [
            Point(point["macs"], point["keep"], point["predicted_error"])
            for point in points
        ]

    async def list(self, *, limit: int = 50, **which: Unpack[Filter]) -> Sequence[Job]:
        """Return up to `limit` jobs, newest first."""
        params = _query(which)
        jobs: list[Job] = []
        while len(jobs) < limit:
            params["limit"] = min(_PAGE, limit - len(jobs))
            page = await self._get(JobPage, "GET", "/jobs", params=params)
            jobs += page.jobs
            if page.next_cursor is None:
                break
            params["cursor"] = page.next_cursor
        return jobs

    async def _poll(
        self, job: JobRef, tag: str | None, seconds: float
    ) -> tuple[Job | None, str | None]:
        """Return the job and its entity tag; no job where nothing changes for `seconds`."""

        async def receive(response: httpx.Response) -> tuple[Job | None, str | None]:
            if response.status_code == httpx.codes.NOT_MODIFIED:
                return None, tag
            state = _parse(Job, response, await self._body(response))
            return state, response.headers.get("etag")

        headers = {"If-None-Match": tag} if tag else {}
        params = {"wait": f"{seconds:.3f}"}
        return await self._call(
            receive, "GET", _path(job), headers=headers, params=params
        )

    async def _get(
        self,
        kind: type[Answer],
        method: str,
        path: str,
        **parts: Any,  # noqa: ANN401 - httpx's
    ) -> Answer:
        async def receive(response: httpx.Response) -> Answer:
            return _parse(kind, response, await self._body(response))

        return await self._call(receive, method, path, **parts)

    async def _call(
        self,
        receive: Callable[[httpx.Response], Awaitable[T]],
        method: str,
        path: str,
        **parts: Any,  # noqa: ANN401 - httpx's
    ) -> T:
        def build_request() -> httpx.Request:
            return self._request(method, path, **parts)

        return await call(
            self._transport, build_request, receive, RetryBudget(self._patience)
        )

    def _request(self, method: str, path: str, **parts: Any) -> httpx.Request:  # noqa: ANN401 - httpx's
        return self._transport.http.build_request(method, path, **parts)

    async def _body(self, response: httpx.Response) -> bytes:
        return await read_body(self._transport, response)


def _form_fields(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the text fields of the form for a new job."""
    fields = {name: value for name, value in options.items() if value is not None}
    for file in ("samples", "evaluation"):
        fields.pop(file, None)
    if labels := fields.pop("labels", None):
        fields["labels"] = ",".join(f"{name}={value}" for name, value in labels.items())
    return {name: form_text(value) for name, value in fields.items()}


def _query(which: Filter) -> dict[str, Any]:
    """Return the query parameters for a list of jobs."""
    params: dict[str, Any] = dict(which)
    for name, value in params.items():
        if isinstance(value, datetime):
            params[name] = value.isoformat()
    labels = params.pop("labels", {})
    params["label"] = [f"{name}={value}" for name, value in labels.items()]
    return params


def _parse(kind: type[Answer], response: httpx.Response, content: bytes) -> Answer:
    """Read a record from the body of a response."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise not_the_service(response) from error


def _path(job: JobRef, part: str = "") -> str:
    """Return the path of a job, or of a part of it."""
    job_id = job.id if isinstance(job, Job) else job
    # The id is a text of the caller: a slash in it must not lead to another route.
    return f"/jobs/{quote(str(job_id), safe='')}{part}"
