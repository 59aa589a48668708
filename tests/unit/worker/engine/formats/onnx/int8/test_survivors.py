"""Which layers stay in float: those that lose most, until the others lose little together."""

from math import sqrt

import numpy as np
import pytest
from support.onnx.text import written

from worker.engine.formats.onnx.int8.prepare import prepare
from worker.engine.formats.onnx.int8.ranges import activation_ranges
from worker.engine.formats.onnx.int8.survivors import MOST_ERROR, Trial, survivors


class Losses:
    """A trial whose layers lose independently of each other, and that counts its runs."""

    model = None

    def __init__(self, **losses):
        self.losses = losses
        self.runs = 0

    def error(self, nodes, model=None):
        self.runs += 1
        return sqrt(sum(self.losses[node] ** 2 for node in nodes))


def survivors_of(trial, nodes, most):
    """Return the survivors where a trial may take `most` further runs."""
    return survivors(trial, nodes, [], lambda runs: runs > most)


def test_layers_that_lose_little_together_are_not_tried_alone():
    trial = Losses(a=0.05, b=0.05)
    answer = survivors_of(trial, ["a", "b"], 2)
    assert answer.nodes == ("a", "b")
    assert answer.losses == {}
    assert trial.runs == 1


def test_the_layers_that_lose_most_are_dropped_until_the_rest_loses_little():
    trial = Losses(a=0.05, b=0.5, c=0.08, d=0.09)
    answer = survivors_of(trial, list("abcd"), 4)
    assert answer.nodes == ("a", "c")
    assert answer.losses == {"b": 0.5, "d": 0.09}
    assert trial.error(answer.nodes) <= MOST_ERROR


def test_no_layer_survives_where_each_loses_too_much():
    answer = survivors_of(Losses(a=0.2, b=0.3), ["a", "b"], 2)
    assert answer.nodes == ()
    assert answer.losses == {"a": 0.2, "b": 0.3}


@pytest.mark.parametrize(("most", "runs"), [(2, 1), (3, 4)])
def test_layers_are_tried_alone_only_where_the_runs_are_affordable(most, runs):
    trial = Losses(a=0.5, b=0.01, c=0.01)
    answer = survivors_of(trial, list("abc"), most)
    assert trial.runs == runs
    assert answer.nodes == (("a", "b", "c") if most == 2 else ("b", "c"))


def test_without_layers_nothing_runs():
    trial = Losses()
    assert survivors_of(trial, [], 9).nodes == ()
    assert trial.runs == 0


CHOSEN_ROWS = """g (float[100, 8] x) => (float[n, 8] y, float[100, 8] h)
<float[8, 8] w, int64[1] first = {0}, int64[1] second = {1}> {
    a = MatMul(x, w)
    h = Relu(a)
    column = Slice(h, first, second, second)
    numbers = Squeeze(column, second)
    i = NonZero(numbers)
    j = Transpose(i)
    y = GatherND(h, j) }"""


def test_a_layer_is_compared_at_the_outputs_whose_rows_no_value_decides(tmp_path):
    prepared = prepare(written(tmp_path, CHOSEN_ROWS), tmp_path / "scratch")
    x = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    inputs = [{"x": x}]
    # so wide a range rounds the small numbers to zero, and the rows are fewer
    ranges = activation_ranges(prepared.model, [{"x": 50 * x}])
    trial = Trial(prepared.model, ranges, inputs)
    error = trial.error([layer.node for layer in prepared.layers])
    assert 0.01 < error < 1
