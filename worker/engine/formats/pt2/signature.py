"""The inputs and outputs of an exported program: names, types, sizes, symbols and their ranges."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from convpress.shapes import FIELD as SHAPE_FIELD
from convpress.shapes import format_shape
from worker.engine.formats.pt2.graph import arguments, kind
from worker.engine.model import NUMBER, TensorSpec

# Operators that pass the elements of their first argument on as they are.
_PASSES_ON = frozenset(
    {
        "aten::_to_copy",
        "aten::alias",
        "aten::clone",
        "aten::contiguous",
        "aten::detach",
        "aten::expand",
        "aten::flatten",
        "aten::permute",
        "aten::reshape",
        "aten::select",
        "aten::slice",
        "aten::squeeze",
        "aten::t",
        "aten::to",
        "aten::transpose",
        "aten::unsqueeze",
        "aten::view",
    }
)
_FILLS = frozenset({"aten::masked_fill", "aten::masked_fill_"})

_ENDLESS = 2**62
"""No size is as large; an exporter writes infinity in several ways."""


@dataclass(frozen=True)
class SizeRange:
    """The sizes that a symbol of the program may have."""

    least: int
    most: int | None


def inputs(program: ExportedProgram, flat: Graph) -> tuple[TensorSpec, ...]:
    """Return the tensors and whole numbers that a caller passes, in order.

    `flat` is the program's graph without blocks.

    Raises:
        Refusal: `model_unsupported` where it takes something else, or no tensor at all.
    """
    placeholders = {node.name: node for node in flat.find_nodes(op="placeholder")}
    specs = []
    for spec in program.graph_signature.input_specs:
        if spec.kind != InputKind.USER_INPUT or isinstance(spec.arg, ConstantArgument):
            continue
        node = placeholders[spec.arg.name]
        value = node.meta.get("val")
        if isinstance(value, Tensor):
            specs.append(_tensor(node, value))
        elif isinstance(value, int | torch.SymInt):
            specs.append(TensorSpec(node.name, NUMBER, None))
        else:
            raise _unsupported(f"{node.name}, {type(value).__name__}")
    if all(spec.dtype == NUMBER for spec in specs):
        raise _unsupported("no tensor")
    return tuple(specs)


def outputs(program: ExportedProgram) -> tuple[TensorSpec, ...]:
    """Return the outputs, with a runner's names."""
    nodes = {node.name: node for node in program.graph.nodes}
    flat = []
    for spec in program.graph_signature.output_specs:
        if spec.kind == OutputKind.USER_OUTPUT:
            is_constant = isinstance(spec.arg, ConstantArgument)
            flat.append(
                spec.arg.value if is_constant else nodes[spec.arg.name].meta.get("val")
            )
    result = pytree.tree_unflatten(flat, program.call_spec.out_spec)
    return tuple(_output(name, value) for name, value in _named(result, "output"))


def size_ranges(program: ExportedProgram) -> dict[str, SizeRange]:
    """Return the range of every symbol that has one."""
    ranges = {}
    for symbol, bounds in program.range_constraints.items():
        # torch has an infinity of its own, which says that it is finite
        least = int(bounds.lower) if bounds.lower > 0 else 0
        most = int(bounds.upper) if bounds.upper < _ENDLESS else None
        ranges[str(symbol)] = SizeRange(least, most)
    return ranges


def require_in_range(
    specs: Sequence[TensorSpec],
    shapes: Mapping[str, tuple[int, ...]],
    ranges: Mapping[str, SizeRange],
) -> None:
    """Check the sizes that symbols stand for against the ranges that the file gives them.

    Raises:
        Refusal: `input_shape_mismatch`.
    """
    for spec in specs:
        for axis, own in enumerate(spec.shape or ()):
            bounds = ranges.get(own) if isinstance(own, str) else None
            if bounds is None:
                continue
            size = shapes[spec.name][axis]
            is_most = bounds.most is None or size <= bounds.most
            if size < bounds.least or not is_most:
                most = "" if bounds.most is None else f" to {bounds.most}"
                raise Refusal(
                    Code.INPUT_SHAPE_MISMATCH,
                    f"the size of input {spec.name!r} along axis {axis} is outside of the range "
                    "that it was exported for",
                    field=SHAPE_FIELD,
                    expected=f"{bounds.least}{most or ' or more'}",
                    got=format_shape(shapes[spec.name]),
                )


def array_dtype(dtype: torch.dtype) -> str:
    """Return the dtype of the arrays that a caller passes and gets; numpy has no bfloat16."""
    if dtype is torch.bfloat16:
        return "float32"
    return str(dtype).removeprefix("torch.")


def _unsupported(got: str) -> Refusal:
    return Refusal(
        Code.MODEL_UNSUPPORTED,
        "the program has an input of an unsupported type",
        field=FIELD,
        expected="tensors and whole numbers, and other inputs only with a content fixed at export",
        got=got[:200],
    )


def _tensor(node: Node, value: Tensor) -> TensorSpec:
    rows, leaves_out = _role(node)
    shape = tuple(_size(size) for size in value.shape)
    return TensorSpec(node.name, array_dtype(value.dtype), shape, rows, leaves_out)


def _output(name: str, value: Any) -> TensorSpec:  # noqa: ANN401 - whatever comes out
    if isinstance(value, Tensor):
        shape = tuple(_size(size) for size in value.shape)
        return TensorSpec(name, array_dtype(value.dtype), shape)
    return TensorSpec(name, NUMBER, None)


def _named(value: Any, name: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - whatever comes out
    """Yield the tensors and numbers of a result with a runner's names."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _named(item, f"{name}_{key}")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _named(item, f"{name}_{index}")
    elif value is not None and not isinstance(value, str):
        yield name, value


def _size(size: int | torch.SymInt) -> int | str | None:
    """Return a size as a number or as a symbol; one that is computed from symbols is not known."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    if expression.is_number:
        return int(expression)
    return str(expression) if expression.is_symbol else None


def _role(node: Node) -> tuple[int | None, bool]:
    """Return the rows that an input selects from, and whether it says what is left out."""
    waiting, seen = [node], {node}
    leaves_out = False
    while waiting:
        value = waiting.pop()
        for user in value.users:
            if user.op != "call_function" or user in seen:
                continue
            seen.add(user)
            name = kind(user)
            if name == "aten::embedding" and arguments(user)[1] is value:
                table = arguments(user)[0].meta["val"]
                return int(table.shape[0]), False
            if name in _FILLS and arguments(user)[1] is value:
                leaves_out = True
            if name in _PASSES_ON and user.args[0] is value:
                waiting.append(user)
    return None, leaves_out
