"""Timing single layers on ONNX Runtime as they are in a network.

There a layer stands between layers of the runtime's own blocked layout. Its time is what the
runtime's profiler reports between a pooling of one pixel before and one after the layer, with the
reordering of channels that the layer makes necessary.

Models are written without the library onnx: a device that is measured may not have it.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from worker.engine.costs.onnx_bytes import Node, model_bytes
from worker.engine.formats.onnx.runtime.session_options import session_options
from worker.engine.numerics.convolution import Convolution

_RUNS = 8
_FEWEST_RUNS = 3
_ENOUGH_NS = 5_000_000
_OPERATORS = 200
_KERNEL = "_kernel_time"
_NS_PER_US = 1000.0
_BEFORE = ("a_nchwc_", "before_")
_BEHIND = ("y_nchwc_", "behind_")
_OTHER = ("s_nchwc_", "other_")
"""The profiler's names of the operators at the edges: by their outputs in the blocked layout."""


def nanoseconds(
    convolution: Convolution, input_size: tuple[int, ...], batch: int
) -> float:
    """Return the time of one call of a layer: the least of several, as disturbances only add."""
    return _least(convolution, input_size, batch, adds=False)


def adding_nanoseconds(
    convolution: Convolution, input_size: tuple[int, ...], batch: int
) -> float:
    """Return the time of one call of a layer that adds its outputs to those of another one."""
    return _least(convolution, input_size, batch, adds=True)


def chain_nanoseconds(
    convolution: Convolution, input_size: tuple[int, ...], number: int
) -> float:
    """Return the time of one layer in a chain of equal ones: the least of several runs.

    Args:
        convolution: a layer with as many outputs as inputs, which keeps the size.
        input_size: the spatial size of its input.
        number: the number of layers, each of which has weights of its own.
    """
    names = [f"v{at}" for at in range(number + 1)]
    operator, attributes = _operator(convolution)
    nodes = [
        Node(operator, [a, f"w{at}"], [b], attributes=attributes)
        for at, (a, b) in enumerate(pairwise(names))
    ]
    # values stay as they are: growing ones would overflow
    weight = np.full(convolution.weight_shape, 1 / convolution.in_channels, np.float32)
    weights = {f"w{at}": weight for at in range(number)}
    shape = (1, convolution.in_channels, *input_size)
    session = _session(
        model_bytes(nodes, {names[0]: shape}, names[-1], weights), session_options()
    )
    inputs = {names[0]: np.ones(shape, np.float32)}
    return min(_times(session, inputs, time.thread_time_ns)) / number


def operator_nanoseconds() -> float:
    """Return the time of an operator beyond its arithmetic, which the profiler does not report."""
    names = [f"v{at}" for at in range(_OPERATORS + 1)]
    first = names[0]
    nodes = [Node("Neg", [a], [b]) for a, b in pairwise(names)]
    session = _session(
        model_bytes(nodes, {first: (1, 1)}, names[-1], {}), session_options()
    )
    inputs = {first: np.ones((1, 1), np.float32)}
    return median(_times(session, inputs, time.perf_counter_ns)) / _OPERATORS


def _times(
    session: ort.InferenceSession,
    inputs: Mapping[str, NDArray[np.float32]],
    clock: Callable[[], int],
) -> list[int]:
    """Return the nanoseconds of several runs of a session, by a clock."""
    times = []
    for _ in range(_RUNS):
        start = clock()
        session.run(None, inputs)
        spent = clock() - start
        times.append(spent)
    return times


def _least(
    convolution: Convolution, input_size: tuple[int, ...], batch: int, *, adds: bool
) -> float:
    shapes = {"x": (batch, convolution.in_channels, *input_size)}
    if adds:
        shapes["z"] = (
            batch,
            convolution.out_channels,
            *convolution.output_size(input_size),
        )
    inputs = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
    settings = session_options()
    settings.enable_profiling = True
    settings.profile_file_prefix = f"layer_{os.getpid()}"
    session = _session(_layer_model(convolution, shapes, adds=adds), settings)
    start = time.perf_counter_ns()
    whole = []
    for done in range(1, _RUNS + 1):
        # a long layer is interrupted by other programs: by the processor's time it is not
        thread_start = time.thread_time_ns()
        session.run(None, inputs)
        whole.append(time.thread_time_ns() - thread_start)
        spent = time.perf_counter_ns() - start
        if done >= _FEWEST_RUNS and spent > _ENOUGH_NS:
            break
    path = Path(session.end_profiling())
    events = json.loads(path.read_text())
    path.unlink()
    # the first run allocates
    return min(*_spent(events)[1:], *whole[1:])


def _session(model: bytes, settings: Any) -> Any:  # noqa: ANN401 - the runtime ships no types
    return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def _layer_model(
    convolution: Convolution, shapes: Mapping[str, Sequence[int]], *, adds: bool
) -> bytes:
    """Return a model of one layer between two operators that compute nothing."""
    weight = np.full(convolution.weight_shape, 0.01, np.float32)
    axes = len(convolution.kernel)
    operator, settings = _operator(convolution)
    edge = "Neg"
    edge_settings: Mapping[str, int | Sequence[int]] = {}
    if axes:
        edge = "MaxPool"
        edge_settings = {"kernel_shape": [1] * axes}
    before = Node(edge, ["x"], ["a"], "before", edge_settings)
    layer = Node(operator, ["a", "w"], ["b"], attributes=settings)
    nodes = [before, layer]
    last = "b"
    if adds:
        other = Node(edge, ["z"], ["s"], "other", edge_settings)
        addition = Node("Add", ["b", "s"], ["sum"])
        nodes = [other, before, layer, addition]
        last = "sum"
    behind = Node(edge, [last], ["y"], "behind", edge_settings)
    nodes.append(behind)
    return model_bytes(nodes, shapes, "y", {"w": weight})


def _operator(
    convolution: Convolution,
) -> tuple[str, Mapping[str, int | Sequence[int]]]:
    """Return the operator that computes a layer, and its attributes."""
    if not convolution.kernel:
        return "Gemm", {"transB": 1}
    operator = "ConvTranspose" if convolution.transposed else "Conv"
    return operator, _attributes(convolution)


def _attributes(convolution: Convolution) -> dict[str, int | Sequence[int]]:
    """Return the attributes of a node with a geometry whose paddings are numbers."""
    assert not isinstance(convolution.padding, str)
    befores = [before for before, _ in convolution.padding]
    afters = [after for _, after in convolution.padding]
    attributes: dict[str, int | Sequence[int]] = {
        "kernel_shape": convolution.kernel,
        "strides": convolution.stride,
        "dilations": convolution.dilation,
        "pads": befores + afters,
        "group": convolution.groups,
    }
    if convolution.transposed:
        attributes["output_padding"] = convolution.output_padding
    return attributes


def _spent(events: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the nanoseconds of each run between the operators at the edges."""
    runs: list[float] = []
    inside = False
    for event in sorted(events, key=itemgetter("ts")):
        name = event["name"]
        if not name.endswith(_KERNEL) or name.startswith(_OTHER):
            continue
        if name.startswith(_BEFORE):
            runs.append(0.0)
            inside = True
        elif name.startswith(_BEHIND):
            inside = False
        elif inside:
            runs[-1] += _NS_PER_US * event["dur"]
    return runs
