"""Weights that follow from parameters alone, computed once: constants of the graph.

Normalised weights are of this kind (`weight_norm`, `spectral_norm`, weight standardisation), and so
are slices and products of parameters. A constant can be taken back, so that a module keeps
computing the weights of layers that stay as they are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import product, takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C import Node, Value

from worker.engine.formats.aten.errors import TORCH_ERRORS
from worker.engine.formats.aten.layers import UNKNOWN
from worker.engine.formats.torchscript.execution.node_call import node_call
from worker.engine.formats.torchscript.graph import nodes
from worker.engine.formats.torchscript.layers import computed_operands
from worker.engine.formats.torchscript.method import Method, join, parent
from worker.engine.formats.torchscript.operators import is_random, written_values
from worker.engine.program import NoProgramError

_LEAVES = frozenset({"prim::Constant", "prim::GetAttr"})


@dataclass(frozen=True)
class Computed:
    """A value of a graph that follows from parameters, and the constant that stands for it.

    `parameters` are the paths from the root of the parameters that it follows from.
    """

    constant: Value
    original: Value
    parameters: tuple[str, ...]

    def take_back(self) -> None:
        """Let the graph compute the value at each run again."""
        self.constant.replaceAllUsesWith(self.original)


def compute(methods: Sequence[Method]) -> list[Computed]:
    """Put constants in the places of weights and biases that follow from parameters alone."""
    weights: dict[str, Tensor] = {}
    computed: list[Computed] = []
    for method in methods:
        folding = _Folding(method, weights)
        computed += folding.folded()
        method.superseded.update(folding.unused())
    return computed


class _Fact(NamedTuple):
    """What is known of a value that no input changes.

    `sources` are the tensors of the module that it follows from, by path. `recipe` tells how: the
    values of one recipe are the same.
    """

    content: Any
    sources: Mapping[str, Value]
    recipe: str


class _Folding:
    """The values of one method that no input changes.

    `weights` are the tensors that were computed so far, by recipe: layers that share parameters
    share the weight.
    """

    def __init__(self, method: Method, weights: dict[str, Tensor]) -> None:
        self._method = method
        self._weights = weights
        self._facts: dict[int, _Fact] = {}
        # By the numbers of their outputs, in order: the nodes that no input changes.
        self._settled: dict[int, Node] = {}
        for node in nodes(method.graph):
            if self._is_settled(node):
                outputs = node.outputs()
                self._settled |= {value.unique(): node for value in outputs}
        positions = enumerate(self._settled)
        self._order = {number: index for index, number in positions}

    def folded(self) -> Iterator[Computed]:
        """Put the constants into the graph, and yield them."""
        for node in list(nodes(self._method.graph)):
            for position in computed_operands(node, self._method):
                value = node.inputsAt(position)
                if value.unique() in self._settled:
                    yield from self._replaced(node, position, value)

    def unused(self) -> set[int]:
        """Return the values that nothing needs any more, since constants stand for what follows."""
        unused: set[int] = set()
        for number, node in reversed(self._settled.items()):
            users: list[Node] = []
            for value in node.outputs():
                users += [use.user for use in value.uses()]
            if node.kind() not in _LEAVES and all(
                _is_among(user, unused) for user in users
            ):
                unused.add(number)
        return unused

    def _is_settled(self, node: Node) -> bool:
        """Whether the outputs of a node follow from parameters and constants."""
        kind = node.kind()
        if kind in _LEAVES:
            return True
        if any(node.blocks()) or not node.outputsSize() or kind == "prim::Param":
            return False
        has_settled = all(value.unique() in self._settled for value in node.inputs())
        return has_settled and not written_values(node) and not is_random(node)

    def _replaced(self, node: Node, position: int, value: Value) -> Iterator[Computed]:
        """Put a constant in the place of an operand, where its content can be told."""
        try:
            for inner in self._needed(value):
                self._evaluate(inner)
        except (NoProgramError, *TORCH_ERRORS):
            return
        fact = self._facts[value.unique()]
        source_values = fact.sources.values()
        is_written = self._is_written(source_values)
        content = fact.content
        if not isinstance(content, Tensor) or not fact.sources or is_written:
            return
        copy = content.detach().clone()
        weight = self._weights.setdefault(fact.recipe, copy)
        graph: Any = self._method.graph  # torch's stubs lack some of its methods
        constant = graph.insertConstant(weight)
        source = value.node()
        constant.node().moveAfter(source)
        node.replaceInput(position, constant)
        # What follows from the operand follows from its constant too.
        number = constant.unique()
        self._facts[number] = fact
        paths = tuple(fact.sources)
        self._method.computed[number] = layer_path(paths)
        yield Computed(constant, value, paths)

    def _needed(self, value: Value) -> list[Node]:
        """Return the nodes that a value needs and that were not evaluated yet, in order."""
        needed: dict[int, Node] = {}
        waiting = [value.unique()]
        while waiting:
            number = waiting.pop()
            if number in needed or number in self._facts:
                continue
            node = self._settled[number]
            needed[number] = node
            if node.kind() not in _LEAVES:
                waiting += [each.unique() for each in node.inputs()]
        return [
            needed[number] for number in sorted(needed, key=self._order.__getitem__)
        ]

    def _evaluate(self, node: Node) -> None:
        """Note the facts of a node's outputs.

        Raises:
            NoProgramError: a method writes what it reads, or it runs code of the file's own.
        """
        if node.kind() in _LEAVES:
            output = node.output()
            number = output.unique()
            self._facts[number] = self._stored(output)
            return
        by_number = {each.unique(): each for each in node.inputs()}
        inputs = list(by_number.values())
        facts = [self._facts[each.unique()] for each in inputs]
        call = node_call(node, inputs)
        with torch.no_grad():
            contents = [fact.content for fact in facts]
            results = call(*contents)
        sources: dict[str, Value] = {}
        for fact in facts:
            sources.update(fact.sources)
        own_recipes = [self._facts[each.unique()].recipe for each in node.inputs()]
        recipes = ",".join(own_recipes)
        described = f"{node.kind()}({recipes})"
        recipe = sha256(described.encode()).hexdigest()
        outputs = zip(node.outputs(), results, strict=True)
        numbered = enumerate(outputs)
        for index, (output, result) in numbered:
            self._facts[output.unique()] = _Fact(result, sources, f"{recipe}[{index}]")

    def _stored(self, value: Value) -> _Fact:
        """Return what is known of a constant of the graph or an attribute of the module.

        Raises:
            NoProgramError: some method writes the attribute, or it is a module.
        """
        if value.node().kind() == "prim::Constant":
            content = value.toIValue()
            return _Fact(content, {}, repr(content))
        path = self._method.path_of(value)
        content = self._method.constant(value)
        if path is None or content is UNKNOWN:
            raise NoProgramError("its content may change from run to run")
        sources = {path: value} if isinstance(content, Tensor) else {}
        return _Fact(content, sources, path)

    def _is_written(self, values: Iterable[Value]) -> bool:
        """Whether the method writes into the memory of one of these tensors."""
        aliases, written = self._writes
        return any(
            aliases.may_contain_alias(*pair) for pair in product(values, written)
        )

    @cached_property
    def _writes(self) -> tuple[Any, list[Value]]:
        graph: Any = self._method.graph  # torch's stubs lack this method
        written = []
        for node in nodes(graph):
            if any(node.blocks()):
                continue
            # a list of tensors is written without them, except by these operators
            writes_items = node.kind().startswith("aten::_foreach")
            written += [
                each
                for each in written_values(node)
                if writes_items or _is_tensor(each)
            ]
        return graph.alias_db(), written


def _is_among(node: Node, unused: set[int]) -> bool:
    """Whether a node gives nothing but unused values."""
    outputs = [value.unique() for value in node.outputs()]
    return bool(outputs) and unused.issuperset(outputs)


def _is_tensor(value: Value) -> bool:
    return value.type().kind() == "TensorType"


def layer_path(paths: Sequence[str]) -> str:
    """Return the path that a layer's weight would have if it were stored.

    >>> layer_path(["body.conv.weight_g", "body.conv.weight_v"])
    'body.conv.weight'
    >>> layer_path(["conv.parametrizations.weight.original0"])
    'conv.weight'
    """
    owners = [parent(path.replace("parametrizations.", "", 1)) for path in paths]
    if len(paths) == 1 and "parametrizations." not in paths[0]:
        return paths[0]
    names = [owner.split(".") for owner in owners]
    levels = zip(*names, strict=False)
    shared = takewhile(lambda level: len(set(level)) == 1, levels)
    name = ".".join(level[0] for level in shared)
    if name.endswith("weight"):
        return name
    return join(name, "weight")
