"""The layers of a TorchScript graph: nodes that multiply by a weight, with their geometry."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor
from torch._C import Node, Value

from worker.engine.formats.torchscript.graph import nodes
from worker.engine.formats.torchscript.method import UNKNOWN, Method
from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.same_padding import same_padding

# The arguments by position. The operators differ in which settings they have and in their order.
_DATA = ("input", "weight", "bias")
_CONV = (*_DATA, "stride", "padding", "dilation", "groups")
_TRANSPOSED = (*_DATA, "stride", "padding", "output_padding", "groups", "dilation")
_GENERAL = (*_CONV[:-1], "transposed", "output_padding", "groups")
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
# The positions of the two factors of a product; `aten::linear` takes its right factor transposed.
_PRODUCTS = {
    "aten::linear": (0, 1),
    "aten::matmul": (0, 1),
    "aten::mm": (0, 1),
    "aten::addmm": (1, 2),
}
_TRANSPOSITIONS = frozenset({"aten::t", "aten::transpose", "aten::numpy_T"})

# Why a layer stays as it is, as reports say it.
WEIGHT = "its weight is computed at run time"
BIAS = "its bias is computed at run time"
LEFT_FACTOR = "its weight is the left factor of the product"
NO_ROW = "its bias is not the same for every row"
SCALED = "its product is scaled"

TensorKey = tuple[int, int, tuple[int, ...], tuple[int, ...]]
"""Identity of a stored tensor: storage, offset, shape and strides."""


def tensor_key(tensor: Tensor) -> TensorKey:
    """Return what identifies a tensor, by whatever name it is reached, as long as it lives."""
    return (
        tensor.untyped_storage()._cdata,
        int(tensor.storage_offset()),
        tuple(tensor.shape),
        tuple(tensor.stride()),
    )


def optional_key(tensor: Tensor | None) -> TensorKey | None:
    """Return the key of a tensor, None for no tensor."""
    return None if tensor is None else tensor_key(tensor)


class SiteKey(NamedTuple):
    """What calls of one site have in common: weight, bias, geometry and the reason to stay, if any.

    All linear layers of one weight are one site: a run does not show how they differ otherwise.
    """

    weight: TensorKey | None
    bias: TensorKey | None
    convolution: Convolution | None
    reason: str | None


@dataclass(frozen=True)
class LayerNode:
    """One node that multiplies by a weight.

    Attributes:
        method: The method whose graph holds the node.
        node: The node itself.
        op: What it computes, however the file spells it.
        weight: The stored weight, None where it is computed at run time.
        path: Attribute path of the weight from the root, None for a constant of the graph.
        bias: The stored bias, if any.
        convolution: The geometry, None where a setting is computed at run time.
        reason: Why the node cannot be replaced, None where it can.
        is_transposed: Whether the weight is stored as the transpose of a `Layer`'s.
        data: Position of the argument that the layer is applied to.
    """

    method: Method
    node: Node
    op: str
    weight: Tensor | None = None
    path: str | None = None
    bias: Tensor | None = None
    convolution: Convolution | None = None
    reason: str | None = None
    is_transposed: bool = False
    data: int = 0

    @property
    def site_key(self) -> SiteKey:
        """What this node has in common with the other calls of its site."""
        weight = optional_key(self.weight)
        is_linear = self.convolution is not None and not self.convolution.kernel
        if is_linear:
            return SiteKey(weight, None, self.convolution, None)
        return SiteKey(weight, optional_key(self.bias), self.convolution, self.reason)


def layer_nodes(method: Method) -> Iterator[LayerNode]:
    """Yield the convolutions of a method, and its linear layers: products with a stored matrix."""
    for node in nodes(method.graph):
        names = _CONVOLUTIONS.get(node.kind())
        if names is not None:
            # An operator may have settings of the backend behind those that matter here.
            arguments = dict(zip(names, node.inputs(), strict=False))
            yield _convolution(method, node, arguments)
        elif node.kind() in _PRODUCTS:
            yield from _linear(method, node)


def computed_operands(node: Node, method: Method) -> Iterator[int]:
    """Yield the positions of a layer's weight and bias, where they are not stored as they are."""
    positions: Sequence[int] = ()
    if node.kind() in _CONVOLUTIONS:
        positions = (1, 2)
    elif node.kind() in _PRODUCTS:
        positions = range(3 if node.kind() in ("aten::linear", "aten::addmm") else 2)
    for position in positions:
        value = node.inputsAt(position)
        if value.node().kind() in _TRANSPOSITIONS:
            value = value.node().inputsAt(0)
        if method.constant(value) is UNKNOWN:
            yield position


def _convolution(method: Method, node: Node, arguments: dict[str, Value]) -> LayerNode:
    weight = method.constant(arguments["weight"])
    if not _is_stored(weight):
        return LayerNode(method, node, node.kind(), reason=WEIGHT)
    settings = {
        name: method.constant(value) for name, value in arguments.items() if name not in _DATA
    }
    settings.setdefault("transposed", "transpose" in node.kind())
    op = convolution_name(weight.dim() - 2, settings["transposed"] is True)
    path = method.path_of(arguments["weight"])
    layer = partial(LayerNode, method, node, op, weight, path)
    bias = method.constant(arguments["bias"])
    if bias is not None and not _is_stored(bias):
        return layer(reason=BIAS)
    for name, setting in settings.items():
        if setting is UNKNOWN:
            return layer(bias, reason=f"its {name} is computed at run time")
    try:
        convolution = geometry(tuple(weight.shape), **settings)
    except ValueError:
        return layer(bias, reason="its arguments do not fit its weight")
    return layer(bias, convolution, _why_not_stored(weight))


def convolution_name(axes: int, transposed: bool) -> str:
    """Name a convolution by what it does, however the file spells it.

    >>> convolution_name(2, transposed=True)
    'conv_transpose2d'
    """
    return f"conv_transpose{axes}d" if transposed else f"conv{axes}d"


def _is_stored(weight: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor in plain memory, not one packed for some kernel."""
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
    """Return the geometry that torch's arguments mean; 'same' and 'valid' become numbers of zeros.

    Raises:
        ValueError: arguments for another number of axes than the weight's.

    >>> geometry((8, 3, 4, 3), [1], "same", [1, 1], 1).padding
    ((1, 2), (1, 1))
    """
    axes = len(weight_shape) - 2
    if axes < 1:
        raise ValueError(f"a convolution's weight has three axes or more, not {weight_shape}")
    dilations = _per_axis(dilation, axes)
    extra: tuple[int, ...] = ()
    if transposed:
        extra = _per_axis(output_padding, axes)
    return Convolution(
        weight_shape,
        stride=_per_axis(stride, axes),
        padding=_padding(padding, weight_shape[2:], dilations),
        dilation=dilations,
        groups=groups,
        transposed=transposed,
        output_padding=extra,
    )


def _padding(
    padding: Sequence[int] | str, kernel: tuple[int, ...], dilations: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Return the zeros before and after each axis."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        # at stride 1 the number of zeros is the same for every input, also for one like the kernel
        return same_padding(kernel, kernel, (1,) * len(kernel), dilations)
    if isinstance(padding, str):
        return ()
    return tuple((size, size) for size in _per_axis(padding, len(kernel)))


def linear_geometry(inputs: int, outputs: int) -> Convolution:
    """A linear layer is a convolution without spatial axes."""
    return Convolution((outputs, inputs), stride=(), padding=(), dilation=())


def _linear(method: Method, node: Node) -> Iterator[LayerNode]:
    """Yield the linear layer that a product is, if one of its factors is a stored matrix."""
    left, right = _PRODUCTS[node.kind()]
    for factor, data in ((right, left), (left, right)):
        value = node.inputsAt(factor)
        is_turned = value.node().kind() in _TRANSPOSITIONS
        source = value.node().inputsAt(0) if is_turned else value
        weight = method.constant(source)
        if not _is_stored(weight) or weight.dim() != 2:
            continue
        # A layer's weight is (outputs, inputs), as `aten::linear` takes it; a product takes its
        # transpose.
        is_transposed = is_turned == (node.kind() == "aten::linear")
        outputs, inputs = weight.shape
        if is_transposed:
            outputs, inputs = inputs, outputs
        bias, reason = _addend(method, node, outputs)
        if factor == left:
            outputs, inputs = inputs, outputs
            reason = LEFT_FACTOR
        yield LayerNode(
            method,
            node,
            "linear",
            weight,
            method.path_of(source),
            bias,
            linear_geometry(inputs, outputs),
            reason or _why_not_stored(weight),
            is_transposed,
            data,
        )
        return


def _addend(method: Method, node: Node, outputs: int) -> tuple[Tensor | None, str | None]:
    """Return the tensor that a product adds to every row, and why it cannot be a layer's bias."""
    if node.kind() in ("aten::matmul", "aten::mm"):
        return None, None
    position = 2
    if node.kind() == "aten::addmm":
        position = 0
        scales = [method.constant(node.inputsAt(index)) for index in (3, 4)]
        if scales != [1, 1]:
            return None, SCALED
    bias = method.constant(node.inputsAt(position))
    if bias is None:
        return None, None
    if not _is_stored(bias):
        return None, BIAS
    if bias.shape != (outputs,):
        return bias, NO_ROW
    return bias, None


def _per_axis(values: Sequence[int], axes: int) -> tuple[int, ...]:
    """Return one number an axis, where a single number stands for all axes."""
    numbers = tuple(values)
    if len(numbers) == 1:
        numbers *= axes
    if len(numbers) != axes:
        raise ValueError(f"{numbers} for {axes} axes")
    return numbers
