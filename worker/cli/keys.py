"""`convpress keys`: make, list and revoke API keys."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

import typer

from worker.cli.environment import database
from worker.cli.exits import REFUSED, USAGE, end, require_extra

_DAYS = re.compile(r"([0-9]{1,6})d")

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command("create")
def create_key(
    owner: Annotated[
        str, typer.Argument(help="Owner of the jobs that the key posts and reads")
    ],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="submit, read, metrics or admin; default: submit and read"),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            help="Days that the key is valid (90d), or its last day (2027-06-30, UTC)"
        ),
    ] = None,
    create: Annotated[
        bool, typer.Option("--create", help="Create the database if there is none")
    ] = False,
) -> None:
    """Make a key and print it; it is not kept and cannot be shown again."""
    expires_at = None if expires is None else _expiry(expires)
    require_extra("server")
    from app.auth import keys

    scopes = scope or ["submit", "read"]
    try:
        keys.check(owner, scopes, expires_at)
    except ValueError as error:
        end(str(error), USAGE)
    with database(create=create) as session:
        _, token = keys.create(session, owner, scopes, expires_at)
    typer.echo(token)


def _expiry(text: str) -> datetime:
    """Return the time from which a key is invalid, or end where the text names none."""
    try:
        if days := _DAYS.fullmatch(text):
            return datetime.now(UTC) + timedelta(days=int(days[1]))
        last_day = datetime.combine(date.fromisoformat(text), time(), UTC)
        return last_day + timedelta(days=1)
    except (ValueError, OverflowError):
        end(
            f"--expires: expected days (90d) or a date (2027-06-30), got {text[:80]!r}",
            USAGE,
        )


@app.command("list")
def list_keys(
    json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """List all keys with the time of their last use, to the minute, without their secrets."""
    require_extra("server")
    from app.auth import keys
    from worker.cli import render

    with database() as session:
        listed = keys.listed(session)
        if json:
            typer.echo(render.keys_as_json(listed))
            return
        if not listed:
            typer.echo("there are no keys; `convpress keys create OWNER` makes one")
            return
        render.console().print(render.keys(listed))


@app.command("revoke")
def revoke_key(
    number: Annotated[
        str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it")
    ],
) -> None:
    """Revoke a key at once."""
    require_extra("server")
    from app.auth import keys

    with database() as session:
        revoked = keys.revoke(session, number)
    if not revoked:
        end(f"there is no valid key {number}", REFUSED)
