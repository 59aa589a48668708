"""Timing single layers on ONNX Runtime as they are in a network.

There a layer stands between layers of the runtime's own blocked layout. Its time is what the
runtime's profiler reports between a pooling of one pixel before and one after the layer, with the
reordering of channels that the layer makes necessary.
"""

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

from worker.engine.formats.onnx.convolution import attributes
from worker.engine.formats.onnx.session import options
from worker.engine.numerics.convolution import Convolution

_RUNS = 8
_FEWEST_RUNS = 3
_ENOUGH_NS = 5_000_000
_OPERATORS = 200
_OPSET = 17
_IR = 8
_KERNEL = "_kernel_time"
_NS_PER_US = 1000.0
_BEFORE = ("a_nchwc_", "before_")
_BEHIND = ("y_nchwc_", "behind_")
"""The profiler's names of the operators at the edges: by their outputs in the blocked layout."""


def nanoseconds(convolution: Convolution, input_size: tuple[int, ...], batch: int) -> float:
    """Return the time of one call of a layer: the least of several, as disturbances only add."""
    shape = (batch, convolution.in_channels, *input_size)
    x = np.full(shape, 0.5, np.float32)
    settings = options()
    settings.enable_profiling = True
    settings.profile_file_prefix = "layer"
    session = _session(_layer_model(convolution, shape), settings)
    start = time.perf_counter_ns()
    for done in range(1, _RUNS + 1):
        session.run(None, {"x": x})
        spent = time.perf_counter_ns() - start
        if done >= _FEWEST_RUNS and spent > _ENOUGH_NS:
            break
    path = Path(session.end_profiling())
    events = json.loads(path.read_text())
    path.unlink()
    # the first run allocates
    return min(_spent(events)[1:])


def operator_nanoseconds() -> float:
    """Return the time of an operator beyond its arithmetic, which the profiler does not report."""
    shape = (1, 1)
    names = [f"v{at}" for at in range(_OPERATORS + 1)]
    first = names[0]
    last = names[-1]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in pairwise(names)]
    model = _model(nodes, first, shape, last, [])
    session = _session(model, options())
    inputs = {first: np.ones(shape, np.float32)}
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter_ns()
        session.run(None, inputs)
        spent = time.perf_counter_ns() - start
        times.append(spent)
    return median(times) / _OPERATORS


def _session(model: bytes, settings: Any) -> Any:  # noqa: ANN401 - the runtime ships no types
    return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def _layer_model(convolution: Convolution, shape: Sequence[int]) -> bytes:
    """Return a model of one layer between two operators that compute nothing."""
    numbers = np.full(convolution.weight_shape, 0.01, np.float32)
    weight = numpy_helper.from_array(numbers, "w")
    axes = len(convolution.kernel)
    if axes:
        layer = helper.make_node("Conv", ["a", "w"], ["b"])
        layer.attribute.extend(attributes(convolution))
        edge = partial(helper.make_node, "MaxPool", kernel_shape=[1] * axes)
    else:
        layer = helper.make_node("Gemm", ["a", "w"], ["b"], transB=1)
        edge = partial(helper.make_node, "Neg")
    nodes = [
        edge(["x"], ["a"], name="before"),
        layer,
        edge(["b"], ["y"], name="behind"),
    ]
    return _model(nodes, "x", shape, "y", [weight])


def _model(
    nodes: Sequence[NodeProto],
    input_name: str,
    shape: Sequence[int],
    output_name: str,
    weights: Sequence[TensorProto],
) -> bytes:
    """Return the file of a model with one input and one output in float32."""
    model_input = helper.make_tensor_value_info(input_name, TensorProto.FLOAT, shape)
    model_output = helper.make_tensor_value_info(output_name, TensorProto.FLOAT, None)
    graph = helper.make_graph(
        nodes,
        "layer",
        inputs=[model_input],
        outputs=[model_output],
        initializer=weights,
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR)
    content: bytes = model.SerializeToString()
    return content


def _spent(events: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the nanoseconds of each run between the operators at the edges."""
    runs: list[float] = []
    inside = False
    for event in sorted(events, key=itemgetter("ts")):
        name = event["name"]
        if not name.endswith(_KERNEL):
            continue
        if name.startswith(_BEFORE):
            runs.append(0.0)
            inside = True
        elif name.startswith(_BEHIND):
            inside = False
        elif inside:
            runs[-1] += _NS_PER_US * event["dur"]
    return runs
