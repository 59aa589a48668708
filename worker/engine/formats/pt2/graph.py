"""The graph of an exported program: arguments of its nodes, and the tensors that it stores."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.fx import Node

from worker.engine.formats.aten.errors import TORCH_ERRORS, require_memory
from worker.engine.formats.aten.layers import UNKNOWN

STORED_KINDS = frozenset(
    {InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR}
)
"""What a placeholder stands for whose content is in the file."""

# They check what a run has, compute nothing, and name the device of the exporter.
_CHECKS = frozenset(
    {
        "aten::_assert_async",
        "aten::_assert_scalar",
        "aten::_assert_tensor_metadata",
        "aten::sym_constrain_range",
        "aten::sym_constrain_range_for_size",
    }
)
_VIEWS = frozenset({torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default})


def kind(node: Node) -> str:
    """Return the name of a node's operator, such as `aten::conv2d`."""
    if isinstance(node.target, OpOverload):
        return str(node.target._schema.name)
    return getattr(node.target, "__name__", str(node.target))


HALF = (torch.float16, torch.bfloat16)
"""The types of half precision."""


def is_check(node: Node) -> bool:
    """Whether a node only checks what a run has."""
    return kind(node) in _CHECKS


def arguments(node: Node) -> list[Any]:
    """Return the arguments of an aten operator in the order of its schema, defaults included."""
    assert isinstance(node.target, OpOverload)
    declared = node.target._schema.arguments
    contents = list(node.args)
    for argument in declared[len(contents) :]:
        default = argument.default_value if argument.has_default_value() else None
        contents.append(node.kwargs.get(argument.name, default))
    return contents


def copying(target: Any) -> Any:  # noqa: ANN401 - operators have no public type
    """Return an operator that copies where a view is not possible, in the place of a view.

    A program has views that its exporter's kernels allow. Others lay their results out otherwise:
    attention in parts, and convolutions with the channels last.
    """
    return torch.ops.aten.reshape.default if target in _VIEWS else target


def is_random(node: Node) -> bool:
    """Whether two runs of a node on the same values differ."""
    if not isinstance(node.target, OpOverload):
        return False
    return torch.Tag.nondeterministic_seeded in node.target.tags


@cache
def written_positions(target: OpOverload) -> tuple[int, ...]:
    """Return the positions of the arguments that an operator writes into."""
    positions = []
    for position, argument in enumerate(target._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            positions.append(position)
    return tuple(positions)


def written_nodes(node: Node) -> list[Node]:
    """Return the nodes whose values a node writes into."""
    if not isinstance(node.target, OpOverload):
        return []
    contents = arguments(node)
    written = [contents[position] for position in written_positions(node.target)]
    return [value for value in _flat(written) if isinstance(value, Node)]


def _flat(value: Any) -> Iterator[Any]:  # noqa: ANN401 - whatever a graph holds
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def on_device(value: Any, device: str) -> Any:  # noqa: ANN401 - whatever a graph holds
    """Return arguments with this device in place of every other."""
    if isinstance(value, torch.device):
        return torch.device(device)
    if isinstance(value, list | tuple):
        return type(value)(on_device(item, device) for item in value)
    if isinstance(value, dict):
        return {key: on_device(item, device) for key, item in value.items()}
    return value


def in_single_precision(value: Any) -> Any:  # noqa: ANN401 - whatever a graph holds
    """Return arguments with float32 in place of the types of half precision."""
    if isinstance(value, torch.dtype):
        return torch.float32 if value in HALF else value
    if isinstance(value, list | tuple):
        return type(value)(in_single_precision(item) for item in value)
    if isinstance(value, dict):
        return {key: in_single_precision(item) for key, item in value.items()}
    return value


def stored_tensors(program: ExportedProgram) -> dict[str, tuple[str, Tensor]]:
    """Return path and tensor of every placeholder whose content is in the file."""
    stored = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind in STORED_KINDS and spec.target is not None:
            source: Mapping[str, Any] = program.constants
            if spec.target in program.state_dict:
                source = program.state_dict
            stored[spec.arg.name] = (spec.target, source[spec.target])
    return stored


def fixed_inputs(program: ExportedProgram) -> dict[str, Any]:
    """Return the inputs whose content is fixed by the file, such as None or a flag."""
    fixed = {}
    for spec in program.graph_signature.input_specs:
        if isinstance(spec.arg, ConstantArgument):
            fixed[spec.arg.name] = spec.arg.value
    return fixed


class Constants:
    """Contents that nodes have at every run: stored tensors, and what is computed from these alone.

    What the graph writes into has no such content, and neither has what is drawn at random.
    """

    def __init__(
        self, nodes: Sequence[Node], stored: Mapping[str, Tensor], device: str = "cpu"
    ) -> None:
        self._device = device
        written: set[Node] = set()
        for node in nodes:
            written.update(written_nodes(node))
        self._changing = written
        self._contents: dict[Node, Any] = {}
        for node in nodes:
            if node.op == "placeholder" and node.name in stored and node not in written:
                self._contents[node] = stored[node.name]
            elif self._is_computable(node):
                self._contents[node] = UNKNOWN  # until somebody asks

    def content(self, value: Any) -> Any:  # noqa: ANN401 - whatever a graph holds
        """Return the value that a node or another argument has at every run, or `UNKNOWN`."""
        if isinstance(value, list | tuple):
            items = [self.content(item) for item in value]
            return UNKNOWN if any(item is UNKNOWN for item in items) else items
        if not isinstance(value, Node):
            return value
        if value not in self._contents:
            return UNKNOWN
        if self._contents[value] is UNKNOWN:
            self._contents[value] = self._computed(value)
        return self._contents[value]

    def known(self) -> dict[str, Any]:
        """Return the contents that somebody has asked for, and the stored ones, by node name."""
        return {
            node.name: content
            for node, content in self._contents.items()
            if content is not UNKNOWN
        }

    def _is_computable(self, node: Node) -> bool:
        """Whether a node computes something from stored tensors alone."""
        if node.op != "call_function" or is_random(node) or written_nodes(node):
            return False
        inputs = node.all_input_nodes
        return (
            node not in self._changing
            and bool(inputs)
            and all(each in self._contents for each in inputs)
        )

    def _computed(self, node: Node) -> Any:  # noqa: ANN401 - whatever a graph holds
        """Return the value of a node, `UNKNOWN` where it fails: a run gives the reason."""
        args = [self.content(value) for value in node.args]
        kwargs = {name: self.content(value) for name, value in node.kwargs.items()}
        if any(each is UNKNOWN for each in (*args, *kwargs.values())):
            return UNKNOWN
        args, kwargs = on_device((args, kwargs), self._device)
        try:
            with torch.no_grad():
                return node.target(*args, **kwargs)  # type: ignore[operator]  # a call_function
        except (*TORCH_ERRORS, NotImplementedError) as error:
            require_memory(error)
            return UNKNOWN
