"""`convpress report`: what became of every layer, and at what risk."""

import json as json_module

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


def report(
    job_id: JobId,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    patience: Patience = DEFAULT_PATIENCE,
    json: Json = False,
) -> None:
    """Show the report of a job that has succeeded."""
    from convpress.report import Report
    from worker.cli import render

    with connected(server, key, patience, json=json) as client:
        members = client.report(job_id)
    if json:
        typer.echo(json_module.dumps(members, indent=2))
        return
    render.console().print(render.account(Report.model_validate(members)))
