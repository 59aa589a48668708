"""ONNX's Resize and Upsample as torch functions: axis by axis, each place of the output from a few of the input.

Source: the operator's specification; where that is silent (opset 10 and older), ONNX Runtime.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from worker.engine.formats.onnx.operators.operator import Builder, Function, Operator

_Nearest = Callable[[Tensor], Tensor]

_NEAREST: dict[str, _Nearest] = {
    "round_prefer_floor": lambda place: torch.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: torch.floor(place + 0.5),
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
_STEPS = {"linear": (0, 1), "cubic": (-1, 0, 1, 2)}


def _resize(operator: Operator) -> Function:
    mode = operator.get("mode", "nearest")
    coordinates = operator.get("coordinate_transformation_mode", "half_pixel")
    operator.require(mode in ("nearest", *_STEPS) and coordinates in _COORDINATES)
    # Where the runtime's last bit decides which of two neighbours is nearer, it has to be asked.
    operator.require(mode != "nearest" or coordinates != "half_pixel_symmetric")
    operator.require(not operator.get("antialias", 0))
    operator.require(operator.get("keep_aspect_ratio_policy", "stretch") == "stretch")
    operator.require_floats()
    chosen = operator.get("axes")

    def run(
        x: Tensor,
        _: Tensor | None = None,
        scales: Tensor | None = None,
        sizes: Tensor | None = None,
    ) -> Tensor:
        axes = range(x.dim()) if chosen is None else [axis % x.dim() for axis in chosen]
        if sizes is not None and sizes.numel():
            wanted: Sequence[int] = sizes.tolist()
            factors = [size / x.shape[axis] for axis, size in zip(axes, wanted, strict=True)]
        else:
            assert scales is not None  # ONNX asks for one of both
            factors = scales.tolist()
            wanted = [
                int(x.shape[axis] * factor) for axis, factor in zip(axes, factors, strict=True)
            ]
        for axis, size, factor in zip(axes, wanted, factors, strict=True):
            if size != x.shape[axis] or factor != 1.0:
                x = along(x, axis, size, factor)
        return x

    def along(x: Tensor, axis: int, size: int, factor: float) -> Tensor:
        places = _places(coordinates, x.shape[axis], size, factor)
        if mode == "nearest":
            nearest = _NEAREST[operator.get("nearest_mode", "round_prefer_floor")](places)
            return x.index_select(axis, nearest.long().clamp(0, x.shape[axis] - 1))
        if mode == "linear":
            return _linear(x, axis, places)
        return _cubic(
            x,
            axis,
            places,
            operator.get("cubic_coeff_a", -0.75),
            bool(operator.get("exclude_outside", 0)),
        )

    return run


def _old(operator: Operator) -> Function:
    """Resize of opset 10 and Upsample: nearest rounds down, or up where it makes smaller."""
    mode, fixed = operator.get("mode", "nearest"), operator.get("scales")
    operator.require(mode in ("nearest", "linear"))
    operator.require_floats()

    def run(x: Tensor, scales: Tensor | None = None) -> Tensor:
        factors = scales.tolist() if scales is not None else fixed
        for axis, factor in enumerate(factors):
            if factor == 1.0:
                continue
            places = _places("asymmetric", x.shape[axis], int(x.shape[axis] * factor), factor)
            if mode == "linear":
                x = _linear(x, axis, places)
            else:
                nearest = places.ceil() if factor < 1.0 else places.floor()
                x = x.index_select(axis, nearest.long().clamp(0, x.shape[axis] - 1))
        return x

    return run


def _places(coordinates: str, size: int, wanted: int, factor: float) -> Tensor:
    """Return where in the input each place of the output lies, in single precision as ONNX Runtime has it."""
    place = torch.arange(wanted, dtype=torch.float32)
    if coordinates == "align_corners":
        return place * (size - 1) / (wanted - 1) if wanted > 1 else torch.zeros(1)
    if coordinates == "asymmetric":
        return place / factor
    if coordinates == "pytorch_half_pixel" and wanted == 1:
        return torch.zeros(1)
    place = (place + 0.5) / factor
    if coordinates == "half_pixel_symmetric":
        place = size / 2 * (1 - wanted / (torch.tensor(factor) * size)) + place
    return place - 0.5


def _linear(x: Tensor, axis: int, places: Tensor) -> Tensor:
    last = x.shape[axis] - 1
    places = places.clamp(0, last)
    low = places.floor()
    share = (places - low).to(x.dtype).reshape(-1, *(1,) * (x.dim() - 1 - axis))
    below = x.index_select(axis, low.long())
    above = x.index_select(axis, (low.long() + 1).clamp(max=last))
    return below + (above - below) * share


def _cubic(x: Tensor, axis: int, places: Tensor, a: float, inside_only: bool) -> Tensor:
    low = places.floor()
    share = (places - low).double()
    steps = range(-1, 3)
    weights = torch.stack([_keys((share - step).abs(), a) for step in steps])
    taken = torch.stack([low.long() + step for step in steps])
    if inside_only:
        weights = weights * ((taken >= 0) & (taken < x.shape[axis]))
        weights = weights / weights.sum(0)
    taken = taken.clamp(0, x.shape[axis] - 1)
    shaped = weights.to(x.dtype).reshape(len(steps), -1, *(1,) * (x.dim() - 1 - axis))
    parts = [
        x.index_select(axis, index) * weight for index, weight in zip(taken, shaped, strict=True)
    ]
    return torch.stack(parts).sum(0)


def _keys(distance: Tensor, a: float) -> Tensor:
    """Return the weights of cubic convolution (Keys, 1981)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(
        distance <= 1, near, torch.where(distance < 2, far, torch.zeros_like(distance))
    )


TABLE: dict[str, Builder] = {
    "Resize": lambda operator: _old(operator) if operator.opset < 11 else _resize(operator),
    "Upsample": _old,
}
