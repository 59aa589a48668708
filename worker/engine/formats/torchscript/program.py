"""Read the forward method of a TorchScript module into a program, a step for each node.

The module is in evaluation mode. Nodes that depend on no input are computed at once. Branches whose
condition depends on no input are taken, and loops whose number of turns depends on none are unrolled;
all others are one step each, run by torch's own interpreter.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import Block, Node, Value

from worker.engine.formats.torchscript.copy_on_write import on_copies
from worker.engine.formats.torchscript.eval_mode import NORMS, evaluation_copy
from worker.engine.formats.torchscript.execute import NodeCall, node_call
from worker.engine.formats.torchscript.graph import captured_values, literal
from worker.engine.formats.torchscript.layers import (
    LayerNode,
    SiteKey,
    TensorKey,
    layer_nodes,
    tensor_key,
)
from worker.engine.formats.torchscript.method import UNKNOWN, Method, attribute
from worker.engine.formats.torchscript.nested_values import leaves, map_tensors
from worker.engine.formats.torchscript.operators import is_random, written_values
from worker.engine.formats.torchscript.shared_memory import SharedMemory, require_single_name
from worker.engine.formats.torchscript.step_recorder import StepRecorder
from worker.engine.formats.torchscript.value_names import ValueNames
from worker.engine.numerics import device
from worker.engine.program import NoProgramError, Norm, Program, Step

_HALF = (torch.float16, torch.bfloat16)
_UNPACKS = frozenset({"prim::ListUnpack", "prim::TupleUnpack"})


def read(forward: Method, sites: Mapping[SiteKey, str], inputs: Sequence[str]) -> Program:
    """Read the graph of a forward method, which stays as it is.

    `sites` are the names of the sites, `inputs` those of the inputs. Weights share memory with
    the module. Weights in half precision become float32, and so do conversions to half precision;
    inputs have to be float32 then. What a module writes into its own buffers lasts for one run.

    Raises:
        NoProgramError: code that is no operator of torch's own, state that lasts from one call to
            the next, or outputs whose number only a run can tell.
    """
    method = evaluation_copy(forward)
    reader = _Reader(method, sites)
    reader.bind_inputs(inputs)
    reader.read(method.graph.block())
    return reader.program(inputs)


class _Reader:
    """Reads nodes in the order in which they run, and records their steps."""

    def __init__(self, method: Method, sites: Mapping[SiteKey, str]) -> None:
        self._method = method
        self._names = ValueNames()
        self._steps = StepRecorder()
        self._memory = SharedMemory(method, self._names, self._steps)
        self._weights: dict[TensorKey, Tensor] = {}
        self._site_calls = {
            layer.node.output().unique(): (sites[layer.site_key], _data_of(layer))
            for layer in layer_nodes(method)
            if layer.weight is not None and layer.site_key in sites
        }

    def bind_inputs(self, inputs: Sequence[str]) -> None:
        """Name the inputs; other arguments of the method keep their defaults."""
        arguments = self._method.module._c._get_method("forward").schema.arguments[1:]
        values = list(self._method.graph.inputs())[1:]
        for argument, value in zip(arguments, values, strict=True):
            if argument.name in inputs:
                self._names.bind_input(value, argument.name)
            else:
                self._add_constant(value, argument.default_value)

    def read(self, block: Block) -> None:
        """Read the nodes of a block."""
        for node in block.nodes():
            kind = node.kind()
            if kind in ("prim::Constant", "prim::Uninitialized"):
                self._add_constant(node.output(), node.output().toIValue())
            elif kind == "prim::GetAttr":
                self._read_attribute(node)
            elif kind == "prim::If" and self._constant(node.inputsAt(0)) is not UNKNOWN:
                self._read_branch(node)
            elif kind == "prim::Loop" and self._turns(node) is not None:
                self._unroll(node)
            elif kind in _UNPACKS and self._names.of(node.input()) in self._names.parts:
                self._unpack(node)
            elif kind == "aten::append" and self._names.of(node.inputsAt(0)) in self._names.parts:
                self._append(node)
            elif written_values(node):
                self._write(node)
            elif node.outputsSize():
                self._compute(node)

    def program(self, inputs: Sequence[str]) -> Program:
        """Return the steps that the outputs need."""
        outputs: list[str] = []
        for value in self._method.graph.outputs():
            outputs += self._output_names(self._names.of(value))
        return self._steps.program(inputs, outputs)

    def _constant(self, value: Value) -> Any:  # noqa: ANN401 - whatever the graph holds
        """Return the content that a value has at every run, or `UNKNOWN`."""
        return self._steps.constant(self._names.of(value))

    def _add_constant(self, value: Value, content: Any) -> None:  # noqa: ANN401 - whatever the graph holds
        """Name a value that depends on no input."""
        if isinstance(content, torch.device):
            # A trace records where it was made, a program runs on the device of the job.
            content = torch.device(device.chosen())
        self._steps.constants[self._names.fresh(value)] = map_tensors(content, self._weight)

    def _weight(self, tensor: Tensor) -> Tensor:
        """Return a stored tensor in single precision on the device, always the same one."""
        weight = tensor.detach()
        is_half = tensor.dtype in _HALF
        if not is_half and device.chosen() == device.PROCESSOR:
            return weight
        if is_half:
            weight = weight.float()
        return self._weights.setdefault(tensor_key(tensor), device.placed(weight))

    def _read_attribute(self, node: Node) -> None:
        """Read an attribute; modules are only passed through on the way to theirs."""
        if node.output().type().kind() in ("ClassType", "InterfaceType"):
            return
        path = self._method.path_of(node.output())
        if path is None:
            raise NoProgramError(f"it reads {node.s('name')} of something that is no module")
        if path in self._method.written:
            raise NoProgramError(f"it keeps state from one call to the next: {path}")
        content = False  # what `training` is in evaluation mode
        if node.s("name") != "training":
            content = attribute(self._method.module, path)
        self._add_constant(node.output(), content)

    def _read_branch(self, node: Node) -> None:
        """Read the branch that every run takes."""
        then, otherwise = node.blocks()
        branch = then if self._constant(node.inputsAt(0)) else otherwise
        self.read(branch)
        for value, result in zip(node.outputs(), branch.outputs(), strict=True):
            self._names.bind(value, self._names.of(result))

    def _turns(self, node: Node) -> int | None:
        """Return the number of turns of a loop, None where it depends on the run."""
        turns, begins = (self._constant(value) for value in list(node.inputs())[:2])
        (body,) = node.blocks()
        goes_on = next(iter(body.outputs()))
        is_counted = begins is True and literal(goes_on) is True
        return turns if is_counted and isinstance(turns, int) else None

    def _unroll(self, node: Node) -> None:
        (body,) = node.blocks()
        turn, *carried = body.inputs()
        names = [self._names.of(value) for value in list(node.inputs())[2:]]
        for index in range(self._turns(node) or 0):
            self._add_constant(turn, index)
            for value, name in zip(carried, names, strict=True):
                self._names.bind(value, name)
            self.read(body)
            names = [self._names.of(value) for value in list(body.outputs())[1:]]
        for value, name in zip(node.outputs(), names, strict=True):
            self._names.bind(value, name)

    def _unpack(self, node: Node) -> None:
        parts = self._names.parts[self._names.of(node.input())]
        if len(parts) != node.outputsSize():
            raise NoProgramError(
                f"it takes {node.outputsSize()} values out of a list of {len(parts)}"
            )
        for value, name in zip(node.outputs(), parts, strict=True):
            self._names.bind(value, name)

    def _compute(self, node: Node) -> None:
        """Read a node that writes into nothing."""
        values = captured_values(node)
        call = node_call(node, values)
        takes = [self._names.of(value) for value in values]
        site, norm = self._role(node, takes)
        outputs = list(node.outputs())
        if norm is not None and not any(value.uses() for value in outputs[1:]):
            # Some normalisations also return statistics: a step of one output can be replaced.
            call, outputs = _first_of(call), outputs[:1]
        parts = self._parts_of(node)
        gives = [self._names.fresh(value) for value in outputs]
        step = Step(node.kind(), tuple(takes), tuple(gives), call, site, norm)
        self._steps.add(step, is_random=is_random(node))
        if parts is not None:
            self._names.parts[gives[0]] = parts

    def _role(self, node: Node, takes: Sequence[str]) -> tuple[str | None, Norm | None]:
        """Return the site that a node is a call of, and the statistics that it normalises by.

        Both are None where more than its data changes from run to run.
        """
        site, data = None, None
        if node.outputsSize() == 1:
            site, data = self._site_calls.get(node.output().unique(), (None, None))
        norm = self._norm(node) if node.kind() in NORMS else None
        if norm is not None:
            data = node.inputsAt(0)
        changing = {name for name in takes if name not in self._steps.constants}
        if data is None or changing != {self._names.of(data)}:
            return None, None
        return site, norm

    def _parts_of(self, node: Node) -> tuple[str, ...] | None:
        """Return the names of the items that a list, tuple or dictionary is put together from."""
        kind = node.kind()
        if kind in ("prim::ListConstruct", "prim::TupleConstruct"):
            return tuple(self._names.of(value) for value in node.inputs())
        if kind == "prim::DictConstruct":
            # Keys and contents take turns.
            return tuple(self._names.of(value) for value in list(node.inputs())[1::2])
        return None

    def _norm(self, node: Node) -> Norm | None:
        """Return the stored statistics that a node normalises by, None for those of the data."""
        contents = [self._constant(value) for value in list(node.inputs())[1:8]]
        weight, bias, mean, variance, own, _, epsilon = contents
        updates = own is UNKNOWN or (own is not False and mean is not None)
        if updates:
            raise NoProgramError(f"{node.kind()} may write into its statistics")
        if own or mean is None:
            return None
        if any(item is UNKNOWN for item in (weight, bias, mean, variance, epsilon)):
            return None
        return Norm(mean, variance, weight, bias, epsilon)

    def _append(self, node: Node) -> None:
        """Read an append to a list of which every item is known by name."""
        items, item = node.inputs()
        require_single_name(items, node)
        old = self._names.of(items)
        parts = (*self._names.parts[old], self._names.of(item))
        name = self._names.rename(old)
        self._names.bind(node.output(), name)
        self._names.parts[name] = parts
        step = Step("prim::ListConstruct", parts, (name,), lambda *contents: ([*contents],))
        self._steps.add(step, is_random=False)

    def _write(self, node: Node) -> None:
        """Read a node that writes.

        It runs on copies, and all that it changes has another name from there on: lists, which the
        call returns, and whatever shares memory with a tensor that is written.
        """
        values = captured_values(node)
        lists, targets = self._written_positions(node, values)
        call = node_call(node, values, lists)
        for position in lists:
            require_single_name(values[position], node)
        for value in node.outputs():
            self._names.forget(value)
        names = [self._names.of(value) for value in values]
        written = [values[position] for position in targets]
        changed = dict.fromkeys([self._names.of(value) for value in written])
        changed |= dict.fromkeys(self._memory.names_sharing(written))
        for position in lists:
            changed.pop(names[position], None)

        takes = [*names, *(name for name in changed if name not in names)]
        run = on_copies(call, len(values), targets, [takes.index(name) for name in changed])
        gives = [self._names.fresh(value) for value in node.outputs()]
        gives += [self._names.rename(names[position]) for position in lists]
        renamed = {name: self._names.rename(name) for name in changed}
        gives += renamed.values()
        for old, new in renamed.items():
            if old in self._names.parts:
                parts = self._names.parts[old]
                self._names.parts[new] = tuple(renamed.get(part, part) for part in parts)
        step = Step(node.kind(), tuple(takes), tuple(gives), run)
        self._steps.add(step, is_random=is_random(node))

    def _written_positions(
        self, node: Node, values: Sequence[Value]
    ) -> tuple[list[int], list[int]]:
        """Return the positions of the lists that a node writes, and those of the tensors."""
        written = written_values(node)
        written_lists = [value for value in written if _is_list(value)]
        written_tensors = [value for value in written if not _is_list(value)]
        lists = self._memory.reached(node, values, written_lists)
        lists = [position for position in lists if _is_list(values[position])]
        return lists, self._memory.reached(node, values, written_tensors)

    def _output_names(self, name: str) -> Iterator[str]:
        """Yield the names of the tensors and numbers in an output; text and None are no outputs."""
        kind = self._names.type_of(name).kind()
        if name in self._names.parts:
            for part in self._names.parts[name]:
                yield from self._output_names(part)
        elif name in self._steps.constants:
            for content in leaves(self._steps.constants[name]):
                leaf = self._names.new(name, None)
                self._steps.constants[leaf] = content
                yield leaf
        elif kind == "TupleType":
            elements = self._names.type_of(name).elements()
            items = tuple(self._names.new(name, element) for element in elements)
            self._steps.add(Step("prim::TupleUnpack", (name,), items, tuple), is_random=False)
            for item in items:
                yield from self._output_names(item)
        elif kind in ("ListType", "DictType"):
            raise NoProgramError("how many outputs it has is known only once it has run")
        elif kind not in ("NoneType", "StringType"):
            yield name


def _is_list(value: Value) -> bool:
    return value.type().kind() in ("ListType", "DictType")


def _data_of(layer: LayerNode) -> Value | None:
    """Return the value that a layer is applied to; None for a product that is more than a layer."""
    node = layer.node
    if node.kind() != "aten::addmm":
        return node.inputsAt(0)
    scales = [literal(node.inputsAt(index)) for index in (3, 4)]
    return node.inputsAt(1) if scales == [1, 1] else None


def _first_of(call: NodeCall) -> NodeCall:
    return lambda *contents: call(*contents)[:1]
