"""Count a model: the sites and costs along all execution paths for given inputs."""

from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from convpress.refusal import Refusal
from worker.engine.formats.onnx.constants import constants
from worker.engine.formats.onnx.control_flow import (
    ExecutionPath,
    execution_paths,
    is_taken,
)
from worker.engine.formats.onnx.graph import all_nodes, operator, own_opset
from worker.engine.formats.onnx.profile.graph_uses import editable_uses, path_uses
from worker.engine.formats.onnx.profile.merge import SiteNodes, merge_sites
from worker.engine.formats.onnx.profile.node_site import CountedNode, counted_node
from worker.engine.formats.onnx.profile.node_use import OPERATORS
from worker.engine.formats.onnx.profile.value_sizes import value_sizes
from worker.engine.formats.onnx.shapes import InputShapeError, without_declared_shapes
from worker.engine.model import CostProfile, Inputs


@dataclass(frozen=True)
class CountedModel:
    """A model's cost profile, the nodes of its sites, and the execution path of the inputs.

    Where the inputs take no path that can be counted, `path` is the dearest.
    """

    profile: CostProfile
    site_nodes: SiteNodes
    path: ExecutionPath


@dataclass(frozen=True)
class _CountedPath:
    """An execution path with its counted nodes."""

    path: ExecutionPath
    nodes: list[CountedNode]


def count(
    model: ModelProto, inputs: Inputs, source: Path, stated: Set[str] = frozenset()
) -> CountedModel:
    """Count a skeleton that was read from `source`, for inputs of these shapes.

    A path that does not fit the inputs is left out where another one fits. `stated` are the inputs
    whose values are bound as shapes are.

    Raises:
        InputShapeError: the model cannot take these inputs.
        Refusal: `model_invalid` for a convolution that contradicts itself.
    """
    plain = without_declared_shapes(model)
    paths = _counted_paths(model, plain, inputs, source, stated)
    nodes = [counted.nodes for counted in paths]
    opset = own_opset(model)
    profile, site_nodes = merge_sites(plain.graph, nodes, opset)
    sized = value_sizes(plain.graph, stated).sizes
    outputs = {output.name for output in plain.graph.output}
    profile = replace(profile, sized_outputs=frozenset(outputs & sized))
    costs = profile.execution_paths
    # Running the model to find its path takes time that a single one does not need.
    if len(paths) == 1:
        return CountedModel(profile, site_nodes, paths[0].path)
    for counted in paths:
        if is_taken(counted.path, inputs, source):
            return CountedModel(profile, site_nodes, counted.path)
    number = costs.index(max(costs))
    dearest = paths[number]
    return CountedModel(profile, site_nodes, dearest.path)


def _counted_paths(
    model: ModelProto,
    plain: ModelProto,
    inputs: Inputs,
    source: Path,
    stated: Set[str],
) -> list[_CountedPath]:
    """Return the execution paths that fit the inputs, with their counted nodes."""
    own_constants = constants(model.graph)
    # Names tell the model's own nodes from those of inlined functions.
    own_operators = {}
    for node in all_nodes(model.graph.node):
        if node.output:
            own_operators[node.output[0]] = operator(node)
    paths = []
    failure: InputShapeError | Refusal | None = None
    for path in execution_paths(plain, OPERATORS):
        uses = path_uses(path.model, inputs, source, stated)
        try:
            editable = editable_uses(uses, own_operators, own_constants)
            paths.append(_CountedPath(path, [counted_node(use) for use in editable]))
        except (InputShapeError, Refusal) as error:
            failure = failure or error
    # A branch for other inputs need not fit these.
    if failure is not None and not paths:
        raise failure
    return paths
