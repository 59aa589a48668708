"""What an ONNX graph costs: its operators with multiply-accumulates, as sites, and the number of all others.

Counted: Conv, ConvTranspose, Gemm, MatMul and what `onnx_others` lists, in the main graph, in local functions (once a
call) and in bodies: along each course through the Ifs, of which the dearest is the total, and that of a Loop or Scan as
often as it runs where the graph fixes that.
Not counted, but listed with their number: all else, and what lies in a body of which that is not known.
"""

from collections import ChainMap, Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from convpress.refusal import Refusal
from worker.engine.formats.onnx import linear
from worker.engine.formats.onnx.constants import Constant, constants
from worker.engine.formats.onnx.control_flow import Course, execution_paths, is_taken
from worker.engine.formats.onnx.convolution import geometry
from worker.engine.formats.onnx.graph import (
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
from worker.engine.formats.onnx.other_macs import OTHERS, is_counted, operands
from worker.engine.formats.onnx.shapes import (
    Shape,
    Shapes,
    Unfit,
    inferred,
    known,
    measured,
    prepared,
)
from worker.engine.formats.onnx.trip_count import trips
from worker.engine.model import Call, CostProfile, Inputs, Site
from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.flops import gemm_macs, matmul_macs

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
IN_BRANCH = "it lies inside a branch of one of very many Ifs"
IN_FUNCTION = "it lies inside a local function"
SEVERAL_WAYS = "it is called in another way in another branch of an If"

OPERATORS = frozenset((*_COUNTED, *OTHERS))
"""All that is counted."""


@dataclass(frozen=True)
class Counted:
    """A model's count, and for each site that can be replaced the first outputs of the nodes that call it.

    `course` is the one that the inputs take, or the dearest where none of those that can be counted is taken.
    """

    count: CostProfile
    nodes: Mapping[str, tuple[str, ...]]
    course: Course


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


_Priced = tuple[_Use, Site | None]
"""A use and what it costs; None where it is not counted."""


def count(model: ModelProto, inputs: Inputs, source: Path) -> Counted:
    """Count a skeleton that was read from `source`, on inputs like these.

    Their shapes count. Where inference does not tell the shapes that a counted operator of a course takes, that course
    is run once, on the inputs themselves. A course that does not fit the inputs is none, where another does.

    Raises:
        Unfit: the model cannot take these inputs.
        Refusal: `model_invalid` for a convolution that contradicts itself.
    """
    plain = prepared(model)
    own = {node.output[0]: operator(node) for node in all_nodes(model.graph.node) if node.output}
    fixed = constants(model.graph)
    found: list[tuple[Course, list[_Priced]]] = []
    failure: Unfit | Refusal | None = None
    for course in execution_paths(plain, OPERATORS):
        try:
            uses = _own_uses(_uses_of(course.model, inputs, source), own, fixed)
            found.append((course, [(use, _priced(use)) for use in uses]))
        except (Unfit, Refusal) as error:
            failure = failure or error
    if failure is not None and not found:
        raise failure
    counted, nodes = _gathered(plain.graph, [priced for _, priced in found], own_opset(model))
    _, (dearest, _) = max(
        zip(counted.execution_paths, found, strict=False), key=lambda pair: pair[0]
    )
    taken = (course for course, _ in found if is_taken(course, inputs, source))
    return Counted(counted, nodes, dearest if len(found) == 1 else next(taken, dearest))


def _uses_of(course: ModelProto, inputs: Inputs, source: Path) -> Iterator[_Use]:
    """Yield every node along a course, bodies included, with what is known where it stands."""
    graph = inferred(course, {name: array.shape for name, array in inputs.items()}).graph
    told = known(graph)
    needed = {name for node in graph.node for name in _shaped(node)}
    unknown = sorted(name for name in needed if told.get(name) is None)
    fixed = constants(graph)
    if unknown:
        # What contradicts itself is better said in our words than in the runtime's, which stops at it too.
        for use in _uses(graph, ChainMap(told), fixed, 1, None):
            _priced(use)
        told.update(measured(course, unknown, inputs, source))
    yield from _uses(graph, ChainMap(told), fixed, 1, None)


def _own_uses(
    uses: Iterator[_Use], own: Mapping[str, str], fixed: Mapping[str, Constant]
) -> Iterator[_Use]:
    """Yield uses with the constants by which the model can be edited; what stems from a local function has none."""
    for use in uses:
        if (
            use.reason is None
            and use.node.output
            and own.get(use.node.output[0]) != operator(use.node)
        ):
            yield replace(use, reason=IN_FUNCTION)
        else:
            yield replace(use, constants=fixed) if use.reason is None else use


def _uses(
    graph: GraphProto,
    shapes: ChainMap[str, Shape | None],
    fixed: Mapping[str, Constant],
    times: int | None,
    reason: str | None,
) -> Iterator[_Use]:
    for node in graph.node:
        weight = fixed.get(node.input[1]) if len(node.input) > 1 else None
        yield _Use(node, weight, shapes, fixed, times, reason)
        runs = trips(node, fixed, shapes)
        inner = None if times is None or runs is None else times * runs
        is_if = operator(node) == "If"
        bodies = [
            list(
                _uses(
                    body,
                    shapes.new_child(known(body)),
                    fixed,
                    inner,
                    IN_BRANCH if is_if else reason,
                )
            )
            for body in subgraphs(node)
        ]
        dearest = max(bodies, key=_macs, default=None)
        for body in bodies:
            is_idle = is_if and body is not dearest
            yield from (
                replace(use, times=use.times and 0, reason=CHEAPER) if is_idle else use
                for use in body
            )


def _macs(uses: Sequence[_Use]) -> int:
    return sum(site.macs for site in map(_priced, uses) if site is not None)


def _gathered(
    graph: GraphProto, found: Sequence[Sequence[_Priced]], opset: int
) -> tuple[CostProfile, Mapping[str, tuple[str, ...]]]:
    """Join the calls of one weight to one site, name the sites, and count what is no site."""
    joined: list[dict[Hashable, Site]] = []
    nodes: dict[Hashable, dict[str, None]] = defaultdict(dict)
    ways: dict[Hashable, set[Hashable]] = defaultdict(set)
    for priced in found:
        sites: dict[Hashable, Site] = {}
        for use, site in priced:
            if (
                site
                and site.reason is None
                and opset < _FIRST_BROADCASTING
                and not site.calls[0].input_size
            ):
                site = replace(site, reason=OLD_PRODUCT)
            key = _identity(use, site)
            if operator(use.node) in _COUNTED and use.weight is not None:
                ways[use.weight.origin].add(key)
            if site is None:
                continue
            nodes[key][use.node.output[0]] = None
            first = sites.get(key)
            sites[key] = (
                site
                if first is None
                else replace(first, macs=first.macs + site.macs, calls=first.calls + site.calls)
            )
        joined.append(sites)
    shared = {key for keys in ways.values() if len(keys) > 1 for key in keys}
    merged = {
        key: _merged([sites.get(key) for sites in joined], shared=key in shared)
        for key in dict.fromkeys(key for sites in joined for key in sites)
    }
    named = dict(zip(merged, _named(graph, merged, nodes), strict=True))
    counted = {output for outputs in nodes.values() for output in outputs}
    others = Counter(
        operator(node) for node in all_nodes(graph.node) if counted.isdisjoint(node.output[:1])
    )
    unsettled = {kind: number for kind, number in others.items() if kind in OPERATORS}
    replaceable = {
        site.name: tuple(nodes[key]) for key, site in named.items() if site.reason is None
    }
    return CostProfile(tuple(named.values()), dict(others), unsettled), replaceable


def _merged(found: Sequence[Site | None], *, shared: bool) -> Site:
    """Return one site for what it is along each course, which is None where it is not called."""
    called = [site for site in found if site is not None]
    dearest = max(called, key=lambda site: site.macs)
    reason = dearest.reason or (SHARED if shared else None)
    if not all(_is_part(site.calls, dearest.calls) for site in called):
        reason = reason or SEVERAL_WAYS
    costs = tuple(0 if site is None else site.macs for site in found)
    return replace(dearest, reason=reason, execution_paths=costs if len(costs) > 1 else ())


def _is_part(calls: Sequence[Call], of: Sequence[Call]) -> bool:
    """Return whether calls are on the same sizes as others, and as often in proportion: so are all costs then."""
    some, all_ = _by_size(calls), _by_size(of)
    return (
        some.keys() == all_.keys() and len({Fraction(some[size], all_[size]) for size in some}) <= 1
    )


def _by_size(calls: Sequence[Call]) -> Counter[Hashable]:
    times: Counter[Hashable] = Counter()
    for call in calls:
        times[call.batch, call.input_size] += call.times
    return times


def _named(
    graph: GraphProto, sites: Mapping[Hashable, Site], nodes: Mapping[Hashable, Mapping[str, None]]
) -> Iterator[Site]:
    """Yield sites named after the first of their nodes, or after their weight where that has no name of its own."""
    names = {node.output[0]: node.name for node in all_nodes(graph.node) if node.output}
    given = Counter(node.name for node in all_nodes(graph.node))
    taken: set[str] = set()
    for key, site in sites.items():
        name = names[next(iter(nodes[key]))]
        yield replace(
            site, name=fresh_name(name if name and given[name] == 1 else site.name, taken)
        )


def _identity(use: _Use, site: Site | None) -> Hashable:
    """Return what two calls of one site have in common: the same weight and bias, used in the same way."""
    node = use.node
    if site is None or site.reason is not None:
        return (*node.output, object) if node.output else object()
    scales = tuple((name, number(node, name, 1.0)) for name in ("alpha", "beta"))
    way = (node.op_type, linear.is_transposed(node), scales, site.convolution)
    operands = (use.constants.get(name) for name in node.input[1:3])
    return (*(operand and operand.identity for operand in operands), way)


def _priced(use: _Use) -> Site | None:
    """Return a node's own site, named after its weight; None where it is not counted."""
    kind = operator(use.node)
    shapes = [shape for name in _shaped(use.node) if (shape := use.shapes.get(name)) is not None]
    if (
        use.times is None
        or not shapes
        or len(shapes) != len(_shaped(use.node))
        or not use.node.output
    ):
        return None
    try:
        if kind in OTHERS:
            return _other(use, shapes, use.times)
        if kind in ("Conv", "ConvTranspose"):
            return _convolution(use, shapes[0], shapes[1], use.times)
        return _product(use, shapes[0], shapes[1], use.times)
    except Unfit:
        if use.reason in (IN_BRANCH, CHEAPER):
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
        raise Unfit(
            f"{_called(node)} takes {convolution.in_channels} channels, its input has the shape {size}"
        )
    call = Call(size[0], size[2:], times)
    if not convolution.transposed and min(convolution.output_size(call.input_size)) < 1:
        raise Unfit(
            f"{_called(node)}: a kernel of {convolution.kernel} does not fit into an input of {call.input_size}"
        )
    reason = use.reason
    reason = reason or _why_not_stored(use)
    if (
        reason is None
        and len(node.input) > 2
        and node.input[2]
        and node.input[2] not in use.constants
    ):
        reason = linear.RUN_TIME_BIAS
    macs = times * convolution.macs(call.input_size, call.batch)
    # output_shape decides the padding, which then depends on the input's size; the count does not depend on it.
    told = None if integers(node, "output_shape") else convolution
    if told is None:
        reason = reason or OUTPUT_SHAPE
    return Site(
        node.input[1], node.op_type, weight_shape, macs, told, (call,), reason, _itemsize(use)
    )


def _product(use: _Use, a: Shape, b: Shape, times: int) -> Site:
    node = use.node
    transposed = bool(integer(node, "transA", 0)), bool(integer(node, "transB", 0))
    try:
        once = gemm_macs(a, b, *transposed) if node.op_type == "Gemm" else matmul_macs(a, b)
    except ValueError as error:
        raise Unfit(f"{_called(node)}: {error}") from error
    if node.input[1] in use.constants and len(b) == 2:
        layer = linear.geometry(node, b)
        call = Call(once // prod(b), (), times)
        reason = use.reason or _why_not_linear(use, layer)
        shape, macs = layer.weight_shape, times * once
        return Site(
            node.input[1], node.op_type, shape, macs, layer, (call,), reason, _itemsize(use)
        )
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
    return _why_not_stored(use) or linear.why_not(use.node, use.constants, layer.out_channels)


def _called(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]!r}"
