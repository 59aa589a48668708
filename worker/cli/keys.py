"""`convpress keys`: make, list and revoke API keys."""

from typing import Annotated

import typer

from worker.cli.environment import database
from worker.cli.exits import REFUSED, USAGE, end

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command("create")
def create_key(
    owner: Annotated[str, typer.Argument(help="Owner of the jobs that the key posts and reads")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="submit, read, metrics or admin; default: submit and read"),
    ] = None,
) -> None:
    """Make a key and print it; it is not kept and cannot be shown again."""
    from app.auth import keys

    with database() as session:
        try:
            _, token = keys.create(session, owner, scope or ["submit", "read"])
        except ValueError as error:
            end(str(error), USAGE)
    typer.echo(token)


@app.command("list")
def list_keys() -> None:
    """List all keys, without their secrets."""
    from app.auth import keys
    from worker.cli import render

    with database() as session:
        render.console().print(render.keys(keys.listed(session)))


@app.command("revoke")
def revoke_key(
    number: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it")],
) -> None:
    """Revoke a key at once."""
    from app.auth import keys

    with database() as session:
        revoked = keys.revoke(session, number)
    if not revoked:
        end(f"there is no valid key {number}", REFUSED)
