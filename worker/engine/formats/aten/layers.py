"""Layers that multiply by a stored tensor: what identifies the tensor, and their geometry."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeGuard

import torch
from torch import Tensor

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

LAYERS = frozenset({*_CONVOLUTIONS, *_PRODUCTS})
"""The kinds of operators that may multiply by a weight as a layer does."""

# Why a layer stays as it is, as reports say it.
WEIGHT = "its weight is computed at run time"
BIAS = "its bias is computed at run time"
LEFT_FACTOR = "its weight is the left factor of the product"
NO_ROW = "its bias is not the same for every row"
SCALED = "its product is scaled"

TensorKey = tuple[int, int, tuple[int, ...], tuple[int, ...]]
"""Identity of a stored tensor: storage, offset, shape and strides."""


def tensor_key(tensor: Tensor) -> TensorKey:
    """Return a key for a tensor: the same under every name, while the tensor lives."""
    return (
        tensor.untyped_storage()._cdata,
        int(tensor.storage_offset()),
        tuple(tensor.shape),
        tuple(tensor.stride()),
    )


def optional_key(tensor: Tensor | None) -> TensorKey | None:
    """Return the key of a tensor, None for no tensor."""
    if tensor is None:
        return None
    return tensor_key(tensor)


class SiteKey(NamedTuple):
    """What calls of one site have in common: weight, bias, geometry and the reason to stay, if any.

    All linear layers of one weight are one site: a run does not show how they differ otherwise.
    """

    weight: TensorKey | None
    bias: TensorKey | None
    convolution: Convolution | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class LayerUse:
    """One operator that multiplies by a weight.

    Attributes:
        op: What it computes, however the file spells it.
        weight: The stored weight, None where it is computed at run time.
        path: Name of the weight in the model, None for a constant without a name.
        bias: The stored bias, if any.
        convolution: The geometry, None where a setting is computed at run time.
        reason: Why the operator cannot be replaced, None where it can.
        is_transposed: Whether the weight is stored as the transpose of a `Layer`'s.
        data: Position of the argument that the layer is applied to.
    """

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
        """What this operator has in common with the other calls of its site."""
        weight = optional_key(self.weight)
        is_linear = self.convolution is not None and not self.convolution.kernel
        if is_linear:
            return SiteKey(weight, None, self.convolution, None)
        return SiteKey(weight, optional_key(self.bias), self.convolution, self.reason)


class _Unknown:
    """The value of an argument that only a run can tell."""


UNKNOWN = _Unknown()


class Operator(Protocol):
    """An operator of a graph, as far as layers are concerned; arguments go by position."""

    @property
    def kind(self) -> str:
        """The operator's name, such as `aten::conv2d`."""
        ...

    @property
    def arity(self) -> int:
        """The number of its arguments, those with defaults included."""
        ...

    def constant(self, position: int) -> Any:  # noqa: ANN401 - whatever the graph holds
        """Return the content that an argument has at every run, or `UNKNOWN`."""
        ...

    def path(self, position: int) -> str | None:
        """Return the name of the stored tensor that an argument is."""
        ...

    def before_transposition(self, position: int) -> tuple[Any, str | None] | None:
        """Return content and name of the matrix whose transpose an argument is; else None."""
        ...


def is_layer(kind: str) -> bool:
    """Whether an operator of this kind may multiply by a weight as a layer does."""
    return kind in LAYERS


def operand_positions(kind: str) -> Sequence[int]:
    """Return the positions of an operator's factors that may be weights, and of its bias."""
    if kind in _CONVOLUTIONS:
        return (1, 2)
    if kind in _PRODUCTS:
        return range(3 if kind in ("aten::linear", "aten::addmm") else 2)
    return ()


def layer_use(operator: Operator) -> LayerUse | None:
    """Return the layer that an operator is, None where it multiplies by no stored matrix."""
    names = _CONVOLUTIONS.get(operator.kind)
    if names is not None:
        return _convolution(operator, names)
    if operator.kind in _PRODUCTS:
        return _linear(operator)
    return None


def _convolution(operator: Operator, names: Sequence[str]) -> LayerUse:
    # An operator may have settings of the backend behind those that matter here.
    numbers = range(operator.arity)
    positions = dict(zip(names, numbers, strict=False))
    weight = operator.constant(positions["weight"])
    if not is_stored(weight):
        return LayerUse(op=operator.kind, reason=WEIGHT)
    settings = {
        name: operator.constant(position)
        for name, position in positions.items()
        if name not in _DATA
    }
    settings.setdefault("transposed", "transpose" in operator.kind)
    axes = weight.dim() - 2
    is_transposed = settings["transposed"] is True
    op = convolution_name(axes, is_transposed)
    path = operator.path(positions["weight"])
    layer = partial(LayerUse, op=op, weight=weight, path=path)
    bias = operator.constant(positions["bias"])
    if bias is not None and not is_stored(bias):
        return layer(reason=BIAS)
    for name, setting in settings.items():
        if setting is UNKNOWN:
            return layer(bias=bias, reason=f"its {name} is computed at run time")
    try:
        shape = tuple(weight.shape)
        convolution = geometry(shape, **settings)
    except ValueError:
        return layer(bias=bias, reason="its arguments do not fit its weight")
    reason = why_not_stored(weight)
    return layer(bias=bias, convolution=convolution, reason=reason)


def _linear(operator: Operator) -> LayerUse | None:
    """Return the linear layer that a product is, if one of its factors is a stored matrix."""
    left, right = _PRODUCTS[operator.kind]
    for factor, data in ((right, left), (left, right)):
        turned = operator.before_transposition(factor)
        if turned is None:
            weight, path = operator.constant(factor), operator.path(factor)
        else:
            weight, path = turned
        if not is_stored(weight) or weight.dim() != 2:
            continue
        # A layer's weight is (outputs, inputs), as `aten::linear` takes it; a product takes its
        # transpose.
        is_transposed = (turned is not None) == (operator.kind == "aten::linear")
        outputs, inputs = weight.shape
        if is_transposed:
            outputs, inputs = inputs, outputs
        bias, reason = _addend(operator, outputs)
        if factor == left:
            outputs, inputs = inputs, outputs
            reason = LEFT_FACTOR
        return LayerUse(
            op="linear",
            weight=weight,
            path=path,
            bias=bias,
            convolution=linear_geometry(inputs, outputs),
            reason=reason or why_not_stored(weight),
            is_transposed=is_transposed,
            data=data,
        )
    return None


def _addend(operator: Operator, outputs: int) -> tuple[Tensor | None, str | None]:
    """Return the tensor that a product adds to every row, and why it cannot be a layer's bias."""
    if operator.kind in ("aten::matmul", "aten::mm"):
        return None, None
    position = 2
    if operator.kind == "aten::addmm":
        position = 0
        scales = [operator.constant(index) for index in (3, 4)]
        if scales != [1, 1]:
            return None, SCALED
    bias = operator.constant(position)
    if bias is None:
        return None, None
    if not is_stored(bias):
        return None, BIAS
    if bias.shape != (outputs,):
        return bias, NO_ROW
    return bias, None


def convolution_name(axes: int, transposed: bool) -> str:
    """Name a convolution by what it does, however the file spells it.

    >>> convolution_name(2, transposed=True)
    'conv_transpose2d'
    """
    if transposed:
        return f"conv_transpose{axes}d"
    return f"conv{axes}d"


def is_stored(weight: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor in plain memory, not one packed for some kernel."""
    return (
        isinstance(weight, Tensor)
        and weight.layout == torch.strided
        and not weight.is_quantized
    )


def why_not_stored(weight: Tensor) -> str | None:
    """Return why a stored weight cannot be factored, None where it can."""
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
        raise ValueError(
            f"a convolution's weight has three axes or more, not {weight_shape}"
        )
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
    axes = len(kernel)
    if padding == "valid":
        return ((0, 0),) * axes
    if padding == "same":
        # at stride 1 the number of zeros is the same for every input, also for one like the kernel
        ones = (1,) * axes
        return same_padding(kernel, kernel, ones, dilations)
    if isinstance(padding, str):
        return ()
    sizes = _per_axis(padding, axes)
    return tuple((size, size) for size in sizes)


def linear_geometry(inputs: int, outputs: int) -> Convolution:
    """A linear layer is a convolution without spatial axes."""
    return Convolution((outputs, inputs), stride=(), padding=(), dilation=())


def _per_axis(values: Sequence[int], axes: int) -> tuple[int, ...]:
    """Return one number an axis, where a single number stands for all axes."""
    numbers = tuple(values)
    if len(numbers) == 1:
        numbers *= axes
    if len(numbers) != axes:
        raise ValueError(f"{numbers} for {axes} axes")
    return numbers
