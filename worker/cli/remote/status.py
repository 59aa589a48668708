"""`convpress status`: a job as it is now."""

import typer

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


def status(
    job_id: JobId,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    patience: Patience = DEFAULT_PATIENCE,
    json: Json = False,
) -> None:
    """Show a job as it is now."""
    from worker.cli import render

    with connected(server, key, patience, json=json) as client:
        job = client.job(job_id)
    if json:
        typer.echo(job.model_dump_json(indent=2))
        return
    render.console().print(render.job(job))
