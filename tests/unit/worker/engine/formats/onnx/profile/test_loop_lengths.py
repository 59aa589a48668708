"""Loops that the shapes of the inputs end run as often as one run of the model shows."""

import pytest
from support.onnx.counting import counted

from worker.engine.formats.onnx.profile import loop_lengths
from worker.engine.model import Call

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


def test_a_loop_over_a_longer_axis_than_a_count_may_take_is_listed(
    tmp_path, monkeypatch
):
    """The probe ends there: its limit is bounded, whatever the file asks for."""
    monkeypatch.setattr(loop_lengths, "MOST_RUNS", 7)
    for content in (OVER_ROWS.format(limit="rows"), COUNTING.format(bound="rows")):
        assert counted(tmp_path, content).unsettled == {"MatMul": 1}
    monkeypatch.setattr(loop_lengths, "MOST_RUNS", 8)
    for content in (OVER_ROWS.format(limit="rows"), COUNTING.format(bound="rows")):
        assert counted(tmp_path, content).macs == 7 * 2 * 64


# The largest value of the input decides whether the loop runs at all; those of a count are 1.
UNLESS_SMALL = """g (float[2, 7, 8] x) => (float[2, 8] y) <float[8, 8] w> {{
    t = Constant <value = bool {{1}}> ()  i = Constant <value = int64 {{1}}> ()
    k = Constant <value = float {{{bound}}}> ()  most = ReduceMax <keepdims = 0> (x)
    s = Shape(x)  rows = Gather(s, i)  h = ReduceMean <axes = [1], keepdims = 0> (x)
    go = Greater(most, k)
    y = Loop (rows, go, h) <body = b (int64 n, bool c, float[2, 8] m) => (bool on, float o) {{
        on = Identity(t)  o = MatMul(m, w) }}> }}"""


@pytest.mark.parametrize("bound", ["0.5", "5.0"])
def test_a_loop_that_values_let_start_is_listed_and_not_guessed(tmp_path, bound):
    count = counted(tmp_path, UNLESS_SMALL.format(bound=bound))
    assert count.sites == ()
    assert count.unsettled == {"MatMul": 1}


@pytest.mark.parametrize("kind", ["RandomUniformLike", "RandomNormalLike"])
def test_a_loop_of_random_length_is_listed_and_not_guessed(tmp_path, kind):
    text = f"""g (float[2, 8] x) => (float[2, 8] y) <float[8, 8] w> {{
        t = Constant <value = bool {{1}}> ()  c = Constant <value = float {{1}}> ()
        r = {kind}(c)  q = Abs(r)  l = Ceil(q)  n = Cast <to = 7> (l)
        y = Loop (n, t, x) <body = b (int64 i, bool go, float[2, 8] m) => (bool on, float o) {{
            on = Identity(t)  o = MatMul(m, w) }}> }}"""
    assert counted(tmp_path, text).unsettled == {"MatMul": 1}


BODY = "<body = b () => (bool on, float o) { on = Identity(t)  o = MatMul(h, w) }>"


@pytest.mark.parametrize("body", ["", BODY])
def test_a_loop_without_a_body_or_with_one_without_inputs_raises_nothing_of_its_own(
    tmp_path, body
):
    """ONNX Runtime refuses such a file, where it is run."""
    text = """g (float[2, 8] h) => (float[2, 8] y, float[2, 8] z) <float[8, 8] w> {
        t = Constant <value = bool {1}> ()  n = Size(h)  z = MatMul(h, w)
        y = Loop (n, t, h) BODY }"""
    assert counted(tmp_path, text.replace("BODY", body)).macs == 2 * 64


def test_a_loop_with_a_limit_below_0_does_not_run(tmp_path):
    text = """g (float[2, 8] x) => (float[2, 8] y, float[2, 8] z) <float[8, 8] w, float[8, 8] v> {
        t = Constant <value = bool {1}> ()  n = Constant <value = int64 {-3}> ()  z = MatMul(x, v)
        y = Loop (n, t, x) <body = b (int64 i, bool go, float[2, 8] m) => (bool on, float o) {
            on = Identity(t)  o = MatMul(m, w) }> }"""
    assert counted(tmp_path, text).macs == 2 * 64
