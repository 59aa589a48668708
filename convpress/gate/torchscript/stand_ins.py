"""Stand-ins for the values of a pickle, of which only the name, the depth or the size matters.

All but names are compared and hashed by identity.
"""

from collections.abc import Sequence
from typing import Any


class Global(str):
    """The name of a class or function."""

    __slots__ = ()


class Container:
    """Stands for a list, a dictionary or an object, of which only the depth matters."""

    __slots__ = ("depth", "is_shared")

    def __init__(self) -> None:
        self.depth = 1
        # There is a second reference to it: items that follow may be the container itself.
        self.is_shared = False


class Tuple:
    """Stands for a tuple, with its depth."""

    __slots__ = ("depth", "values")

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self.depth = 1 + max((depth_of(value) for value in values), default=0)


class Storage:
    """A storage of `elements` numbers."""

    __slots__ = ("elements",)

    def __init__(self, elements: int) -> None:
        self.elements = elements


def depth_of(value: Any) -> int:  # noqa: ANN401 - a stand-in
    """Return the depth of a value: 0 of names, numbers and texts, and one more a container."""
    return value.depth if isinstance(value, Container | Tuple) else 0
