"""ONNX's operators that move, cut and join elements, and those on shapes, as torch functions."""

from collections.abc import Sequence
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.formats.onnx.operators.operator import Builder, Function, Operator, plain


def _reshape(operator: Operator) -> Function:
    zero_is_zero = operator.get("allowzero", 0)

    def reshape(x: Tensor, shape: Tensor) -> Tensor:
        wanted = shape.tolist()
        if not zero_is_zero:
            wanted = [size or x.shape[axis] for axis, size in enumerate(wanted)]
        return x.reshape(wanted)

    return reshape


def _flatten(operator: Operator) -> Function:
    axis = operator.get("axis", 1)

    def flatten(x: Tensor) -> Tensor:
        return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))

    return flatten


def _transpose(operator: Operator) -> Function:
    order = operator.get("perm")
    return lambda x: x.permute(tuple(order or range(x.dim() - 1, -1, -1)))


def _concat(operator: Operator) -> Function:
    axis = operator.get("axis", 1)
    return lambda *values: torch.cat(values, axis)


def _split(operator: Operator) -> Function:
    """Parts of sizes that are an attribute before opset 13, an input from it on, or else all alike but the last."""
    axis, fixed = operator.get("axis", 0), operator.get("split")

    def split(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        told = fixed if sizes is None else sizes.tolist()
        if told is not None:
            return torch.split(x, list(told), axis)
        part = ceil(x.shape[axis] / operator.outputs)
        left = [
            max(min(part, x.shape[axis] - part * number), 0) for number in range(operator.outputs)
        ]
        return torch.split(x, left, axis)

    return split


def _slice(operator: Operator) -> Function:
    def cut(
        x: Tensor,
        starts: Sequence[int],
        ends: Sequence[int],
        axes: Sequence[int],
        steps: Sequence[int],
    ) -> Tensor:
        index = [slice(None)] * x.dim()
        turned = []
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            places = range(x.shape[axis])[start:end:step]
            if step < 0:  # torch takes no negative steps
                turned.append(axis)
                places = places[::-1]
            index[axis] = slice(places.start, max(places.stop, places.start), places.step)
        y = x[tuple(index)]
        return y.flip(turned) if turned else y

    if operator.opset < 10:
        starts, ends = operator.get("starts"), operator.get("ends")
        axes, ones = operator.get("axes") or range(len(starts)), [1] * len(starts)
        return lambda x: cut(x, starts, ends, axes, ones)

    def run(
        x: Tensor,
        starts: Tensor,
        ends: Tensor,
        axes: Tensor | None = None,
        steps: Tensor | None = None,
    ) -> Tensor:
        return cut(
            x,
            starts.tolist(),
            ends.tolist(),
            range(len(starts)) if axes is None else axes.tolist(),
            [1] * len(starts) if steps is None else steps.tolist(),
        )

    return run


def _wrapped(indices: Tensor, size: int) -> Tensor:
    """Count negative indices from the end."""
    return torch.where(indices < 0, indices + size, indices).long()


def _gather(operator: Operator) -> Function:
    axis = operator.get("axis", 0)

    def gather(x: Tensor, indices: Tensor) -> Tensor:
        along = axis % x.dim()
        y = x.index_select(along, _wrapped(indices, x.shape[along]).reshape(-1))
        return y.reshape((*x.shape[:along], *indices.shape, *x.shape[along + 1 :]))

    return gather


def _gather_elements(operator: Operator) -> Function:
    axis = operator.get("axis", 0)
    return lambda x, indices: torch.gather(x, axis, _wrapped(indices, x.shape[axis]))


def _gather_nd(operator: Operator) -> Function:
    batched = operator.get("batch_dims", 0)

    def gather(x: Tensor, indices: Tensor) -> Tensor:
        spread = indices.dim() - 1
        index = [
            torch.arange(size).reshape([-1 if axis == own else 1 for axis in range(spread)])
            for own, size in enumerate(x.shape[:batched])
        ]
        return x[(*index, *indices.long().unbind(-1))]

    return gather


def _scatter_elements(operator: Operator) -> Function:
    operator.require(operator.get("reduction", "none") == "none")
    axis = operator.get("axis", 0)
    return lambda x, indices, updates: x.scatter(axis, _wrapped(indices, x.shape[axis]), updates)


def _scatter_nd(operator: Operator) -> Function:
    operator.require(operator.get("reduction", "none") == "none")
    return lambda x, indices, updates: x.index_put(indices.long().unbind(-1), updates)


def _pad(operator: Operator) -> Function:
    mode = operator.get("mode", "constant")

    def run(x: Tensor, pads: Sequence[int], axes: Sequence[int], value: float) -> Tensor:
        pairs = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
        pairs = {axis % x.dim(): pair for axis, pair in pairs.items()}
        if mode == "constant":
            sizes = [size for axis in reversed(range(x.dim())) for size in pairs.get(axis, (0, 0))]
            return functional.pad(x, sizes, value=value)
        for axis, (before, behind) in pairs.items():
            if before or behind:
                x = x.index_select(
                    axis,
                    _mirrored(torch.arange(-before, x.shape[axis] + behind), x.shape[axis], mode),
                )
        return x

    if operator.opset < 11:
        fixed, filling = operator.get("pads"), operator.get("value", 0.0)
        return lambda x: run(x, fixed, range(x.dim()), filling)

    def pad(
        x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None
    ) -> Tensor:
        along = range(x.dim()) if axes is None else axes.tolist()
        return run(x, pads.tolist(), along, 0 if value is None else value.item())

    return pad


def _mirrored(places: Tensor, size: int, mode: str) -> Tensor:
    """Return which element of an axis stands at a place that may lie beyond its ends."""
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places % size
    period = max(2 * (size - 1), 1)
    places = places % period
    return torch.minimum(places, period - places) if size > 1 else torch.zeros_like(places)


def _squeeze(operator: Operator) -> Function:
    fixed = operator.get("axes")

    def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
        along = fixed if axes is None else axes.tolist()
        return x.squeeze() if along is None else x.squeeze(tuple(along))

    return squeeze


def _unsqueeze(operator: Operator) -> Function:
    fixed = operator.get("axes")

    def unsqueeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
        along = fixed if axes is None else axes.reshape(-1).tolist()
        rank = x.dim() + len(along)
        new = {axis % rank for axis in along}
        sizes = iter(x.shape)
        return x.reshape([1 if axis in new else next(sizes) for axis in range(rank)])

    return unsqueeze


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    wanted = shape.tolist()
    missing = len(wanted) - x.dim()
    own = (1,) * missing + tuple(x.shape)
    wanted = [1] * -missing + wanted
    return x.expand([size if new == 1 else new for size, new in zip(own, wanted, strict=True)])


def _shape(operator: Operator) -> Function:
    start, end = operator.get("start", 0), operator.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


def _filled(operator: Operator) -> Function:
    value = operator.get("value", torch.zeros(1))
    return lambda shape: torch.full(shape.tolist(), value.item(), dtype=value.dtype)


def _range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    count = max(ceil((limit.item() - start.item()) / delta.item()), 0)
    return start + torch.arange(count, dtype=start.dtype) * delta


def _blocks_to_space(operator: Operator) -> Function:
    block = operator.get("blocksize")
    columns_first = operator.get("mode", "DCR") == "CRD"

    def run(x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        left = channels // block**2
        if columns_first:
            y = x.reshape(batch, left, block, block, height, width).permute(0, 1, 4, 2, 5, 3)
        else:
            y = x.reshape(batch, block, block, left, height, width).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(batch, left, height * block, width * block)

    return run


def _space_to_blocks(operator: Operator) -> Function:
    block = operator.get("blocksize")
    # Opset 1 and 13 know one order alone; later ones name it as DepthToSpace does.
    columns_first = operator.get("mode", "DCR") == "CRD"

    def run(x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        y = x.reshape(batch, channels, height // block, block, width // block, block)
        y = y.permute(0, 1, 3, 5, 2, 4) if columns_first else y.permute(0, 3, 5, 1, 2, 4)
        return y.reshape(batch, channels * block**2, height // block, width // block)

    return run


def _dropout(operator: Operator) -> Function:
    """Inference passes all on; training is for ONNX Runtime, and where only the run tells, that is too."""
    training = operator.constant(2)
    operator.require(not operator.given(2) or (training is not None and not training))
    operator.require(operator.wanted == 1 or operator.opset >= 10)
    if operator.wanted == 1:
        return lambda x, *_: x
    return lambda x, *_: (x, torch.ones_like(x, dtype=torch.bool))


def _triangle(operator: Operator) -> Function:
    keep = torch.triu if operator.get("upper", 1) else torch.tril
    return lambda x, k=None: keep(x, 0 if k is None else int(k))


def _identity(x: Any) -> Any:  # noqa: ANN401 - whatever it is
    return x


TABLE: dict[str, Builder] = {
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "DepthToSpace": _blocks_to_space,
    "Dropout": _dropout,
    "Expand": plain(_expand),
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Identity": plain(_identity),
    "Pad": _pad,
    "Range": plain(_range),
    "Reshape": _reshape,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Shape": _shape,
    "Size": plain(lambda x: torch.tensor(x.numel(), dtype=torch.int64)),
    "Slice": _slice,
    "SpaceToDepth": _space_to_blocks,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": plain(lambda x, repeats: x.repeat(repeats.tolist())),
    "Transpose": _transpose,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueeze,
}
