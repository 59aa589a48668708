"""ONNX operators with multiply-accumulates that are no layer to be replaced: what they cost, and why they are left.

Source: the operators' specification. As everywhere, one is counted per element of a product's output and element that
is summed over.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod

from onnx import NodeProto

from worker.engine.formats.onnx.convolution import geometry
from worker.engine.formats.onnx.graph import integer, text
from worker.engine.numerics.flops import matmul_macs

Shape = tuple[int, ...]
Macs = Callable[[NodeProto, Sequence[Shape]], int]

RECURRENT = "recurrent layers are left as they are"
INTEGERS = "it computes with integers"
DEFORMED = "its kernel is deformed at run time"
PRODUCT = "it is a product of activations"


def _recurrent(_: NodeProto, shapes: Sequence[Shape]) -> int:
    """Every step multiplies the input by W and the state by R; peepholes are no products of matrices."""
    x, w, r = shapes
    if len(x) != 3 or len(w) != 3 or len(r) != 3 or x[2] != w[2]:
        raise ValueError(f"shapes {x}, {w} and {r} fit no recurrent layer")
    return x[0] * x[1] * (prod(w) + prod(r))


def _convolution(node: NodeProto, shapes: Sequence[Shape]) -> int:
    x, w = shapes
    if len(x) != len(w):
        raise ValueError(f"a kernel of shape {w} for an input of shape {x}")
    return geometry(node, w).macs(x[2:], x[0])


def _matmul(_: NodeProto, shapes: Sequence[Shape]) -> int:
    return matmul_macs(*shapes)


def einsum(node: NodeProto, shapes: Sequence[Shape]) -> int:
    """Count a product of two: each of all its indices' values once.

    >>> from onnx import helper
    >>> einsum(helper.make_node("Einsum", ["a", "b"], ["c"], equation="...ij,...jk->...ik"), [(5, 2, 3), (1, 3, 4)])
    120
    """
    terms = text(node, "equation", "").replace(" ", "").partition("->")[0].split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"{len(shapes)} operands for {len(terms)} terms")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        front, dots, behind = term.partition("...")
        hidden = len(shape) - len(front) - len(behind)
        if hidden < 0 or (hidden and not dots):
            raise ValueError(f"{term!r} for an operand of shape {shape}")
        labels = [
            *front,
            *(f"...{hidden - at}" for at in range(hidden)),
            *behind,
        ]  # dots align at their last axes
        for label, size in zip(labels, shape, strict=True):
            known = sizes.setdefault(label, size)
            if size != known and 1 not in (size, known):
                raise ValueError(f"an axis has {known} and {size} elements")
            sizes[label] = max(size, known)
    return prod(sizes.values())


def _attention(node: NodeProto, shapes: Sequence[Shape]) -> int:
    """Queries by keys, and weights by values, for every head of the queries; masks make nothing cheaper."""
    query, key, value, *past = shapes
    if len(query) == 3:
        heads, key_heads = integer(node, "q_num_heads", 0), integer(node, "kv_num_heads", 0)
        if heads < 1 or key_heads < 1:
            raise ValueError(f"{heads} and {key_heads} heads")
        batch, rows = query[:2]
        columns, depth, width = key[1], query[2] // heads, value[2] // key_heads
    else:
        batch, heads, rows, depth = query
        columns, width = key[2], value[3]
    columns += past[0][2] if past else 0
    return batch * heads * rows * columns * (depth + width)


OTHERS: Mapping[str, tuple[tuple[int, ...], Macs, str]] = {
    "RNN": ((0, 1, 2), _recurrent, RECURRENT),
    "GRU": ((0, 1, 2), _recurrent, RECURRENT),
    "LSTM": ((0, 1, 2), _recurrent, RECURRENT),
    "ConvInteger": ((0, 1), _convolution, INTEGERS),
    "QLinearConv": ((0, 3), _convolution, INTEGERS),
    "MatMulInteger": ((0, 1), _matmul, INTEGERS),
    "QLinearMatMul": ((0, 3), _matmul, INTEGERS),
    "DeformConv": ((0, 1), _convolution, DEFORMED),
    "Einsum": ((0, 1), einsum, PRODUCT),
    "Attention": ((0, 1, 2, 4), _attention, PRODUCT),
}
"""By operator: the inputs whose shapes tell the cost, where they are given; the cost; and why it is left."""


def operands(node: NodeProto) -> list[str]:
    """Return the values whose shapes tell what a node costs."""
    positions = OTHERS[node.op_type][0]
    return [node.input[at] for at in positions if at < len(node.input) and node.input[at]]


def is_counted(node: NodeProto) -> bool:
    """Return whether the cost of a node of one of these operators is told here: an Einsum's only for two operands."""
    least = 2 if len(OTHERS[node.op_type][0]) == 2 else 3
    return len(operands(node)) >= least and not (node.op_type == "Einsum" and len(node.input) != 2)
