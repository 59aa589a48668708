"""How the commands end: exit codes, and problems in lines."""

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

import typer

from convpress.refusal import Code

if TYPE_CHECKING:
    from convpress.client.transport import ClientError
    from convpress.schemas import Problem
    from worker.offline import RefusedError

REFUSED, USAGE, LOST, UNAVAILABLE, CANCELLED = 1, 2, 3, 4, 5

_PACKAGES = {
    "server": ("alembic", "celery", "fastapi", "sqlalchemy", "uvicorn"),
    "engine": ("numpy", "onnx", "onnxruntime", "torch"),
}
"""Packages by which an extra is recognised as installed."""


def require_extra(*extras: str) -> None:
    """End with what to install where one of the extras is not installed."""
    for extra in extras:
        missing = [name for name in _PACKAGES[extra] if find_spec(name) is None]
        if missing:
            command = f"pip install 'convpress[{','.join(extras)}]'"
            end(f"this command needs {', '.join(missing)}: {command}", USAGE)


def end(message: str, status: int) -> NoReturn:
    """End with a message on standard error; what a terminal could take for a command is replaced."""
    typer.echo(
        "".join(char if char.isprintable() or char == "\n" else "?" for char in message), err=True
    )
    sys.exit(status)


def end_refused(error: "RefusedError") -> NoReturn:
    """End because the model or an option was refused."""
    end(problem_lines(error.members), REFUSED)


def end_failed(error: "ClientError", *, json: bool) -> NoReturn:
    """End as what went wrong with the service demands; as JSON goes what the service itself says."""
    from convpress.client.client import JobFailed, Refused

    said: str | None = None
    problem: Problem | None = None
    match error:
        case JobFailed(job=job):
            said, problem = job.model_dump_json(indent=2), job.error
            lost = problem is not None and (
                problem.status >= 500 or problem.code == Code.JOB_TIMEOUT
            )
            status = CANCELLED if problem is None else LOST if lost else REFUSED
        case Refused(problem=problem):
            said = problem.model_dump_json(indent=2, exclude_none=True)
            status = UNAVAILABLE if problem.status >= 500 or problem.status == 429 else REFUSED
        case _:
            status = UNAVAILABLE
    if json and said is not None:
        typer.echo(said)
    end(problem_lines(problem.model_dump(exclude_none=True)) if problem else str(error), status)


def problem_lines(members: Mapping[str, str]) -> str:
    """Return a problem in lines: its code and detail, then the field, what was expected and what came."""
    lines = [f"{members['code']}: {members['detail']}"]
    return "\n".join(
        lines
        + [f"  {name}: {members[name]}" for name in ("field", "expected", "got") if name in members]
    )
