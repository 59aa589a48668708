"""Read the forward method of a TorchScript module into a program, a step for each node.

The module is in evaluation mode. Nodes that depend on no input are computed at once. Branches
whose condition depends on no input are taken, and loops whose number of turns depends on none are
unrolled; all others are one step each, run by torch's own interpreter.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import Block, Node, Value

from worker.engine.formats.aten.copy_on_write import NodeCall
from worker.engine.formats.aten.layers import UNKNOWN, SiteKey, TensorKey, tensor_key
from worker.engine.formats.aten.nested_values import leaves, map_tensors
from worker.engine.formats.aten.norms import ARGUMENTS, NORMS, stored_statistics
from worker.engine.formats.aten.step_recorder import StepRecorder
from worker.engine.formats.torchscript.execution.node_call import node_call
from worker.engine.formats.torchscript.graph import captured_values, literal
from worker.engine.formats.torchscript.layers import LayerNode, layer_nodes
from worker.engine.formats.torchscript.method import Method, attribute
from worker.engine.formats.torchscript.operators import is_random, written_values
from worker.engine.formats.torchscript.program.eval_mode import evaluation_copy
from worker.engine.formats.torchscript.program.examples import Examples
from worker.engine.formats.torchscript.program.value_names import ValueNames
from worker.engine.formats.torchscript.program.writes import Writes
from worker.engine.formats.torchscript.signature import is_list_of_tensors
from worker.engine.numerics import device
from worker.engine.program import NoProgramError, Norm, Program, Step

_HALF = (torch.float16, torch.bfloat16)
_CONTENTS = frozenset({"prim::Constant", "prim::Uninitialized"})
_UNPACKS = frozenset({"prim::ListUnpack", "prim::TupleUnpack"})


def read(
    forward: Method,
    sites: Mapping[SiteKey, str],
    inputs: Sequence[str],
    examples: Mapping[str, Tensor],
) -> Program:
    """Read the graph of a forward method, which stays as it is.

    `sites` are the names of the sites, `inputs` those of the inputs, `examples` inputs without data
    that a run may have, as far as they are known. Weights share memory with
    the module. Weights in half precision become float32, and so do conversions to half precision;
    inputs have to be float32 then. What a module writes into its own buffers lasts for one run.

    Raises:
        NoProgramError: code that is no operator of torch's own, state that lasts from one call to
            the next, or outputs whose number only a run can tell.
    """
    method = evaluation_copy(forward)
    reader = _Reader(method, sites, Examples(examples))
    reader.bind_inputs(inputs)
    reader.read(method.graph.block())
    return reader.program(inputs)


class _Reader:
    """Reads nodes in the order in which they run, and records their steps."""

    def __init__(
        self, method: Method, sites: Mapping[SiteKey, str], examples: Examples
    ) -> None:
        self._method = method
        self._examples = examples
        self._names = ValueNames()
        self._steps = StepRecorder()
        self._writes = Writes(method, self._names, self._steps)
        self._weights: dict[TensorKey, Tensor] = {}
        # By the number of its output in the graph: a site's name, and the value it is applied to.
        self._site_calls: dict[int, tuple[str, Value | None]] = {}
        for layer in layer_nodes(method):
            site = sites.get(layer.site_key)
            if layer.weight is not None and site is not None:
                output = layer.node.output()
                number = output.unique()
                data = _data_of(layer)
                self._site_calls[number] = site, data

    def bind_inputs(self, inputs: Sequence[str]) -> None:
        """Name the inputs; other arguments of the method keep their defaults."""
        module = self._method.module._c
        forward = module._get_method("forward")
        _, *arguments = forward.schema.arguments
        _, *values = self._method.graph.inputs()
        pairs = zip(arguments, values, strict=True)
        for argument, value in pairs:
            name = argument.name
            if name in inputs and is_list_of_tensors(argument.type):
                self._bind_list(value, name)
            elif name in inputs:
                self._names.bind_input(value, name)
            else:
                self._add_constant(value, argument.default_value)

    def _bind_list(self, value: Value, name: str) -> None:
        """Let a list be the items along the first axis of the input of this name."""
        items = self._names.fresh(value)
        step = Step(
            op="aten::unbind",
            takes=(name,),
            gives=(items,),
            run=lambda tensor: ([*tensor.unbind()],),
        )
        self._steps.add(step, is_random=False)

    def read(self, block: Block) -> None:
        """Read the nodes of a block, those of branches and loops that are settled included.

        Raises:
            NoProgramError: one of them cannot be a step.
        """
        for node in block.nodes():
            kind = node.kind()
            if kind in _CONTENTS:
                output = node.output()
                self._add_constant(output, output.toIValue())
            elif kind == "prim::GetAttr":
                self._read_attribute(node)
            elif kind == "prim::If" and self._constant(node.inputsAt(0)) is not UNKNOWN:
                self._read_branch(node)
            elif kind == "prim::Loop" and self._turns(node) is not None:
                self._unroll(node)
            elif kind in _UNPACKS and self._has_parts(node):
                self._unpack(node)
            elif kind == "aten::append" and self._has_parts(node):
                self._writes.append(node)
            elif written_values(node):
                self._writes.write(node)
            elif node.outputsSize():
                self._compute(node)
            else:
                self._note_reads(node)

    def program(self, inputs: Sequence[str]) -> Program:
        """Return the steps that the outputs need.

        Raises:
            NoProgramError: only a run can tell how many outputs there are.
        """
        outputs: list[str] = []
        for value in self._method.graph.outputs():
            outputs += self._output_names(self._names.of(value))
        return self._steps.program(inputs, outputs)

    def _note_reads(self, node: Node) -> None:
        """Note what a node without results reads, such as a check that raises."""
        captured = captured_values(node)
        self._steps.note_reads(self._names.known(captured))

    def _has_parts(self, node: Node) -> bool:
        """Whether the items of the list or tuple that a node takes are known by name."""
        container = self._names.of(node.inputsAt(0))
        return container in self._names.parts

    def _constant(self, value: Value) -> Any:  # noqa: ANN401 - whatever the graph holds
        """Return the content that a value has at every run, or `UNKNOWN`."""
        return self._steps.constant(self._names.of(value))

    def _add_constant(self, value: Value, content: Any) -> None:  # noqa: ANN401 - whatever the graph holds
        """Name a value that depends on no input."""
        if isinstance(content, torch.device):
            # A trace records where it was made, a program runs on the device of the job.
            content = torch.device(device.chosen())
        name = self._names.fresh(value)
        self._steps.constants[name] = map_tensors(content, self._weight)

    def _weight(self, tensor: Tensor) -> Tensor:
        """Return a stored tensor in single precision on the device, always the same one."""
        weight = tensor.detach()
        is_half = tensor.dtype in _HALF
        if not is_half and device.chosen() == device.PROCESSOR:
            return weight
        if is_half:
            weight = weight.float()
        key = tensor_key(tensor)
        return self._weights.setdefault(key, device.placed(weight))

    def _read_attribute(self, node: Node) -> None:
        """Read an attribute; modules are only passed through on the way to theirs.

        Raises:
            NoProgramError: it belongs to no module, or some method writes it.
        """
        output = node.output()
        if output.type().kind() in ("ClassType", "InterfaceType"):
            return
        path = self._method.path_of(output)
        if path is None:
            raise NoProgramError(
                f"it reads {node.s('name')} of something that is no module"
            )
        if path in self._method.written:
            raise NoProgramError(f"it keeps state from one call to the next: {path}")
        content = False  # what `training` is in evaluation mode
        if node.s("name") != "training":
            content = attribute(self._method.module, path)
        self._add_constant(output, content)

    def _read_branch(self, node: Node) -> None:
        """Read the branch that every run takes."""
        then, otherwise = node.blocks()
        branch = otherwise
        if self._constant(node.inputsAt(0)):
            branch = then
        self.read(branch)
        results = self._names.of_all(branch.outputs())
        self._names.bind_all(node.outputs(), results)

    def _turns(self, node: Node) -> int | None:
        """Return the number of turns of a loop, None where it depends on the run."""
        most, begins, *_ = node.inputs()
        (body,) = node.blocks()
        goes_on, *_ = body.outputs()
        turns = self._constant(most)
        begins_true = self._constant(begins) is True
        is_counted = begins_true and literal(goes_on) is True
        if is_counted and isinstance(turns, int):
            return turns
        return None

    def _unroll(self, node: Node) -> None:
        """Read the body of a loop once for every turn, each with names of its own."""
        (body,) = node.blocks()
        _, _, *initial = node.inputs()
        turn, *carried = body.inputs()
        names = self._names.of_all(initial)
        turns = self._turns(node) or 0
        for index in range(turns):
            self._add_constant(turn, index)
            self._names.bind_all(carried, names)
            self.read(body)
            _, *results = body.outputs()
            names = self._names.of_all(results)
        self._names.bind_all(node.outputs(), names)

    def _unpack(self, node: Node) -> None:
        """Let the results of a node that takes a list or tuple apart go by its items' names."""
        container = self._names.of(node.input())
        parts = self._names.parts[container]
        number = node.outputsSize()
        if len(parts) != number:
            raise NoProgramError(
                f"it takes {number} values out of a list of {len(parts)}"
            )
        self._names.bind_all(node.outputs(), parts)

    def _compute(self, node: Node) -> None:
        """Read a node that writes into nothing.

        Raises:
            NoProgramError: it runs code that is no operator of torch's own.
        """
        values = captured_values(node)
        call = node_call(node, values)
        takes = self._names.of_all(values)
        constants = self._steps.constants
        answer = self._examples.answer(node.kind(), call, takes, constants)
        if answer is not None:
            self._add_constant(node.output(), answer)
            return
        site, norm = self._role(node, takes)
        outputs = list(node.outputs())
        later_outputs = outputs[1:]
        if norm is not None and not any(value.uses() for value in later_outputs):
            # Some normalisations also return statistics: a step of one output can be replaced.
            call, outputs = _first_of(call), outputs[:1]
        parts = self._parts_of(node)
        gives = [self._names.fresh(value) for value in outputs]
        step = Step(
            op=node.kind(),
            takes=tuple(takes),
            gives=tuple(gives),
            run=call,
            site=site,
            norm=norm,
        )
        self._steps.add(step, is_random=is_random(node))
        if not any(node.blocks()):
            self._examples.note(call, takes, gives, constants)
        if parts is not None:
            self._names.parts[gives[0]] = parts

    def _role(self, node: Node, takes: Sequence[str]) -> tuple[str | None, Norm | None]:
        """Return the site that a node is a call of, and the statistics that it normalises by.

        Both are None where more than its data changes from run to run.
        """
        site, data = None, None
        norm = None
        if node.outputsSize() == 1:
            number = node.output().unique()
            site, data = self._site_calls.get(number, (None, None))
        kind = node.kind()
        if kind in NORMS:
            arguments = [*node.inputs()][:ARGUMENTS]
            contents = [self._constant(value) for value in arguments]
            norm = stored_statistics(kind, contents)
        if norm is not None:
            data = node.inputsAt(0)
        constants = self._steps.constants
        changing = {name for name in takes if name not in constants}
        if data is None:
            return None, None
        own_name = self._names.of(data)
        if changing != {own_name}:
            return None, None
        return site, norm

    def _parts_of(self, node: Node) -> tuple[str, ...] | None:
        """Return the names of the items that a list, tuple or dictionary is put together from."""
        kind = node.kind()
        if kind in ("prim::ListConstruct", "prim::TupleConstruct"):
            names = self._names.of_all(node.inputs())
            return tuple(names)
        if kind == "prim::DictConstruct":
            keys_and_contents = list(node.inputs())
            contents = keys_and_contents[1::2]
            return tuple(self._names.of_all(contents))
        return None

    def _output_names(self, name: str) -> Iterator[str]:
        """Yield the names of the tensors and numbers in an output; text and None are no outputs."""
        kind = self._names.type_of(name).kind()
        parts = self._names.parts.get(name)
        if parts is not None:
            for part in parts:
                yield from self._output_names(part)
        elif name in self._steps.constants:
            for content in leaves(self._steps.constants[name]):
                leaf = self._names.new(name, None)
                self._steps.constants[leaf] = content
                yield leaf
        elif kind == "TupleType":
            for item in self._unpacked(name):
                yield from self._output_names(item)
        elif kind in ("ListType", "DictType"):
            raise NoProgramError(
                "how many outputs it has is known only once it has run"
            )
        elif kind not in ("NoneType", "StringType"):
            yield name

    def _unpacked(self, name: str) -> tuple[str, ...]:
        """Add a step that takes a tuple apart, and return the names of its items."""
        kind = self._names.type_of(name)
        items = tuple(self._names.new(name, element) for element in kind.elements())
        unpacking = Step(
            op="prim::TupleUnpack",
            takes=(name,),
            gives=items,
            run=tuple,
        )
        self._steps.add(unpacking, is_random=False)
        return items


def _data_of(layer: LayerNode) -> Value | None:
    """Return the value that a layer is applied to; None for a product that is more than a layer."""
    node = layer.node
    if node.kind() != "aten::addmm":
        return node.inputsAt(0)
    scales = [literal(node.inputsAt(position)) for position in (3, 4)]
    if scales != [1, 1]:
        return None
    return node.inputsAt(1)


def _first_of(call: NodeCall) -> NodeCall:
    return lambda *contents: call(*contents)[:1]
