"""The bodies of If, Loop and Scan nodes: their names made unique, and a model as it runs along each of its courses.

A course is a way through a model's Ifs. Along it they are no Ifs any more: the nodes of the branch that is taken stand
in their place, so that all else sees a plain graph.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto, helper

from convpress.refusal import Refusal
from worker.engine.formats.onnx.graph import all_nodes, fresh_name, names, operator, subgraphs
from worker.engine.formats.onnx.runner import RUNTIME_ERRORS, session
from worker.engine.model import Inputs

_MOST_COURSES, _MOST_FORKS = 16, 64
"""Courses double with every If on another condition; the Ifs beyond these numbers stay as they are."""


def make_unique(model: ModelProto) -> None:
    """Rename the values of a model's bodies whose names other graphs of it give too; the main graph's names stay."""
    _rename_bodies(model.graph, names(model.graph), set(_given(model.graph)), {})


def _rename_bodies(
    graph: GraphProto, taken: set[str], given: set[str], scope: Mapping[str, str]
) -> None:
    for node in graph.node:
        for body in subgraphs(node):
            own = dict.fromkeys(_given(body))
            renamed = {name: new for name, new in scope.items() if name not in own}
            renamed.update((name, fresh_name(name, taken)) for name in own if name in given)
            given.update(own)
            if renamed:
                _rename(body, renamed)
            _rename_bodies(body, taken, given, renamed)


def _given(graph: GraphProto) -> Iterator[str]:
    """Yield the values that a graph itself gives; the bodies in it are not looked into."""
    yield from (value.name for value in graph.input)
    stored = {tensor.name for tensor in graph.initializer} | {
        sparse.values.name for sparse in graph.sparse_initializer
    }
    yield from stored.difference(value.name for value in graph.input)
    yield from (name for node in graph.node for name in node.output if name)


def _rename(graph: GraphProto, renamed: Mapping[str, str]) -> None:
    """Give a graph's values other names, except in the bodies in it."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = renamed.get(value.name, value.name)
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [renamed.get(name, name) for name in values]


_FAILURES: tuple[type[Exception], ...] = (Refusal, *RUNTIME_ERRORS)


@dataclass(frozen=True)
class Course:
    """A model along one of its courses, and what the conditions of its Ifs have to be for that, by their values."""

    model: ModelProto
    conditions: Mapping[str, bool]


def execution_paths(model: ModelProto, operators: frozenset[str]) -> list[Course]:
    """Return a model along each of its courses, as far as Ifs have one of these operators in a branch.

    The order follows the branches' own; names have to be unique. A model without such Ifs is its only course.
    """
    found = [Course(model, {})]
    left: set[str] = set()
    for _ in range(_MOST_FORKS):
        fork = next(
            (
                name
                for course in found
                for name in _forks(course.model, operators)
                if name not in left
            ),
            None,
        )
        if fork is None:
            break
        along = [taken for course in found for taken in _along_branches(course, fork)]
        if 0 < len(along) <= _MOST_COURSES:
            found = along
        else:
            left.add(fork)
    return found


def _forks(model: ModelProto, operators: frozenset[str]) -> Iterator[str]:
    """Yield the Ifs of the main graph that have one of these operators in a branch, by their first value."""
    for node in model.graph.node:
        is_fork = operator(node) == "If" and any(
            operator(inner) in operators for inner in all_nodes([node])
        )
        if is_fork and node.input and node.output:
            yield node.output[0]


def _along_branches(course: Course, fork: str) -> list[Course]:
    """Return a course along each branch of an If that it can still take; itself where it does not come to that If."""
    nodes = course.model.graph.node
    position = next((at for at, node in enumerate(nodes) if node.output[:1] == [fork]), None)
    if position is None:
        return [course]
    condition = nodes[position].input[0]
    branches = {
        found.name == "then_branch": found.g
        for found in nodes[position].attribute
        if found.HasField("g")
    }
    return [
        Course(_along(course.model, position, branch), {**course.conditions, condition: value})
        for value, branch in branches.items()
        if course.conditions.get(condition, value) == value
    ]


def is_taken(course: Course, inputs: Inputs, source: Path) -> bool:
    """Return whether a model that was read from `source` takes a course on these inputs; False where it cannot run."""
    probe = ModelProto()
    probe.CopyFrom(course.model)
    probe.graph.ClearField("output")
    probe.graph.output.extend(
        helper.make_tensor_value_info(condition, TensorProto.BOOL, None)
        for condition in course.conditions
    )
    try:
        found = session(probe.SerializeToString(), source).run(
            list(course.conditions), dict(inputs)
        )
    except _FAILURES:
        return False
    return all(
        bool(value.all()) == wanted
        for value, wanted in zip(found, course.conditions.values(), strict=True)
    )


def _along(model: ModelProto, position: int, branch: GraphProto) -> ModelProto:
    """Return a copy of a model with the nodes of a branch in the place of the main graph's node at a position."""
    course = ModelProto()
    course.CopyFrom(model)
    graph, nodes = course.graph, model.graph.node
    given = [
        helper.make_node("Identity", [inner.name], [outer])
        for inner, outer in zip(
            branch.output, nodes[position].output, strict=False
        )  # ONNX Runtime tells of others
        if outer
    ]
    del graph.node[position:]
    graph.node.extend([*branch.node, *given, *nodes[position + 1 :]])
    graph.initializer.extend(branch.initializer)
    graph.sparse_initializer.extend(branch.sparse_initializer)
    return course
