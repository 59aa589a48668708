"""Checks of values as JSON gives them, put together into the check of a record.

A check takes a value and its place, and raises for a value that it does not accept. It looks at
each value once, and goes no deeper than the records themselves.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from convpress.gate.pt2.json_text import Json
from convpress.gate.refusals import damaged
from convpress.refusal import Refusal

Place: TypeAlias = "tuple[Place, str | int] | str"
"""Where a value is: its container's place, and its name or index; the member's name at last."""

Check = Callable[[Json, Place], None]

_LONGEST_SHOWN = 80
_INT64 = 2**63


@dataclass(frozen=True)
class StoredTensor:
    """A weight or constant of the archive's index, checked against the member with its bytes.

    Attributes:
        name: Its path in the module: `conv.weight`.
        member: The member with its bytes, below the archive's folder.
        dtype: Name of its type in torch: `float32`.
        sizes: Its shape.
        strides: Steps between its elements, in elements.
        storage_offset: Its first element, in elements from the member's first byte.
        is_parameter: Whether it is a parameter, no buffer and no constant.
        requires_grad: Whether torch computes its gradients.
    """

    name: str
    member: str
    dtype: str
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    storage_offset: int
    is_parameter: bool
    requires_grad: bool


def shown(place: Place) -> str:
    """Return a place as people read it.

    >>> shown(((("models/model.json", "nodes"), 3), "target"))
    'models/model.json, nodes[3].target'
    """
    steps: list[str | int] = []
    while not isinstance(place, str):
        place, step = place
        steps.append(step)
    text = ""
    for step in reversed(steps):
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{_cut(step)}"
    parts = text.lstrip(".")
    if len(parts) > 3 * _LONGEST_SHOWN:
        parts = f"...{parts[-3 * _LONGEST_SHOWN :]}"
    return f"{place}, {parts}" if parts else place


def brief(value: object) -> str:
    """Return a value as a short text for a message.

    >>> brief("torch.save"), brief({"a": 1})
    ("'torch.save'", 'an object')
    """
    if isinstance(value, str):
        return ascii(value[:_LONGEST_SHOWN])
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return str(value)[:_LONGEST_SHOWN]


def _cut(step: str) -> str:
    text = step[:_LONGEST_SHOWN]
    return text if text.isprintable() else ascii(text)


def unexpected(value: object, place: Place, expected: str) -> Refusal:
    """Return the refusal of a value that is not as the schema says."""
    return damaged(f"{shown(place)} is {brief(value)} instead of {expected}")


def flag(value: Json, place: Place) -> None:
    """Require true or false."""
    if not isinstance(value, bool):
        raise unexpected(value, place, "true or false")


def integer(low: int = -_INT64, high: int = _INT64 - 1) -> Check:
    """Return a check for a whole number within bounds."""

    def check(value: Json, place: Place) -> None:
        if type(value) is not int or not low <= value <= high:
            raise unexpected(value, place, f"a whole number from {low} to {high}")

    return check


def number(value: Json, place: Place) -> None:
    """Require a number, or the text of one that JSON lacks."""
    if value in ("Infinity", "-Infinity", "NaN"):
        return
    is_number = type(value) in (int, float) and -(2**1023) < value < 2**1023
    if not is_number:
        raise unexpected(value, place, "a number")


def text(longest: int) -> Check:
    """Return a check for a text of at most `longest` letters."""

    def check(value: Json, place: Place) -> None:
        if not isinstance(value, str):
            raise unexpected(value, place, "a text")
        if len(value) > longest:
            raise unexpected(value, place, f"a text of at most {longest} letters")

    return check


def one_of(values: Collection[Json], expected: str) -> Check:
    """Return a check for one of some numbers or texts."""

    def check(value: Json, place: Place) -> None:
        is_plain = type(value) in (int, str)
        if not is_plain or value not in values:
            raise unexpected(value, place, expected)

    return check


def nullable(check: Check) -> Check:
    """Return a check for null, or what `check` accepts."""

    def check_present(value: Json, place: Place) -> None:
        if value is not None:
            check(value, place)

    return check_present


def list_of(check: Check, longest: int | None = None) -> Check:
    """Return a check for a list of what `check` accepts."""

    def check_list(value: Json, place: Place) -> None:
        if not isinstance(value, list):
            raise unexpected(value, place, "a list")
        if longest is not None and len(value) > longest:
            raise unexpected(value, place, f"a list of at most {longest}")
        for index, element in enumerate(value):
            check(element, (place, index))

    return check_list


def map_of(check_name: Check, check: Check) -> Check:
    """Return a check for an object with free names."""

    def check_map(value: Json, place: Place) -> None:
        if not isinstance(value, dict):
            raise unexpected(value, place, "an object")
        for name, member in value.items():
            check_name(name, place)
            check(member, (place, name))

    return check_map


def record(
    required: Mapping[str, Check], optional: Mapping[str, Check] | None = None
) -> Check:
    """Return a check for an object with these members and no others."""
    optional = optional or {}
    checks = {**required, **optional}

    def check_record(value: Json, place: Place) -> None:
        if not isinstance(value, dict):
            raise unexpected(value, place, "an object")
        for name, member in value.items():
            check = checks.get(name)
            if check is None:
                raise damaged(
                    f"{shown(place)} has a member {brief(name)}, which the schema does not know"
                )
            check(member, (place, name))
        missing = sorted(required.keys() - value.keys())
        if missing:
            raise damaged(f"{shown(place)} has no member {missing[0]}")

    return check_record


def union(options: Mapping[str, Check]) -> Check:
    """Return a check for an object with exactly one of these members."""

    def check_union(value: Json, place: Place) -> None:
        if not isinstance(value, dict) or len(value) != 1:
            raise unexpected(value, place, "an object with one member")
        [(name, member)] = value.items()
        check = options.get(name)
        if check is None:
            raise damaged(
                f"{shown(place)} is of the kind {brief(name)}, which the schema does not know there"
            )
        check(member, (place, name))

    return check_union
