"""Values that flow through a graph: tensors, and lists, tuples and dictionaries of them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor


def tensors_in(value: Any) -> Iterator[Tensor]:  # noqa: ANN401 - whatever flows through the graph
    """Yield the tensors in a value, however deep they lie.

    >>> import torch
    >>> one, two = torch.tensor(1), torch.tensor(2)
    >>> [tensor.item() for tensor in tensors_in([one, {"a": (two, "text")}])]
    [1, 2]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(value.values())
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for item in value:
            yield from tensors_in(item)


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401 - as above
    """Return a value with all its tensors changed, however deep they lie."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        named = value.items()
        return {key: map_tensors(item, change) for key, item in named}
    if isinstance(value, list):
        return [map_tensors(item, change) for item in value]
    if isinstance(value, tuple):
        items = [map_tensors(item, change) for item in value]
        if hasattr(value, "_fields"):  # a named tuple takes its items one by one
            return type(value)(*items)
        return tuple(items)
    return value


def leaves(value: Any) -> Iterator[Any]:  # noqa: ANN401 - as above
    """Yield the tensors and numbers in a value, in order; text and None are left out."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, Tensor | int | float | complex):
        yield value
