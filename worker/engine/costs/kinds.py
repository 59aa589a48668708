"""The kinds of layers that cost tables have grids of, and the sizes that the grids count."""

from dataclasses import replace
from math import prod
from types import MappingProxyType

from worker.engine.numerics.convolution import Convolution

BLOCK = 8
"""The output channels that runtimes compute together, where a table names no other number."""
EVEN = 4
"""Input channels that are no multiple of this take another path in the runtimes."""
FEW = 3
"""The most input channels of layers that runtimes compute as those of images."""
INT8_BLOCK = 16
"""The output channels of a layer in int8 that ONNX Runtime computes together."""
CONVERSION = "int8 conversion"
"""The name of the grid of conversions; a multiply-accumulate stands for one number."""
CONVERTED_CHANNELS = 64
"""The channels of the tensors whose conversions are measured."""
_PLANE = 2
_EARLIER = MappingProxyType(
    {
        "few 1x1": "ragged 1x1",
        "few 1x3": "ragged 3x3",
        "few 3x1": "ragged 3x3",
        "few 1x7": "few 1x3",
        "few 7x1": "few 3x1",
        "few 3x3": "ragged 3x3",
        "few 7x7": "ragged 3x3",
        "depthwise 7x7": "depthwise 3x3",
        "ragged depthwise 3x3": "depthwise 3x3",
        "ragged depthwise 7x7": "depthwise 3x3",
        "strided depthwise 3x3": "ragged depthwise 3x3",
        "strided depthwise 7x7": "ragged depthwise 7x7",
    }
)
"""The grids that stand for these kinds in tables of earlier versions, which lack them."""


def kind_of(convolution: Convolution, block: int = BLOCK) -> str:
    """Return the name of the grid for a layer, with the nearest kernel size.

    Args:
        convolution: the layer.
        block: the channels that the runtime computes together.

    >>> kind_of(Convolution((64, 60, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)))
    '3x3'
    >>> kind_of(Convolution((32, 1, 1, 5), (1, 1), ((0, 0), (2, 2)), (1, 1), groups=32))
    'depthwise 1x3'
    >>> kind_of(Convolution((32, 16, 5), (1,), ((2, 2),), (1,)))
    '1d 7'
    """
    if not convolution.kernel:
        return "linear"
    axes = len(convolution.kernel)
    kind = _plane(convolution, block) if axes == _PLANE else _other_axes(convolution)
    return kind if axes == _PLANE else f"{axes}d {kind}"


def earlier_kind(kind: str) -> str | None:
    """Return the kind whose grid stands for another one in tables that lack it; None for none."""
    return _EARLIER.get(kind)


def is_blocked_in_int8(convolution: Convolution) -> bool:
    """Whether a layer in int8 is computed in whole blocks of outputs."""
    return bool(convolution.kernel) and convolution.groups == 1


def int8_kind(kind: str) -> str:
    """Return the name of the grid of a kind of layer in int8."""
    return f"int8 {kind}"


def added_kind(kind: str) -> str:
    """Return the name of the grid of layers that add their outputs to those of another layer."""
    return f"added {kind}"


def channels(convolution: Convolution) -> tuple[int, int]:
    """Return a layer's (inputs, outputs) as the grids count them."""
    inputs = convolution.group_inputs
    if convolution.groups > 1 and inputs == 1:
        inputs = convolution.groups
    return inputs, convolution.group_outputs


def positions(convolution: Convolution, input_size: tuple[int, ...], batch: int) -> int:
    """Return a layer's positions as the grids count them: those that its weights are applied at."""
    if convolution.transposed:
        return batch * prod(input_size)
    return batch * prod(convolution.output_size(input_size))


def as_computed(convolution: Convolution, block: int = BLOCK) -> Convolution:
    """Return a layer with its channels in whole blocks, as the runtime computes them.

    Fewer input channels than a block, and numbers of them that are not even, are not padded.
    """
    # other layers are computed as matrix products, without blocks
    is_blocked = len(convolution.kernel) == _PLANE and not convolution.transposed
    if convolution.groups > 1 or not is_blocked:
        return convolution
    outputs, inputs, *kernel = convolution.weight_shape
    if inputs > block and inputs % EVEN == 0:
        inputs = _in_blocks(inputs, block)
    return replace(
        convolution, weight_shape=(_in_blocks(outputs, block), inputs, *kernel)
    )


def _in_blocks(number: int, block: int) -> int:
    return -(-number // block) * block


def _plane(convolution: Convolution, block: int) -> str:
    """Return the kind of a layer with two spatial axes."""
    inputs = convolution.group_inputs
    if convolution.transposed:
        size = min(max(2, *convolution.kernel), 4)
        return (
            "transposed grouped"
            if convolution.groups > 1
            else f"transposed {size}x{size}"
        )
    if convolution.groups > 1:
        if inputs > 1:
            return f"grouped {_kernel(convolution, (3,))}"
        return _depthwise(convolution, block)
    if inputs <= FEW:
        return f"few {_long_kernel(convolution)}"
    kernel = _kernel(convolution, (3, 5, 7))
    if inputs % EVEN == 0:
        return kernel
    return "ragged 1x1" if kernel == "1x1" else "ragged 3x3"


def _depthwise(convolution: Convolution, block: int) -> str:
    kernel = _kernel(convolution, (3, 7))
    is_blocked = convolution.groups % block == 0
    size = 7 if kernel == "7x7" else 3
    # runtimes have code for strides only where they compute in blocks
    if max(convolution.stride) > 1 and not (
        is_blocked and convolution.group_outputs == 1
    ):
        return f"strided depthwise {size}x{size}"
    return f"depthwise {kernel}" if is_blocked else f"ragged depthwise {size}x{size}"


def _other_axes(convolution: Convolution) -> str:
    """Return the kind of a layer with one or three spatial axes, without the number of axes."""
    if convolution.transposed:
        return "transposed"
    if convolution.groups > 1:
        return "depthwise" if convolution.group_inputs == 1 else "grouped"
    widest = max(convolution.kernel)
    if widest == 1:
        return "1"
    # the matrix of a product has a row for each offset: many take longer to copy than to multiply
    is_long = len(convolution.kernel) == 1 and widest > EVEN
    return "7" if is_long else "3"


def _long_kernel(convolution: Convolution) -> str:
    """Return the nearest kernel of the grids that tell long kernels along one axis from others."""
    kernel = _kernel(convolution, (3, 7))
    is_long = max(convolution.kernel) > EVEN
    return kernel.replace("3", "7") if is_long else kernel


def _kernel(convolution: Convolution, sizes: tuple[int, ...]) -> str:
    """Return the nearest kernel of the grids, whose square ones are as wide as `sizes`."""
    high, wide = convolution.kernel
    if high == wide == 1:
        return "1x1"
    if wide == 1:
        return "3x1"
    if high == 1:
        return "1x3"
    size = next((each for each in sizes if each >= max(high, wide)), sizes[-1])
    return f"{size}x{size}"
