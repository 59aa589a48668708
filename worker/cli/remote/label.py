"""`convpress label`: change the labels or the note of a job."""

from collections.abc import Mapping, Sequence
from typing import Annotated

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

_REMOVAL = "-"
"""What follows the name of a label that is to go."""


def label(
    job_id: JobId,
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHANGE]...",
            help="name=value sets a label, and name- removes it",
            show_default=False,
        ),
    ] = None,
    note: Annotated[
        str | None, typer.Option(help="The note from now on; an empty one removes it")
    ] = None,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    patience: Patience = DEFAULT_PATIENCE,
    json: Json = False,
) -> None:
    """Set or remove labels of a job, and its note; other labels stay."""
    from worker.cli import render

    if not changes and note is None:
        raise typer.BadParameter(
            "name a label to change, or a note", param_hint="[CHANGE]..."
        )
    with connected(server, key, patience, json=json) as client:
        labels = changed_labels(client.job(job_id).labels, changes) if changes else None
        job = client.annotate(job_id, labels=labels, note=note)
    if json:
        typer.echo(job.model_dump_json(indent=2))
        return
    render.console().print(render.job(job))


def changed_labels(labels: Mapping[str, str], changes: Sequence[str]) -> dict[str, str]:
    """Return labels after changes, in the order of the changes.

    Raises:
        typer.BadParameter: a change is neither name=value nor name-, or the job lacks a label that
            it removes.

    >>> changed_labels({"team": "vision", "run": "41"}, ["run=42", "team-"])
    {'run': '42'}
    """
    changed = dict(labels)
    for change in changes:
        name, equals, value = change.partition("=")
        if equals:
            changed[name] = value
            continue
        name = change.removesuffix(_REMOVAL)
        if name == change:
            raise typer.BadParameter(
                f"{change!r} is neither name=value nor name{_REMOVAL}",
                param_hint="CHANGE",
            )
        if name not in changed:
            raise typer.BadParameter(
                f"the job has no label {name!r}", param_hint="CHANGE"
            )
        del changed[name]
    return changed
