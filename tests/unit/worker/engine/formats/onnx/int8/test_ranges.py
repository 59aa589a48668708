"""Ranges of activations, against numpy."""

import numpy as np
import pytest
from onnx import shape_inference
from support.onnx.text import model

from convpress.refusal import Refusal
from worker.engine.formats.onnx.int8 import ranges
from worker.engine.formats.onnx.int8.ranges import activation_ranges, runner


def net(body):
    text = f"g (float[4] x, int64[1] i) => (float[4] y) <float[4] w> {{ {body} }}"
    return shape_inference.infer_shapes(model(text))


def inputs(*values):
    index = np.zeros(1, np.int64)
    return [{"x": np.array(each, np.float32), "i": index} for each in values]


RUNS = inputs([1, 2, 3, 4], [-5, 2, np.inf, 7])


def test_every_float_tensor_has_the_extremes_of_all_runs_and_zero():
    measured = activation_ranges(net("a = Abs(x) s = Shape(a) y = Neg(a)"), RUNS[:1])
    assert measured == {"x": (0, 4), "a": (0, 4), "y": (-4, 0)}


def test_values_that_are_not_finite_count_in_no_range():
    assert activation_ranges(net("y = Neg(x)"), RUNS) == {"x": (-5, 7), "y": (-7, 5)}


def test_what_only_a_rectifier_takes_needs_no_numbers_below_zero():
    measured = activation_ranges(net("a = Identity(x) y = Relu(a)"), RUNS)
    assert measured["a"] == (0, 7)
    both = activation_ranges(net("a = Identity(x) r = Relu(a) y = Add(a, r)"), RUNS)
    assert both["a"] == (-5, 7)


def test_what_a_clip_cuts_off_needs_none_either():
    body = """a = Identity(x)  h = Constant <value = float {6.0}> ()
        l = Constant <value = float {-1.0}> ()  y = Clip(a, l, h)"""
    proto = net(body)
    for node in list(proto.graph.node)[1:3]:
        tensor = node.attribute[0].t
        tensor.name = node.output[0]
        proto.graph.initializer.append(tensor)
        proto.graph.node.remove(node)
    assert activation_ranges(proto, RUNS)["a"] == (-1, 6)


def test_many_activations_are_measured_in_several_runs(monkeypatch):
    proto = net("a = Abs(x) b = Neg(a) y = Sin(b)")
    whole = activation_ranges(proto, RUNS[:1])
    groups = []
    monkeypatch.setattr(ranges, "_HELD_BYTES", 32)
    monkeypatch.setattr(
        ranges,
        "runner",
        lambda each, names: groups.append(names) or runner(each, names),
    )
    assert activation_ranges(proto, RUNS[:1]) == whole
    assert groups == [["a", "b"], ["y"]]


def test_inputs_that_do_not_fit_are_refused():
    run = runner(net("y = Add(x, w)"), ["y"])
    with pytest.raises(Refusal, match="cannot run"):
        run(inputs([1, 2, 3])[0])
