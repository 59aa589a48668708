"""ONNX operators with multiply-accumulates that are no layers: their costs, and why they stay.

Counted: one multiply-accumulate per element of a product's output and element that is summed over.
Not counted: biases, activations, masks, peepholes.

Source: the operators' specification.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple

from onnx import NodeProto

from worker.engine.formats.onnx.convolution import geometry
from worker.engine.formats.onnx.graph import integer, text
from worker.engine.formats.onnx.shapes import Shape
from worker.engine.numerics.flops import matmul_macs

Macs = Callable[[NodeProto, Sequence[Shape]], int]

RECURRENT = "recurrent layers are not factored"
INTEGERS = "it computes with integers"
DEFORMED = "its kernel is offset at run time"
PRODUCT = "it is a product of activations"


class OtherOperator(NamedTuple):
    """The positions of the inputs whose shapes decide the cost, the cost, and why it stays."""

    positions: tuple[int, ...]
    macs: Macs
    reason: str


def _recurrent(_: NodeProto, shapes: Sequence[Shape]) -> int:
    """Every step multiplies the input by W and the state by R.

    Shapes: x `(steps, batch, inputs)`, W `(directions, gates * hidden, inputs)`,
    R `(directions, gates * hidden, hidden)`.

    >>> _recurrent(NodeProto(op_type="LSTM"), [(5, 2, 8), (1, 16, 8), (1, 16, 4)])
    1920
    """
    x, w, r = shapes
    have_three_axes = len(x) == len(w) == len(r) == 3
    if not have_three_axes or x[2] != w[2]:
        raise ValueError(f"shapes {x}, {w} and {r} fit no recurrent layer")
    macs_per_row = prod(w) + prod(r)
    steps, batch, _inputs = x
    return steps * batch * macs_per_row


def _convolution(node: NodeProto, shapes: Sequence[Shape]) -> int:
    """Count as a Conv of the same geometry: the type of its numbers changes nothing."""
    x, w = shapes
    if len(x) != len(w):
        raise ValueError(f"a kernel of shape {w} for an input of shape {x}")
    size = x[2:]
    return geometry(node, w).macs(size, batch=x[0])


def _matmul(_: NodeProto, shapes: Sequence[Shape]) -> int:
    """Count as a MatMul."""
    left, right = shapes
    return matmul_macs(left, right)


def einsum(node: NodeProto, shapes: Sequence[Shape]) -> int:
    """Return the cost of an Einsum of two operands: the product of the sizes of all its indices.

    Raises:
        ValueError: the shapes do not fit the equation.

    >>> from onnx import helper
    >>> node = helper.make_node("Einsum", ["a", "b"], ["c"], equation="...ij,...jk->...ik")
    >>> einsum(node, [(5, 2, 3), (1, 3, 4)])
    120
    """
    equation = text(node, "equation", "").replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"{len(shapes)} operands for {len(terms)} terms")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for label, size in zip(_labels(term, shape), shape, strict=True):
            known = sizes.setdefault(label, size)
            # An axis of one element is broadcast.
            if size != known and 1 not in (size, known):
                raise ValueError(f"an axis has {known} and {size} elements")
            # The largest size is the one that is computed.
            sizes[label] = max(size, known)
    return prod(sizes.values())


def _labels(term: str, shape: Shape) -> list[str]:
    """Return the index of each axis of an operand; those under dots are `...N` to `...1`.

    Axes under dots are numbered from the last one, where they are aligned.

    >>> _labels("i...j", (2, 3, 4, 5))
    ['i', '...2', '...1', 'j']
    """
    before, dots, after = term.partition("...")
    named = len(before) + len(after)
    hidden = len(shape) - named
    if hidden < 0 or (hidden and not dots):
        raise ValueError(f"{term!r} for an operand of shape {shape}")
    under_dots = [f"...{number}" for number in range(hidden, 0, -1)]
    return [*before, *under_dots, *after]


def _attention(node: NodeProto, shapes: Sequence[Shape]) -> int:
    """Each head multiplies queries by keys, and the weights by values.

    With four axes, the query is `(batch, heads, rows, depth)`, the key
    `(batch, heads, columns, depth)` and the value `(batch, heads, columns, width)`. With three,
    the query is `(batch, rows, heads * depth)`, and so on. The key of the past adds columns.
    """
    query, key, value, *past = shapes
    if len(query) == 3:
        heads = integer(node, "q_num_heads", 0)
        key_heads = integer(node, "kv_num_heads", 0)
        if heads < 1 or key_heads < 1:
            raise ValueError(f"{heads} and {key_heads} heads")
        batch, rows = query[:2]
        columns = key[1]
        depth = query[2] // heads
        width = value[2] // key_heads
    else:
        batch, heads, rows, depth = query
        columns = key[2]
        width = value[3]
    # Queries attend to the past too.
    if past:
        columns += past[0][2]
    products = batch * heads * rows * columns
    return products * (depth + width)


OTHER_OPERATORS: Mapping[str, OtherOperator] = {
    "RNN": OtherOperator((0, 1, 2), _recurrent, RECURRENT),
    "GRU": OtherOperator((0, 1, 2), _recurrent, RECURRENT),
    "LSTM": OtherOperator((0, 1, 2), _recurrent, RECURRENT),
    "ConvInteger": OtherOperator((0, 1), _convolution, INTEGERS),
    "QLinearConv": OtherOperator((0, 3), _convolution, INTEGERS),
    "MatMulInteger": OtherOperator((0, 1), _matmul, INTEGERS),
    "QLinearMatMul": OtherOperator((0, 3), _matmul, INTEGERS),
    "DeformConv": OtherOperator((0, 1), _convolution, DEFORMED),
    "Einsum": OtherOperator((0, 1), einsum, PRODUCT),
    "Attention": OtherOperator((0, 1, 2, 4), _attention, PRODUCT),
}


def shape_inputs(node: NodeProto) -> list[str]:
    """Return the inputs whose shapes decide the cost of a node, without those it omits.

    >>> shape_inputs(NodeProto(op_type="Attention", input=["q", "k", "v", "", "past"]))
    ['q', 'k', 'v', 'past']
    """
    positions = OTHER_OPERATORS[node.op_type].positions
    inputs = [node.input[position] for position in positions if position < len(node.input)]
    return [name for name in inputs if name]


def has_macs(node: NodeProto) -> bool:
    """Return whether the cost of a node of these operators is known.

    An Einsum's is known for two operands alone: the cost of others depends on their order.

    >>> has_macs(NodeProto(op_type="Einsum", input=["a", "b", "c"]))
    False
    """
    if node.op_type == "Einsum" and len(node.input) != 2:
        return False
    # The past of an Attention is optional; all other operands are needed.
    required = min(len(OTHER_OPERATORS[node.op_type].positions), 3)
    return len(shape_inputs(node)) >= required
