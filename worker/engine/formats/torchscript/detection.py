"""The operators of torchvision that its scripted detectors call, in torch's own operators.

TorchScript files name them, and torch loads no file with a name that it does not know. Nothing of
torchvision is needed here; where the artifact runs, it is needed as for the original.

Source: torchvision/csrc/ops/cpu/nms_kernel.cpp and roi_align_kernel.cpp of torchvision 0.29.
"""

from collections.abc import Callable
from functools import cache
from math import ceil
from typing import Any

import torch
from torch import Tensor

_NAMESPACE = "torchvision"
_KERNEL = "CompositeImplicitAutograd"
_OUTSIDE = -2.0


@cache
def register() -> Any:  # noqa: ANN401 - the library has no public type
    """Let torch know the operators, unless torchvision itself is there; return what holds them."""
    if torch._C._dispatch_has_kernel(f"{_NAMESPACE}::nms"):
        return None
    # torch leaves the library's methods untyped
    library: Any = torch.library.Library(_NAMESPACE, "DEF")  # type: ignore[no-untyped-call]
    for schema, kernel in _OPERATORS.items():
        name = library.define(schema)
        if kernel is not None:
            library.impl(name, kernel, _KERNEL)
    return library


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the indices of boxes that no better box overlaps, the best first.

    Shapes: boxes `(n, 4)` as left, top, right and bottom, scores `(n,)`.

    >>> boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]])
    >>> nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5)
    tensor([1, 2])
    """
    order = scores.sort(stable=True, descending=True).indices
    in_order = boxes[order]
    left, top, right, bottom = in_order.unbind(1)
    areas = (right - left) * (bottom - top)
    is_suppressed = torch.zeros_like(order, dtype=torch.bool)
    kept = []
    for index in range(order.numel()):
        if is_suppressed[index]:
            continue
        kept.append(index)
        inner_right = torch.minimum(right[index], right)
        inner_left = torch.maximum(left[index], left)
        width = inner_right - inner_left
        inner_bottom = torch.minimum(bottom[index], bottom)
        inner_top = torch.maximum(top[index], top)
        height = inner_bottom - inner_top
        shared = width.clamp(min=0) * height.clamp(min=0)
        united = areas[index] + areas - shared
        is_suppressed |= shared / united > iou_threshold
    indices = torch.tensor(kept, dtype=torch.int64, device=order.device)
    return order[indices]


def roi_align(
    features: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Return the mean features in the bins of each region, `(k, c, pooled height, pooled width)`.

    Shapes: features `(n, c, h, w)`, regions `(k, 5)` as sample, left, top, right and bottom.

    >>> ramp = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> roi_align(ramp, torch.tensor([[0.0, 0, 0, 2, 2]]), 1.0, 1, 1, 2, False).item()
    5.0
    """
    shift = 0.5 if aligned else 0.0
    bins = []
    for region in rois.tolist():
        sample = features[int(region[0])]
        left, top, right, bottom = (side * spatial_scale - shift for side in region[1:])
        rows = _positions(top, bottom, pooled_height, sampling_ratio, aligned)
        columns = _positions(left, right, pooled_width, sampling_ratio, aligned)
        values = _interpolated(sample, 1, rows)
        values = _interpolated(values, 2, columns)
        samples = (
            values.shape[0],
            pooled_height,
            -1,
            pooled_width,
            columns.numel() // pooled_width,
        )
        bins.append(values.reshape(samples).mean((2, 4)))
    if not bins:
        return features.new_empty((0, features.shape[1], pooled_height, pooled_width))
    return torch.stack(bins)


def _positions(
    start: float, end: float, bins: int, ratio: int, aligned: bool
) -> Tensor:
    """Return the positions along one axis at which a region is sampled, bin after bin."""
    length = end - start if aligned else max(end - start, 1.0)
    samples = ratio if ratio > 0 else ceil(length / bins)
    if samples < 1:
        # A region that ends before it starts has no features.
        return torch.full((bins,), _OUTSIDE, dtype=torch.float64)
    numbers = torch.arange(bins * samples, dtype=torch.float64)
    steps = numbers + 0.5
    distance = length / bins / samples
    return start + steps * distance


def _interpolated(values: Tensor, axis: int, positions: Tensor) -> Tensor:
    """Return values between those along an axis of `(c, h, w)`; 0 beyond its ends."""
    size = values.shape[axis]
    is_inside = (positions >= -1) & (positions <= size)
    last = size - 1
    positions = positions.clamp(0, last)
    before = positions.floor().long()
    after = (before + 1).clamp(max=last)
    share = positions - before
    shape = [-1 if each == axis else 1 for each in range(3)]
    near_weight = ((1 - share) * is_inside).to(values)
    near = near_weight.reshape(shape)
    far_weight = (share * is_inside).to(values)
    far = far_weight.reshape(shape)
    device = values.device
    lower = values.index_select(axis, before.to(device))
    upper = values.index_select(axis, after.to(device))
    return lower * near + (upper * far)


_OPERATORS: dict[str, Callable[..., Tensor] | None] = {
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor": nms,
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor": roi_align,
    # Named by code for rotated boxes, which the detectors do not reach.
    "box_iou_rotated(Tensor boxes1, Tensor boxes2) -> Tensor": None,
}
