"""The lengths of loops that the shapes of the inputs decide, as of a loop over an axis of an input.

Exporters write them in two ways: with a limit that is computed from a Shape, or with a condition
that compares a counter with one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from worker.engine.formats.onnx.constants import Constant
from worker.engine.formats.onnx.graph import (
    fresh_name,
    input_name,
    is_random,
    names,
    operator,
    own_opset,
    stored_names,
    subgraphs,
)
from worker.engine.formats.onnx.profile.node_use import cost_operands
from worker.engine.formats.onnx.profile.trip_count import trip_count
from worker.engine.formats.onnx.shapes import Shapes, measure_values
from worker.engine.model import Inputs

MOST_RUNS = 2**16
"""A count must not take as long as the longest loop that a file can ask for."""

# Older operators cannot bound a limit.
_FIRST_OPSET = 9
_OF_A_SHAPE = ("Shape", "Size")


def measure_lengths(
    model: ModelProto,
    known: Mapping[str, Constant],
    shapes: Shapes,
    inputs: Inputs,
    source: Path,
) -> dict[str, int]:
    """Return the lengths of loops in the main graph that `shapes` decide, from one run.

    They go by the first output of each Loop. `known` holds the constants of the graph.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the model for any inputs.
        InputShapeError: the runtime cannot run the model on these inputs.
    """
    if own_opset(model) < _FIRST_OPSET:
        return {}
    probe = ModelProto()
    probe.CopyFrom(model)
    used = names(probe.graph)
    of_graph = _Values.of(probe.graph, shapes)
    counters = {}
    for node in list(probe.graph.node):
        if operator(node) != "Loop" or trip_count(node, known, shapes) is not None:
            continue
        # ONNX Runtime crashes where outputs are left out before others.
        if not all(node.output):
            continue
        if _has_layers(node) and _ends_by_shapes(node, of_graph):
            counters[node.output[0]] = _return_counter(node, used)
            _limit(node, probe.graph, used)
    if not counters:
        return {}
    results = measure_values(probe, list(counters.values()), inputs, source)
    lengths = {loop: len(results[counter]) for loop, counter in counters.items()}
    return {loop: length for loop, length in lengths.items() if length < MOST_RUNS}


@dataclass(frozen=True)
class _Values:
    """The values of a graph, by what they are computed from."""

    producers: Mapping[str, NodeProto]
    stored: frozenset[str]
    shapes: Shapes

    @classmethod
    def of(cls, graph: GraphProto, shapes: Shapes) -> "_Values":
        producers: dict[str, NodeProto] = {}
        for node in graph.node:
            producers.update(dict.fromkeys(node.output, node))
        return cls(producers, frozenset(stored_names(graph)), shapes)

    def with_body(self, body: GraphProto) -> "_Values":
        """Return these values and those of a body, of which no shapes are known."""
        own = _Values.of(body, {})
        return _Values(
            {**self.producers, **own.producers}, self.stored | own.stored, self.shapes
        )

    def follows(self, name: str, fixed: frozenset[str] = frozenset()) -> bool:
        """Return whether a value follows from stored and `fixed` ones and known shapes alone."""
        pending = {name}
        seen = {"", *self.stored, *fixed}
        while pending - seen:
            current = min(pending - seen)
            seen.add(current)
            producer = self.producers.get(current)
            # Inputs differ from call to call, and a body may read any value.
            if producer is None or any(subgraphs(producer)):
                return False
            if is_random(producer):
                return False
            if operator(producer) not in _OF_A_SHAPE:
                pending.update(producer.input)
            elif self.shapes.get(input_name(producer, 0)) is None:
                return False
        return True


def _has_layers(loop: NodeProto) -> bool:
    """Return whether a body has anything to count: the length of others is of no interest."""
    body = next(subgraphs(loop), None)
    return body is not None and any(cost_operands(node) for node in body.node)


def _ends_by_shapes(loop: NodeProto, of_graph: _Values) -> bool:
    """Return whether stored values and shapes decide when a loop ends.

    What it carries does, where it starts so and each run computes it from such values alone. So
    must its first condition, which decides whether it runs at all.
    """
    body = next(subgraphs(loop))
    if not body.input:
        return False
    counter, *carried = [value.name for value in body.input]
    starts = list(loop.input[1:])
    ends = [value.name for value in body.output]
    if not all(map(of_graph.follows, loop.input[:2])) or not ends:
        return False
    of_body = of_graph.with_body(body)
    triples = list(zip_longest(carried, starts, ends[: len(carried)], fillvalue=""))
    fixed = frozenset(inner for inner, start, _ in triples if of_graph.follows(start))
    while True:
        known = fixed | {counter}
        left = frozenset(
            inner
            for inner, _, end in triples
            if inner in fixed and of_body.follows(end, known)
        )
        if left == fixed:
            return of_body.follows(ends[0], known)
        fixed = left


def _limit(loop: NodeProto, graph: GraphProto, used: set[str]) -> None:
    """Let a loop run `MOST_RUNS` times at most."""
    most = fresh_name("most", used)
    graph.initializer.append(
        helper.make_tensor(most, TensorProto.INT64, [], [MOST_RUNS])
    )
    own = loop.input[0]
    if not own:
        loop.input[0] = most
        return
    is_less = fresh_name("is_less", used)
    limit = fresh_name("limit", used)
    # Min takes no whole numbers before opset 12.
    nodes = [
        helper.make_node("Less", [own, most], [is_less]),
        helper.make_node("Where", [is_less, own, most], [limit]),
    ]
    position = next(index for index, node in enumerate(graph.node) if node is loop)
    loop.input[0] = limit
    for node in reversed(nodes):
        graph.node.insert(position, node)


def _return_counter(loop: NodeProto, used: set[str]) -> str:
    """Let a loop return the numbers of its runs; return the name of its output."""
    body = next(subgraphs(loop))
    inner = fresh_name("run", used)
    body.node.append(helper.make_node("Identity", [body.input[0].name], [inner]))
    body.output.append(helper.make_tensor_value_info(inner, TensorProto.INT64, None))
    outer = fresh_name("runs", used)
    loop.output.append(outer)
    return outer
