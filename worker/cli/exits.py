"""How the commands end: exit codes, and problems in lines."""

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from json import dumps
from typing import TYPE_CHECKING, NoReturn

import typer

from convpress.local import ENGINE_PACKAGES
from convpress.refusal import Code

if TYPE_CHECKING:
    from convpress.client.errors import ClientError
    from convpress.schemas import Problem
    from worker.offline import RefusedError

REFUSED, USAGE, LOST, UNAVAILABLE, CANCELLED = 1, 2, 3, 4, 5
# As shells report a program that Ctrl-C ended.
INTERRUPTED = 130
_UNAUTHORIZED = 401
_ADVICE = "  to do: set CONVPRESS_KEY to an API key; `convpress keys create` makes one"
_NO_SERVICE = (
    "  to do: start one with `convpress serve`, or set CONVPRESS_SERVER to its address"
)

_PACKAGES = {
    "server": ("alembic", "celery", "fastapi", "sqlalchemy", "uvicorn"),
    "engine": ENGINE_PACKAGES,
}
"""Packages by which an extra is recognised as installed."""


def require_extra(*extras: str) -> None:
    """End where an extra is not installed, and name what to install."""
    for extra in extras:
        missing = [name for name in _PACKAGES[extra] if find_spec(name) is None]
        if missing:
            command = f"pip install 'convpress[{','.join(extras)}]'"
            end(f"this command needs {', '.join(missing)}: {command}", USAGE)


def end(message: str, status: int) -> NoReturn:
    """End with a message on standard error."""
    # A message may quote a model: its control characters must not reach the terminal.
    printable = (
        char if char.isprintable() or char == "\n" else "?" for char in message
    )
    typer.echo("".join(printable), err=True)
    sys.exit(status)


def end_refused(error: "RefusedError", *, json: bool) -> NoReturn:
    """End because the model or an option was refused; with `json`, print the members first."""
    if json:
        typer.echo(dumps(error.members, indent=2))
    end(problem_lines(error.members), REFUSED)


def end_failed(error: "ClientError", *, json: bool) -> NoReturn:
    """End with the exit code of an error; with `json`, print the service's own answer first."""
    from convpress.client.errors import JobFailed, Refused, Unavailable

    answer: str | None = None
    problem: Problem | None = None
    match error:
        case JobFailed(job=job):
            problem = job.error
            answer = job.model_dump_json(indent=2)
            status = CANCELLED if problem is None else _status_of_failed_job(problem)
        case Refused(problem=problem):
            answer = problem.model_dump_json(indent=2, exclude_none=True)
            is_busy = problem.status >= 500 or problem.status == 429
            status = UNAVAILABLE if is_busy else REFUSED
        case _:
            status = UNAVAILABLE
    if json and answer is not None:
        typer.echo(answer)
    if isinstance(error, Unavailable):
        end(f"{error}\n{_NO_SERVICE}", status)
    if problem is None:
        end(str(error), status)
    lines = problem_lines(problem.model_dump(exclude_none=True))
    if problem.status == _UNAUTHORIZED:
        lines = f"{lines}\n{_ADVICE}"
    end(lines, status)


def _status_of_failed_job(problem: "Problem") -> int:
    """Return the exit code of a failed job: an engine that died is no refusal of the model."""
    engine_died = problem.status >= 500 or problem.code == Code.JOB_TIMEOUT
    return LOST if engine_died else REFUSED


def problem_lines(members: Mapping[str, str]) -> str:
    """Return a problem in lines: code and detail, then the field, what was expected, what came."""
    names = [name for name in ("field", "expected", "got") if name in members]
    details = [f"  {name}: {members[name]}" for name in names]
    return "\n".join([f"{members['code']}: {members['detail']}", *details])
