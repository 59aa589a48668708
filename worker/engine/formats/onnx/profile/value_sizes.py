"""Which values of a graph have sizes that the values of its inputs may decide.

Such are the rows behind a NonZero or a NonMaxSuppression. Sizes that are computed from shapes, as
exporters write them, follow from the shapes of the inputs.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType

from onnx import GraphProto, NodeProto

from worker.engine.formats.onnx.graph import operator, stored_names, subgraphs

_OF_SHAPES = ("Shape", "Size")
_ROWS = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
"""Operators whose results have as many rows as the values of their operands say."""
_SIZES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "AffineGrid": (1,),
        "BlackmanWindow": (0,),
        "CenterCropPad": (1,),
        "Col2Im": (1,),
        "ConstantOfShape": (0,),
        "DFT": (1,),
        "Expand": (1,),
        "HammingWindow": (0,),
        "HannWindow": (0,),
        "MaxUnpool": (2,),
        "OneHot": (1,),
        "Pad": (1,),
        "Range": (0, 1, 2),
        "Reshape": (1,),
        "Resize": (1, 2, 3),
        "STFT": (1, 3),
        "Slice": (1, 2, 3, 4),
        "Split": (1,),
        "SplitToSequence": (1,),
        "Tile": (1,),
        "TopK": (1,),
        "Upsample": (1,),
    }
)
"""The operands whose values are, or decide, the sizes of an operator's results."""
_MOST_PASSES = 8
"""What a loop's body gives to its next run is known after a pass, and so on through inner loops."""


@dataclass
class ValueSizes:
    """What values of the inputs decide in a graph and its bodies, by name.

    These are the `values` that follow from them, and those whose `sizes` do. `loops` are the
    outputs of nodes whose bodies run as often as values say.
    """

    values: set[str] = field(default_factory=set)
    sizes: set[str] = field(default_factory=set)
    loops: set[str] = field(default_factory=set)

    @property
    def number(self) -> int:
        """How much is known."""
        return len(self.values) + len(self.sizes) + len(self.loops)


def value_sizes(graph: GraphProto, stated: Set[str] = frozenset()) -> ValueSizes:
    """Return the values, sizes and loops that a main graph's inputs decide by their values.

    Names must be unique.

    The values of `stated` inputs are bound to them, as shapes are: they decide nothing anew.

    >>> from onnx import parser
    >>> text = "g (float[n] x) => (float[m] y) { i = NonZero(x) s = Shape(x) y = Gather(x, i) }"
    >>> sizes = value_sizes(parser.parse_graph(text))
    >>> sorted(sizes.sizes), "s" in sizes.values
    (['i', 'y'], False)
    """
    fixed = stored_names(graph) | stated
    known = ValueSizes()
    known.values.update(value.name for value in graph.input if value.name not in fixed)
    for _ in range(_MOST_PASSES):
        before = known.number
        _follow(graph.node, known)
        if known.number == before:
            break
    return known


def _follow(nodes: Iterable[NodeProto], known: ValueSizes) -> None:
    """Add the results of nodes, which are in the order of their runs."""
    for node in nodes:
        bodies = list(subgraphs(node))
        for body in bodies:
            _enter(node, body, known)
        operands = set(node.input)
        for body in bodies:
            operands.update(output.name for output in body.output)
        has_sizes = not operands.isdisjoint(known.sizes)
        has_values = has_sizes or not operands.isdisjoint(known.values)
        results = {name for name in node.output if name}
        if operator(node) in _OF_SHAPES:
            # A shape follows from values only where these decide it.
            if has_sizes:
                known.values |= results
            continue
        if has_values:
            known.values |= results
        if has_sizes or _decides_sizes(node, known):
            known.sizes |= results


def _decides_sizes(node: NodeProto, known: ValueSizes) -> bool:
    """Return whether values decide the sizes of a node's results, but those of its operands."""
    kind = operator(node)
    if kind in _ROWS:
        return not known.values.isdisjoint(node.input)
    if kind == "If":
        return not known.values.isdisjoint(node.input[:1])
    if any(subgraphs(node)):
        return not known.loops.isdisjoint(node.output)
    places = _SIZES.get(kind, ())
    deciding = {node.input[place] for place in places if place < len(node.input)}
    return not known.values.isdisjoint(deciding)


def _enter(node: NodeProto, body: GraphProto, known: ValueSizes) -> None:
    """Follow a body, whose inputs have what the operands of its node and its own results have."""
    operands = {*node.input, *(output.name for output in body.output)}
    inner = {value.name for value in body.input}
    if not operands.isdisjoint(known.values):
        known.values |= inner
    if not operands.isdisjoint(known.sizes):
        known.sizes |= inner
    if operator(node) == "Loop":
        # The counter and the condition are no carried values.
        own = {value.name for value in body.input[:2]}
        known.values -= own
        known.sizes -= own
    _follow(body.node, known)
    if _runs_by_values(node, body, known):
        known.loops.update(name for name in node.output if name)


def _runs_by_values(node: NodeProto, body: GraphProto, known: ValueSizes) -> bool:
    """Return whether values decide how often a node's body runs, or whether it does."""
    kind = operator(node)
    if kind == "Loop":
        condition = body.output[0].name if body.output else ""
        deciding = {*node.input[:2], condition}
        return not known.values.isdisjoint(deciding)
    if kind == "If":
        return not known.values.isdisjoint(node.input)
    return not known.sizes.isdisjoint(node.input)
