"""The ranges of a model's activations, measured on its calibration inputs in ONNX Runtime."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf, prod
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from worker.engine.formats.onnx.graph import input_name, operator, uses
from worker.engine.formats.onnx.runtime.session import RUNTIME_ERRORS, refused
from worker.engine.formats.onnx.runtime.session_options import session_options
from worker.engine.formats.onnx.shapes import declared_shapes
from worker.engine.model import Inputs

Range = tuple[float, float]
"""The least and the largest value of a tensor that int8 represents."""

_HELD_BYTES = 256 << 20
"""Activations of one run that are held together; models with more run several times."""
_BYTES_PER_NUMBER = 4


def activation_ranges(model: ModelProto, inputs: Sequence[Inputs]) -> dict[str, Range]:
    """Return the least and the largest value of every float tensor of the main graph.

    Zero is always within, since padding and rectifiers need it to be exact.

    Raises:
        Refusal: `model_invalid` where the model does not run on the inputs.
    """
    extremes: dict[str, Range] = {}
    for name, values in _own_inputs(model, inputs):
        _widen(extremes, name, values)
    for names in _groups(model):
        run = runner(model, names)
        for each in inputs:
            named_values = zip(names, run(each), strict=True)
            for name, values in named_values:
                _widen(extremes, name, values)
    for name, (least, most) in _rectified(model):
        low, high = extremes.get(name, (0.0, 0.0))
        extremes[name] = (max(low, least), min(high, most))
    return extremes


def _rectified(model: ModelProto) -> Iterator[tuple[str, Range]]:
    """Yield the tensors that only a Relu or Clip takes, and the range that it lets through.

    What it cuts off may be cut off before: int8 then needs no numbers for it.
    """
    use_counts = uses(model.graph)
    numbers = {
        tensor.name: float(numpy_helper.to_array(tensor).reshape(-1)[0])
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and prod(tensor.dims) == 1
    }
    for node in model.graph.node:
        data = node.input[0] if node.input else ""
        if use_counts[data] != 1:
            continue
        if operator(node) == "Relu":
            yield node.input[0], (0.0, inf)
        elif operator(node) == "Clip":
            least = numbers.get(input_name(node, 1), -inf)
            most = numbers.get(input_name(node, 2), inf)
            # zero stays within the range
            yield node.input[0], (min(least, 0.0), max(most, 0.0))


def _own_inputs(
    model: ModelProto, inputs: Sequence[Inputs]
) -> list[tuple[str, NDArray[np.generic]]]:
    """Return the float arrays of the model's inputs."""
    floats = {
        value.name
        for value in model.graph.input
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    arrays = []
    for each in inputs:
        arrays += [(name, values) for name, values in each.items() if name in floats]
    return arrays


def _widen(extremes: dict[str, Range], name: str, values: NDArray[Any]) -> None:
    """Widen the range of a tensor to these values, without those that are not finite."""
    is_usable = np.isfinite(values)
    usable = values[is_usable]
    least, most = extremes.get(name, (0.0, 0.0))
    if usable.size:
        least = min(least, float(usable.min()))
        most = max(most, float(usable.max()))
    extremes[name] = (least, most)


def _groups(model: ModelProto) -> list[list[str]]:
    """Return the float tensors that nodes of the main graph give, in groups to be held together."""
    types = {
        value.name: value.type.tensor_type.elem_type for value in model.graph.value_info
    }
    types |= {
        value.name: value.type.tensor_type.elem_type for value in model.graph.output
    }
    shapes: Mapping[str, Any] = declared_shapes(model.graph)
    groups: list[list[str]] = []
    held = _HELD_BYTES
    for node in model.graph.node:
        for name in node.output:
            if types.get(name) != TensorProto.FLOAT:
                continue
            size = _BYTES_PER_NUMBER * prod(shapes.get(name) or (1,))
            if held + size > _HELD_BYTES:
                groups.append([])
                held = 0
            groups[-1].append(name)
            held += size
    return groups


def runner(model: ModelProto, names: Sequence[str]) -> Any:  # noqa: ANN401 - untyped runtime
    """Return a function that runs the model and returns these tensors."""
    watched = ModelProto()
    watched.CopyFrom(model)
    outputs = {value.name for value in watched.graph.output}
    for name in names:
        if name not in outputs:
            value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            watched.graph.output.append(value)
    try:
        session = ort.InferenceSession(
            watched.SerializeToString(),
            session_options(),
            providers=["CPUExecutionProvider"],
        )
    except RUNTIME_ERRORS as error:
        raise refused("load", error) from error

    def run(inputs: Inputs) -> Any:  # noqa: ANN401 - as above
        try:
            return session.run(list(names), dict(inputs))
        except RUNTIME_ERRORS as error:
            raise refused("run", error) from error

    return run
