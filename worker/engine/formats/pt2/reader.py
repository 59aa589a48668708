"""Read the graph of an exported program into a program, a step for each node.

Nodes that depend on no input are computed at once. Operators that write become ones that return a
new value, or write on copies.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.fx import Node
from torch.fx.node import map_arg

from worker.engine.formats.aten.copy_on_write import on_copies
from worker.engine.formats.aten.layers import TensorKey, tensor_key
from worker.engine.formats.aten.norms import (
    ARGUMENTS,
    NORMS,
    OWN_STATISTICS,
    stored_statistics,
)
from worker.engine.formats.aten.step_recorder import StepRecorder
from worker.engine.formats.pt2.execute import Conditional, by_predicate, run_conditional
from worker.engine.formats.pt2.flat import FlatGraph
from worker.engine.formats.pt2.graph import (
    HALF,
    arguments,
    copying,
    fixed_inputs,
    in_single_precision,
    is_check,
    is_random,
    kind,
    on_device,
    stored_tensors,
    written_nodes,
)
from worker.engine.formats.pt2.layers import LayerNode
from worker.engine.formats.pt2.shared_memory import SharedMemory, functional
from worker.engine.formats.pt2.training import is_idle_dropout
from worker.engine.numerics import device
from worker.engine.program import NoProgramError, Norm, Program, Step

_NORM_WITHOUT_MODE = "aten::_native_batch_norm_legit_no_training"
"""It normalises by stored statistics at every run, and does not ask whether to."""


def read(
    program: ExportedProgram,
    flat: FlatGraph,
    sites: Mapping[Node, tuple[str, LayerNode]],
) -> Program:
    """Read the flat graph of a program, which stays as it is.

    `sites` are the nodes that are calls of sites, with the site's name. Weights share memory with
    the program. Weights in half precision become float32, and so do conversions to half precision;
    inputs have to be float32 then. What a program writes into its buffers lasts for one run.

    Raises:
        NoProgramError: a normalisation may write into its statistics.
    """
    reader = _Reader(program, flat, sites)
    for node in flat.nodes:
        if node.op != "call_function":
            continue
        if is_check(node):
            reader.note_reads(node)
        else:
            reader.read(node)
    return reader.program()


class _Reader:
    """Reads nodes in the order in which they run, and records their steps."""

    def __init__(
        self,
        program: ExportedProgram,
        flat: FlatGraph,
        sites: Mapping[Node, tuple[str, LayerNode]],
    ) -> None:
        self._program = program
        self._flat = flat
        self._sites = sites
        self._steps = StepRecorder()
        self._names: dict[Node, str] = {}
        self._memory = SharedMemory(flat.graph)
        self._weights: dict[TensorKey, Tensor] = {}
        stored = stored_tensors(program)
        fixed = fixed_inputs(program)
        for node in flat.nodes:
            if node.op != "placeholder":
                continue
            self._names[node] = node.name
            if node.name in stored:
                _, tensor = stored[node.name]
                self._steps.constants[node.name] = self._weight(tensor)
            elif node.name in fixed:
                self._steps.constants[node.name] = fixed[node.name]

    def read(self, node: Node) -> None:
        """Read a node.

        Raises:
            NoProgramError: it may write into the statistics that it normalises by.
        """
        if node in self._names:
            return  # the result of a normalisation, which was read with it
        if is_idle_dropout(node):
            self._names[node] = self._names[node.all_input_nodes[0]]
            return
        written = written_nodes(node)
        if not written:
            self._compute(node)
            return
        target = functional(node)
        if target is not None and not self._memory.others_read_later(node, written):
            self._compute(node, target)
        else:
            self._write(node, written)

    def note_reads(self, node: Node) -> None:
        """Note what a check reads."""
        self._steps.note_reads(self._takes(node))

    def program(self) -> Program:
        """Return the steps that the outputs need."""
        inputs = []
        for input_spec in self._program.graph_signature.input_specs:
            is_fixed = isinstance(input_spec.arg, ConstantArgument)
            if input_spec.kind == InputKind.USER_INPUT and not is_fixed:
                inputs.append(input_spec.arg.name)
        outputs = []
        specs = self._program.graph_signature.output_specs
        for number, (output_spec, value) in enumerate(
            zip(specs, self._flat.outputs, strict=True)
        ):
            if output_spec.kind != OutputKind.USER_OUTPUT:
                # It is written into a buffer or an input, behind the arithmetic.
                if isinstance(value, Node):
                    self._steps.note_reads([self._names[value]])
                continue
            if isinstance(value, Node):
                outputs.append(self._names[value])
            elif not isinstance(output_spec.arg, ConstantArgument):
                raise NoProgramError("an output is no value of the graph")
            elif isinstance(output_spec.arg.value, int | float):
                name = f"output.{number}"
                self._steps.constants[name] = output_spec.arg.value
                outputs.append(name)
        return self._steps.program(inputs, outputs)

    def _compute(self, node: Node, target: Any = None) -> None:  # noqa: ANN401 - operators have no public type
        """Read a node that writes into nothing, or into what nothing else reads any more."""
        takes = self._takes(node)
        site, norm = self._role(node, takes)
        call = _call(node, target or node.target)
        # Some normalisations also return statistics: a step of one output can be replaced.
        if norm is not None and _has_statistics(node):
            call = _first_of(call)
            for user in node.users:
                self._names[user] = node.name
        self._names[node] = node.name
        step = Step(
            op=kind(node),
            takes=tuple(takes),
            gives=(node.name,),
            run=call,
            site=site,
            norm=norm,
        )
        self._steps.add(step, is_random=is_random(node))

    def _write(self, node: Node, written: Sequence[Node]) -> None:
        """Read a node that writes: whatever it changes has another name from there on."""
        inputs = node.all_input_nodes
        all_sharing = self._memory.sharing(written)
        sharing = [each for each in all_sharing if each in self._names]
        others = [each for each in sharing if each not in inputs]
        nodes = [*inputs, *others]
        targets = [position for position, each in enumerate(nodes) if each in written]
        changed = [position for position, each in enumerate(nodes) if each in sharing]
        takes = tuple(self._names[each] for each in nodes)
        call = _call(node, node.target)
        run = on_copies(call, len(inputs), targets, changed)
        self._names[node] = node.name
        gives = [node.name]
        for position in changed:
            other = nodes[position]
            name = f"{other.name}.{node.name}"
            self._names[other] = name
            gives.append(name)
        step = Step(op=kind(node), takes=takes, gives=tuple(gives), run=run)
        self._steps.add(step, is_random=is_random(node))

    def _takes(self, node: Node) -> list[str]:
        return [self._names[each] for each in node.all_input_nodes]

    def _role(self, node: Node, takes: Sequence[str]) -> tuple[str | None, Norm | None]:
        """Return the site that a node is a call of, and the statistics that it normalises by.

        Both are None where more than its data changes from run to run.
        """
        site, data, norm = None, None, None
        if node in self._sites:
            site, layer = self._sites[node]
            data = arguments(node)[layer.data]
        norm = self._statistics(node)
        if norm is not None:
            data = arguments(node)[0]
        changing = {name for name in takes if name not in self._steps.constants}
        if not isinstance(data, Node) or changing != {self._names[data]}:
            return None, None
        return site, norm

    def _statistics(self, node: Node) -> Norm | None:
        name = kind(node)
        if name == _NORM_WITHOUT_MODE:
            contents = arguments(node)
            contents.insert(OWN_STATISTICS, False)
        elif name in NORMS:
            contents = arguments(node)[:ARGUMENTS]
        else:
            return None
        if _has_statistics(node) and not _takes_first_alone(node):
            return None
        return stored_statistics(name, [self._content(value) for value in contents])

    def _content(self, value: Any) -> Any:  # noqa: ANN401 - whatever a graph holds
        """Return the value that an argument has at every run, or `UNKNOWN`."""
        if isinstance(value, Node):
            return self._steps.constant(self._names[value])
        return value

    def _weight(self, content: Any) -> Any:  # noqa: ANN401 - whatever a program stores
        """Return a stored tensor in single precision on the device, always the same one."""
        weight = content.detach()
        is_half = weight.dtype in HALF
        if not is_half and device.chosen() == device.PROCESSOR:
            return weight
        if is_half:
            weight = weight.float()
        return self._weights.setdefault(tensor_key(content), device.placed(weight))


def _call(node: Node, target: Any) -> Any:  # noqa: ANN401 - operators have no public type
    """Return a function from the contents of the nodes that a node takes to its only output."""
    inputs = node.all_input_nodes
    target = copying(target)
    own_args, own_kwargs = _here((node.args, node.kwargs))

    def call(*contents: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever flows through the graph
        values = dict(zip(inputs, contents, strict=True))
        args, kwargs = map_arg((own_args, own_kwargs), values.__getitem__)
        if isinstance(target, Conditional):
            return (run_conditional(target, args, _here, by_predicate),)
        return (target(*args, **kwargs),)

    return call


def _first_of(call: Any) -> Any:  # noqa: ANN401 - as above
    def first(*contents: Any) -> tuple[Any, ...]:  # noqa: ANN401 - as above
        (results,) = call(*contents)
        return (results[0],)

    return first


def _here(value: Any) -> Any:  # noqa: ANN401 - whatever a graph holds
    """Return arguments as calibration takes them: on its device, in single precision."""
    return in_single_precision(on_device(value, device.chosen()))


def _has_statistics(node: Node) -> bool:
    """Whether a normalisation returns the statistics behind its result."""
    return len(node.target._schema.returns) > 1  # type: ignore[union-attr]  # an operator of aten


def _takes_first_alone(node: Node) -> bool:
    """Whether only the first result of a node is read: torch lists the others all the same."""
    return all(user.args[1] == 0 or not user.users for user in node.users)
