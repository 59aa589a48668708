"""The engine's report as the worker reads it: a schema with caps, as a hostile model's child may have written it."""

import json
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.messages import MalformedOutput

LARGEST_BYTES = 32 * 1024**2

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Cost(_Part):
    """What a model costs; one MAC is two FLOPs."""

    macs: Count
    flops: Count
    parameters: Count
    bytes: Count
    latency_ms: float | None


class Site(_Part):
    """One convolution: what became of it, or the `reason` why it was left as it is."""

    name: str
    op: str
    weight_shape: list[Count]
    form: str | None
    rank: Count | list[Count] | None
    macs_before: Count
    macs_after: Count
    error: float | None
    reason: str | None


class Report(_Part):
    """The account of one compression."""

    format: str
    inputs: Any
    convention: Any
    budget: Any
    before: Cost
    after: Cost
    keep: float
    sites: list[Site]
    uncounted: Any
    verification: dict[str, Any]
    engine: dict[str, Any]


def read_report(content: bytes) -> Report:
    """Check the bytes of a report.

    Raises:
        MalformedOutput: they are not JSON, or not a report.
    """
    try:
        return Report.model_validate(json.loads(content.decode(), parse_constant=_no_constant))
    except (ValidationError, ValueError, RecursionError) as error:
        raise MalformedOutput(f"not a report: {str(error)[:500]}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
