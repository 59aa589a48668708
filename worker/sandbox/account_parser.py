"""The parser of reports and inspections.

A hostile child may have written them. Their size, and the number of values in them, are bounded by
what the largest model that passes the gate can need. What is counted costs little memory; what
pydantic reads costs some hundred bytes a list, and as much for every fault.
"""

import json
from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from convpress.limits import Limits
from convpress.report import LONGEST_TEXT, Inspection, Report
from convpress.report.advice import Advice
from worker.sandbox.messages import MalformedOutput

# A site of an honest report has 410 to 480 bytes, 22 values and 5 lists with its own braces; the
# rest is for longer names, more branches and execution paths.
_SITE_BYTES = 640
_SITE_VALUES = 40
_SITE_CONTAINERS = 8
# All that is in a report besides its sites.
_OTHER_BYTES = 1024**2
_OTHER_VALUES = 100_000
_OTHER_CONTAINERS = 10_000
# Operators by name, versions, phases: honest models have some dozen.
_MOST_MEMBERS = 1000
# report, sites, site, layers, layer, size
_DEEPEST = 8

_DEFAULT_LIMITS = Limits()

Account = TypeVar("Account", Report, Inspection, Advice)


def largest_bytes(limits: Limits) -> int:
    """Return the size of the largest report: the bytes of a site times the most sites."""
    return _OTHER_BYTES + _SITE_BYTES * limits.sites


def read(
    kind: type[Account], content: bytes, limits: Limits = _DEFAULT_LIMITS
) -> Account:
    """Parse the bytes of a report or an inspection; the first fault ends it.

    Raises:
        MalformedOutput: they are not JSON, have another schema, or are beyond the limits.
    """
    try:
        _require_within(content, limits)
        return kind.model_validate_json(content)
    except (ValidationError, ValueError, RecursionError) as error:
        raise MalformedOutput(f"not a {kind.__name__}: {str(error)[:500]}") from error


def _require_within(content: bytes, limits: Limits) -> None:
    """Check the limits of a document, which leaves memory before the next reader makes another."""
    _require_few(content, limits)
    document = json.loads(
        content.decode(), parse_constant=_no_constant, object_pairs_hook=_members
    )
    _require_bounded(document, limits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; a name that comes twice would hide the first from the limits."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object with a member twice")
    return members


def _require_few(content: bytes, limits: Limits) -> None:
    """Bound the number of lists and values before anything is built from them.

    Brackets and commas in names count too, which the limits have room for.

    Raises:
        ValueError: there are more than a report needs.
    """
    containers = content.count(b"{") + content.count(b"[")
    if containers > _OTHER_CONTAINERS + _SITE_CONTAINERS * limits.sites:
        raise ValueError(f"{containers} lists and objects")
    commas = content.count(b",")
    if commas > _OTHER_VALUES + _SITE_VALUES * limits.sites:
        raise ValueError(f"{commas} values")


def _require_bounded(document: object, limits: Limits) -> None:
    """Bound the depth of a document, the length of its texts and the size of its parts.

    Raises:
        ValueError: one is larger than in any report.
    """
    parts = partial(_parts, longest_list=limits.sites)
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        level = list(chain.from_iterable(map(parts, level)))
        if not level:
            return
    raise ValueError(f"it is nested more than {_DEEPEST} deep")


def _parts(value: object, longest_list: int) -> Iterable[object]:
    """Return the names and values within a value; none in a number."""
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ValueError(f"a text of {len(value)} characters")
        return ()
    if isinstance(value, list):
        if len(value) > longest_list:
            raise ValueError(f"a list of {len(value)} values")
        return value
    if isinstance(value, dict):
        if len(value) > _MOST_MEMBERS:
            raise ValueError(f"an object of {len(value)} members")
        return chain(value.keys(), value.values())
    return ()
