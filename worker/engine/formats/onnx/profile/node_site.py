"""The site of a single node: its multiply-accumulates, its geometry, and why it cannot be replaced.

Counted: one multiply-accumulate per weight and output position, padding included.
Not counted: biases.
"""

from dataclasses import dataclass, replace
from math import prod

from onnx import TensorProto, helper

from worker.engine.formats.onnx import linear
from worker.engine.formats.onnx.convolution import geometry
from worker.engine.formats.onnx.graph import FLOATS, input_name, integer, integers
from worker.engine.formats.onnx.profile.counting_rule import EINSUM, FUSED, CountingRule
from worker.engine.formats.onnx.profile.node_use import NodeUse
from worker.engine.formats.onnx.shapes import InputShapeError, Shape
from worker.engine.model import NO_ROWS, QUANTISED, Call, Site
from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.flops import gemm_macs, matmul_macs

RUN_TIME_WEIGHT = "its weight is computed at run time"
NO_WEIGHT = "it is a product of two activations and has no weight"
LEFT_FACTOR = "its weight is the left factor of the product"
NO_ELEMENTS = "its weight has no elements"
NO_MATRIX = "its weight is not a matrix"
OUTPUT_SHAPE = "its padding depends on its output size"
CHEAPER = "it is in the cheaper branch of an If"
IN_BRANCH = "it is in a branch of an If that is not followed"

_DEFAULT_ITEMSIZE = 4


@dataclass(frozen=True)
class CountedNode:
    """A node's use and its own site; the site is None where the node is not counted."""

    use: NodeUse
    site: Site | None


def counted_node(use: NodeUse) -> CountedNode:
    """Return a node with its site, named after its weight.

    Raises:
        InputShapeError: the node cannot take operands of these shapes.
        Refusal: `model_invalid` for a convolution that contradicts itself.
    """
    site = _site(use)
    if site is not None and use.sized_by_values:
        site = replace(site, sized_by_values=True)
    return CountedNode(use, site)


def _site(use: NodeUse) -> Site | None:
    """Return a node's own site; None where the node is not counted."""
    shapes = use.operand_shapes
    if use.runs is None or shapes is None:
        return None
    # A node without outputs has no name that tells it from others.
    if not use.node.output:
        return None
    try:
        rule = use.rule
        if rule is not None:
            return _other(use, rule, use.runs)
        if use.operator in ("Conv", "ConvTranspose"):
            return _convolution(use, shapes[0], shapes[1], use.runs)
        return _product(use, shapes[0], shapes[1], use.runs)
    except InputShapeError:
        # A branch that does not run on these shapes need not fit them.
        if use.reason in (IN_BRANCH, CHEAPER):
            return None
        raise


def _other(use: NodeUse, rule: CountingRule, runs: int) -> Site:
    """Return the site of an operator that is no layer, named after its weight if it has one."""
    node = use.node
    try:
        shapes = use.rule_shapes(rule)
        is_empty = any(shape is not None and 0 in shape for shape in shapes)
        macs = 0 if is_empty else runs * rule.macs(node, shapes)
    except ValueError as error:
        raise InputShapeError(f"{use.label}: {error}") from error
    # An Einsum may have its weight at any place, and a product on its left.
    has_any_place = rule.reason in (EINSUM, FUSED)
    places = (rule.weight, *rule.inputs) if has_any_place else (rule.weight,)
    names = [input_name(node, place) for place in places]
    for weight in names:
        if weight in use.constants:
            shape = use.constants[weight].shape
            return _kept(use, weight, shape, macs, rule.reason)
    # How a product of activations is written is not the reason to keep it.
    is_product = rule.reason in (EINSUM, FUSED)
    reason = NO_WEIGHT if is_product else rule.reason
    return _kept(use, node.output[0], (), macs, reason)


def _convolution(use: NodeUse, size: Shape, weight_shape: Shape, runs: int) -> Site:
    """Return the site of a Conv or ConvTranspose.

    Shapes: the input `(batch, channels, *size)`, the weight as in `Convolution.weight_shape`.
    """
    node = use.node
    convolution = geometry(node, weight_shape)
    channels = convolution.in_channels
    if len(size) != len(weight_shape) or size[1] != channels:
        raise InputShapeError(
            f"{use.label} takes {channels} channels, its input has the shape {size}"
        )
    call = Call(size[0], size[2:], runs)
    if 0 in call.input_size:
        return _kept(use, node.input[1], weight_shape, 0, NO_ROWS)
    # A transposed convolution always fits.
    output_size = convolution.output_size(call.input_size)
    if not convolution.transposed and min(output_size) < 1:
        raise InputShapeError(
            f"{use.label}: a kernel of {convolution.kernel} does not fit into an input of "
            f"{call.input_size}"
        )
    reason = use.reason or _why_no_weight(use) or _why_no_bias(use)
    # With output_shape the padding depends on the input's size; the count does not.
    has_fixed_padding = not integers(node, "output_shape")
    if not has_fixed_padding:
        reason = reason or OUTPUT_SHAPE
    return Site(
        name=node.input[1],
        op=node.op_type,
        weight_shape=weight_shape,
        macs=runs * convolution.macs(call.input_size, call.batch),
        convolution=convolution if has_fixed_padding else None,
        calls=(call,),
        reason=reason,
        itemsize=_itemsize(use),
    )


def _product(use: NodeUse, left: Shape, right: Shape, runs: int) -> Site:
    """Return the site of a Gemm or MatMul.

    1. With a stored matrix on the right it is a linear layer.
    2. With another stored operand it has a weight, but stays.
    3. Without one it is a product of activations.
    """
    left_name, right_name = use.node.input[:2]
    macs_per_run = _product_macs(use, left, right)
    macs = runs * macs_per_run
    right_is_stored = right_name in use.constants
    if right_is_stored and 0 in right:
        return _kept(use, right_name, right, macs, NO_ELEMENTS)
    if right_is_stored and len(right) == 2:
        return _linear(use, right, macs_per_run, runs)
    if left_name in use.constants:
        return _kept(use, left_name, left, macs, LEFT_FACTOR)
    if right_is_stored:
        return _kept(use, right_name, right, macs, NO_MATRIX)
    output = use.node.output[0]
    return _kept(use, output, (), macs, NO_WEIGHT)


def _kept(use: NodeUse, name: str, weight_shape: Shape, macs: int, reason: str) -> Site:
    """Return a site that is never replaced; a reason that the use has goes before this one."""
    return Site(
        name=name,
        op=use.node.op_type,
        weight_shape=weight_shape,
        macs=macs,
        reason=use.reason or reason,
    )


def _product_macs(use: NodeUse, left: Shape, right: Shape) -> int:
    """Return the multiply-accumulates of one run of a Gemm or MatMul."""
    node = use.node
    left_transposed = bool(integer(node, "transA", 0))
    right_transposed = bool(integer(node, "transB", 0))
    try:
        if node.op_type == "Gemm":
            return gemm_macs(left, right, left_transposed, right_transposed)
        return matmul_macs(left, right)
    except ValueError as error:
        raise InputShapeError(f"{use.label}: {error}") from error


def _linear(use: NodeUse, matrix: Shape, macs_per_run: int, runs: int) -> Site:
    """Return the site of a product with a stored matrix; its batch is the number of rows."""
    node = use.node
    layer = linear.geometry(node, matrix)
    # All axes before the last one are rows of one matrix.
    rows = macs_per_run // prod(matrix)
    return Site(
        name=node.input[1],
        op=node.op_type,
        weight_shape=layer.weight_shape,
        macs=runs * macs_per_run,
        convolution=layer,
        calls=(Call(rows, (), runs),),
        reason=use.reason or _why_not_linear(use, layer),
        itemsize=_itemsize(use),
    )


def _itemsize(use: NodeUse) -> int:
    """Return the bytes of one number of a node's weight; 4 where it is not stored as floats."""
    weight = use.constants.get(use.node.input[1])
    if weight is None or weight.data_type not in FLOATS:
        return _DEFAULT_ITEMSIZE
    return int(helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize)


def _why_no_weight(use: NodeUse) -> str | None:
    """Return why a node's weight cannot be factored; None where it can."""
    weight = use.constants.get(use.node.input[1])
    if weight is None:
        return RUN_TIME_WEIGHT
    if weight.is_quantised:
        return QUANTISED
    if weight.data_type in FLOATS:
        return None
    if weight.data_type in TensorProto.DataType.values():
        name = TensorProto.DataType.Name(weight.data_type)
        return f"its weight is of type {name.lower()}"
    return f"its weight is of type {weight.data_type}"


def _why_no_bias(use: NodeUse) -> str | None:
    """Return why a convolution's bias cannot be stored anew; None where it can, or has none."""
    bias = input_name(use.node, 2)
    if bias and bias not in use.constants:
        return linear.RUN_TIME_BIAS
    return None


def _why_not_linear(use: NodeUse, layer: Convolution) -> str | None:
    """Return why a product cannot be factored as a linear layer; None where it can."""
    return _why_no_weight(use) or linear.why_not(
        use.node, use.constants, layer.out_channels
    )
