"""The bodies of If, Loop and Scan nodes: unique names, and the execution paths of a model.

An execution path is one way through the branches of a model's Ifs. Its model has no such Ifs: the
nodes of the branch that runs are in their place, so that all other code sees a plain graph.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from convpress.refusal import Refusal
from worker.engine.formats.onnx.constants import constants
from worker.engine.formats.onnx.graph import (
    all_nodes,
    fresh_name,
    names,
    operator,
    stored_names,
    subgraphs,
)
from worker.engine.formats.onnx.runtime.session import RUNTIME_ERRORS, session
from worker.engine.formats.onnx.scalars import scalar
from worker.engine.model import Inputs

# The number of paths doubles with every If on another condition. Ifs beyond these bounds stay.
_MOST_PATHS = 16
_MOST_SPLITS = 64

_FAILURES: tuple[type[Exception], ...] = (Refusal, *RUNTIME_ERRORS)


@dataclass(frozen=True)
class ExecutionPath:
    """A model along one way through its branches.

    `conditions` holds, by the names of the Ifs' conditions, the values that lead along it.
    """

    model: ModelProto
    conditions: Mapping[str, bool]


def make_names_unique(model: ModelProto) -> None:
    """Rename the values of bodies whose names occur in other graphs; the main graph's stay."""
    _rename_bodies(model.graph, names(model.graph), set(_defined(model.graph)), {})


def _rename_bodies(
    graph: GraphProto,
    used: set[str],
    defined: set[str],
    outer: Mapping[str, str],
) -> None:
    """Rename within the bodies of a graph.

    `used` holds all names of the model, `defined` those of the graphs that were visited, and
    `outer` the new names of the values around the graph.
    """
    for node in graph.node:
        for body in subgraphs(node):
            own = dict.fromkeys(_defined(body))
            # A body's own values hide those around it.
            new_names = {old: new for old, new in outer.items() if old not in own}
            for name in own:
                if name in defined:
                    new_names[name] = fresh_name(name, used)
            defined.update(own)
            if new_names:
                _rename(body, new_names)
            _rename_bodies(body, used, defined, new_names)


def _defined(graph: GraphProto) -> Iterator[str]:
    """Yield the values that a graph defines itself, without its bodies."""
    inputs = [value.name for value in graph.input]
    yield from inputs
    yield from stored_names(graph).difference(inputs)
    for node in graph.node:
        for name in node.output:
            if name:
                yield name


def _rename(graph: GraphProto, new_names: Mapping[str, str]) -> None:
    """Rename the values of a graph, but not of its bodies."""
    values = (*graph.input, *graph.output, *graph.value_info)
    for value in values:
        value.name = new_names.get(value.name, value.name)
    sparse = [tensor.values for tensor in graph.sparse_initializer]
    for tensor in (*graph.initializer, *sparse):
        tensor.name = new_names.get(tensor.name, tensor.name)
    for node in graph.node:
        inputs = [new_names.get(name, name) for name in node.input]
        node.input[:] = inputs
        outputs = [new_names.get(name, name) for name in node.output]
        node.output[:] = outputs


def execution_paths(
    model: ModelProto, operators: frozenset[str]
) -> list[ExecutionPath]:
    """Return the execution paths of a model, in the order of the branches; names must be unique.

    Only Ifs with one of these operators in a branch are resolved. A model without them is its only
    path.
    """
    paths = [ExecutionPath(model, {})]
    skipped: set[str] = set()
    for _ in range(_MOST_SPLITS):
        fork = _next_fork(paths, operators, skipped)
        if fork is None:
            break
        split = []
        for path in paths:
            split += _split(path, fork)
        if 0 < len(split) <= _MOST_PATHS:
            paths = split
        else:
            skipped.add(fork)
    return paths


def _next_fork(
    paths: Sequence[ExecutionPath], operators: frozenset[str], skipped: set[str]
) -> str | None:
    """Return the first output of the next If to be resolved; None where none is left."""
    for path in paths:
        for node in path.model.graph.node:
            if _is_fork(node, operators) and node.output[0] not in skipped:
                return node.output[0]
    return None


def _is_fork(node: NodeProto, operators: frozenset[str]) -> bool:
    """Return whether a node is an If with one of these operators in a branch."""
    if operator(node) != "If" or not node.input or not node.output:
        return False
    inner_nodes = all_nodes([node])
    return any(operator(inner) in operators for inner in inner_nodes)


def _split(path: ExecutionPath, fork: str) -> list[ExecutionPath]:
    """Return a path along each branch of an If that its conditions allow.

    A path that does not reach that If is returned as it is.
    """
    position = _position(path.model.graph, fork)
    if position is None:
        return [path]
    node = path.model.graph.node[position]
    condition = node.input[0]
    # A damaged If may have other names for its branches: all but one are the else_branch.
    branches = {
        attribute.name == "then_branch": attribute.g
        for attribute in node.attribute
        if attribute.HasField("g")
    }
    stored = scalar(condition, constants(path.model.graph))
    paths = []
    for value, branch in branches.items():
        # An earlier If on the same condition has decided already.
        if path.conditions.get(condition, value) != value:
            continue
        # A stored condition leads along one branch in every run.
        if stored is not None and bool(stored) != value:
            continue
        model = _with_branch(path.model, position, branch)
        conditions = {**path.conditions, condition: value}
        paths.append(ExecutionPath(model, conditions))
    return paths


def _position(graph: GraphProto, output: str) -> int | None:
    """Return the position of the node with this first output; None without one."""
    for position, node in enumerate(graph.node):
        if node.output[:1] == [output]:
            return position
    return None


def _with_branch(model: ModelProto, position: int, branch: GraphProto) -> ModelProto:
    """Return a copy of a model with a branch in the place of its node at a position."""
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    nodes = model.graph.node
    # ONNX Runtime refuses an If whose branches have another number of outputs.
    pairs = zip(branch.output, nodes[position].output, strict=False)
    renames = [
        helper.make_node("Identity", [inner.name], [outer])
        for inner, outer in pairs
        if outer
    ]
    del graph.node[position:]
    graph.node.extend(branch.node)
    graph.node.extend(renames)
    graph.node.extend(nodes[position + 1 :])
    graph.initializer.extend(branch.initializer)
    graph.sparse_initializer.extend(branch.sparse_initializer)
    return copy


def is_taken(path: ExecutionPath, inputs: Inputs, source: Path) -> bool:
    """Return whether a model takes this path on these inputs; False where it cannot run.

    `source` is the file that the model was read from.
    """
    conditions = list(path.conditions)
    probe = ModelProto()
    probe.CopyFrom(path.model)
    # Only the conditions are computed, not the layers after them.
    probe.graph.ClearField("output")
    for condition in conditions:
        output = helper.make_tensor_value_info(condition, TensorProto.BOOL, None)
        probe.graph.output.append(output)
    try:
        values = session(probe.SerializeToString(), source).run(
            conditions, dict(inputs)
        )
    except _FAILURES:
        return False
    pairs = zip(values, path.conditions.values(), strict=True)
    # A condition has one element, but the model chooses its shape.
    return all(bool(value.all()) == expected for value, expected in pairs)
