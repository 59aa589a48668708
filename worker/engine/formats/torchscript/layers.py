"""Which nodes of a TorchScript graph multiply and accumulate, and what each of them says about itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor
from torch._C import Node, Value

from worker.engine.formats.torchscript.graph import UNKNOWN, Scope, nodes
from worker.engine.numerics.convolution import Convolution

# The positions of the arguments, by operator; a convolution's own are stride, padding, dilation, groups and so on.
_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = (
    "input",
    "weight",
    "bias",
    "stride",
    "padding",
    "output_padding",
    "groups",
    "dilation",
)
_GENERAL = (
    "input",
    "weight",
    "bias",
    "stride",
    "padding",
    "dilation",
    "transposed",
    "output_padding",
    "groups",
)
_CONVOLUTIONS: dict[str, Sequence[str]] = {
    "aten::conv1d": _CONV,
    "aten::conv2d": _CONV,
    "aten::conv3d": _CONV,
    "aten::_convolution_mode": _CONV,
    "aten::conv_transpose1d": _TRANSPOSED,
    "aten::conv_transpose2d": _TRANSPOSED,
    "aten::conv_transpose3d": _TRANSPOSED,
    "aten::convolution": _GENERAL,
    "aten::_convolution": _GENERAL,
}
# Where the operands of a product stand, left and right; `aten::linear` takes its right one transposed.
_PRODUCTS = {
    "aten::linear": (0, 1),
    "aten::matmul": (0, 1),
    "aten::mm": (0, 1),
    "aten::addmm": (1, 2),
}
_TRANSPOSITIONS = frozenset({"aten::t", "aten::transpose", "aten::numpy_T"})

WEIGHT = "its weight is computed at run time"
BIAS = "its bias is computed at run time"
LEFT_FACTOR = "its weight is the left factor of the product"
NO_ROW = "its bias is not the same for every row"
SCALED = "its product is scaled"

Key = tuple[int, int, tuple[int, ...], tuple[int, ...]]
"""What makes two tensors the same: storage, offset, shape and strides."""


def key_of(tensor: Tensor) -> Key:
    """Return what identifies a tensor, by whatever name it is reached, for as long as it lives."""
    return (
        tensor.untyped_storage()._cdata,
        int(tensor.storage_offset()),
        tuple(tensor.shape),
        tuple(tensor.stride()),
    )


class Identity(NamedTuple):
    """What makes nodes calls of one site: the same weight, bias and geometry; `reason` says why it must stay.

    All linear layers of one weight are one site: a run does not show what else they have, or have not, in common.
    """

    weight: Key | None
    bias: Key | None
    convolution: Convolution | None
    reason: str | None


@dataclass(frozen=True)
class Use:
    """One node that uses a weight. `weight` is None where it is computed at run time, `path` where it is a constant.

    `convolution` is None where an argument is computed at run time; `reason` says why the node cannot be replaced.
    `turned` is set where the weight is stored as the transpose of what a `Layer` holds; `data` is the position of the
    argument that the layer is applied to.
    """

    scope: Scope
    node: Node
    op: str
    weight: Tensor | None
    path: str | None
    bias: Tensor | None
    convolution: Convolution | None
    reason: str | None
    turned: bool = False
    data: int = 0

    @property
    def identity(self) -> Identity:
        """What this node has in common with the other calls of its site."""
        weight, bias = (
            None if tensor is None else key_of(tensor) for tensor in (self.weight, self.bias)
        )
        if self.convolution is not None and not self.convolution.kernel:
            return Identity(weight, None, self.convolution, None)
        return Identity(weight, bias, self.convolution, self.reason)


def uses(scope: Scope) -> Iterator[Use]:
    """Yield the convolutions of a graph, and its linear layers: products with a stored matrix."""
    for node in nodes(scope.graph):
        kind = node.kind()
        if kind in _CONVOLUTIONS:
            yield _convolution(
                scope, node, dict(zip(_CONVOLUTIONS[kind], node.inputs(), strict=False))
            )
        elif kind in _PRODUCTS:
            yield from _linear(scope, node)


def _convolution(scope: Scope, node: Node, arguments: dict[str, Value]) -> Use:
    weight, bias = (scope.constant(arguments[name]) for name in ("weight", "bias"))
    if not _is_stored(weight):
        return Use(scope, node, node.kind(), None, None, None, None, WEIGHT)
    settings = {
        name: scope.constant(value) for name, value in arguments.items() if name not in _CONV[:3]
    }
    settings.setdefault("transposed", "transpose" in node.kind())
    op = convolution_name(weight.dim() - 2, settings["transposed"] is True)
    found = partial(Use, scope, node, op, weight, scope.path_of(arguments["weight"]))
    if bias is not None and not _is_stored(bias):
        return found(None, None, BIAS)
    computed = [name for name, value in settings.items() if value is UNKNOWN]
    if computed:
        return found(bias, None, f"its {computed[0]} is computed at run time")
    try:
        convolution = geometry(tuple(weight.shape), **settings)
    except ValueError:
        return found(bias, None, "its arguments do not fit its weight")
    return found(bias, convolution, _why_not_stored(weight))


def convolution_name(axes: int, transposed: bool) -> str:
    """Name the operator by what it does, however the file spells it."""
    return f"conv_transpose{axes}d" if transposed else f"conv{axes}d"


def _is_stored(weight: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor in memory that can be read, not one packed for some kernel."""
    return isinstance(weight, Tensor) and weight.layout == torch.strided and not weight.is_quantized


def _why_not_stored(weight: Tensor) -> str | None:
    if not weight.is_floating_point():
        return f"its weight is of type {str(weight.dtype).removeprefix('torch.')}"
    if weight.numel() == 0:
        return "its weight is empty"
    return None


def geometry(
    weight_shape: tuple[int, ...],
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
    transposed: bool = False,
    output_padding: Sequence[int] = (),
) -> Convolution:
    """Return the geometry that torch's arguments mean, with zeros before and behind each axis for 'same' and 'valid'.

    Raises:
        ValueError: arguments for another number of axes than the weight's.

    >>> geometry((8, 3, 4, 3), [1], "same", [1, 1], 1).padding
    ((1, 2), (1, 1))
    """
    axes = len(weight_shape) - 2
    if axes < 1:
        raise ValueError(f"a convolution's weight has three axes or more, not {weight_shape}")
    steps = _per_axis(dilation, axes)
    pairs = (
        tuple((size, size) for size in _per_axis(padding, axes))
        if not isinstance(padding, str)
        else ()
    )
    if padding == "valid":
        pairs = ((0, 0),) * axes
    elif padding == "same":
        totals = [step * (size - 1) for step, size in zip(steps, weight_shape[2:], strict=True)]
        pairs = tuple((total // 2, total - total // 2) for total in totals)
    return Convolution(
        weight_shape,
        stride=_per_axis(stride, axes),
        padding=pairs,
        dilation=steps,
        groups=groups,
        transposed=transposed,
        output_padding=_per_axis(output_padding, axes) if transposed else (),
    )


def linear_geometry(inputs: int, outputs: int) -> Convolution:
    """A linear layer is a convolution without spatial axes."""
    return Convolution((outputs, inputs), stride=(), padding=(), dilation=())


def _linear(scope: Scope, node: Node) -> Iterator[Use]:
    left, right = _PRODUCTS[node.kind()]
    for operand, data in ((right, left), (left, right)):
        value = node.inputsAt(operand)
        transposed = value.node().kind() in _TRANSPOSITIONS
        source = value.node().inputsAt(0) if transposed else value
        weight = scope.constant(source)
        if _is_stored(weight) and weight.dim() == 2:
            turned = transposed == (
                node.kind() == "aten::linear"
            )  # is it (c, n), where a layer's is (n, c)?
            rows, columns = reversed(weight.shape) if turned else weight.shape
            bias, reason = _addend(scope, node, rows)
            if operand == left:
                rows, columns, reason = columns, rows, LEFT_FACTOR
            found = partial(Use, scope, node, "linear", weight, scope.path_of(source), bias)
            convolution = linear_geometry(columns, rows)
            yield found(convolution, reason or _why_not_stored(weight), turned=turned, data=data)
            return


def _addend(scope: Scope, node: Node, outputs: int) -> tuple[Tensor | None, str | None]:
    """Return what a product adds to every row, and why it cannot be the bias of a layer."""
    if node.kind() in ("aten::matmul", "aten::mm"):
        return None, None
    if node.kind() == "aten::addmm" and [scope.constant(node.inputsAt(at)) for at in (3, 4)] != [
        1,
        1,
    ]:
        return None, SCALED
    bias = scope.constant(node.inputsAt(0 if node.kind() == "aten::addmm" else 2))
    if bias is None:
        return None, None
    if not _is_stored(bias):
        return None, BIAS
    return bias, None if bias.shape == (outputs,) else NO_ROW


def _per_axis(values: Sequence[int], axes: int) -> tuple[int, ...]:
    """One number stands for all axes."""
    full = tuple(values) * axes if len(values) == 1 else tuple(values)
    if len(full) != axes:
        raise ValueError(f"{full} for {axes} axes")
    return full
