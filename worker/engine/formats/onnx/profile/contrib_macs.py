"""ONNX Runtime's own operators with multiply-accumulates: what they cost.

Source: onnxruntime's ContribOperators.md.
"""

from collections.abc import Mapping, Sequence
from math import prod

from onnx import NodeProto

from worker.engine.formats.onnx.convolution import geometry
from worker.engine.formats.onnx.graph import integer, integers
from worker.engine.formats.onnx.profile.counting_rule import (
    EXPERTS,
    FUSED,
    PRODUCT,
    RECURRENT,
    REORDERED,
    CountingRule,
)
from worker.engine.formats.onnx.profile.operand_shapes import present, recurrent
from worker.engine.formats.onnx.shapes import Shape
from worker.engine.model import INTEGERS, QUANTISED
from worker.engine.numerics.flops import gemm_macs, matmul_macs


def _convolution(node: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Count as a Conv of the same geometry."""
    x, w = present(shapes, 2)
    if len(x) != len(w):
        raise ValueError(f"a kernel of shape {w} for an input of shape {x}")
    size = x[1:-1] if integer(node, "channels_last", 0) else x[2:]
    convolution = geometry(node, w)
    return convolution.macs(size, batch=x[0])


def _by_output_positions(_: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Count a convolution whose output has the channels second: each weight at each position."""
    w, y = present(shapes, 2)
    batch = y[0]
    size = y[2:]
    positions = prod(size)
    weights = prod(w)
    return weights * batch * positions


def _by_last_channels(_: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Count a convolution whose output has the channels last: each weight at each position."""
    w, y = present(shapes, 2)
    leading = y[:-1]
    positions = prod(leading)
    weights = prod(w)
    return weights * positions


def _gemm(node: NodeProto, shapes: Sequence[Shape | None]) -> int:
    left, right = present(shapes, 2)
    left_transposed = bool(integer(node, "transA", 0))
    right_transposed = bool(integer(node, "transB", 0))
    return gemm_macs(left, right, left_transposed, right_transposed)


def _matmul(_: NodeProto, shapes: Sequence[Shape | None]) -> int:
    left, right = present(shapes, 2)
    return matmul_macs(left, right)


def _fused_matmul(node: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Count a MatMul of operands whose axes are moved first.

    >>> from onnx import helper
    >>> node = helper.make_node("FusedMatMul", ["a", "b"], ["y"], transA=1, transBatchB=1)
    >>> _fused_matmul(node, [(5, 3, 2), (3, 5, 4)])
    120
    """
    left, right = present(shapes, 2)
    a = _moved(node, left, "A")
    b = _moved(node, right, "B")
    return matmul_macs(a, b)


def _moved(node: NodeProto, shape: Shape, operand: str) -> Shape:
    """Return the shape of an operand of a FusedMatMul as MatMul has it.

    `transBatch` moves the first axis behind the other batch axes; `trans` swaps the last two.
    """
    if len(shape) < 2:
        return shape
    moved = list(shape)
    if integer(node, f"transBatch{operand}", 0):
        rows = moved.pop(0)
        moved.insert(-1, rows)
    if integer(node, f"trans{operand}", 0):
        last_two = moved[-2:]
        moved[-2:] = reversed(last_two)
    return tuple(moved)


def _blocks(node: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Count a product with a packed weight, whose sizes are the attributes K and N."""
    (x,) = present(shapes, 1)
    inner = integer(node, "K", 0)
    outputs = integer(node, "N", 0)
    leading = x[:-1]
    rows = prod(leading)
    return rows * inner * outputs


def _attention(node: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Count an Attention with its projections.

    Shapes: x `(batch, rows, inputs)`, the weight `(inputs, widths of query, key and value)`, the
    past `(2, batch, heads, columns, depth)`.

    >>> from onnx import helper
    >>> node = helper.make_node("Attention", ["x", "w"], ["y"], num_heads=2)
    >>> _attention(node, [(1, 5, 8), (8, 24), None])
    1360
    """
    x, w = present(shapes, 2)
    batch, rows, inputs = x
    past = shapes[2] if len(shapes) > 2 else None
    columns = rows
    if past is not None:
        columns += past[3]
    equal_widths = (w[1] // 3,) * 3
    widths = integers(node, "qkv_hidden_sizes") or equal_widths
    projections = batch * rows * inputs * w[1]
    products = batch * rows * columns
    both_widths = widths[0] + widths[2]
    return projections + products * both_widths


def _multi_head_attention(_: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Count the products of queries with keys and of the weights with values.

    Shapes: the query `(batch, rows, width)`, or packed with key and value
    `(batch, rows, heads, 3, depth)`. The key `(batch, columns, width)`, packed with the value
    `(batch, columns, heads, 2, depth)`, or `(batch, heads, columns, depth)`. The past of the key
    `(batch, heads, columns, depth)`.
    """
    (query,) = present(shapes, 1)
    key, value, past = shapes[1:]
    batch, rows = query[:2]
    packed = 3 if len(query) == 5 else 1
    own_axes = query[2:]
    width = prod(own_axes) // packed
    columns = rows
    value_width = width
    if key is not None:
        columns = key[2] if len(key) == 4 else key[1]
    if value is not None:
        value_width = value[2] if len(value) == 3 else value[1] * value[3]
    if past is not None:
        columns += past[2]
    products = batch * rows * columns
    return products * (width + value_width)


def _grouped_attention(node: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Count a GroupQueryAttention, whose output `present` has as many columns as it attends to.

    Shapes: the query `(batch, rows, width)`, packed with key and value where the key is omitted;
    the key; present `(batch, key heads, columns, depth)`.
    """
    query, key, present_key = shapes
    if query is None or present_key is None:
        raise ValueError("the query or the present key is missing")
    batch, rows, width = query
    heads = integer(node, "num_heads", 0)
    key_heads = integer(node, "kv_num_heads", 0)
    if key is None:
        heads_of_all = heads + 2 * key_heads
        width = width * heads // max(heads_of_all, 1)
    columns = present_key[2]
    return 2 * batch * rows * columns * width


def _experts(node: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Count the layers of the `k` experts that each row goes to.

    Shapes: x `(..., inputs)`, each weight `(experts, outputs, inputs)`. The third one is optional.
    """
    x, *weights = [shape for shape in shapes if shape is not None]
    matrices = [shape[1:] for shape in weights]
    an_expert = sum(map(prod, matrices))
    leading = x[:-1]
    rows = prod(leading)
    experts = integer(node, "k", 1)
    return rows * experts * an_expert


def _distances(_: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Count one squared difference per pair of rows and column, of `(rows, columns)` each."""
    left, right = present(shapes, 2)
    pairs = left[0] * right[0]
    return pairs * left[1]


_FUSED_PRODUCT = CountingRule(_fused_matmul, FUSED)
_PACKED = CountingRule(_blocks, QUANTISED, (0,), required=1)
_LAST = CountingRule(_by_last_channels, FUSED, (1,), required=1, outputs=(0,))

_MICROSOFT: Mapping[str, CountingRule] = {
    "FusedConv": CountingRule(_convolution, FUSED),
    "NhwcConv": _LAST,
    "NhwcFusedConv": _LAST,
    "FusedGemm": CountingRule(_gemm, FUSED),
    "GemmFastGelu": CountingRule(_matmul, FUSED),
    "FusedMatMul": _FUSED_PRODUCT,
    "FusedMatMulActivation": _FUSED_PRODUCT,
    "TransposeMatMul": _FUSED_PRODUCT,
    "ConvTransposeWithDynamicPads": CountingRule(_convolution, FUSED),
    "Attention": CountingRule(_attention, FUSED, (0, 1, 4)),
    "QAttention": CountingRule(_attention, INTEGERS, (0, 1, 8)),
    "MultiHeadAttention": CountingRule(
        _multi_head_attention, PRODUCT, (0, 1, 2, 6), required=1
    ),
    "GroupQueryAttention": CountingRule(
        _grouped_attention, PRODUCT, (0, 1), required=1, outputs=(1,)
    ),
    "MatMulNBits": _PACKED,
    "MatMulBnb4": _PACKED,
    "QGemm": CountingRule(_gemm, INTEGERS, (0, 3), weight=3),
    "QLinearConv": CountingRule(_convolution, INTEGERS, (0, 3), weight=3),
    "DynamicQuantizeMatMul": CountingRule(_matmul, INTEGERS),
    "MatMulIntegerToFloat": CountingRule(_matmul, INTEGERS),
    "MatMulInteger16": CountingRule(_matmul, INTEGERS),
    "DynamicQuantizeLSTM": CountingRule(recurrent, RECURRENT, (0, 1, 2), required=3),
    "CDist": CountingRule(_distances, PRODUCT),
    "MoE": CountingRule(_experts, EXPERTS, (0, 2, 4, 6), weight=2, required=3),
}

CONTRIB_OPERATORS: Mapping[str, CountingRule] = {
    **{f"com.microsoft::{name}": rule for name, rule in _MICROSOFT.items()},
    "com.microsoft.nchwc::Conv": CountingRule(
        _by_output_positions, REORDERED, (1,), required=1, outputs=(0,)
    ),
}
"""ONNX Runtime's operators that are counted, by their names with the domain."""
