"""ONNX's Resize and Upsample as torch functions: axis by axis, from a few elements of the input.

Source: the operators' specification; where that is silent (opset 10 and older), ONNX Runtime.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from worker.engine.formats.onnx.operators.operator import Builder, Function, Operator


def _round_half_down(positions: Tensor) -> Tensor:
    """Round to the nearest whole position; halves go down.

    >>> _round_half_down(torch.tensor([0.5, 0.6])).tolist()
    [0.0, 1.0]
    """
    return torch.ceil(positions - 0.5)


def _round_half_up(positions: Tensor) -> Tensor:
    """Round to the nearest whole position; halves go up.

    >>> _round_half_up(torch.tensor([0.4, 0.5])).tolist()
    [0.0, 1.0]
    """
    return torch.floor(positions + 0.5)


_NEAREST: dict[str, Callable[[Tensor], Tensor]] = {
    "round_prefer_floor": _round_half_down,
    "round_prefer_ceil": _round_half_up,
    "floor": torch.floor,
    "ceil": torch.ceil,
}
_COORDINATES = (
    "half_pixel",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "half_pixel_symmetric",
)
_MODES = ("nearest", "linear", "cubic")


def _resize(operator: Operator) -> Function:
    """Opset 11 and newer: to scales or to sizes, along all axes or some."""
    mode = operator.get("mode", "nearest")
    coordinates = operator.get("coordinate_transformation_mode", "half_pixel")
    is_known = mode in _MODES and coordinates in _COORDINATES
    operator.require(is_known)
    # The runtime's last bit decides between two neighbours of equal distance: leave it to that.
    is_decided = mode != "nearest" or coordinates != "half_pixel_symmetric"
    operator.require(is_decided)
    operator.require(not operator.get("antialias", 0))
    policy = operator.get("keep_aspect_ratio_policy", "stretch")
    operator.require(policy == "stretch")
    operator.require_floats()
    listed_axes = operator.get("axes")
    interpolate = _interpolation(operator, mode)

    def run(
        x: Tensor,
        _region: Tensor | None = None,
        scales: Tensor | None = None,
        sizes: Tensor | None = None,
    ) -> Tensor:
        axes = _resized_axes(x, listed_axes)
        old_sizes = [x.shape[axis] for axis in axes]
        new_sizes, factors = _sizes_and_factors(old_sizes, scales, sizes)
        resized = zip(axes, new_sizes, factors, strict=True)
        for axis, size, factor in resized:
            if size != x.shape[axis] or factor != 1.0:
                positions = _positions(coordinates, x.shape[axis], size, factor)
                x = interpolate(x, axis, positions)
        return x

    return run


def _resized_axes(x: Tensor, listed: Sequence[int] | None) -> Sequence[int]:
    """Return the axes that are resized, counted from the first one."""
    if listed is None:
        return range(x.dim())
    return [axis % x.dim() for axis in listed]


def _sizes_and_factors(
    old_sizes: Sequence[int], scales: Tensor | None, sizes: Tensor | None
) -> tuple[Sequence[int], Sequence[float]]:
    """Return the new size and the factor of each axis, from whichever of both the node has.

    >>> _sizes_and_factors([2, 5], torch.tensor([2.0, 0.5]), None)
    ([4, 2], [2.0, 0.5])
    >>> _sizes_and_factors([2, 5], None, torch.tensor([4, 10]))
    ([4, 10], [2.0, 2.0])
    """
    new_sizes: list[int] = []
    factors: list[float] = []
    if sizes is not None and sizes.numel():
        new_sizes = sizes.tolist()
        pairs = zip(old_sizes, new_sizes, strict=True)
        for old, new in pairs:
            factors.append(new / old)
        return new_sizes, factors
    # The specification requires one of both.
    assert scales is not None
    factors = scales.tolist()
    old_and_factors = zip(old_sizes, factors, strict=True)
    for old, factor in old_and_factors:
        new_sizes.append(int(old * factor))
    return new_sizes, factors


def _interpolation(
    operator: Operator, mode: str
) -> Callable[[Tensor, int, Tensor], Tensor]:
    """Return a function of data, an axis and positions on it, for a mode of Resize."""
    if mode == "linear":
        return _linear
    if mode == "cubic":
        a = operator.get("cubic_coeff_a", -0.75)
        inside_only = bool(operator.get("exclude_outside", 0))
        return lambda x, axis, positions: _cubic(x, axis, positions, a, inside_only)
    name = operator.get("nearest_mode", "round_prefer_floor")

    def nearest(x: Tensor, axis: int, positions: Tensor) -> Tensor:
        return _select(x, axis, _NEAREST[name](positions))

    return nearest


def _resize_up_to_opset_10(operator: Operator) -> Function:
    """Resize of opset 10, and Upsample: nearest rounds down, but up where an axis shrinks."""
    mode = operator.get("mode", "nearest")
    attribute = operator.get("scales")
    operator.require(mode in ("nearest", "linear"))
    operator.require_floats()

    def run(x: Tensor, scales: Tensor | None = None) -> Tensor:
        factors = attribute if scales is None else scales.tolist()
        for axis, factor in enumerate(factors):
            if factor == 1.0:
                continue
            old_size = x.shape[axis]
            new_size = int(old_size * factor)
            positions = _positions("asymmetric", old_size, new_size, factor)
            if mode == "linear":
                x = _linear(x, axis, positions)
            elif factor < 1.0:
                x = _select(x, axis, positions.ceil())
            else:
                x = _select(x, axis, positions.floor())
        return x

    return run


def _select(x: Tensor, axis: int, positions: Tensor) -> Tensor:
    """Return the elements of an axis at whole positions, or the nearest that it has.

    >>> _select(torch.tensor([5, 6, 7]), 0, torch.tensor([-1.0, 1.0, 3.0])).tolist()
    [5, 6, 7]
    """
    last = x.shape[axis] - 1
    return x.index_select(axis, positions.long().clamp(0, last))


def _positions(coordinates: str, old_size: int, new_size: int, factor: float) -> Tensor:
    """Return the position on the input's axis of each element of the output's.

    They are in single precision, as in ONNX Runtime. Half way between two elements the runtime's
    last bit decides which of them is the nearest, unless the factor is a whole number or a half.

    >>> _positions("half_pixel", 2, 4, 2.0).tolist()
    [-0.25, 0.25, 0.75, 1.25]
    >>> _positions("align_corners", 3, 5, 5 / 3).tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0]
    >>> _positions("asymmetric", 2, 4, 2.0).tolist()
    [0.0, 0.5, 1.0, 1.5]
    """
    new = torch.arange(new_size, dtype=torch.float32)
    # Torch multiplies by the reciprocal of a scalar: that rounds twice.
    factors = torch.full_like(new, factor)
    if coordinates == "align_corners":
        if new_size > 1:
            steps = new_size - 1
            return new * (old_size - 1) / steps
        return torch.zeros(1)
    if coordinates == "asymmetric":
        return new / factors
    if coordinates == "pytorch_half_pixel" and new_size == 1:
        return torch.zeros(1)
    old = (new + 0.5) / factors
    if coordinates == "half_pixel_symmetric":
        # The centre of the output is on that of the input.
        exact_size = torch.tensor(factor) * old_size
        share = new_size / exact_size
        offset = old_size / 2 * (1 - share)
        old = offset + old
    return old - 0.5


def _linear(x: Tensor, axis: int, positions: Tensor) -> Tensor:
    """Interpolate linearly between the two elements around each position.

    >>> _linear(torch.tensor([0.0, 10.0]), 0, torch.tensor([-1.0, 0.25, 2.0])).tolist()
    [0.0, 2.5, 10.0]
    """
    last = x.shape[axis] - 1
    positions = positions.clamp(0, last)
    lower = positions.floor()
    distance = positions - lower
    offset = distance.to(x.dtype)
    share = _along(axis, x, offset)
    below_index = lower.long()
    below = x.index_select(axis, below_index)
    above_index = (below_index + 1).clamp(max=last)
    above = x.index_select(axis, above_index)
    difference = above - below
    return below + difference * share


def _along(axis: int, x: Tensor, values: Tensor) -> Tensor:
    """Return values shaped to be broadcast along an axis of the data.

    >>> _along(1, torch.zeros(2, 3, 4), torch.ones(3)).shape
    torch.Size([3, 1])
    """
    later_axes = x.dim() - 1 - axis
    return values.reshape(-1, *(1,) * later_axes)


def _cubic(
    x: Tensor, axis: int, positions: Tensor, a: float, inside_only: bool
) -> Tensor:
    """Weigh the four elements around each position by cubic convolution (Keys, 1981)."""
    size = x.shape[axis]
    lower = positions.floor()
    distance = positions - lower
    share = distance.double()
    steps = range(-1, 3)
    kernel = [_keys_weights((share - step).abs(), a) for step in steps]
    weights = torch.stack(kernel)
    indices = [lower.long() + step for step in steps]
    elements = torch.stack(indices)
    # Elements outside of the data have no weight, or are those at its ends.
    if inside_only:
        is_inside = (elements >= 0) & (elements < size)
        weights = weights * is_inside
        weights = weights / weights.sum(0)
    last = size - 1
    elements = elements.clamp(0, last)
    parts = []
    rounded = weights.to(x.dtype)
    for element, weight in zip(elements, rounded, strict=True):
        part = x.index_select(axis, element)
        spread = _along(axis, x, weight)
        parts.append(part * spread)
    return torch.stack(parts).sum(0)


def _keys_weights(distance: Tensor, a: float) -> Tensor:
    """Return the kernel of cubic convolution at distances from its centre (Keys, 1981, eq. 4).

    >>> _keys_weights(torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0]), -0.5).tolist()
    [1.0, 0.5625, 0.0, -0.0625, 0.0]
    """
    near_slope = (a + 2) * distance - (a + 3)
    near = near_slope * distance**2 + 1
    far_curve = a * distance - 5 * a
    far_slope = far_curve * distance + 8 * a
    far = far_slope * distance - 4 * a
    outside = torch.zeros_like(distance)
    beyond_one = torch.where(distance < 2, far, outside)
    return torch.where(distance <= 1, near, beyond_one)


def _by_opset(operator: Operator) -> Function:
    """Return the function for the meaning that an opset gives to Resize."""
    if operator.opset < 11:
        return _resize_up_to_opset_10(operator)
    return _resize(operator)


TABLE: dict[str, Builder] = {
    "Resize": _by_opset,
    "Upsample": _resize_up_to_opset_10,
}
