"""The types of a module's inputs: what its operators take them for, or what a run accepts.

The file says which arguments are tensors, but not of which type. Token ids, indices and masks are
found by following an input to the first operators that compute with it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from torch import Tensor
from torch._C import Value

from worker.engine.formats.torchscript.method import Method
from worker.engine.model import TensorSpec

INDEX, FLAG = "int64", "bool"
"""The types of whole numbers and of truth values."""

# Filters of a spectrum are complex, and the signal is not.
_REAL = {"complex64": ("float32",), "complex128": ("float64",)}

# Operators that pass the elements of their first argument on as they are.
_PASSES_ON = frozenset(
    {
        "aten::clone",
        "aten::contiguous",
        "aten::detach",
        "aten::expand",
        "aten::expand_as",
        "aten::flatten",
        "aten::narrow",
        "aten::permute",
        "aten::reshape",
        "aten::select",
        "aten::slice",
        "aten::squeeze",
        "aten::t",
        "aten::transpose",
        "aten::unsqueeze",
        "aten::view",
        "aten::view_as",
        "prim::unchecked_cast",
    }
)
# Operators with the position of an argument of indices, and that of what they select from.
_TAKES_INDICES = {
    ("aten::embedding", 1): 0,
    ("aten::embedding_bag", 1): 0,
    ("aten::index_select", 2): 0,
    ("aten::one_hot", 0): None,
    ("aten::gather", 2): None,
    ("aten::scatter", 2): None,
    ("aten::scatter_", 2): None,
    ("aten::scatter_add", 2): None,
    ("aten::take", 1): None,
    ("aten::bincount", 0): None,
}
_FILLS = frozenset({"aten::masked_fill", "aten::masked_fill_"})
_TAKES_FLAGS = frozenset(
    {
        ("aten::masked_fill", 1),
        ("aten::masked_fill_", 1),
        ("aten::masked_select", 1),
        ("aten::masked_scatter", 1),
        ("aten::where", 0),
        ("aten::logical_not", 0),
        ("aten::bitwise_not", 0),
        ("aten::bitwise_and", 0),
        ("aten::bitwise_and", 1),
        ("aten::bitwise_or", 0),
        ("aten::bitwise_or", 1),
        ("aten::__and__", 0),
        ("aten::__and__", 1),
        ("aten::__or__", 0),
        ("aten::__or__", 1),
        ("aten::logical_and", 0),
        ("aten::logical_and", 1),
        ("aten::logical_or", 0),
        ("aten::logical_or", 1),
    }
)
_OF_A_TYPE = re.compile(
    r"dtype|scalar type|[Cc]omplex|\b(Long|Int|Float|Bool|Byte)|boolean|integer|integral|"
    r"indices|index|bool"
)
_MOST_FREE_INPUTS = 3


class InputType(NamedTuple):
    """The type that operators take an input for.

    `rows` and `leaves_out` are those of `TensorSpec`.
    """

    dtype: str
    rows: int | None = None
    leaves_out: bool = False


def input_type(value: Value, method: Method) -> InputType | None:
    """Return the type that the operators of a method need, None where none of them tells."""
    types = list(_types(value, method))
    # What also selects rows is known better by its number of rows.
    types.sort(key=lambda each: each.rows is None)
    return types[0] if types else None


def _types(value: Value, method: Method) -> Iterator[InputType]:
    waiting, seen = [value], set()
    while waiting:
        value = waiting.pop()
        number = value.unique()
        if number in seen:
            continue
        seen.add(number)
        for use in value.uses():
            user = use.user
            taker = (user.kind(), use.offset)
            if taker in _TAKES_INDICES:
                rows = _rows(use, method)
                yield InputType(INDEX, rows)
            elif taker in _TAKES_FLAGS:
                yield InputType(FLAG, leaves_out=user.kind() in _FILLS)
            elif _is_subscript(use):
                yield InputType(INDEX)
            elif user.kind() in _PASSES_ON and use.offset == 0:
                waiting.append(user.output())
            elif user.kind() == "prim::Return":
                waiting += _results_of_branch(use)


def _is_subscript(use: Any) -> bool:  # noqa: ANN401 - not in torch's stubs
    """Whether a value is used as in `table[value]`."""
    if use.user.kind() != "prim::ListConstruct":
        return False
    takers = use.user.output().uses()
    return any(
        taker.user.kind() == "aten::index" and taker.offset == 1 for taker in takers
    )


def _results_of_branch(use: Any) -> list[Value]:  # noqa: ANN401 - not in torch's stubs
    """Return the output of a branch's owner that a value becomes; none outside of branches."""
    owner = use.user.owningBlock().owningNode()
    if owner is None or owner.kind() != "prim::If":
        return []
    return [owner.outputsAt(use.offset)]


def _rows(use: Any, method: Method) -> int | None:  # noqa: ANN401 - not in torch's stubs
    """Return the number of rows that indices select from, None where it is not known."""
    user = use.user
    position = _TAKES_INDICES[user.kind(), use.offset]
    if position is None:
        return None
    axis = 0
    if user.kind() == "aten::index_select":
        axis = method.constant(user.inputsAt(1))
    table = method.constant(user.inputsAt(position))
    is_known = (
        isinstance(table, Tensor) and isinstance(axis, int) and table.dim() > axis
    )
    if is_known:
        return int(table.shape[axis])
    return None


def alternatives(
    specs: Sequence[TensorSpec], free: Sequence[str], failure: str
) -> Iterator[tuple[TensorSpec, ...]]:
    """Yield the inputs with other types for those whose type nothing tells, `free` by name.

    `failure` is what a run with the types of `specs` failed with; where it is about no type, there
    is nothing to try.
    """
    if len(free) > _MOST_FREE_INPUTS or not _OF_A_TYPE.search(failure):
        return
    own = {spec.name: spec.dtype for spec in specs}
    choices = [(own[name], *_REAL.get(own[name], ()), INDEX, FLAG) for name in free]
    first, *others = product(*choices)
    # Few changes are likelier than many.
    others.sort(key=lambda types: sum(map(str.__ne__, types, first)))
    for types in others:
        types_by_name = zip(free, types, strict=True)
        changed = dict(types_by_name)
        yield tuple(
            replace(spec, dtype=changed.get(spec.name, spec.dtype)) for spec in specs
        )
