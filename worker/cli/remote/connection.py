"""How a command reaches a service: the options of all of them, and how their errors end it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from worker.cli.exits import INTERRUPTED, end, end_failed

if TYPE_CHECKING:
    from convpress import Client
    from convpress.schemas import Job

Server = Annotated[
    str, typer.Option(envvar="CONVPRESS_SERVER", help="Address of the service")
]
Key = Annotated[
    str | None,
    typer.Option(
        envvar="CONVPRESS_KEY",
        help="API key; prefer the variable: other users can read a command line",
    ),
]
# Not a range: the names of options would not fit beside its type.
Patience = Annotated[
    float,
    typer.Option(help="Seconds from 0 to retry an unreachable or busy service"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, without bars")]


def parse_job_id(text: str) -> UUID:
    """Read the id of a job.

    Raises:
        typer.BadParameter: the text is no id.
    """
    try:
        return UUID(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text[:80]!r} is no job's id; `convpress jobs` lists the ids"
        ) from error


JobId = Annotated[
    UUID, typer.Argument(metavar="ID", help="The job's id", parser=parse_job_id)
]

DEFAULT_SERVER = "http://127.0.0.1:8000"
DEFAULT_PATIENCE = 60.0


@contextmanager
def connected(
    server: str, key: str | None, patience: float, *, json: bool
) -> Iterator["Client"]:
    """Open a client; its errors end the command with their exit codes."""
    from convpress import Client, ClientError

    if patience < 0:
        raise typer.BadParameter("it is below 0 seconds", param_hint="--patience")
    try:
        client = Client(server, key, patience=patience)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--server") from error
    try:
        with client:
            yield client
    except ClientError as error:
        end_failed(error, json=json)


@contextmanager
def resumable(job: "Job") -> Iterator[None]:
    """End after Ctrl-C with the command that follows the job again: the service goes on with it."""
    try:
        yield
    except KeyboardInterrupt:
        end(
            f"\nthe job goes on; to follow it again: convpress wait {job.id}",
            INTERRUPTED,
        )
