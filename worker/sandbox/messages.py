"""What a child process says about its work, one JSON object a line, read without trusting it."""

import json
from dataclasses import dataclass
from typing import Any

from convpress.refusal import Code
from worker.engine.request import PHASES, Phase

_LONGEST_TEXT = 4000
_ERROR_MEMBERS = frozenset({"code", "detail", "field", "expected", "got"})


class MalformedOutput(Exception):
    """The child said or wrote something that no honest engine would."""


@dataclass(frozen=True)
class Progress:
    """The child is in `phase`, and `fraction` (0 to 1) of the whole is behind it."""

    phase: Phase
    fraction: float


@dataclass(frozen=True)
class Failed:
    """The input was refused; `error` has the members of a `Refusal`, and `log` is what the child wrote beside."""

    error: dict[str, str]
    log: str = ""


@dataclass(frozen=True)
class Succeeded:
    """The files that the request asked for are written."""


def parse(line: bytes) -> Progress | Failed | Succeeded:
    """Read one line.

    Raises:
        MalformedOutput: it is none of the three messages.

    >>> parse(b'{"event": "progress", "phase": "loading", "fraction": 0.5}')
    Progress(phase='loading', fraction=0.5)
    >>> parse(b'{"event": "failed", "error": {"code": "model_invalid", "detail": "no graph"}}')
    Failed(error={'code': 'model_invalid', 'detail': 'no graph'}, log='')
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedOutput(f"a line that is not JSON: {line[:80]!r}") from error
    match message:
        case {"event": "progress", "phase": phase, "fraction": int() | float() as fraction}:
            if phase in PHASES and 0 <= fraction <= 1:
                return Progress(phase, float(fraction))
        case {"event": "failed", "error": dict() as refusal}:
            return Failed(_refusal(refusal))
        case {"event": "succeeded"}:
            return Succeeded()
    raise MalformedOutput(f"an unknown message: {line[:80]!r}")


def _refusal(error: dict[str, Any]) -> dict[str, str]:
    texts = all(isinstance(value, str) and len(value) <= _LONGEST_TEXT for value in error.values())
    if (
        not texts
        or not error.keys() <= _ERROR_MEMBERS
        or "detail" not in error
        or error.get("code") not in list(Code)
    ):
        raise MalformedOutput(f"an error that is not a refusal: {str(error)[:80]}")
    return error
