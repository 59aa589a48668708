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


NESTED = """g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) <float[3, 3, 1, 1] w> {{
    two = Constant <value = int64 {{2}}> ()  three = Constant <value = int64 {{3}}> ()
    t = Constant <value = bool {{1}}> ()
    y = Loop (two, t, x) <body = b (int64 i, bool go, float[1, 3, 8, 8] v) => (bool on,
        float[1, 3, 8, 8] o) {{
        on = Identity(go)
        q = ReduceMax <keepdims = 0> (v)
        other = Cast <to = 9> (q)
        o = Loop (three, {first}, v) <body = b2 (int64 j, bool more, float[1, 3, 8, 8] u) =>
            (bool still, float[1, 3, 8, 8] p) {{ still = Identity({later}) p = Conv(u, w) }}>
    }}> }}"""


@pytest.mark.parametrize(
    ("first", "later"), [("go", "more"), ("go", "go"), ("t", "go"), ("", "more")]
)
def test_a_loop_within_a_loop_may_take_its_condition(tmp_path, first, later):
    count = counted(tmp_path, NESTED.format(first=first, later=later))
    assert count.macs == 2 * 3 * 9 * 64
    assert count.unaccounted == ()


@pytest.mark.parametrize(("first", "later"), [("other", "more"), ("go", "other")])
def test_a_loop_within_a_loop_that_values_end_is_not_guessed(tmp_path, first, later):
    count = counted(tmp_path, NESTED.format(first=first, later=later))
    assert count.unsettled == {"Conv": 1}
