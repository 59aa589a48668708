"""Inputs that select rows of a stored table are known with the number of its rows."""

import pytest
from support.onnx.text import model

from worker.engine.formats.onnx.index_rows import index_rows


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("y = Gather(a, x)", {"x": 9}),
        ("i = Cast <to = 6> (x) y = Gather(a, i)", {"x": 9}),
        ("h = Gather(a, x) g = Gather(b, x) y = Add(h, g)", {"x": 5}),
        ("t = Transpose(a) y = Gather <axis = -1> (t, x)", {"x": 9}),
        ("o = Constant <value = int64 {1}> () i = Add(x, o) y = Gather(a, i)", {}),
        ("e = Cast <to = 1> (x) y = Gather(e, x)", {}),
    ],
)
def test_rows_of_the_smallest_table(body, rows):
    proto = model(
        f"g (int64[1, 4] x) => (float[1, 4, 8] y) <float[9, 8] a, float[5, 8] b> {{ {body} }}"
    )
    assert index_rows(proto.graph) == rows
