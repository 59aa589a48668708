"""A model sent to a service and fetched back, with bars on standard error."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from convpress import Client
from convpress.client.arguments import Options
from convpress.report import Report
from convpress.schemas import Job


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
    console = Console(stderr=True, quiet=quiet)
    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=quiet) as bars:
        job = client.submit(
            submission.model,
            submission.flops_budget,
            idempotency_key=submission.idempotency_key,
            on_upload=_bar(bars, "upload"),
            **options,
        )
        console.print(
            f"job {job.id}", highlight=False
        )  # whoever goes away now can ask for it later
        working = bars.add_task(job.state, total=1.0)

        def show(job: Job) -> None:
            bars.update(working, description=job.phase or job.state, completed=job.progress)

        job = client.wait(job, on_progress=show)
        client.download(job, submission.output, on_download=_bar(bars, "download"))
    return job, Report.model_validate(client.report(job))


def _bar(bars: Progress, label: str) -> Callable[[int, int], None]:
    task = bars.add_task(label, total=None, visible=False)
    return lambda done, total: bars.update(task, completed=done, total=total, visible=True)
