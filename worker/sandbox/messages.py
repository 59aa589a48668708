"""The messages of a child process, one JSON object a line, parsed without trust."""

import json
from dataclasses import dataclass
from typing import Any

from convpress.phases import PHASES, Phase
from convpress.refusal import Code

# The messages end up in the job's row.
_LONGEST_TEXT = 4000
_ERROR_MEMBERS = frozenset({"code", "detail", "field", "expected", "got"})


class MalformedOutput(Exception):
    """The child sent a message or wrote a file that no honest engine would."""


@dataclass(frozen=True)
class Progress:
    """The child is in `phase`, and `fraction` (0 to 1) of the whole work is done."""

    phase: Phase
    fraction: float


@dataclass(frozen=True)
class Failed:
    """The input was refused.

    `error` has the members of a `Refusal`, `log` the child's standard error.
    """

    error: dict[str, str]
    log: str = ""


@dataclass(frozen=True)
class Succeeded:
    """The files that the request asked for are written."""


def parse(line: bytes) -> Progress | Failed | Succeeded:
    """Parse one line.

    Raises:
        MalformedOutput: the line is none of the three messages.

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
        case {
            "event": "progress",
            "phase": phase,
            "fraction": int() | float() as fraction,
        }:
            if phase in PHASES and 0 <= fraction <= 1:
                return Progress(phase, float(fraction))
        case {"event": "failed", "error": dict() as refusal}:
            return Failed(_refusal(refusal))
        case {"event": "succeeded"}:
            return Succeeded()
    raise MalformedOutput(f"an unknown message: {line[:80]!r}")


def _refusal(error: dict[str, Any]) -> dict[str, str]:
    has_texts = all(_is_short_text(value) for value in error.values())
    has_members = "detail" in error and error.keys() <= _ERROR_MEMBERS
    # A list, because the code may be a value without a hash.
    if not has_texts or not has_members or error.get("code") not in list(Code):
        raise MalformedOutput(f"an error that is not a refusal: {str(error)[:80]}")
    return error


def _is_short_text(value: Any) -> bool:  # noqa: ANN401 - any JSON
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT
