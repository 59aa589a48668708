"""Timing single layers on ONNX Runtime as they stand in a network: between layers of the runtime's own blocked layout.

Time is what the runtime's profiler reports between a pooling of one pixel before and one behind the layer, the
reordering of channels included that the layer makes necessary.
"""

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

from worker.engine.formats.onnx.convolution import attributes
from worker.engine.formats.onnx.runner import options
from worker.engine.numerics.convolution import Convolution

_RUNS, _FEWEST_RUNS = 8, 3
_ENOUGH_NS = 5_000_000
_OPERATORS = 200
_OPSET, _IR = 17, 8
_KERNEL = "_kernel_time"
_BEFORE, _BEHIND = ("a_nchwc_", "before_"), ("y_nchwc_", "behind_")
"""How the profiler calls the operators at the edges: after their outputs where it has blocked them."""


def nanoseconds(convolution: Convolution, input_size: tuple[int, ...], batch: int) -> float:
    """Return what one call of a layer takes, the least of several: what disturbs a run makes it longer."""
    given = {"x": np.full((batch, convolution.in_channels, *input_size), 0.5, np.float32)}
    settings = options()
    settings.enable_profiling = True
    settings.profile_file_prefix = "layer"
    session = _session(_layer_model(convolution, given["x"].shape), settings)
    start = time.perf_counter_ns()
    for done in range(1, _RUNS + 1):
        session.run(None, given)
        if done >= _FEWEST_RUNS and time.perf_counter_ns() - start > _ENOUGH_NS:
            break
    path = Path(session.end_profiling())
    events = json.loads(path.read_text())
    path.unlink()
    return min(_spent(events)[1:])


def operator_nanoseconds() -> float:
    """Return what one more operator costs beside its arithmetic, which the profiler does not report."""
    names = [f"v{at}" for at in range(_OPERATORS + 1)]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in pairwise(names)]
    session = _session(_model(nodes, names[0], (1, 1), names[-1], []), options())
    given = {names[0]: np.ones((1, 1), np.float32)}
    taken = []
    for _ in range(_RUNS):
        start = time.perf_counter_ns()
        session.run(None, given)
        taken.append(time.perf_counter_ns() - start)
    return median(taken) / _OPERATORS


def _session(model: bytes, settings: Any) -> Any:  # noqa: ANN401 - the runtime ships no types
    return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def _layer_model(convolution: Convolution, shape: Sequence[int]) -> bytes:
    weight = numpy_helper.from_array(np.full(convolution.weight_shape, 0.01, np.float32), "w")
    if convolution.kernel:
        layer = helper.make_node("Conv", ["a", "w"], ["b"])
        layer.attribute.extend(attributes(convolution))
        edge = partial(helper.make_node, "MaxPool", kernel_shape=[1] * len(convolution.kernel))
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
    given: str,
    shape: Sequence[int],
    wanted: str,
    weights: Sequence[TensorProto],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info(given, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(wanted, TensorProto.FLOAT, None)],
        weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR
    )
    written: bytes = model.SerializeToString()
    return written


def _spent(events: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the nanoseconds that each run took between the operators at the edges."""
    runs: list[float] = []
    inside = False
    for event in sorted(
        (event for event in events if event["name"].endswith(_KERNEL)),
        key=lambda event: event["ts"],
    ):
        if event["name"].startswith(_BEFORE):
            runs.append(0.0)
            inside = True
        elif event["name"].startswith(_BEHIND):
            inside = False
        elif inside:
            runs[-1] += 1000.0 * event["dur"]
    return runs
