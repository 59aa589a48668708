"""`convpress wait`: follow a job until it ends."""

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


def wait(
    job_id: JobId,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    patience: Patience = DEFAULT_PATIENCE,
    json: Json = False,
) -> None:
    """Follow a job until it ends.

    Exit codes: 0 it has succeeded, 1 the model or the request was refused,
    2 wrong usage, 3 the engine died or ran out of time, 4 the service is
    unreachable, busy or broken, 5 the job was cancelled, 130 Ctrl-C.
    """
    from worker.cli import render
    from worker.cli.remote.submission import wait_with_bar

    with connected(server, key, patience, json=json) as client:
        job = wait_with_bar(client, client.job(job_id), quiet=json)
    if json:
        typer.echo(job.model_dump_json(indent=2))
        return
    console = render.console()
    console.print(render.job(job))
    console.print(f"to fetch the model: convpress download {job.id}", highlight=False)
