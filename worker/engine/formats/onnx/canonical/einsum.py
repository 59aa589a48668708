"""An Einsum of a stored weight that is a linear layer: written as Reshape, MatMul and Reshape.

It sums over the last axes of its input, which are the first or the last ones of the weight, and
appends the other axes of the weight: `abc,cd->abd`, `abc,dc->abd`, `abc,cde->abde` and
`abde,dec->abc` are such.
"""

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from worker.engine.formats.onnx.constants import Constant
from worker.engine.formats.onnx.graph import fresh_name, input_name, text

_OPERANDS = 2


class _Product(NamedTuple):
    """The number of axes that stay, are summed over and are appended, and the weight's order."""

    kept: int
    summed: int
    appended: int
    appends_first: bool


def take_apart(
    node: NodeProto, model: ModelProto, known: Mapping[str, Constant], used: set[str]
) -> list[NodeProto]:
    """Return the nodes in the place of an Einsum; none where it is no linear layer."""
    weight = known.get(input_name(node, 1))
    product = _product(text(node, "equation", ""))
    if weight is None or product is None or len(node.input) != _OPERANDS:
        return []
    kept, summed, appended, appends_first = product
    shape = weight.shape
    if len(shape) != summed + appended:
        return []
    nodes: list[NodeProto] = []

    def add(op: str, operands: list[str]) -> str:
        output = fresh_name(f"{node.output[0]}_{op.lower()}", used)
        nodes.append(helper.make_node(op, operands, [output]))
        return output

    def reshape(value: str, sizes: list[int]) -> str:
        name = fresh_name(f"{node.output[0]}_shape", used)
        model.graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
        return add("Reshape", [value, name])

    first = appended if appends_first else summed
    matrix = node.input[1]
    if len(shape) > 2:
        matrix = reshape(matrix, [prod(shape[:first]), prod(shape[first:])])
    if appends_first:
        # Without `perm` the axes are reversed.
        matrix = add("Transpose", [matrix])
    # A size of 0 is that of the input.
    value = node.input[0]
    if summed > 1:
        value = reshape(value, [0] * kept + [-1])
    value = add("MatMul", [value, matrix])
    nodes[-1].name = node.name
    if appended > 1:
        rest = shape[:first] if appends_first else shape[first:]
        reshape(value, [0] * kept + list(rest))
    nodes[-1].output[0] = node.output[0]
    return nodes


def _product(equation: str) -> _Product | None:
    """Return the linear layer that an equation is; None for any other.

    >>> _product("abc,cde->abde")
    _Product(kept=2, summed=1, appended=2, appends_first=False)
    >>> _product("abc,dc->abd")
    _Product(kept=2, summed=1, appended=1, appends_first=True)
    >>> _product("abc,acd->abd"), _product("ab,bc->ca"), _product("a...c,cd->a...d")
    (None, None, None)
    """
    operands, _, result = equation.replace(" ", "").partition("->")
    left, _, right = operands.partition(",")
    if not result or not (left + right + result).isalpha():
        return None
    if any(len(set(term)) != len(term) for term in (left, right, result)):
        return None
    summed = "".join(label for label in left if label not in result)
    kept = left[: len(left) - len(summed)]
    appended = "".join(label for label in right if label not in summed)
    is_layer = summed and appended and left == kept + summed and result == kept + appended
    if not is_layer or set(appended) & set(left):
        return None
    if right not in (summed + appended, appended + summed):
        return None
    return _Product(len(kept), len(summed), len(appended), right == appended + summed)
