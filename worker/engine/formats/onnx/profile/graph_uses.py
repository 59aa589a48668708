"""The uses of all nodes along an execution path, those in bodies included."""

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto

from worker.engine.formats.onnx.constants import Constant, constants
from worker.engine.formats.onnx.graph import (
    input_name,
    operator,
    sparse_names,
    subgraphs,
)
from worker.engine.formats.onnx.profile.body_shapes import measure_body_shapes
from worker.engine.formats.onnx.profile.loop_lengths import measure_lengths
from worker.engine.formats.onnx.profile.node_site import (
    CHEAPER,
    IN_BRANCH,
    counted_node,
)
from worker.engine.formats.onnx.profile.node_use import NodeUse, cost_operands
from worker.engine.formats.onnx.profile.trip_count import trip_count, true_conditions
from worker.engine.formats.onnx.profile.value_sizes import ValueSizes, value_sizes
from worker.engine.formats.onnx.shapes import (
    Shape,
    declared_shapes,
    infer_shapes,
    measure_shapes,
)
from worker.engine.model import Inputs

IN_FUNCTION = "it is inside a local function"
SPARSE = "its weight is sparse"


@dataclass(frozen=True)
class _Loops:
    """What a run showed of loops: their lengths by first output, and shapes in their bodies.

    `sized` is what values of the inputs decide.
    """

    lengths: Mapping[str, int]
    shapes: Mapping[str, Shape]
    sized: ValueSizes = field(default_factory=ValueSizes)


def path_uses(
    model: ModelProto, inputs: Inputs, source: Path, stated: Set[str] = frozenset()
) -> Iterator[NodeUse]:
    """Yield the uses of all nodes of an execution path's model on these inputs.

    Where inference does not find the shapes that a counted node needs, the model is run once.
    `stated` are the inputs whose values are bound as shapes are.

    Raises:
        InputShapeError: the model cannot take these inputs.
        Refusal: `model_invalid` for a model that contradicts itself.
    """
    named_inputs = inputs.items()
    input_shapes = {name: array.shape for name, array in named_inputs}
    inferred = infer_shapes(model, input_shapes)
    graph = inferred.graph
    shapes = declared_shapes(graph)
    known = {**constants(graph), **true_conditions(graph)}
    unknown = _unknown_operands(graph.node, shapes)
    if unknown:
        # The runtime stops at contradictions as well, but our messages are clearer.
        known_shapes = ChainMap(shapes)
        for use in _uses(graph, known_shapes, known, 1, None, _Loops({}, {})):
            counted_node(use)
        measured = measure_shapes(model, unknown, inputs, source)
        shapes.update(measured)
    lengths = measure_lengths(inferred, known, shapes, inputs, source)
    of_bodies = measure_body_shapes(inferred, known, shapes, lengths, inputs, source)
    sized = value_sizes(graph, stated)
    # A size that inference finds depends on no value.
    sized.sizes &= {*unknown, *of_bodies}
    loops = _Loops(lengths, of_bodies, sized)
    sparse = sparse_names(graph)
    for use in _uses(graph, ChainMap(shapes), known, 1, None, loops):
        if use.reason is None and not sparse.isdisjoint(cost_operands(use.node)):
            yield replace(use, reason=SPARSE)
        else:
            yield use


def editable_uses(
    uses: Iterable[NodeUse],
    own_operators: Mapping[str, str],
    own_constants: Mapping[str, Constant],
) -> Iterator[NodeUse]:
    """Yield uses with the constants of the model that is edited.

    Local functions are inlined for counting, but stay in the model. `own_operators` holds the
    operators of the model's own nodes by their first outputs; all other nodes cannot be replaced.
    """
    for use in uses:
        if use.reason is not None:
            yield use
        elif _is_inlined(use, own_operators):
            yield replace(use, reason=IN_FUNCTION)
        else:
            # Constants of the inlined copy may be those of a function.
            yield replace(use, constants=own_constants)


def _is_inlined(use: NodeUse, own_operators: Mapping[str, str]) -> bool:
    """Return whether a node stems from a local function that the model keeps."""
    if not use.node.output:
        return False
    return own_operators.get(use.node.output[0]) != use.operator


def _unknown_operands(
    nodes: Iterable[NodeProto], shapes: Mapping[str, Shape | None]
) -> list[str]:
    """Return the operands of counted nodes whose shapes are not known, sorted."""
    unknown = set()
    for node in nodes:
        for name in cost_operands(node):
            if shapes.get(name) is None:
                unknown.add(name)
    return sorted(unknown)


def _uses(
    graph: GraphProto,
    shapes: ChainMap[str, Shape | None],
    known: Mapping[str, Constant],
    runs: int | None,
    reason: str | None,
    loops: _Loops,
    *,
    runs_by_values: bool = False,
) -> Iterator[NodeUse]:
    """Yield the uses of a graph's nodes, each followed by those of its bodies.

    `known` holds the constants, `runs` is how often the graph runs, and `reason` says why its nodes
    cannot be replaced. `loops` has what a run showed of them. `runs_by_values` says whether values
    of the inputs decide how often the graph runs.
    """
    for node in graph.node:
        operands = cost_operands(node)
        yield NodeUse(
            node=node,
            weight=known.get(input_name(node, 1)),
            shapes=shapes,
            constants=known,
            runs=runs,
            reason=reason,
            sized_by_values=runs_by_values
            or not loops.sized.sizes.isdisjoint(operands),
        )
        trips = trip_count(node, known, shapes, loops.lengths)
        body_runs = None
        if runs is not None and trips is not None:
            body_runs = runs * trips
        is_if = operator(node) == "If"
        # An If that is still here was not resolved into execution paths.
        body_reason = IN_BRANCH if is_if else reason
        by_values = runs_by_values or not loops.sized.loops.isdisjoint(node.output)
        bodies = []
        for body in subgraphs(node):
            own = declared_shapes(body)
            measured = own.keys() & loops.shapes.keys()
            own |= {name: loops.shapes[name] for name in measured}
            uses = _uses(
                body,
                shapes.new_child(own),
                known,
                body_runs,
                body_reason,
                loops,
                # Of an If the costliest branch counts, whatever the values.
                runs_by_values=runs_by_values if is_if else by_values,
            )
            bodies.append(list(uses))
        # Only one branch of an If runs.
        if is_if:
            bodies = _count_dearest(bodies)
        for uses_of_body in bodies:
            yield from uses_of_body


def _count_dearest(branches: Sequence[Sequence[NodeUse]]) -> list[list[NodeUse]]:
    """Return the branches of an If such that only the dearest counts."""
    dearest = max(branches, key=_macs, default=None)
    counted = []
    for branch in branches:
        if branch is dearest:
            counted.append(list(branch))
        else:
            counted.append([_uncounted(use) for use in branch])
    return counted


def _uncounted(use: NodeUse) -> NodeUse:
    """Return a use that runs 0 times; None stays None, so that it is still listed as unknown."""
    runs = None if use.runs is None else 0
    return replace(use, runs=runs, reason=CHEAPER)


def _macs(uses: Iterable[NodeUse]) -> int:
    """Return the multiply-accumulates of nodes that are counted."""
    macs = 0
    for use in uses:
        site = counted_node(use).site
        if site is not None:
            macs += site.macs
    return macs
