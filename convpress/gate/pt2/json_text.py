"""JSON of an archive, parsed in bounded memory, without a doubt about its meaning."""

import json
from typing import Any, TypeAlias

from convpress.gate.refusals import damaged, over_limit
from convpress.limits import Limits

Json: TypeAlias = Any
"""A value as JSON gives it, of which nothing is known before a check."""


def parse(text: str, name: str, limits: Limits) -> Json:
    """Return the value of the JSON in `text`, which messages call `name`.

    Raises:
        Refusal: `model_invalid` for what is no JSON, nests deeper than Python reads, has a name of
            an object twice, or a number that JSON does not know; `model_over_limit` for too many
            values.
    """
    values = sum(map(text.count, ",[{"))
    if values > limits.json_values:
        raise over_limit(
            f"{name} has {values} values or more", f"at most {limits.json_values}"
        )
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError as error:
        raise over_limit(
            f"{name} nests its brackets too deep", f"at most {limits.nesting} brackets"
        ) from error
    except ValueError as error:
        raise damaged(f"{name} is no JSON ({str(error)[:200]})") from error


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # Readers differ in which of two they take.
        raise ValueError("an object has a name twice")
    return members


def _no_constant(constant: str) -> Json:
    raise ValueError(f"{constant} is no number of JSON")
