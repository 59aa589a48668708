"""Operators of ONNX, and of its domains beside, with multiply-accumulates that are no layers.

Counted: one multiply-accumulate per element of a product's output and element that is summed over.
Not counted: biases, activations, masks, peepholes.

Source: the operators' specification.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod

from onnx import NodeProto

from worker.engine.formats.onnx.convolution import geometry
from worker.engine.formats.onnx.graph import integer, text
from worker.engine.formats.onnx.profile.contrib_macs import CONTRIB_OPERATORS
from worker.engine.formats.onnx.profile.counting_rule import (
    DEFORMED,
    DEPTHWISE,
    EINSUM,
    PRODUCT,
    RECURRENT,
    TABLE,
    CountingRule,
)
from worker.engine.formats.onnx.profile.operand_shapes import present, recurrent
from worker.engine.formats.onnx.shapes import Shape
from worker.engine.model import INTEGERS
from worker.engine.numerics.flops import matmul_macs

_LEAST_FACTORS = 2
_TABLE_WEIGHTS = ("coefficients", "support_vectors")


def _convolution(node: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Count as a Conv of the same geometry: the type of its numbers changes nothing."""
    x, w = present(shapes, 2)
    if len(x) != len(w):
        raise ValueError(f"a kernel of shape {w} for an input of shape {x}")
    size = x[2:]
    convolution = geometry(node, w)
    return convolution.macs(size, batch=x[0])


def _matmul(_: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Count as a MatMul."""
    left, right = present(shapes, 2)
    return matmul_macs(left, right)


def einsum(node: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Return the cost of an Einsum, whose operands are multiplied from left to right.

    Each product costs the sizes of all indices of its two operands, multiplied. An index that
    neither a later operand nor the result has is summed over.

    Raises:
        ValueError: the shapes do not fit the equation.

    >>> from onnx import helper
    >>> node = helper.make_node("Einsum", ["a", "b"], ["c"], equation="...ij,...jk->...ik")
    >>> einsum(node, [(5, 2, 3), (1, 3, 4)])
    120
    >>> node = helper.make_node("Einsum", ["a", "b", "c"], ["d"], equation="ij,jk,kl->il")
    >>> einsum(node, [(2, 3), (3, 4), (4, 5)])
    64
    """
    operands = present(shapes, len(shapes))
    equation = text(node, "equation", "").replace(" ", "")
    inputs, arrow, result = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"{len(operands)} operands for {len(terms)} terms")
    pairs = zip(terms, operands, strict=True)
    labels = [_labels(term, shape) for term, shape in pairs]
    sizes = _sizes(labels, operands)
    result_term = result if arrow else None
    kept = _result_labels(inputs, labels, result_term)
    total = 0
    left = set(labels[0])
    later_labels = labels[1:]
    for position, right in enumerate(later_labels, start=1):
        joined = left | set(right)
        joined_sizes = [sizes[label] for label in joined]
        total += prod(joined_sizes)
        rest = labels[position + 1 :]
        later = kept.union(*rest)
        left = joined & later
    return total


def _sizes(labels: Sequence[Sequence[str]], shapes: Sequence[Shape]) -> dict[str, int]:
    """Return the size of each index.

    Raises:
        ValueError: an index has two sizes.
    """
    sizes: dict[str, int] = {}
    for own, shape in zip(labels, shapes, strict=True):
        for label, size in zip(own, shape, strict=True):
            known = sizes.setdefault(label, size)
            # An axis of one element is broadcast.
            if size != known and 1 not in (size, known):
                raise ValueError(f"an axis has {known} and {size} elements")
            # The largest size is the one that is computed.
            sizes[label] = max(size, known)
    return sizes


def _result_labels(
    inputs: str, labels: Sequence[Sequence[str]], result: str | None
) -> frozenset[str]:
    """Return the indices of the result; without an arrow, those that occur once."""
    indices = chain.from_iterable(labels)
    hidden = {label for label in indices if label.startswith("...")}
    if result is None:
        named = {
            label for label in inputs if label.isalpha() and inputs.count(label) == 1
        }
        return frozenset(named | hidden)
    explicit = result.replace(".", "")
    named = set(explicit)
    return frozenset(named | hidden if "..." in result else named)


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
    numbers = range(hidden, 0, -1)
    under_dots = [f"...{number}" for number in numbers]
    return [*before, *under_dots, *after]


def _attention(node: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Each head multiplies queries by keys, and the weights by values.

    With four axes, the query is `(batch, heads, rows, depth)`, the key
    `(batch, heads, columns, depth)` and the value `(batch, heads, columns, width)`. With three,
    the query is `(batch, rows, heads * depth)`, and so on. The key of the past adds columns.
    """
    query, key, value = present(shapes, 3)
    past = shapes[3] if len(shapes) > 3 else None
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
    if past is not None:
        columns += past[2]
    products = batch * heads * rows * columns
    return products * (depth + width)


def _causal_convolution(_: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Each position is multiplied by the depthwise kernel; x is `(batch, channels, positions)`."""
    x, w = present(shapes, 2)
    positions = prod(x[2:])
    return x[0] * positions * prod(w)


def _table_product(node: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Each row is multiplied by all coefficients, and by all support vectors."""
    (x,) = present(shapes, 1)
    rows = x[0] if len(x) > 1 else 1
    weights = [
        len(each.floats) for each in node.attribute if each.name in _TABLE_WEIGHTS
    ]
    return rows * sum(weights)


_RECURRENT = CountingRule(recurrent, RECURRENT, (0, 1, 2), required=3)
_ATTENTION = CountingRule(_attention, PRODUCT, (0, 1, 2, 4), required=3)
_CAUSAL = CountingRule(_causal_convolution, DEPTHWISE)
_TABLE = CountingRule(_table_product, TABLE, (0,), required=1)

OTHER_OPERATORS: Mapping[str, CountingRule] = {
    "RNN": _RECURRENT,
    "GRU": _RECURRENT,
    "LSTM": _RECURRENT,
    "ConvInteger": CountingRule(_convolution, INTEGERS),
    "QLinearConv": CountingRule(_convolution, INTEGERS, (0, 3), weight=3),
    "MatMulInteger": CountingRule(_matmul, INTEGERS),
    "QLinearMatMul": CountingRule(_matmul, INTEGERS, (0, 3), weight=3),
    "DeformConv": CountingRule(_convolution, DEFORMED),
    "Einsum": CountingRule(einsum, EINSUM),
    "Attention": _ATTENTION,
    "ai.onnx.preview::FlexAttention": CountingRule(
        _attention, PRODUCT, (0, 1, 2), required=3
    ),
    "CausalConvWithState": _CAUSAL,
    "com.microsoft::CausalConvWithState": _CAUSAL,
    "ai.onnx.ml::LinearClassifier": _TABLE,
    "ai.onnx.ml::LinearRegressor": _TABLE,
    "ai.onnx.ml::SVMClassifier": _TABLE,
    "ai.onnx.ml::SVMRegressor": _TABLE,
    **CONTRIB_OPERATORS,
}
"""The operators that are counted but are no layers, by their names with the domain."""


def rule_of(kind: str, node: NodeProto) -> CountingRule | None:
    """Return the rule of a node of an operator; None where there is none, or no product."""
    rule = OTHER_OPERATORS.get(kind)
    # An Einsum has as many operands as its equation has terms.
    if rule is not None and kind == "Einsum":
        places = tuple(range(len(node.input)))
        if len(places) < _LEAST_FACTORS:
            return None
        return CountingRule(rule.macs, rule.reason, places, required=len(places))
    return rule
