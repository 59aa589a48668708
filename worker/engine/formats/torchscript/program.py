"""Reading the forward method of a TorchScript module into a program: a step for each node that depends on an input.

In evaluation mode. Branches whose condition depends on no input are taken, and loops whose number of turns depends on
none are unrolled; all others are one step each, run by torch's own interpreter.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch._C import Block, Node, Value

from worker.engine.formats.torchscript import execute as runs
from worker.engine.formats.torchscript.eval_mode import NORMS, evaluation, literal
from worker.engine.formats.torchscript.file import TORCH_ERRORS, message_of
from worker.engine.formats.torchscript.graph import UNKNOWN, Scope, attribute
from worker.engine.formats.torchscript.layers import Identity, Key, Use, key_of, uses
from worker.engine.numerics import device
from worker.engine.program import NoProgramError, Norm, Program, Step

_MOST_VALUES = 50_000  # loops can unroll to any number
_HALF = (torch.float16, torch.bfloat16)
_UNPACKS = frozenset({"prim::ListUnpack", "prim::TupleUnpack"})
# Lists that are surely no other list by another name come from these, and from most operators.
_FRESH = frozenset({"prim::ListConstruct", "prim::DictConstruct"})
_ITEMS = frozenset({"aten::__getitem__", "aten::get", "aten::pop"})
# What keeps a list that it takes, so that the list has another name from there on.
_KEEPERS = frozenset(
    {"prim::ListConstruct", "prim::TupleConstruct", "prim::DictConstruct", "prim::Return"}
)


def read(forward: Scope, sites: Mapping[Identity, str], inputs: Sequence[str]) -> Program:
    """Read the graph of a forward method, which stays as it is; `sites` are the names of the sites by identity.

    Weights share memory with the module. Those in half precision become float32, and so does what the graph converts
    to half precision; inputs are to be given accordingly. What a module writes into its own buffers lasts for one run.

    Raises:
        NoProgramError: code that is no operator of torch's own, state that is kept from one call to the next, or
            outputs whose number only a run can tell.
    """
    reader = _Reader(evaluation(forward), sites)
    reader.take(inputs)
    reader.read(reader.scope.graph.block())
    return reader.program(inputs)


class _Reader:
    """What is known so far, while the nodes are read in the order in which they run.

    A value of the graph has another name in the program whenever it changes: in each turn of a loop that is unrolled,
    and after something was written into it.
    """

    def __init__(self, scope: Scope, sites: Mapping[Identity, str]) -> None:
        self.scope = scope
        self._aliases: Any = scope.graph.alias_db()
        self._names: dict[int, str] = {}
        self._bound: dict[str, dict[int, Value]] = {}  # the values of the graph that go by a name
        self._types: dict[str, Any] = {}
        self._versions: Counter[str] = Counter()
        self._constants: dict[str, Any] = {}
        self._parts: dict[
            str, tuple[str, ...]
        ] = {}  # of lists, tuples and dictionaries that the graph puts together
        self._moved: dict[Key, Tensor] = {}  # to single precision, or to the device
        self._steps: list[Step] = []
        self._calls = {
            use.node.output().unique(): (sites[use.identity], _data(use))
            for use in uses(scope)
            if use.weight is not None and use.identity in sites
        }

    def take(self, inputs: Sequence[str]) -> None:
        """Name the inputs; other arguments of the method keep their defaults."""
        method = self.scope.module._c._get_method("forward")
        for argument, value in zip(
            method.schema.arguments[1:], list(self.scope.graph.inputs())[1:], strict=True
        ):
            if argument.name in inputs:
                self._types[argument.name] = value.type()
                self._bind(value, argument.name)
            else:
                self._know(value, argument.default_value)

    def read(self, block: Block) -> None:
        """Read the nodes of a block."""
        for node in block.nodes():
            kind = node.kind()
            if kind in ("prim::Constant", "prim::Uninitialized"):
                self._know(node.output(), node.output().toIValue())
            elif kind == "prim::GetAttr":
                self._get(node)
            elif kind == "prim::If" and self._constant(node.inputsAt(0)) is not UNKNOWN:
                self._branch(node)
            elif kind == "prim::Loop" and self._turns(node) is not None:
                self._unroll(node)
            elif kind in _UNPACKS and self._name(node.input()) in self._parts:
                self._unpack(node)
            elif kind == "aten::append" and self._name(node.inputsAt(0)) in self._parts:
                self._append(node)
            elif runs.written(node):
                self._write(node)
            elif node.outputsSize():
                self._compute(node)

    def program(self, inputs: Sequence[str]) -> Program:
        """Return the steps that the outputs need."""
        outputs = tuple(
            name for value in self.scope.graph.outputs() for name in self._flat(self._name(value))
        )
        needed, steps = set(outputs), []
        for step in reversed(self._steps):
            if not needed.isdisjoint(step.gives):
                needed.update(step.takes)
                steps.append(step)
        constants = {name: value for name, value in self._constants.items() if name in needed}
        return Program(tuple(inputs), outputs, constants, tuple(reversed(steps)))

    def _fresh(self, value: Value) -> str:
        """Give a value a name that nothing has had."""
        name = self._new_name(f"%{value.debugName()}", value.type())
        self._bind(value, name)
        return name

    def _new_name(self, stem: str, kind: Any) -> str:  # noqa: ANN401 - torch names no common type of its types
        if len(self._types) >= _MOST_VALUES:
            raise NoProgramError(
                f"it has more than {_MOST_VALUES} values once its loops are unrolled"
            )
        self._versions[stem] += 1
        name = stem if self._versions[stem] == 1 else f"{stem}:{self._versions[stem]}"
        self._types[name] = kind
        return name

    def _bind(self, value: Value, name: str) -> None:
        self._forget(value)
        self._names[value.unique()] = name
        self._bound.setdefault(name, {})[value.unique()] = value

    def _forget(self, value: Value) -> None:
        name = self._names.pop(value.unique(), None)
        if name is not None:
            del self._bound[name][value.unique()]

    def _know(self, value: Value, content: Any) -> None:  # noqa: ANN401 - whatever the graph holds
        """Name a value that depends on no input."""
        if isinstance(content, torch.device):  # what a trace made where it was traced
            content = torch.device(device.chosen())
        self._constants[self._fresh(value)] = runs.mapped(content, self._weight)

    def _weight(self, tensor: Tensor) -> Tensor:
        """Return a stored tensor as it is computed with, the same one for the same one."""
        if tensor.dtype not in _HALF and device.chosen() == device.PROCESSOR:
            return tensor.detach()
        exact = tensor.detach().float() if tensor.dtype in _HALF else tensor.detach()
        return self._moved.setdefault(key_of(tensor), device.placed(exact))

    def _name(self, value: Value) -> str:
        name = self._names.get(value.unique())
        if name is None:
            raise NoProgramError(
                f"it hands on a {value.type()}, which is neither a tensor nor a number"
            )
        return name

    def _constant(self, value: Value) -> Any:  # noqa: ANN401 - whatever the graph holds
        """Return what a value holds at every run, or `UNKNOWN`."""
        return self._constants.get(self._name(value), UNKNOWN)

    def _get(self, node: Node) -> None:
        """Read an attribute; modules are only passed through on the way to theirs."""
        if node.output().type().kind() in ("ClassType", "InterfaceType"):
            return
        path = self.scope.path_of(node.output())
        if path is None:
            raise NoProgramError(f"it reads {node.s('name')} of something that is no module")
        if path in self.scope.written:
            raise NoProgramError(f"it keeps state from one call to the next: {path}")
        self._know(
            node.output(), node.s("name") != "training" and attribute(self.scope.module, path)
        )

    def _branch(self, node: Node) -> None:
        """Read the branch that every run takes."""
        taken = list(node.blocks())[0 if self._constant(node.inputsAt(0)) else 1]
        self.read(taken)
        for value, result in zip(node.outputs(), taken.outputs(), strict=True):
            self._bind(value, self._name(result))

    def _turns(self, node: Node) -> int | None:
        """Return how often a loop runs, or None where it depends on the run."""
        turns, begins = (self._constant(value) for value in list(node.inputs())[:2])
        goes_on = next(iter(next(iter(node.blocks())).outputs()))
        return (
            turns
            if isinstance(turns, int) and begins is True and literal(goes_on) is True
            else None
        )

    def _unroll(self, node: Node) -> None:
        body = next(iter(node.blocks()))
        turn, *carried = body.inputs()
        names = [self._name(value) for value in list(node.inputs())[2:]]
        for index in range(self._turns(node) or 0):
            self._know(turn, index)
            for value, name in zip(carried, names, strict=True):
                self._bind(value, name)
            self.read(body)
            names = [self._name(value) for value in list(body.outputs())[1:]]
        for value, name in zip(node.outputs(), names, strict=True):
            self._bind(value, name)

    def _unpack(self, node: Node) -> None:
        parts = self._parts[self._name(node.input())]
        if len(parts) != node.outputsSize():
            raise NoProgramError(
                f"it takes {node.outputsSize()} values out of a list of {len(parts)}"
            )
        for value, name in zip(node.outputs(), parts, strict=True):
            self._bind(value, name)

    def _compute(self, node: Node) -> None:
        """Read a node that writes into nothing."""
        values = runs.captured(node)
        run = runs.call(node, values)
        names = [self._name(value) for value in values]
        changing = {name for name in names if name not in self._constants}
        site, data = (
            self._calls.get(node.output().unique(), (None, None))
            if node.outputsSize() == 1
            else (None, None)
        )
        norm = self._norm(node) if node.kind() in NORMS else None
        if norm is not None:
            data = node.inputsAt(0)
        if data is None or changing != {self._name(data)}:
            site = norm = None
        outputs = list(node.outputs())
        if norm is not None and not any(value.uses() for value in outputs[1:]):
            run, outputs = _first_of(run), outputs[:1]
        parts = self._built(node)
        gives = [self._fresh(value) for value in outputs]
        self._add(
            Step(node.kind(), tuple(names), tuple(gives), run, site, norm), runs.is_random(node)
        )
        if parts is not None:
            self._parts[gives[0]] = parts

    def _built(self, node: Node) -> tuple[str, ...] | None:
        """Return the names of what a list, tuple or dictionary is put together from."""
        items = [self._name(value) for value in node.inputs()]
        if node.kind() in ("prim::ListConstruct", "prim::TupleConstruct"):
            return tuple(items)
        return tuple(items[1::2]) if node.kind() == "prim::DictConstruct" else None

    def _norm(self, node: Node) -> Norm | None:
        """Return the stored statistics that a node normalises by, or None for those of the data."""
        weight, bias, mean, variance, own, _, epsilon = (
            self._constant(value) for value in list(node.inputs())[1:8]
        )
        if own is not False and (own is UNKNOWN or mean is not None):
            raise NoProgramError(f"{node.kind()} may write into its statistics")
        if (
            own
            or mean is None
            or any(item is UNKNOWN for item in (weight, bias, mean, variance, epsilon))
        ):
            return None
        return Norm(mean, variance, weight, bias, epsilon)

    def _append(self, node: Node) -> None:
        """Read an append to a list of which every item is known by name."""
        items, item = node.inputs()
        self._require_alone(items, node)
        parts = (*self._parts[self._name(items)], self._name(item))
        name = self._rename(self._name(items))
        self._bind(node.output(), name)
        self._parts[name] = parts
        self._add(
            Step("prim::ListConstruct", parts, (name,), lambda *given: ([*given],)), is_random=False
        )

    def _write(self, node: Node) -> None:
        """Read a node that writes: it runs on copies, and whatever it changes has another name from there on."""
        values = runs.captured(node)
        written = runs.written(node)
        lists = self._reached(node, values, [value for value in written if _is_list(value)])
        lists = [index for index in lists if _is_list(values[index])]
        targets = self._reached(node, values, [value for value in written if not _is_list(value)])
        call = runs.call(node, values, lists)
        for index in lists:
            self._require_alone(values[index], node)
        for value in node.outputs():
            self._forget(value)
        names = [self._name(value) for value in values]
        changed = dict.fromkeys(
            [*(names[index] for index in targets), *self._sharing([values[i] for i in targets])]
        )
        for index in lists:
            changed.pop(names[index], None)
        takes = [*names, *(name for name in changed if name not in names)]
        run = runs.writing(call, len(values), targets, [takes.index(name) for name in changed])
        outputs = [self._fresh(value) for value in node.outputs()]
        outputs += [self._rename(names[index]) for index in lists]
        renamed = {name: self._rename(name) for name in changed}
        for old, new in renamed.items():
            if old in self._parts:
                self._parts[new] = tuple(renamed.get(part, part) for part in self._parts[old])
        self._add(
            Step(node.kind(), tuple(takes), (*outputs, *renamed.values()), run),
            runs.is_random(node),
        )

    def _reached(self, node: Node, values: Sequence[Value], written: Sequence[Value]) -> list[int]:
        """Return where those values stand that are written, or may be, by another name, inside a branch or loop."""
        own = {value.unique() for value in written}
        inside = any(node.blocks())
        return [
            index
            for index, value in enumerate(values)
            if value.unique() in own or (inside and self._may_share(value, written))
        ]

    def _rename(self, name: str) -> str:
        """Give all values that go by a name another one."""
        first, *others = self._bound[name].values()
        new = self._fresh(first)
        for value in others:
            self._bind(value, new)
        return new

    def _may_share(self, value: Value, others: Sequence[Value]) -> bool:
        return any(self._aliases.may_contain_alias(value, other) for other in others)

    def _sharing(self, targets: Sequence[Value]) -> Iterator[str]:
        """Yield the names of what may lie in the memory of the targets and is read at some time."""
        if not targets:
            return
        contents = [self._constant(value) for value in targets]
        memories = {runs.memory(tensor) for content in contents for tensor in runs.tensors(content)}
        for name, values in list(self._bound.items()):
            if name in self._constants:
                if any(
                    runs.memory(tensor) in memories
                    for tensor in runs.tensors(self._constants[name])
                ):
                    yield name
            elif any(value.uses() and self._may_share(value, targets) for value in values.values()):
                yield name

    def _require_alone(self, value: Value, writer: Node) -> None:
        """Check that a list which is written into has no other name."""
        maker = value.node()
        is_fresh = (
            maker.kind().startswith("aten::")
            and maker.kind() not in _ITEMS
            and not runs.written(maker)
        )
        kept = any(
            use.user.kind() in _KEEPERS or (use.offset and runs.written(use.user))
            for use in value.uses()
            if use.user.isBefore(writer)
        )
        if kept or not (is_fresh or maker.kind() in _FRESH):
            raise NoProgramError(f"{writer.kind()} writes into a list that may have several names")

    def _add(self, step: Step, is_random: bool) -> None:
        """Add a step, or its results where they depend on no input."""
        known = self._constants
        if all(name in known for name in step.takes) and not is_random:
            try:
                with torch.no_grad():
                    known.update(
                        zip(
                            step.gives, step.run(*(known[name] for name in step.takes)), strict=True
                        )
                    )
            except TORCH_ERRORS as error:
                raise NoProgramError(f"{step.op} fails: {message_of(error)}") from error
            return
        is_taken = [name not in known or self._is_named(step, name) for name in step.takes]
        if not all(is_taken):
            given = [known.get(name) for name in step.takes]
            places = [index for index, taken in enumerate(is_taken) if taken]
            step = replace(
                step,
                takes=tuple(step.takes[index] for index in places),
                run=_filled(step.run, given, places),
            )
        self._steps.append(step)

    def _is_named(self, step: Step, name: str) -> bool:
        """Whether a step takes a constant by its name: tensors, but not those of a site or a normalisation."""
        return step.site is None and step.norm is None and isinstance(self._constants[name], Tensor)

    def _flat(self, name: str) -> Iterator[str]:
        """Yield the names of the tensors and numbers in an output, in order; text and None are no outputs."""
        kind = self._types[name].kind()
        if name in self._parts:
            for part in self._parts[name]:
                yield from self._flat(part)
        elif name in self._constants:
            for content in _leaves(self._constants[name]):
                leaf = self._new_name(name, None)
                self._constants[leaf] = content
                yield leaf
        elif kind == "TupleType":
            items = tuple(self._new_name(name, item) for item in self._types[name].elements())
            self._add(Step("prim::TupleUnpack", (name,), items, tuple), is_random=False)
            for item in items:
                yield from self._flat(item)
        elif kind in ("ListType", "DictType"):
            raise NoProgramError("how many outputs it has is known only once it has run")
        elif kind not in ("NoneType", "StringType"):
            yield name


def _is_list(value: Value) -> bool:
    return value.type().kind() in ("ListType", "DictType")


def _data(use: Use) -> Value | None:
    """Return what a call of a site takes; None for a product that is more than a linear layer."""
    node = use.node
    if node.kind() != "aten::addmm":
        return node.inputsAt(0)
    return node.inputsAt(1) if all(literal(node.inputsAt(index)) == 1 for index in (3, 4)) else None


def _first_of(run: runs.Call) -> runs.Call:
    return lambda *given: run(*given)[:1]


def _filled(
    run: Callable[..., Sequence[Any]], given: Sequence[Any], places: Sequence[int]
) -> Callable[..., Sequence[Any]]:
    """Return a call that takes the arguments at these places only; the others are given."""

    def filled(*values: Any) -> Sequence[Any]:  # noqa: ANN401 - whatever flows through the graph
        arguments = [*given]
        for place, value in zip(places, values, strict=True):
            arguments[place] = value
        return run(*arguments)

    return filled


def _leaves(value: Any) -> Iterator[Any]:  # noqa: ANN401 - whatever comes out
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, Tensor | int | float | complex):
        yield value
