"""The parser of reports and inspections.

A hostile child may have written them, so that sizes have limits.
"""

import json
from typing import NoReturn, TypeVar

from pydantic import ValidationError

from convpress.report import Inspection, Report
from worker.sandbox.messages import MalformedOutput

LARGEST_BYTES = 32 * 1024**2

Account = TypeVar("Account", Report, Inspection)


def read(kind: type[Account], content: bytes) -> Account:
    """Parse the bytes of a report or an inspection.

    Raises:
        MalformedOutput: they are not JSON, or have another schema.
    """
    try:
        return kind.model_validate(json.loads(content.decode(), parse_constant=_no_constant))
    except (ValidationError, ValueError, RecursionError) as error:
        raise MalformedOutput(f"not a {kind.__name__}: {str(error)[:500]}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
