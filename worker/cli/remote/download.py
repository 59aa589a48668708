"""`convpress download`: fetch the artifact of a job."""

from pathlib import Path

import typer

from convpress.local import default_output
from worker.cli.options import Output, check_target
from worker.cli.remote.connection import (
    DEFAULT_PATIENCE,
    DEFAULT_SERVER,
    JobId,
    Json,
    Key,
    Patience,
    Server,
    connected,
)


def download(
    job_id: JobId,
    output: Output = None,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    patience: Patience = DEFAULT_PATIENCE,
    json: Json = False,
) -> None:
    """Fetch the artifact of a job that has succeeded, and check its SHA-256."""
    from worker.cli import render
    from worker.cli.remote.submission import download_with_bar, written_line

    with connected(server, key, patience, json=json) as client:
        job = client.job(job_id)
        # a file name from the service names a file here, and no folder
        target = output or default_output(Path(Path(job.model.filename).name))
        check_target(target, "--output")
        download_with_bar(client, job, target, quiet=json)
    if json:
        typer.echo(job.model_dump_json(indent=2))
        return
    render.console().print(written_line(job, target), soft_wrap=True, markup=False)
