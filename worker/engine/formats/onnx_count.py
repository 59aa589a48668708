"""What an ONNX graph costs: its operators with multiply-accumulates, as sites, and the number of all others.

Counted: Conv, ConvTranspose, Gemm, MatMul and what `onnx_others` lists, in the main graph, in local functions (once a
call) and in subgraphs: the branch of an If that costs more, the body of a Loop as often as it runs where the graph
fixes that.
Not counted, but listed with their number: all else, and what lies in a Loop, Scan or branch of which that is not known.
"""

from collections import ChainMap, Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from worker.engine.convolution import Convolution
from worker.engine.flops import gemm_macs, matmul_macs
from worker.engine.formats import Call, Count, Site, onnx_linear
from worker.engine.formats.onnx_constants import Constant, constants
from worker.engine.formats.onnx_convolution import geometry
from worker.engine.formats.onnx_graph import (
    FLOATS,
    all_nodes,
    fresh_name,
    integer,
    integers,
    number,
    operator,
    own_opset,
    subgraphs,
)
from worker.engine.formats.onnx_loop import trips
from worker.engine.formats.onnx_others import OTHERS, is_counted, operands
from worker.engine.formats.onnx_shapes import Shape, Shapes, Unfit, inferred, known, measured, prepared

_FIRST_BROADCASTING = 7
_COUNTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")

QUANTISED = "its weight is quantised"
RUN_TIME_WEIGHT = "its weight is computed at run time"
NO_WEIGHT = "it is a product of two activations and has no weight"
LEFT_FACTOR = "its weight is the left factor of the product"
NO_MATRIX = "its weight is no matrix"
SHARED = "its weight is shared with nodes that use it in another way"
OLD_PRODUCT = "sums of other shapes are written in another way before opset 7"
OUTPUT_SHAPE = "its padding follows from the size of its output"
CHEAPER = "it lies in a branch of an If that costs less than the other"
IN_SUBGRAPH = "it lies inside the body of an If, Loop or Scan"
IN_FUNCTION = "it lies inside a local function"


@dataclass(frozen=True)
class Counted:
    """A model's count, and for each site that can be replaced the first outputs of the nodes that call it."""

    count: Count
    nodes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class _Use:
    """A node where it stands: what is known there, how often it runs (None: not known), and why it must stay.

    `weight` is the constant that the node takes as its second operand, if it does.
    """

    node: NodeProto
    weight: Constant | None
    shapes: Shapes
    constants: Mapping[str, Constant]
    times: int | None
    reason: str | None


def count(model: ModelProto, shapes: Mapping[str, Shape], source: Path) -> Counted:
    """Count a skeleton that was read from `source`, with its inputs of these shapes.

    Where inference does not tell the shapes that a counted operator of the main graph takes, the model is run once.

    Raises:
        Unfit: the model cannot take these shapes.
        Refusal: `model_invalid` for a convolution that contradicts itself.
    """
    copy = prepared(model)
    bound = inferred(copy, shapes)
    told = known(bound.graph)
    needed = {name for node in bound.graph.node for name in _shaped(node)}
    unknown = sorted(name for name in needed if told.get(name) is None)
    if unknown:
        # What contradicts itself is better said in our words than in the runtime's, which stops at it too.
        for use in _main_uses(model.graph, bound.graph, told):
            _priced(use)
        told.update(measured(copy, unknown, shapes, source))
    return _gathered(bound.graph, _main_uses(model.graph, bound.graph, told), own_opset(model))


def _main_uses(original: GraphProto, graph: GraphProto, shapes: dict[str, Shape | None]) -> Iterator[_Use]:
    """Yield every node of a graph whose local functions were inlined, with what `original` can be edited by."""
    own = {node.output[0]: operator(node) for node in original.node if node.output}
    fixed = constants(original)
    for use in _uses(graph, ChainMap(shapes), ChainMap(constants(graph)), 1, None):
        if use.reason is not None:
            yield use
        elif use.node.output and own.get(use.node.output[0]) == operator(use.node):
            yield replace(use, constants=fixed)
        else:
            yield replace(use, reason=IN_FUNCTION)


def _uses(
    graph: GraphProto,
    shapes: ChainMap[str, Shape | None],
    fixed: ChainMap[str, Constant],
    times: int | None,
    reason: str | None,
) -> Iterator[_Use]:
    for node in graph.node:
        weight = fixed.get(node.input[1]) if len(node.input) > 1 else None
        yield _Use(node, weight, shapes, fixed, times, reason)
        runs = trips(node, fixed)
        inner = None if times is None or runs is None else times * runs
        bodies = [
            list(_uses(body, shapes.new_child(known(body)), fixed.new_child(constants(body)), inner, IN_SUBGRAPH))
            for body in subgraphs(node)
        ]
        dearest = max(bodies, key=_macs, default=None)
        for body in bodies:
            is_idle = operator(node) == "If" and body is not dearest
            yield from (replace(use, times=use.times and 0, reason=CHEAPER) if is_idle else use for use in body)


def _macs(uses: Sequence[_Use]) -> int:
    return sum(site.macs for site in map(_priced, uses) if site is not None)


def _gathered(graph: GraphProto, uses: Iterator[_Use], opset: int) -> Counted:
    """Join the calls of one weight to one site, name the sites, and count what is no site."""
    sites: dict[Hashable, Site] = {}
    nodes: dict[Hashable, tuple[str, ...]] = {}
    uncounted: Counter[str] = Counter()
    ways: dict[Hashable, set[Hashable]] = defaultdict(set)
    given = Counter(node.name for node in all_nodes(graph.node))
    taken: set[str] = set()
    for use in uses:
        site = _priced(use)
        if site and site.reason is None and site.calls and not site.calls[0].input_size and opset < _FIRST_BROADCASTING:
            site = replace(site, reason=OLD_PRODUCT)
        key = _identity(use, site)
        if operator(use.node) in _COUNTED and use.weight is not None:
            ways[use.weight.origin].add(key)
        if site is None:
            uncounted[operator(use.node)] += 1
            continue
        if key in sites:
            first = sites[key]
            sites[key] = replace(first, macs=first.macs + site.macs, calls=first.calls + site.calls)
        else:
            own_name = use.node.name if given[use.node.name] == 1 else ""
            sites[key] = replace(site, name=fresh_name(own_name or site.name, taken))
        nodes[key] = (*nodes.get(key, ()), use.node.output[0])
    shared = {key for keys in ways.values() if len(keys) > 1 for key in keys}
    for key in shared.intersection(sites):
        sites[key] = replace(sites[key], reason=sites[key].reason or SHARED)
    replaceable = {site.name: nodes[key] for key, site in sites.items() if site.reason is None}
    return Counted(Count(tuple(sites.values()), dict(uncounted)), replaceable)


def _identity(use: _Use, site: Site | None) -> Hashable:
    """Return what two calls of one site have in common: the same weight and bias, used in the same way."""
    if site is None or site.reason is not None:
        return object()
    node = use.node
    scales = tuple((name, number(node, name, 1.0)) for name in ("alpha", "beta"))
    way = (node.op_type, onnx_linear.is_transposed(node), scales, site.convolution)
    operands = (use.constants.get(name) for name in node.input[1:3])
    return (*(operand and operand.identity for operand in operands), way)


def _priced(use: _Use) -> Site | None:
    """Return a node's own site, named after its weight; None where it is not counted."""
    kind = operator(use.node)
    shapes = [shape for name in _shaped(use.node) if (shape := use.shapes.get(name)) is not None]
    if use.times is None or not shapes or len(shapes) != len(_shaped(use.node)) or not use.node.output:
        return None
    try:
        if kind in OTHERS:
            return _other(use, shapes, use.times)
        if kind in ("Conv", "ConvTranspose"):
            return _convolution(use, shapes[0], shapes[1], use.times)
        return _product(use, shapes[0], shapes[1], use.times)
    except Unfit:
        if use.reason in (IN_SUBGRAPH, CHEAPER):
            return None  # a branch that is not taken on these shapes need not fit them
        raise


def _shaped(node: NodeProto) -> list[str]:
    """Return the values whose shapes tell what a node costs; none where it is not counted."""
    kind = operator(node)
    if kind in OTHERS and is_counted(node):
        return operands(node)
    return list(node.input[:2]) if kind in _COUNTED and len(node.input) >= 2 else []


def _other(use: _Use, shapes: Sequence[Shape], times: int) -> Site:
    node = use.node
    _, macs, reason = OTHERS[node.op_type]
    try:
        once = macs(node, shapes)
    except ValueError as error:
        raise Unfit(f"{_called(node)}: {error}") from error
    weight = operands(node)[1]
    is_stored = weight in use.constants
    name, shape = (weight, shapes[1]) if is_stored else (node.output[0], ())
    return Site(name, node.op_type, shape, times * once, reason=use.reason or reason)


def _convolution(use: _Use, size: Shape, weight_shape: Shape, times: int) -> Site:
    node = use.node
    convolution = geometry(node, weight_shape)
    if len(size) != len(weight_shape) or size[1] != convolution.in_channels:
        raise Unfit(f"{_called(node)} takes {convolution.in_channels} channels, its input has the shape {size}")
    call = Call(size[0], size[2:], times)
    if not convolution.transposed and min(convolution.output_size(call.input_size)) < 1:
        raise Unfit(
            f"{_called(node)}: a kernel of {convolution.kernel} does not fit into an input of {call.input_size}"
        )
    reason = use.reason
    reason = reason or _why_not_stored(use)
    if reason is None and len(node.input) > 2 and node.input[2] and node.input[2] not in use.constants:
        reason = onnx_linear.RUN_TIME_BIAS
    macs = times * convolution.macs(call.input_size, call.batch)
    # output_shape decides the padding, which then depends on the input's size; the count does not depend on it.
    told = None if integers(node, "output_shape") else convolution
    if told is None:
        reason = reason or OUTPUT_SHAPE
    return Site(node.input[1], node.op_type, weight_shape, macs, told, (call,), reason, _itemsize(use))


def _product(use: _Use, a: Shape, b: Shape, times: int) -> Site:
    node = use.node
    transposed = bool(integer(node, "transA", 0)), bool(integer(node, "transB", 0))
    try:
        once = gemm_macs(a, b, *transposed) if node.op_type == "Gemm" else matmul_macs(a, b)
    except ValueError as error:
        raise Unfit(f"{_called(node)}: {error}") from error
    if node.input[1] in use.constants and len(b) == 2:
        layer = onnx_linear.geometry(node, b)
        call = Call(once // prod(b), (), times)
        reason = use.reason or _why_not_linear(use, layer)
        shape, macs = layer.weight_shape, times * once
        return Site(node.input[1], node.op_type, shape, macs, layer, (call,), reason, _itemsize(use))
    for name, shape, reason in zip(node.input[:2], (a, b), (LEFT_FACTOR, NO_MATRIX), strict=True):
        if name in use.constants:
            return Site(name, node.op_type, shape, times * once, reason=use.reason or reason)
    return Site(node.output[0], node.op_type, (), times * once, reason=use.reason or NO_WEIGHT)


def _itemsize(use: _Use) -> int:
    """Return how many bytes a number of a node's weight takes; 4 where the weight is not stored as such."""
    weight = use.constants.get(use.node.input[1])
    if weight is None or weight.data_type not in FLOATS:
        return 4
    return int(helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize)


def _why_not_stored(use: _Use) -> str | None:
    """Say why a node's weight cannot be factored before the model runs."""
    weight = use.constants.get(use.node.input[1])
    if weight is None:
        return RUN_TIME_WEIGHT
    if weight.is_quantised:
        return QUANTISED
    if weight.data_type not in FLOATS:
        names = {number: name.lower() for name, number in TensorProto.DataType.items()}
        return f"its weight is of type {names.get(weight.data_type, weight.data_type)}"
    return None


def _why_not_linear(use: _Use, layer: Convolution) -> str | None:
    return _why_not_stored(use) or onnx_linear.why_not(use.node, use.constants, layer.out_channels)


def _called(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]!r}"
