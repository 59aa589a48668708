"""Single numbers that an ONNX graph stores: trip counts and conditions."""

from collections.abc import Mapping
from math import prod

from worker.engine.formats.onnx.constants import Constant


def scalar(name: str, known: Mapping[str, Constant]) -> int | None:
    """Return a constant that is one integer or truth value; None for all else."""
    constant = known.get(name)
    if constant is None:
        return None
    if any(fold.node.op_type != "Identity" for fold in constant.folds):
        return None
    tensor = constant.tensor
    if prod(tensor.dims) != 1:
        return None
    if tensor.raw_data:
        return int.from_bytes(tensor.raw_data, "little", signed=True)
    values = (*tensor.int64_data, *tensor.int32_data)
    return values[0] if values else None
