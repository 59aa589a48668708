"""`convpress jobs`: the latest jobs of a service."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from convpress.states import STATES
from worker.cli.options import Labels, parse_labels
from worker.cli.remote.connection import (
    DEFAULT_PATIENCE,
    DEFAULT_SERVER,
    Json,
    Key,
    Patience,
    Server,
    connected,
)

if TYPE_CHECKING:
    from convpress.states import State


def jobs(
    state: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Only jobs of this state: {', '.join(STATES)}; can be repeated"
        ),
    ] = None,
    label: Labels = None,
    limit: Annotated[int, typer.Option(help="Most jobs to list", min=1)] = 20,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    patience: Patience = DEFAULT_PATIENCE,
    json: Json = False,
) -> None:
    """List jobs, the newest first."""
    from worker.cli import render

    states = tuple(state or ())
    unknown = [name for name in states if name not in STATES]
    if unknown:
        expected = ", ".join(STATES)
        raise typer.BadParameter(
            f"{unknown[0]} is none of {expected}", param_hint="--state"
        )
    labels = parse_labels(label or [])
    with connected(server, key, patience, json=json) as client:
        listed = client.list(
            limit=limit, state=cast("tuple[State, ...]", states), labels=labels
        )
    if json:
        typer.echo(render.as_json(listed))
        return
    if not listed:
        typer.echo("no job matches" if states or labels else "there are no jobs")
        return
    render.console().print(render.jobs(listed))
