"""Timing single layers in int8 on ONNX Runtime, as they are between other layers in int8.

The layer stands between QuantizeLinear and DequantizeLinear, and the runtime fuses it into one
operator. Only that operator counts: in a network the values before and after it are in int8 too.
The others, which turn values into int8 and back, are timed by themselves.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

from worker.engine.formats.onnx.convolution import attributes
from worker.engine.formats.onnx.runtime.session_options import session_options
from worker.engine.numerics.convolution import Convolution

_RUNS = 8
_FEWEST_RUNS = 3
_ENOUGH_NS = 5_000_000
_OPSET = 17
_IR = 8
_NS_PER_US = 1000.0
_LAYER = "layer"
_INTO_INT8 = "QuantizeLinear_q"
_BACK = "DequantizeLinear_y"
_SCALE = np.float32(0.02)


def int8_nanoseconds(
    convolution: Convolution, input_size: tuple[int, ...], batch: int
) -> float:
    """Return the time of one call of a layer in int8: the least of several."""
    return _least(_kernels(convolution, input_size, batch), _LAYER)


def conversion_nanoseconds(
    convolution: Convolution, input_size: tuple[int, ...], batch: int
) -> float:
    """Return the time of turning a layer's inputs into int8, and its outputs back."""
    kernels = _kernels(convolution, input_size, batch)
    return _least(kernels, _INTO_INT8) + _least(kernels, _BACK)


def _least(kernels: Sequence[dict[str, Any]], operator: str) -> float:
    """Return the least time of an operator's runs; the first run allocates."""
    durations = [
        event["dur"] for event in kernels if event["name"].startswith(operator)
    ]
    least: float = _NS_PER_US * min(durations[1:])
    return least


def _kernels(
    convolution: Convolution, input_size: tuple[int, ...], batch: int
) -> list[dict[str, Any]]:
    """Run a layer in int8 several times, and return the events of its operators."""
    shape = (batch, convolution.in_channels, *input_size)
    settings = session_options(prepacked=True)
    settings.enable_profiling = True
    settings.profile_file_prefix = _LAYER
    session = ort.InferenceSession(
        _model(convolution, shape), settings, providers=["CPUExecutionProvider"]
    )
    x = np.full(shape, 0.5, np.float32)
    start = time.perf_counter_ns()
    for done in range(1, _RUNS + 1):
        session.run(None, {"x": x})
        if done >= _FEWEST_RUNS and time.perf_counter_ns() - start > _ENOUGH_NS:
            break
    path = Path(session.end_profiling())
    events: list[dict[str, Any]] = json.loads(path.read_text())
    path.unlink()
    return [event for event in events if event["name"].endswith("_kernel_time")]


def _model(convolution: Convolution, shape: Sequence[int]) -> bytes:
    """Return a model of one layer in int8 that takes and gives floats."""
    channels = convolution.out_channels
    constants = {
        "scale": _SCALE,
        "zero": np.uint8(128),
        "w": np.ones(convolution.weight_shape, np.int8),
        "w_scale": np.full(channels, 0.01, np.float32),
        "w_zero": np.zeros(channels, np.int8),
        "b": np.zeros(channels, np.int32),
        "b_scale": np.full(channels, 0.01 * _SCALE, np.float32),
        "b_zero": np.zeros(channels, np.int32),
    }
    if convolution.kernel:
        layer = helper.make_node(
            "Conv", ["a", "w_float", "b_float"], ["c"], name=_LAYER
        )
        layer.attribute.extend(attributes(convolution))
    else:
        layer = helper.make_node(
            "Gemm", ["a", "w_float", "b_float"], ["c"], name=_LAYER, transB=1
        )
    nodes = [
        _node("QuantizeLinear", "x", "q", "scale", "zero"),
        _node("DequantizeLinear", "q", "a", "scale", "zero"),
        _node("DequantizeLinear", "w", "w_float", "w_scale", "w_zero", axis=0),
        _node("DequantizeLinear", "b", "b_float", "b_scale", "b_zero", axis=0),
        layer,
        _node("QuantizeLinear", "c", "r", "scale", "zero"),
        _node("DequantizeLinear", "r", "y", "scale", "zero"),
    ]
    graph = helper.make_graph(
        nodes,
        _LAYER,
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializer=[
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
        ],
    )
    opset = helper.make_opsetid("", _OPSET)
    content: bytes = helper.make_model(
        graph, opset_imports=[opset], ir_version=_IR
    ).SerializeToString()
    return content


def _node(
    op: str, source: str, target: str, scale: str, zero: str, axis: int | None = None
) -> NodeProto:
    node = helper.make_node(op, [source, scale, zero], [target], name=f"{op}_{target}")
    if axis is not None:
        node.attribute.append(helper.make_attribute("axis", axis))
    return node
