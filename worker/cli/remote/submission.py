"""A model sent to a service and fetched back, with bars on standard error."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from convpress import Client
from convpress.client.arguments import Options
from convpress.report import Report
from convpress.schemas import Job
from worker.cli.bars.progress_bar import LEFT, left
from worker.cli.remote.connection import resumable


class Submission(NamedTuple):
    """A model to send, its FLOPs budget and idempotency key, and the path of its artifact."""

    model: Path
    flops_budget: str | None
    output: Path
    idempotency_key: str | None = None


def submit_and_wait(
    client: Client, submission: Submission, options: Options, *, quiet: bool
) -> tuple[Job, Report]:
    """Compress a model by a service, with bars unless `quiet`; return the job and its report.

    Raises:
        ClientError: there is no artifact, and why.
    """
    with _bars(quiet=quiet) as bars:
        job = client.submit(
            submission.model,
            submission.flops_budget,
            idempotency_key=submission.idempotency_key,
            on_upload=_bar(bars, "upload"),
            **options,
        )
        # whoever goes away now can ask for it later
        bars.console.print(f"job {job.id}", highlight=False)
        job = _wait(client, job, bars)
        client.download(job, submission.output, on_download=_bar(bars, "download"))
    return job, Report.model_validate(client.report(job))


def wait_with_bar(client: Client, job: Job, *, quiet: bool) -> Job:
    """Follow a job until it has succeeded, with a bar unless `quiet`.

    Raises:
        ClientError: it ended without an artifact, or the service cannot be asked.
    """
    with _bars(quiet=quiet) as bars:
        return _wait(client, job, bars)


def download_with_bar(client: Client, job: Job, output: Path, *, quiet: bool) -> None:
    """Write the artifact of a job, with a bar unless `quiet`.

    Raises:
        ClientError: there is no artifact, or the service cannot be asked.
    """
    with _bars(quiet=quiet) as bars:
        client.download(job, output, on_download=_bar(bars, "download"))


def written_line(job: Job, artifact: Path) -> str:
    """Return a line that says where an artifact is, and that it is an archive where it is one."""
    line = f"written to {artifact}"
    if job.model.format == "onnx" and zipfile.is_zipfile(artifact):
        line += ", a zip archive of the model and its weights: unpack it"
    return line


def _wait(client: Client, job: Job, bars: Progress) -> Job:
    working = bars.add_task(job.state, total=1.0, left="")

    def show(job: Job) -> None:
        bars.update(
            working,
            description=job.phase or job.state,
            completed=job.progress,
            left=left(job.eta_seconds),
        )

    with resumable(job):
        return client.wait(job, on_progress=show)


def _bars(*, quiet: bool) -> Progress:
    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        LEFT,
    )
    return Progress(*columns, console=Console(stderr=True, quiet=quiet), disable=quiet)


def _bar(bars: Progress, label: str) -> Callable[[int, int], None]:
    task = bars.add_task(label, total=None, visible=False, left="")
    return lambda done, total: bars.update(
        task, completed=done, total=total, visible=True
    )
