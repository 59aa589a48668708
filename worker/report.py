"""What the engine writes of a model, as the worker reads it: a schema with caps, for a hostile child may write it."""

import json
from typing import NoReturn, TypeVar

from pydantic import ValidationError

from app.report import Count, Part, Report, Tensor
from worker.messages import MalformedOutput

LARGEST_BYTES = 32 * 1024**2


class InspectedSite(Part):
    """One convolution or matrix product, and why it would be left as it is, if it would."""

    name: str
    op: str
    weight_shape: list[Count]
    macs: Count
    calls: Count
    reason: str | None


class Inspection(Part):
    """What a model is; `missing` says what has to be given to learn its costs, which are None until then."""

    format: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: Count
    bytes: Count
    macs: Count | None
    sites: list[InspectedSite]
    uncounted: dict[str, Count]
    missing: str | None


Account = TypeVar("Account", Report, Inspection)


def read(kind: type[Account], content: bytes) -> Account:
    """Check the bytes of a report or an inspection.

    Raises:
        MalformedOutput: they are not JSON, or not one.
    """
    try:
        return kind.model_validate(json.loads(content.decode(), parse_constant=_no_constant))
    except (ValidationError, ValueError, RecursionError) as error:
        raise MalformedOutput(f"not a {kind.__name__}: {str(error)[:500]}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
