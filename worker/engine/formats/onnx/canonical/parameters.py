"""Weights that are computed from parameters alone: computed once, and stored in their place.

Exporters leave such arithmetic behind for weight and spectral normalisation, weight
standardisation, equalised learning rates, and merged or sliced weights.
"""

from collections.abc import Collection
from math import prod
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from convpress.refusal import Refusal
from worker.engine.formats.onnx.constants import Constant, constants
from worker.engine.formats.onnx.graph import (
    DEQUANTISE,
    OWN_DOMAINS,
    QUANTISE,
    all_nodes,
    fresh_name,
    names,
    operator,
    subgraphs,
    uses,
)
from worker.engine.formats.onnx.runtime.session import RUNTIME_ERRORS, session

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Their values differ from run to run, or are integers of a scale that they compute.
_NEVER_COMPUTED = (
    "Bernoulli",
    "Dropout",
    "DynamicQuantizeLinear",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
_QUANTISING = (DEQUANTISE, QUANTISE)
_LARGEST_BYTES, _BYTES_PER_NUMBER = 2**30, 4
"""The floats of quantised weights that are held in memory at once."""
_FAILURES: tuple[type[Exception], ...] = (Refusal, *RUNTIME_ERRORS)
# Up to this IR version every initializer is an input too.
_LAST_IR_WITH_WEIGHTS_AS_INPUTS = 3


def store_computed_weights(model: ModelProto, source: Path) -> None:
    """Store the operands of layers that follow from parameters alone.

    `source` is the file that the skeleton was read from. What the runtime cannot compute stays.
    """
    graph = model.graph
    known = constants(graph)
    producers = _computed(graph, known)
    _store(model, source, _layer_operands(graph) & producers.keys(), producers, known)


def store_dequantised_weights(model: ModelProto, source: Path) -> int:
    """Store the operands of layers that follow from quantised parameters alone, as floats.

    Returns the number of weights among them; 0 where the runtime cannot compute them all, or they
    are too large. `source` is as above.
    """
    graph = model.graph
    everything = constants(graph)
    known = {
        name: constant
        for name, constant in everything.items()
        if not constant.is_quantised
    }
    producers = _computed(graph, known, with_quantised=True)
    targets = set()
    size = 0
    for name in _layer_operands(graph) & producers.keys():
        path = _needed([name], graph, producers, known)
        if any(_is_quantising(producers[each]) for each in path & producers.keys()):
            targets.add(name)
            sizes = [prod(known[each].shape) for each in path & known.keys()]
            size += _BYTES_PER_NUMBER * max(sizes, default=0)
    if size > _LARGEST_BYTES:
        return 0
    weights = _layer_operands(graph, last=1) & targets
    is_stored = _store(model, source, targets, producers, known)
    return len(weights) if is_stored else 0


def _store(
    model: ModelProto,
    source: Path,
    names_to_store: Collection[str],
    producers: dict[str, NodeProto],
    known: dict[str, Constant],
) -> bool:
    """Compute and store these values; return whether there are any that the runtime computes."""
    graph = model.graph
    targets = sorted(names_to_store)
    if not targets:
        return False
    part = _part(model, targets, producers, known)
    try:
        arrays = session(part.SerializeToString(), source).run(targets, {})
    except _FAILURES:
        return False
    used_names = names(graph)
    for name, array in zip(targets, arrays, strict=True):
        _move_output(producers[name], name, used_names)
        tensor = numpy_helper.from_array(array, name)
        graph.initializer.append(tensor)
        if model.ir_version <= _LAST_IR_WITH_WEIGHTS_AS_INPUTS:
            described = helper.make_tensor_value_info(
                name, tensor.data_type, array.shape
            )
            graph.input.append(described)
    _remove_unused(graph, {*producers, *known})
    return True


def _computed(
    graph: GraphProto, known: dict[str, Constant], *, with_quantised: bool = False
) -> dict[str, NodeProto]:
    """Return the nodes whose values follow from constants by arithmetic, by each output.

    Quantised values stand for another element type, and stay as they are if not asked for.
    """
    producers: dict[str, NodeProto] = {}
    for node in graph.node:
        is_quantising = with_quantised and _is_quantising(node)
        if not is_quantising and not _is_arithmetic(node):
            continue
        operands = [name for name in node.input if name]
        are_constant = all(name in known or name in producers for name in operands)
        # What the engine folds by itself needs no computation.
        is_folded = all(name in known for name in node.output)
        if operands and are_constant and not is_folded:
            outputs = filter(None, node.output)
            producers.update(dict.fromkeys(outputs, node))
    return producers


def _is_arithmetic(node: NodeProto) -> bool:
    if node.domain not in OWN_DOMAINS or node.op_type in _NEVER_COMPUTED:
        return False
    if _is_quantising(node):
        return False
    return next(subgraphs(node), None) is None


def _is_quantising(node: NodeProto) -> bool:
    return node.op_type in _QUANTISING


def _layer_operands(graph: GraphProto, last: int | None = None) -> set[str]:
    """Return the weights and biases of layers, bodies included; up to the operand `last`.

    The data of a layer is no weight, even if it is computed from parameters, as a table of
    positions is: the model has to compute the products that lead to it.
    """
    operands: set[str] = set()
    for node in all_nodes(graph.node):
        if operator(node) in _LAYERS:
            operands.update(node.input[1:][:last])
    return operands


def _part(
    model: ModelProto,
    targets: list[str],
    producers: dict[str, NodeProto],
    known: dict[str, Constant],
) -> ModelProto:
    """Return the model of the nodes that these values follow from."""
    needed = _needed(targets, model.graph, producers, known)
    graph = GraphProto(name="parameters")
    for node in model.graph.node:
        if not needed.isdisjoint(node.output):
            graph.node.append(node)
    for tensor in model.graph.initializer:
        if tensor.name in needed:
            graph.initializer.append(tensor)
    for target in targets:
        graph.output.append(helper.make_empty_tensor_value_info(target))
    part = ModelProto(
        ir_version=max(model.ir_version, _LAST_IR_WITH_WEIGHTS_AS_INPUTS + 1)
    )
    part.opset_import.extend(model.opset_import)
    part.graph.CopyFrom(graph)
    return part


def _needed(
    targets: list[str],
    graph: GraphProto,
    producers: dict[str, NodeProto],
    known: dict[str, Constant],
) -> set[str]:
    """Return these values, and all those that they follow from."""
    folded = {}
    for node in graph.node:
        folded.update({name: node for name in node.output if name in known})
    needed: set[str] = set()
    pending = list(targets)
    while pending:
        name = pending.pop()
        if not name or name in needed:
            continue
        needed.add(name)
        producer = producers.get(name) or folded.get(name)
        if producer is not None:
            pending += producer.input
    return needed


def _move_output(node: NodeProto, name: str, used_names: set[str]) -> None:
    """Give an output of a node, which may have others, a name that nothing uses."""
    outputs = list(node.output)
    position = outputs.index(name)
    node.output[position] = fresh_name(f"{name}_computed", used_names)


def _remove_unused(graph: GraphProto, constant: set[str]) -> None:
    """Remove the nodes on constants, and the constants, that the moved outputs leave unused."""
    counts = uses(graph)
    freed: set[str] = set()
    # A node stands behind those that it takes its operands from.
    positions = reversed(range(len(graph.node)))
    for position in positions:
        node = graph.node[position]
        operands = [name for name in node.input if name]
        is_used = any(counts[name] for name in node.output)
        if is_used or not constant.issuperset(operands):
            continue
        counts.subtract(operands)
        freed.update(operands)
        del graph.node[position]
    unused = {name for name in freed if counts[name] == 0}
    for values in (graph.initializer, graph.input):
        for position in reversed(range(len(values))):
            if values[position].name in unused:
                del values[position]
