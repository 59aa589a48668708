"""Shapes in the bodies of loops, of which inference knows none, count where they stay the same."""

from support.onnx.counting import counted
from support.onnx.text import model

from worker.engine.model import Call

GROWING = """g (float[1, 8] x) => (float y) <float[8, 8] w> {
    n = Constant <value = int64 {3}> ()  t = Constant <value = bool {1}> ()
    y = Loop (n, t, x) <body = b (int64 i, bool go, float[m, 8] v) => (bool on, float o) {
        on = Identity(go)  a = MatMul(v, w)  o = Concat <axis = 0> (v, a) }> }"""


def test_a_layer_whose_input_grows_from_run_to_run_is_listed_and_not_guessed(tmp_path):
    count = counted(tmp_path, GROWING)
    assert count.sites == ()
    assert count.unsettled == {"MatMul": 1}


CARRIED = """g (float[4, 8] x) => (float y) <float[8, 8] w> {
    n = Constant <value = int64 {3}> ()  t = Constant <value = bool {1}> ()
    y = Loop (n, t, x) <body = b (int64 i, bool go, float[m, 8] v) => (bool on, float o) {
        on = Identity(go)  o = MatMul(v, w) }> }"""


def test_a_layer_whose_input_stays_as_large_counts_in_every_run(tmp_path):
    (site,) = counted(tmp_path, CARRIED).sites
    assert site.calls == (Call(4, (), times=3),)


def test_a_layer_whose_input_gains_an_axis_in_every_run_is_listed_and_not_guessed(
    tmp_path,
):
    """The runtime runs the model, but cannot stack shapes of different lengths."""
    parsed = model(
        """g (float[2, 8] x) => (float y, float[2, 8] u) <float[8, 8] w, float[8, 8] v> {
        n = Constant <value = int64 {3}> ()  t = Constant <value = bool {1}> ()
        k = Constant <value = int64[1] {0}> ()  u = MatMul(x, v)
        y = Loop (n, t, x) <body = b (int64 i, bool go, float m) => (bool on, float o) {
            on = Identity(go)  a = MatMul(m, w)  o = Unsqueeze(a, k) }> }"""
    )
    *_, loop = parsed.graph.node
    [body] = [each.g for each in loop.attribute]
    for value in (body.input[2], body.output[1], parsed.graph.output[0]):
        value.type.tensor_type.ClearField("shape")
    count = counted(tmp_path, parsed)
    assert count.macs == 2 * 64
    assert count.unsettled == {"MatMul": 1}
