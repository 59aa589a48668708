"""An Einsum of a stored weight that is a linear layer: written as a MatMul, with axes moved around.

It sums over axes that its input and the weight share, and gives the other axes of both, in any
order: `abc,cd->abd`, `dc,abc->abd`, `abc,cde->adbe`, `bchw,oc->bohw` and `...c,cd->...d` are such.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from worker.engine.formats.onnx.constants import Constant
from worker.engine.formats.onnx.graph import fresh_name, input_name, text

_OPERANDS = 2
_DOTS = "..."


class _Product(NamedTuple):
    """The indices of the input, the weight and the result, and those that the layer's axes are."""

    left: str
    right: str
    result: str
    kept: str
    summed: str
    appended: str


def take_apart(
    node: NodeProto, model: ModelProto, known: Mapping[str, Constant], used: set[str]
) -> list[NodeProto]:
    """Return the nodes in the place of an Einsum; none where it is no linear layer."""
    operands = _operands(node, known)
    if operands is None:
        return []
    value, matrix, product = operands
    shape = known[matrix].shape
    if len(shape) != len(product.right):
        return []
    sizes = dict(zip(product.right, shape, strict=True))
    nodes = _Nodes(node, model, used)
    order = product.summed + product.appended
    matrix = nodes.transpose(matrix, product.right, order)
    summed = [sizes[label] for label in product.summed]
    appended = [sizes[label] for label in product.appended]
    if len(shape) > _OPERANDS:
        sizes_of_both = [prod(summed), prod(appended)]
        matrix = nodes.reshape(matrix, sizes_of_both)
    left_order = product.kept + product.summed
    value = nodes.transpose(value, product.left, left_order)
    # A size of 0 is that of the input.
    kept_sizes = [0] * len(product.kept)
    if len(summed) > 1:
        value = nodes.reshape(value, [*kept_sizes, -1])
    value = nodes.add("MatMul", [value, matrix])
    nodes.made[-1].name = node.name
    if len(appended) > 1:
        value = nodes.reshape(value, kept_sizes + appended)
    result_order = product.kept + product.appended
    nodes.transpose(value, result_order, product.result)
    nodes.made[-1].output[0] = node.output[0]
    return nodes.made


class _Nodes:
    """The nodes that stand in an Einsum's place, while they are added one after the other."""

    def __init__(self, node: NodeProto, model: ModelProto, used: set[str]) -> None:
        self._stem = node.output[0]
        self._model = model
        self._used = used
        self.made: list[NodeProto] = []

    def add(self, op: str, operands: Sequence[str]) -> str:
        """Add a node, and return its output."""
        stem = f"{self._stem}_{op.lower()}"
        output = fresh_name(stem, self._used)
        node = helper.make_node(op, operands, [output])
        self.made.append(node)
        return output

    def reshape(self, value: str, sizes: Sequence[int]) -> str:
        """Add a Reshape, and return its output."""
        name = fresh_name(f"{self._stem}_shape", self._used)
        array = np.array(sizes, np.int64)
        shape = numpy_helper.from_array(array, name)
        self._model.graph.initializer.append(shape)
        return self.add("Reshape", [value, name])

    def transpose(self, value: str, labels: str, order: str) -> str:
        """Add a Transpose from one order of indices to another, and return its output.

        Axes that are in order already are returned as they are.
        """
        if labels == order:
            return value
        moved = self.add("Transpose", [value])
        perm = [labels.index(label) for label in order]
        self.made[-1].attribute.append(helper.make_attribute("perm", perm))
        return moved


def _operands(
    node: NodeProto, known: Mapping[str, Constant]
) -> tuple[str, str, _Product] | None:
    """Return the input, the weight and the layer that an Einsum is; None where it is none."""
    if len(node.input) != _OPERANDS:
        return None
    equation = text(node, "equation", "").replace(" ", "")
    terms, _, result = equation.partition("->")
    left, _, right = terms.partition(",")
    value, matrix = input_name(node, 0), input_name(node, 1)
    # A product of two stored tensors is no layer.
    if (value in known) == (matrix in known):
        return None
    if value in known:
        value, matrix, left, right = matrix, value, right, left
    product = _product(left, right, result)
    if product is None:
        return None
    return (value, matrix, product)


def _product(left: str, right: str, result: str) -> _Product | None:
    """Return the linear layer that an input, a weight and a result make; None for any other.

    >>> _product("abc", "cde", "adbe")
    _Product(left='abc', right='cde', result='adbe', kept='ab', summed='c', appended='de')
    >>> _product("...c", "dc", "...d").summed
    'c'
    >>> _product("abc", "acd", "abd"), _product("a...c", "cd", "a...d"), _product("aa", "ab", "ab")
    (None, None, None)
    """
    labels = left + right + result
    if _DOTS in labels:
        return _under_dots(left, right, result)
    if not labels.isalpha():
        return None
    terms = (left, right, result)
    if any(len(set(term)) != len(term) for term in terms):
        return None
    kept = "".join(label for label in left if label in result)
    summed = "".join(label for label in left if label not in result)
    appended = "".join(label for label in result if label not in left)
    fits = sorted(right) == sorted(summed + appended)
    is_layer = bool(summed and appended) and fits
    if is_layer:
        return _Product(left, right, result, kept, summed, appended)
    return None


def _under_dots(left: str, right: str, result: str) -> _Product | None:
    """Return the layer of `...c,cd->...d`, in which any axes stay; None for any other."""
    summed, appended = left.removeprefix(_DOTS), result.removeprefix(_DOTS)
    is_plain = len(summed) == len(appended) == 1 and summed != appended
    if not is_plain or left != _DOTS + summed or result != _DOTS + appended:
        return None
    labels = sorted(summed + appended)
    if sorted(right) != labels:
        return None
    return _Product(summed, right, appended, "", summed, appended)
