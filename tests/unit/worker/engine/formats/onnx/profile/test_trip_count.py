"""Layers in loops count as often as the loop runs, where the graph fixes that."""

import pytest
from support.onnx.counting import counted

from worker.engine.model import Call

LOOP = """g (float[1, 3, 8, 8] x, bool c) => (float[1, 3, 8, 8] y) <float[3, 3, 1, 1] w> {{
    n = Constant <value = int64 {{5}}> ()  t = Constant <value = bool {{1}}> ()
    y = Loop ({inputs}, x) <body = b (int64 i, bool go, float[1, 3, 8, 8] v) => (bool on,
        float[1, 3, 8, 8] o) {{
        {on}  o = Conv(v, w) }}> }}"""


@pytest.mark.parametrize(
    ("inputs", "on"),
    [
        ("n, t", "on = Identity(go)"),
        ("n,", "on = Identity(go)"),
        ("n, t", "on = Constant <value = bool {1}> ()"),
    ],
    ids=["passed on", "left out", "always true"],
)
def test_a_loop_that_always_runs_as_often_counts_as_often(tmp_path, inputs, on):
    (site,) = counted(tmp_path, LOOP.format(inputs=inputs, on=on)).sites
    assert site.calls == (Call(1, (8, 8), times=5),)
    assert site.macs == 5 * 9 * 64 == site.macs_of([site.convolution])


@pytest.mark.parametrize(
    ("inputs", "on"),
    [
        ("n, c", "on = Identity(go)"),
        (", t", "on = Identity(go)"),
        ("n, t", "q = ReduceMax <keepdims = 0> (v) on = Cast <to = 9> (q)"),
    ],
    ids=["condition", "no limit", "ends itself"],
)
def test_a_loop_of_unknown_length_is_listed_and_not_guessed(tmp_path, inputs, on):
    count = counted(tmp_path, LOOP.format(inputs=inputs, on=on))
    assert count.sites == ()
    assert count.uncounted["Conv"] == 1
    assert count.unsettled == {"Conv": 1}


# As torch exports `for n in range(x.size(1))` of a script.
OVER_ROWS = """g (float[2, 7, 8] x, int64 k) => (float[2, 8] y) <float[8, 8] w> {{
    t = Constant <value = bool {{1}}> ()  i = Constant <value = int64 {{1}}> ()
    s = Shape(x)  rows = Gather(s, i)  h = ReduceMean <axes = [1], keepdims = 0> (x)
    y = Loop ({limit}, t, h) <body = b (int64 n, bool go, float[2, 8] m) => (bool on, float o) {{
        on = Identity(t)  e = Gather <axis = 1> (x, n)  a = Add(m, e)  o = MatMul(a, w) }}> }}"""


def test_a_loop_over_an_axis_of_an_input_runs_as_often_as_the_axis_is_long(tmp_path):
    """Inference knows no shape of what a Loop carries from run to run."""
    (site,) = counted(tmp_path, OVER_ROWS.format(limit="rows")).sites
    assert site.calls == (Call(2, (), times=7),)
    assert site.macs == 7 * 2 * 64
    assert site.reason is None


# As tf2onnx writes Keras' SimpleRNN, ConvLSTM2D and cells of one's own.
COUNTING = """g (float[2, 7, 8] x, int64 k) => (float[2, 8] y) <float[8, 8] w> {{
    t = Constant <value = bool {{1}}> ()  i = Constant <value = int64 {{1}}> ()
    z = Constant <value = int64 {{0}}> ()  s = Shape(x)  rows = Gather(s, i)
    h = Gather <axis = 1> (x, z)
    a, b, c, y = Loop (, t, z, {bound}, w, h) <body = r (int64 n, bool go, int64 time, int64 last,
        float[8, 8] v, float[2, 8] m) => (bool on, int64 next, int64 end, float u, float o) {{
        next = Add(time, i)  end = Identity(last)  on = Less(next, last)  u = Identity(v)
        o = MatMul(m, v) }}> }}"""


def test_a_loop_that_counts_up_to_an_axis_of_an_input_counts_as_often(tmp_path):
    """The weight is carried from run to run too, so that its layer stays."""
    (site,) = counted(tmp_path, COUNTING.format(bound="rows")).sites
    assert site.macs == 7 * 2 * 64


def test_a_loop_that_counts_up_to_an_input_is_listed_and_not_guessed(tmp_path):
    count = counted(tmp_path, COUNTING.format(bound="k"))
    assert count.unsettled == {"MatMul": 1}


def test_a_loop_as_long_as_an_input_says_is_listed_and_not_guessed(tmp_path):
    count = counted(tmp_path, OVER_ROWS.format(limit="k"))
    assert count.sites == ()
    assert count.unsettled == {"MatMul": 1}


GROWING = """g (float[1, 8] x) => (float y) <float[8, 8] w> {
    n = Constant <value = int64 {3}> ()  t = Constant <value = bool {1}> ()
    y = Loop (n, t, x) <body = b (int64 i, bool go, float[m, 8] v) => (bool on, float o) {
        on = Identity(go)  a = MatMul(v, w)  o = Concat <axis = 0> (v, a) }> }"""


def test_a_layer_whose_input_grows_from_run_to_run_is_listed_and_not_guessed(tmp_path):
    count = counted(tmp_path, GROWING)
    assert count.sites == ()
    assert count.unsettled == {"MatMul": 1}
